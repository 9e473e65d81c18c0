/** Fault F-21: a token that does not answer. Nothing here is measured but what must not take long. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type EncryptedDataKey, NodeDecryptionMaterial, NodeEncryptionMaterial } from '../../src/index'
import { Pkcs11AesKeyring, type Pkcs11Token } from '../../src/pkcs11'
import { getSuite } from '../../src/suites'
import { rejectionOf, rejects } from '../support/expect'
import { addToken, faultySoftHsm, hostPids, openToken, PIN } from '../support/pkcs11'
import type { Shim } from '../support/pkcs11-shim'

const SUITE = getSuite(0x0478)
const FOR_EVER = 1e9

const faulty = faultySoftHsm()
if (faulty) testHangs(faulty.shim, faulty)

function testHangs(shim: Shim, faulty: Parameters<typeof openToken>[0]): void {
  let edks: EncryptedDataKey[]

  test.before(async () => {
    const token = openToken(faulty)
    await token.generateKey({ type: 'aes', label: 'aes' })
    edks = (await keyringOf(token).onEncrypt(new NodeEncryptionMaterial(SUITE, {}))).encryptedDataKeys
    await token.close()
  })
  test.before.each(() => {
    shim.reset()
    openToken(faulty).tryPinAgain()
  })

  test('a call of one second is waited for, and the event loop goes on', async () => {
    const token = openToken(faulty)
    await unwrap(token)
    shim.set({ call: 'Decrypt', what: 'wait', value: 1000 })
    let turns = 0
    const ticking = setInterval(() => turns++, 1)
    await unwrap(token)
    clearInterval(ticking)
    // Blocked, it would have seen one or two.
    assert.ok(turns > 10, `${turns} turns`)
    await token.close()
  })

  for (const call of ['Decrypt', 'DecryptInit', 'Login', 'OpenSession', 'Initialize', 'FindObjects']) {
    test(`C_${call} that never returns ends at the deadline, its process too, and the next call works`, async () => {
      const [token, patient] = [openToken(faulty, { timeout: 700 }), openToken(faulty)]
      if (call.startsWith('Decrypt')) await unwrap(patient)
      const before = hostPids()
      shim.set({ call, what: 'wait', value: FOR_EVER })
      // A machine may be too busy to begin in time.
      do await rejects(unwrap(token), 'ERR_KEY_SERVICE', /no answer within 700 ms/)
      while (shim.pending)
      for (const pid of before)
        while (existsSync(`/proc/${pid}/root`)) await new Promise((resolve) => setTimeout(resolve, 5))
      await unwrap(patient)
      await Promise.all([token.close(), patient.close()])
      assert.equal(hostPids(), [])
    })
  }

  test('all sessions of a token can be busy at once', async () => {
    const token = openToken(faulty, { timeout: 3000, sessions: 8 })
    shim.set({ call: 'Decrypt', what: 'wait', value: 5 })
    await unwrap(token)
    const before = shim.calls('Decrypt')
    shim.set({ call: 'Decrypt', what: 'wait', value: FOR_EVER, many: 0 })
    const stuck = Array.from({ length: 8 }, async () => await rejectionOf(unwrap(token)))
    let isOver = false
    const over = Promise.all(stuck).then(() => (isOver = true))
    while (shim.calls('Decrypt') < before + 8 && !isOver) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.is(shim.calls('Decrypt'), before + 8)
    shim.clear()
    await over
    await token.close()
  })

  test('a PIN that has no answer is tried once more, and then not until told, whoever asks', async () => {
    const tokens = [1, 2].map(() => openToken(faulty, { timeout: 3000 }))
    const hang = { call: 'Login', what: 'wait', value: FOR_EVER } as const
    for (let round = 1; round <= 2; round++) {
      shim.set({ ...hang, many: 0 })
      for (const token of tokens) await rejects(token.info(), 'ERR_KEY_SERVICE', /no answer within 3000 ms/)
      shim.clear()
      for (const token of tokens)
        await rejects(token.info(), 'ERR_WRAPPING_KEY', /no login until tryPinAgain\(\).*"tests" answered none of 2/)
      assert.is(shim.calls('Login'), 2 * round)
      tokens[1]!.tryPinAgain()
    }
    for (let i = 0; i < 2; i++) {
      // An answer ends the doubt.
      shim.set(hang)
      await rejects(tokens[0]!.info(), 'ERR_KEY_SERVICE', /no answer/)
      await tokens[0]!.info()
      await tokens[0]!.close()
      tokens[0] = openToken(faulty, { timeout: 3000 })
    }
    for (const token of tokens) await token.close()
  })

  test('a function that never gives the PIN is waited for as long as a call, and keeps no other token', async () => {
    let pin: string | Promise<string> = new Promise(() => {})
    const [hanging, other] = [openToken(faulty, { pin: () => pin, timeout: 2000 }), openToken(faulty)]
    const error = rejectionOf(hanging.info())
    const answer = other.info()
    assert.match(String(await error), /"pin" gave nothing within 2000 ms/)
    await answer
    pin = PIN
    await hanging.info()
    await Promise.all([hanging.close(), other.close()])
    assert.equal(hostPids(), [])
  })

  test('a login that waits behind the hanging call of another token is no try of its PIN', async () => {
    addToken('hanging')
    for (const delay of [1, 2, 3, 4]) {
      shim.reset()
      const broken = openToken(faulty, { token: 'hanging', timeout: 300 })
      shim.set({ call: 'GenerateRandom', what: 'wait', value: FOR_EVER, many: 0 })
      const late = () => new Promise<string>((resolve) => setTimeout(resolve, delay, PIN))
      const healthy = openToken(faulty, { pin: late })
      let isOver = false
      const hanging = (async () => {
        while (!isOver) await rejectionOf(broken.randomBytes(16))
      })()
      for (let i = 0; i < 4; i++) await rejectionOf(healthy.info())
      isOver = true
      await hanging
      shim.clear()
      await healthy.info()
      await Promise.all([broken.close(), healthy.close()])
    }
  })

  test('what was under way in other sessions is done again elsewhere', async () => {
    const [token, patient] = [openToken(faulty, { timeout: 1500 }), openToken(faulty)]
    await unwrap(patient)
    shim.set({ call: 'Decrypt', what: 'wait', value: FOR_EVER })
    const stuck = rejectionOf(unwrap(token))
    while (shim.pending) await new Promise((resolve) => setTimeout(resolve, 5))
    await Promise.all(Array.from({ length: 20 }, async () => await unwrap(patient)))
    assert.match(String(await stuck), /no answer within 1500 ms/)
    assert.is(shim.calls('Initialize'), 2)
    await Promise.all([token.close(), patient.close()])
  })

  test('calls that waited too long for their turn are not made, and the process that others get answers from goes on', async () => {
    const [token, patient] = [openToken(faulty, { timeout: 2000, sessions: 1 }), openToken(faulty)]
    await unwrap(patient)
    shim.set({ call: 'Decrypt', what: 'wait', value: 100, many: 0 })
    const errors = await Promise.all(Array.from({ length: 40 }, async () => await unwrap(token).catch(String)))
    assert.ok(
      errors.includes(undefined as never) && errors.some((error) => /no session .* in time/.test(String(error))),
    )
    await unwrap(patient)
    assert.ok(shim.calls('Decrypt') < 42, `${shim.calls('Decrypt')} calls`)
    assert.is(shim.calls('Initialize'), 1)
    await Promise.all([token.close(), patient.close()])
  })

  test('a call that hangs ends the process, also where others are answered meanwhile', async () => {
    const [token, patient] = [openToken(faulty, { timeout: 1000 }), openToken(faulty)]
    shim.set({ call: 'Decrypt', what: 'wait', value: 5 })
    await unwrap(patient)
    shim.set({ call: 'Decrypt', what: 'wait', value: FOR_EVER })
    const stuck = rejectionOf(unwrap(token))
    while (shim.pending) await new Promise((resolve) => setTimeout(resolve, 5))
    while (shim.calls('Initialize') === 1) await unwrap(patient)
    assert.match(String(await stuck), /no answer within 1000 ms/)
    await Promise.all([token.close(), patient.close()])
    assert.equal(hostPids(), [])
  })

  for (const how of ['exit', 'kill'] as const) {
    test(`a hanging token does not hold a process that ends by ${how}, and its host ends too`, async () => {
      const program = `
        const { openToken } = require('./test/support/pkcs11')
        const { Pkcs11AesKeyring } = require('./src/pkcs11')
        const { NodeEncryptionMaterial, KeyringTraceFlag } = require('./src/index')
        const { getSuite } = require('./src/suites')
        const token = openToken(${JSON.stringify(faulty)})
        const keyring = new Pkcs11AesKeyring({ token, key: 'aes', keyNamespace: 'tests', keyName: 'aes' })
        const children = '/proc/self/task/' + process.pid + '/children'
        token.info().then(() => {
          keyring.onEncrypt(new NodeEncryptionMaterial(getSuite(0x0478), {}))
          setTimeout(() => {
            console.log(require('node:fs').readFileSync(children, 'utf8').trim())
            if (process.argv[1] === 'exit') process.exit(7)
          }, 500)
        })`
      shim.set({ call: 'Encrypt', what: 'wait', value: FOR_EVER })
      const child = spawn(process.execPath, ['--import', 'tsx', '-e', program, how], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const [pids] = (await once(child.stdout, 'data')) as [Buffer]
      if (how === 'kill') child.kill('SIGKILL')
      await once(child, 'exit')
      const hosts = pids
        .toString()
        .trim()
        .split(' ')
        .filter((pid) => isHost(pid))
      while (hosts.some((pid) => isHost(pid))) await new Promise((resolve) => setTimeout(resolve, 20))
      if (how === 'exit') assert.is(child.exitCode, 7)
    })
  }

  test('a call that is under way when the program has no more to do settles first, by its deadline', () => {
    const program = `
      const { openToken } = require('./test/support/pkcs11')
      const token = openToken(${JSON.stringify(faulty)}, { timeout: 500 })
      token.randomBytes(8).catch((error) => console.log(error.code))`
    shim.set({ call: 'GenerateRandom', what: 'wait', value: FOR_EVER })
    const { stdout, status } = spawnSync(process.execPath, ['--import', 'tsx', '-e', program], { encoding: 'utf8' })
    assert.equal([stdout, status], ['ERR_KEY_SERVICE\n', 0])
  })

  async function unwrap(token: Pkcs11Token): Promise<void> {
    const material = await keyringOf(token).onDecrypt(new NodeDecryptionMaterial(SUITE, {}), edks)
    assert.ok(material.hasValidKey())
  }
}

function isHost(pid: string): boolean {
  return spawnSync('grep', ['-q', 'pkcs11-host', `/proc/${pid}/cmdline`], { stdio: 'ignore' }).status === 0
}

function keyringOf(token: Pkcs11Token): Pkcs11AesKeyring {
  return new Pkcs11AesKeyring({ token, key: 'aes', keyNamespace: 'tests', keyName: 'aes' })
}

test.run()
