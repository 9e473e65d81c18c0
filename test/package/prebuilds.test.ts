/** The addons in the tarball: for the right machine, on the oldest system that Node.js runs on, and open to nobody else. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
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
const LIBRARIES = {
  glibc: /^(libc|libm|libgcc_s|libstdc\+\+|libpthread|libdl|ld-linux-.*)\.so\.\d$/,
  // By this name musl finds itself.
  musl: /^libc\.so$/,
}
/** Of OpenSSL and Node-API. */
const NODES = /^(napi_|EVP_|RAND_|ERR_|BN_|OPENSSL_|OpenSSL_|OSSL_|CRYPTO_|EC_|ECDSA_)/
const ENTRY_POINTS = ['napi_register_module_v1', 'node_api_module_get_api_version_v1']

/** An addon for each of the machines and C libraries that Linux has here. */
interface Built {
  readonly target: string
  readonly libc: 'glibc' | 'musl'
}
const MEANT = ['linux-x64', 'linux-arm64'].flatMap((target) =>
  (['glibc', 'musl'] as const).map((libc) => ({ target, libc })),
)

const folder = scratchFolder()
const packing = run(process.execPath, [join(ROOT, 'scripts/pack.mjs'), folder])
const tarball = succeed(packing).trim()
succeed(run('tar', ['-xf', tarball], folder))
const prebuilds = join(folder, 'package/prebuilds')
const addonOf = ({ target, libc }: Built) => join(prebuilds, target, `sealwax.${libc}.node`)

for (const built of MEANT) {
  const { target, libc } = built
  const name = `${target}, ${libc}`
  const addon = addonOf(built)
  if (!existsSync(addon)) {
    console.log(`SKIPPED the addon of ${name}: no compiler for it here`)
    continue
  }

  test(`${name}: made for its machine`, () => {
    assert.match(succeed(run('readelf', ['-h', addon])), `Machine:                           ${MACHINES[target]}`)
  })

  test(`${name}: needs no other library than Node.js does`, () => {
    const needed = [...succeed(run('readelf', ['-d', addon])).matchAll(/\(NEEDED\).*\[(.*?)\]/g)].map(
      ([, name]) => name!,
    )
    for (const library of needed) assert.match(library, LIBRARIES[libc])
  })

  test(`${name}: exports nothing but its entry points`, () => {
    const defined = symbolsOf(addon).filter((symbol) => symbol.defined)
    assert.equal(defined.map(({ name }) => name).sort(), ENTRY_POINTS)
  })

  test(`${name}: takes OpenSSL and Node-API from Node.js, and all else from libraries as old as Node's`, () => {
    const nodes = new Set(symbolsOf(process.execPath).map((symbol) => symbol.name))
    const system = libc === 'musl' ? muslSymbols() : undefined
    if (libc === 'musl' && !system) console.log(`SKIPPED what ${name} takes from musl: it is not installed`)
    for (const symbol of symbolsOf(addon).filter((each) => !each.defined && !each.weak)) {
      const [, library, digits] = /^([A-Z]+)_([\d.]+)$/.exec(symbol.version) ?? []
      if (library)
        assert.ok(notAfter(digits!.split('.').map(Number), OLDEST[library]!), `${symbol.name} needs ${symbol.version}`)
      else if (NODES.test(symbol.name) || libc === 'glibc')
        assert.ok(nodes.has(symbol.name), `Node has no ${symbol.name}`)
      else if (system) assert.ok(system.has(symbol.name), `musl has no ${symbol.name}`)
    }
  })
}

if (existsSync(addonOf({ target: 'linux-arm64', libc: 'glibc' })))
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
    succeed(run('cp', ['-r', join(ROOT, 'native'), elsewhere]))
    const build = [join(ROOT, 'scripts/build-native.mjs'), `--directory=${elsewhere}/native`]
    succeed(run('env', [`NODE_PATH=${join(ROOT, 'node_modules')}`, process.execPath, ...build]))
    const [first, second] = [ROOT, elsewhere].map((place) =>
      readFileSync(join(place, 'native/build/Release/sealwax.node')),
    )
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
  /** What need not be there. */
  weak: boolean
}

function symbolsOf(file: string): DynamicSymbol[] {
  const rows = succeed(run('readelf', ['-W', '--dyn-syms', file])).split('\n')
  // Num: Value Size Type Bind Vis Ndx Name@Version (number)
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([number, , , type, bind]) => /^\d+:$/.test(number ?? '') && bind !== 'LOCAL' && type !== 'SECTION')
    .map((row) => {
      const [name = '', version = ''] = row[7]?.split(/@+/) ?? []
      return { name, version, defined: row[6] !== 'UND', weak: row[4] === 'WEAK' }
    })
}

/** What Debian's package musl has. */
function muslSymbols(): Set<string> | undefined {
  const library = '/lib/ld-musl-x86_64.so.1'
  return existsSync(library) ? new Set(symbolsOf(library).map(({ name }) => name)) : undefined
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
