import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

// Processes of their own, as they end JavaScript threads, and themselves, while the addon is at work. Each prints what
// it came to and ends by itself with status 0: a crash, a hang or a wrong byte fails the call.
const ADDON = join(__dirname, '../../native/build/Release/sealwax.node')
const SETUP = `
  const { Worker, parentPort } = require('node:worker_threads')
  const addon = require(${JSON.stringify(ADDON)})
  const key = new Uint8Array(32).fill(1)
  const plaintext = new Uint8Array(1 << 20).fill(3)
  const sealed = new Uint8Array(plaintext.length + 256 * 32)
  const opened = new Uint8Array(plaintext.length)
  const random = new Uint8Array(76)
  function work() {
    const statuses = [
      addon.sealFrames(key, key, 4096, 1, plaintext, 0, sealed),
      addon.openFrames(key, key, 4096, 1, sealed, opened) - 256 * 16,
      addon.randomBytes(random),
      addon.hkdf(2, key, key, key, random),
    ]
    if (statuses.some(Boolean) || Buffer.compare(plaintext, opened) !== 0) throw new Error('wrong bytes')
  }
  addon.force(4, 4096)
  const start = (code) => new Worker(SETUP + code, { eval: true })
  const exited = (worker) => new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject))
`

const CASES: [name: string, code: string][] = [
  [
    'four JavaScript threads share the pool',
    `
    const workers = [1, 2, 3, 4].map(() => start('for (let i = 0; i < 40; i++) work()'))
    for (let i = 0; i < 40; i++) work()
    Promise.all(workers.map(exited)).then((codes) => { if (codes.every((code) => code === 0)) console.log('done') })
    `,
  ],
  [
    'JavaScript threads are terminated in the middle of calls, again and again',
    `
    async function main() {
      for (let round = 0; round < 15; round++) {
        const workers = [1, 2].map(() => start("parentPort.postMessage('started'); for (;;) work()"))
        await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))))
        work()
        await Promise.all(workers.map((worker) => worker.terminate()))
      }
      work()
      console.log('done')
    }
    main()
    `,
  ],
  [
    'JavaScript threads are terminated while they load the addon',
    `
    async function main() {
      const file = ${JSON.stringify(ADDON)}
      for (let round = 0; round < 100; round++) {
        const worker = new Worker(\`
          require('node:worker_threads').parentPort.postMessage('started')
          for (;;) { require('\${file}'); delete require.cache['\${file}'] }\`, { eval: true })
        await new Promise((resolve) => worker.once('message', resolve))
        await worker.terminate()
      }
      work()
      console.log('done')
    }
    main()
    `,
  ],
  [
    'the process exits while pool threads idle and others work',
    `
    work()
    const worker = start("parentPort.postMessage('started'); for (;;) work()")
    worker.once('message', () => { console.log('done'); process.exit(0) })
    `,
  ],
]

for (const [name, code] of CASES) {
  test(name, () => {
    const script = `const SETUP = ${JSON.stringify(SETUP)}\n${SETUP}${code}`
    const output = execFileSync(process.execPath, ['-e', script], { encoding: 'utf8', timeout: 60_000 })
    assert.is(output, 'done\n')
  })
}

test.run()
