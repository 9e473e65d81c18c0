/** What is in the tarball, and what it costs to install. */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { PEER, pack, ROOT, run, scratchFolder, succeed, writeProject } from './support'

const folder = scratchFolder()
const tarball = pack(folder)
const files = succeed(run('tar', ['-tf', tarball]))
  .trim()
  .split('\n')
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))

// The addon's sources are for platforms that no addon was built for.
const MEANT = [
  /^package\.json$/,
  /^(README|CHANGELOG|SECURITY)\.md$/,
  /^LICENSE$/,
  /^dist\/([a-z0-9-]+\/)*[a-z0-9-]+(\.d\.ts|\.js)$/,
  /^prebuilds\/[a-z0-9]+-[a-z0-9]+\/sealwax(\.glibc|\.musl)?\.node$/,
  /^native\/[a-z0-9-]+\.(cc|h)$/,
  /^binding\.gyp$/,
  /^scripts\/build-native\.mjs$/,
]

test('nothing but what is meant', () => {
  const names = files.map((name) => name.replace(/^package\//, ''))
  assert.equal(
    names.filter((name) => !MEANT.some((pattern) => pattern.test(name))),
    [],
  )
  for (const pattern of MEANT)
    assert.ok(
      names.some((name) => pattern.test(name)),
      String(pattern),
    )
})

test('every file that package.json names is there', () => {
  const named = JSON.stringify([manifest.main, manifest.types, manifest.exports, manifest.typesVersions, manifest.bin])
  for (const [, name] of named.matchAll(/"(?:\.\/)?(dist\/[^"]+)"/g)) assert.ok(files.includes(`package/${name}`), name)
})

test('nothing runs when it is installed', () => {
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) assert.not.ok(manifest.scripts[name], name)
  // Else npm would build with binding.gyp.
  assert.is(manifest.gypfile, false)
})

test('the tarball is small', () => {
  assert.ok(statSync(tarball).size < 1024 * 1024, `${statSync(tarball).size} bytes`)
})

test('publint finds nothing', () => {
  assert.match(succeed(run(join(ROOT, 'node_modules/.bin/publint'), [tarball, '--strict'])), 'All good!')
})

test('the types are right, whatever the module resolution', () => {
  succeed(run(join(ROOT, 'node_modules/.bin/attw'), [tarball]))
})

test('fewer packages and fewer bytes than client-node', () => {
  const ours = install(`file:${tarball}`)
  const theirs = install(manifest.devDependencies[PEER])
  console.log(
    `${ours.packages} packages, ${ours.kibibytes} KiB; client-node ${theirs.packages}, ${theirs.kibibytes} KiB`,
  )
  assert.ok(ours.packages < theirs.packages)
  assert.ok(ours.kibibytes < theirs.kibibytes)
})

function install(version: string): { packages: number; kibibytes: number } {
  const project = scratchFolder()
  writeProject(project, { dependencies: { [PEER]: version } })
  const { packages } = JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8'))
  const du = succeed(run('du', ['-sk', 'node_modules'], project))
  return { packages: Object.keys(packages).length - 1, kibibytes: Number.parseInt(du, 10) }
}

test.run()
