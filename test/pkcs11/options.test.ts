/** What callers pass: options, PINs, URIs. Needs no token. */
import { spawnSync } from 'node:child_process'
import { createPublicKey } from 'node:crypto'
import fs, { chmodSync, existsSync, openSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { pinOf } from '../../src/cli/token'
import { NodeDecryptionMaterial, NodeEncryptionMaterial } from '../../src/index'
import { tokenError, traitsOf } from '../../src/keyrings/pkcs11-errors'
import { checkPinSource, readPinWithin } from '../../src/keyrings/pkcs11-pin'
import {
  Pkcs11AesKeyring,
  Pkcs11RsaKeyring,
  Pkcs11Token,
  parsePkcs11Uri,
  S3Pkcs11AesKeyring,
  S3Pkcs11RsaKeyring,
} from '../../src/pkcs11'
import { getSuite } from '../../src/suites'
import { rejectionOf, rejects, throws } from '../support/expect'
import { givenBy } from '../support/given-by'
import { bytes, RSA_PRIVATE_PEM } from '../support/keys'
import { openFilesIn } from '../support/open-files'
import { temporaryFolder } from '../support/pkcs11'

const module = '/nowhere/module.so'
type Refusal = [input: unknown, expected: typeof TypeError | typeof RangeError, message: RegExp]

const TOKENS: Refusal[] = [
  [undefined, TypeError, /"module"/],
  [{ module: '' }, RangeError, /"module"/],
  [{ module, tokens: 'x' }, TypeError, /unknown option "tokens"/],
  [{ module, token: '' }, RangeError, /"token"/],
  [{ module, token: { slot: -1 } }, RangeError, /"token.slot"/],
  [{ module, token: { name: 'x' } }, TypeError, /unknown option "name"/],
  [{ module, token: 'x', uri: 'pkcs11:token=x' }, TypeError, /not both/],
  [{ module, uri: 'pkcs11:slot-id=x' }, RangeError, /"slot-id"/],
  [{ module, uri: `pkcs11:slot-id=${'9'.repeat(16)}` }, RangeError, /"slot-id"/],
  [{ module, uri: 'pkcs11:?pin-source=%7Ccat%20/pin' }, RangeError, /"pin-source".*file:/],
  [{ module, uri: 'pkcs11:?pin-source=file:needle' }, RangeError, /"pin-source".*file:/],
  [{ module, uri: 'pkcs11:?pin-source=file://needle/pin' }, RangeError, /"pin-source".*file:/],
  [{ module, pin: '1234-needle' }, TypeError, /"pin" must be a function/],
  [{ module, pin: Buffer.from('1234-needle') }, TypeError, /"pin"|unknown option "0"/],
  [{ module, pin: {} }, TypeError, /"fd" or "file"/],
  [{ module, pin: { fd: 0, file: 'x' } }, TypeError, /either/],
  [{ module, pin: { fd: -1 } }, RangeError, /"pin.fd"/],
  [{ module, pin: { value: '1234-needle' } }, TypeError, /unknown option "value"/],
  [{ module, sessions: 0 }, RangeError, /"sessions" must be an integer from 1 to 64/],
  [{ module, sessions: 65 }, RangeError, /"sessions"/],
  [{ module, readWriteSessions: 1 }, TypeError, /"readWriteSessions"/],
  [{ module, timeout: 0 }, RangeError, /"timeout"/],
  [{ module, libraryParameters: 5 }, TypeError, /"libraryParameters"/],
]

for (const [i, [input, expected, message]] of TOKENS.entries()) {
  test(`refuses a token of wrong options (${i})`, () => {
    const error = throws(() => new Pkcs11Token(input as never), expected, message)
    assert.not.match(error.message, /needle/)
  })
}

const token = new Pkcs11Token({ module })
const names = { keyNamespace: 'n', keyName: 'k' }
const GENERATED: Refusal[] = [
  [{ label: 'k' }, RangeError, /"type"/],
  [{ type: 'des', label: 'k' }, RangeError, /"type"/],
  [{ type: 'aes' }, TypeError, /"label"/],
  [{ type: 'aes', label: '' }, RangeError, /"label"/],
  [{ type: 'aes', id: bytes(4) }, TypeError, /"label"/],
  [{ type: 'aes', label: '\ud800', id: bytes(4) }, TypeError, /lone surrogate/],
  [{ type: 'aes', label: 'k', id: 'k' }, TypeError, /"id"/],
  [{ type: 'aes', label: 'k', extractable: true }, TypeError, /unknown option "extractable"/],
  ...[64, 129, 512].map((bits): Refusal => [{ type: 'aes', label: 'k', bits }, RangeError, /"bits"/]),
  ...[1024, 2047, 8193].map((bits): Refusal => [{ type: 'rsa', label: 'k', bits }, RangeError, /"bits"/]),
]
for (const [i, [input, expected, message]] of GENERATED.entries())
  test(`refuses to make a key of wrong options (${i})`, async () =>
    void (await rejects(token.generateKey(input as never), expected, message)))

test('refuses random bytes of a wrong length', async () => {
  for (const length of [0, 65_537]) await rejects(token.randomBytes(length), RangeError, /"length"/)
})

const AES: Refusal[] = [
  [{ ...names, key: 'k' }, TypeError, /"token" must be a Pkcs11Token/],
  [{ ...names, token }, TypeError, /"key"/],
  [{ ...names, token, key: {} }, TypeError, /"label" or an "id"/],
  [{ ...names, token, key: { id: 'text' } }, TypeError, /"key.id"/],
  [{ ...names, token, key: 'pkcs11:token=x' }, TypeError, /"label" or an "id"/],
  [{ ...names, token, key: 'pkcs11:object=k;type=private' }, RangeError, /"type" .* must be secret-key/],
  [{ ...names, token, key: '' }, RangeError, /"key"/],
  [{ token, key: 'k', keyName: 'k' }, TypeError, /"keyNamespace"/],
  [{ ...names, keyName: '', token, key: 'k' }, RangeError, /"keyName"/],
  [{ ...names, token, key: 'k', dataKeySource: 'hsm' }, RangeError, /"dataKeySource"/],
  [{ ...names, token, key: 'k', ivSource: 'hsm' }, RangeError, /"ivSource"/],
  [{ ...names, token, key: 'k', utf8Sorting: 1 }, TypeError, /"utf8Sorting"/],
]
for (const [i, [input, expected, message]] of AES.entries())
  test(`refuses an AES keyring of wrong options (${i})`, () =>
    void throws(() => new Pkcs11AesKeyring(input as never), expected, message))

const RSA: Refusal[] = [
  [{ ...names, key: 'k' }, TypeError, /"token" must be a Pkcs11Token/],
  [{ ...names, token, key: 'pkcs11:object=k;type=public' }, RangeError, /"type" .* must be private/],
  [{ ...names, token, key: 'k', oaepHash: 'md5' }, RangeError, /"oaepHash"/],
  [{ ...names, token, key: 'k', padding: 'none' }, RangeError, /"padding"/],
  [{ ...names, token, key: 'k', padding: 'pkcs1v15', oaepHash: 'sha1' }, TypeError, /OAEP padding only/],
  [{ ...names, token, key: 'k', publicKey: 'no PEM' }, TypeError, /publicKey/],
]
for (const [i, [input, expected, message]] of RSA.entries())
  test(`refuses an RSA keyring of wrong options (${i})`, () =>
    void throws(() => new Pkcs11RsaKeyring(input as never), expected, message))

const S3: Refusal[] = [
  [{ key: 'k' }, TypeError, /"token" must be a Pkcs11Token/],
  [{ token }, TypeError, /"key"/],
  [{ token, key: 'k', keyName: 'k' }, TypeError, /unknown option "keyName"/],
  [{ token, key: 'k', materialDescription: { a: 1 } }, TypeError, /"a"/],
]
for (const Keyring of [S3Pkcs11AesKeyring, S3Pkcs11RsaKeyring])
  for (const [i, [input, expected, message]] of S3.entries())
    test(`refuses an ${Keyring.name} of wrong options (${i})`, () =>
      void throws(() => new Keyring(input as never), expected, message))

test('keyrings do not change', () => {
  for (const Keyring of [Pkcs11AesKeyring, Pkcs11RsaKeyring])
    assert.ok(Object.isFrozen(new Keyring({ ...names, token, key: 'k' })))
  for (const Keyring of [S3Pkcs11AesKeyring, S3Pkcs11RsaKeyring])
    assert.ok(Object.isFrozen(new Keyring({ token, key: 'k' })))
})

test('a public key given encrypts where there is no token at all; decrypting says what is missing', async () => {
  const publicKey = createPublicKey(RSA_PRIVATE_PEM)
  const keyring = new Pkcs11RsaKeyring({ token, key: 'k', ...names, publicKey, oaepHash: 'sha512' })
  const { encryptedDataKeys } = await keyring.onEncrypt(new NodeEncryptionMaterial(getSuite(0x0478), {}))
  assert.is(encryptedDataKeys.length, 1)
  const opening = keyring.onDecrypt(new NodeDecryptionMaterial(getSuite(0x0478), {}), encryptedDataKeys)
  await rejects(opening, 'ERR_WRAPPING_KEY', /"\/nowhere\/module.so" cannot be loaded/)
})

test('a process that cannot be started is an error, and nothing waits for its end', async () => {
  const node = process.execPath
  process.execPath = '/nowhere/node'
  const told = /the process of the PKCS#11 module failed: spawn \/nowhere\/node ENOENT/
  const opening = new Pkcs11Token({ module })
  try {
    await rejects(opening.info(), 'ERR_KEY_SERVICE', told)
    await rejects(Pkcs11Token.list({ module }), 'ERR_KEY_SERVICE', told)
  } finally {
    process.execPath = node
  }
  await rejects(opening.info(), 'ERR_WRAPPING_KEY', /cannot be loaded/)
  await opening.close()
})

test('where files are lacking for a process, the program goes on', () => {
  const program = `
    const { closeSync, openSync } = require('node:fs')
    const { Pkcs11Token } = require('./src/pkcs11')
    const token = new Pkcs11Token({ module: '/nowhere/module.so' })
    const told = async () => await token.info().catch((error) => error.message)
    const files = []
    const fill = () => { try { for (;;) files.push(openSync('/dev/null')) } catch {} }
    void (async () => {
      fill()
      const lacking = await told()
      files.forEach((file) => closeSync(file))
      console.log(JSON.stringify([lacking, await told()]))
      await token.close()
    })()`
  const limited = ['-c', 'ulimit -n 64; exec "$@"', '-', process.execPath, '--import', 'tsx', '-e', program]
  const { stdout, stderr } = spawnSync('bash', limited, { encoding: 'utf8' })
  assert.match(stdout, /failed: spawn.* EMFILE.*cannot be loaded/, stderr)
})

test('where pkcs11js cannot be loaded, it is told why', () => {
  const program = `
    const { openLibrary } = require('./src/keyrings/pkcs11-library')
    try { openLibrary('/nowhere/module.so') } catch (error) { console.log(error.message) }`
  const { stdout, stderr } = spawnSync(process.execPath, ['--no-addons', '--import', 'tsx', '-e', program], {
    encoding: 'utf8',
  })
  assert.match(stdout, /^pkcs11js cannot be loaded: npm install.*Cannot load native addon/, stderr)
})

test('what the application preloads does not come where the PIN is', async () => {
  const folder = temporaryFolder()
  writeFileSync(
    join(folder, 'preload.cjs'),
    `require('node:fs').writeFileSync(${JSON.stringify(join(folder, 'seen'))}, '')`,
  )
  process.env.NODE_OPTIONS = `--require=${join(folder, 'preload.cjs')}`
  try {
    await rejects(Pkcs11Token.list({ module }), 'ERR_WRAPPING_KEY', /cannot be loaded/)
  } finally {
    delete process.env.NODE_OPTIONS
  }
  assert.not.ok(existsSync(join(folder, 'seen')))
})

test('nor what the program is told to preload when it is started', () => {
  const folder = temporaryFolder()
  const preload = join(folder, 'preload.cjs')
  writeFileSync(preload, 'require("node:fs").writeFileSync(__dirname + "/seen-" + process.pid, "")')
  const program = `
    const { Pkcs11Token } = require('./src/pkcs11')
    Pkcs11Token.list({ module: '/nowhere/module.so' }).catch((error) => console.log(error.message))`
  const flags = ['--require', preload, '--import', 'tsx', '-e', program]
  const { stdout, stderr, pid } = spawnSync(process.execPath, flags, { encoding: 'utf8' })
  assert.match(stdout, /cannot be loaded/, stderr)
  assert.equal(readdirSync(folder).sort(), ['preload.cjs', `seen-${pid}`])
})

test('a PIN comes from a function each time, from a descriptor once, from a file of its owner alone', async () => {
  const folder = temporaryFolder()
  const path = join(folder, 'pin')
  writeFileSync(path, 'näh-12\r\n', { mode: 0o600 })
  const text = async (read: () => Promise<Uint8Array>) => {
    const pin = await read()
    const told = Buffer.from(pin).toString()
    // As who logs in with it does.
    pin.fill(0)
    return told
  }
  for (const source of [
    { file: path },
    { fd: openSync(path, 'r') },
    () => 'näh-12',
    async () => Buffer.from('näh-12\n'),
  ]) {
    const read = checkPinSource(source)
    assert.is(await text(read), 'näh-12')
    assert.is(await text(read), 'näh-12', 'and again')
  }
  const shared = { fd: openSync(path, 'r') }
  for (const each of [shared, shared]) assert.is(await text(checkPinSource(each)), 'näh-12', 'for two tokens')
  symlinkSync(path, join(folder, 'link'))
  assert.is(await text(checkPinSource({ file: join(folder, 'link') })), 'näh-12')
  for (const mode of [0o610, 0o601]) {
    chmodSync(path, mode)
    await rejects(checkPinSource({ file: path })(), 'ERR_WRAPPING_KEY', /open to others/)
  }
  const platform = Object.getOwnPropertyDescriptor(process, 'platform')!
  Object.defineProperty(process, 'platform', { ...platform, value: 'win32' })
  assert.is(await text(checkPinSource({ file: path })), 'näh-12', 'Windows has no modes')
  Object.defineProperty(process, 'platform', platform)
  await rejects(checkPinSource({ file: join(folder, 'none') })(), 'ERR_WRAPPING_KEY', /cannot be read: ENOENT/)
  await rejects(checkPinSource(() => '')(), RangeError, /gave nothing/)
  await rejects(checkPinSource(() => 5 as never)(), TypeError, /must give a string or bytes/)
  await rejects(
    checkPinSource(() => Buffer.from('n\xe4h-12', 'latin1'))(),
    RangeError,
    /gave bytes that are not UTF-8$/,
  )
  assert.is(await text(checkPinSource(() => 'n'.repeat(1024))), 'n'.repeat(1024))
  await rejects(checkPinSource(() => 'n'.repeat(1025))(), RangeError, /too much/)
})

test('no PIN file stays open, whether it is taken or refused', async () => {
  const folder = temporaryFolder()
  for (const mode of [0o600, 0o644]) {
    const file = join(folder, `pin-${mode}`)
    writeFileSync(file, 'n', { mode })
    await rejectionOf(checkPinSource({ file })())
  }
  assert.is(openFilesIn(folder), 0)
})

test('what a PIN was read from is wiped, be it a file or a text', async () => {
  const file = join(temporaryFolder(), 'pin')
  writeFileSync(file, 'needle', { mode: 0o600 })
  const made = await givenBy([[fs, 'readFileSync']], checkPinSource({ file }))
  made.push(
    ...(await givenBy(
      [[Buffer, 'from']],
      checkPinSource(() => 'needle'),
    )),
  )
  assert.equal(
    made.map((bytes) => Buffer.from(bytes)),
    [Buffer.alloc(6), Buffer.alloc(6)],
  )
})

test('a PIN that comes too late is wiped', async () => {
  let give: ((pin: Uint8Array) => void) | undefined
  const pin = Buffer.from('late-needle')
  const reading = readPinWithin(() => new Promise((resolve) => (give = resolve)), 5)
  await rejects(reading, 'ERR_KEY_SERVICE', /"pin" gave nothing within 5 ms/)
  give!(pin)
  await new Promise(setImmediate)
  assert.equal(pin, Buffer.alloc(pin.length))
})

test('whoever is asked for a PIN at the terminal has minutes', () => {
  assert.is(pinOf({}, undefined).timeout, 300_000)
  assert.is(pinOf({ pinFd: 3 }, undefined).timeout, undefined)
})

test('URIs are read as RFC 7512 has them', () => {
  assert.equal(parsePkcs11Uri('pkcs11:'), {})
  assert.equal(
    { ...parsePkcs11Uri('pkcs11:token=My%20token;object=k%c3%a4;slot-id=5?module-path=/a.so&pin-source=file:/pin') },
    { token: 'My token', object: 'kä', 'slot-id': '5', 'module-path': '/a.so', 'pin-source': 'file:/pin' },
  )
  assert.equal(Buffer.from(parsePkcs11Uri('pkcs11:id=%00%FFa').id!), Buffer.from([0, 0xff, 0x61]))
})

for (const [uri, message] of [
  ['token=x', /begin with/],
  ['pkcs11:token=x?pin-value=needle', /"pin-value" is refused/],
  ['pkcs11:pin-value=needle', /"pin-value" is refused/],
  ['pkcs11:token=x;token=y', /"token" stands twice/],
  ['pkcs11:colour=needle', /not known here/],
  ['pkcs11:needle', /not known here/],
  ['pkcs11:?a?b', /one "\?"/],
  ['pkcs11:token=%f', /"%" without two digits/],
  ['pkcs11:token=%ff', /not UTF-8/],
  ['pkcs11:?module-name=x', /not known here/],
] as const) {
  test(`refuses the URI ${uri}`, () => {
    const error = throws(() => parsePkcs11Uri(uri), RangeError, message)
    assert.not.match(error.message, /needle/)
  })
}

test('return values become errors that keep their names', () => {
  const device = tokenError({ ckr: 'CKR_DEVICE_REMOVED', value: 0x32, call: 'C_Encrypt' })
  assert.equal([device.code, device.lost, device.pinRefused], ['ERR_KEY_SERVICE', true, false])
  assert.match(device.message, /C_Encrypt with CKR_DEVICE_REMOVED/)
  const pin = tokenError({ ckr: 'CKR_PIN_INCORRECT', value: 0xa0, call: 'C_Login' })
  assert.equal([pin.code, pin.lost, pin.pinRefused], ['ERR_WRAPPING_KEY', false, true])
  assert.not.ok(tokenError({ ckr: 'CKR_PIN_INCORRECT', value: 0xa0, call: 'C_OpenSession' }).pinRefused)
  for (const [call, isRefusal] of Object.entries({
    C_Decrypt: true,
    C_UnwrapKey: true,
    C_DecryptInit: false,
    C_Encrypt: false,
  })) {
    const answer = tokenError({ ckr: 'CKR_DATA_LEN_RANGE', value: 0x21, call })
    assert.is(answer.refuses(traitsOf('any')), isRefusal, call)
  }
  assert.match(tokenError({ ckr: 'CKR_VENDOR_DEFINED', value: 0x80000001, call: 'C_Login' }).message, /0x80000001/)
  assert.ok(traitsOf('SoftHSM project').refusals.has('CKR_GENERAL_ERROR'))
  assert.not.ok(traitsOf('Somebody else').refusals.has('CKR_GENERAL_ERROR'))
})

test.run()
