// Packs the package as it is published, into the folder given, and prints the path of the tarball:
// `node scripts/pack.mjs folder`. It builds in a folder of its own, so that a dist in use stays as it is. With --here, the addon
// of this platform only.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = fileURLToPath(new URL('..', import.meta.url))
const { values, positionals } = parseArgs({ allowPositionals: true, options: { here: { type: 'boolean' } } })
const destination = resolve(positionals[0] ?? '.')
const staging = mkdtempSync(join(tmpdir(), 'sealwax-pack-'))
try {
  const { files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const folders = files.map((name) => name.split('/')[0]).filter((name) => name !== 'dist')
  for (const name of new Set(['package.json', 'README.md', 'LICENSE', ...folders])) {
    if (existsSync(join(root, name))) cpSync(join(root, name), join(staging, name), { recursive: true })
  }
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc')
  run(process.execPath, [tsc, '-p', join(root, 'tsconfig.json'), '--outDir', join(staging, 'dist')])
  run(process.execPath, [join(root, 'scripts/prebuild.mjs'), ...(values.here ? ['--here'] : []), staging])
  mkdirSync(destination, { recursive: true })
  const answer = run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', destination])
  const packed = JSON.parse(answer)
  // An array of packages, or from npm 11.5 on an object by their names.
  const [{ filename }] = Array.isArray(packed) ? packed : Object.values(packed)
  console.log(join(destination, filename))
} finally {
  rmSync(staging, { recursive: true, force: true })
}

function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: staging,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`)
  return stdout
}
