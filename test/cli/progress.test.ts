import { writeFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hasTerminal, path, quotedCommand, sealwax, shell } from './cli'

test.before(async () => {
  writeFileSync(path('plain'), Buffer.alloc(2 ** 20))
  await sealwax('keygen', 'key.json')
})

test('no bar without a terminal', async () => {
  const { code, stdout, stderr } = await sealwax('encrypt', 'plain', '-k', 'key.json', '-o', 'quiet')
  assert.equal([code, stdout.length, stderr], [0, 0, ''])
})

test('a bar on a terminal, which is taken away in the end', async () => {
  if (!hasTerminal) return console.log('SKIPPED a bar on a terminal: script(1) is missing')
  const { code, stdout } = await onTerminal('encrypt plain -k key.json -o shown')
  assert.is(code, 0)
  assert.match(stdout.toString(), /encrypting \[[-=]{30}\]/)
  assert.match(stdout.toString(), /100% of 1\.0 MiB/)
  assert.ok(stdout.toString().endsWith('\u001b[2K'), 'the last thing done is to clear the line')
})

test('a signed message to a pipe is verified, then decrypted; of a pipe nobody knows the length', async () => {
  if (!hasTerminal) return console.log('SKIPPED a bar on a terminal: script(1) is missing')
  const twice = (await onTerminal('decrypt shown -k key.json -o /dev/null')).stdout.toString()
  assert.match(twice, /verifying {2}\[[-=]{30}\](.|\s)*decrypting \[[-=]{30}\]/)
  const piped = (await onTerminal('encrypt - -k key.json -o /dev/null < plain')).stdout.toString()
  assert.match(piped, /encrypting 1\.0 MiB/)
})

test('one bar for all files of a folder', async () => {
  if (!hasTerminal) return console.log('SKIPPED a bar on a terminal: script(1) is missing')
  const { stdout } = await shell('mkdir tree && cp plain tree/a && cp plain tree/b')
  assert.is(stdout.length, 0)
  const bar = (await onTerminal('encrypt -r tree -o sealed -k key.json')).stdout.toString()
  assert.match(bar, /100% of 2\.0 MiB/)
})

test('no bar between the lines of a plaintext on a terminal, and no message on one', async () => {
  if (!hasTerminal) return console.log('SKIPPED output on a terminal: script(1) is missing')
  writeFileSync(path('text'), 'a line\n')
  await sealwax('encrypt', 'text', '-k', 'key.json')
  assert.is((await onTerminal('decrypt text.sealed -k key.json -o -')).stdout.toString(), 'a line\r\n')
  const refused = await onTerminal('encrypt text -k key.json -o -')
  assert.is(refused.code, 2)
  assert.match(refused.stdout.toString(), /a message is not for terminals/)
})

async function onTerminal(args: string) {
  return await shell(`script -qec "${quotedCommand} ${args}" /dev/null`)
}

test.run()
