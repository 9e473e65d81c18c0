/** The addons in the tarball: for the right machine, on the oldest system that Node.js runs on, and open to nobody else. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ROOT, run, scratchFolder, succeed } from './support'

const MACHINES: Record<string, string> = { 'linux-x64': 'Advanced Micro Devices X86-64', 'linux-arm64': 'AArch64' }
// What Node.js 20 itself asks for: https://github.com/nodejs/node/blob/v20.x/BUILDING.md, "Platform list".
const OLDEST: Record<string, number[]> = {
  GLIBC: [2, 28],
  GLIBCXX: [3, 4, 25],
  CXXABI: [1, 3, 11],
  GCC: [8, 0, 0],
}
const ENTRY_POINTS = ['napi_register_module_v1', 'node_api_module_get_api_version_v1']

const folder = scratchFolder()
const tarball = succeed(run(process.execPath, [join(ROOT, 'scripts/pack.mjs'), folder])).trim()
succeed(run('tar', ['-xf', tarball], folder))
const prebuilds = join(folder, 'package/prebuilds')
const targets = readdirSync(prebuilds).filter((name) => name.startsWith('linux-'))

for (const target of ['linux-x64', 'linux-arm64']) {
  if (!targets.includes(target)) console.log(`SKIPPED the addon of ${target}: no compiler for it here`)
}

for (const target of targets) {
  const addon = join(prebuilds, target, 'sealwax.glibc.node')

  test(`${target}: made for its machine`, () => {
    assert.match(succeed(run('readelf', ['-h', addon])), `Machine:                           ${MACHINES[target]}`)
  })

  test(`${target}: needs no other library than Node.js does`, () => {
    const needed = [...succeed(run('readelf', ['-d', addon])).matchAll(/\(NEEDED\).*\[(.*?)\]/g)].map(
      ([, name]) => name!,
    )
    for (const name of needed)
      assert.match(name, /^(libc|libm|libgcc_s|libstdc\+\+|libpthread|libdl|ld-linux-.*)\.so\.\d$/)
  })

  test(`${target}: exports nothing but its entry points`, () => {
    const defined = symbolsOf(addon).filter((symbol) => symbol.defined)
    assert.equal(defined.map(({ name }) => name).sort(), ENTRY_POINTS)
  })

  test(`${target}: takes OpenSSL and Node-API from Node.js, and all else from libraries as old as Node's`, () => {
    const exported = new Set(symbolsOf(process.execPath).map(({ name }) => name))
    for (const { name, version } of symbolsOf(addon).filter((symbol) => !symbol.defined)) {
      const [, library, digits] = /^([A-Z]+)_([\d.]+)$/.exec(version) ?? []
      if (library) assert.ok(notAfter(digits!.split('.').map(Number), OLDEST[library]!), `${name} needs ${version}`)
      // What libraries add to those that have it.
      else assert.ok(exported.has(name) || /^(_ITM_|__gmon_start__|__cxa_)/.test(name), `nobody has ${name}`)
    }
  })
}

if (targets.includes('linux-arm64'))
  test('linux-arm64: passes its self-test, and opens what it sealed, in an emulator', () => {
    const emulator = run('qemu-aarch64', ['--version'])
    if (emulator.status !== 0) return console.log('SKIPPED linux-arm64 in an emulator: there is no qemu-aarch64')
    const binary = nodeFor('arm64')
    if (!binary) return console.log('SKIPPED linux-arm64 in an emulator: its Node.js cannot be had here')
    const program = `
      const { buildClient, RawAesKeyring } = require('./package')
      const { getEngine } = require('./package/dist/engine')
      const keyring = new RawAesKeyring({ keyNamespace: 'n', keyName: 'k', unencryptedMasterKey: Buffer.alloc(32, 1), wrappingSuite: 0x78 })
      const { encrypt, decrypt } = buildClient()
      const sealed = Buffer.alloc(4 * 1024 * 1024, 'over threads, and signed')
      encrypt(keyring, sealed).then(({ result }) => decrypt(keyring, result)).then(({ plaintext }) =>
        console.log(getEngine().info().backend, getEngine().info().cpu.join(), plaintext.equals(sealed)))`
    const { stdout, stderr } = run('qemu-aarch64', ['-L', '/usr/aarch64-linux-gnu', binary, '-e', program], folder)
    assert.is(stderr, '')
    assert.is(stdout, 'native armv8-aes,armv8-pmull true\n')
  })

test('the same sources give the same bytes, in another folder too', () => {
  const elsewhere = mkdtempSync(join(tmpdir(), 'sealwax-again-'))
  try {
    for (const part of ['binding.gyp', 'native']) succeed(run('cp', ['-r', join(ROOT, part), elsewhere]))
    const build = [join(ROOT, 'scripts/build-native.mjs'), `--directory=${elsewhere}`]
    succeed(run('env', [`NODE_PATH=${join(ROOT, 'node_modules')}`, process.execPath, ...build]))
    const [first, second] = [ROOT, elsewhere].map((place) => readFileSync(join(place, 'build/Release/sealwax.node')))
    assert.ok(first!.equals(second!))
  } finally {
    rmSync(elsewhere, { recursive: true })
  }
})

interface DynamicSymbol {
  name: string
  /** Of the library that defines it, such as `GLIBC_2.17`; empty where there is none. */
  version: string
  defined: boolean
}

function symbolsOf(file: string): DynamicSymbol[] {
  const rows = succeed(run('readelf', ['-W', '--dyn-syms', file])).split('\n')
  // Num: Value Size Type Bind Vis Ndx Name@Version (number)
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([number, , , type, bind]) => /^\d+:$/.test(number ?? '') && bind !== 'LOCAL' && type !== 'SECTION')
    .map((row) => {
      const [name = '', version = ''] = row[7]?.split(/@+/) ?? []
      return { name, version, defined: row[6] !== 'UND' }
    })
}

function notAfter(version: number[], oldest: number[]): boolean {
  const differing = oldest.findIndex((number, i) => (version[i] ?? 0) !== number)
  return differing < 0 || (version[differing] ?? 0) < oldest[differing]!
}

/** The Node.js binary of another machine, of the version that runs here, or `undefined`. */
function nodeFor(arch: string): string | undefined {
  const place = scratchFolder()
  const packed = run('npm', ['pack', '--silent', `node-linux-${arch}@${process.versions.node}`], place)
  if (packed.status !== 0) return undefined
  succeed(run('tar', ['-xf', packed.stdout.trim()], place))
  return join(place, 'package/bin/node')
}

test.run()
