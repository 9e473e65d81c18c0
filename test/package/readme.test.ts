/** As a new user tries it: the README's first command in a clean clone, on a machine with what the README names and no more. */
import { existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ROOT, run, scratchFolder, succeed } from './support'

const NAMED = /^(node|npm|npx|make|g\+\+.*|gcc.*|cc|c\+\+|as|ld.*|ar)$/
/** What every system has, as node-gyp's makefiles use it. */
const ESSENTIAL =
  /^(sh|bash|dash|env|cat|chmod|cp|dirname|basename|echo|expr|grep|head|id|ln|ls|mkdir|mv|printf|pwd|rm|rmdir|sed|sort|test|touch|tr|true|uname)$/

test('npm run quickstart encrypts a file and an object', () => {
  const folder = scratchFolder()
  const clone = join(folder, 'clone')
  if (run('git', ['clone', '--quiet', ROOT, clone]).status !== 0)
    return console.log('SKIPPED the README on a clean clone: this is no git checkout, or git is not installed')
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  // Where it is a script that chooses one, that needs more than it.
  const python = succeed(run('python3', ['-c', 'import sys; print(sys.executable)'])).trim()
  symlinkSync(python, join(bin, 'python3'))
  for (const place of (process.env.PATH ?? '').split(delimiter).filter(existsSync)) {
    for (const name of readdirSync(place)) {
      const isThere = existsSync(join(bin, name)) || !existsSync(join(place, name))
      const isNeeded = NAMED.test(name) || ESSENTIAL.test(name)
      if (isNeeded && !isThere) symlinkSync(join(place, name), join(bin, name))
    }
  }
  const stdout = succeed(run('npm', ['run', 'quickstart'], clone, { PATH: bin }))
  assert.match(stdout, /engine: native/)
  assert.is(stdout.match(/same SHA-256/g)?.length, 2)
})

test.run()
