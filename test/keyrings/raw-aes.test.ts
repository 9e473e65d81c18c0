import { execFileSync } from 'node:child_process'
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  buildClient,
  EncryptedDataKey,
  KeyringTraceFlag,
  NodeDecryptionMaterial,
  NodeEncryptionMaterial,
  RawAesKeyringNode,
} from '../../src/index'
import { dataKeyOf } from '../../src/materials/materials'
import { getSuite } from '../../src/suites'
import { rejects, throws } from '../support/expect'
import { aesKeyring, bytes } from '../support/keys'
import { countComparisons, countTurns } from '../support/work'

const SUITE = getSuite(0x0478)
const input = { keyNamespace: 'n', keyName: 'k', unencryptedMasterKey: bytes(32), wrappingSuite: 0x78 }

const WRONG: [Record<string, unknown>, typeof TypeError | typeof RangeError, RegExp][] = [
  [{ keyNamespace: undefined }, TypeError, /"keyNamespace"/],
  [{ keyNamespace: '' }, RangeError, /"keyNamespace"/],
  [{ keyNamespace: 5 }, TypeError, /"keyNamespace"/],
  [{ keyName: undefined }, TypeError, /"keyName"/],
  [{ keyName: '' }, RangeError, /"keyName"/],
  [{ keyName: Buffer.from('k') }, TypeError, /"keyName"/],
  [{ keyName: '\ud800' }, TypeError, /lone surrogate/],
  [{ wrappingSuite: undefined }, RangeError, /"wrappingSuite" must be one of 0x14 \(AES-128\), 0x46 \(AES-192\), 0x78/],
  [{ wrappingSuite: 0x0178 }, RangeError, /"wrappingSuite".*got 376/],
  [{ wrappingSuite: 'AES256_GCM_IV12_TAG16_NO_PADDING' }, RangeError, /"wrappingSuite"/],
  [{ wrappingSuite: 0x14 }, RangeError, /"unencryptedMasterKey" must be 16 bytes, got 32/],
  [{ unencryptedMasterKey: undefined }, TypeError, /"unencryptedMasterKey"/],
  [{ unencryptedMasterKey: 'k'.repeat(32) }, TypeError, /"unencryptedMasterKey".*got a string$/],
  [{ unencryptedMasterKey: new ArrayBuffer(32) }, TypeError, /"unencryptedMasterKey"/],
  [{ unencryptedMasterKey: new Uint16Array(16) }, TypeError, /"unencryptedMasterKey"/],
  [{ unencryptedMasterKey: bytes(31) }, RangeError, /"unencryptedMasterKey" must be 32 bytes, got 31/],
  [{ unencryptedMasterKey: bytes(33) }, RangeError, /"unencryptedMasterKey" must be 32 bytes, got 33/],
  [{ unencryptedMasterKey: new Uint8Array(0) }, RangeError, /"unencryptedMasterKey" must be 32 bytes, got 0/],
  [{ unencryptedMasterKey: new Uint8Array(32) }, RangeError, /"unencryptedMasterKey" is all zeros/],
  [{ utf8Sorting: 'true' }, TypeError, /"utf8Sorting"/],
  [{ utf8sorting: true }, TypeError, /unknown option "utf8sorting"/],
]

for (const [i, [change, expected, message]] of WRONG.entries()) {
  test(`refuses ${Object.keys(change)[0]} (${i})`, () => {
    throws(() => new RawAesKeyringNode({ ...input, ...change } as never), expected, message)
  })
}

test('refuses to be made of nothing', () => {
  for (const none of [undefined, null, 'k', []]) throws(() => new RawAesKeyringNode(none as never), TypeError)
})

test('copies the key and leaves the caller its own', async () => {
  const whole = bytes(64)
  const mine = whole.subarray(16, 48)
  const keyring = aesKeyring({ unencryptedMasterKey: mine })
  assert.equal(whole, bytes(64))
  const { result } = await buildClient().encrypt(keyring, 'x')
  mine.fill(0)
  assert.is((await buildClient().decrypt(keyring, result)).plaintext.toString(), 'x')
})

test('wraps as the specification says', async () => {
  const context = { b: '2', a: '1' }
  const material = await aesKeyring({ keyName: 'näme' }).onEncrypt(new NodeEncryptionMaterial(SUITE, context))
  const [edk] = material.encryptedDataKeys
  const name = Buffer.from('näme')
  const info = Buffer.from(edk!.rawInfo)
  assert.is(edk!.providerId, 'tests')
  assert.is(info.length, name.length + 20)
  assert.equal(info.subarray(0, name.length + 8), Buffer.concat([name, Buffer.from('000000800000000c', 'hex')]))
  const wrapped = edk!.encryptedDataKey
  const opening = createDecipheriv('aes-256-gcm', bytes(32), info.subarray(-12), { authTagLength: 16 })
  opening.setAAD(Buffer.from('\0\x02\0\x01a\0\x011\0\x01b\0\x012', 'latin1')).setAuthTag(wrapped.subarray(32))
  const dataKey = Buffer.concat([opening.update(wrapped.subarray(0, 32)), opening.final()])
  assert.equal(dataKey, Buffer.from(dataKeyOf(material)))
  const generated = { keyNamespace: 'tests', keyName: 'näme', flags: KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY }
  assert.equal(material.keyringTrace[0], generated)
  assert.is(material.keyringTrace[1]!.flags, KeyringTraceFlag.ENCRYPT_FLAGS)
})

test('authenticates the encryption context in the order that it is told', async () => {
  for (const [utf8Sorting, pairs] of [
    [undefined, '\0\x01a\0\x011\0\x01B\0\x012'],
    [false, '\0\x01a\0\x011\0\x01B\0\x012'],
    [true, '\0\x01B\0\x012\0\x01a\0\x011'],
  ] as const) {
    const material = new NodeEncryptionMaterial(SUITE, { a: '1', B: '2' })
    const [edk] = (await aesKeyring(utf8Sorting === undefined ? {} : { utf8Sorting }).onEncrypt(material))
      .encryptedDataKeys
    const opening = createDecipheriv('aes-256-gcm', bytes(32), edk!.rawInfo.subarray(-12), { authTagLength: 16 })
    opening.setAAD(Buffer.from(`\0\x02${pairs}`, 'latin1')).setAuthTag(edk!.encryptedDataKey.subarray(32))
    opening.update(edk!.encryptedDataKey.subarray(0, 32))
    opening.final()
  }
})

/** aws-encryption-sdk-c, tests/lib/raw_aes_keyring_test_vectors.c: IV, wrapped key, data key, encryption context. */
const WRAPPED_BY_C: [string, string, string, Record<string, string>][] = [
  [
    'bea0fbd00eee0d94d9b1b393',
    '542bf0dc35200738e49e34faa6bf11ed454097fdb8e336755c03bb9fa4429e66447c39f77ffebca59870e9a8c9b57f6f',
    'ddc2f65f96a2da9686ead658fee9c0c3b6d4b192f2ba5093219762ab7d259f2c',
    {},
  ],
  [
    '75219f9677aac89ed8538f57',
    '7073471991773bac644a200a81568c5c69e46228bc6c6c6bd63a3cfbf080c7f1b8eec8a15c6cc2813accd2db52775549',
    'facea0721080807a9ddb1f9a8d68eeb086b545cc4d8dc5757a36c1d2788b011f',
    { 'aaaaaaaa\x80': 'AAAAAAAA', 'aaaaaaaa\x7f': 'BBBBBBBB' },
  ],
  [
    '8e2bfd25665a1c0d0d4a4914',
    '29093889e44e1cdcf04d0ba1e452d57753f8237a52d9caa8536ef9cbae2263ae',
    '6d3ff7e90ee48109878f37d96a21e5f8',
    { correct: 'context' },
  ],
]
for (const [i, [iv, wrapped, dataKey, context]] of WRAPPED_BY_C.entries()) {
  test(`opens data keys that the AWS Encryption SDK for C wrapped (${i})`, async () => {
    const keyName = 'asdfhasiufhiasuhviawurhgiuawrhefiuawhf'
    const unencryptedMasterKey = Uint8Array.from({ length: 32 - 8 * i }, (_, at) => at)
    const rawInfo = Buffer.concat([Buffer.from(keyName), Buffer.from(`000000800000000c${iv}`, 'hex')])
    const encryptedDataKey = Buffer.from(wrapped, 'hex')
    const edk = new EncryptedDataKey({ providerId: 'static-random', providerInfo: keyName, encryptedDataKey, rawInfo })
    const suite = getSuite(dataKey.length === 64 ? 0x0178 : 0x0114)
    const keyring = aesKeyring({ keyNamespace: 'static-random', keyName, unencryptedMasterKey, utf8Sorting: true })
    const material = await keyring.onDecrypt(new NodeDecryptionMaterial(suite, context), [edk])
    assert.is(Buffer.from(dataKeyOf(material)).toString('hex'), dataKey)
  })
}

test('wraps a data key that is there already, and each with an IV of its own', async () => {
  const material = new NodeEncryptionMaterial(SUITE, {})
  material.setUnencryptedDataKey(bytes(32, 9), { keyNamespace: 'n', keyName: 'k', flags: 1 })
  const keyring = aesKeyring()
  for (let i = 0; i < 50; i++) await keyring.onEncrypt(material)
  assert.equal(Uint8Array.from(dataKeyOf(material)), bytes(32, 9))
  const ivs = material.encryptedDataKeys.map(({ rawInfo }) => Buffer.from(rawInfo.subarray(-12)).toString('hex'))
  assert.is(new Set(ivs).size, 50)
  for (const edk of material.encryptedDataKeys) {
    const opened = await keyring.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [edk])
    assert.equal(Uint8Array.from(dataKeyOf(opened)), bytes(32, 9))
  }
})

const NAMES: [writes: string, reads: string][] = [
  ['ab', 'a'],
  ['a', 'ab'],
  ['a', 'A'],
  ['\u00e9', 'e\u0301'],
]
for (const [writes, reads] of NAMES) {
  test(`"${reads}" does not take the keys of "${writes}" for its own`, async () => {
    const { encryptedDataKeys } = await aesKeyring({ keyName: writes }).onEncrypt(new NodeEncryptionMaterial(SUITE, {}))
    const material = await aesKeyring({ keyName: reads }).onDecrypt(
      new NodeDecryptionMaterial(SUITE, {}),
      encryptedDataKeys,
    )
    assert.not.ok(material.hasValidKey())
    assert.is(material.failures.length, 0, 'it was not even tried')
  })
}

test('a data key that it makes is wrapped with an IV of its own too', async () => {
  const keyring = aesKeyring()
  const wrapped = await Promise.all(
    Array.from({ length: 50 }, () => keyring.onEncrypt(new NodeEncryptionMaterial(SUITE, {}))),
  )
  const ivs = wrapped.map(({ encryptedDataKeys: [edk] }) => Buffer.from(edk!.rawInfo.subarray(-12)).toString('hex'))
  assert.is(new Set(ivs).size, 50)
})

/** The key provider info `aes || tag bits || IV bytes || IV` and the namespace, one of them another's. */
const OTHERS: [what: string, providerId: string, info: string][] = [
  ['of another namespace', 'test', '000000800000000c0102030405060708090a0b0c'],
  ['with a shorter tag', 'tests', '000000600000000c0102030405060708090a0b0c'],
  ['with an IV of another length', 'tests', '00000080000000100102030405060708090a0b0c'],
  ['with an IV that is too short', 'tests', '000000800000000c0102030405060708090a0b'],
  ['with more behind the IV', 'tests', '000000800000000c0102030405060708090a0b0c0d'],
]
for (const [what, providerId, info] of OTHERS) {
  test(`does not try a data key ${what}`, async () => {
    const rawInfo = Buffer.concat([Buffer.from('aes'), Buffer.from(info, 'hex')])
    const edk = new EncryptedDataKey({ providerId, providerInfo: 'aes', rawInfo, encryptedDataKey: bytes(48) })
    const material = await aesKeyring().onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [edk])
    assert.is(material.failures.length, 0)
  })
}

test('a key that does not open is a failure on record, and the next is tried', async () => {
  const wrapped = (keyring: RawAesKeyringNode) => keyring.onEncrypt(new NodeEncryptionMaterial(SUITE, {}))
  const others = (await wrapped(aesKeyring({ unencryptedMasterKey: bytes(32, 5) }))).encryptedDataKeys
  const mine = (await wrapped(aesKeyring())).encryptedDataKeys
  const short = new EncryptedDataKey({ ...fields(mine[0]!), encryptedDataKey: bytes(20) })
  const material = await aesKeyring().onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [...others, short, ...mine])
  assert.ok(material.hasValidKey())
  assert.is(material.failures.length, 2)
})

test('a keyring that was disposed of is of no more use', async () => {
  const keyring = aesKeyring()
  const { result } = await buildClient().encrypt(keyring, 'x')
  keyring.dispose()
  await rejects(buildClient().encrypt(keyring, 'x'), 'ERR_WRAPPING_KEY', /disposed/)
  await rejects(buildClient().decrypt(keyring, result), 'ERR_WRAPPING_KEY', /disposed/)
})

test('nor is one that is disposed of between two encrypted data keys: nothing is opened under zeros', async () => {
  const [iv, dataKey] = [bytes(12), bytes(32, 9)]
  const rawInfo = Buffer.concat([Buffer.from('aes'), Buffer.from('000000800000000c', 'hex'), iv])
  const sealing = createCipheriv('aes-256-gcm', new Uint8Array(32), iv)
  const forged = Buffer.concat([sealing.update(dataKey), sealing.final(), sealing.getAuthTag()])
  const edks = [bytes(48), forged].map(
    (encryptedDataKey) => new EncryptedDataKey({ providerId: 'tests', providerInfo: 'aes', rawInfo, encryptedDataKey }),
  )
  const keyring = aesKeyring()
  const material = new NodeDecryptionMaterial(SUITE, {})
  const opening = keyring.onDecrypt(material, edks)
  keyring.dispose()
  await rejects(opening, 'ERR_WRAPPING_KEY', /disposed/)
  assert.not.ok(material.hasValidKey())
})

test('however many encrypted data keys it tries, the encryption context is sorted once, and a long one counts for the turns', async () => {
  const context: Record<string, string> = {}
  for (let i = 0; i < 200; i++) context[`${i % 2 ? 'k' : 'K'}${i}`] = 'v'.repeat(300)
  const { encryptedDataKeys } = await aesKeyring().onEncrypt(new NodeEncryptionMaterial(SUITE, context))
  const wrong = new EncryptedDataKey({ ...fields(encryptedDataKeys[0]!), encryptedDataKey: bytes(48) })
  const open = async (count: number) => {
    const edks = [...Array<EncryptedDataKey>(count).fill(wrong), ...encryptedDataKeys]
    const turns = countTurns()
    const { compared, result } = await countComparisons(() =>
      aesKeyring({ utf8Sorting: true }).onDecrypt(new NodeDecryptionMaterial(SUITE, context), edks),
    )
    assert.ok(result.hasValidKey())
    return { compared, turns: turns() }
  }
  const [one, many] = [await open(1), await open(300)]
  assert.ok(one.compared > 0)
  assert.is(many.compared, one.compared)
  assert.ok(many.turns > 5, `${many.turns} turns`)
})

test('what was written in English opens in a process of any language', () => {
  // Each sorts these keys in its own way.
  const program = `
    const { buildClient } = require('./src/index')
    const { aesKeyring } = require('./test/support/keys')
    const { encrypt, decrypt } = buildClient()
    const encryptionContext = { table: '1', zone: '2', aad: '3', b: '4', B: '5' }
    const [message] = process.argv.slice(1)
    const work = message
      ? decrypt(aesKeyring(), Buffer.from(message, 'base64')).then(({ plaintext }) => plaintext.toString())
      : encrypt(aesKeyring(), 'plaintext', { encryptionContext, suiteId: 0x0478 }).then(({ result }) => result.toString('base64'))
    work.then((text) => process.stdout.write(text))`
  const run = (language: string, ...args: string[]) =>
    execFileSync(process.execPath, ['--import', 'tsx', '-e', program, ...args], {
      cwd: join(__dirname, '../..'),
      env: { ...process.env, LC_ALL: language },
      encoding: 'utf8',
    })
  for (const message of [run('C'), run('en_US.UTF-8')]) {
    for (const language of ['et_EE.UTF-8', 'da_DK.UTF-8', 'C']) assert.is(run(language, message), 'plaintext')
  }
})

function fields({ providerId, providerInfo, rawInfo, encryptedDataKey }: EncryptedDataKey) {
  return { providerId, providerInfo, rawInfo, encryptedDataKey }
}

test.run()
