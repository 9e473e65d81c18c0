import { inspect } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  AlgorithmSuiteIdentifier,
  buildClient,
  buildDecrypt,
  buildEncrypt,
  NodeDefaultCryptographicMaterialsManager,
  NodeEncryptionMaterial,
  type SealwaxErrorCode,
} from '../../src/index'
import { getSuite } from '../../src/suites'
import { rejectionOf, rejects, thrownBy, throws } from '../support/expect'
import { aesKeyring } from '../support/keys'

type Expected = typeof TypeError | typeof RangeError | SealwaxErrorCode
type Row = [value: unknown, expected: Expected, message: RegExp]

const { encrypt, decrypt } = buildClient()
const keyring = aesKeyring()

const NOT_OBJECTS: Row[] = [null, 5, true, [], ['a'], () => {}, new Map([['a', 'b']]), Promise.resolve({})].map(
  (value) => [value, TypeError, /must be an object, got/],
)

const CLIENT: Row[] = [
  ...NOT_OBJECTS,
  ['', TypeError, /"commitmentPolicy"/],
  ['REQUIRE', TypeError, /"commitmentPolicy"/],
  ['toString', TypeError, /"commitmentPolicy"/],
  [{ commitmentPolicy: 'REQUIRE' }, TypeError, /"commitmentPolicy"/],
  [{ commitmentPolicy: ['REQUIRE_ENCRYPT_REQUIRE_DECRYPT'] }, TypeError, /"commitmentPolicy"/],
  [{ policy: 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT' }, TypeError, /unknown option "policy" of buildClient/],
  [{ commitmentpolicy: 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT' }, TypeError, /unknown option "commitmentpolicy"/],
  [{ maxEncryptedDataKeys: 0 }, RangeError, /maxEncryptedDataKeys.*got 0/],
  [{ maxEncryptedDataKeys: -1 }, RangeError, /maxEncryptedDataKeys.*got -1/],
  [{ maxEncryptedDataKeys: 1.5 }, RangeError, /"maxEncryptedDataKeys".*got 1.5/],
  [{ maxEncryptedDataKeys: Number.NaN }, RangeError, /"maxEncryptedDataKeys".*got NaN/],
  [{ maxEncryptedDataKeys: Infinity }, RangeError, /"maxEncryptedDataKeys".*got Infinity/],
  [{ maxEncryptedDataKeys: '1' }, TypeError, /"maxEncryptedDataKeys".*got "1"/],
  [{ maxEncryptedDataKeys: true }, TypeError, /"maxEncryptedDataKeys".*got true/],
]

const CONTEXT: Row[] = [
  ...[
    null,
    'a=b',
    5,
    [],
    [['a', 'b']],
    new Map([['a', 'b']]),
    new Set(['a']),
    Promise.resolve({ a: 'b' }),
    () => {},
  ].map(
    (encryptionContext): Row => [
      { encryptionContext },
      TypeError,
      /"encryptionContext" must be an object of strings, got/,
    ],
  ),
  ...[5, null, undefined, true, {}, ['b'], Buffer.from('b'), Symbol('b')].map(
    (a): Row => [{ encryptionContext: { a } }, TypeError, /"encryptionContext" must hold strings, got .* for key "a"/],
  ),
  [{ encryptionContext: { 'aws-crypto-public-key': 'x' } }, 'ERR_ENCRYPTION_CONTEXT', /aws-crypto-public-key/],
]

const SHARED: Row[] = [
  ...NOT_OBJECTS,
  ...CONTEXT,
  [{ encoding: 'utf-9' }, TypeError, /"encoding".*utf-9/],
  [{ encoding: 5 }, TypeError, /"encoding".*number/],
  [{ signal: {} }, TypeError, /"signal"/],
  [{ signal: new AbortController() }, TypeError, /"signal"/],
]

const ENCRYPT: Row[] = [
  ...SHARED,
  ['base64', TypeError, /must be an object/],
  [{ maxBodySize: 5 }, TypeError, /unknown option "maxBodySize" of encrypt/],
  [{ framelength: 5 }, TypeError, /unknown option "framelength" of encrypt/],
  [{ encryptionContext: { '\ud800': 'v' } }, TypeError, /lone surrogate/],
  [{ encryptionContext: { k: '\udc00' } }, TypeError, /lone surrogate/],
  [{ encryptionContext: { k: 'v'.repeat(65530) } }, 'ERR_LIMIT_EXCEEDED', /at most 65535 fit/],
  ...[0, -1, 2 ** 32, 1.5, Number.NaN, Infinity].map(
    (frameLength): Row => [{ frameLength }, RangeError, new RegExp(`"frameLength".*got ${frameLength}`)],
  ),
  ...['4096', 4096n, {}, [4096]].map(
    (frameLength): Row => [{ frameLength }, TypeError, /"frameLength" must be a number/],
  ),
  ...[-1, 0.5, 2 ** 53, Number.NaN].map(
    (plaintextLength): Row => [
      { plaintextLength },
      RangeError,
      new RegExp(`"plaintextLength".*got ${plaintextLength}`),
    ],
  ),
  ...['5', 5n].map((plaintextLength): Row => [{ plaintextLength }, TypeError, /"plaintextLength" must be a number/]),
  ...[0, 1, 0x0579, 0x6700, 1.5, Number.NaN, '1400', 'ALG_AES256_GCM_IV12_TAG16', { id: 0x0578 }].map(
    (suiteId): Row => [{ suiteId }, RangeError, /"suiteId" must be one of 0x0014, .*0x0578, got/],
  ),
  [
    { suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16 },
    'ERR_COMMITMENT_POLICY',
    /ALG_AES256_GCM_IV12_TAG16\./,
  ],
]

const DECRYPT: Row[] = [
  ...SHARED,
  [{ frameLength: 5 }, TypeError, /unknown option "frameLength" of decrypt/],
  [{ maxbodysize: 5 }, TypeError, /unknown option "maxbodysize" of decrypt/],
  ...[-1, 0.5, 2 ** 53, Number.NaN, Infinity].map(
    (maxBodySize): Row => [{ maxBodySize }, RangeError, new RegExp(`"maxBodySize".*got ${maxBodySize}`)],
  ),
  ...['5', 5n, {}].map((maxBodySize): Row => [{ maxBodySize }, TypeError, /"maxBodySize" must be a number/]),
]

const CMMS: unknown[] = [undefined, null, 5, 'keyring', {}, [], () => {}, { onEncrypt() {} }]

const SOURCES: unknown[] = [
  undefined,
  null,
  5,
  5n,
  true,
  {},
  [1, 2, 3],
  { length: 3, 0: 1 },
  new ArrayBuffer(8),
  new DataView(new ArrayBuffer(8)),
  new Uint16Array(4),
  Promise.resolve(Buffer.of(1)),
  new Proxy(new Uint8Array(3), {}),
  Object.create(Uint8Array.prototype),
]

for (const [i, [value, expected, message]] of CLIENT.entries()) {
  test(`buildClient refuses ${label(value)} (${i})`, () => {
    for (const build of [buildClient, buildEncrypt, buildDecrypt])
      throws(() => build(value as never), expected, message)
  })
}

for (const [i, [value, expected, message]] of ENCRYPT.entries()) {
  test(`encrypt refuses ${label(value)} (${i})`, async () => {
    await rejects(encrypt(keyring, 'x', value as never), expected, message)
  })
}

for (const [i, [value, expected, message]] of DECRYPT.entries()) {
  test(`decrypt refuses ${label(value)} (${i})`, async () => {
    const { result } = await encrypt(keyring, 'x')
    await rejects(decrypt(keyring, result, value as never), expected, message)
  })
}

for (const [i, value] of CMMS.entries()) {
  test(`neither takes ${label(value)} for a keyring (${i})`, async () => {
    const message = /a keyring or cryptographic materials manager is needed, got/
    await rejects(encrypt(value as never, 'x'), TypeError, message)
    await rejects(decrypt(value as never, Buffer.of(2)), TypeError, message)
  })
}

for (const [i, value] of SOURCES.entries()) {
  test(`neither takes ${label(value)} for bytes (${i})`, async () => {
    await rejects(encrypt(keyring, value as never), TypeError, /^Unsupported plaintext\. .*got/)
    await rejects(decrypt(keyring, value as never), TypeError, /^Unsupported ciphertext format.*got/)
  })
}

test('a stream of something else than bytes or text is refused', async () => {
  const numbers = async function* () {
    yield 5
  }
  await rejects(
    encrypt(keyring, numbers() as never),
    TypeError,
    /A stream must give bytes or strings, it gave a number/,
  )
  await rejects(
    decrypt(keyring, numbers() as never),
    TypeError,
    /A stream must give bytes or strings, it gave a number/,
  )
})

test('no error tells what was to be secret', async () => {
  const { encryptMany } = buildClient()
  const secret = '0123456789abcdef'
  const digits = 123456789
  const material = new NodeEncryptionMaterial(getSuite(0x0478), {}, [])
  const texts = [
    await rejectionOf(encryptMany(keyring, secret as never)),
    await rejectionOf(encryptMany(keyring, digits as never)),
    await rejectionOf(encrypt(keyring, digits as never)),
    await rejectionOf(encrypt(keyring, 'x', { encryptionContext: secret as never })),
    await rejectionOf(encrypt(keyring, 'x', { encryptionContext: { number: digits } as never })),
    (await encryptMany(keyring, [digits as never]))[0],
    thrownBy(() => material.setUnencryptedDataKey(secret as never, {} as never)),
    thrownBy(() => aesKeyring({ unencryptedMasterKey: secret as never })),
  ].map((error) => inspect(error))
  for (const text of texts) assert.match(text, /TypeError/)
  for (const text of texts) for (const told of [secret, String(digits)]) assert.not.match(text, told)
})

test('an option that is undefined is as good as none', async () => {
  const none = undefined as never
  const encryptOptions = {
    suiteId: none,
    encryptionContext: none,
    frameLength: none,
    plaintextLength: none,
    signal: none,
  }
  const { result } = await encrypt(keyring, 'x', encryptOptions)
  await decrypt(keyring, result, { encryptionContext: none, maxBodySize: none, encoding: none, signal: none })
})

function label(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  try {
    return JSON.stringify(value, (_, part) => (typeof part === 'object' ? part : String(part).slice(0, 30)))
  } catch {
    return Object.prototype.toString.call(value)
  }
}

test('null is as not given, but for a context, which may be a demand', async () => {
  const none = { commitmentPolicy: null, maxEncryptedDataKeys: null } as never
  const { encrypt, decrypt } = buildClient(none)
  const options = { suiteId: null, frameLength: null, plaintextLength: null, encoding: null, signal: null } as never
  const { result, messageHeader } = await encrypt(keyring, 'text', options)
  assert.is(messageHeader.frameLength, 4096)
  const opened = await decrypt(keyring, result, { maxBodySize: null, encoding: null, signal: null } as never)
  assert.is(String(opened.plaintext), 'text')
  await rejects(decrypt(keyring, result, { encryptionContext: null } as never), TypeError, /"encryptionContext"/)
})

test('a manager that only encrypts, or only decrypts, does that', async () => {
  const whole = new NodeDefaultCryptographicMaterialsManager(keyring)
  const encrypting = { getEncryptionMaterials: (request: never) => whole.getEncryptionMaterials(request) } as never
  const decrypting = { decryptMaterials: (request: never) => whole.decryptMaterials(request) } as never
  const { result } = await encrypt(encrypting, 'text')
  assert.is(String((await decrypt(decrypting, result)).plaintext), 'text')
  await rejects(decrypt(encrypting, result), TypeError, /lacks decryptMaterials/)
  await rejects(encrypt(decrypting, 'text'), TypeError, /lacks getEncryptionMaterials/)
})

test.run()
