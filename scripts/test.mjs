// Runs the test files under test/, each in a process of its own so that none can hide another's crash or leftovers.
// `node scripts/test.mjs [part of a file name]`. Ends with one line `N passed, N failed`.
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const filter = process.argv[2] ?? ''
const files = readdirSync(`${root}test`, { recursive: true })
  .filter((name) => name.endsWith('.test.ts') && name.includes(filter))
  .sort()

let passed = 0
let failed = 0
await Promise.all(Array.from({ length: availableParallelism() }, worker))
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0

async function worker() {
  for (let file = files.shift(); file; file = files.shift()) {
    const { code, output } = await run(`test/${file}`)
    const total = Number(/Total: +(\d+)/.exec(output)?.[1] ?? 0)
    const good = Number(/Passed: +(\d+)/.exec(output)?.[1] ?? 0)
    // A file that ends badly, or without having run a test, counts as one failure at least.
    const bad = Math.max(total - good, code === 0 && total > 0 ? 0 : 1)
    passed += good
    failed += bad
    const skips = output.split('\n').filter((line) => /^(SKIPPED|NOT RUN)/.test(line))
    console.log(
      `${bad === 0 ? 'ok  ' : 'FAIL'} ${file} (${good}/${total})${skips.map((line) => `\n     ${line}`).join('')}`,
    )
    if (bad > 0) console.log(output)
  }
}

function run(file) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--expose-gc', '--import', 'tsx', file], { cwd: root })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (output += chunk))
    child.on('close', (code) => resolve({ code, output }))
  })
}
