// Asks for known vulnerabilities of what users install, writes the bill of materials, and prints the hashes of the addons:
// `node scripts/supply-chain.mjs`. Ends with 1 where a vulnerability is high or critical.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

// Says why where it has no answer, also under `npm run --silent`.
const audit = npm(root, 'audit', '--omit=dev', '--audit-level=high', '--loglevel=warn')
console.log(audit.stdout.trim() || audit.stderr.trim())
process.exitCode = audit.status ?? 1

// Of what an installation by the lock file puts there: a list of the lock file alone lacks what development needs too.
const installed = mkdtempSync(join(tmpdir(), 'sealwax-sbom-'))
try {
  // npm sbom takes development dependencies that are not installed for a fault, whatever it is told to omit.
  const { devDependencies: _, ...manifest } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  writeFileSync(join(installed, 'package.json'), JSON.stringify(manifest))
  copyFileSync(join(root, 'package-lock.json'), join(installed, 'package-lock.json'))
  const install = npm(installed, 'install', '--ignore-scripts', '--no-audit', '--prefer-offline')
  if (install.status !== 0) throw new Error(install.stderr)
  const sbom = npm(installed, 'sbom', '--sbom-format=cyclonedx')
  if (sbom.status !== 0) throw new Error(sbom.stderr || sbom.stdout)
  mkdirSync(join(root, 'build'), { recursive: true })
  writeFileSync(join(root, 'build/sbom.cdx.json'), sbom.stdout)
  console.log(`build/sbom.cdx.json: ${JSON.parse(sbom.stdout).components.length} components`)
} finally {
  rmSync(installed, { recursive: true, force: true })
}

const prebuilds = join(root, 'prebuilds')
for (const name of existsSync(prebuilds) ? readdirSync(prebuilds, { recursive: true }).sort() : []) {
  const file = join(prebuilds, name)
  if (statSync(file).isFile()) console.log(`${createHash('sha256').update(readFileSync(file)).digest('hex')}  ${name}`)
}

function npm(cwd, ...args) {
  return spawnSync('npm', args, { cwd, encoding: 'utf8', maxBuffer: 1 << 28, shell: process.platform === 'win32' })
}
