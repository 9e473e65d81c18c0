/** Programs written for `@aws-crypto/client-node`: with it and with this package in its place, they print the same. */
import { cpSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { installedProject, PEER, pack, ROOT, run, scratchFolder, succeed, writeFiles, writeProject } from './support'

const originals = join(__dirname, 'programs')
const names = readdirSync(originals).filter((name) => name.endsWith('.js'))
const differences = readFileSync(join(ROOT, 'docs/differences.md'), 'utf8')
const migrating = readFileSync(join(ROOT, 'docs/migrating.md'), 'utf8')
const project = installedProject()
cpSync(originals, join(project, 'programs'), { recursive: true })

for (const name of names) {
  // The first line of a program that differs names the entry that says so.
  const [, entry] = /^\/\/ differs: (.*)$/m.exec(readFileSync(join(originals, name), 'utf8')) ?? []

  test(`${name} ${entry ? 'differs, as documented' : 'prints the same'}`, () => {
    const theirs = succeed(run(process.execPath, [join(originals, name)]))
    const ours = succeed(run(process.execPath, [join(project, 'programs', name)]))
    assert.ok(JSON.parse(theirs) !== undefined)
    if (!entry) return assert.is(ours, theirs)
    assert.is.not(ours, theirs)
    assert.ok(differences.includes(entry), `docs/differences.md has no "${entry}"`)
  })
}

test('the programs use this package, not the other', () => {
  const script = "console.log(require('@aws-crypto/client-node/package.json').name)"
  assert.is(succeed(run(process.execPath, ['-e', script], project)), 'sealwax\n')
})

test('libraries that ask for version 5 use this package too, with the override of the page', () => {
  const folder = scratchFolder()
  const dependencies: Record<string, string> = { [PEER]: `file:${pack(folder)}` }
  for (const kind of ['dependencies', 'peerDependencies']) {
    const name = `library-with-${kind.toLowerCase()}`
    const manifest = { name, version: '1.0.0', main: 'index.js', [kind]: { [PEER]: '^5.0.0' } }
    writeFiles(join(folder, name), {
      'package.json': JSON.stringify(manifest),
      'index.js': `module.exports = require('${PEER}')`,
    })
    succeed(run('npm', ['pack', '--pack-destination', folder], join(folder, name)))
    dependencies[name] = `file:${join(folder, `${name}-1.0.0.tgz`)}`
  }
  const [, block] = /^```json\n("overrides"[\s\S]*?)^```$/m.exec(migrating) ?? []
  const application = join(folder, 'application')
  writeProject(application, { dependencies, ...JSON.parse(`{${block}}`) })
  const script = `
    const own = require('${PEER}')
    for (const name of ${JSON.stringify(Object.keys(dependencies))}) console.log(require(name) === own, own.SealwaxError?.name)`
  assert.is(succeed(run(process.execPath, ['-e', script], application)), 'true SealwaxError\n'.repeat(3))
})

test.run()
