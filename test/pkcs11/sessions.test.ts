import { fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { inspect } from 'node:util'
import { Worker } from 'node:worker_threads'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { buildClient, EncryptedDataKey, NodeDecryptionMaterial, NodeEncryptionMaterial } from '../../src/index'
import { nameOf, SessionPool } from '../../src/keyrings/pkcs11-sessions'
import { Pkcs11AesKeyring, Pkcs11Token, type TokenDescription } from '../../src/pkcs11'
import { getSuite } from '../../src/suites'
import { rejectionOf, rejects } from '../support/expect'
import { addToken, faultySoftHsm, hostPids, openToken, PIN } from '../support/pkcs11'
import type { Shim } from '../support/pkcs11-shim'

const SUITE = getSuite(0x0478)
const SESSION_COUNT = 0xb1
/** Of a token whose user PIN has one try left, or none. */
const PIN_FLAGS = { 'would be locked by one more wrong PIN': 0x20000, 'is locked': 0x40000 }

test('where all sessions are lost and no other can be had, nobody waits for one for ever', async () => {
  let opened = 0
  const open = () => {
    if (opened === 2) throw new Error('CKR_DEVICE_REMOVED')
    return ++opened
  }
  const pool = new SessionPool<number>(open, () => {})
  pool.cap = 2
  const removed = async () => {
    await new Promise((resolve) => setImmediate(resolve))
    throw new Error('CKR_DEVICE_REMOVED')
  }
  const errors = await Promise.all(Array.from({ length: 12 }, async () => await rejectionOf(pool.use(removed))))
  assert.equal(new Set(errors.map(nameOf)), new Set(['CKR_DEVICE_REMOVED']))
  pool.close()
})

test('what keeps a session from being opened is told, unless it is that there are none left', async () => {
  for (const [name, told] of [
    ['CKR_DEVICE_ERROR', true],
    ['CKR_SESSION_COUNT', false],
  ] as const) {
    let asked = 0
    const open = () => {
      if (asked++ > 0) return 1
      throw new Error(name)
    }
    const pool = new SessionPool<number>(open, () => {})
    assert.is(nameOf(await rejectionOf(pool.use((session) => session))), told ? name : '')
    pool.close()
  }
})

test('a session that is busy will do to log in with', async () => {
  const pool = new SessionPool<number>(
    () => 1,
    () => {},
  )
  pool.cap = 1
  let end = () => {}
  const busy = pool.use(() => new Promise<void>((resolve) => (end = resolve)))
  assert.is(await Promise.race([pool.first(), new Promise((resolve) => setImmediate(resolve))]), 1)
  end()
  await busy
  pool.close()
})

test('who waits gets the place of a session that is given up, though the others stay busy', async () => {
  let opened = 0
  const pool = new SessionPool<number>(
    () => ++opened,
    () => {},
  )
  pool.cap = 2
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve))
  let end = () => {}
  const busy = pool.use(() => new Promise<void>((resolve) => (end = resolve)))
  const failing = rejectionOf(
    pool.use(async () => {
      await turn()
      throw new Error('failed')
    }),
  )
  const waiting = pool.use((session) => session)
  await failing
  await turn()
  end()
  assert.is(await waiting, 3)
  await busy
  pool.close()
})

const faulty = faultySoftHsm()
if (faulty) testSessions(faulty.shim, faulty)

function testSessions(shim: Shim, faulty: Parameters<typeof openToken>[0]): void {
  test.before(async () => {
    const token = openToken(faulty)
    await token.generateKey({ type: 'aes', label: 'aes' })
    await token.close()
  })
  test.before.each(() => shim.reset())

  test('a wrong PIN is tried once, by 64 calls of 3 tokens, and not again until told', async () => {
    let asked = 0
    let pin = 'wrong-needle'
    const ask = () => {
      asked++
      return pin
    }
    const tokens = [1, 2, 3].map(() => openToken(faulty, { pin: ask }))
    const errors = await Promise.all(Array.from({ length: 64 }, (_, i) => rejectionOf(wrap(tokens[i % 3]!))))
    for (const error of errors) {
      assert.match(String(error), /C_Login with CKR_PIN_INCORRECT/)
      assert.not.match(inspect(error, { depth: 9, showHidden: true }), /needle/)
    }
    await rejects(wrap(tokens[0]!), 'ERR_WRAPPING_KEY', /CKR_PIN_INCORRECT/)
    assert.equal([shim.calls('Login'), asked], [1, 1])
    pin = PIN
    await rejects(wrap(tokens[1]!), 'ERR_WRAPPING_KEY', /CKR_PIN_INCORRECT/)
    tokens[0]!.tryPinAgain()
    for (const token of tokens) await wrap(token)
    for (const token of tokens) await token.close()
    assert.is(shim.sessions, 0)
    assert.equal(hostPids(), [])
  })

  test('a PIN that may be tried again is that of one token, not of others of the module, nor of another module', async () => {
    addToken('refused')
    const [one, two] = ['tests', 'refused'].map((token) => openToken(faulty, { token, pin: () => 'wrong-needle' }))
    for (const token of [one!, two!]) await rejects(token.info(), 'ERR_WRAPPING_KEY', /CKR_PIN_INCORRECT/)
    one!.tryPinAgain()
    const elsewhere = { input: { ...faulty.input, module: process.env.SHIM_MODULE!, token: 'refused' } }
    openToken(elsewhere).tryPinAgain()
    await rejects(two!.info(), 'ERR_WRAPPING_KEY', /CKR_PIN_INCORRECT/)
    assert.is(shim.calls('Login'), 2)
    await rejects(one!.info(), 'ERR_WRAPPING_KEY', /CKR_PIN_INCORRECT/)
    assert.is(shim.calls('Login'), 3)
    one!.tryPinAgain()
    const right = openToken(faulty)
    await right.info()
    for (const token of [one!, two!, right]) await token.close()
  })

  for (const [state, value] of Object.entries(PIN_FLAGS)) {
    test(`where the token says that it ${state}, nobody logs in unless told, and then once`, async () => {
      let asked = 0
      const ask = () => {
        asked++
        return PIN
      }
      shim.set({ call: 'GetTokenInfo', what: 'flags', value, many: 0 })
      for (const logins of [0, 1]) {
        const token = openToken(faulty, { pin: ask })
        await rejects(token.info(), 'ERR_WRAPPING_KEY', new RegExp(`no login: the PKCS#11 token "tests" ${state}`))
        assert.equal([shim.calls('Login'), asked], [logins, logins])
        if (logins === 0) {
          token.tryPinAgain()
          assert.is((await token.info()).label, 'tests')
        }
        await token.close()
      }
    })
  }

  for (const [how, asked] of [
    ['is killed', 2],
    ['ends with close()', 1],
  ] as const) {
    test(`a process that ${how} while the PIN is asked for is not waited for`, async () => {
      let given: ((pin: string) => void) | undefined
      let pins = 0
      const ask = () => (++pins > 1 ? PIN : new Promise<string>((resolve) => (given = resolve)))
      const token = openToken(faulty, { pin: ask, timeout: 10_000 })
      const opening = token.info().catch(String)
      while (!given) await new Promise((resolve) => setTimeout(resolve, 5))
      if (how === 'is killed') for (const pid of hostPids()) process.kill(pid, 'SIGKILL')
      else await token.close()
      while (hostPids().length > 0) await new Promise((resolve) => setTimeout(resolve, 5))
      given(PIN)
      const answer = await opening
      if (how === 'is killed') assert.is((answer as TokenDescription).label, 'tests')
      else assert.match(String(answer), /has been closed/)
      assert.is(pins, asked)
      await token.close()
    })
  }

  test('a process that is killed while idle is replaced at the next call, once for all', async () => {
    const [one, two] = [openToken(faulty), openToken(faulty)]
    await Promise.all([wrap(one), wrap(two)])
    for (const noticed of [false, true]) {
      const pids = hostPids()
      for (const pid of pids) process.kill(pid, 'SIGKILL')
      while (noticed && pids.some((pid) => existsSync(`/proc/${pid}`)))
        await new Promise((resolve) => setImmediate(resolve))
      // Once it is known, nothing is lost in it: what may not be done twice is done too.
      if (noticed) await one.generateKey({ type: 'aes', label: 'made after the end' })
      for (const token of [one, two]) await wrap(token)
      assert.is(hostPids().length, 1)
    }
    assert.is(shim.calls('Initialize'), 3)
    await Promise.all([one.close(), two.close()])
    assert.equal(hostPids(), [])
  })

  test('the signals of a terminal end no process of a token', async () => {
    const token = openToken(faulty)
    await wrap(token)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      for (const pid of hostPids()) process.kill(pid, signal)
      await wrap(token)
    }
    assert.is(shim.calls('Initialize'), 1)
    await token.close()
  })

  test('an answer leaves no timer that keeps the program', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const token = openToken(faulty)
    const before = timers()
    await wrap(token)
    assert.is(timers(), before)
    await token.close()
  })

  test('64 wraps and unwraps at once share 8 sessions, however slow the token is; none are left', async () => {
    const token = openToken(faulty)
    const keyring = keyringOf(token)
    shim.set({ call: 'Encrypt', what: 'wait', value: 5, many: 0 })
    await wrap(token)
    await Promise.all(Array.from({ length: 64 }, async () => await wrap(token)))
    assert.is(shim.mostSessions, 8)
    shim.clear()
    const edks = await wrap(token)
    await Promise.all(
      Array.from({ length: 64 }, async () => {
        const material = await keyring.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), edks)
        assert.ok(material.hasValidKey())
      }),
    )
    assert.is(shim.mostSessions, 8)
    assert.is(shim.calls('Login'), 1)
    await token.close()
    assert.is(shim.sessions, 0)
  })

  test('two tokens of one module share its process and its sessions; the last to close ends it', async () => {
    const [one, two] = [openToken(faulty, { sessions: 3 }), openToken(faulty, { sessions: 5 })]
    shim.set({ call: 'Encrypt', what: 'wait', value: 5, many: 0 })
    await Promise.all([wrap(one), wrap(two)])
    await Promise.all(Array.from({ length: 32 }, async (_, i) => await wrap(i % 2 ? one : two)))
    assert.ok(shim.mostSessions <= 3, `${shim.mostSessions} sessions`)
    assert.is(hostPids().length, 1)
    await one.close()
    await wrap(two)
    await two.close()
    assert.equal(hostPids(), [])
    assert.equal([shim.sessions, shim.calls('Initialize'), shim.calls('Finalize')], [0, 1, 1])
  })

  test('where the token has no session to give, calls wait: for our own, or for those of others', async () => {
    const token = openToken(faulty)
    shim.set({ call: 'Encrypt', what: 'wait', value: 5, many: 0 })
    await wrap(token)
    shim.set({ call: 'OpenSession', what: 'answer', value: SESSION_COUNT, many: 0 })
    await Promise.all(Array.from({ length: 16 }, async () => await wrap(token)))
    assert.is(shim.mostSessions, 1)
    await token.close()
    assert.is(shim.sessions, 0)
    const another = openToken(faulty)
    shim.set({ call: 'OpenSession', what: 'answer', value: SESSION_COUNT, many: 3 })
    await wrap(another)
    assert.not.ok(shim.pending)
    await another.close()
  })

  test('an error in the only session that there is does not end the login', async () => {
    const token = openToken(faulty)
    await wrap(token)
    shim.set({ call: 'OpenSession', what: 'answer', value: SESSION_COUNT, many: 0 })
    const [edk] = await wrap(token)
    const { providerId, providerInfo, rawInfo } = edk!
    const forged = new EncryptedDataKey({ providerId, providerInfo, rawInfo, encryptedDataKey: Buffer.alloc(48) })
    const material = await keyringOf(token).onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [forged])
    assert.is(material.failures.length, 1)
    // Another keyring looks for its key anew.
    await wrap(token)
    assert.equal([shim.sessions, shim.calls('Login')], [1, 1])
    await token.close()
  })

  test('idle sessions are given back, but the one that keeps the login', async () => {
    const token = openToken(faulty)
    shim.set({ call: 'Encrypt', what: 'wait', value: 5, many: 0 })
    await wrap(token)
    await Promise.all(Array.from({ length: 16 }, async () => await wrap(token)))
    shim.clear()
    assert.is(shim.sessions, 8)
    while (shim.sessions > 1) await new Promise((resolve) => setTimeout(resolve, 20))
    await wrap(token)
    assert.equal([shim.sessions, shim.calls('Login')], [1, 1])
    await token.close()
  })

  test('a name that two tokens have is none, until more is told', async () => {
    for (let i = 0; i < 2; i++) addToken('same name')
    const named = openToken(faulty, { token: 'same name' })
    await rejects(named.info(), 'ERR_WRAPPING_KEY', /2 tokens with label "same name"/)
    const all = await Pkcs11Token.list({ module: faulty.input.module })
    const serials = all.filter(({ label }) => label === 'same name').map(({ serial }) => serial)
    // What is learnt of the PIN of one does not hold for the other.
    const [wrong, right] = [{ pin: () => 'wrong-needle' }, {}].map((more, i) =>
      openToken(faulty, { token: { serial: serials[i]! }, ...more }),
    )
    await rejects(wrong!.info(), 'ERR_WRAPPING_KEY', /CKR_PIN_INCORRECT/)
    assert.is((await right!.info()).serial, serials[1])
    wrong!.tryPinAgain()
    await Promise.all([named.close(), wrong!.close(), right!.close()])
  })

  test('another token of the same module has its own PIN and sessions', async () => {
    addToken('second')
    let pin = 'no-needle'
    const [first, second] = [openToken(faulty), openToken(faulty, { token: 'second', pin: () => pin })]
    await wrap(first)
    await rejects(second.generateKey({ type: 'aes', label: 'aes' }), 'ERR_WRAPPING_KEY', /CKR_PIN_INCORRECT/)
    await wrap(first)
    // The process goes on for the other; the failure does not.
    pin = PIN
    second.tryPinAgain()
    assert.is((await second.info()).label, 'second')
    await Promise.all([first.close(), second.close()])
    assert.is(shim.sessions, 0)
  })

  test('a login that fails keeps no process', async () => {
    const token = openToken(faulty, { token: 'second', pin: () => 'wrong-needle' })
    await rejects(token.info(), 'ERR_WRAPPING_KEY', /CKR_PIN_INCORRECT/)
    const start = performance.now()
    while (hostPids().length > 0) {
      assert.ok(performance.now() - start < 60_000, 'a process is left')
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    token.tryPinAgain()
  })

  test('four threads, and a child process, use one token at a time', async () => {
    const token = openToken(faulty)
    const { result } = await buildClient().encrypt(keyringOf(token), 'for all')
    const file = require.resolve('../support/pkcs11-worker.ts')
    const workerData = { input: faulty.input, pin: PIN, message: result }
    const execArgv = ['--import', 'tsx']
    const program = `require('tsx/cjs'); require(${JSON.stringify(file)})`
    const threads = [1, 2, 3, 4].map(() => new Worker(program, { eval: true, workerData }))
    const exits = threads.map(async (thread) => await once(thread, 'exit'))
    const answers = threads.map(async (thread) => {
      const [answer] = await once(thread, 'message')
      return answer as unknown
    })
    const child = fork(file, { execArgv })
    child.send({ ...workerData, message: result.toString('base64') })
    answers.push(once(child, 'message').then(([answer]) => answer))
    assert.equal(await Promise.all(answers), Array(5).fill('for all 100'))
    await wrap(token)
    await token.close()
    await Promise.all(exits)
    while (shim.sessions > 0) await new Promise((resolve) => setTimeout(resolve, 20))
  })

  test('a process that just ends leaves no host and no session', () => {
    const program = `
      const { openToken } = require('./test/support/pkcs11')
      const token = openToken(${JSON.stringify(faulty)})
      token.info().then(async () => {
        console.log('open')
        if (process.argv[1] === 'exit') process.exit(7)
        if (process.argv[1] === 'close') await token.close().then(() => console.log('closed'))
      })`
    for (const [how, status, told] of [
      ['exit', 7, 'open\n'],
      ['end', 0, 'open\n'],
      ['close', 0, 'open\nclosed\n'],
    ] as const) {
      const child = spawnSync(process.execPath, ['--import', 'tsx', '-e', program, how], { encoding: 'utf8' })
      assert.is(child.stdout, told, child.stderr)
      assert.is(child.status, status)
    }
    const start = performance.now()
    while (shim.sessions > 0) assert.ok(performance.now() - start < 10_000, `${shim.sessions} sessions left`)
  })
}

async function wrap(token: Pkcs11Token) {
  return (await keyringOf(token).onEncrypt(new NodeEncryptionMaterial(SUITE, {}))).encryptedDataKeys
}

function keyringOf(token: Pkcs11Token): Pkcs11AesKeyring {
  return new Pkcs11AesKeyring({ token, key: 'aes', keyNamespace: 'tests', keyName: 'aes' })
}

test.run()
