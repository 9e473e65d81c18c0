// Puts addons where an installed package looks for them (src/engine/native.ts), without what only debuggers read:
// `node scripts/prebuild.mjs [--here] [folder of the package]`. The one built here, and those that a cross compiler makes where it
// is installed; with --here the first alone. For musl that is zig (0.12 or newer), which brings its headers and C++ library. A release
// collects the folder prebuilds from every other platform.
import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const CROSS = [gcc('arm64', 'aarch64-linux-gnu'), zig('x64', 'x86_64-linux-musl'), zig('arm64', 'aarch64-linux-musl')]

const root = fileURLToPath(new URL('..', import.meta.url))
const { values, positionals } = parseArgs({ allowPositionals: true, options: { here: { type: 'boolean' } } })
const { platform, arch, report } = process
const here = `${platform}-${arch}`
const libc = report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl'
const name = platform === 'linux' ? `sealwax.${libc}.node` : 'sealwax.node'

// Windows keeps debug information in a file of its own.
install(here, name, join(root, 'native/build/Release/sealwax.node'), platform === 'win32' ? undefined : 'strip')
if (!values.here && platform === 'linux')
  for (const cross of CROSS) if (cross.target !== here || cross.name !== name) build(cross)

function gcc(arch, triplet) {
  const env = { CC: `${triplet}-gcc`, CXX: `${triplet}-g++` }
  return {
    target: `linux-${arch}`,
    name: 'sealwax.glibc.node',
    arch,
    env,
    check: [env.CXX, '--version'],
    strip: `${triplet}-strip`,
  }
}

function zig(arch, triplet) {
  // Its linker leaves out what only debuggers read.
  const env = { CC: `zig cc -target ${triplet}`, CXX: `zig c++ -target ${triplet}`, LDFLAGS: '-Wl,-s' }
  return { target: `linux-${arch}`, name: 'sealwax.musl.node', arch, env, check: ['zig', 'version'] }
}

function build({ target, name, arch, env, check: [compiler, ...question], strip }) {
  if (spawnSync(compiler, question).status !== 0) {
    // Nobody who installs a release should need a compiler.
    if (process.env.npm_command === 'publish') throw new Error(`${target}/${name} needs ${compiler}`)
    return console.error(`${target}/${name} is left out: there is no ${compiler}`)
  }
  const staging = mkdtempSync(join(tmpdir(), 'sealwax-cross-'))
  try {
    cpSync(join(root, 'native'), join(staging, 'native'), { recursive: true })
    const whole = { ...process.env, ...env, NODE_PATH: join(root, 'node_modules') }
    const args = [join(root, 'scripts/build-native.mjs'), `--arch=${arch}`, `--directory=${staging}/native`]
    run(process.execPath, args, whole)
    install(target, name, join(staging, 'native/build/Release/sealwax.node'), strip)
  } finally {
    rmSync(staging, { recursive: true, force: true })
  }
}

function install(target, name, addon, strip) {
  const folder = join(positionals[0] ?? root, 'prebuilds', target)
  mkdirSync(folder, { recursive: true })
  copyFileSync(addon, join(folder, name))
  if (strip) run(strip, ['-x', join(folder, name)])
}

function run(command, args, env = process.env) {
  const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8', env })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? stderr}`)
}
