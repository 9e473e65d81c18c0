import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = join(__dirname, '../..')

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8' })
  if (error) return `${command}: ${error.message}`
  assert.is(status, 0, `${command} ${args.join(' ')}\n${stdout}${stderr}`)
  return stdout + stderr
}

for (const [name, sanitize] of [
  ['under the address and undefined-behaviour sanitizers', 'address,undefined'],
  ['as built for use, and do not branch on secrets', ''],
])
  test(`the native checks pass ${name}`, () => checkNative(sanitize!))

function checkNative(sanitize: string): void {
  const build = mkdtempSync(join(tmpdir(), 'sealwax-native-'))
  try {
    const configured = run('cmake', '-S', '.', '-B', build, `-DSANITIZE=${sanitize}`)
    if (/ENOENT|No OpenSSL 3 headers/.test(configured)) {
      console.warn(`NOT RUN: ${configured}`)
      return
    }
    run('cmake', '--build', build, '--parallel', '2')
    assert.match(run('ctest', '--test-dir', build), /100% tests passed/)
  } finally {
    rmSync(build, { recursive: true })
  }
}

test('the plain half of native/ knows nothing of Node', () => {
  for (const name of [
    'cpus',
    'digest',
    'ecdsa',
    'frames',
    'gcm',
    'hkdf',
    'memory',
    'message',
    'pool',
    'random',
    'segments',
    'thread',
  ]) {
    const source = ['cc', 'h'].map((kind) => readFileSync(join(root, `native/${name}.${kind}`), 'utf8')).join('')
    assert.not.match(source, /napi|node_api/i)
  }
})

test('binding.gyp and CMakeLists.txt build the same sources', () => {
  const sources = (file: string) => new Set(readFileSync(join(root, file), 'utf8').match(/(?<=native\/|")\w+\.cc/g))
  const gyp = sources('native/binding.gyp')
  assert.equal([...sources('CMakeLists.txt')].sort(), [...gyp].sort())
})

test('the sources compile for Windows', () => {
  const headers = join(dirname(dirname(process.execPath)), 'include/node')
  if (!existsSync(join(headers, 'node_api.h'))) return console.warn('NOT RUN: this Node.js came without its headers')
  const options = ['-std=c++17', '-fsyntax-only', '-Wall', '-Wextra', '-Werror', '-DNAPI_VERSION=8', `-I${headers}`]
  const sources = readdirSync(join(root, 'native')).filter((name) => name.endsWith('.cc'))
  const compiled = run('x86_64-w64-mingw32-g++', ...options, ...sources.map((name) => `native/${name}`))
  if (compiled.includes('ENOENT')) console.warn(`NOT RUN: ${compiled}`)
})

test.run()
