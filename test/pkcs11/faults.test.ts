/** Faults F-20 and F-23: every function that is called, answering with every error, once and for ever. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type EncryptedDataKey, NodeDecryptionMaterial, NodeEncryptionMaterial, SealwaxError } from '../../src/index'
import { Pkcs11AesKeyring, Pkcs11RsaKeyring, type Pkcs11Token } from '../../src/pkcs11'
import { getSuite } from '../../src/suites'
import { rejectionOf, rejects } from '../support/expect'
import { faultySoftHsm, openToken } from '../support/pkcs11'
import type { Shim } from '../support/pkcs11-shim'

const SUITE = getSuite(0x0478)

const CALLS = `Initialize GetSlotList GetTokenInfo GetMechanismInfo OpenSession Login FindObjectsInit FindObjects
  FindObjectsFinal GetAttributeValue EncryptInit Encrypt DecryptInit Decrypt GenerateRandom GenerateKey GenerateKeyPair
  CloseSession Finalize`.split(/\s+/)

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

/** What is over once the sessions, the login or the handles are new. */
const LOST = ['DEVICE_ERROR', 'DEVICE_REMOVED', 'TOKEN_NOT_PRESENT', 'SESSION_HANDLE_INVALID', 'OPERATION_ACTIVE']
LOST.push('USER_NOT_LOGGED_IN', 'KEY_HANDLE_INVALID')

// The full set, `SEALWAX_FAULTS=full`, has the 1st, 2nd and 100th call; the quick one the first.
const full = process.env.SEALWAX_FAULTS === 'full'
const NTH = full ? [1, 2, 100] : [1]

const faulty = faultySoftHsm()
if (faulty) testFaults(faulty.shim, faulty)

function testFaults(shim: Shim, faulty: Parameters<typeof openToken>[0]): void {
  let made = 0

  test('keys for the faults are made', async () => {
    const token = openToken(faulty)
    await token.generateKey({ type: 'aes', label: 'aes' })
    await token.generateKey({ type: 'rsa', label: 'rsa', bits: 2048 })
    await token.close()
    assert.is(shim.sessions, 0)
  })

  for (const call of CALLS) {
    for (const [code, value] of Object.entries(CODES)) {
      for (const nth of NTH) {
        test(`C_${call} answers CKR_${code} at call ${nth}`, async () => {
          shim.reset()
          const token = openToken(faulty, { timeout: 10_000, sessions: 2 })
          shim.set({ call, what: 'answer', value, nth })
          const error = await rejectionOf(work(token, call, nth))
          const hit = shim.calls(call) >= nth
          shim.clear()
          if (call === 'Login' && code === 'USER_ALREADY_LOGGED_IN') {
            // It is not: the keys stay out of sight, until the token is opened anew.
            assert.match(String(error), /no AES key/)
            await token.close()
            assert.is(shim.sessions, 0, 'sessions left')
            return
          }
          if (error) checkRefusal(error, call, code)
          if (hit && LOST.includes(code) && !['GenerateKey', 'GenerateKeyPair'].includes(call))
            assert.not.ok(error, `recovers: ${error}`)
          assert.ok(shim.calls('Login') <= 2, `${shim.calls('Login')} logins`)
          if (code.startsWith('PIN') && call === 'Login' && hit) assert.is(shim.calls('Login'), 1, 'one login')
          token.tryPinAgain()
          assert.is(await rejectionOf(work(token, '', 1)), undefined, 'the same token works right after')
          await token.close()
          // A call to close that is answered with an error has not closed.
          if (call !== 'CloseSession') assert.is(shim.sessions, 0, 'sessions left')
        })
      }
    }
  }

  test('a fault that stays is an error with its name, after one new start', async () => {
    for (const [code, value] of Object.entries(CODES).filter(([name]) => LOST.includes(name))) {
      shim.reset()
      const token = openToken(faulty)
      shim.set({ call: 'Encrypt', what: 'answer', value, many: 0 })
      await rejects(wrap(token), 'ERR_KEY_SERVICE', new RegExp(`C_Encrypt with CKR_${code}`))
      assert.is(shim.calls('Encrypt'), 2)
      assert.is(shim.calls('Login'), 2)
      shim.clear()
      await wrap(token)
      await token.close()
      assert.is(shim.sessions, 0)
    }
  })

  test('a module that crashes ends nobody else: once is tried again, always is an error', async () => {
    for (const call of ['Encrypt', 'Login', 'Initialize']) {
      shim.reset()
      const token = openToken(faulty)
      shim.set({ call, what: 'crash' })
      await wrap(token)
      await token.close()
      const another = openToken(faulty)
      shim.set({ call, what: 'crash', many: 0 })
      await rejects(wrap(another), 'ERR_KEY_SERVICE', /the process of the PKCS#11 module ended by SIGABRT/)
      shim.clear()
      await wrap(another)
      await another.close()
    }
  })

  for (const [what, value] of [
    ['one byte more', 1],
    ['one byte less', -1],
    ['nothing', -48],
    ['far too much', 1 << 20],
    ['4 GiB and a byte', 2 ** 32 + 1],
    ['a length below zero', -1000],
  ] as const) {
    test(`an answer that claims ${what} is refused`, async () => {
      shim.reset()
      const token = openToken(faulty)
      const edks = await wrap(token)
      shim.set({ call: 'Encrypt', what: 'lengthen', value, many: 0 })
      await rejects(wrap(token), 'ERR_KEY_SERVICE', /wrong length/)
      shim.set({ call: 'Decrypt', what: 'lengthen', value, many: 0 })
      for (const keyring of [aes(token), rsa(token)]) {
        const mine = keyring instanceof Pkcs11RsaKeyring ? await wrapRsa(token) : edks
        const material = await keyring.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), mine)
        assert.not.ok(material.hasValidKey())
        assert.is(material.failures.length, 1)
      }
      shim.clear()
      assert.ok((await aes(token).onDecrypt(new NodeDecryptionMaterial(SUITE, {}), edks)).hasValidKey())
      await token.close()
    })
  }

  test('a token that makes its own IVs is asked for them, and refused where it does not tell', async () => {
    shim.reset()
    const token = openToken(faulty)
    const names = { token, key: 'aes', keyNamespace: 'tests', keyName: 'aes' }
    const materials = () => new NodeEncryptionMaterial(SUITE, { purpose: 'tests' })
    shim.set({ call: 'EncryptInit', what: 'ownIv', many: 0 })
    await rejects(wrap(token), 'ERR_WRAPPING_KEY', /C_EncryptInit with CKR_MECHANISM_PARAM_INVALID/)
    const keyring = new Pkcs11AesKeyring({ ...names, ivSource: 'token' })
    const { encryptedDataKeys } = await keyring.onEncrypt(materials())
    const opening = new NodeDecryptionMaterial(SUITE, { purpose: 'tests' })
    assert.ok((await aes(token).onDecrypt(opening, encryptedDataKeys)).hasValidKey())
    shim.set({ call: 'EncryptInit', what: 'silentIv', many: 0 })
    await rejects(wrap(token), 'ERR_KEY_SERVICE', /does not open what it has wrapped/)
    const asking = new Pkcs11AesKeyring({ ...names, ivSource: 'token' })
    await rejects(asking.onEncrypt(materials()), 'ERR_KEY_SERVICE', /made no IV/)
    await token.close()
  })

  /** Everything a token does, as often as the fault needs to come. */
  async function work(token: Pkcs11Token, call: string, times: number): Promise<void> {
    const edks = [...(await wrap(token)), ...(await wrapRsa(token))]
    for (let i = 0; i < times; i++) {
      for (const keyring of [aes(token), rsa(token)]) {
        await keyring.onEncrypt(new NodeEncryptionMaterial(SUITE, {}))
        const material = await keyring.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), edks)
        if (!material.hasValidKey()) throw material.failures[0] ?? new Error('nothing was tried')
      }
    }
    await aes(token, 'token').onEncrypt(new NodeEncryptionMaterial(SUITE, {}))
    for (let i = 0; call.startsWith('Generate') && i < times; i++) {
      if (call === 'GenerateKey') await token.generateKey({ type: 'aes', label: `aes-${++made}` })
      if (call === 'GenerateKeyPair') await token.generateKey({ type: 'rsa', label: `rsa-${++made}`, bits: 2048 })
    }
  }
}

function checkRefusal(error: unknown, call: string, code: string): void {
  assert.instance(error, SealwaxError)
  const { code: own, message } = error as SealwaxError
  // SoftHSM says so of every ciphertext that does not open.
  if (call === 'Decrypt' && code === 'GENERAL_ERROR') assert.match(message, /does not open|could not open/)
  else if (code.startsWith('PIN')) assert.is(own, 'ERR_WRAPPING_KEY', message)
  else assert.ok(own === 'ERR_KEY_SERVICE', `${own}: ${message}`)
  assert.not.match(message, /needle/)
}

async function wrap(token: Pkcs11Token): Promise<EncryptedDataKey[]> {
  return (await aes(token).onEncrypt(new NodeEncryptionMaterial(SUITE, {}))).encryptedDataKeys
}

async function wrapRsa(token: Pkcs11Token): Promise<EncryptedDataKey[]> {
  return (await rsa(token).onEncrypt(new NodeEncryptionMaterial(SUITE, {}))).encryptedDataKeys
}

function aes(token: Pkcs11Token, dataKeySource: 'engine' | 'token' = 'engine'): Pkcs11AesKeyring {
  return new Pkcs11AesKeyring({ token, key: 'aes', keyNamespace: 'tests', keyName: 'aes', dataKeySource })
}

function rsa(token: Pkcs11Token): Pkcs11RsaKeyring {
  return new Pkcs11RsaKeyring({ token, key: 'rsa', keyNamespace: 'tests', keyName: 'rsa' })
}

test.run()
