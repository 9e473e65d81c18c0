import { writeFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { version } from '../../package.json'
import { serializeHeaderBody } from '../../src/format/message-header'
import { EncryptedDataKey } from '../../src/index'
import { keyForms, path, printed, sealwax, sealwaxWith } from './cli'

const OLD = ['--commitment-policy', 'forbid-encrypt-allow-decrypt']

test.before(async () => {
  writeFileSync(path('plain'), Buffer.alloc(10_000, 'text'))
  await sealwax('keygen', 'key.json', '--namespace', 'space', '--name', 'näme')
})

async function inspect(...encryptArgs: string[]) {
  const { stdout: message } = await sealwax('encrypt', 'plain', '-k', 'key.json', '-o', '-', ...encryptArgs)
  writeFileSync(path('message'), message)
  const json = await sealwax('inspect', 'message', '--json')
  assert.equal([json.code, json.stderr], [0, ''])
  const piped = await sealwaxWith(message, 'inspect', '-', '--json')
  assert.ok(piped.stdout.equals(json.stdout), 'a pipe says the same as a file')
  return { message, outline: JSON.parse(json.stdout.toString()) }
}

test('version 2, signed', async () => {
  const { message, outline } = await inspect('-c', 'a=b')
  assert.is(outline.version, 2)
  assert.equal(outline.algorithmSuite, {
    id: '0x0578',
    name: 'ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384',
  })
  assert.match(outline.messageId, /^[0-9a-f]{64}$/)
  assert.is(outline.encryptionContext.a, 'b')
  const { keyProviderInfo, ...key } = outline.encryptedDataKeys[0]
  assert.equal(key, { keyProviderId: 'space', keyName: 'näme', length: 48 })
  assert.is(Buffer.from(keyProviderInfo, 'base64').length, 5 + 20)
  const { frames, frameLength, plaintextLength, messageLength, headerLength, footerLength } = outline
  assert.equal([frames, frameLength, plaintextLength, messageLength], [3, 4096, 10_000, message.length])
  assert.is(headerLength + 10_000 + 2 * 32 + 40 + footerLength, message.length)
})

test('version 1, unsigned', async () => {
  const { outline } = await inspect('--suite', '0x0178', ...OLD)
  assert.equal([outline.version, outline.algorithmSuite.id, outline.messageId.length], [1, '0x0178', 32])
  assert.equal([outline.footerLength, outline.plaintextLength, outline.encryptionContext], [0, 10_000, {}])
})

test('lengths are right at every edge, small frames behind a signature included', async () => {
  for (const [length, frameLength, frames] of [
    [0, 1, 1],
    [1, 1, 2],
    [50, 1, 51],
    [4096, 4096, 2],
    [4095, 4096, 1],
    [100, 7, 15],
  ]) {
    writeFileSync(path('plain'), Buffer.alloc(length!))
    const { outline } = await inspect('--frame-length', String(frameLength))
    assert.equal([outline.frames, outline.plaintextLength], [frames, length])
  }
})

test('a body in a single block', async () => {
  const length = 33
  const edk = new EncryptedDataKey({ providerId: 'p', providerInfo: 'i', encryptedDataKey: Buffer.alloc(9) })
  const body = serializeHeaderBody({
    version: 1,
    type: 0x80,
    suiteId: 0x0078,
    messageId: Buffer.alloc(16),
    encryptionContext: {},
    encryptedDataKeys: [edk],
    contentType: 1,
    frameLength: 0,
    headerIvLength: 12,
  })
  const block = Buffer.alloc(12 + 8 + length + 16)
  block[11] = 1
  block[19] = length
  writeFileSync(path('block'), Buffer.concat([body, Buffer.alloc(28), block]))
  const { code, stdout } = await sealwax('inspect', 'block', '--json')
  const outline = JSON.parse(stdout.toString())
  assert.equal([code, outline.contentType, outline.frames, outline.plaintextLength], [0, 'single block', 0, length])
})

test('text, with nothing in it that could drive a terminal', async () => {
  writeFileSync(path('plain'), Buffer.alloc(10_000))
  const { message } = await inspect('-c', 'a=\u001b[31m\u202e\n', '--suite', '0x0478')
  const { stdout } = await sealwax('inspect', 'message')
  const text = stdout.toString()
  assert.match(text, /^format {6}version 2\nsuite {7}0x0478 ALG_\w+\n {12}key commitment, not signed\n/)
  assert.match(text, '\ncontext     "a" = "\\u001b[31m\\u202e\\n"\n')
  assert.match(text, '\ndata keys   "space" "näme", 48 bytes\n')
  assert.match(text, '\nframes      3 of 4096 bytes\n')
  assert.match(text, `\nplaintext   10000 bytes\nmessage     ${message.length} bytes\n`)
  const json = (await sealwax('inspect', 'message', '--json')).stdout.toString()
  for (const character of '\u001b\u202e') assert.not.ok(json.includes(character))
  assert.is(JSON.parse(json).encryptionContext.a, '\u001b[31m\u202e\n')
})

test('a message that is cut or goes on: what is known, and exit code 3', async () => {
  const { message } = await inspect()
  for (const bytes of [message.subarray(0, -1), Buffer.concat([message, Buffer.alloc(1)]), message.subarray(0, 5000)]) {
    writeFileSync(path('message'), bytes)
    const { code, stdout, stderr } = await sealwax('inspect', 'message', '--json')
    assert.is(code, 3)
    assert.match(stderr, /does not end where its frames say: .* \[ERR_MESSAGE_TRUNCATED\]/)
    const { version, plaintextLength, frames, messageLength } = JSON.parse(stdout.toString())
    assert.equal([version, plaintextLength, frames, messageLength], [2, null, null, bytes.length])
  }
  writeFileSync(path('message'), message.subarray(0, 100))
  const { code, stdout } = await sealwax('inspect', 'message')
  assert.equal([code, stdout.length], [3, 0])
})

test('info tells what does the work', async () => {
  const info = JSON.parse((await sealwax('info', '--json')).stdout.toString())
  assert.is(info.sealwax, version)
  assert.match(info.backend, /^(native|node)$/)
  assert.match((await sealwax('info')).stdout.toString(), new RegExp(`^sealwax {3}${info.sealwax}, Node.js`))
})

test('--version and --help', async () => {
  const shown = await sealwax('--version')
  assert.is(shown.stdout.toString(), `${version}\n`)
  assert.is(shown.code, 0)
  for (const args of [['--help'], ['help'], ['decrypt', '--help']]) {
    const { code, stdout } = await sealwax(...args)
    assert.is(code, 0)
    assert.match(stdout.toString(), /^Usage: sealwax/)
  }
})

test('no key was printed', () => {
  const all = Buffer.concat(printed)
  for (const form of keyForms('key.json')) assert.is(all.indexOf(form), -1)
})

test.run()
