// Formats C and C++ by .clang-format; with --check only tells what would change.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const files = ['native', 'bench/limit'].flatMap((folder) =>
  readdirSync(`${root}${folder}`, { recursive: true })
    .filter((name) => /\.(cc|h|c)$/.test(name))
    .map((name) => `${folder}/${name}`),
)
const mode = process.argv.includes('--check') ? ['--dry-run', '-Werror'] : ['-i']
const tool = createRequire(import.meta.url).resolve('clang-format/index.js')
const { status } = spawnSync(process.execPath, [tool, '-style=file', ...mode, ...files], {
  cwd: root,
  stdio: 'inherit',
})
process.exitCode = status ?? 1
