import { createCipheriv, hkdfSync } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseHeader } from '../../src/format/message-header'
import {
  buildClient,
  CommitmentPolicy,
  type EncryptionContext,
  getLocalCryptographicMaterialsCache,
  KeyringNode,
  NodeCachingMaterialsManager,
  type NodeDecryptionMaterial,
  NodeDefaultCryptographicMaterialsManager,
  type NodeEncryptionMaterial,
  type NodeMaterialsManager,
  RawRsaKeyringNode,
  RequiredEncryptionContextCmm,
  type RequiredEncryptionContextCmmInput,
} from '../../src/index'
import { dataKeyOf } from '../../src/materials/materials'
import { rejectionOf, rejects, throws } from '../support/expect'
import { aesKeyring, bytes, RSA_PRIVATE_PEM } from '../support/keys'

const { encrypt, decrypt, encryptStream, decryptStream, openMessage } = buildClient()
const STORED = { purpose: 'tests', a: '1' }
const SECRET = { tenant: 'acme-secret', Ü: 'ключ' }
const ALL = { ...STORED, ...SECRET }

/** Raw AES, and what it saw: the contexts and the last data key. */
class Spy extends KeyringNode {
  readonly #inner = aesKeyring()
  readonly contexts: EncryptionContext[] = []
  dataKey: Uint8Array | undefined

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    this.contexts.push(material.encryptionContext)
    await this.#inner.onEncrypt(material)
    this.dataKey = dataKeyOf(material).slice()
    return material
  }

  async _onDecrypt(
    material: NodeDecryptionMaterial,
    edks: Parameters<KeyringNode['onDecrypt']>[1],
  ): Promise<NodeDecryptionMaterial> {
    this.contexts.push(material.encryptionContext)
    return await this.#inner.onDecrypt(material, edks)
  }
}

function requiring(
  backingMaterials: RequiredEncryptionContextCmmInput['backingMaterials'] = aesKeyring(),
  keys: string[] = Object.keys(SECRET),
): RequiredEncryptionContextCmm {
  return new RequiredEncryptionContextCmm({ backingMaterials, requiredEncryptionContextKeys: keys })
}

test('required pairs are not in the message, and are needed to open it', async () => {
  const cmm = requiring()
  const { result, messageHeader } = await encrypt(cmm, 'x', { encryptionContext: ALL })
  assert.is(result.indexOf('acme-secret'), -1)
  assert.is(result.indexOf('ключ'), -1)
  assert.is.not(result.indexOf('purpose'), -1)
  const { 'aws-crypto-public-key': publicKey, ...stored } = messageHeader.encryptionContext
  assert.ok(publicKey)
  assert.equal({ ...stored }, STORED)
  for (const encryptionContext of [SECRET, ALL]) {
    const opened = await decrypt(cmm, result, { encryptionContext })
    assert.is(opened.plaintext.toString(), 'x')
    assert.equal(opened.messageHeader.encryptionContext, messageHeader.encryptionContext)
  }
})

// The serialized form of SECRET as in structures.md: count, then lengths and UTF-8 bytes, sorted by key bytes.
const SERIALIZED = Buffer.concat([
  Buffer.from('0002', 'hex'),
  Buffer.from('0006', 'hex'),
  Buffer.from('tenant'),
  Buffer.from('000b', 'hex'),
  Buffer.from('acme-secret'),
  Buffer.from('0002', 'hex'),
  Buffer.from('Ü'),
  Buffer.from('0008', 'hex'),
  Buffer.from('ключ'),
])

for (const [suiteId, idLength, hash, info, policy] of [
  [0x0478, 32, 'sha512', 'DERIVEKEY', CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT],
  [0x0178, 16, 'sha256', undefined, CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT],
] as const) {
  test(`the header's tag is over header body || serialized pairs, computed with node:crypto alone: suite ${suiteId}`, async () => {
    const spy = new Spy()
    const client = buildClient(policy)
    const op = { suiteId, encryptionContext: ALL }
    // Short messages and those that come in pieces are sealed each in their way.
    const streamed = async (cmm: NodeMaterialsManager) => {
      const result = await buffer(client.encryptStream(cmm, op).end())
      return { result, messageHeader: parseHeader(result).messageHeader }
    }
    for (const [keys, seal] of [
      [Object.keys(SECRET), (cmm: NodeMaterialsManager) => client.encrypt(cmm, '', op)],
      [Object.keys(SECRET), streamed],
      [['purpose', 'a', 'tenant', 'Ü'], (cmm: NodeMaterialsManager) => client.encrypt(cmm, '', op)],
      [['purpose', 'a', 'tenant', 'Ü'], streamed],
    ] as const) {
      const { result, messageHeader } = await seal(requiring(spy, [...keys]))
      const { messageId } = messageHeader
      const suite = Buffer.from([suiteId >> 8, suiteId & 0xff])
      const expand = info === undefined ? Buffer.concat([suite, messageId]) : Buffer.concat([suite, Buffer.from(info)])
      const salt = info === undefined ? Buffer.alloc(0) : messageId
      const key = new Uint8Array(hkdfSync(hash, spy.dataKey!, salt, expand, 32))
      // An empty final frame ends the message: mark, sequence number, IV, length, tag.
      const headerLength = result.length - (4 + 4 + 12 + 4 + 16)
      const [body, tag] = [
        result.subarray(0, headerLength - 16 - (idLength === 16 ? 12 : 0)),
        result.subarray(headerLength - 16, headerLength),
      ]
      const all = keys.length === 4
      const pairs = all
        ? Buffer.concat([
            Buffer.from('00040001', 'hex'),
            Buffer.from('a'),
            Buffer.from('0001', 'hex'),
            Buffer.from('1'),
            Buffer.from('0007', 'hex'),
            Buffer.from('purpose'),
            Buffer.from('0005', 'hex'),
            Buffer.from('tests'),
            SERIALIZED.subarray(2),
          ])
        : SERIALIZED
      const cipher = createCipheriv('aes-256-gcm', key, Buffer.alloc(12)).setAAD(Buffer.concat([body, pairs]))
      cipher.final()
      assert.equal(cipher.getAuthTag(), Buffer.from(tag))
      // Where no pair is left, the header's length of the context is 0 and no count follows.
      if (all) assert.is(body.readUInt16BE((idLength === 16 ? 4 : 3) + idLength), 0)
    }
  })
}

test('keyrings see the whole context, on encryption and on decryption', async () => {
  const spy = new Spy()
  const cmm = requiring(spy)
  const { result } = await encrypt(cmm, 'x', { suiteId: 0x0478, encryptionContext: ALL })
  await decrypt(cmm, result, { encryptionContext: SECRET })
  for (const context of spy.contexts) assert.equal({ ...context }, ALL)
})

test('without a value for each required key, nothing is encrypted or decrypted, and no keyring is asked', async () => {
  const spy = new Spy()
  const cmm = requiring(spy)
  const { result } = await encrypt(cmm, 'x', { encryptionContext: ALL })
  spy.contexts.length = 0
  for (const encryptionContext of [{}, STORED, { tenant: 'acme-secret' }, { Ü: 'ключ' }]) {
    await rejects(encrypt(cmm, 'x', { encryptionContext }), 'ERR_ENCRYPTION_CONTEXT', /lacks the required key/)
    await rejects(decrypt(cmm, result, { encryptionContext }), 'ERR_ENCRYPTION_CONTEXT', /lacks the required key/)
  }
  await rejects(decrypt(cmm, result), 'ERR_ENCRYPTION_CONTEXT', /lacks the required key/)
  const other = { ...SECRET, purpose: 'other' }
  await rejects(decrypt(cmm, result, { encryptionContext: other }), 'ERR_ENCRYPTION_CONTEXT', /another value/)
  const unknown = { ...SECRET, color: 'blue' }
  await rejects(decrypt(cmm, result, { encryptionContext: unknown }), 'ERR_ENCRYPTION_CONTEXT', /lacks .*"color"/)
  assert.equal(spy.contexts, [])
})

test('a required key with the name of a method is a key like any other', async () => {
  const context = JSON.parse('{"__proto__":"a","constructor":"b","toString":"c"}') as EncryptionContext
  const cmm = requiring(aesKeyring(), Object.keys(context))
  await rejects(encrypt(cmm, 'x'), 'ERR_ENCRYPTION_CONTEXT')
  const { result } = await encrypt(cmm, 'x', { encryptionContext: context })
  await rejects(decrypt(cmm, result), 'ERR_ENCRYPTION_CONTEXT')
  await decrypt(cmm, result, { encryptionContext: context })
})

test('wrong values fail: in the keyring where it binds the context, else at the header', async () => {
  const wrong = { ...SECRET, tenant: 'other' }
  const cmm = requiring()
  const { result } = await encrypt(cmm, 'x', { encryptionContext: ALL })
  await rejects(decrypt(cmm, result, { encryptionContext: wrong }), 'ERR_NO_DATA_KEY')
  await rejects(decrypt(aesKeyring(), result), 'ERR_NO_DATA_KEY')

  const rsa = new RawRsaKeyringNode({
    keyNamespace: 'tests',
    keyName: 'rsa',
    rsaKey: { privateKey: RSA_PRIVATE_PEM, publicKey: RSA_PRIVATE_PEM },
  })
  for (const suiteId of [0x0478, 0x0578]) {
    const message = (await encrypt(requiring(rsa), 'x', { suiteId, encryptionContext: ALL })).result
    assert.is((await decrypt(requiring(rsa), message, { encryptionContext: SECRET })).plaintext.toString(), 'x')
    await rejects(decrypt(requiring(rsa), message, { encryptionContext: wrong }), 'ERR_AUTHENTICATION_FAILED')
    await rejects(decrypt(rsa, message), 'ERR_AUTHENTICATION_FAILED')
    const swapped = { tenant: 'ключ', Ü: 'acme-secret' }
    await rejects(decrypt(requiring(rsa), message, { encryptionContext: swapped }), 'ERR_AUTHENTICATION_FAILED')
    await rejects(
      openMessage(requiring(rsa), message, {
        encryptionContext: wrong,
        readSignedMessageWithoutVerifyingItsSignature: true,
      }),
      'ERR_AUTHENTICATION_FAILED',
    )
  }
})

test('client-node does not open such messages: what it cannot authenticate it must not accept', async () => {
  const theirs = peer.buildClient()
  const aes = new peer.RawAesKeyringNode({
    keyNamespace: 'tests',
    keyName: 'aes',
    unencryptedMasterKey: bytes(32),
    wrappingSuite: peer.RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })
  const rsaInput = {
    keyNamespace: 'tests',
    keyName: 'rsa',
    rsaKey: { privateKey: RSA_PRIVATE_PEM, publicKey: RSA_PRIVATE_PEM },
  }
  const { result } = await encrypt(requiring(), 'x', { encryptionContext: ALL })
  assert.ok(await rejectionOf(theirs.decrypt(aes, result)))
  const message = (await encrypt(requiring(new RawRsaKeyringNode(rsaInput)), 'x', { encryptionContext: ALL })).result
  const error = await rejectionOf(theirs.decrypt(new peer.RawRsaKeyringNode(rsaInput), message))
  assert.match((error as Error).message, /unable to authenticate data/)
})

test('messages that store a required pair, as older ones do, open where the pair is reproduced', async () => {
  const { result } = await encrypt(aesKeyring(), 'x', { encryptionContext: ALL })
  assert.is((await decrypt(requiring(), result, { encryptionContext: SECRET })).plaintext.toString(), 'x')
  await rejects(decrypt(requiring(), result), 'ERR_ENCRYPTION_CONTEXT')
})

test('a message that stores another value is refused before a manager is asked, which may not look', async () => {
  const { result } = await encrypt(aesKeyring(), 'x', { encryptionContext: ALL })
  const careless = new NodeDefaultCryptographicMaterialsManager(aesKeyring())
  const manager: NodeMaterialsManager = {
    requiredEncryptionContextKeys: Object.keys(SECRET),
    getEncryptionMaterials: (request) => careless.getEncryptionMaterials(request),
    decryptMaterials: ({ reproducedEncryptionContext: _, ...request }) => careless.decryptMaterials(request),
  }
  assert.is((await decrypt(manager, result, { encryptionContext: SECRET })).plaintext.toString(), 'x')
  const wrong = { encryptionContext: { ...SECRET, tenant: 'another' } }
  await rejects(decrypt(manager, result, wrong), 'ERR_ENCRYPTION_CONTEXT', /another value/)
})

test('streams and reads from the middle take the pairs too', async () => {
  const cmm = requiring()
  const plaintext = Buffer.from(bytes(10_000))
  const sealing = encryptStream(cmm, { suiteId: 0x0478, encryptionContext: ALL, frameLength: 1000 })
  sealing.end(plaintext)
  const message = await buffer(sealing)
  const opening = decryptStream(cmm, { encryptionContext: SECRET })
  opening.end(message)
  assert.ok((await buffer(opening)).equals(plaintext))
  const opened = await openMessage(cmm, message, { encryptionContext: SECRET })
  assert.ok((await opened.read(4000, 3000)).equals(plaintext.subarray(4000, 7000)))
  opened.close()
  const refused = decryptStream(cmm)
  const source = async function* () {
    yield message
  }
  await rejects(pipeline(source, refused, buffer), 'ERR_ENCRYPTION_CONTEXT')
})

test('with a cache on either side: what differs in required keys or values is never shared', async () => {
  const spy = new Spy()
  const cache = new NodeCachingMaterialsManager({
    backingMaterials: spy,
    cache: getLocalCryptographicMaterialsCache(10),
    maxAge: 1000,
  })
  const required = requiring(cache)
  const outer = new NodeCachingMaterialsManager({
    backingMaterials: requiring(spy),
    cache: getLocalCryptographicMaterialsCache(10),
    maxAge: 1000,
  })
  for (const cmm of [required, outer]) {
    spy.contexts.length = 0
    const options = { suiteId: 0x0478, encryptionContext: ALL }
    const [first, second] = [await encrypt(cmm, 'x', options), await encrypt(cmm, 'x', options)]
    assert.is(spy.contexts.length, 1)
    assert.is(second.result.indexOf('acme-secret'), -1)
    await decrypt(cmm, first.result, { encryptionContext: SECRET })
    await decrypt(cmm, second.result, { encryptionContext: SECRET })
    assert.is(spy.contexts.length, 2)
    await rejects(decrypt(cmm, first.result, { encryptionContext: { ...SECRET, tenant: 'x' } }), 'ERR_NO_DATA_KEY')
  }
  // The same context, nothing of it required: the pairs are stored again.
  const plain = await encrypt(cache, 'x', { suiteId: 0x0478, encryptionContext: ALL })
  assert.is.not(plain.result.indexOf('acme-secret'), -1)
  const other = requiring(cache, ['tenant'])
  assert.is.not((await encrypt(other, 'x', { suiteId: 0x0478, encryptionContext: ALL })).result.indexOf('ключ'), -1)
})

test('what a cache holds opens nothing for who does not name a required pair, also where the message stores it', async () => {
  const { result } = await encrypt(aesKeyring(), 'x', { encryptionContext: ALL })
  const cmm = new NodeCachingMaterialsManager({
    backingMaterials: requiring(aesKeyring()),
    cache: getLocalCryptographicMaterialsCache(10),
    maxAge: 1000,
  })
  for (let i = 0; i < 2; i++) {
    await rejects(decrypt(cmm, result), 'ERR_ENCRYPTION_CONTEXT', /lacks the required key/)
    await decrypt(cmm, result, { encryptionContext: SECRET })
  }
})

test('what is no material is refused as without the manager', async () => {
  const nothing = { getEncryptionMaterials: async () => undefined, decryptMaterials: async () => undefined } as never
  const encryptionContext = SECRET
  await rejects(encrypt(requiring(nothing), 'x', { encryptionContext }), 'ERR_INVALID_MATERIALS')
  const { result } = await encrypt(aesKeyring(), 'x', { encryptionContext })
  await rejects(decrypt(requiring(nothing), result, { encryptionContext }), 'ERR_INVALID_MATERIALS')
})

test('nested managers require the keys of both', async () => {
  const cmm = requiring(requiring(aesKeyring(), ['tenant']), ['Ü'])
  assert.equal([...cmm.requiredEncryptionContextKeys].sort(), ['tenant', 'Ü'])
  const { result } = await encrypt(cmm, 'x', { encryptionContext: ALL })
  assert.equal([result.indexOf('acme-secret'), result.indexOf('ключ')], [-1, -1])
  await rejects(decrypt(cmm, result, { encryptionContext: { tenant: 'acme-secret' } }), 'ERR_ENCRYPTION_CONTEXT')
  await decrypt(cmm, result, { encryptionContext: SECRET })
})

test('a backing manager that drops required keys is refused, and its data key wiped', async () => {
  const inner = new NodeDefaultCryptographicMaterialsManager(aesKeyring())
  const given: (NodeEncryptionMaterial | NodeDecryptionMaterial)[] = []
  const forgetful: NodeMaterialsManager = {
    getEncryptionMaterials: async ({ requiredEncryptionContextKeys: _, ...request }) => {
      const material = await inner.getEncryptionMaterials(request)
      given.push(material)
      return material
    },
    decryptMaterials: async ({ reproducedEncryptionContext: _, ...request }) => {
      const material = await inner.decryptMaterials(request)
      given.push(material)
      return material
    },
  }
  await rejects(encrypt(requiring(forgetful), 'x', { encryptionContext: ALL }), 'ERR_INVALID_MATERIALS', /dropped/)
  const { result } = await encrypt(aesKeyring(), 'x')
  const options = { encryptionContext: SECRET }
  await rejects(decrypt(requiring(forgetful), result, options), 'ERR_INVALID_MATERIALS', /dropped/)
  // The client checks too, whatever manager says that it reproduces pairs.
  const careless = { ...forgetful, requiredEncryptionContextKeys: Object.keys(SECRET) }
  await rejects(decrypt(careless, result, options), 'ERR_INVALID_MATERIALS', /do not authenticate/)
  assert.is(given.length, 3)
  for (const material of given) assert.not(material.hasValidKey())
})

test('wrong options are refused', () => {
  const make = (change: object) => () =>
    new RequiredEncryptionContextCmm({
      backingMaterials: aesKeyring(),
      requiredEncryptionContextKeys: ['a'],
      ...change,
    } as RequiredEncryptionContextCmmInput)
  make({})()
  throws(make({ backingMaterials: undefined }), TypeError, /keyring or cryptographic materials manager/)
  throws(make({ requiredEncryptionContextKeys: undefined }), TypeError, /must be an array/)
  throws(make({ requiredEncryptionContextKeys: [] }), RangeError, /must not be empty/)
  throws(make({ requiredEncryptionContextKeys: [5] }), TypeError, /"requiredEncryptionContextKeys"/)
  throws(make({ requiredEncryptionContextKeys: ['aws-crypto-public-key'] }), RangeError, /reserved/)
  throws(make({ requiredKeys: ['a'] }), TypeError, /unknown option "requiredKeys"/)
})

test.run()
