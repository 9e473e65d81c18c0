import type { ChildProcess } from 'node:child_process'
import { appendFileSync, readdirSync, writeFileSync } from 'node:fs'
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { startFaultProxy } from '../support/fault-proxy'
import { path, read, sealwax, start } from './cli'

const CREDENTIALS = { accessKeyId: 'local-id', secretAccessKey: 'local-secret-that-is-not-printed' }
const WARNING = 'sealwax: FOR DEVELOPMENT AND TESTS ONLY: whoever can connect may use and delete every key.\n'

test.before(() => {
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true'
  process.env.AWS_ACCESS_KEY_ID = CREDENTIALS.accessKeyId
  process.env.AWS_SECRET_ACCESS_KEY = CREDENTIALS.secretAccessKey
  writeFileSync(path('credentials.json'), JSON.stringify(CREDENTIALS), { mode: 0o600 })
  writeFileSync(path('plain'), 'plaintext')
})

const servers = new Set<ChildProcess>()
test.after(() => {
  for (const server of servers) server.kill()
})

/** Starts a local KMS, and returns how to reach and stop it. */
async function serve(...args: string[]) {
  const { child, done } = start(['kms', 'serve', ...args])
  servers.add(child)
  const endpoint = await new Promise<string>((resolve, reject) => {
    child.stdout!.once('data', (line) => resolve(line.toString().trimEnd()))
    done.then(({ stderr }) => reject(new Error(stderr)), reject)
  })
  const stop = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    return await done
  }
  return { endpoint, stop }
}

async function createKey(endpoint: string, credentials = CREDENTIALS): Promise<string> {
  const client = new KMSClient({ endpoint, region: 'eu-west-1', credentials })
  try {
    return (await client.send(new CreateKeyCommand({}))).KeyMetadata!.Arn!
  } finally {
    client.destroy()
  }
}

test('files under KMS keys: strict, several, discovery', async () => {
  const kms = await serve()
  const at = ['--kms-endpoint', kms.endpoint]
  const [one, two] = [await createKey(kms.endpoint), await createKey(kms.endpoint)]
  const encrypted = await sealwax(
    'encrypt',
    'plain',
    '-o',
    'kms.sealed',
    ...at,
    '--wrapping-key',
    one,
    '--wrapping-key',
    two,
  )
  assert.equal([encrypted.code, encrypted.stderr], [0, ''])
  const decrypt = (...args: string[]) => sealwax('decrypt', 'kms.sealed', '-o', '-', ...at, ...args)
  for (const args of [
    ['--wrapping-key', one],
    ['--wrapping-key', two],
    ['--discovery'],
    ['--discovery', '--discovery-account', '111122223333'],
    ['--discovery', '--discovery-account', '111122223333', '--discovery-partition', 'aws'],
  ]) {
    const { code, stdout, stderr } = await decrypt(...args)
    assert.equal([code, stdout.toString(), stderr], [0, 'plaintext', ''])
  }
  const third = await createKey(kms.endpoint)
  for (const args of [
    ['--wrapping-key', third],
    ['--discovery', '--discovery-account', '999999999999'],
    ['--discovery', '--discovery-account', '111122223333', '--discovery-partition', 'aws-cn'],
  ]) {
    const { code, stdout, stderr } = await decrypt(...args)
    assert.equal([code, stdout.length], [3, 0])
    assert.match(stderr, /ERR_NO_DATA_KEY/)
  }
  const missing = one.replace(/[^/]+$/, '00000000-0000-0000-0000-000000000000')
  const failed = await sealwax('encrypt', 'plain', '-o', 'missing.sealed', ...at, '--wrapping-key', missing)
  assert.is(failed.code, 1)
  assert.match(failed.stderr, /NotFoundException.*\[ERR_KEY_SERVICE\]/)

  const stopped = await kms.stop('SIGINT')
  assert.equal([stopped.code, stopped.stderr], [0, WARNING])
  const gone = await decrypt('--wrapping-key', one)
  assert.is(gone.code, 1, 'nobody could tell')
  assert.match(gone.stderr, /ERR_NO_DATA_KEY\]\n {2}KMS decrypt with arn:aws:kms:/)
})

test('of a signed file that changes while it is verified, nothing goes to standard output', async () => {
  const kms = await serve()
  const proxy = await startFaultProxy({ origin: kms.endpoint })
  const key = await createKey(kms.endpoint)
  const at = ['--kms-endpoint', proxy.endpoint, '--wrapping-key', key]
  assert.is((await sealwax('encrypt', 'plain', '-o', 'sealed', ...at)).code, 0)
  const body = (answer: Buffer) => {
    appendFileSync(path('growing'), 'x')
    return answer
  }
  proxy.setRules([{ fault: 'swap', body }])
  process.env.AWS_ENDPOINT_URL_KMS = proxy.endpoint
  for (const args of [
    ['decrypt', 'growing', '-o', '-', ...at],
    ['-d', '-i', 'growing', '-o', '-', '-S', '-w', `key=${key}`],
  ]) {
    writeFileSync(path('growing'), read('sealed'))
    const { code, stdout, stderr } = await sealwax(...args)
    assert.equal([code, stdout.length], [1, 0], stderr)
    assert.match(stderr, /"growing" changed while it was read/)
  }
  delete process.env.AWS_ENDPOINT_URL_KMS
  await proxy.close()
  await kms.stop('SIGTERM')
})

test('keys are kept in a folder, requests must be signed, and the log is lines of JSON', async () => {
  const args = ['--data', 'store', '--credentials', 'credentials.json', '--log']
  const first = await serve(...args)
  const key = await createKey(first.endpoint)
  const wrong = { ...CREDENTIALS, secretAccessKey: 'another' }
  assert.match((await createKey(first.endpoint, wrong).catch(String)) as string, /signature|Signature/)
  await sealwax('encrypt', 'plain', '-o', 'kept.sealed', '--kms-endpoint', first.endpoint, '--wrapping-key', key)
  const { code, stderr } = await first.stop('SIGTERM')
  assert.is(code, 0)
  assert.not.ok(stderr.includes(CREDENTIALS.secretAccessKey))
  const lines = stderr.split('\n').filter((line) => line !== '' && `${line}\n` !== WARNING)
  assert.ok(
    lines.map((line) => JSON.parse(line)).some(({ operation }) => operation === 'GenerateDataKey'),
    stderr,
  )

  const second = await serve(...args, '--port', new URL(first.endpoint).port)
  assert.is(second.endpoint, first.endpoint)
  const back = await sealwax('decrypt', 'kept.sealed', '--kms-endpoint', second.endpoint, '--wrapping-key', key)
  assert.equal([back.code, read('kept').toString()], [0, 'plaintext'])
  await second.stop('SIGTERM')
  assert.ok(readdirSync(path('store')).includes('keys.sealed'))
})

const ARN = 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'

const CASES: [args: string[], code: number, stderr: RegExp][] = [
  [['kms'], 2, /Usage: sealwax kms/],
  [['kms', 'serve', '--port', '65536'], 2, /from 0 to 65535/],
  [['kms', 'serve', '--credentials', 'missing'], 1, /cannot read "missing"/],
  [['kms', 'serve', '--credentials', 'plain'], 1, /open to others/],
  [['kms', 'serve', '--credentials', 'empty.json'], 1, /"accessKeyId" and "secretAccessKey"/],
  [['kms', 'serve', '--credentials', 'number.json'], 1, /"accessKeyId" and "secretAccessKey"/],
  [['encrypt', 'plain', '--wrapping-key', 'arn:nonsense'], 2, /rn/],
  [['encrypt', 'plain', '--wrapping-key', ARN, '--kms-endpoint', 'ftp://x'], 2, /must be a URL/],
  [['encrypt', 'plain', '--discovery'], 2, /unknown option/],
  [['decrypt', 'plain', '--wrapping-key', ARN, '--discovery', '-o', 'x'], 2, /leave out --wrapping-key/],
  ...['alias/my-app', '1234abcd-12ab-34cd-56ef-1234567890ab', ARN.replace('key/', 'alias/'), `alias/${ARN}`].map(
    (key): (typeof CASES)[number] => [
      ['decrypt', 'plain', '--wrapping-key', ARN, '--wrapping-key', key, '-o', 'x'],
      2,
      /--wrapping-key must be the ARN of a key to decrypt/,
    ],
  ),
  [['decrypt', 'plain', '--discovery', '--discovery-partition', 'aws-cn', '-o', 'x'], 2, /needs --discovery-account/],
  [['decrypt', 'plain', '-k', 'key', '--discovery-account', '111122223333', '-o', 'x'], 2, /need --discovery/],
  [['decrypt', 'plain', '--wrapping-key', ARN, '--discovery-partition', 'aws', '-o', 'x'], 2, /need --discovery/],
  [['decrypt', 's3://b/x', '--wrapping-key', ARN, '--discovery-account', '111122223333', '-o', 'x'], 2, /need --disc/],
  [['decrypt', 's3://b/x', '--discovery', '--discovery-partition', 'aws-cn', '-o', 'x'], 2, /needs --discovery-acc/],
]

for (const [args, code, message] of CASES) {
  test(`refuses: ${args.join(' ')}`, async () => {
    writeFileSync(path('empty.json'), '{}', { mode: 0o600 })
    writeFileSync(path('number.json'), '{"accessKeyId":1,"secretAccessKey":"x"}', { mode: 0o600 })
    const result = await sealwax(...args)
    assert.match(result.stderr, message)
    assert.is(result.code, code)
  })
}

test('does not start in production', async () => {
  const { child, done } = start(['kms', 'serve'], { env: { ...process.env, NODE_ENV: 'production' } })
  child.stdin!.end()
  const { code, stderr } = await done
  assert.is(code, 1)
  assert.match(stderr, /for development and tests only/)
})

test.run()
