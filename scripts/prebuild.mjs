// Puts addons where an installed package looks for them (src/engine/native.ts), without what only debuggers read:
// `node scripts/prebuild.mjs [--here] [folder of the package]`. The one built here, and those that a cross compiler makes where it
// is installed; with --here the first alone. A release collects the folder prebuilds from every other platform.
import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const CROSS = [{ target: 'linux-arm64', arch: 'arm64', triplet: 'aarch64-linux-gnu' }]

const root = fileURLToPath(new URL('..', import.meta.url))
const { values, positionals } = parseArgs({ allowPositionals: true, options: { here: { type: 'boolean' } } })
const { platform, arch, report } = process
const here = `${platform}-${arch}`
const libc = report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl'
const name = platform === 'linux' ? `sealwax.${libc}.node` : 'sealwax.node'

// Windows keeps debug information in a file of its own.
install(here, name, join(root, 'build/Release/sealwax.node'), platform === 'win32' ? undefined : 'strip')
if (!values.here && platform === 'linux') for (const cross of CROSS) if (cross.target !== here) build(cross)

function build({ target, arch, triplet }) {
  const compilers = { CC: `${triplet}-gcc`, CXX: `${triplet}-g++` }
  if (spawnSync(compilers.CXX, ['--version']).status !== 0) {
    // Nobody who installs a release should need a compiler.
    if (process.env.npm_command === 'publish') throw new Error(`${target} needs ${compilers.CXX}`)
    return console.error(`${target} is left out: there is no ${compilers.CXX}`)
  }
  const staging = mkdtempSync(join(tmpdir(), 'sealwax-cross-'))
  try {
    for (const part of ['binding.gyp', 'native']) cpSync(join(root, part), join(staging, part), { recursive: true })
    const env = { ...process.env, ...compilers, NODE_PATH: join(root, 'node_modules') }
    const args = [join(root, 'scripts/build-native.mjs'), `--arch=${arch}`, `--directory=${staging}`]
    run(process.execPath, args, env)
    install(target, 'sealwax.glibc.node', join(staging, 'build/Release/sealwax.node'), `${triplet}-strip`)
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
