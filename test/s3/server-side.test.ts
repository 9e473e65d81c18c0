import { createHash, createSecretKey, generateKeyPairSync } from 'node:crypto'
import { Readable } from 'node:stream'
import { inspect } from 'node:util'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  SelectObjectContentCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { S3EncryptionClient, S3RawAesKeyring, type ServerSideEncryption, serverSideEncryption } from '../../src/s3'
import { rejectionOf, rejects, throws } from '../support/expect'
import { givenBy, secretsMadeBy } from '../support/given-by'
import { bytes } from '../support/keys'
import { CREDENTIALS } from '../support/s3-server'
import { unsignedHeaders } from '../support/small-s3'

const Bucket = 'bucket'
const Key = 'key'
const UploadId = 'upload'
const KEY = bytes(32)
const OTHER_KEY = bytes(32, 9)
const ARN = 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'
const TARGET = 'x-amz-server-side-encryption'
const SOURCE = 'x-amz-copy-source-server-side-encryption'

type Headers = Record<string, string>
const sent: { name: string; protocol: string; headers: Headers }[] = []
const encodings = (key: Uint8Array) => [Buffer.from(key).toString('base64'), Buffer.from(key).toString('hex')]
const md5 = (key: Uint8Array) => createHash('md5').update(key).digest('base64')

/** A client of a store that says it did what it was asked to, but for what `answer` changes. */
function clientOf(endpoint = 'https://store.example', answer: (headers: Headers) => void = () => {}) {
  const handle = async (request: { method: string; path: string; protocol: string; headers: Headers }) => {
    const { protocol, headers, method, path } = request
    sent.push({ name: `${method} ${path}`, protocol, headers })
    assert.equal(unsignedHeaders(headers), [])
    const echo: Headers = {}
    for (const [name, value] of Object.entries(headers)) {
      if (name.startsWith(TARGET) && !name.endsWith('-customer-key')) echo[name] = value
    }
    answer(echo)
    const xml = method === 'POST' ? '<InitiateMultipartUploadResult/>' : '<CopyObjectResult/>'
    return { response: { statusCode: 200, headers: echo, body: Readable.from([Buffer.from(xml)]) } as never }
  }
  const config = { endpoint, region: 'us-east-1', credentials: CREDENTIALS, forcePathStyle: true, maxAttempts: 1 }
  return { ...config, requestHandler: { handle } }
}

function using(serverSide: ServerSideEncryption, ...more: Parameters<typeof clientOf>): S3Client {
  const client = new S3Client(clientOf(...more))
  client.middlewareStack.use(serverSideEncryption(serverSide))
  return client
}

/** What the last request says of encryption. */
function stated(): Headers {
  const { headers } = sent.at(-1)!
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.includes('encryption')))
}

const part = { Bucket, Key, UploadId, PartNumber: 1 }
const source = { CopySource: 'bucket/other' }
const format = { InputSerialization: { CSV: {} }, OutputSerialization: { CSV: {} } }
const query = { Bucket, Key, Expression: 'SELECT * FROM S3Object', ExpressionType: 'SQL', ...format } as const
const customer = (prefix: string, key: Uint8Array): Headers => ({
  [`${prefix}-customer-algorithm`]: 'AES256',
  [`${prefix}-customer-key`]: Buffer.from(key).toString('base64'),
  [`${prefix}-customer-key-md5`]: md5(key),
})

test('keys of the store are asked for where an object is made, and nowhere else', async () => {
  const modes: [ServerSideEncryption, Headers][] = [
    [{ mode: 's3' }, { [TARGET]: 'AES256' }],
    [{ mode: 'kms' }, { [TARGET]: 'aws:kms' }],
    [
      { mode: 'kms', keyId: ARN, bucketKey: true, context: { z: '\u00fc', a: '1' } },
      {
        [TARGET]: 'aws:kms',
        [`${TARGET}-aws-kms-key-id`]: ARN,
        [`${TARGET}-bucket-key-enabled`]: 'true',
        [`${TARGET}-context`]: Buffer.from('{"a":"1","z":"\u00fc"}').toString('base64'),
      },
    ],
    [
      { mode: 'dsse', keyId: ARN },
      { [TARGET]: 'aws:kms:dsse', [`${TARGET}-aws-kms-key-id`]: ARN },
    ],
  ]
  for (const [mode, headers] of modes) {
    const client = using(mode)
    const creating = [
      new PutObjectCommand({ Bucket, Key, Body: 'x' }),
      new CreateMultipartUploadCommand({ Bucket, Key }),
      new CopyObjectCommand({ Bucket, Key, ...source }),
    ]
    for (const command of creating) {
      await client.send(command as PutObjectCommand)
      assert.equal(stated(), headers, command.constructor.name)
    }
    const others = [
      new UploadPartCommand({ ...part, Body: 'x' }),
      new UploadPartCopyCommand({ ...part, ...source }),
      new CompleteMultipartUploadCommand({ Bucket, Key, UploadId }),
      new GetObjectCommand({ Bucket, Key }),
      new HeadObjectCommand({ Bucket, Key }),
    ]
    for (const command of others) {
      await client.send(command as HeadObjectCommand)
      assert.equal(stated(), {}, command.constructor.name)
    }
  }
})

test("a customer's key goes along with everything that needs it", async () => {
  for (const key of [KEY, () => KEY, async () => KEY]) {
    const client = using({ mode: 'customer', key })
    const commands = [
      new PutObjectCommand({ Bucket, Key, Body: 'x' }),
      new CreateMultipartUploadCommand({ Bucket, Key }),
      new UploadPartCommand({ ...part, Body: 'x' }),
      new CompleteMultipartUploadCommand({ Bucket, Key, UploadId }),
      new ListPartsCommand({ Bucket, Key, UploadId }),
      new GetObjectCommand({ Bucket, Key }),
      new HeadObjectCommand({ Bucket, Key }),
      new GetObjectAttributesCommand({ Bucket, Key, ObjectAttributes: ['ETag'] }),
    ]
    for (const command of commands) {
      await client.send(command as PutObjectCommand)
      assert.equal(stated(), customer(TARGET, KEY), command.constructor.name)
    }
    for (const command of [
      new CopyObjectCommand({ Bucket, Key, ...source }),
      new UploadPartCopyCommand({ ...part, ...source }),
    ]) {
      await client.send(command as CopyObjectCommand)
      assert.equal(stated(), { ...customer(TARGET, KEY), ...customer(SOURCE, KEY) }, command.constructor.name)
    }
    // What answers here is no stream of events.
    await rejectionOf(client.send(new SelectObjectContentCommand(query)))
    assert.equal(stated(), customer(TARGET, KEY))
    await client.send(new ListObjectsV2Command({ Bucket }))
    await client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }))
    assert.equal(stated(), {})
  }
})

test('the key is a copy', async () => {
  const key = KEY.slice()
  const client = using({ mode: 'customer', key })
  key.fill(0)
  await client.send(new HeadObjectCommand({ Bucket, Key }))
  assert.equal(stated(), customer(TARGET, KEY))
})

test('a command may have its own, and say how the source of a copy is stored', async () => {
  const client = using({ mode: 'customer', key: KEY })
  const copy = new CopyObjectCommand({ Bucket, Key, ...source })
  copy.middlewareStack.use(serverSideEncryption({ mode: 'kms' }, { copySource: { mode: 'customer', key: OTHER_KEY } }))
  await client.send(copy)
  assert.equal(stated(), { [TARGET]: 'aws:kms', ...customer(SOURCE, OTHER_KEY) })
  const fromPlain = new CopyObjectCommand({ Bucket, Key, ...source })
  fromPlain.middlewareStack.use(serverSideEncryption({ mode: 'customer', key: KEY }, { copySource: { mode: 's3' } }))
  await client.send(fromPlain)
  assert.equal(stated(), customer(TARGET, KEY))
})

test('the source of an encrypted copy is asked for with its own key', async () => {
  const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
  const settings = { keyring, serverSide: { mode: 'customer', key: KEY } } as const
  const client = new S3EncryptionClient(clientOf(), settings)
  const fields = { CopySourceSSECustomerAlgorithm: 'AES256', CopySourceSSECustomerKey: encodings(OTHER_KEY)[0]! }
  const plugin = serverSideEncryption({ mode: 's3' }, { copySource: { mode: 'customer', key: OTHER_KEY } })
  const fromPlain = serverSideEncryption({ mode: 's3' }, { copySource: { mode: 'kms' } })
  for (const [more, own, ofSource] of [
    [{}, undefined, KEY],
    [fields, undefined, OTHER_KEY],
    [{}, plugin, OTHER_KEY],
    [{}, fromPlain, undefined],
  ] as const) {
    const copy = new CopyObjectCommand({ Bucket, Key, ...source, ...more })
    if (own) copy.middlewareStack.use(own)
    await client.send(copy)
    const [head, file, copied] = sent.slice(-3)
    const keyOf = (headers: Headers, prefix: string) => headers[`${prefix}-customer-key`]
    assert.equal([head!.name, file!.name], ['HEAD /bucket/other', 'GET /bucket/other.instruction'])
    for (const { headers } of [head!, file!]) assert.is(keyOf(headers, TARGET), ofSource && encodings(ofSource)[0])
    assert.is(keyOf(copied!.headers, SOURCE), ofSource && encodings(ofSource)[0])
    assert.is(keyOf(copied!.headers, TARGET), own ? undefined : encodings(KEY)[0])
  }
  client.destroy()
})

test('fields of the input are refused beside it', async () => {
  const inputs = [
    { ServerSideEncryption: 'AES256' as const },
    { SSECustomerAlgorithm: 'AES256', SSECustomerKey: Buffer.from(KEY).toString('base64') },
    { BucketKeyEnabled: true },
  ]
  for (const mode of [{ mode: 's3' }, { mode: 'customer', key: KEY }] as const) {
    const before = sent.length
    for (const input of inputs) {
      const put = new PutObjectCommand({ Bucket, Key, Body: 'x', ...input })
      await rejects(using(mode).send(put), TypeError, /"serverSide" excludes fields of the input/)
    }
    // Middleware may write it as it likes.
    const put = new PutObjectCommand({ Bucket, Key, Body: 'x' })
    put.middlewareStack.add(
      (next) => (args) => {
        Object.assign((args.request as { headers: Headers }).headers, { 'X-Amz-Server-Side-Encryption': 'AES256' })
        return next(args)
      },
      { step: 'build' },
    )
    await rejects(using(mode).send(put), TypeError, /the request has X-Amz-Server-Side-Encryption already/)
    assert.is(sent.length, before)
  }
})

test("a customer's key leaves the machine encrypted only", async () => {
  for (const host of [
    'store.example',
    '127.0.0.1.example',
    'localhost.example',
    'notlocalhost',
    '127.0.0.1.localhost.example',
  ]) {
    const endpoint = `http://${host}`
    const before = sent.length
    const client = using({ mode: 'customer', key: KEY }, endpoint)
    const error = await rejects(
      client.send(new GetObjectCommand({ Bucket, Key })),
      'ERR_SERVER_SIDE_ENCRYPTION',
      /https/,
    )
    for (const text of encodings(KEY)) assert.not.match(inspect(error, { depth: 9 }), text)
    // A key that is in the input is as secret.
    const fields = { CopySourceSSECustomerAlgorithm: 'AES256', CopySourceSSECustomerKey: encodings(KEY)[0]! }
    const copy = using({ mode: 's3' }, endpoint).send(new CopyObjectCommand({ Bucket, Key, ...source, ...fields }))
    await rejects(copy, 'ERR_SERVER_SIDE_ENCRYPTION', /https/)
    assert.is(sent.length, before)
    await using({ mode: 's3' }, endpoint).send(new PutObjectCommand({ Bucket, Key, Body: 'x' }))
  }
  for (const endpoint of ['http://localhost:1', 'http://127.1.2.3:1', 'http://[::1]:1', 'http://bucket.localhost']) {
    await using({ mode: 'customer', key: KEY }, endpoint).send(new GetObjectCommand({ Bucket, Key }))
  }
})

test('an endpoint that turns out to be http is noticed where it is resolved', async () => {
  const before = sent.length
  const client = using({ mode: 'customer', key: KEY })
  client.middlewareStack.add(
    (next) => (args) => {
      Object.assign(args.request as object, { protocol: 'http:' })
      return next(args)
    },
    { step: 'build' },
  )
  await rejects(client.send(new GetObjectCommand({ Bucket, Key })), 'ERR_SERVER_SIDE_ENCRYPTION')
  assert.is(sent.length, before)
})

test('what the store did must be what it was asked for', async () => {
  const kms = { mode: 'kms', keyId: ARN, bucketKey: true } as const
  const wrong: [ServerSideEncryption, (headers: Headers) => void][] = [
    [{ mode: 's3' }, (headers) => delete headers[TARGET]],
    [{ mode: 'kms' }, (headers) => (headers[TARGET] = 'AES256')],
    [kms, (headers) => (headers[`${TARGET}-aws-kms-key-id`] = ARN.replace('1234abcd', '00000000'))],
    [kms, (headers) => delete headers[`${TARGET}-aws-kms-key-id`]],
    [kms, (headers) => delete headers[`${TARGET}-bucket-key-enabled`]],
    [{ mode: 'kms', keyId: '111122223333' }, (headers) => (headers[`${TARGET}-aws-kms-key-id`] = ARN)],
    [{ mode: 'kms', keyId: ARN.slice(-12) }, (headers) => (headers[`${TARGET}-aws-kms-key-id`] = ARN)],
    [{ mode: 'kms', keyId: 'alias/a' }, (headers) => delete headers[`${TARGET}-aws-kms-key-id`]],
    [{ mode: 'customer', key: KEY }, (headers) => delete headers[`${TARGET}-customer-algorithm`]],
    [{ mode: 'customer', key: KEY }, (headers) => (headers[`${TARGET}-customer-key-md5`] = md5(OTHER_KEY))],
  ]
  for (const [mode, change] of wrong) {
    const client = using(mode, undefined, (headers) => {
      headers['x-amz-version-id'] = 'version-1'
      change(headers)
    })
    const put = client.send(new PutObjectCommand({ Bucket, Key, Body: 'x' }))
    await rejects(put, 'ERR_SERVER_SIDE_ENCRYPTION', /the store was asked for .*, having stored version version-1$/)
  }
  const reader = using({ mode: 'customer', key: KEY }, undefined, (headers) => {
    delete headers[`${TARGET}-customer-key-md5`]
  })
  for (const send of [
    () => reader.send(new HeadObjectCommand({ Bucket, Key })),
    () => reader.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: 'x' })),
    () => reader.send(new UploadPartCopyCommand({ Bucket, Key, UploadId, PartNumber: 1, CopySource: 'a/b' })),
    () => reader.send(new CreateMultipartUploadCommand({ Bucket, Key })),
    () => reader.send(new CopyObjectCommand({ Bucket, Key, ...source })),
  ]) {
    await rejects(send(), 'ERR_SERVER_SIDE_ENCRYPTION')
  }
  let body: Readable | undefined
  reader.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args)
      body = (result.output as { Body?: Readable }).Body
      return result
    },
    { step: 'finalizeRequest', priority: 'low' },
  )
  await rejects(reader.send(new GetObjectCommand({ Bucket, Key })), 'ERR_SERVER_SIDE_ENCRYPTION')
  assert.ok(body?.destroyed, 'its connection is free again')
})

test('a store may keep the context to itself', async () => {
  const silent = (headers: Headers) => delete headers[`${TARGET}-context`]
  const client = using({ mode: 'kms', context: { a: '1' } }, undefined, silent)
  await client.send(new PutObjectCommand({ Bucket, Key, Body: 'x' }))
})

test('a key may be named in a shorter way than S3 answers', async () => {
  const answer = (headers: Headers) => {
    if (`${TARGET}-aws-kms-key-id` in headers) headers[`${TARGET}-aws-kms-key-id`] = ARN
  }
  for (const keyId of [ARN, '1234abcd-12ab-34cd-56ef-1234567890ab', 'alias/a', `${ARN.split(':key')[0]}:alias/a`]) {
    await using({ mode: 'kms', keyId }, undefined, answer).send(new PutObjectCommand({ Bucket, Key, Body: 'x' }))
  }
  const noBucketKey = (headers: Headers) => delete headers[`${TARGET}-bucket-key-enabled`]
  await using({ mode: 'kms', bucketKey: false }, undefined, noBucketKey).send(
    new PutObjectCommand({ Bucket, Key, Body: 'x' }),
  )
})

test('another attempt states the same', async () => {
  let failures = 2
  const config = clientOf('https://store.example', () => {
    if (failures-- > 0) throw Object.assign(new Error('no answer'), { name: 'TimeoutError' })
  })
  const client = new S3Client({ ...config, maxAttempts: 3 })
  client.middlewareStack.use(serverSideEncryption({ mode: 'customer', key: KEY }))
  const before = sent.length
  await client.send(new HeadObjectCommand({ Bucket, Key }))
  assert.is(sent.length, before + 3)
  for (const { headers } of sent.slice(before)) assert.is(headers[`${TARGET}-customer-key-md5`], md5(KEY))
})

test('a customer\u2019s key may be a KeyObject', async () => {
  const key = createSecretKey(KEY)
  for (const given of [key, () => key, async () => key]) {
    await using({ mode: 'customer', key: given }).send(new HeadObjectCommand({ Bucket, Key }))
    assert.equal(stated(), customer(TARGET, KEY))
  }
  for (const [wrong, kind] of [
    [createSecretKey(bytes(16)), RangeError],
    [generateKeyPairSync('ed25519').publicKey, TypeError],
  ] as const) {
    throws(() => serverSideEncryption({ mode: 'customer', key: wrong }), kind, /"key" must be/)
  }
})

test('a bucket that refuses customers\u2019 keys is told of, where an upload was refused', async () => {
  const denied = () => {
    throw Object.assign(new Error('Access Denied'), { name: 'AccessDenied', $metadata: { httpStatusCode: 403 } })
  }
  const send = (mode: ServerSideEncryption, command: PutObjectCommand | GetObjectCommand) =>
    rejectionOf(using(mode, 'https://store.example', denied).send(command as PutObjectCommand))
  const put = new PutObjectCommand({ Bucket, Key, Body: 'x' })
  const withKey = (await send({ mode: 'customer', key: KEY }, put)) as Error
  assert.is(withKey.name, 'AccessDenied')
  assert.match(withKey.message, /BlockedEncryptionTypes/)
  const another = (await send({ mode: 's3' }, put)) as Error
  assert.is(another.message, 'Access Denied')
  const read = (await send({ mode: 'customer', key: KEY }, new GetObjectCommand({ Bucket, Key }))) as Error
  assert.is(read.message, 'Access Denied')
})

for (const [whose, key] of [
  ['of the client', KEY],
  ['of a single command', OTHER_KEY],
] as const) {
  test(`the encryption client sends what goes along with a command the same way: the key ${whose}`, async () => {
    const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32, 5) })
    const settings = { keyring, putInstructionFiles: true, serverSide: { mode: 'customer', key: KEY } } as const
    const client = new S3EncryptionClient(clientOf(), settings)
    const send = async (command: PutObjectCommand) => {
      if (key !== KEY) command.middlewareStack.use(serverSideEncryption({ mode: 'customer', key }))
      const before = sent.length
      await client.send(command)
      const requests = sent.slice(before)
      for (const { headers } of requests) assert.is(headers[`${TARGET}-customer-key-md5`], md5(key))
      return requests.map(({ name }) => name.replace(/\?.*/, ''))
    }
    const whole = await send(new PutObjectCommand({ Bucket, Key, Body: 'secret' }))
    assert.equal(whole, ['GET /bucket/key.instruction', 'PUT /bucket/key.instruction', 'PUT /bucket/key'])
    await send(new CreateMultipartUploadCommand({ Bucket, Key }) as never)
    await send(new UploadPartCommand({ ...part, UploadId: '', Body: 'secret' }) as never)
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag: '"1"' }] }
    const end = await send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId: '', MultipartUpload }) as never)
    assert.equal(end.slice(0, -1), ['PUT /bucket/key', 'GET /bucket/key.instruction', 'PUT /bucket/key.instruction'])
    client.destroy()
  })
}

test('copies of the key are wiped once a request states it', async () => {
  const object = createSecretKey(KEY)
  for (const key of [() => KEY, () => object]) {
    const client = using({ mode: 'customer', key })
    let exported: Uint8Array[] = []
    const made = await secretsMadeBy(async () => {
      exported = await givenBy([[object, 'export']], () => client.send(new HeadObjectCommand({ Bucket, Key })))
    })
    assert.is(exported.length, key() === KEY ? 0 : 1)
    const keys = [...exported, ...made.filter(({ length }) => length === 32)]
    assert.ok(keys.length > 0)
    for (const copy of keys) assert.equal(Uint8Array.from(copy), new Uint8Array(32))
  }
})

test('neither a client nor its log shows the key', async () => {
  const lines: unknown[] = []
  const log = (...line: unknown[]) => void lines.push(line)
  const config = { ...clientOf(), logger: { trace: log, debug: log, info: log, warn: log, error: log } }
  const client = new S3Client(config)
  client.middlewareStack.use(serverSideEncryption({ mode: 'customer', key: KEY }))
  await client.send(new PutObjectCommand({ Bucket, Key, Body: 'x' }))
  assert.ok(lines.length > 0)
  const text = inspect([lines, client], { depth: 20, showHidden: true })
  for (const encoded of encodings(KEY)) assert.not.match(text, encoded)
  assert.not.match(text, String([...KEY]))
})

test('wrong options are refused', () => {
  const of = (value: unknown) => () => serverSideEncryption(value as ServerSideEncryption)
  for (const value of [undefined, null, {}, 'kms', { mode: 'none' }]) throws(of(value), RangeError, /serverSide.mode/)
  throws(of({ mode: 's3', keyId: ARN }), TypeError, /unknown option "keyId"/)
  throws(of({ mode: 'dsse', bucketKey: true }), TypeError, /unknown option "bucketKey"/)
  throws(of({ mode: 'kms', key: KEY }), TypeError, /unknown option "key"/)
  throws(of({ mode: 'kms', keyId: '' }), RangeError, /serverSide.keyId/)
  throws(of({ mode: 'kms', bucketKey: 1 }), TypeError, /serverSide.bucketKey/)
  throws(of({ mode: 'kms', context: 'text' }), TypeError, /"serverSide.context"/)
  throws(of({ mode: 'kms', context: 'a=b' }), TypeError)
  throws(of({ mode: 'customer' }), TypeError, /"key" must be/)
  throws(of({ mode: 'customer', key: 'a'.repeat(32) }), TypeError, /"key" must be/)
  throws(of({ mode: 'customer', key: bytes(16) }), RangeError, /"key" must be 32 bytes, got 16/)
  throws(of({ mode: 'customer', key: new Uint8Array(32) }), RangeError, /all zeros/)
  const both = { keyring: new S3RawAesKeyring({ wrappingKey: KEY }), serverSide: { mode: 'x' } as never }
  throws(() => new S3EncryptionClient(clientOf(), both), RangeError, /serverSide.mode/)
})

test("what a function gives as a customer's key is checked too", async () => {
  const client = using({ mode: 'customer', key: () => 'x'.repeat(32) as never })
  await rejects(client.send(new HeadObjectCommand({ Bucket, Key })), TypeError, /"key" must be/)
})

test('a presigned URL demands what is stated', async () => {
  for (const [mode, named] of [
    [{ mode: 's3' }, /^[^;]*x-amz-server-side-encryption$/],
    [{ mode: 'customer', key: KEY }, /-customer-algorithm;.*-customer-key;.*-customer-key-md5/],
  ] as [ServerSideEncryption, RegExp][]) {
    const url = await getSignedUrl(using(mode), new PutObjectCommand({ Bucket, Key }))
    assert.match(url, /X-Amz-Signature=/)
    const { searchParams } = new URL(url)
    const stated = [searchParams.get('X-Amz-SignedHeaders')!, ...searchParams.keys()].join(';').toLowerCase()
    assert.match(stated, /x-amz-server-side-encryption/, url)
    if (mode.mode === 'customer') assert.match(stated, named)
  }
})

test.run()
