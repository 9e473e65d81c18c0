import { createHash, createHmac } from 'node:crypto'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { GenerateRandomCommand, KMSClient } from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { startLocalKms } from '../../src/local-kms'
import { KmsError } from '../../src/local-kms/errors'
import { parseAuthorization, type SignedRequest, verifySignature } from '../../src/local-kms/sigv4'
import { CREDENTIALS, clientOf, post, refuses } from './support'

let request: SignedRequest & { headers: IncomingHttpHeaders }
let now: number

test.before(async () => {
  request = await recordSignedRequest()
  const [date, time] = String(request.headers['x-amz-date']).split('T') as [string, string]
  now = Date.parse(`${date.replace(/(....)(..)(..)/, '$1-$2-$3')}T${time.replace(/(..)(..)(..Z)/, '$1:$2:$3')}`)
})

test('accepts what the AWS SDK signs', () => {
  verify({})
  for (const skew of [-299_000, 299_000]) verify({}, {}, skew)
})

test('refuses any change to what was signed', () => {
  const body = Buffer.from(request.body)
  body[1]! ^= 1
  const cases: [string, Partial<SignedRequest>, IncomingHttpHeaders?][] = [
    ['InvalidSignatureException', { body }],
    ['InvalidSignatureException', { method: 'PUT' }],
    ['InvalidSignatureException', { path: '/x' }],
    ['InvalidSignatureException', {}, { host: '127.0.0.1:1' }],
    ['InvalidSignatureException', {}, { 'x-amz-target': 'TrentService.Decrypt' }],
    ['IncompleteSignatureException', {}, { 'x-amz-added': 'later' }],
    ['IncompleteSignatureException', {}, { 'x-amz-date': undefined as unknown as string }],
    ['IncompleteSignatureException', {}, { host: undefined as unknown as string }],
    [
      'InvalidSignatureException',
      {},
      { 'x-amz-content-sha256': '0'.repeat(64), authorization: signing('x-amz-content-sha256') },
    ],
  ]
  for (const [type, change, headers] of cases) refused(type, () => verify(change, headers))
})

test('refuses any change to the Authorization header', () => {
  const header = String(request.headers.authorization)
  const cases: [string, string][] = [
    ['InvalidSignatureException', header.replace(/.{4}$/, (end) => (end === '0000' ? '1111' : '0000'))],
    ['InvalidSignatureException', header.replace('/us-east-1/', '/us-east-2/')],
    ['IncompleteSignatureException', header.replace('/kms/', '/s3/')],
    ['IncompleteSignatureException', header.replace(/\/\d{8}\//, '/20200101/')],
    ['IncompleteSignatureException', header.replace(';host', '')],
    ['IncompleteSignatureException', header.replace('x-amz-target', 'x-amz-other')],
    ['UnrecognizedClientException', header.replace(CREDENTIALS.accessKeyId, 'AKIDOTHER')],
  ]
  for (const [type, authorization] of cases) {
    assert.is.not(authorization, header)
    refused(type, () => verify({}, { authorization }))
  }
  for (const malformed of [
    '',
    'Basic eDp5',
    `x${header}`,
    header.slice(0, -1),
    `${header}0`,
    header.replace('AWS4-HMAC', 'AWS4-ECDSA'),
    header.replace('aws4_request', 'aws5_request'),
  ]) {
    refused('IncompleteSignatureException', () => parseAuthorization(malformed))
  }
})

test('reads values as they are signed: without spaces around them, and with one between words', () => {
  const headers = signed({ 'x-note': 'some words' })
  verify({ headers: { ...headers, 'x-note': '  some   words ' } })
  refused('InvalidSignatureException', () => verify({ headers: { ...headers, 'x-note': 'somewords' } }))
})

test('refuses a body that is not the declared one, though the signature fits', () => {
  verify({ headers: signed({ 'x-amz-content-sha256': sha256(request.body) }) })
  for (const declared of ['0'.repeat(64), 'UNSIGNED-PAYLOAD'])
    refused('InvalidSignatureException', () => verify({ headers: signed({ 'x-amz-content-sha256': declared }) }))
})

test('refuses signatures from another time', () => {
  for (const skew of [-301_000, 301_000, Number.POSITIVE_INFINITY]) {
    refused('InvalidSignatureException', () => verify({}, {}, skew))
  }
})

test('refuses a time that is none, though it is signed and begins with the right day', () => {
  const day = String(request.headers['x-amz-date']).slice(0, 8)
  for (const date of [day, `${day}T`, `${day}T999999Z`])
    refused('IncompleteSignatureException', () => verify({ headers: signed({ 'x-amz-date': date }) }))
})

test('refuses another secret', () => {
  refused('InvalidSignatureException', () =>
    verifySignature(
      request,
      parseAuthorization(request.headers.authorization!),
      { ...CREDENTIALS, secretAccessKey: 'other' },
      now,
    ),
  )
})

test('a server with credentials answers its own client only', async () => {
  const kms = await startLocalKms({ credentials: CREDENTIALS })
  const random = new GenerateRandomCommand({ NumberOfBytes: 1 })
  const send = async (config: object) => {
    const client = clientOf(kms, 'us-east-1', config)
    await client.send(random).finally(() => client.destroy())
  }
  await send({})
  await refuses(send({ credentials: { ...CREDENTIALS, secretAccessKey: 'other' } }), 'InvalidSignatureException')
  await refuses(send({ credentials: { ...CREDENTIALS, accessKeyId: 'OTHER' } }), 'UnrecognizedClientException')
  await refuses(send({ systemClockOffset: 3_600_000 }), 'InvalidSignatureException')
  assert.match((await post(kms, '{}')).body, 'MissingAuthenticationTokenException')
  const unknown = await post(kms, '{}', { 'x-amz-target': 'TrentService.None' })
  assert.match(unknown.body, 'MissingAuthenticationTokenException')
  assert.match((await post(kms, '{}', { authorization: 'x' })).body, 'IncompleteSignatureException')
  // The SDK corrects its clock by the Date header and tries again.
  await send({ systemClockOffset: 3_600_000, maxAttempts: 2 })
  await kms.close()
})

test('a server without credentials takes the Region of any signature', async () => {
  const lines: { region?: string }[] = []
  const kms = await startLocalKms({ region: 'eu-south-1', log: (line) => lines.push(JSON.parse(line) as object) })
  const client = clientOf(kms, 'ap-south-1')
  await client.send(new GenerateRandomCommand({ NumberOfBytes: 1 }))
  client.destroy()
  await post(kms, '{}')
  await kms.close()
  assert.equal(
    lines.slice(1, 3).map(({ region }) => region),
    ['ap-south-1', 'eu-south-1'],
  )
})

test.run()

function verify(change: Partial<SignedRequest>, headers: IncomingHttpHeaders = {}, skew = 0): void {
  const changed = { ...request, ...change, headers: { ...(change.headers ?? request.headers), ...headers } }
  verifySignature(changed, parseAuthorization(changed.headers.authorization!), CREDENTIALS, now + skew)
}

function refused(type: string, run: () => void): void {
  assert.throws(run, (error: unknown) => error instanceof KmsError && error.type === type, `expected ${type}`)
}

/** The Authorization header with one more signed header. */
function signing(name: string): string {
  return request.headers.authorization!.replace('SignedHeaders=', `SignedHeaders=${name};`)
}

/** The headers of `request` and these, signed as they are: an account of the rules of its own. */
function signed(more: Record<string, string>): IncomingHttpHeaders {
  const { host, 'x-amz-date': date } = request.headers as Record<string, string>
  const target = 'TrentService.GenerateRandom'
  const headers: Record<string, string> = { host: host!, 'x-amz-date': date!, 'x-amz-target': target, ...more }
  const names = Object.keys(headers).sort()
  const lines = names.map((name) => `${name}:${headers[name]}`)
  const canonical = ['POST', '/', '', ...lines, '', names.join(';'), sha256(request.body)].join('\n')
  const scope = [date!.slice(0, 8), 'us-east-1', 'kms', 'aws4_request']
  const text = ['AWS4-HMAC-SHA256', date, scope.join('/'), sha256(canonical)].join('\n')
  let key = Buffer.from(`AWS4${CREDENTIALS.secretAccessKey}`)
  for (const part of [...scope, text]) key = createHmac('sha256', key).update(part).digest()
  const credential = `Credential=${CREDENTIALS.accessKeyId}/${scope.join('/')}`
  const authorization = `AWS4-HMAC-SHA256 ${credential}, SignedHeaders=${names.join(';')}, Signature=${key.toString('hex')}`
  return { ...headers, authorization }
}

function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

async function recordSignedRequest(): Promise<SignedRequest & { headers: IncomingHttpHeaders }> {
  let recorded: typeof request | undefined
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', () => {
      recorded = {
        method: incoming.method!,
        path: incoming.url!,
        headers: incoming.headers,
        body: Buffer.concat(chunks),
      }
      response.end('{}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const client = new KMSClient({ endpoint, region: 'us-east-1', credentials: CREDENTIALS })
  await client.send(new GenerateRandomCommand({ NumberOfBytes: 1 }))
  client.destroy()
  server.close()
  return recorded!
}
