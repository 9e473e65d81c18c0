// What it costs to install this package and the one it replaces, for production: packages, and KiB on the disk.
// `node scripts/installed-size.mjs [tarball]`, as JSON. Without a tarball it packs one.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const peer = '@aws-crypto/client-node'
const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const scratch = mkdtempSync(join(tmpdir(), 'sealwax-installed-'))
try {
  const tarball = process.argv[2] ?? run(process.execPath, [join(root, 'scripts/pack.mjs'), scratch]).trim()
  const sizes = { sealwax: install(`file:${resolve(tarball)}`), [peer]: install(devDependencies[peer]) }
  console.log(JSON.stringify(sizes, undefined, 2))
} finally {
  rmSync(scratch, { recursive: true, force: true })
}

function install(version) {
  const project = mkdtempSync(join(scratch, 'project-'))
  writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, dependencies: { [peer]: version } }))
  run('npm', ['install', '--omit=dev', '--prefer-offline', '--no-audit', '--no-fund'], project)
  const { packages } = JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8'))
  const installed = Object.values(packages).filter(({ optional, peer }) => !optional && !peer)
  const kibibytes = Number.parseInt(run('du', ['-sk', 'node_modules'], project), 10)
  // The first is the project itself.
  return { packages: installed.length - 1, kibibytes }
}

function run(command, args, cwd = root) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`)
  return stdout
}
