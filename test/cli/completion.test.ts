import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { manPage } from '../../scripts/man'
import { path, sealwax } from './cli'

/** What bash offers after these words. */
function offered(words: readonly string[]): string[] {
  const script = `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sealwax; printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr } = spawnSync('bash', ['-c', script, path('bash'), 'sealwax', ...words], { encoding: 'utf8' })
  assert.is(stderr, '')
  return stdout.trim().split('\n')
}

test.before(async () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { code, stdout, stderr } = await sealwax('completion', shell)
    assert.is(code, 0, stderr)
    writeFileSync(path(shell), stdout)
  }
})

test('bash completes commands, commands of commands, options, and their choices', () => {
  assert.equal(offered(['en']), ['encrypt'])
  assert.equal(offered(['hsm', '']).slice(0, 3), ['list', 'keygen', 'test'])
  assert.equal(offered(['hsm', 'keygen', '--la']), ['--label'])
  assert.equal(offered(['hsm', 'keygen', '--type', '']), ['aes', 'rsa'])
  assert.equal(offered(['encrypt', '--wrapping']), ['--wrapping-key'])
  assert.equal(offered(['encrypt', 'file', '--oaep-hash', 'sha5']), ['sha512'])
  assert.equal(offered(['completion', 'z']), ['zsh'])
  assert.equal(offered(['--decr']), ['--decrypt', '--decrypt-unsigned'])
  assert.equal(offered(['--encrypt', '-i', 'file', '--metadata']), ['--metadata-output'])
  assert.equal(offered(['--encrypt', '--commitment-policy', 'forbid']), ['forbid-encrypt-allow-decrypt'])
})

for (const shell of ['bash', 'zsh', 'fish']) {
  if (existsSync(`/usr/bin/${shell}`))
    test(`${shell} can read its script`, () => {
      assert.is(spawnSync(shell, ['-n', path(shell)]).status, 0)
    })
  else console.log(`SKIPPED completions of ${shell}: not installed here (apt-get install ${shell})`)
}

test('other shells are refused', async () => {
  assert.is((await sealwax('completion', 'cmd')).code, 2)
})

test('the man page is what the commands say of themselves, and man can format it', () => {
  assert.is(readFileSync(join(__dirname, '../../man/sealwax.1'), 'utf8'), manPage(), 'npx tsx scripts/man.ts writes it')
  for (const word of ['sealwax encrypt', '\\-\\-wrapping\\-key', 'sealwax hsm keygen', '\\-\\-metadata\\-output'])
    assert.ok(manPage().includes(word), word)
  if (!existsSync('/usr/bin/groff')) return
  const { stderr, status } = spawnSync('groff', ['-man', '-Tutf8', '-ww', 'man/sealwax.1'], { encoding: 'utf8' })
  assert.equal([status, stderr], [0, ''])
})

test.run()
