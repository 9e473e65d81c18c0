/** What a script asks may fail, or be ended by a signal and leave no exit code: that is no success. */
import { chmodSync, copyFileSync, symlinkSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ROOT, run, scratchFolder, writeFiles } from './support'

/** A folder with the script, where it does its work on `files`. */
function treeWith(script: string, files: Record<string, string>): string {
  const folder = scratchFolder()
  writeFiles(folder, { [script]: '', ...files })
  copyFileSync(join(ROOT, script), join(folder, script))
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'), 'junction')
  return folder
}

for (const [how, end] of Object.entries({
  'by a signal': "process.kill(process.pid, 'SIGKILL')",
  'with 1': 'process.exit(1)',
})) {
  test(`scripts/faults.mjs fails where a file of tests ends ${how}`, () => {
    const fault = JSON.stringify({ cell: 'one', outcome: 'right', ms: 1, blocked: 1 })
    const folder = treeWith('scripts/faults.mjs', {
      'test/faults/a.test.ts': `process.stdout.write('${fault}\\n', () => ${end})\n`,
    })
    const { status, stdout } = run(process.execPath, [join(folder, 'scripts/faults.mjs')], folder)
    assert.match(stdout, '1 faults in 1 cells, 0 bad\nFAILED: a.test.ts\n')
    assert.is(status, 1)
  })
}

test('scripts/supply-chain.mjs fails where npm audit is ended by a signal', () => {
  if (process.platform === 'win32')
    return console.log('SKIPPED an npm that a signal ends: there are no such signals here')
  const folder = treeWith('scripts/supply-chain.mjs', {
    'package.json': '{}',
    'package-lock.json': '{}',
    'bin/npm': '#!/bin/sh\ncase $1 in audit) kill -9 $$ ;; sbom) echo \'{"components":[]}\' ;; esac\n',
  })
  chmodSync(join(folder, 'bin/npm'), 0o755)
  const PATH = `${join(folder, 'bin')}${delimiter}${process.env.PATH}`
  const { status, stdout } = run(process.execPath, [join(folder, 'scripts/supply-chain.mjs')], folder, { PATH })
  assert.match(stdout, '0 components')
  assert.is(status, 1)
})

test('scripts/assure.mjs takes vectors for met only where they pass', () => {
  const folder = treeWith('scripts/assure.mjs', {
    'test/vectors/messages/all.json': JSON.stringify(Array(300).fill({ expect: { error: 'ERR' } })),
    'test/vectors/s3/all.json': '[]',
    'test/vectors/published/all.json': '[]',
    'test/message/vectors.test.ts': '',
    'test/s3/vectors.test.ts': '',
  })
  const assure = () => run(process.execPath, [join(folder, 'scripts/assure.mjs'), 'vectors'], folder).status
  assert.is(assure(), 0)
  writeFiles(folder, { 'test/s3/vectors.test.ts': 'process.exit(1)' })
  assert.is(assure(), 1)
})

test('a bench fails where one contender does', () => {
  const folder = scratchFolder()
  const module = JSON.stringify(join(ROOT, 'bench/contender'))
  const script = JSON.stringify(join(folder, 'fails.js'))
  writeFiles(folder, {
    'fails.js': 'process.exit(1)',
    'bench.ts': `import { measureInChild } from ${module}\nmeasureInChild(${script}, 'the peer', {})\n`,
  })
  const { status, stderr } = run(process.execPath, ['--import', 'tsx', join(folder, 'bench.ts')])
  assert.match(stderr, 'the peer failed')
  assert.is(status, 1)
})

test.run()
