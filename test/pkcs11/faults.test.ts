/** Faults F-20 and F-23: errors that stay, crashes, and answers that lie. Errors of each call: test/faults/pkcs11.test.ts. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EncryptedDataKey, NodeDecryptionMaterial, NodeEncryptionMaterial } from '../../src/index'
import { Pkcs11AesKeyring, Pkcs11RsaKeyring, Pkcs11Token } from '../../src/pkcs11'
import { getSuite } from '../../src/suites'
import { checkError, rejects } from '../support/expect'
import { addToken, faultySoftHsm, hostPids, openToken, PIN } from '../support/pkcs11'
import type { Shim } from '../support/pkcs11-shim'

const SUITE = getSuite(0x0478)

/** What is over once the sessions, the login or the handles are new. */
const LOST = {
  DEVICE_ERROR: 0x30,
  DEVICE_REMOVED: 0x32,
  TOKEN_NOT_PRESENT: 0xe0,
  SESSION_HANDLE_INVALID: 0xb3,
  OPERATION_ACTIVE: 0x90,
  USER_NOT_LOGGED_IN: 0x101,
  KEY_HANDLE_INVALID: 0x60,
  UNWRAPPING_KEY_HANDLE_INVALID: 0xf0,
}

/** Neither that, nor how a token says that a ciphertext does not open. */
const ERRORS = { HOST_MEMORY: 0x02, FUNCTION_FAILED: 0x06, ARGUMENTS_BAD: 0x07, FUNCTION_CANCELED: 0x50 }

const faulty = faultySoftHsm()
if (faulty) testFaults(faulty.shim, faulty)

function testFaults(shim: Shim, faulty: Parameters<typeof openToken>[0]): void {
  test('keys for the faults are made', async () => {
    const token = openToken(faulty)
    await token.generateKey({ type: 'aes', label: 'aes' })
    await token.generateKey({ type: 'rsa', label: 'rsa', bits: 2048 })
    await token.close()
    assert.is(shim.sessions, 0)
  })

  test('a fault that stays is an error with its name, after one new start', async () => {
    for (const [code, value] of Object.entries(LOST)) {
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
    for (const call of ['Encrypt', 'Login', 'OpenSession', 'Initialize']) {
      shim.reset()
      const token = openToken(faulty)
      shim.set({ call, what: 'crash' })
      await wrap(token)
      await token.close()
      const another = openToken(faulty)
      shim.set({ call, what: 'crash', many: 0 })
      await rejects(wrap(another), 'ERR_KEY_SERVICE', /the process of the PKCS#11 module ended by SIGABRT/)
      shim.clear()
      if (call === 'Login') {
        await rejects(wrap(another), 'ERR_WRAPPING_KEY', /no login until tryPinAgain/)
        another.tryPinAgain()
      }
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

  test('a slot that fails is no matter of the tokens in others; the error of the one that is asked for is told', async () => {
    addToken('other')
    const all = (await Pkcs11Token.list({ module: faulty.input.module })).map(({ label }) => label)
    const TOKEN_NOT_RECOGNIZED = 0xe1
    for (const [i, failing] of all.entries()) {
      shim.reset()
      shim.set({ call: 'GetTokenInfo', what: 'answer', value: TOKEN_NOT_RECOGNIZED, nth: i + 1 })
      const token = openToken(faulty)
      if (failing === 'tests')
        await rejects(wrap(token), 'ERR_KEY_SERVICE', /C_GetTokenInfo with CKR_TOKEN_NOT_RECOGNIZED/)
      else await wrap(token)
      await token.close()
      shim.set({ call: 'GetTokenInfo', what: 'answer', value: TOKEN_NOT_RECOGNIZED, nth: i + 1 })
      const told = (await Pkcs11Token.list({ module: faulty.input.module })).map(({ label }) => label)
      assert.equal(told, all.toSpliced(i, 1))
    }
    shim.set({ call: 'GetTokenInfo', what: 'answer', value: TOKEN_NOT_RECOGNIZED, many: 0 })
    await rejects(Pkcs11Token.list({ module: faulty.input.module }), 'ERR_KEY_SERVICE', /TOKEN_NOT_RECOGNIZED/)
  })

  test('a token that tells few of its objects at a time is asked for all', async () => {
    shim.reset()
    const token = openToken(faulty)
    await token.generateKey({ type: 'aes', label: 'another' })
    const all = await token.keys()
    shim.set({ call: 'FindObjects', what: 'few', value: 1, many: 0 })
    assert.equal(await token.keys(), all)
    await rejects(token.generateKey({ type: 'aes', label: 'another' }), 'ERR_WRAPPING_KEY', /"another" already/)
    await token.close()
  })

  test('a wrong tag by the name of PKCS#11 3.0 is a ciphertext that does not open; the next one is tried', async () => {
    shim.reset()
    const token = openToken(faulty)
    const edks = await wrap(token)
    for (const times of [1, 100]) {
      shim.set({ call: 'Decrypt', what: 'answer', value: 0x42, many: times })
      const material = await aes(token).onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [...edks, ...edks])
      assert.equal([material.hasValidKey(), material.failures.length], times === 1 ? [true, 1] : [false, 2])
    }
    await token.close()
  })

  test('what a token says to the first order of an encryption context does not keep the second from being tried', async () => {
    shim.reset()
    const token = openToken(faulty)
    const context = { a: '1', B: '2' }
    const names = { token, key: 'aes', keyNamespace: 'tests', keyName: 'aes' }
    const writer = new Pkcs11AesKeyring({ ...names, utf8Sorting: true })
    const { encryptedDataKeys } = await writer.onEncrypt(new NodeEncryptionMaterial(SUITE, context))
    for (const [code, value] of Object.entries(ERRORS)) {
      shim.set({ call: 'Decrypt', what: 'answer', value })
      const material = await aes(token).onDecrypt(new NodeDecryptionMaterial(SUITE, context), encryptedDataKeys)
      assert.ok(material.hasValidKey(), code)
      shim.set({ call: 'Decrypt', what: 'answer', value, many: 0 })
      const failing = await aes(token).onDecrypt(new NodeDecryptionMaterial(SUITE, context), encryptedDataKeys)
      checkError(failing.failures[0], 'ERR_KEY_SERVICE', new RegExp(`C_Decrypt with CKR_${code}`))
    }
    await token.close()
  })

  test('a token that is lost again and again takes nothing from another of the module', async () => {
    shim.reset()
    addToken('broken')
    let asked = 0
    const pin = () => {
      asked++
      return PIN
    }
    const [healthy, broken] = [openToken(faulty, { pin }), openToken(faulty, { token: 'broken' })]
    await wrap(healthy)
    shim.set({ call: 'GenerateRandom', what: 'answer', value: LOST.DEVICE_REMOVED, many: 0 })
    for (let i = 0; i < 5; i++) {
      const failing = rejects(broken.randomBytes(16), 'ERR_KEY_SERVICE', /CKR_DEVICE_REMOVED/)
      await Promise.all([failing, ...Array.from({ length: 10 }, () => wrap(healthy))])
    }
    assert.is(asked, 1)
    await Promise.all([healthy.close(), broken.close()])
    assert.is(shim.sessions, 0)
    assert.equal(hostPids(), [])
  })

  test('what is lost is opened anew in another process, though others keep the old one', async () => {
    shim.reset()
    const [keeping, losing] = [openToken(faulty), openToken(faulty)]
    await Promise.all([wrap(keeping), wrap(losing)])
    shim.set({ call: 'Encrypt', what: 'answer', value: LOST.DEVICE_REMOVED })
    await wrap(losing)
    assert.is(shim.calls('Initialize'), 2)
    assert.is(hostPids().length, 2)
    await Promise.all([keeping.close(), losing.close()])
    assert.is(shim.sessions, 0)
  })

  test('a login whose outcome the token does not tell is tried once more, and then not until told', async () => {
    for (const value of [LOST.DEVICE_ERROR, LOST.DEVICE_REMOVED]) {
      shim.reset()
      const token = openToken(faulty)
      shim.set({ call: 'Login', what: 'answer', value, many: 0 })
      await rejects(wrap(token), 'ERR_KEY_SERVICE', /C_Login with CKR_DEVICE_/)
      for (let i = 0; i < 3; i++) await rejects(wrap(token), 'ERR_WRAPPING_KEY', /no login until tryPinAgain/)
      assert.is(shim.calls('Login'), 2)
      shim.clear()
      token.tryPinAgain()
      await wrap(token)
      await token.close()
    }
  })

  test('a key that was made is told of, though its session does not end as it should', async () => {
    shim.reset()
    const token = openToken(faulty)
    await token.info()
    shim.set({ call: 'CloseSession', what: 'answer', value: 5 })
    const { label } = await token.generateKey({ type: 'aes', label: 'made all the same' })
    assert.is(label, 'made all the same')
    assert.not.ok(shim.pending)
    await token.close()
  })

  test('a key is made after the token was lost, but not again where it may be there', async () => {
    const [lost, cut] = [LOST.SESSION_HANDLE_INVALID, LOST.DEVICE_REMOVED]
    for (const [call, value] of [
      ['OpenSession', lost],
      ['FindObjects', lost],
      ['GenerateKey', lost],
      ['GetAttributeValue', cut],
    ] as const) {
      shim.reset()
      const token = openToken(faulty)
      await token.info()
      shim.set({ call, what: 'answer', value })
      const making = token.generateKey({ type: 'aes', label: `made after ${call}` })
      if (value === lost) await making
      else await rejects(making, 'ERR_KEY_SERVICE', /C_GetAttributeValue with CKR_DEVICE_REMOVED/)
      assert.not.ok(shim.pending)
      const keys = (await token.keys()).filter(({ label }) => label === `made after ${call}`)
      assert.is(keys.length, 1)
      await token.close()
    }
  })

  test('a token that is lost before a key is asked of it is opened anew', async () => {
    shim.reset()
    const token = openToken(faulty)
    shim.set({ call: 'Login', what: 'answer', value: LOST.DEVICE_REMOVED })
    assert.is((await token.generateKey({ type: 'aes', label: 'made after a login' })).label, 'made after a login')
    assert.is(shim.calls('Login'), 2)
    await token.close()
  })

  test('random bytes that are all zeros are refused, unless so few that they may have been drawn', async () => {
    shim.reset()
    const token = openToken(faulty)
    shim.set({ call: 'GenerateRandom', what: 'answer', value: 0, many: 0 })
    for (const length of [1, 15]) assert.equal(await token.randomBytes(length), new Uint8Array(length))
    for (const length of [16, 32])
      await rejects(token.randomBytes(length), 'ERR_KEY_SERVICE', new RegExp(`did not give ${length} random bytes`))
    await token.close()
  })

  for (const call of ['DecryptInit', 'Decrypt']) {
    test(`an error of C_${call} is that of one encrypted data key: it is noted, and the next one is tried`, async () => {
      const token = openToken(faulty)
      for (const [keyring, edks] of [
        [aes(token), await wrap(token)],
        [rsa(token), await wrapRsa(token)],
      ] as const) {
        for (const [code, value] of Object.entries(ERRORS)) {
          const opening = new NodeDecryptionMaterial(SUITE, {})
          shim.set({ call, what: 'answer', value })
          await keyring.onDecrypt(opening, [...edks, ...edks])
          assert.ok(opening.hasValidKey())
          assert.is(opening.failures.length, 1)
          checkError(opening.failures[0], 'ERR_KEY_SERVICE', new RegExp(`C_${call} with CKR_${code}`))
        }
      }
      await token.close()
    })
  }

  test('where the token is lost, or does not answer, the next encrypted data key is not tried', async () => {
    const token = openToken(faulty, { timeout: 1500 })
    const edks = await wrap(token)
    const open = () => aes(token).onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [...edks, ...edks, ...edks])
    shim.reset()
    shim.set({ call: 'Decrypt', what: 'answer', value: LOST.DEVICE_REMOVED, many: 0 })
    await rejects(open(), 'ERR_KEY_SERVICE', /C_Decrypt with CKR_DEVICE_REMOVED/)
    assert.is(shim.calls('Decrypt'), 2)
    shim.reset()
    shim.set({ call: 'Decrypt', what: 'wait', value: 1e9 })
    await rejects(open(), 'ERR_KEY_SERVICE', /no answer within 1500 ms/)
    assert.is(shim.calls('Decrypt'), 1)
    shim.clear()
    assert.ok((await open()).hasValidKey())
    await token.close()
  })

  test('what C_Decrypt answers for PKCS #1 v1.5 is a wrong padding, like any other', async () => {
    shim.reset()
    const token = openToken(faulty)
    const keyring = new Pkcs11RsaKeyring({
      token,
      key: 'rsa',
      keyNamespace: 'tests',
      keyName: 'rsa',
      padding: 'pkcs1v15',
    })
    const wrong = Buffer.alloc(256, 1)
    const edk = new EncryptedDataKey({ providerId: 'tests', providerInfo: 'rsa', encryptedDataKey: wrong })
    const open = async () => {
      const material = await keyring.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [edk])
      return [material.getUnencryptedDataKey().export(), material.failures]
    }
    const substitute = await open()
    for (const value of Object.values(ERRORS)) {
      shim.set({ call: 'Decrypt', what: 'answer', value })
      assert.equal(await open(), substitute)
      assert.not.ok(shim.pending)
    }
    const material = new NodeDecryptionMaterial(SUITE, {})
    shim.set({ call: 'DecryptInit', what: 'answer', value: ERRORS.FUNCTION_FAILED })
    await keyring.onDecrypt(material, [edk])
    assert.equal([material.hasValidKey(), material.failures.length], [false, 1])
    await token.close()
  })

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
}

async function wrap(token: Pkcs11Token): Promise<EncryptedDataKey[]> {
  return (await aes(token).onEncrypt(new NodeEncryptionMaterial(SUITE, {}))).encryptedDataKeys
}

async function wrapRsa(token: Pkcs11Token): Promise<EncryptedDataKey[]> {
  return (await rsa(token).onEncrypt(new NodeEncryptionMaterial(SUITE, {}))).encryptedDataKeys
}

function aes(token: Pkcs11Token): Pkcs11AesKeyring {
  return new Pkcs11AesKeyring({ token, key: 'aes', keyNamespace: 'tests', keyName: 'aes' })
}

function rsa(token: Pkcs11Token): Pkcs11RsaKeyring {
  return new Pkcs11RsaKeyring({ token, key: 'rsa', keyNamespace: 'tests', keyName: 'rsa' })
}

test.run()
