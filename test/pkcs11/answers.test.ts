/** What keyrings make of answers that the tokens of other tests do not give. Needs no token. */
import type { Socket } from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  EncryptedDataKey,
  MultiKeyringNode,
  NodeDecryptionMaterial,
  NodeEncryptionMaterial,
  SealwaxError,
} from '../../src/index'
import { tokenError } from '../../src/keyrings/pkcs11-errors'
import { checkerOf } from '../../src/keyrings/pkcs11-key'
import { publicKeyOf } from '../../src/keyrings/pkcs11-rsa'
import { WireReader, WireWriter } from '../../src/keyrings/pkcs11-wire'
import { abandon } from '../../src/materials/materials'
import {
  type KeyDescription,
  Pkcs11AesKeyring,
  Pkcs11RsaKeyring,
  Pkcs11Token,
  S3Pkcs11AesKeyring,
  S3Pkcs11RsaKeyring,
  type TokenDescription,
} from '../../src/pkcs11'
import { getSuite } from '../../src/suites'
import { checkError, rejects, throws } from '../support/expect'
import { givenBy, secretsMadeBy } from '../support/given-by'
import { aesKeyring, bytes } from '../support/keys'

type Crypt = Pkcs11Token['_crypt']

const SUITE = getSuite(0x0478)
const SHORT_SUITE = getSuite(0x0014)
const names = { keyNamespace: 'tests', keyName: 'aes' }

function tokenOf(answer: (...args: Parameters<Crypt>) => Uint8Array | undefined): Pkcs11Token {
  return Object.create(Pkcs11Token.prototype, {
    _crypt: { value: async (...args: Parameters<Crypt>) => answer(...args) },
  })
}

/** The answers, one after the other, and how many have been given. */
function answering(...answers: readonly (Uint8Array | undefined)[]): { token: Pkcs11Token; asked: () => number } {
  let asked = 0
  return { token: tokenOf(() => answers[asked++]), asked: () => asked }
}

async function edkOf(suite = SUITE, more = {}): Promise<EncryptedDataKey> {
  const [edk] = (await aesKeyring({ ...names, ...more }).onEncrypt(new NodeEncryptionMaterial(suite, {})))
    .encryptedDataKeys
  return edk!
}

function rsaEdk(first: number, more = {}): EncryptedDataKey {
  return new EncryptedDataKey({
    providerId: 'tests',
    providerInfo: 'rsa',
    encryptedDataKey: Buffer.from(bytes(256, first)),
    ...more,
  })
}

const rsaKeyring = (token: Pkcs11Token, more = {}) =>
  new Pkcs11RsaKeyring({ token, key: 'rsa', keyNamespace: 'tests', keyName: 'rsa', ...more })

test('a data key of another length is wiped, and the next encrypted data key is tried', async () => {
  for (const length of [16, 31, 33]) {
    const wrong = bytes(length)
    const { token, asked } = answering(wrong, bytes(32))
    const opening = new NodeDecryptionMaterial(SUITE, {})
    await rsaKeyring(token).onDecrypt(opening, [rsaEdk(1), rsaEdk(2)])
    assert.equal([opening.getUnencryptedDataKey().export(), asked()], [Buffer.from(bytes(32)), 2])
    assert.is(opening.failures.length, 1)
    assert.equal(wrong, new Uint8Array(length))
  }
  const wrong = bytes(31)
  const { token, asked } = answering(wrong, bytes(32))
  const opening = new NodeDecryptionMaterial(SUITE, {})
  const edks = [await edkOf(SHORT_SUITE), await edkOf(), await edkOf()]
  await new Pkcs11AesKeyring({ token, key: 'aes', ...names }).onDecrypt(opening, edks)
  assert.equal([opening.hasValidKey(), opening.failures.length], [true, 2])
  assert.is(asked(), 2, 'the data key of the short suite shows by its length')
  assert.equal(wrong, new Uint8Array(31))
})

test('encrypted data keys of other names are no matter of the token', async () => {
  const { token, asked } = answering(bytes(32))
  const aes = new Pkcs11AesKeyring({ token, key: 'aes', ...names })
  const others = [await edkOf(SUITE, { keyNamespace: 'other' }), await edkOf(SUITE, { keyName: 'other' })]
  const opening = new NodeDecryptionMaterial(SUITE, {})
  await aes.onDecrypt(opening, others)
  const otherRsa = [rsaEdk(1, { providerId: 'other' }), rsaEdk(1, { providerInfo: 'other' })]
  await rsaKeyring(token).onDecrypt(opening, otherRsa)
  assert.equal([asked(), opening.failures.length], [0, 0])
  await aes.onDecrypt(opening, [...others, await edkOf()])
  assert.equal([asked(), opening.hasValidKey()], [1, true])
})

test('of what a token says to the orders of an encryption context, the first is told', async () => {
  const answers = ['CKR_FUNCTION_FAILED', 'CKR_HOST_MEMORY']
  const token = tokenOf(() => {
    throw tokenError({ ckr: answers.shift()!, value: 0, call: 'C_Decrypt' })
  })
  const opening = new NodeDecryptionMaterial(SUITE, { a: '1', B: '2' })
  await new Pkcs11AesKeyring({ token, key: 'aes', ...names }).onDecrypt(opening, [await edkOf()])
  assert.equal(answers, [])
  checkError(opening.failures[0], 'ERR_KEY_SERVICE', /CKR_FUNCTION_FAILED/)
})

test('once a message is given up, no other encrypted data key of it is tried', async () => {
  for (const edks of [
    [await edkOf(), await edkOf()],
    [rsaEdk(1), rsaEdk(2)],
  ]) {
    const opening = new NodeDecryptionMaterial(SUITE, {})
    let asked = 0
    const token = tokenOf(() => {
      asked++
      abandon(opening)
      return undefined
    })
    await new Pkcs11AesKeyring({ token, key: 'aes', ...names }).onDecrypt(opening, edks)
    await rsaKeyring(token).onDecrypt(opening, edks)
    assert.is(asked, 1)
  }
})

test('what takes the place of a wrong v1.5 padding is of the right length, and nobody else can tell it', async () => {
  const { token } = answering()
  const [one, two] = [1, 2].map(() => rsaKeyring(token, { padding: 'pkcs1v15' }))
  const open = async (keyring: Pkcs11RsaKeyring, edk: EncryptedDataKey, suite = SUITE) =>
    (await keyring.onDecrypt(new NodeDecryptionMaterial(suite, {}), [edk])).getUnencryptedDataKey().export()
  const substitutes = [await open(one!, rsaEdk(1)), await open(two!, rsaEdk(1)), await open(one!, rsaEdk(2))]
  assert.is(new Set(substitutes.map((key) => key.toString('hex'))).size, 3)
  assert.equal(await open(one!, rsaEdk(1)), substitutes[0])
  assert.is((await open(one!, rsaEdk(1), SHORT_SUITE)).length, 16)
})

test('what takes the place of a wrong padding of an S3 object is known to nobody else', async () => {
  const open = async (keyring: S3Pkcs11RsaKeyring, first: number) =>
    Buffer.from((await keyring.unwrapDataKey(s3Request('RSA', bytes(256, first))))!).toString('hex')
  const [one, two] = [1, 2].map(() => new S3Pkcs11RsaKeyring({ token: tokenOf(() => new Uint8Array(256)), key: 'rsa' }))
  const substitutes = [await open(one!, 1), await open(two!, 1), await open(one!, 2)]
  assert.is(new Set(substitutes).size, 3)
  assert.is(await open(one!, 1), substitutes[0])
})

test('a decrypted block without its leading zero is the same block; a longer one is none; both are wiped', async () => {
  const dataKey = bytes(32)
  const block = Buffer.concat([Buffer.of(0, 2), Buffer.alloc(221, 0x55), Buffer.of(0), dataKey])
  for (const opened of [Uint8Array.from(block), Uint8Array.from(block.subarray(1))]) {
    const keyring = new S3Pkcs11RsaKeyring({ token: tokenOf(() => opened), key: 'rsa' })
    assert.equal(Buffer.from((await keyring.unwrapDataKey(s3Request('RSA', bytes(256))))!), Buffer.from(dataKey))
    assert.equal(opened, new Uint8Array(opened.length))
  }
  for (const algorithm of ['RSA', 'RSA/ECB/OAEPWithSHA-256AndMGF1Padding'] as const) {
    const keyring = new S3Pkcs11RsaKeyring({ token: tokenOf(() => new Uint8Array(257)), key: 'rsa' })
    await rejects(keyring.unwrapDataKey(s3Request(algorithm, bytes(256))), 'ERR_AUTHENTICATION_FAILED')
  }
})

test('an unwrapped data key of a length that none has is wiped, and does not open', async () => {
  for (const length of [0, 8, 31, 33, 40]) {
    const opened = bytes(length)
    const keyring = new S3Pkcs11AesKeyring({ token: tokenOf(() => opened), key: 'aes' })
    await rejects(keyring.unwrapDataKey(s3Request('AESWrap', bytes(48))), 'ERR_AUTHENTICATION_FAILED')
    assert.equal(opened, new Uint8Array(length))
  }
})

test('a data key that the token does not wrap is wiped; one that was given is not', async () => {
  const seen: Uint8Array[] = []
  const token = tokenOf((_key, _head, ...body) => {
    seen.push(body.at(-1)!)
    throw new SealwaxError('ERR_KEY_SERVICE', 'broken')
  })
  const keyring = new S3Pkcs11AesKeyring({ token, key: 'aes' })
  const request = { contentAlgorithm: '115', encryptionContext: {} }
  await rejects(keyring.wrapDataKey(request), 'ERR_KEY_SERVICE')
  const dataKey = bytes(32)
  await rejects(keyring.wrapDataKey({ ...request, dataKey }), 'ERR_KEY_SERVICE')
  assert.equal(
    seen.map((bytes) => Buffer.from(bytes)),
    [Buffer.alloc(32), Buffer.alloc(32)],
  )
  assert.equal(dataKey, bytes(32))
})

test('what a token opens of its first wrap is compared and wiped; later ones are not opened', async () => {
  for (const change of [0, 1]) {
    let opened: Uint8Array | undefined
    const asked: string[] = []
    const token = tokenOf((_key, { op }, iv, aad, dataKey) => {
      asked.push(op)
      if (op === 'encrypt') return Buffer.concat([iv!, dataKey!, Buffer.alloc(16)])
      opened = Uint8Array.from(wrapped!)
      opened[0]! ^= change
      void aad
      return opened
    })
    let wrapped: Uint8Array | undefined
    const keyring = new S3Pkcs11AesKeyring({ token, key: 'aes' })
    const wrap = async () => {
      wrapped = bytes(32)
      await keyring.wrapDataKey({ contentAlgorithm: '115', encryptionContext: {}, dataKey: wrapped })
    }
    for (let i = 0; i < 2; i++)
      if (change) await rejects(wrap(), 'ERR_KEY_SERVICE', /does not open what it has wrapped/)
      else await wrap()
    assert.equal(asked, ['encrypt', 'decrypt', 'encrypt', ...(change ? ['decrypt'] : [])])
    assert.equal(opened, new Uint8Array(32))
  }
})

test('an encrypted data key of another length than it must have is refused', async () => {
  for (const length of [undefined, 0, 59, 61]) {
    const token = tokenOf(() => (length === undefined ? undefined : bytes(length)))
    const material = new NodeEncryptionMaterial(SUITE, {})
    const wrapping = new Pkcs11AesKeyring({ token, key: 'aes', ...names }).onEncrypt(material)
    await rejects(wrapping, 'ERR_KEY_SERVICE', /an encrypted data key of a wrong length/)
  }
})

test('the encryption context is authenticated in the order that the keyring is told', async () => {
  for (const [utf8Sorting, pairs] of [
    [false, '\0\x01a\0\x011\0\x01B\0\x012'],
    [true, '\0\x01B\0\x012\0\x01a\0\x011'],
  ] as const) {
    const authenticated: string[] = []
    const token = tokenOf((_key, _head, _iv, aad) => {
      authenticated.push(Buffer.from(aad!).toString('latin1'))
      return undefined
    })
    const material = new NodeEncryptionMaterial(SUITE, { a: '1', B: '2' })
    await rejects(
      new Pkcs11AesKeyring({ token, key: 'aes', ...names, utf8Sorting }).onEncrypt(material),
      'ERR_KEY_SERVICE',
    )
    assert.equal(authenticated, [`\0\x02${pairs}`])
  }
})

test('a keyring whose token makes data keys wraps the one that there is', async () => {
  const seen: Uint8Array[] = []
  const token = tokenOf((_key, { op }, iv, _aad, dataKey) => {
    if (op === 'encrypt') seen.push(Uint8Array.from(dataKey!))
    return op === 'encrypt' ? Buffer.concat([iv!, dataKey!, Buffer.alloc(16)]) : Uint8Array.from(seen.at(-1)!)
  })
  const child = new Pkcs11AesKeyring({ token, key: 'aes', ...names, dataKeySource: 'token' })
  const multi = new MultiKeyringNode({ generator: aesKeyring(), children: [child] })
  const material = await multi.onEncrypt(new NodeEncryptionMaterial(SUITE, {}))
  assert.is(material.encryptedDataKeys.length, 2)
  assert.equal(
    seen.map((key) => Buffer.from(key)),
    [material.getUnencryptedDataKey().export()],
  )
})

test('a key is refused where its token, or the key, cannot do what is needed, or where it can leave in clear', () => {
  const check = checkerOf('CKM_AES_GCM', ['encrypt', 'decrypt'])
  const all = { encrypt: true, decrypt: true, sensitive: true, extractable: false }
  const ask = (key: Partial<KeyDescription>, uses: readonly string[]) =>
    check(
      { label: 'k', id: '', ...all, ...key } as KeyDescription,
      {
        label: 't',
        mechanisms: { CKM_AES_GCM: uses, CKM_AES_ECB: ['encrypt', 'decrypt'] },
      } as unknown as TokenDescription,
    )
  const both = ['encrypt', 'decrypt']
  for (const key of [{}, { extractable: true }, { sensitive: false }]) ask(key, both)
  for (const [key, uses, message] of [
    [{}, ['encrypt'], /"t" does not decrypt with CKM_AES_GCM/],
    [{}, ['decrypt'], /"t" does not encrypt with CKM_AES_GCM/],
    [{}, undefined, /"t" does not encrypt with CKM_AES_GCM/],
    [{ encrypt: false }, both, /"k".* is not allowed to encrypt/],
    [{ decrypt: false }, both, /"k".* is not allowed to decrypt/],
    [{ sensitive: false, extractable: true }, both, /"k".* can be read in clear/],
  ] as const)
    throws(() => ask(key, uses as never), 'ERR_WRAPPING_KEY', message)
})

test('a private key that does not tell all of its public half says what to give', () => {
  for (const known of [{}, { modulus: 'c5' }, { publicExponent: '010001' }])
    throws(
      () => publicKeyOf({ label: 'k', ...known } as unknown as KeyDescription),
      'ERR_WRAPPING_KEY',
      /"k": give "publicKey"/,
    )
})

test('what is said to a process, and heard of it, is wiped once it has gone on, and nothing else is', async () => {
  const written: { bytes: Buffer; done: () => void }[] = []
  const socket = { write: (bytes: Buffer, done: () => void) => written.push({ bytes, done }) }
  const writer = new WireWriter(socket as unknown as Socket)
  const heard: unknown[] = []
  const reader = new WireReader()
  for (const id of [1, 2]) {
    writer.send(id, { result: null }, bytes(5, id))
    writer.flush()
  }
  const [first, second] = written
  const copy = Buffer.from(first!.bytes)
  const hear = (piece: Buffer) => reader.push(piece, (...message) => heard.push(message))
  const kept = await secretsMadeBy(() => hear(copy.subarray(0, 7)))
  const joined = await givenBy([[Buffer, 'concat']], () => hear(copy.subarray(7)))
  first!.done()
  assert.equal([kept.length, joined.length], [1, 1])
  for (const gone of [first!.bytes, copy, ...kept, ...joined])
    assert.equal(Buffer.from(gone), Buffer.alloc(gone.length))
  hear(second!.bytes)
  assert.equal(second!.bytes, Buffer.alloc(copy.length))
  assert.equal(heard, [
    [1, { result: null }, bytes(5, 1)],
    [2, { result: null }, bytes(5, 2)],
  ])
})

test('what has not been said yet is wiped where it was, once there is more to say than has room there', () => {
  const written: Buffer[] = []
  const writer = new WireWriter({ write: (bytes: Buffer) => written.push(bytes) } as unknown as Socket)
  writer.send(1, { result: null }, bytes(5))
  writer.flush()
  writer.send(2, { result: null }, bytes(5))
  writer.send(3, { result: null }, new Uint8Array(0x10000))
  const { buffer, length } = written[0]!
  assert.equal(Buffer.from(buffer, length), Buffer.alloc(buffer.byteLength - length))
})

function s3Request(
  wrapAlgorithm: 'RSA' | 'RSA/ECB/OAEPWithSHA-256AndMGF1Padding' | 'AESWrap',
  encryptedDataKey: Uint8Array,
) {
  return { wrapAlgorithm, encryptedDataKey, contentAlgorithm: 'AES/CBC/PKCS5Padding', materialDescription: {} }
}

test.run()
