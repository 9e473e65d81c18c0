import crypto, {
  constants,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  privateDecrypt,
  publicEncrypt,
} from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  buildClient,
  EncryptedDataKey,
  NodeDecryptionMaterial,
  NodeEncryptionMaterial,
  RawRsaKeyringNode,
  type RawRsaKeyringNodeInput,
  type SealwaxError,
} from '../../src/index'
import { abandon, dataKeyOf } from '../../src/materials/materials'
import { getSuite } from '../../src/suites'
import { rejectionOf, rejects, throws } from '../support/expect'
import { givenBy } from '../support/given-by'
import { bytes, RSA_PRIVATE_PEM } from '../support/keys'

const SUITE = getSuite(0x0478)
const publicKey = createPublicKey(RSA_PRIVATE_PEM).export({ format: 'pem', type: 'spki' })
const privateKey = RSA_PRIVATE_PEM
const encrypted = createPrivateKey(RSA_PRIVATE_PEM).export({
  format: 'pem',
  type: 'pkcs8',
  cipher: 'aes-256-cbc',
  passphrase: 'secret',
})
const ecKey = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const { encrypt, decrypt } = buildClient()

const WRONG: [Record<string, unknown>, typeof TypeError | typeof RangeError, RegExp][] = [
  [{ keyNamespace: '' }, RangeError, /"keyNamespace"/],
  [{ keyNamespace: null }, TypeError, /"keyNamespace"/],
  [{ keyName: '' }, RangeError, /"keyName"/],
  [{ keyName: 5 }, TypeError, /"keyName"/],
  [{ rsaKey: null }, TypeError, /"rsaKey"/],
  [{ rsaKey: publicKey }, TypeError, /"rsaKey"/],
  [{ rsaKey: {} }, TypeError, /No Key provided. "rsaKey"/],
  [{ rsaKey: { publicKey, privatekey: privateKey } }, TypeError, /unknown option "privatekey" of "rsaKey"/],
  [{ rsaKey: { publicKey: 5 } }, TypeError, /"rsaKey.publicKey"/],
  [{ rsaKey: { publicKey: 'no PEM' } }, TypeError, /"rsaKey.publicKey" is not a public key in PEM$/],
  [{ rsaKey: { privateKey: publicKey } }, TypeError, /"rsaKey.privateKey" is not a private key in PEM$/],
  [{ rsaKey: { privateKey: encrypted } }, TypeError, /"rsaKey.privateKey" has a passphrase/],
  [{ rsaKey: { privateKey: createPublicKey(publicKey) } }, TypeError, /"rsaKey.privateKey" must be an RSA private key/],
  [{ rsaKey: ecKey }, TypeError, /"rsaKey.publicKey" must be an RSA public key/],
  [{ padding: 0 }, RangeError, /"padding"/],
  [{ padding: constants.RSA_NO_PADDING }, RangeError, /"padding"/],
  [{ padding: '4' }, RangeError, /"padding"/],
  [{ oaepHash: 'md5' }, RangeError, /"oaepHash" must be one of sha1, sha256, sha384, sha512/],
  [{ oaepHash: 'sha256', padding: constants.RSA_PKCS1_PADDING }, TypeError, /"oaepHash" goes with OAEP padding only/],
  [{ oaephash: 'sha256' }, TypeError, /unknown option "oaephash"/],
]

for (const [i, [change, expected, message]] of WRONG.entries()) {
  test(`refuses ${Object.keys(change)[0]} (${i})`, () => {
    throws(() => keyring(change as never), expected, message)
  })
}

const KEY_FORMS: [string, RawRsaKeyringNodeInput['rsaKey']][] = [
  ['PEM text', { publicKey, privateKey }],
  ['PEM bytes', { publicKey: Buffer.from(publicKey), privateKey: Buffer.from(privateKey) }],
  ['private KeyObjects', { publicKey: createPrivateKey(privateKey), privateKey: createPrivateKey(privateKey) }],
  ['KeyObjects', { publicKey: createPublicKey(publicKey), privateKey: createPrivateKey(privateKey) }],
]
for (const [name, rsaKey] of KEY_FORMS) {
  for (const oaepHash of ['sha1', 'sha256', 'sha384', 'sha512', undefined] as const) {
    test(`opens what it wrapped: ${name}, ${oaepHash}`, async () => {
      const { result } = await encrypt(keyring({ rsaKey, oaepHash }), 'x')
      assert.is((await decrypt(keyring({ rsaKey, oaepHash }), result)).plaintext.toString(), 'x')
    })
  }
}

test('with a public key alone it encrypts, with a private one alone it decrypts', async () => {
  const { result, messageHeader } = await encrypt(keyring({ rsaKey: { publicKey } }), 'x')
  assert.is(messageHeader.encryptedDataKeys[0]!.providerInfo, 'k')
  assert.is((await decrypt(keyring({ rsaKey: { privateKey } }), result)).plaintext.toString(), 'x')
  await rejects(decrypt(keyring({ rsaKey: { publicKey } }), result), 'ERR_NO_DATA_KEY', /No private key/)
  await rejects(encrypt(keyring({ rsaKey: { privateKey } }), 'x'), 'ERR_WRAPPING_KEY', /No public key/)
})

test('another hash than it was wrapped with does not open, and says no more than that', async () => {
  const { result } = await encrypt(keyring({ oaepHash: 'sha256' }), 'x')
  for (const oaepHash of ['sha1', 'sha384', 'sha512', undefined] as const) {
    const error = (await rejects(decrypt(keyring({ oaepHash }), result), 'ERR_NO_DATA_KEY')) as SealwaxError
    assert.is((error.errors![0] as SealwaxError).code, 'ERR_AUTHENTICATION_FAILED')
    assert.is(error.errors![0]!.message, 'raw RSA key "n/k" could not open its encrypted data key')
  }
})

test('every way to fail looks alike: padding, length of the data key, length of the wrapped key', async () => {
  const padding = constants.RSA_PKCS1_OAEP_PADDING
  const wrapped = [
    publicEncrypt({ key: publicKey, padding, oaepHash: 'sha256' }, bytes(32)),
    publicEncrypt({ key: publicKey, padding }, bytes(31)),
    publicEncrypt({ key: publicKey, padding }, bytes(0)),
    Buffer.from(bytes(256)),
    Buffer.from(bytes(255)),
    Buffer.alloc(256, 0xff),
  ]
  for (const encryptedDataKey of wrapped) {
    const { failures } = await unwrap(keyring(), { encryptedDataKey })
    assert.equal(
      failures.map((failure) => failure.message),
      ['raw RSA key "n/k" could not open its encrypted data key'],
    )
  }
})

test('a key of another name is not tried, whatever its bytes look like as text', async () => {
  const encryptedDataKey = publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING }, bytes(32))
  const opened = await unwrap(keyring({ keyName: '\ufffd' }), { encryptedDataKey, providerInfo: '\ufffd' })
  assert.equal(Uint8Array.from(dataKeyOf(opened)), bytes(32))
  for (const fields of [{ providerId: 'N' }, { providerInfo: 'kk' }, { rawInfo: Buffer.from('kk') }]) {
    const material = await unwrap(keyring(), { encryptedDataKey, ...fields })
    assert.not.ok(material.hasValidKey())
    assert.is(material.failures.length, 0, 'it was not even tried')
  }
  const rawInfo = Buffer.of(0xff)
  const lossy = await unwrap(keyring({ keyName: '\ufffd' }), { encryptedDataKey, providerInfo: '\ufffd', rawInfo })
  assert.not.ok(lossy.hasValidKey(), 'bytes that are no UTF-8 are not the name U+FFFD')
})

test('PKCS #1 v1.5 padding is unwrapped only where Node.js does it safely', async () => {
  const old = keyring({ padding: constants.RSA_PKCS1_PADDING })
  const { result } = await encrypt(old, 'x')
  const attempt = await rejectionOf(decrypt(old, result))
  if (unwrapsPkcs1()) return assert.is(attempt, undefined)
  const error = (await rejects(decrypt(old, result), 'ERR_NO_DATA_KEY', /PKCS #1 v1.5/)) as SealwaxError
  assert.is((error.errors![0] as SealwaxError).code, 'ERR_WRAPPING_KEY')
})

function keyring(change: Partial<RawRsaKeyringNodeInput> = {}): RawRsaKeyringNode {
  return new RawRsaKeyringNode({ keyNamespace: 'n', keyName: 'k', rsaKey: { publicKey, privateKey }, ...change })
}

function unwrap(by: RawRsaKeyringNode, fields: Partial<ConstructorParameters<typeof EncryptedDataKey>[0]>) {
  const edk = new EncryptedDataKey({ providerId: 'n', providerInfo: 'k', encryptedDataKey: bytes(1), ...fields })
  return by.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [edk])
}

function unwrapsPkcs1(): boolean {
  const padding = constants.RSA_PKCS1_PADDING
  try {
    return (
      privateDecrypt({ key: privateKey, padding }, publicEncrypt({ key: publicKey, padding }, bytes(32))).length === 32
    )
  } catch {
    return false
  }
}

test('what RSA makes of a wrapped data key is wiped, of the right length and of another', async () => {
  const own = keyring()
  const { encryptedDataKeys } = await own.onEncrypt(new NodeEncryptionMaterial(SUITE, {}))
  const made = await givenBy([[crypto, 'privateDecrypt']], async () => {
    for (const suite of [SUITE, getSuite(0x0114)]) {
      await own.onDecrypt(new NodeDecryptionMaterial(suite, {}), encryptedDataKeys)
    }
  })
  assert.equal(made, [Buffer.alloc(32), Buffer.alloc(32)])
})

test('a data key that does not open leaves the next one its chance', async () => {
  const keyring = new RawRsaKeyringNode({ keyNamespace: 'n', keyName: 'k', rsaKey: { publicKey, privateKey } })
  const sealed = await keyring.onEncrypt(new NodeEncryptionMaterial(SUITE, {}))
  const [edk] = sealed.encryptedDataKeys
  const broken = new EncryptedDataKey({ providerId: 'n', providerInfo: 'k', encryptedDataKey: bytes(256) })
  const material = await keyring.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [broken, edk!])
  assert.ok(Buffer.from(dataKeyOf(material)).equals(dataKeyOf(sealed)))
  assert.is(material.failures.length, 1)
})

test('other events have their turn between the keys of a message, and no more are tried once it is given up', async () => {
  const keyring = new RawRsaKeyringNode({ keyNamespace: 'n', keyName: 'k', rsaKey: { publicKey, privateKey } })
  const edks = Array.from({ length: 200 }, () => {
    return new EncryptedDataKey({ providerId: 'n', providerInfo: 'k', encryptedDataKey: bytes(256) })
  })
  const material = new NodeDecryptionMaterial(SUITE, {})
  setImmediate(() => abandon(material))
  await keyring.onDecrypt(material, edks)
  assert.ok(material.failures.length > 0 && material.failures.length < 5, `${material.failures.length}`)
})

test.run()
