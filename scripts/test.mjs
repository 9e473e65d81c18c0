// Runs the test files under test/, each in a process of its own so that none can hide another's crash or leftovers.
// `node scripts/test.mjs [part of a file name]...`. Ends with one line `N passed, N failed`.
// With SEALWAX_COVERAGE=1 what the tests run of src/ and native/ is measured, and too little of either counts as a failure.
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const LINES = 95
const BRANCHES = 90
/** Longer than any file takes on a slow machine. */
const MINUTES = 15

const root = fileURLToPath(new URL('..', import.meta.url))
const parts = process.argv.slice(2)
const files = readdirSync(`${root}test`, { recursive: true })
  .filter((name) => name.endsWith('.test.ts') && (parts.length === 0 || parts.some((part) => name.includes(part))))
  .sort()

let passed = 0
let failed = 0
const measures = process.env.SEALWAX_COVERAGE === '1' ? mkdtempSync(join(tmpdir(), 'sealwax-coverage-')) : undefined
try {
  await Promise.all(Array.from({ length: availableParallelism() }, worker))
  if (measures) await Promise.all([checkSources(measures), checkNative()])
} finally {
  if (measures) rmSync(measures, { recursive: true })
}
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0

async function worker() {
  for (let file = files.shift(); file; file = files.shift()) {
    const { code, output } = await run(['--expose-gc', '--import', 'tsx', `test/${file}`], measures)
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

/** What all tests together ran of src/, of the code as tests compile it and of the command as it is built. */
async function checkSources(folder) {
  const options = ['--include=src/**', '--all', '--merge-async', '--reporter=json-summary', '--reporter=html']
  const { output } = await run(['node_modules/c8/bin/c8.js', 'report', ...options, `--temp-directory=${folder}`])
  try {
    const { lines, branches } = JSON.parse(readFileSync(`${root}coverage/coverage-summary.json`, 'utf8')).total
    const figures = `coverage: ${lines.pct} % of lines (at least ${LINES}), ${branches.pct} % of branches (at least ${BRANCHES})`
    count(lines.pct >= LINES && branches.pct >= BRANCHES, figures)
  } catch (error) {
    count(false, `coverage: ${error}\n${output}`)
  }
}

async function checkNative() {
  const { code, output } = await run(['scripts/native-coverage.mjs', '--lines'])
  count(code === 0, code === 0 ? output.trim().split('\n').at(-1) : output)
}

function count(good, what) {
  if (good) passed++
  else failed++
  console.log(`${good ? 'ok  ' : 'FAIL'} ${what}`)
}

function run(args, coverage) {
  return new Promise((resolve) => {
    // Else sources would be compiled by the settings of the folder that a test works in: two codes under one name.
    const env = { ...process.env, TSX_TSCONFIG_PATH: `${root}tsconfig.json` }
    if (coverage) env.NODE_V8_COVERAGE = coverage
    const child = spawn(process.execPath, args, { cwd: root, env })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (output += chunk))
    // A test that waits for what never comes fails here, with what it said until then, and the others still run.
    const watchdog = setTimeout(() => {
      child.kill('SIGKILL')
      for (const stream of [child.stdout, child.stderr]) stream.destroy()
      resolve({ code: null, output: `${output}\nended: it ran for ${MINUTES} minutes` })
    }, MINUTES * 60_000)
    child.on('close', (code) => {
      clearTimeout(watchdog)
      resolve({ code, output })
    })
  })
}
