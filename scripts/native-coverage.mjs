// Which lines of native/ the tests run: `node scripts/native-coverage.mjs [--lines]`. Builds the plain half with its checks and
// the addon in a copy of the tree, both for gcov, and runs the checks and the engine's tests there. Prints a line for each
// source and the sum; `--lines` also prints what was not run. Ends with 1 below the target.
import { spawn, spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const TARGET = 95
const FLAGS = '--coverage -O0 -fprofile-update=atomic'

const root = fileURLToPath(new URL('..', import.meta.url))
for (const tool of ['cmake', 'gcov']) {
  if (!spawnSync(tool, ['--version']).error) continue
  console.log(`NOT RUN: no ${tool} here`)
  process.exit(1)
}
const tree = mkdtempSync(join(tmpdir(), 'sealwax-coverage-'))
try {
  for (const name of ['native', 'dist', 'scripts', 'src', 'test', 'CMakeLists.txt', 'package.json', 'tsconfig.json'])
    cpSync(join(root, name), join(tree, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'))
  await run('cmake', ['-S', '.', '-B', 'checks', `-DCMAKE_CXX_FLAGS=${FLAGS}`, '-DCMAKE_BUILD_TYPE=Debug'])
  await run('cmake', ['--build', 'checks', '--parallel', '2'])
  await run('ctest', ['--test-dir', 'checks', '-E', 'constant_time', '--output-on-failure'])
  await run(process.execPath, ['scripts/build-native.mjs'], { CXXFLAGS: FLAGS, LDFLAGS: '--coverage' })
  await run(process.execPath, ['scripts/test.mjs', 'engine/'])
  process.exitCode = tell(linesRun()) >= TARGET ? 0 : 1
} finally {
  rmSync(tree, { recursive: true, force: true })
}

/** By source, by line: whether any run came there. */
function linesRun() {
  const sources = new Map()
  const counts = readdirSync(tree, { recursive: true }).filter((name) => name.endsWith('.gcda'))
  for (const name of counts) {
    const folder = join(tree, dirname(name))
    const { stdout } = spawnSync('gcov', ['--json-format', '--stdout', join(tree, name)], {
      cwd: folder,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    })
    for (const { current_working_directory: from, files } of stdout.split('\n').filter(Boolean).map(JSON.parse)) {
      for (const { file, lines } of files) {
        const source = relative(tree, join(file.startsWith('/') ? '/' : from, file))
        if (!/^native\/\w+\.(cc|h)$/.test(source)) continue
        const known = sources.get(source) ?? sources.set(source, new Map()).get(source)
        for (const { line_number: line, count } of lines) known.set(line, known.get(line) || count > 0)
      }
    }
  }
  return sources
}

function tell(sources) {
  let all = 0
  let ran = 0
  for (const [source, lines] of [...sources].sort()) {
    const missed = [...lines].filter(([, wasRun]) => !wasRun).map(([line]) => line)
    all += lines.size
    ran += lines.size - missed.length
    console.log(`${source.padEnd(24)} ${percent(lines.size - missed.length, lines.size)} % of ${lines.size}`)
    if (process.argv.includes('--lines') && missed.length > 0)
      console.log(`    not run: ${missed.sort((a, b) => a - b).join(' ')}`)
  }
  const sum = all === 0 ? 0 : percent(ran, all)
  console.log(`native coverage: ${sum} % of ${all} lines`)
  return sum
}

function percent(part, whole) {
  return whole === 0 ? 100 : Math.floor((1000 * part) / whole) / 10
}

function run(command, args, variables = {}) {
  return new Promise((resolve, reject) => {
    // The tests inside are what is measured: they measure nothing themselves.
    const { SEALWAX_COVERAGE: _, ...env } = process.env
    const child = spawn(command, args, { cwd: tree, env: { ...env, ...variables } })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (output += chunk))
    child.once('error', reject)
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`${command} ${args.join(' ')} failed\n${output}`)),
    )
  })
}
