// Builds the addon with node-gyp, or that of another folder: `--directory FOLDER`. Uses the headers that lie beside the running Node where it has them
// (so that a build needs no download), else node-gyp fetches those of this version.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const prefix = dirname(dirname(process.execPath))
const args = ['rebuild', '--directory', 'native', ...process.argv.slice(2)]
if (existsSync(join(prefix, 'include/node/node_api.h'))) args.push(`--nodedir=${prefix}`)

const gyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js')
const { status, stdout, stderr } = spawnSync(process.execPath, [gyp, ...args], {
  cwd: fileURLToPath(new URL('..', import.meta.url)),
  encoding: 'utf8',
  maxBuffer: 1 << 28,
})
// node-gyp reports its progress on stderr: noise, unless it failed.
if (status !== 0) process.stderr.write(`${stdout}${stderr}`)
process.exitCode = status ?? 1
