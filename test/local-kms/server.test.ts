import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CreateKeyCommand,
  DecryptCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  GenerateRandomCommand,
  ListKeysCommand,
} from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SealwaxError } from '../../src/errors'
import { type LocalKms, startLocalKms } from '../../src/local-kms'
import { until } from '../support/clock'
import { watchTurns } from '../support/work'
import { ACCOUNT, CREDENTIALS, clientOf, post, refuses, temporaryDirectory } from './support'

const OPERATION = (name: string) => ({ 'x-amz-target': `TrentService.${name}` })
const EC = '{"KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}'
let kms: LocalKms

test.before(async () => {
  kms = await startLocalKms()
})

test.after(() => kms.close())

test('listens on loopback only', async () => {
  assert.match(kms.endpoint, /^http:\/\/127\.0\.0\.1:\d+$/)
  for (const [host, endpoint] of [
    ['localhost', /^http:\/\/127\.0\.0\.1:/],
    ['127.0.0.2', /^http:\/\/127\.0\.0\.2:/],
    ['::1', /^http:\/\/\[::1\]:/],
  ] as const) {
    const other = await startLocalKms({ host })
    assert.match(other.endpoint, endpoint)
    assert.is((await post(other, '{}')).status, 200)
    await other.close()
  }
  for (const host of [
    '0.0.0.0',
    '::',
    '192.168.1.1',
    'example.com',
    '127.0.0.1.example.com',
    '::ffff:127.0.0.1',
    '127.1',
  ]) {
    await rejects(startLocalKms({ host }), RangeError, /"host" must be a loopback address/)
  }
})

test('refuses wrong options by name', async () => {
  const cases: [object, new () => Error, RegExp][] = [
    [{ port: 65_536 }, RangeError, /"port"/],
    [{ port: '80' }, TypeError, /"port"/],
    [{ dataDir: '' }, RangeError, /"dataDir"/],
    [{ passphrase: 'x' }, TypeError, /"passphrase" needs a "dataDir"/],
    [{ dataDir: '/nowhere', passphrase: 12_345 }, TypeError, /"passphrase" must be a string that is not empty$/],
    [{ credentials: { accessKeyId: 'x' } }, TypeError, /"credentials.secretAccessKey"/],
    [
      { credentials: { accessKeyId: 'x', secretAccessKey: 12_345 } },
      TypeError,
      /"credentials.secretAccessKey" must be a string that is not empty$/,
    ],
    [{ credentials: { secretAccessKey: 'x' } }, TypeError, /"credentials.accessKeyId"/],
    [{ credentials: 'x' }, TypeError, /"credentials"/],
    [{ region: 'US EAST' }, RangeError, /"region"/],
    [{ accountId: '1' }, RangeError, /"accountId"/],
    [{ accountId: '1234567890123' }, RangeError, /"accountId"/],
    [{ accountId: 'x123456789012' }, RangeError, /"accountId"/],
    [{ log: true }, TypeError, /"log"/],
    [{ allowProduction: 1 }, TypeError, /"allowProduction"/],
    [{ dataDirectory: 'x' }, TypeError, /unknown option "dataDirectory"/],
  ]
  for (const [options, kind, message] of cases) await rejects(startLocalKms(options), kind, message)
})

test('refuses to start in production, unless told to', async () => {
  const before = process.env.NODE_ENV
  process.env.NODE_ENV = 'production'
  await rejects(startLocalKms(), SealwaxError, /development and tests only/)
  await (await startLocalKms({ allowProduction: true })).close()
  if (before === undefined) delete process.env.NODE_ENV
  else process.env.NODE_ENV = before
})

test('says when the port is taken', async () => {
  const port = Number(new URL(kms.endpoint).port)
  const { path: dataDir, remove } = temporaryDirectory()
  await rejects(startLocalKms({ port, dataDir }), SealwaxError, /cannot listen on 127\.0\.0\.1 port/)
  // Nor does it keep the store.
  await (await startLocalKms({ dataDir })).close()
  remove()
})

test('has a port of its own in each worker of a cluster', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealwax-kms-'))
  const file = join(folder, 'program.cjs')
  writeFileSync(
    file,
    `const cluster = require('node:cluster')
    const { startLocalKms } = require(${JSON.stringify(join(__dirname, '../../src/local-kms'))})
    if (cluster.isWorker) startLocalKms().then(({ endpoint }) => process.send(endpoint))
    else {
      const endpoints = []
      cluster.on('message', (_, endpoint) => {
        if (endpoints.push(endpoint) < 2) return
        console.log(new Set(endpoints).size)
        process.exit()
      })
      cluster.fork()
      cluster.fork()
    }`,
  )
  assert.is(execFileSync(process.execPath, ['--import', 'tsx', file], { encoding: 'utf8' }), '2\n')
  rmSync(folder, { recursive: true })
})

test('answers hosts that are loopback, and no other', async () => {
  const { port } = new URL(kms.endpoint)
  for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, 'LocalHost', `[::1]:${port}`, '127.9.9.9']) {
    assert.is((await post(kms, '{}', { host })).status, 200, host)
  }
  for (const host of [
    'evil.example',
    'evil.example:80',
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    '192.168.0.1',
    '::1',
  ]) {
    const { status, body } = await post(kms, '{}', { host })
    assert.is(status, 403, host)
    assert.is((JSON.parse(body) as { __type: string }).__type, 'AccessDeniedException')
  }
  for (const head of ['POST / HTTP/1.0', 'POST / HTTP/1.1\r\nhost: \r\nconnection: close']) {
    assert.match(await send(`${head}\r\n\r\n`), /^HTTP\/1\.1 403 /)
  }
})

test('is of no use to web pages', async () => {
  const origin = { origin: 'https://evil.example', 'access-control-request-method': 'POST' }
  const preflight = await post(kms, '', origin, { method: 'OPTIONS' })
  assert.is(preflight.status, 405)
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/json', '']) {
    assert.is((await post(kms, '{}', { ...origin, 'content-type': type })).status, 415)
  }
  const answer = await post(kms, '{}', origin)
  for (const { headers } of [preflight, answer]) {
    assert.not(Object.keys(headers).some((name) => name.startsWith('access-control')))
  }
})

test('speaks the protocol of AWS JSON 1.1', async () => {
  const good = await post(kms, '{}')
  assert.is(good.headers['content-type'], 'application/x-amz-json-1.1')
  assert.match(String(good.headers['x-amzn-requestid']), /^[0-9a-f-]{36}$/)
  assert.is(good.headers['cache-control'], 'no-store')
  assert.is((await post(kms, '{}', { 'content-type': 'Application/X-AMZ-JSON-1.1; charset=utf-8' })).status, 200)
  const bad = await post(kms, '{"KeyId":"alias/none"}', OPERATION('DescribeKey'))
  assert.is(bad.status, 400)
  assert.is(bad.headers['x-amzn-errortype'], 'NotFoundException')
  const message = `Alias arn:aws:kms:us-east-1:${ACCOUNT}:alias/none is not found.`
  assert.equal(JSON.parse(bad.body), { __type: 'NotFoundException', message })
  const { body } = await post(kms, '{}', OPERATION('CreateKey'))
  const { KeyMetadata } = JSON.parse(body) as { KeyMetadata: { CreationDate: number; KeyId: string } }
  assert.type(KeyMetadata.CreationDate, 'number')
  const empty = await post(kms, JSON.stringify({ KeyId: KeyMetadata.KeyId }), OPERATION('DisableKey'))
  assert.equal([empty.status, empty.body], [200, ''])

  for (const [status, type, headers, request] of [
    [404, 'UnknownOperationException', {}, { path: '/keys' }],
    [404, 'UnknownOperationException', {}, { path: '/?x' }],
    [405, 'UnknownOperationException', {}, { method: 'PUT' }],
    [400, 'UnknownOperationException', { 'x-amz-target': undefined }],
    [400, 'UnknownOperationException', { 'x-amz-target': 'DynamoDB.ListKeys' }],
    [400, 'UnknownOperationException', OPERATION('constructor')],
    [400, 'UnknownOperationException', OPERATION('__proto__')],
    [400, 'UnsupportedOperationException', OPERATION('ImportKeyMaterial')],
  ] as [number, string, Record<string, string>, object?][]) {
    const answer = await post(kms, '{}', headers, request)
    assert.equal([answer.status, answer.headers['x-amzn-errortype']], [status, type])
  }
})

test('refuses bodies that are not proper requests', async () => {
  const { body } = await post(kms, '', OPERATION('CreateKey'))
  const { KeyId } = (JSON.parse(body) as { KeyMetadata: { KeyId: string } }).KeyMetadata
  const encrypt = (json: string) => post(kms, json, OPERATION('Encrypt'))
  const request = (fields: string) => `{"KeyId":"${KeyId}",${fields}}`
  for (const [type, json] of [
    ['SerializationException', '{'],
    ['SerializationException', '[]'],
    ['SerializationException', 'null'],
    ['SerializationException', '"x"'],
    ['SerializationException', `${'{"a":'.repeat(5)}1${'}'.repeat(5)}`],
    ['SerializationException', '['.repeat(60_000)],
    ['SerializationException', `{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}`],
    ['SerializationException', request('"Plaintext":1')],
    ['SerializationException', request('"Plaintext":"YQ"')],
    ['SerializationException', request('"Plaintext":"YR=="')],
    ['SerializationException', request('"Plaintext":"YQ==\\n"')],
    ['SerializationException', request('"Plaintext":"Y-_="')],
    ['SerializationException', request('"Plaintext":"YQ==","EncryptionContext":[]')],
    ['SerializationException', request('"Plaintext":"YQ==","EncryptionContext":{"a":1}')],
    ['SerializationException', request('"Plaintext":"YQ==","DryRun":"yes"')],
    ['ValidationException', request('"Plaintext":"YQ==","EncryptionContext":{"a":"\\ud800"}')],
    ['ValidationException', request('"Plaintext":null')],
    ['ValidationException', request('"Plaintext":""')],
    ['ValidationException', '{"Plaintext":"YQ=="}'],
  ] as const) {
    const answer = await encrypt(json)
    assert.equal([answer.status, answer.headers['x-amzn-errortype']], [400, type], json.slice(0, 80))
  }
  for (const [operation, type, fields] of [
    ['GenerateDataKey', 'SerializationException', '"NumberOfBytes":1.5'],
    ['GenerateDataKey', 'SerializationException', '"NumberOfBytes":"32"'],
    ['GenerateDataKey', 'ValidationException', '"NumberOfBytes":1025'],
    ['GenerateDataKey', 'ValidationException', '"NumberOfBytes":0'],
    ['Encrypt', 'ValidationException', `"Plaintext":"YQ==","EncryptionContext":{"a":"${'b'.repeat(8192)}"}`],
    ['UntagResource', 'SerializationException', '"TagKeys":"a"'],
    ['UntagResource', 'SerializationException', '"TagKeys":["a",1]'],
    ['UntagResource', 'ValidationException', `"TagKeys":${JSON.stringify(Array(51).fill('a'))}`],
  ] as const) {
    const answer = await post(kms, request(fields), OPERATION(operation))
    assert.equal([answer.status, answer.headers['x-amzn-errortype']], [400, type], fields.slice(0, 80))
  }
  const invalid = await post(kms, Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]))
  assert.is(invalid.headers['x-amzn-errortype'], 'SerializationException')
})

test('takes any name in an encryption context, and as a field', async () => {
  const { body } = await post(kms, '{"__proto__":{"Description":"polluted"},"constructor":1}', OPERATION('CreateKey'))
  const { KeyId, Description } = (JSON.parse(body) as { KeyMetadata: { KeyId: string; Description: string } })
    .KeyMetadata
  assert.is(Description, '')
  const context = '{"__proto__":"a","constructor":"b","toString":"c"}'
  const sealed = await post(
    kms,
    `{"KeyId":"${KeyId}","Plaintext":"YQ==","EncryptionContext":${context}}`,
    OPERATION('Encrypt'),
  )
  const { CiphertextBlob } = JSON.parse(sealed.body) as { CiphertextBlob: string }
  const open = (json: string) =>
    post(kms, `{"CiphertextBlob":"${CiphertextBlob}","EncryptionContext":${json}}`, OPERATION('Decrypt'))
  assert.is((await open('{"toString":"c","constructor":"b","__proto__":"a"}')).status, 200)
  for (const other of ['{"constructor":"b","toString":"c"}', '{"__proto__":"x","constructor":"b","toString":"c"}']) {
    assert.is((await open(other)).headers['x-amzn-errortype'], 'InvalidCiphertextException')
  }
})

test('reads bodies of 64 KiB and no more', async () => {
  const padded = (length: number) => `{}${' '.repeat(length - 2)}`
  assert.is((await post(kms, padded(65_536))).status, 200)
  assert.is((await post(kms, padded(65_537))).status, 413)
  const declared = await talk('POST / HTTP/1.1', 'content-length: 1073741824', '')
  // After it, Node.js may tell that the request took too long.
  const [head] = declared.split('\r\n\r\n')
  assert.match(head!, /^HTTP\/1\.1 413 /)
  assert.match(head!, /connection: close/i)
  const chunk = `8000\r\n${' '.repeat(0x8000)}\r\n`
  assert.match(await talk('POST / HTTP/1.1', 'transfer-encoding: chunked', chunk.repeat(3)), /^HTTP\/1\.1 413 /)
})

test('answers pipelined requests in order', async () => {
  const one = (operation: string, json: string) =>
    `POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-amz-json-1.1\r\nx-amz-target: TrentService.${operation}\r\ncontent-length: ${json.length}\r\n`
  const answers = await send(
    `${one('GenerateDataKeyPair', '{}')}\r\n{}${one('CreateKey', '{"KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}')}\r\n{"KeySpec":"ECC_NIST_P256","KeyUsage":"SIGN_VERIFY"}${one('GenerateRandom', '{}')}connection: close\r\n\r\n{}`,
  )
  const statuses = [...answers.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)
  assert.equal(statuses, ['400', '200', '400'])
})

test('a request begins when the one before it on its connection is answered', async () => {
  const other = await startLocalKms()
  const answers = await send(`${raw('CreateKey', EC)}${raw('ListKeys', '{}', 'connection: close')}`, other)
  const [, made] = /"KeyMetadata":.*?"KeyId":"([^"]*)"/.exec(answers)!
  assert.ok(answers.includes(`{"Keys":[{"KeyId":"${made}"`))
  await other.close()
})

test('requests that were sent ahead give way to other events', async () => {
  const { turn, stop } = watchTurns()
  const seen: number[] = []
  const other = await startLocalKms({ log: () => seen.push(turn()) })
  await send(raw('ListKeys', '{}').repeat(50) + raw('ListKeys', '{}', 'connection: close'), other)
  stop()
  await other.close()
  const requests = seen.slice(1, 52)
  assert.is(new Set(requests).size, 51)
})

test('nothing begins for a client that has gone, and what waits for its turn does not happen', async () => {
  const { kms: other, entries } = await withLog()
  const socket = connect(Number(new URL(other.endpoint).port), '127.0.0.1')
  const slow = '{"KeySpec":"RSA_4096","KeyUsage":"SIGN_VERIFY"}'
  socket.write(`${raw('CreateKey', slow)}${raw('CreateKey', '{}').repeat(3)}`, () => socket.destroy())
  await until(() => entries('request').length > 0)
  assert.equal(JSON.parse((await post(other, '{}')).body), { Keys: [], Truncated: false })
  await other.close()
  assert.equal(
    entries('request').map(({ operation, status }) => [operation, status]),
    [
      ['CreateKey', 500],
      ['ListKeys', 200],
    ],
  )
})

test('a request whose client goes in the middle of it ends', async () => {
  const { kms: other, entries } = await withLog()
  const socket = connect(Number(new URL(other.endpoint).port), '127.0.0.1')
  socket.write(raw('ListKeys', '{}').slice(0, -1), () => socket.destroy())
  await until(() => entries('request').length > 0)
  assert.is(entries('request')[0]!.error, 'SerializationException')
  await other.close()
})

test('cuts off a client that sends too many requests ahead, whatever they are', async () => {
  const { kms: other, entries } = await withLog()
  const requests = [
    raw('GenerateRandom', '{"NumberOfBytes":1}'),
    'GET / HTTP/1.1\r\nhost: localhost\r\n\r\n',
    // Node.js has an answer of its own to these.
    'GET / HTTP/1.1\r\n\r\n',
    'GET / HTTP/1.1\r\nhost: localhost\r\nexpect: something\r\n\r\n',
  ]
  for (const request of requests) {
    const answers = await send(`${raw('CreateKey', EC)}${request.repeat(2000)}`, other)
    assert.ok(answers.split('HTTP/1.1 ').length < 1000)
  }
  assert.equal(
    entries('cut off').map(({ reason }) => reason),
    requests.map(() => 'too many requests sent ahead'),
  )
  // Those that were cut off wait no more.
  const answers = await send(raw('ListKeys', '{}').repeat(2) + raw('ListKeys', '{}', 'connection: close'), other)
  assert.is(answers.match(/HTTP\/1.1 200 /g)?.length, 3)
  await other.close()
})

test('cuts off a client that does not read its answers', async () => {
  const { kms: other, entries } = await withLog()
  const { body } = await post(other, '{}', OPERATION('CreateKey'))
  const { KeyId } = (JSON.parse(body) as { KeyMetadata: { KeyId: string } }).KeyMetadata
  const pairs = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`name ${i}`, 'x'.repeat(950)]))
  const Constraints = { EncryptionContextEquals: pairs, EncryptionContextSubset: pairs }
  const grant = JSON.stringify({ KeyId, GranteePrincipal: 'someone', Operations: ['Decrypt'], Constraints })
  await Promise.all(Array.from({ length: 100 }, () => post(other, grant, OPERATION('CreateGrant'))))
  const count = 40
  // Of more than a megabyte each: what the system keeps for a connection is a few.
  const list = raw('ListGrants', JSON.stringify({ KeyId, Limit: 100 }))
  const socket = connect(Number(new URL(other.endpoint).port), '127.0.0.1').on('error', () => {})
  socket.write(list.repeat(count))
  await until(() => entries('cut off').length > 0)
  assert.is(entries('cut off')[0]!.reason, 'an answer was not read')
  assert.ok(entries('request').filter(({ operation }) => operation === 'ListGrants').length < count)
  socket.destroy()
  await other.close()
})

test('cuts off clients that send slowly', async () => {
  const waiting = await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      i % 2
        ? talk('POST / HTTP/1.1', 'content-length: 2', '{')
        : send('POST / HTTP/1.1\r\nhost: localhost\r\nx-slow: '),
    ),
  )
  assert.ok(waiting.every((answer) => answer === '' || answer.startsWith('HTTP/1.1 408 ')))
})

test('a log function that throws does not keep the next requests of the connection from being answered', async () => {
  const thrown: unknown[] = []
  const note = (error: unknown) => thrown.push(error)
  process.on('unhandledRejection', note)
  let fails = false
  const log = () => {
    if (fails) throw new Error('no room')
  }
  const other = await startLocalKms({ log })
  fails = true
  const answers = await send(raw('ListKeys', '{}').repeat(2) + raw('ListKeys', '{}', 'connection: close'), other)
  fails = false
  assert.is(answers.match(/HTTP\/1.1 200 /g)?.length, 3)
  await other.close()
  process.off('unhandledRejection', note)
  assert.equal(new Set(thrown.map(String)), new Set(['Error: no room']))
})

test('logs requests in lines of JSON, without secrets', async () => {
  const lines: string[] = []
  const secret = 'needle-in-plaintext'
  const other = await startLocalKms({ credentials: CREDENTIALS, log: (line) => lines.push(line) })
  const client = clientOf(other)
  const { KeyMetadata } = await client.send(new CreateKeyCommand({ Description: 'needle' }))
  const KeyId = KeyMetadata!.KeyId
  const EncryptionContext = { 'needle-key': 'needle-value' }
  const sealed = new EncryptCommand({ KeyId, Plaintext: Buffer.from(secret), EncryptionContext })
  const { CiphertextBlob } = await client.send(sealed)
  await client.send(new DecryptCommand({ CiphertextBlob, EncryptionContext }))
  await refuses(client.send(new DecryptCommand({ CiphertextBlob })), 'InvalidCiphertextException')
  const made = await client.send(new GenerateDataKeyCommand({ KeyId, KeySpec: 'AES_256' }))
  client.destroy()
  await other.close()

  const entries = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  assert.match(String(entries[0]!.warning), 'development and tests only')
  assert.equal(
    entries.map(({ event }) => event),
    ['start', ...Array(5).fill('request'), 'stop'],
  )
  assert.equal(
    entries.slice(1, -1).map(({ operation, status, error }) => [operation, status, error]),
    [
      ['CreateKey', 200, undefined],
      ['Encrypt', 200, undefined],
      ['Decrypt', 200, undefined],
      ['Decrypt', 400, 'InvalidCiphertextException'],
      ['GenerateDataKey', 200, undefined],
    ],
  )
  const key = Buffer.from(made.Plaintext!)
  const needles = [
    'needle',
    CREDENTIALS.secretAccessKey,
    key.toString('base64'),
    key.toString('hex'),
    Buffer.from(secret).toString('base64'),
  ]
  for (const needle of needles) assert.not(lines.some((line) => line.includes(needle)))
})

test('closes gracefully: running requests end, idle and half-sent ones do not hold it up', async () => {
  const other = await startLocalKms()
  const client = clientOf(other)
  await client.send(new ListKeysCommand())
  const halfSent = connect(Number(new URL(other.endpoint).port), '127.0.0.1')
  halfSent.on('error', () => {})
  halfSent.write('POST / HTTP/1.1\r\nhost: loc')
  const running = client.send(new CreateKeyCommand({ KeySpec: 'RSA_2048', KeyUsage: 'SIGN_VERIFY' }))
  await new Promise((resolve) => setTimeout(resolve, 20))
  const closing = other.close()
  assert.is(other.close(), closing)
  const [result] = await Promise.allSettled([running, closing])
  if (result.status === 'fulfilled') assert.ok(result.value.KeyMetadata)
  await refuses(client.send(new ListKeysCommand()), 'Error', /ECONNREFUSED/)
  client.destroy()
  await other[Symbol.asyncDispose]()
})

test('64 clients at once get 64 × 20 right answers', async () => {
  const { body } = await post(kms, '{}', OPERATION('CreateKey'))
  const { KeyId } = (JSON.parse(body) as { KeyMetadata: { KeyId: string } }).KeyMetadata
  const clients = Array.from({ length: 64 }, () => clientOf(kms))
  await Promise.all(
    clients.map(async (client, index) => {
      for (let round = 0; round < 20; round++) {
        const Plaintext = Buffer.from(`client ${index}, round ${round}`)
        const EncryptionContext = { client: String(index) }
        const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId, Plaintext, EncryptionContext }))
        const opened = await client.send(new DecryptCommand({ CiphertextBlob, EncryptionContext }))
        assert.equal(Buffer.from(opened.Plaintext!), Plaintext)
      }
      client.destroy()
    }),
  )
})

test('is still alive', async () => {
  const client = clientOf(kms)
  assert.is((await client.send(new GenerateRandomCommand({ NumberOfBytes: 32 }))).Plaintext!.length, 32)
  client.destroy()
})

test.run()

async function rejects(
  promise: Promise<unknown>,
  kind: new (...args: never[]) => Error,
  message: RegExp,
): Promise<void> {
  const error = await promise.then(
    () => new Error('nothing was refused'),
    (error: Error) => error,
  )
  assert.instance(error, kind, error.message)
  assert.match(error.message, message)
}

function talk(line: string, header: string, body: string): Promise<string> {
  const headers = `host: localhost\r\ncontent-type: application/x-amz-json-1.1\r\nx-amz-target: TrentService.ListKeys`
  return send(`${line}\r\n${headers}\r\n${header}\r\n\r\n${body}`)
}

/** A server, and what it has logged of an event. */
async function withLog() {
  const logged: Record<string, unknown>[] = []
  const other = await startLocalKms({ log: (line) => logged.push(JSON.parse(line)) })
  return { kms: other, entries: (name: string) => logged.filter(({ event }) => event === name) }
}

/** A whole request without a signature. */
function raw(operation: string, json: string, header = 'accept: */*'): string {
  const head = `host: localhost\r\ncontent-type: application/x-amz-json-1.1\r\nx-amz-target: TrentService.${operation}`
  return `POST / HTTP/1.1\r\n${head}\r\n${header}\r\ncontent-length: ${json.length}\r\n\r\n${json}`
}

/** Writes to a socket and returns what comes back until it closes. */
function send(text: string, { endpoint } = kms): Promise<string> {
  return new Promise((resolve) => {
    let received = ''
    const socket = connect(Number(new URL(endpoint).port), '127.0.0.1', () => socket.write(text))
    socket.on('data', (chunk) => (received += chunk.toString('latin1')))
    socket.on('error', () => {})
    socket.on('close', () => resolve(received))
  })
}
