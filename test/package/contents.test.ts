/** What is in the tarball, and what it costs to install. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { installedProject, PEER, pack, ROOT, run, scratchFolder, succeed } from './support'

const folder = scratchFolder()
const tarball = pack(folder)
const unpacked = join(folder, 'unpacked')
mkdirSync(unpacked)
succeed(run('tar', ['-xf', tarball, '-C', unpacked]))
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
  /^native\/(exports\.map|binding\.gyp)$/,
  /^man\/sealwax\.1$/,
  /^scripts\/build-native\.mjs$/,
  /^docs\/[a-z0-9-]+\.(md|svg)$/i,
  /^examples\/([a-z0-9-]+\.mjs|README\.md)$/,
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

test('the links of the README lead to files of the package', () => {
  const text = readFileSync(join(unpacked, 'package/README.md'), 'utf8')
  const targets = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, target]) => target!)
  assert.ok(targets.length > 10)
  for (const target of targets) assert.ok(existsSync(join(unpacked, 'package', target)), target)
})

test('nothing runs when it is installed', () => {
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) assert.not.ok(manifest.scripts[name], name)
  const project = installedProject()
  // From a lockfile npm builds what has a binding.gyp at its top, whatever package.json says.
  succeed(run('npm', ['ci', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'], project))
  for (const name of [PEER, 'sealwax']) {
    const installed = readdirSync(join(project, 'node_modules', name), { recursive: true, encoding: 'utf8' })
    assert.ok(installed.some((file) => /^prebuilds.*\.node$/.test(file)))
    assert.equal(
      installed.filter((file) => /(^|\/)build(\/|$)/.test(file)),
      [],
    )
  }
  assert.not.match(readFileSync(join(project, 'package-lock.json'), 'utf8'), 'hasInstallScript')
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
  const sizes = succeed(run(process.execPath, [join(ROOT, 'scripts/installed-size.mjs'), tarball]))
  const { sealwax: ours, [PEER]: theirs } = JSON.parse(sizes)
  assert.ok(ours.packages < theirs.packages, sizes)
  assert.ok(ours.kibibytes < theirs.kibibytes, sizes)
})

test('everything that it imports is Node.js, its own or declared', () => {
  const declared = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })
  for (const file of files.filter((name) => /^package\/dist\/.*\.(js|d\.ts)$/.test(name))) {
    const text = readFileSync(join(unpacked, file), 'utf8').replace(/^\s*(\/\/|\/?\*).*$/gm, '')
    for (const [, target] of text.matchAll(/(?:from |import |import\(|require\()['"]([^'"]+)['"]/g)) {
      const name = /^(@[^/]+\/)?[^/]+/.exec(target!)![0]
      if (target!.startsWith('.')) assert.ok(hasModule(file, target!), `${file} imports ${target}`)
      else assert.ok(isBuiltin(target!) || declared.includes(name), `${file} imports ${target}`)
    }
  }
})

test('every dependency is used', () => {
  const textOf = (ending: string) =>
    files
      .filter((name) => name.endsWith(ending))
      .map((name) => readFileSync(join(unpacked, name), 'utf8'))
      .join()
  const [code, declarations] = [textOf('.js'), textOf('.d.ts')]
  for (const name of Object.keys(manifest.dependencies)) {
    const [, types] = /^@types\/(.*)/.exec(name) ?? []
    if (types) assert.ok(declarations.includes(`<reference types="${types}"`), name)
    else assert.ok(code.includes(`'${name}`) || code.includes(`"${name}`), name)
  }
})

function hasModule(file: string, target: string): boolean {
  const path = join(dirname(file), target)
  return ['.js', '.d.ts', '/index.js', ''].some((ending) => files.includes(path + ending))
}

test.run()
