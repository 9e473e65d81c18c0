/** What callers give as the content of an object, or take it from: streams that fail, were read before, or give no bytes. */
import { createReadStream } from 'node:fs'
import type { Agent } from 'node:http'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import {
  CreateMultipartUploadCommand,
  GetObjectCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openObject, S3EncryptionClient, type S3Keyring, S3RawAesKeyring, sealObject } from '../../src/s3'
import { rejectionOf, rejects } from '../support/expect'
import { ForeignStream } from '../support/foreign-stream'
import { bytes } from '../support/keys'
import { startSmallS3 } from '../support/small-s3'

const raw = new S3RawAesKeyring({ wrappingKey: bytes(32) })
/** Takes its time, as a key service does. */
const slow: S3Keyring = {
  wrapDataKey: (request) => pause().then(() => raw.wrapDataKey(request)),
  unwrapDataKey: (request) => pause().then(() => raw.unwrapDataKey(request)),
}
const pause = () => new Promise((resolve) => setTimeout(resolve, 20))
const missing = () => createReadStream('/nonexistent/file')

async function main(): Promise<void> {
  const s3 = await startSmallS3()
  const [Bucket, Key] = [s3.bucket, 'object']
  const client = new S3EncryptionClient(s3.config, { keyring: slow })
  const put = (Body: unknown, more: Partial<PutObjectCommandInput> = {}, options = {}) =>
    client.send(new PutObjectCommand({ Bucket, Key, Body: Body as Uint8Array, ...more }), options)
  const get = async () => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }))
    return Buffer.from(await Body!.transformToByteArray())
  }

  test('a stream that was read before is refused, not stored as an empty object', async () => {
    const consumed = async () => {
      const streams = [Readable.from([Buffer.from('x')]), new Blob(['x']).stream(), new PassThrough().end('x')]
      for (const stream of streams) await buffer(stream as Readable)
      return [...streams, new PassThrough().destroy()]
    }
    for (const Body of await consumed()) await rejects(put(Body), TypeError, /"Body" .*was read before/)
    for (const Body of await consumed()) await rejects(put(Body, { ContentLength: 0 }), TypeError, /was read before/)
    for (const body of await consumed())
      await rejects(sealObject(body as Readable, raw), TypeError, /"plaintext" .*was read before/)
    const { metadata } = await sealObject(Buffer.from('x'), raw)
    for (const body of await consumed())
      await rejects(openObject({ metadata, body: body as Readable }, raw), TypeError, /"body" .*was read before/)
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }))
    for (const body of await consumed()) {
      const part = { Bucket, Key, UploadId, PartNumber: 1, Body: body as Readable }
      await rejects(client.send(new UploadPartCommand(part)), TypeError, /was read before/)
    }
    assert.is(s3.objects.size, 0)
    // One that was looked into, and put back together.
    const peeked = new PassThrough()
    peeked.end('whole')
    await new Promise((resolve) => peeked.once('readable', resolve))
    peeked.unshift(peeked.read(2))
    await put(peeked)
    assert.is(String(await get()), 'whole')
    for (const Body of [Readable.from([]), new Blob([]).stream(), undefined, null]) {
      await put(Body)
      assert.is((await get()).length, 0)
    }
  })

  test('pieces of any kind of memory are their bytes; what is none is refused', async () => {
    const words = Uint16Array.of(0x4141, 0x4242)
    for (const [piece, text] of [
      [words, 'AABB'],
      [new DataView(words.buffer, 2), 'BB'],
      [words.buffer, 'AABB'],
      ['\u00fc', '\u00fc'],
    ] as const) {
      await put(Readable.from([piece]))
      assert.is(String(await get()), text)
      const { body } = await sealObject(Readable.from([piece]) as AsyncIterable<Uint8Array>, raw)
      assert.is((await buffer(body)).length, Buffer.byteLength(text) + 16)
    }
    for (const piece of [3, { a: 1 }, ['a', 'b']]) {
      await rejects(put(Readable.from([piece])), TypeError, /must be a stream of bytes/)
      await rejects(put(Readable.from([piece]), { ContentLength: 1 }), TypeError, /must be a stream of bytes/)
      const { body } = await sealObject(Readable.from([piece]) as AsyncIterable<Uint8Array>, raw)
      await rejects(buffer(body), TypeError, /must be a stream of bytes/)
    }
  })

  test('a source may use the memory of a piece again', async () => {
    const memory = Buffer.alloc(2)
    const reusing = async function* (pieces: Iterable<string>) {
      for (const piece of pieces) {
        memory.write(piece)
        yield memory
      }
    }
    for (const more of [{}, { ContentLength: 4 }]) {
      await put(reusing(['ab', 'cd']), more)
      assert.is(String(await get()), 'abcd')
    }
  })

  test('a stream that fails while a keyring is at work is an error of the call, and of nobody else', async () => {
    assert.match(String(await rejectionOf(put(missing()))), /ENOENT/)
    assert.match(String(await rejectionOf(put(missing(), { ContentLength: 5 }))), /ENOENT/)
    const { body } = await sealObject(missing(), slow)
    assert.match(String(await rejectionOf(buffer(body))), /ENOENT/)
    const { metadata } = await sealObject(Buffer.from('x'), raw)
    assert.match(String(await rejectionOf(openObject({ metadata, body: missing() }, slow))), /ENOENT/)
  })

  test('a stream of a library that is destroyed before its end is no object that is shorter', async () => {
    await put(new ForeignStream(['ab', 'cd']))
    assert.is(String(await get()), 'abcd')
    const calls: ((Body: ForeignStream) => Promise<unknown>)[] = [
      (Body) => put(Body),
      (Body) => put(Body, { ContentLength: 4 }),
      async (Body) => buffer((await sealObject(Body as unknown as AsyncIterable<Uint8Array>, slow)).body),
    ]
    for (const call of calls) {
      for (const lostAt of [0, 1]) {
        const error = await rejectionOf(call(new ForeignStream(['ab', 'cd'], lostAt)))
        assert.is((error as NodeJS.ErrnoException).code, 'ERR_STREAM_PREMATURE_CLOSE')
      }
      // While a keyring is at work, nobody else listens.
      const body = new ForeignStream(['ab'])
      const calling = rejectionOf(call(body))
      body.destroy(new Error('lost'))
      assert.instance(await calling, Error)
      await rejects(call(new ForeignStream(['ab']).destroy()), TypeError, /"(Body|plaintext)" .*destroyed/)
    }
    const refused = new ForeignStream(['ab'])
    await rejects(put(refused, { ContentMD5: 'x' }), TypeError, /"ContentMD5"/)
    assert.ok(refused.destroyed)
    assert.is(String(await get()), 'abcd')
  })

  test('a stream of a call that is refused is ended', async () => {
    const files = new S3EncryptionClient(s3.config, { keyring: raw, putInstructionFiles: true })
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }))
    const part = (more: object) => (Body: Readable) =>
      client.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body, ...more }))
    const refused: ((Body: Readable) => Promise<unknown>)[] = [
      (Body) => put(Body, { ContentMD5: 'x' }),
      (Body) => put(Body, { ContentLength: 2 ** 50 }),
      (Body) => put(Body, { ContentLength: -1 }),
      (Body) => files.send(new PutObjectCommand({ Bucket, Key, Body, IfMatch: '"x"' })),
      part({ UploadId: 'unknown' }),
      part({ PartNumber: 10_001 }),
      part({ IsLastPart: 1 }),
      part({ ContentMD5: 'x' }),
    ]
    for (const call of refused) {
      const body = new PassThrough()
      assert.instance(await rejectionOf(call(body)), Error)
      assert.ok(body.destroyed)
      // Nobody listens to its error but the call.
      assert.not.match(String(await rejectionOf(call(missing()))), /ENOENT/)
    }
    await pause()
    files.destroy()
  })

  test('an abort does not wait for a body that never ends, nor for a keyring', async () => {
    for (const more of [{}, { ContentLength: 10 }]) {
      const [controller, Body] = [new AbortController(), new PassThrough()]
      Body.write('x')
      const putting = put(Body, more, { abortSignal: controller.signal })
      setTimeout(() => controller.abort(), 30)
      assert.is(((await rejectionOf(putting)) as Error).name, 'AbortError')
      assert.ok(Body.destroyed)
    }
    const unread = new PassThrough()
    const late = put(unread, {}, { abortSignal: AbortSignal.abort() })
    assert.is(((await rejectionOf(late)) as Error).name, 'AbortError')
    assert.ok(unread.destroyed)
    const never = new S3EncryptionClient(s3.config, { keyring: { ...slow, wrapDataKey: () => new Promise(() => {}) } })
    const controller = new AbortController()
    const putting = never.send(new PutObjectCommand({ Bucket, Key, Body: 'x' }), { abortSignal: controller.signal })
    setTimeout(() => controller.abort(), 5)
    assert.is(((await rejectionOf(putting)) as Error).name, 'AbortError')
    never.destroy()
  })

  test('nor for a keyring that has the key of what is read; then the connection is free again', async () => {
    await put(Buffer.alloc(5_000_000))
    const controller = new AbortController()
    const unwrapDataKey = () => {
      setImmediate(() => controller.abort())
      return new Promise<never>(() => {})
    }
    const never = new S3EncryptionClient(s3.config, { keyring: { ...slow, unwrapDataKey } })
    // One that no request handler ends.
    const other = new PassThrough()
    const add = (next: (args: object) => Promise<{ output: object }>) => async (args: object) => {
      const { output, ...result } = await next(args)
      return { ...result, output: { ...output, Body: (output as { Body: Readable }).Body.pipe(other) } }
    }
    never.middlewareStack.add(add as never, { step: 'serialize' })
    const command = new GetObjectCommand({ Bucket, Key })
    const getting = never.send(command, { abortSignal: controller.signal })
    assert.is(((await rejectionOf(getting)) as Error).name, 'AbortError')
    const handler = never.config.requestHandler as unknown as { httpHandlerConfigs: () => { httpAgent: Agent } }
    const { httpAgent } = handler.httpHandlerConfigs()
    while (Object.keys(httpAgent.sockets).length > 0) await pause()
    assert.ok(other.destroyed)
    never.destroy()
  })

  test('text is decoded as the SDK does', async () => {
    await put('caf\u00e9')
    for (const encoding of ['utf-8', 'utf-16le', 'windows-1252', 'hex', 'base64']) {
      const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }))
      const expected = Buffer.isEncoding(encoding)
        ? Buffer.from('caf\u00e9').toString(encoding)
        : new TextDecoder(encoding).decode(Buffer.from('caf\u00e9'))
      assert.is(await Body!.transformToString(encoding), expected)
    }
  })

  test("the SDK's log has no plaintext", async () => {
    const lines: unknown[] = []
    const log = (line: unknown) => void lines.push(line)
    const logger = { trace: log, debug: log, info: log, warn: log, error: log }
    const logging = new S3EncryptionClient({ ...s3.config, logger }, { keyring: raw })
    await logging.send(new PutObjectCommand({ Bucket, Key, Body: 'top secret' }))
    const { UploadId } = await logging.send(new CreateMultipartUploadCommand({ Bucket, Key }))
    await logging.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: 'top secret' }))
    await rejectionOf(logging.send(new PutObjectCommand({ Bucket, Key, Body: 'top secret', ContentLength: 3 })))
    assert.ok(lines.length >= 4)
    assert.not.match(JSON.stringify(lines), /top secret/)
    assert.match(JSON.stringify(lines), /"Key":"object"/)
    logging.destroy()
  })

  test('metadata that are no text are refused, by their name', async () => {
    for (const value of [undefined, 5, null])
      await rejects(put('x', { Metadata: { a: value as never } }), TypeError, /"Metadata\["a"\]" must be a string/)
    await put('x', { Metadata: null as never })
  })

  test.after(async () => {
    client.destroy()
    await s3.close()
  })
  test.run()
}

void main()
