/** What the SDK, and S3, do around a request: clients of every setting, other Regions, long keys, archives, who may read. */
import { getEventListeners } from 'node:events'
import { Readable } from 'node:stream'
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  type S3ClientConfig,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  describeObject,
  rewrapObject,
  S3EncryptionClient,
  type S3EncryptionSettings,
  S3RawAesKeyring,
  s3Encryption,
} from '../../src/s3'
import { rejectionOf, rejects } from '../support/expect'
import { errorXml } from '../support/fault-proxy'
import { bytes } from '../support/keys'
import { startSmallS3 } from '../support/small-s3'

interface Request {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
}
interface Named {
  readonly input: { readonly Key?: string }
}
interface Answer {
  readonly status: number
  readonly code: string
  readonly headers?: Record<string, string>
}

const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })

async function main(): Promise<void> {
  const s3 = await startSmallS3()
  const [Bucket, Key] = [s3.bucket, 'object']
  const clients: S3Client[] = []
  const clientOf = (config: S3ClientConfig = {}, settings: Partial<S3EncryptionSettings> = {}) => {
    const client = new S3EncryptionClient({ ...s3.config, ...config }, { keyring, ...settings })
    clients.push(client)
    return client
  }
  let intercepted = 0
  /** Answers in place of the store, where it says anything. */
  const intercept = (client: S3Client, answer: (request: Request) => Answer | undefined) => {
    const middleware =
      (next: (args: { request: Request }) => Promise<object>) => async (args: { request: Request }) => {
        const given = answer(args.request)
        if (!given) return await next(args)
        const body = Readable.from([Buffer.from(args.request.method === 'HEAD' ? '' : errorXml(given.code))])
        const headers = { 'content-type': 'application/xml', ...given.headers }
        return { response: { statusCode: given.status, headers, body } }
      }
    client.middlewareStack.add(middleware as never, {
      step: 'deserialize',
      priority: 'low',
      name: `intercept ${intercepted++}`,
    })
    return client
  }
  const put = (client: S3Client, more: Partial<PutObjectCommandInput> = {}) =>
    client.send(new PutObjectCommand({ Bucket, Key, Body: 'text', ...more }))
  const text = async (client: S3Client, key = Key) => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: key }))
    return await Body!.transformToString()
  }
  test.before.each(() => {
    s3.objects.clear()
  })

  test('a client that keeps the middleware of one request for all does not, once it encrypts', async () => {
    const client = clientOf({ cacheMiddleware: true }, { putInstructionFiles: true })
    // One waits for its content; the answer to the other is lost meanwhile.
    const never = put(client, { Key: 'slow', Body: Readable.from(late()) })
    intercept(client, ({ method, path }) => {
      if (method === 'PUT' && path.endsWith(Key))
        throw Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' })
      return undefined
    })
    await rejectionOf(put(client))
    await never
    assert.ok(s3.objects.has(`${Key}.instruction`), 'it may be stored')
    assert.is(await text(client, 'slow'), 'late')

    const plain = new S3Client({ ...s3.config, cacheMiddleware: true })
    clients.push(plain)
    plain.middlewareStack.use(s3Encryption(plain, { keyring }))
    for (let i = 0; i < 2; i++) await put(plain)
    const other = new S3Client({ ...s3.config, cacheMiddleware: true })
    clients.push(other)
    other.middlewareStack.use(s3Encryption({ send: async () => {} } as never, { keyring }))
    await put(other)
    await rejects(put(other), TypeError, /"cacheMiddleware"/)
  })

  test('commands of this library have their own middleware, whatever the client keeps', async () => {
    const client = new S3Client({ ...s3.config, cacheMiddleware: true })
    clients.push(client)
    await put(clientOf())
    await put(client, { Key: 'plain' })
    const sent: unknown[] = []
    const note = (next: (args: { request: Request }) => Promise<object>) => (args: { request: Request }) => {
      if (args.request.method === 'PUT') sent.push(args.request.headers['x-amz-server-side-encryption'])
      return next(args)
    }
    client.middlewareStack.add(note as never, { step: 'finalizeRequest', name: 'note' })
    const CopySource = `${Bucket}/plain`
    await rejectionOf(client.send(new CopyObjectCommand({ Bucket, Key: 'copy', CopySource })))
    const to = new S3RawAesKeyring({ wrappingKey: bytes(32, 9) })
    const serverSide = {
      mode: 'kms',
      keyId: 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    } as const
    await rejectionOf(rewrapObject(client, { Bucket, Key, from: keyring, to, serverSide }))
    assert.equal(sent, [undefined, 'aws:kms'])
  })

  test('another Region: an object that is refused there leaves the one that was there, and its instruction file', async () => {
    const client = clientOf({ followRegionRedirects: true }, { putInstructionFiles: true })
    const isElsewhere = ({ headers }: Request) =>
      !/eu-west-1\/s3/.test(headers.authorization ?? headers.Authorization ?? '')
    let refuses = false
    intercept(client, (request) => {
      if (isElsewhere(request))
        return { status: 301, code: 'PermanentRedirect', headers: { 'x-amz-bucket-region': 'eu-west-1' } }
      return refuses && request.method === 'PUT' && request.path.endsWith(Key)
        ? { status: 403, code: 'AccessDenied' }
        : undefined
    })
    await put(client)
    refuses = true
    assert.is(((await rejectionOf(put(client, { Body: 'new' }))) as Error).name, 'AccessDenied')
    assert.is(await text(client), 'text')
    refuses = false
    await put(client, { Key: 'fresh', IfNoneMatch: '*' })
    assert.is(await text(client, 'fresh'), 'text')
  })

  test('an abort ends what has not gone to the SDK, also where that tells nobody of the signal', async () => {
    const client = clientOf()
    const forget = (next: unknown, context: { __smithy_context?: { abortSignal?: AbortSignal } }) => {
      delete context.__smithy_context?.abortSignal
      return next
    }
    client.middlewareStack.add(forget as never, { step: 'build', name: 'forget' })
    const controller = new AbortController()
    const Body = new Readable({ read() {} })
    const putting = client.send(new PutObjectCommand({ Bucket, Key, Body }), { abortSignal: controller.signal })
    setTimeout(() => controller.abort(), 5)
    assert.is(((await rejectionOf(putting)) as Error).name, 'AbortError')
    assert.ok(Body.destroyed)
  })

  test('signals without events, as the SDK had before Node.js, are heeded like others', async () => {
    const client = clientOf()
    const signal = { aborted: false, onabort: null as (() => void) | null }
    await client.send(new PutObjectCommand({ Bucket, Key, Body: 'text' }), { abortSignal: signal })
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }), { abortSignal: signal })
    assert.is(await Body!.transformToString(), 'text')
    const command = new PutObjectCommand({ Bucket, Key, Body: new Readable({ read() {} }) })
    const putting = rejectionOf(client.send(command, { abortSignal: signal }))
    await new Promise(setImmediate)
    signal.onabort!()
    assert.is(((await putting) as Error).name, 'AbortError')
    assert.is(signal.onabort, null)
  })

  test('what is asked for along with an object that is read ends with its signal, which nobody listens to afterwards', async () => {
    const plain = new S3Client(s3.config)
    const given: unknown[] = []
    const sender = {
      send: (command: never, options: { abortSignal?: unknown }) => {
        given.push(options.abortSignal)
        return plain.send(command, options as object)
      },
    }
    const client = new S3Client(s3.config)
    client.middlewareStack.use(s3Encryption(sender as never, { keyring, onPlaintextObject: 'passthrough' }))
    await plain.send(new PutObjectCommand({ Bucket, Key: 'plain', Body: 'plain' }))
    const { signal } = new AbortController()
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: 'plain' }), { abortSignal: signal })
    assert.is(await Body!.transformToString(), 'plain')
    assert.equal(given, [signal])
    assert.equal(getEventListeners(signal, 'abort'), [])
    client.destroy()
    plain.destroy()
  })

  test('an abort ends a stream of the web', async () => {
    for (const ContentLength of [undefined, 10]) {
      let isCancelled = false
      const Body = new ReadableStream({
        start: (source) => source.enqueue(new Uint8Array(5)),
        cancel: () => {
          isCancelled = true
        },
      })
      const controller = new AbortController()
      const command = new PutObjectCommand({ Bucket, Key, Body, ...(ContentLength && { ContentLength }) })
      const putting = clientOf().send(command, { abortSignal: controller.signal })
      setTimeout(() => controller.abort(), 5)
      assert.is(((await rejectionOf(putting)) as Error).name, 'AbortError')
      assert.ok(isCancelled)
    }
  })

  test('who gives up while an instruction file is stored hears of it when that is undone: it would undo what is put next', async () => {
    const client = clientOf({}, { putInstructionFiles: true })
    let controller = new AbortController()
    let isUnderWay = false
    const watch = (next: (args: object) => Promise<object>) => async (args: { request: Request }) => {
      const { method, path } = args.request
      isUnderWay = true
      if (method === 'PUT' && path.endsWith('.instruction')) controller.abort()
      await new Promise(setImmediate)
      return await next(args).finally(() => {
        isUnderWay = false
      })
    }
    client.middlewareStack.add(watch as never, { step: 'finalizeRequest' })
    const file = () => s3.objects.get(`${Key}.instruction`)?.body
    const giveUp = async (command: PutObjectCommand | CopyObjectCommand | CompleteMultipartUploadCommand) => {
      controller = new AbortController()
      const before = file()
      const giving = client.send(command as PutObjectCommand, { abortSignal: controller.signal })
      assert.is(((await rejectionOf(giving)) as Error).name, 'AbortError')
      assert.not(isUnderWay)
      assert.equal(file(), before)
    }
    await client.send(new PutObjectCommand({ Bucket, Key: 'other', Body: 'other' }))
    for (const Body of ['new', 'next']) {
      await giveUp(new PutObjectCommand({ Bucket, Key, Body }))
      await giveUp(new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/other` }))
      const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }))
      const part = { Bucket, Key, UploadId, PartNumber: 1 }
      const { ETag } = await client.send(new UploadPartCommand({ ...part, Body }))
      const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
      await giveUp(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload }))
      await client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload }))
      assert.is(await text(client, Key), Body)
    }
  })

  test('what stands in for send, as mocks do, goes on doing so', async () => {
    class Mocked extends S3Client {}
    const client = new Mocked(s3.config)
    clients.push(client)
    client.middlewareStack.use(s3Encryption(client, { keyring }))
    Mocked.prototype.send = (async () => ({ ETag: 'mocked' })) as never
    assert.is((await put(client)).ETag, 'mocked')
    const instance = new S3Client(s3.config)
    instance.send = (async () => ({ ETag: 'own' })) as never
    s3Encryption(instance, { keyring })
    assert.is((await put(instance)).ETag, 'own')
  })

  test('a key that leaves no room for that of an instruction file has none', async () => {
    const long = 'k'.repeat(1020)
    const refuseLong = ({ path }: Request) =>
      decodeURIComponent(path).length > `/${Bucket}/`.length + 1024
        ? { status: 400, code: 'KeyTooLongError' }
        : undefined
    const client = intercept(clientOf({}, { onPlaintextObject: 'passthrough' }), refuseLong)
    const plain = new S3Client(s3.config)
    clients.push(plain)
    await put(plain, { Key: long })
    assert.is(await text(client, long), 'text')
    assert.is((await client.send(new HeadObjectCommand({ Bucket, Key: long }))).ContentLength, 4)
    await describeObject(client, { Bucket, Key: long })
    await client.send(new DeleteObjectCommand({ Bucket, Key: long }))
    const Objects = [{ Key: long }]
    const deleted: unknown[] = []
    intercept(client, ({ path }) => void deleted.push(path))
    await rejectionOf(client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } })))
    assert.is(deleted.length, 1)
    const writer = intercept(clientOf({}, { putInstructionFiles: true }), refuseLong)
    await rejects(put(writer, { Key: long }), RangeError, /"Key"/)
    await put(writer, { Key: long.slice(0, 1012) })
    assert.is(await text(writer, long.slice(0, 1012)), 'text')
  })

  test('an instruction file goes where and for whom its object does, and no request without a key', async () => {
    const client = clientOf({}, { putInstructionFiles: true })
    const seen: [method: string, key: string, acl: string | undefined][] = []
    intercept(client, ({ method, path, headers }) => void seen.push([method, path, headers['x-amz-acl']]))
    await put(client, { ACL: 'bucket-owner-full-control' })
    const acls = seen.filter(([method]) => method === 'PUT').map(([, , acl]) => acl)
    assert.equal(acls, ['bucket-owner-full-control', 'bucket-owner-full-control'])
    seen.length = 0
    await rejects(put(client, { Key: undefined }), TypeError, /"Key"/)
    assert.equal(seen, [])
  })

  test('middleware that gives objects other names gives them to what goes along too, once', async () => {
    const client = clientOf({}, { putInstructionFiles: true })
    const prefixing = (next: (args: Named) => Promise<never>) => (args: Named) =>
      next({ ...args, input: Object.fromEntries(Object.entries({ ...args.input, Key: `tenant/${args.input.Key}` })) })
    client.middlewareStack.add(prefixing as never, { step: 'initialize' })
    await put(client)
    assert.is(await text(clientOf(), `tenant/${Key}`), 'text')
    assert.is(await text(client), 'text')
    const parts: string[] = []
    intercept(client, ({ method, path }) => void (method === 'PUT' && parts.push(path)))
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }))
    const part = { Bucket, Key, UploadId, PartNumber: 1 }
    const { ETag } = await client.send(new UploadPartCommand({ ...part, Body: 'text' }))
    const MultipartUpload = { Parts: [{ ETag, PartNumber: 1 }] }
    await client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload }))
    const path = `/${Bucket}/tenant/${Key}`
    assert.equal(parts, [path, path, `${path}.instruction`])
    await client.send(new DeleteObjectCommand({ Bucket, Key }))
    assert.equal(
      [...s3.objects.keys()].filter((name) => name.startsWith('tenant/')),
      [],
    )
  })

  test('an instruction file in an archive does not hide what HeadObject tells of its object', async () => {
    await put(clientOf({}, { putInstructionFiles: true, commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' }))
    const client = intercept(clientOf(), ({ path }) =>
      path.endsWith('.instruction') ? { status: 403, code: 'InvalidObjectState' } : undefined,
    )
    assert.is((await client.send(new HeadObjectCommand({ Bucket, Key }))).ContentLength, 20)
    assert.is(((await rejectionOf(text(client))) as Error).name, 'InvalidObjectState')
  })

  test('an instruction file that may not be read is named: it need not be there', async () => {
    const client = clientOf({}, { onPlaintextObject: 'passthrough' })
    const plain = new S3Client(s3.config)
    clients.push(plain)
    await put(plain)
    await put(client, { Key: 'sealed' })
    intercept(client, ({ path }) => (path.endsWith('.instruction') ? { status: 403, code: 'AccessDenied' } : undefined))
    const error = (await rejectionOf(text(client))) as Error
    assert.is(error.name, 'AccessDenied')
    assert.match(error.message, /"object\.instruction"; without s3:ListBucket/)
    assert.is(await text(client, 'sealed'), 'text')
  })

  test('the servers end', async () => {
    for (const one of clients) one.destroy()
    await s3.close()
  })
  test.run()
}

async function* late() {
  await new Promise((resolve) => setTimeout(resolve, 50))
  yield Buffer.from('late')
}

void main()
