/** Every call that is made of a PKCS#11 module, wherever it is made, answered with every error (F-20); load (F-22). */
import { constants, createCipheriv, createPrivateKey, createPublicKey, publicEncrypt } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { NodeDecryptionMaterial, NodeEncryptionMaterial, SealwaxError } from '../../src/index'
import {
  Pkcs11AesKeyring,
  Pkcs11RsaKeyring,
  Pkcs11Token,
  S3Pkcs11AesKeyring,
  S3Pkcs11RsaKeyring,
} from '../../src/pkcs11'
import type { S3Keyring, S3WrapAlgorithm } from '../../src/s3'
import { getSuite } from '../../src/suites'
import { rejectionOf } from '../support/expect'
import { RSA_PRIVATE_PEM } from '../support/keys'
import { aesTemplate, faultySoftHsm, hostPids, importKeys, openToken, rsaTemplate } from '../support/pkcs11'
import type { Shim } from '../support/pkcs11-shim'
import { type Attempt, FaultReport, full } from './report'

const CODES = {
  DEVICE_ERROR: 0x30,
  DEVICE_REMOVED: 0x32,
  TOKEN_NOT_PRESENT: 0xe0,
  SESSION_HANDLE_INVALID: 0xb3,
  SESSION_COUNT: 0xb1,
  OPERATION_ACTIVE: 0x90,
  BUFFER_TOO_SMALL: 0x150,
  PIN_INCORRECT: 0xa0,
  PIN_LOCKED: 0xa4,
  USER_ALREADY_LOGGED_IN: 0x100,
  USER_NOT_LOGGED_IN: 0x101,
  KEY_HANDLE_INVALID: 0x60,
  FUNCTION_CANCELED: 0x50,
  GENERAL_ERROR: 0x05,
  HOST_MEMORY: 0x02,
} as const
type Code = keyof typeof CODES

/** What is over once the sessions, the login or the handles are new. */
const LOST: readonly Code[] = [
  'DEVICE_ERROR',
  'DEVICE_REMOVED',
  'TOKEN_NOT_PRESENT',
  'SESSION_HANDLE_INVALID',
  'OPERATION_ACTIVE',
  'USER_NOT_LOGGED_IN',
  'KEY_HANDLE_INVALID',
]

const SUITE = getSuite(0x0478)
const KEY = Buffer.alloc(32, 0x5a)
const DATA_KEY = Buffer.alloc(32, 0x7b)
const FIND = ['FindObjectsInit', 'FindObjects', 'FindObjectsFinal', 'GetAttributeValue']
const LIST = ['GetSlotList', 'GetTokenInfo', 'GetMechanismInfo']

interface Work {
  /** Where in the module it can fail. */
  readonly calls: readonly string[]
  /** Gives what is done again and again; before that, the token is not opened. */
  start(token: Pkcs11Token): () => Promise<unknown>
  /** Made once to have the token open, and keys found. */
  readonly warm?: true
  /** Not tried again where the token was lost: it would be done twice, or there is nothing to open anew. */
  readonly once?: true
}

const WORKS: Record<string, Work> = {
  opening: { calls: ['Initialize', ...LIST, 'OpenSession', 'Login'], start: (token) => () => token.info() },
  'telling the tokens': { calls: ['Initialize', ...LIST, 'Finalize'], start: () => listTokens, once: true },
  'finding an AES key': { calls: FIND, start: (token) => () => wrap(aes(token)) },
  'finding an RSA key': { calls: FIND, start: (token) => () => wrap(rsa(token)) },
  'telling the keys': { calls: FIND, start: (token) => () => token.keys(), warm: true },
  'making random bytes': { calls: ['GenerateRandom'], start: (token) => () => token.randomBytes(32), warm: true },
  wrapping: { calls: ['EncryptInit', 'Encrypt'], start: (token) => repeat(aes(token), wrap), warm: true },
  unwrapping: { calls: ['DecryptInit', 'Decrypt'], start: (token) => repeat(aes(token), unwrap), warm: true },
  'unwrapping RSA': { calls: ['DecryptInit', 'Decrypt'], start: (token) => repeat(rsa(token), unwrap), warm: true },
  'opening AES/GCM of S3': {
    calls: ['DecryptInit', 'Decrypt'],
    start: (token) => repeat(new S3Pkcs11AesKeyring({ token, key: 'aes' }), wrapAndUnwrapS3),
    warm: true,
  },
  'opening ECB of S3': {
    calls: ['DecryptInit', 'Decrypt'],
    start: (token) => unwrapS3(new S3Pkcs11AesKeyring({ token, key: 'aes' }), 'AES'),
    warm: true,
  },
  'opening AESWrap of S3': {
    calls: ['GetMechanismInfo', 'UnwrapKey', 'GetAttributeValue', 'DestroyObject'],
    start: (token) => unwrapS3(new S3Pkcs11AesKeyring({ token, key: 'aes' }), 'AESWrap'),
    warm: true,
  },
  'opening RSA-OAEP of S3': {
    calls: ['DecryptInit', 'Decrypt'],
    start: (token) => repeat(new S3Pkcs11RsaKeyring({ token, key: 'rsa' }), wrapAndUnwrapS3),
    warm: true,
  },
  'opening PKCS #1 v1.5 of S3': {
    calls: ['DecryptInit', 'Decrypt'],
    start: (token) => unwrapS3(new S3Pkcs11RsaKeyring({ token, key: 'rsa' }), 'RSA'),
    warm: true,
  },
  'making an AES key': {
    calls: ['GenerateKey', 'CloseSession'],
    start: (token) => () => token.generateKey({ type: 'aes', label: `aes-${++made}` }),
    once: true,
  },
  'making an RSA key': {
    calls: ['GenerateKeyPair', 'CloseSession'],
    start: (token) => () => token.generateKey({ type: 'rsa', label: `rsa-${++made}`, bits: 2048 }),
    once: true,
  },
  closing: { calls: ['CloseSession', 'Finalize'], start: (token) => () => token.close(), warm: true },
}
const UNREPEATED = ['closing', 'opening', 'telling the tokens', 'finding an AES key', 'finding an RSA key']

const SITES = Object.entries(WORKS).flatMap(([name, { calls }]) => calls.map((call) => ({ name, call })))
/** The full set has every error at each place, at the 1st, 2nd and 100th call; the quick one two errors at the first. */
const CELLS = SITES.flatMap(({ name, call }, i) =>
  (Object.keys(CODES) as Code[])
    .filter((_, j) => full || (i + j) % 7 === 0)
    .map((code) => ({ cell: `F-20 C_${call}, ${name}: CKR_${code}`, name, call, code })),
)

let made = 0
let wrapped: Record<string, Uint8Array>
const faulty = faultySoftHsm()
if (faulty) testFaults(faulty.shim, faulty)

function testFaults(shim: Shim, faulty: Parameters<typeof openToken>[0]): void {
  const report = new FaultReport()

  test('keys for the faults are put into the token', () => {
    const privateKey = createPrivateKey(RSA_PRIVATE_PEM)
    const publicKey = createPublicKey(RSA_PRIVATE_PEM)
    importKeys(faulty, [aesTemplate('aes', KEY), rsaTemplate('rsa', privateKey.export({ format: 'jwk' }))])
    const keyWrap = createCipheriv('id-aes256-wrap', KEY, Buffer.alloc(8, 0xa6))
    const ecb = createCipheriv('aes-256-ecb', KEY, null)
    wrapped = {
      AESWrap: keyWrap.update(DATA_KEY),
      AES: Buffer.concat([ecb.update(DATA_KEY), ecb.final()]),
      RSA: publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_PADDING }, DATA_KEY),
    }
    assert.ok(SITES.length >= 40)
  })

  for (const { cell, name, call, code } of CELLS) {
    test(cell, async () => {
      const times = full && !UNREPEATED.includes(name) && !name.startsWith('making an') ? [1, 2, 100] : [1]
      for (const nth of times) await report.inject(cell, 0, nth, () => attempt(name, call, code, nth))
    })
  }

  if (full)
    test('F-22: 10^5 wraps and unwraps, 64 at once over 8 sessions', async () => {
      await report.inject('F-22 load', 0, 1, load)
    })

  test('every fault was injected, and nothing went wrong', () => {
    report.check([...CELLS.map(({ cell }) => cell), ...(full ? ['F-22 load'] : [])])
  })

  async function attempt(name: string, call: string, code: Code, nth: number): Promise<Attempt> {
    const work = WORKS[name]!
    shim.reset()
    const token = openToken(faulty, { timeout: 10_000, sessions: 2 })
    const run = work.start(token)
    if (work.warm) await (name === 'closing' ? wrap(aes(token)) : run())
    const logins = shim.calls('Login')
    shim.set({ call, what: 'answer', value: CODES[code], nth })
    let error: unknown
    for (let i = 0; i < 100 * nth && shim.pending && error === undefined; i++) error = await rejectionOf(run())
    const injected = shim.pending ? 0 : 1
    shim.clear()
    if (error) checkRefusal(error, call, code)
    if (LOST.includes(code) && !work.once) assert.not.ok(error, `recovers: ${error}`)
    const more = shim.calls('Login') - logins
    assert.ok(more <= (work.warm ? 1 : 2), `${more} logins`)
    if (call === 'Login' && code.startsWith('PIN')) assert.is(more, 1, 'one login')
    if (call === 'Login' && code === 'USER_ALREADY_LOGGED_IN') {
      // It is not: the keys stay out of sight, until the token is opened anew.
      assert.match(String(await rejectionOf(wrap(aes(token)))), /no AES key/)
      await token.close()
    } else {
      await worksAgain(token, name === 'closing')
    }
    // A call to close that is answered with an error has not closed.
    assert.ok(shim.sessions <= (call === 'CloseSession' ? 1 : 0), `${shim.sessions} sessions left`)
    assert.equal(hostPids(), [])
    return { outcome: error ? 'refused' : 'right', injected, requests: shim.allCalls }
  }

  async function worksAgain(token: Pkcs11Token, closed: boolean): Promise<void> {
    const again = closed ? openToken(faulty) : token
    again.tryPinAgain()
    await wrap(aes(again))
    await again.close()
  }

  async function load(): Promise<Attempt> {
    shim.reset()
    const token = openToken(faulty, { sessions: 8 })
    const keyring = aes(token)
    let left = 100_000
    const loop = async () => {
      while (--left >= 0) await (left % 2 === 0 ? wrap(keyring) : unwrap(keyring))
    }
    await Promise.all(Array.from({ length: 64 }, loop))
    assert.ok(shim.mostSessions <= 8, `${shim.mostSessions} sessions`)
    assert.is(shim.calls('Login'), 1)
    await token.close()
    assert.is(shim.sessions, 0)
    return { outcome: 'right', injected: 1, requests: shim.allCalls }
  }
}

async function listTokens(): Promise<void> {
  await Pkcs11Token.list({ module: faulty!.input.module })
}

function checkRefusal(error: unknown, call: string, code: Code): void {
  assert.instance(error, SealwaxError)
  const { code: own, message } = error as SealwaxError
  // SoftHSM says so of every ciphertext that does not open.
  const opens = ['Decrypt', 'UnwrapKey'].includes(call) && code === 'GENERAL_ERROR'
  const expected = opens ? 'ERR_AUTHENTICATION_FAILED' : code.startsWith('PIN') ? 'ERR_WRAPPING_KEY' : 'ERR_KEY_SERVICE'
  assert.is(own, expected, message)
  assert.not.match(message, /needle/)
}

function aes(token: Pkcs11Token): Pkcs11AesKeyring {
  return new Pkcs11AesKeyring({ token, key: 'aes', keyNamespace: 'tests', keyName: 'aes' })
}

function rsa(token: Pkcs11Token): Pkcs11RsaKeyring {
  return new Pkcs11RsaKeyring({ token, key: 'rsa', keyNamespace: 'tests', keyName: 'rsa' })
}

type TokenKeyring = Pkcs11AesKeyring | Pkcs11RsaKeyring

async function wrap(keyring: TokenKeyring) {
  return (await keyring.onEncrypt(new NodeEncryptionMaterial(SUITE, {}))).encryptedDataKeys
}

async function unwrap(keyring: TokenKeyring): Promise<void> {
  const edks = edksOf.get(keyring) ?? (await wrap(keyring))
  edksOf.set(keyring, edks)
  const material = await keyring.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), edks)
  if (!material.hasValidKey()) throw material.failures[0] ?? new Error('nothing was tried')
}

const edksOf = new WeakMap<TokenKeyring, Awaited<ReturnType<typeof wrap>>>()

function repeat<T>(keyring: T, use: (keyring: T) => Promise<unknown>): () => Promise<unknown> {
  return () => use(keyring)
}

async function wrapAndUnwrapS3(keyring: S3Keyring): Promise<void> {
  const contentAlgorithm = '115'
  const { dataKey, ...rest } = await keyring.wrapDataKey({ contentAlgorithm, encryptionContext: {} })
  assert.equal(Buffer.from((await keyring.unwrapDataKey({ contentAlgorithm, ...rest }))!), Buffer.from(dataKey))
}

function unwrapS3(keyring: S3Keyring, wrapAlgorithm: S3WrapAlgorithm): () => Promise<unknown> {
  return async () => {
    const encryptedDataKey = wrapped[wrapAlgorithm]!
    const request = {
      contentAlgorithm: 'AES/CBC/PKCS5Padding',
      materialDescription: {},
      encryptedDataKey,
      wrapAlgorithm,
    }
    assert.equal(Buffer.from((await keyring.unwrapDataKey(request))!), DATA_KEY)
  }
}

test.run()
