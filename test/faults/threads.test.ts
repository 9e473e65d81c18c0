/** JavaScript threads and processes that end while messages are under way, and inputs that change meanwhile (F-41). */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'uvu'
import { type Attempt, FaultReport, full } from './report'

const ROUNDS = full ? 200 : 40
const OPERATIONS = full ? 100_000 : 2_000
const CHANGES = full ? 2_000 : 20
const ENDINGS = full ? 20 : 2

// What every process and thread here begins with. `operation` checks what it does.
const SETUP = `
  const { Worker, parentPort, workerData } = require('node:worker_threads')
  const { pipeline } = require('node:stream/promises')
  const { buffer } = require('node:stream/consumers')
  const { Readable } = require('node:stream')
  const { buildClient, RawAesKeyringNode } = require(${JSON.stringify(join(__dirname, '../../dist'))})
  const unencryptedMasterKey = new Uint8Array(32).fill(1)
  const keyring = new RawAesKeyringNode({ keyNamespace: 'n', keyName: 'k', unencryptedMasterKey, wrappingSuite: 0x78 })
  const client = buildClient()
  const right = (a, b) => { if (Buffer.compare(a, b) !== 0) throw new Error('a wrong plaintext') }
  let drawn = 0
  async function operation(most = 16) {
    const plaintext = Buffer.alloc(2 ** (drawn++ % most) + drawn % 7, drawn)
    if (drawn % 8 === 0) {
      const sealed = Readable.from([plaintext]).compose(client.encryptStream(keyring))
      return right(await buffer(sealed.compose(client.decryptStream(keyring))), plaintext)
    }
    if (drawn % 8 === 1) {
      const [sealed] = await client.encryptMany(keyring, [plaintext, plaintext])
      const [opened] = await client.decryptMany(keyring, [sealed.value.result])
      return right(opened.value.plaintext, plaintext)
    }
    right((await client.decrypt(keyring, (await client.encrypt(keyring, plaintext)).result)).plaintext, plaintext)
  }
  async function operations(count, atOnce) {
    let left = count
    await Promise.all(Array.from({ length: atOnce }, async () => { while (left-- > 0) await operation() }))
  }
  const start = (code, data) => new Worker(SETUP + code, { eval: true, workerData: data })
  const once = (emitter, name) => new Promise((resolve, reject) => emitter.once(name, resolve).once('error', reject));
`
/** Without end, 16 at once and up to 2 MiB each. */
const BUSY = `for (let i = 0; i < 16; i++) (async () => { for (;;) { await operation(22); await new Promise(setImmediate) } })()`

const CELLS: Readonly<Record<string, () => Promise<Attempt>>> = {
  'F-41 four threads, 64 operations at once': () =>
    passes(
      `(async () => {
        const threads = [1, 2, 3].map(() => start("operations(" + ${OPERATIONS / 4} + ", 64).then(() => parentPort.postMessage('done'))"))
        await Promise.all([operations(${OPERATIONS / 4}, 64), ...threads.map((thread) => once(thread, 'message'))])
        console.log(${OPERATIONS})
      })()`,
      OPERATIONS,
    ),
  'F-41 threads terminated at work': () =>
    passes(
      `(async () => {
        for (let round = 0; round < ${ROUNDS}; round++) {
          const thread = start("parentPort.postMessage('ready');" + ${JSON.stringify(BUSY)})
          await once(thread, 'message')
          await new Promise((resolve) => setTimeout(resolve, round % 40))
          await thread.terminate()
          await operation()
        }
        console.log(${ROUNDS})
      })()`,
      ROUNDS,
    ),
  'F-41 garbage collected at work': () =>
    passes(
      `(async () => {
        for (let i = 0; i < ${CHANGES}; i++) {
          const [stream, opener] = [client.encryptStream(keyring), client.decryptStream(keyring)]
          stream.write(Buffer.alloc(100_000))
          const under = [operation(), operation(20)]
          gc()
          await Promise.all(under)
        }
        console.log(${CHANGES})
      })()`,
      CHANGES,
    ),
  'F-41 another thread changes what is opened': () => passes(race('shared'), CHANGES),
  'F-41 the caller changes what is opened': () => passes(race('written'), CHANGES),
  'F-41 the caller resizes what is opened': () => passes(race('resized'), CHANGES),
  'F-41 the caller transfers what is opened': () => passes(race('transferred'), CHANGES),
  'F-41 exit at work': () => endings('process.exit(7)', 7),
  'F-41 an uncaught error at work': () => endings("throw new Error('uncaught')", 1),
  'F-41 exit of a thread at work': () =>
    endings("new Worker('process.exit(0)', { eval: true }).on('exit', () => process.exit(7))", 7),
  'F-41 abort at work': () => endings('process.abort()', 'SIGABRT'),
}

test('threads and processes that end, inputs that change', async () => {
  const report = new FaultReport()
  for (const [cell, attempt] of Object.entries(CELLS)) await report.inject(cell, 1, 0, attempt)
  report.check(Object.keys(CELLS))
})

/**
 * The message changes while it is being opened, one-shot and as a stream: to the right plaintext or not at all. Prints how often.
 */
function race(how: 'shared' | 'written' | 'resized' | 'transferred'): string {
  return `(async () => {
    const plaintext = Buffer.alloc(3_000_000, 'plaintext ')
    const { result } = await client.encrypt(keyring, plaintext)
    const how = ${JSON.stringify(how)}
    const memory = how === 'shared' ? new SharedArrayBuffer(result.length)
      : how === 'resized' ? new ArrayBuffer(result.length, { maxByteLength: result.length }) : new ArrayBuffer(result.length)
    let message = new Uint8Array(memory)
    message.set(result)
    let thread
    if (how === 'shared') {
      thread = start("parentPort.postMessage('ready'); const m = new Uint8Array(workerData); for (let at = 0;; at = (at + 4999) % m.length) { m[at] ^= 1; m[at] ^= 1 }", memory)
      await once(thread, 'message')
    }
    let done = 0, refused = 0
    for (let i = 0; i < ${CHANGES}; i++) {
      const opening = i % 2 === 0
        ? client.decrypt(keyring, message).then(({ plaintext }) => plaintext)
        : buffer(client.decryptStream(keyring).end(message))
      for (let turn = 0; turn < i % 5; turn++) await Promise.resolve()
      const at = (i * 7919) % message.length
      if (how === 'written') message[at] ^= 1
      if (how === 'resized') memory.resize(at)
      if (how === 'transferred') structuredClone(message.buffer, { transfer: [message.buffer] })
      await opening.then((opened) => { right(opened, plaintext); done++ }, (error) => {
        if (!/^ERR_(AUTHENTICATION_FAILED|MESSAGE_)/.test(error.code) && !(error instanceof TypeError)) throw error
        refused++
      })
      if (how === 'written') message[at] ^= 1
      if (how === 'resized') { memory.resize(result.length); message.set(result) }
      if (how === 'transferred') message = new Uint8Array(result)
    }
    await thread?.terminate()
    if (how !== 'shared' && refused === 0) throw new Error('nothing changed in time')
    console.log(done + refused)
  })()`
}

/** Runs a script in a process of its own, which must print how many faults there were. */
async function passes(script: string, injected: number): Promise<Attempt> {
  const { code, stdout, stderr } = await run(`const SETUP = ${JSON.stringify(SETUP)}\n${SETUP}${script}`)
  if (code !== 0 || stdout !== `${injected}\n`) throw new Error(`ended with ${code}: ${stdout}${stderr}`)
  return { outcome: 'right', injected, requests: 0 }
}

/** The process ends in this way, at another moment each time. */
async function endings(how: string, expected: number | string): Promise<Attempt> {
  for (let i = 0; i < ENDINGS; i++) {
    const script = `${SETUP}${BUSY}\nsetTimeout(() => { ${how} }, ${i * 7})`
    const { code, stderr } = await run(script)
    if (code !== expected) throw new Error(`ended with ${code}: ${stderr}`)
  }
  return { outcome: 'right', injected: ENDINGS, requests: 0 }
}

async function run(script: string): Promise<{ code: number | string | null; stdout: string; stderr: string }> {
  const child = spawn('sh', ['-c', 'ulimit -c 0; exec "$@"', 'sh', process.execPath, '--expose-gc', '-e', script])
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk) => (stdout += chunk))
  child.stderr.on('data', (chunk) => (stderr += chunk))
  return await new Promise((resolve) => {
    child.once('close', (status, signal) => resolve({ code: signal ?? status, stdout, stderr }))
  })
}

test.run()
