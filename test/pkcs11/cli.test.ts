/** `sealwax encrypt` and `decrypt` with keys of SoftHSM, named by URIs. */
import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { openSync, writeFileSync } from 'node:fs'
import { HeadObjectCommand } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { path, printed, quotedCommand, read, sealwax, shell, start, atTerminal as typeAt } from '../cli/cli'
import { addToken, aesTemplate, importKeys, PIN, rsaTemplate, softHsm } from '../support/pkcs11'
import { CREDENTIALS, startS3 } from '../support/s3-server'

const token = softHsm()
if (token) testCommands(token)

function testCommands(kind: NonNullable<typeof token>): void {
  const key = randomBytes(32)
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' })
  importKeys(kind, [
    aesTemplate('aes', key),
    aesTemplate('other', randomBytes(32)),
    rsaTemplate('rsa', createPrivateKey(pem).export({ format: 'jwk' })),
  ])
  addToken('elsewhere')
  writeFileSync(path('plain'), 'plaintext')
  writeFileSync(path('pin'), `${PIN}\n`, { mode: 0o600 })
  writeFileSync(path('open-pin'), PIN, { mode: 0o644 })
  writeFileSync(path('key.pem'), pem, { mode: 0o600 })
  const keyFile = { version: 1, namespace: 'tests', name: 'aes', key: key.toString('base64') }
  writeFileSync(path('key.json'), JSON.stringify(keyFile), { mode: 0o600 })

  const uri = (object: string, more = '') =>
    `pkcs11:token=tests;object=${object}?module-path=${kind.input.module}${more}`
  const withPin = ['--pin-file', 'pin']
  const wrapping = (object: string) => ['--wrapping-key', uri(object)]

  test('the file that the PIN comes from is not replaced', async () => {
    const key = uri('aes', `&pin-source=file:${path('pin')}`)
    const aws = ['-e', '-i', 'plain', '-w', 'provider=sealwax', `key=${key}`]
    for (const args of [
      ['encrypt', 'plain', '-f', '-o', 'pin', '--wrapping-key', key],
      ['encrypt', 'plain', '-f', '-o', 'pin', ...wrapping('aes'), ...withPin],
      [...aws, '-o', 'pin', '-S'],
      [...aws, '-o', 'x', '--metadata-output', 'pin', '--overwrite-metadata'],
    ]) {
      const { code, stderr } = await sealwax(...args)
      assert.is(code, 1, stderr)
      assert.is(read('pin').toString(), `${PIN}\n`)
    }
  })

  test('a key file of the same key opens what a token wrote, and the reverse', async () => {
    const written = await sealwax('encrypt', 'plain', '-o', 'a.sealed', ...wrapping('aes'), ...withPin)
    assert.is(written.code, 0, written.stderr)
    assert.is((await sealwax('decrypt', 'a.sealed', '-k', 'key.json', '-o', 'a')).code, 0)
    assert.is((await sealwax('encrypt', 'plain', '-k', 'key.json', '-o', 'b.sealed')).code, 0)
    const opened = await sealwax('decrypt', 'b.sealed', ...wrapping('aes'), ...withPin, '-o', 'b')
    assert.is(opened.code, 0, opened.stderr)
    for (const name of ['a', 'b']) assert.is(read(name).toString(), 'plaintext')
  })

  test('an RSA key in a file opens what its half in a token wrote, and the reverse', async () => {
    const names = ['--namespace', 'us', '--name', 'rsa-key', '--oaep-hash', 'sha1']
    const inToken = ['--wrapping-key', uri('rsa;type=private'), ...withPin]
    const inFile = ['--rsa-private-key', 'key.pem']
    const written = await sealwax('encrypt', 'plain', '-o', 'c.sealed', ...names, ...inToken)
    assert.is(written.code, 0, written.stderr)
    for (const [i, from] of [inFile, inToken].entries()) {
      const { code, stderr } = await sealwax('decrypt', 'c.sealed', ...names, ...from, '-o', `c${i}`)
      assert.is(code, 0, stderr)
      assert.is(read(`c${i}`).toString(), 'plaintext')
    }
  })

  test('objects of S3 under a key of a token open with a key file, and the reverse', async () => {
    const s3 = await startS3()
    const url = (name: string) => `s3://${s3.bucket}/${name}`
    const { accessKeyId, secretAccessKey } = CREDENTIALS
    const credentials = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey }
    const env = { ...process.env, ...credentials, AWS_REGION: 'us-east-1' }
    const ok = async (...args: string[]) => {
      const { code, stderr } = await start([...args, '--endpoint-url', s3.endpoint], { env }).done
      assert.is(code, 0, stderr)
    }
    const inFile = { aes: ['-k', 'key.json'], rsa: ['--rsa-private-key', 'key.pem'] }
    for (const name of ['aes', 'rsa'] as const) {
      await ok('encrypt', 'plain', '-o', url(name), ...wrapping(name), ...withPin)
      await ok('decrypt', url(name), '-o', `s3-${name}`, ...inFile[name])
      assert.is(read(`s3-${name}`).toString(), 'plaintext')
    }
    await ok('encrypt', 'plain', '-o', url('file'), ...inFile.aes)
    await ok('decrypt', url('file'), '-o', 's3-file', ...wrapping('aes'), ...withPin)
    assert.is(read('s3-file').toString(), 'plaintext')
    const names = ['--namespace', 'ours', '--name', 'new']
    await ok('rewrap', url('file'), ...inFile.aes, '--new-wrapping-key', uri('other'), ...withPin, ...names)
    const { Metadata } = await s3.client.send(new HeadObjectCommand({ Bucket: s3.bucket, Key: 'file' }))
    assert.equal(JSON.parse(Metadata!['x-amz-m']!), { namespace: 'ours', name: 'new' })
    await ok('decrypt', url('file'), '-o', 's3-other', ...wrapping('other'), ...withPin)
    assert.is(read('s3-other').toString(), 'plaintext')
    await s3.close()
  })

  test('several keys of a token, and a key file, wrap together; each opens', async () => {
    const all = [...wrapping('aes'), ...wrapping('other'), '-k', 'key.json', '--pin-fd', '3']
    const stdio = ['ignore', 'pipe', 'pipe', openSync(path('pin'), 'r')] as const
    const { code, stderr } = await start(['encrypt', 'plain', '-o', 'd.sealed', ...all], { stdio: [...stdio] }).done
    assert.is(code, 0, stderr)
    const opened = await sealwax('decrypt', 'd.sealed', ...wrapping('other'), ...withPin, '-o', '-')
    assert.is(opened.stdout.toString(), 'plaintext', opened.stderr)
    const { stdout } = await sealwax('inspect', 'd.sealed', '--json')
    const { encryptedDataKeys } = JSON.parse(stdout.toString()) as { encryptedDataKeys: unknown[] }
    assert.is(encryptedDataKeys.length, 3)
  })

  test('a PIN that can be read once serves all tokens, also those of two groups of keys', async () => {
    const elsewhere = uri('aes').replace('token=tests', 'token=elsewhere')
    const made = ['--uri', elsewhere.replace(';object=aes', ''), '--label', 'aes']
    assert.is((await sealwax('hsm', 'keygen', ...made, ...withPin)).code, 0)
    const two = ['encrypt', 'plain', '-o', '/dev/null', ...wrapping('aes'), '--wrapping-key', elsewhere]
    const groups = [uri('aes'), elsewhere].flatMap((key) => ['-w', 'provider=sealwax', `key=${key}`])
    const aws = ['--encrypt', '-i', 'plain', '-o', '/dev/null', '--suppress-metadata', ...groups]
    const env = { ...process.env, SEALWAX_PIN: PIN }
    for (const args of [two, aws]) {
      const { code, stderr } = await start(args, { env }).done
      assert.is(code, 0, stderr)
    }
    const stdio = ['ignore', 'pipe', 'pipe', openSync(path('pin'), 'r')] as const
    const { code, stderr } = await start([...two, '--pin-fd', '3'], { stdio: [...stdio] }).done
    assert.is(code, 0, stderr)
  })

  test('the PIN comes from the URI, or the environment, or the terminal', async () => {
    for (const file of ['file:', 'file://', 'file://localhost']) {
      const source = ['--wrapping-key', uri('aes', `&pin-source=${file}${path('pin')}`)]
      const fromUri = await sealwax('decrypt', 'a.sealed', ...source, '-o', '-')
      assert.is(fromUri.stdout.toString(), 'plaintext', fromUri.stderr)
    }
    const env = { ...process.env, SEALWAX_PIN: PIN }
    const fromEnvironment = await start(['decrypt', 'a.sealed', ...wrapping('aes'), '-o', '-'], { env }).done
    assert.is(fromEnvironment.stdout.toString(), 'plaintext', fromEnvironment.stderr)
    const asked = await atTerminal(`${PIN.slice(0, -1)}x\x7f${PIN.slice(-1)}\r`)
    assert.match(asked.stdout.toString(), /^PIN of "tests": \r\nplaintext$/)
    assert.is(asked.code, 0)
  })

  test('the PIN leaves the environment, which the process of a module inherits', () => {
    process.env.SEALWAX_PIN = 'needle'
    assert.is((require('../../src/cli/token') as typeof import('../../src/cli/token')).environmentPin, 'needle')
    assert.not.ok('SEALWAX_PIN' in process.env)
  })

  test('Ctrl-C at the prompt, or nothing typed, or the wrong PIN, ends it', async () => {
    const interrupted = await atTerminal('12\x03')
    assert.is(interrupted.code, 130, interrupted.stdout.toString())
    assert.match((await atTerminal('\x04')).stdout.toString(), /no PIN was given \[ERR_WRAPPING_KEY\]/)
    assert.match((await atTerminal('needle\r')).stdout.toString(), /C_Login with CKR_PIN_INCORRECT/)
  })

  for (const [args, code, message] of [
    [['--wrapping-key', uri('aes', '&pin-value=needle')], 2, /"pin-value" is refused/],
    [['--wrapping-key', 'pkcs11:object=aes'], 2, /needs a module/],
    [['--wrapping-key', `pkcs11:object=aes?module-path=${kind.input.module}`], 2, /needs --namespace and --name/],
    [['--wrapping-key', 'pkcs11:objekt=aes'], 2, /an attribute that is not known/],
    [[...wrapping('none'), ...withPin], 1, /no key with label "none" that can decrypt/],
    [[...wrapping('none;type=secret-key'), ...withPin], 1, /no AES key with the label "none"/],
    [[...wrapping('aes;type=private'), ...withPin], 1, /no RSA private key/],
    [[...wrapping('rsa'), ...withPin], 1, /only OAEP with sha1, not sha256/],
    [[...wrapping('aes'), ...withPin, '--pin-fd', '0'], 2, /--pin-file or --pin-fd/],
    [[...wrapping('aes'), '--pin-file', 'open-pin'], 1, /open to others/],
    [['--wrapping-key', 'pkcs11:token=t;object=o?module-path=/nowhere.so', ...withPin], 1, /cannot be loaded/],
  ] as [string[], number, RegExp][]) {
    test(`refuses ${args.join(' ')}`, async () => {
      const { code: actual, stderr } = await sealwax('encrypt', 'plain', '-o', 'refused', ...args)
      assert.is(actual, code, stderr)
      assert.match(stderr, message)
    })
  }

  test('without a terminal, the missing PIN is told', async () => {
    const { code, stderr } = await shell(`setsid "$@" encrypt plain -o refused --wrapping-key '${uri('aes')}'`)
    assert.is(code, 1)
    assert.match(stderr, /no PIN, and no terminal to ask for it: give --pin-file, .* or SEALWAX_PIN/)
  })

  test('the PIN was never printed', () => {
    assert.not.match(Buffer.concat(printed).toString(), /needle/)
  })

  /** Types at the prompt of `decrypt`, once it is there. */
  async function atTerminal(keys: string) {
    const line = `${quotedCommand} decrypt a.sealed --wrapping-key '${uri('aes')}' -o -`
    return await typeAt(line, 'PIN of', (child) => child.stdin!.write(keys))
  }
}

test.run()
