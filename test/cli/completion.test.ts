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

test('bash completes files where one is to follow', () => {
  assert.equal(offered(['encrypt', '']), [''])
  assert.equal(offered(['encrypt', '-k', '']), [''])
  assert.equal(offered(['--encrypt', '-i', '']), [''])
})

for (const shell of ['bash', 'zsh', 'fish']) {
  if (existsSync(`/usr/bin/${shell}`))
    test(`${shell} can read its script`, () => {
      assert.is(spawnSync(shell, ['-n', path(shell)]).status, 0)
    })
  else console.log(`SKIPPED completions of ${shell}: not installed here (apt-get install ${shell})`)
}

test('zsh completes in a .zshrc that has loaded nothing, and in one that has', () => {
  if (!existsSync('/usr/bin/zsh')) return
  for (const before of ['', 'autoload -Uz compinit && compinit -i; ']) {
    const script = `${before}source "$0"; print -r -- $_comps[sealwax]`
    const env = { ...process.env, ZDOTDIR: path('.') }
    const { stdout, stderr } = spawnSync('zsh', ['-f', '-c', script, path('zsh')], { encoding: 'utf8', env })
    assert.is(stderr, '')
    assert.match(stdout, /_sealwax/)
  }
})

test('fish completes after options too', () => {
  if (!existsSync('/usr/bin/fish')) return
  const completions = (line: string) => {
    const script = `source ${path('fish')}; complete -C '${line}'`
    const { stdout, stderr } = spawnSync('fish', ['--no-config', '-c', script], { encoding: 'utf8' })
    assert.is(stderr, '')
    return stdout.split('\n').map((each) => each.split('\t', 1)[0])
  }
  assert.ok(completions('sealwax hsm keygen --lab').includes('--label'))
  assert.ok(completions('sealwax --encrypt --metadata').includes('--metadata-output'))
})

test('other shells are refused', async () => {
  assert.is((await sealwax('completion', 'cmd')).code, 2)
})

test('the man page is what the commands say of themselves, and man can format it', () => {
  assert.is(readFileSync(join(__dirname, '../../man/sealwax.1'), 'utf8'), manPage(), 'npx tsx scripts/man.ts writes it')
  for (const word of ['sealwax encrypt', '\\-\\-wrapping\\-key', 'sealwax hsm keygen', '\\-\\-metadata\\-output'])
    assert.ok(manPage().includes(word), word)
  // What is no option is there too.
  for (const word of ['<input>\nfile to encrypt', 'SEALWAX_PIN', '130']) assert.ok(manPage().includes(word), word)
  if (!existsSync('/usr/bin/groff')) return
  const { stderr, status } = spawnSync('groff', ['-man', '-Tutf8', '-ww', 'man/sealwax.1'], { encoding: 'utf8' })
  assert.equal([status, stderr], [0, ''])
})

test.run()
