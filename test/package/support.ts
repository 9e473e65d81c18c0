import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

export const ROOT = join(__dirname, '../..')
export const PEER = '@aws-crypto/client-node'

/** A folder that is gone when this process ends. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sealwax-package-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Packs the package, as it is published but with the addon of this platform alone, into `folder`. Returns the tarball's path. */
export function pack(folder: string): string {
  return succeed(run(process.execPath, [join(ROOT, 'scripts/pack.mjs'), '--here', folder])).trim()
}

/** A project with the packed package installed, under the names of both libraries. */
export function installedProject(): string {
  const folder = scratchFolder()
  const tarball = `file:${pack(folder)}`
  writeProject(folder, { dependencies: { [PEER]: tarball, sealwax: tarball } })
  return folder
}

/** Writes a package.json, with exact versions, and installs it. */
export function writeProject(folder: string, manifest: object): void {
  writeFiles(folder, { 'package.json': JSON.stringify({ name: 'project', private: true, ...manifest }) })
  succeed(run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'], folder))
}

export function writeFiles(folder: string, files: Record<string, string>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
}

export function run(
  command: string,
  args: readonly string[],
  cwd: string = ROOT,
  variables: { PATH?: string } = {},
): SpawnSyncReturns<string> {
  // Sources that another Node.js compiles have other offsets, which would spoil the coverage of this one's.
  const { NODE_V8_COVERAGE: measured, ...env } = process.env
  if (measured && command === process.execPath) env.NODE_V8_COVERAGE = measured
  return spawnSync(command, args, {
    cwd,
    env: { ...env, ...variables },
    encoding: 'utf8',
    timeout: 600_000,
    maxBuffer: 1 << 26,
  })
}

/** What the command printed; throws what it said if it failed. */
export function succeed({ status, stdout, stderr }: SpawnSyncReturns<string>): string {
  if (status !== 0) throw new Error(`ended with ${status}:\n${stdout}${stderr}`)
  return stdout
}
