// Puts the addon built here where an installed package looks for it (src/engine/native.ts), without what only debuggers
// read: `node scripts/prebuild.mjs [folder of the package]`. A release collects this folder from every platform.
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const { platform, arch, report } = process
const libc = report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl'
const name = platform === 'linux' ? `sealwax.${libc}.node` : 'sealwax.node'
const folder = join(process.argv[2] ?? root, 'prebuilds', `${platform}-${arch}`)
const addon = join(folder, name)

mkdirSync(folder, { recursive: true })
copyFileSync(join(root, 'build/Release/sealwax.node'), addon)
// Windows keeps debug information in a file of its own.
if (platform !== 'win32') {
  const { status, stderr } = spawnSync('strip', ['-x', addon], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`strip failed: ${stderr}`)
}
