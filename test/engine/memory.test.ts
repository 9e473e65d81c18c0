/** Memory for large results, in processes of their own: it is used again, never while anyone can see it, and is bounded. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const ROOT = join(__dirname, '../..')
const PRELUDE = `
require('tsx/cjs')
const { Worker } = require('node:worker_threads')
const { getEngine } = require(${JSON.stringify(join(ROOT, 'src/engine/engine'))})
const { buildClient } = require(${JSON.stringify(join(ROOT, 'src/index'))})
const { aesKeyring } = require(${JSON.stringify(join(ROOT, 'test/support/keys'))})
const MIB = 2 ** 20
const engine = getEngine()
if (engine.info().backend !== 'native') throw new Error('no addon')
const turn = () => new Promise((resolve) => setImmediate(resolve))
const collect = async () => {
  for (let i = 0; i < 5; i++) {
    globalThis.gc()
    await turn()
  }
}
const check = (holds, what) => {
  if (!holds) throw new Error(what)
}
const holds = (memory, value) => memory.every((byte) => byte === value)
`

function inChild(name: string, program: string): void {
  test(name, () => {
    const source = `${PRELUDE}async function main() {${program}}\nmain()`
    const args = ['--expose-gc', '--eval', source]
    const { status, stderr, signal } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' })
    assert.is(status, 0, `${signal ?? ''} ${stderr}`)
  })
}

inChild(
  'memory comes back for the next result, whoever had it, and never while it can be reached',
  `
  let kept = engine.allocate(8 * MIB).fill(1)
  engine.allocate(8 * MIB).fill(2)
  await collect()
  const views = [kept.subarray(5, 10), new DataView(kept.buffer), kept.buffer]
  kept = undefined
  await collect()
  let reused = false
  for (let i = 0; i < 20; i++) {
    const memory = engine.allocate(8 * MIB)
    check(memory[0] !== 1, 'memory is given out twice')
    if (memory[0] === 2 || memory[0] === 3) reused = true
    memory.fill(3)
    await collect()
  }
  check(reused, 'nothing is used again')
  check(holds(views[0], 1) && views[1].getUint8(7) === 1 && holds(new Uint8Array(views[2]), 1), 'overwritten')
  `,
)

inChild(
  'a caller who never lets other events have their turn does not fill the memory',
  `
  const before = process.memoryUsage.rss()
  for (let i = 0; i < 2000; i++) await engine.allocate(MIB).fill(1)
  const grown = (process.memoryUsage.rss() - before) / MIB
  check(grown < 900, grown + ' MiB')
  `,
)

inChild(
  'one result after the other stays within bounds, in length too',
  `
  const client = buildClient()
  const plaintext = Buffer.alloc(3 * MIB)
  const before = process.memoryUsage.rss()
  for (let i = 0; i < 400; i++) await client.encrypt(aesKeyring(), plaintext.subarray(i * 1000), { suiteId: 0x0478 })
  const grown = (process.memoryUsage.rss() - before) / MIB
  check(grown < 900, grown + ' MiB')
  `,
)

inChild(
  'little is kept where there is little memory',
  `
  const { NativeEngine } = require(${JSON.stringify(join(ROOT, 'src/engine/native'))})
  const isKept = async (length) => {
    for (let i = 0; i < 10; i++) {
      if (engine.allocate(length)[0] === 2) return true
      engine.allocate(length).fill(2)
      await collect()
    }
    return false
  }
  process.constrainedMemory = () => 64 * MIB
  new NativeEngine(engine.binding)
  check(!(await isKept(8 * MIB)), 'too much is kept')
  check(await isKept(3 * MIB), 'nothing is kept')
  `,
)

inChild(
  'a result can be sent to a worker, which has it as long as it wants',
  `
  const worker = new Worker(
    "const { parentPort } = require('node:worker_threads'); let memory; parentPort.on('message', (m) => { if (m) memory = m; parentPort.postMessage(memory.every((byte) => byte === 1)) })",
    { eval: true },
  )
  const answer = () => new Promise((resolve) => worker.once('message', resolve))
  let memory = engine.allocate(8 * MIB).fill(1)
  const sent = new Uint8Array(memory.buffer)
  worker.postMessage(sent, [sent.buffer])
  memory = undefined
  check(await answer(), 'it arrives')
  for (let i = 0; i < 10; i++) {
    await collect()
    engine.allocate(8 * MIB).fill(2)
  }
  worker.postMessage(undefined)
  check(await answer(), 'it stays')
  await worker.terminate()
  await collect()
  check(engine.allocate(8 * MIB).fill(3)[5] === 3, 'it comes back')
  `,
)

inChild(
  'a result of a worker outlives the worker',
  `
  const file = ${JSON.stringify(join(ROOT, 'src/engine/engine'))}
  for (let round = 0; round < 3; round++) {
    const worker = new Worker(
      "require('tsx/cjs'); const { parentPort, workerData } = require('node:worker_threads'); const memory = require(workerData).getEngine().allocate(8 << 20).fill(1); parentPort.postMessage(memory, [memory.buffer])",
      { eval: true, workerData: file },
    )
    const memory = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
    await worker.terminate()
    await collect()
    for (let i = 0; i < 5; i++) engine.allocate(8 * MIB).fill(2)
    check(memory.length === 8 * MIB && holds(memory, 1), 'it stays')
  }
  `,
)

inChild(
  'a process can end while results are alive and memory is kept',
  `
  globalThis.alive = [engine.allocate(8 * MIB), engine.allocate(MIB), engine.allocate(300 * MIB)]
  engine.allocate(8 * MIB)
  await collect()
  `,
)

test.run()
