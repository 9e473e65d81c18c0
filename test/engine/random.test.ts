/** Random bytes of threads and processes that start the same way. Copies of one memory image: native/test/random_test.cc. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const DRAWS = 1000
const DRAW = `
  const dist = ${JSON.stringify(join(__dirname, '../../dist'))}
  const { getEngine } = require(dist + '/engine.js')
  const { nodeEngine } = require(dist + '/engine/node.js')
  const drawn = [getEngine(), nodeEngine].flatMap((engine) =>
    Array.from({ length: ${DRAWS} }, () => Buffer.from(engine.randomBytes(16)).toString('hex')))
`

test('no two draws of any thread or process are the same', async () => {
  const code = `${DRAW}; require('node:worker_threads').parentPort.postMessage(drawn)`
  const threads = [1, 2, 3, 4].map(async () => {
    const [drawn] = await once(new Worker(code, { eval: true }), 'message')
    return drawn as string[]
  })
  const processes = [1, 2, 3].map(() =>
    execFileSync(process.execPath, ['-p', `${DRAW}; drawn.join()`], { encoding: 'utf8' })
      .trim()
      .split(','),
  )
  const all = [...(await Promise.all(threads)), ...processes].flat()
  assert.is(all.length, 7 * 2 * DRAWS)
  assert.is(new Set(all).size, all.length)
})

test.run()
