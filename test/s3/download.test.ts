import { once } from 'node:events'
import {
  chmodSync,
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  promises,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { type GetObjectCommandOutput, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getEngine, useEngine } from '../../src/engine/engine'
import {
  type DownloadObjectInput,
  downloadObject,
  S3EncryptionClient,
  type S3EncryptionSettings,
  S3RawAesKeyring,
  type SealObjectOptions,
  sealObject,
} from '../../src/s3'
import { until } from '../support/clock'
import { rejectionOf, rejects } from '../support/expect'
import { errorXml } from '../support/fault-proxy'
import { bytes } from '../support/keys'
import { openFilesIn } from '../support/open-files'
import { startS3 } from '../support/s3-server'
import { ScriptedS3 } from '../support/scripted-s3'

const MiB = 1024 * 1024
const KiB = 1024
const Bucket = 'objects'
const Key = 'object'
const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const FORBID = { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' } as const

const folder = mkdtempSync(join(tmpdir(), 'sealwax-test-'))
process.env.TMPDIR = folder
const path = join(folder, 'downloaded')

const store = new ScriptedS3()
const clients: S3Client[] = []
const clientOf = (settings: Partial<S3EncryptionSettings> = {}, config = store.config) => {
  const client = new S3EncryptionClient(config, {
    keyring,
    commitmentPolicy: 'REQUIRE_ENCRYPT_ALLOW_DECRYPT',
    ...settings,
  })
  clients.push(client)
  return client
}
const client = clientOf()
const put = async (plaintext: Uint8Array, options: SealObjectOptions = {}) => {
  const { metadata, body, instructionFile } = await sealObject(plaintext, keyring, options)
  store.objects.clear()
  store.objects.set(Key, { metadata, body })
  if (instructionFile) store.objects.set(`${Key}.instruction`, { metadata: {}, body: instructionFile })
  store.reset()
  return body
}

type Input = Partial<DownloadObjectInput>
const toFile = async (input: Input = {}, from = client) => {
  const head = await downloadObject(from, { Bucket, Key, partSize: 64 * KiB, ...input }, path)
  const plaintext = readFileSync(path)
  assert.is(head.ContentLength, plaintext.length)
  rmSync(path)
  return plaintext
}
const toStream = async (input: Input = {}, from = client) => {
  const chunks: Buffer[] = []
  const target = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(chunk)
      done()
    },
  })
  try {
    const head = await downloadObject(from, { Bucket, Key, partSize: 64 * KiB, ...input }, target)
    assert.ok(target.writableFinished)
    assert.ok(head.ETag, 'what HeadObject answers')
    return Buffer.concat(chunks)
  } catch (error) {
    assert.equal(chunks, [], 'no byte is written')
    assert.ok(target.destroyed)
    throw error
  }
}
const targets = { 'to a file': toFile, 'to a Writable': toStream }

async function nothingLeft(): Promise<void> {
  assert.equal(readdirSync(folder), [])
  await until(() => store.open === 0 && openFilesIn(folder) === 0)
}

const plaintext = Buffer.from(bytes(3 * MiB + 5))

for (const [name, get] of Object.entries(targets)) {
  test(`${name}: objects of every length come whole, in ranges of every length`, async () => {
    const lengths = [
      0,
      1,
      15,
      16,
      17,
      64 * KiB - 17,
      64 * KiB - 16,
      64 * KiB - 1,
      64 * KiB,
      64 * KiB + 1,
      128 * KiB,
      MiB,
      3 * MiB + 5,
    ]
    for (const options of [{}, FORBID, { instructionFile: true }]) {
      for (const length of lengths) {
        await put(plaintext.subarray(0, length), options)
        for (const partSize of [64 * KiB, MiB + 16]) {
          store.requests.length = 0
          assert.ok(
            plaintext.subarray(0, length).equals(await get({ partSize, concurrency: 3 })),
            `${length} in ${partSize}`,
          )
          const ranges = store.requests.filter(({ headers }) => headers.range)
          assert.is(ranges.length, Math.max(1, Math.ceil(length / partSize)))
          assert.ok(ranges.every(({ headers }) => headers['if-match']))
          await nothingLeft()
        }
      }
    }
  })

  test(`${name}: a wrong ciphertext gives nothing`, async () => {
    const body = await put(plaintext)
    const { metadata } = store.objects.get(Key)!
    const other = (await sealObject(plaintext, keyring)).body
    const flipped = (offset: number) => body.with(offset, body[offset]! ^ 1)
    const bad = [
      flipped(0),
      flipped(MiB),
      flipped(body.length - 17),
      flipped(body.length - 1),
      body.subarray(0, -1),
      body.subarray(0, MiB),
      body.subarray(0, 16),
      body.subarray(0, 15),
      Buffer.concat([body, Buffer.alloc(1)]),
      Buffer.concat([body.subarray(MiB, 2 * MiB), body.subarray(0, MiB), body.subarray(2 * MiB)]),
      other,
    ]
    for (const wrong of bad) {
      store.objects.set(Key, { metadata, body: wrong })
      await rejects(get(), 'ERR_AUTHENTICATION_FAILED')
      await nothingLeft()
    }
  })

  test(`${name}: an object that is replaced meanwhile gives nothing`, async () => {
    const other = await sealObject(plaintext, keyring)
    for (const n of [0, 1, 7]) {
      await put(plaintext)
      store.change = (_, request) => void (request === n && store.objects.set(Key, other))
      const error = await rejects(get({ concurrency: 1 }), 'ERR_OBJECT_CHANGED')
      assert.is((error.cause as Error).name, 'PreconditionFailed')
      await nothingLeft()
    }
    await put(plaintext)
    // Heeds no condition.
    store.change = (answer, n) => void (n === 3 && Object.assign(answer.headers, { etag: '"other"' }))
    await rejects(get(), 'ERR_OBJECT_CHANGED')
    await nothingLeft()
    const passing = clientOf({ onPlaintextObject: 'passthrough' })
    await put(plaintext)
    store.objects.set(Key, { metadata: {}, body: plaintext })
    store.change = (_, request) => void (request === 0 && store.objects.set(Key, { metadata: {}, body: bytes(9) }))
    await rejects(get({}, passing), 'ERR_OBJECT_CHANGED')
    await nothingLeft()
  })

  test(`${name}: answers of another range or length than was asked for give nothing`, async () => {
    const body = await put(plaintext)
    const changes: [code: string, change: (answer: { headers: Record<string, string>; body: Uint8Array }) => void][] = [
      ['ERR_MESSAGE_MALFORMED', ({ headers }) => Object.assign(headers, { 'content-range': 'bytes 0-1/2' })],
      [
        'ERR_MESSAGE_MALFORMED',
        ({ headers }) => Object.assign(headers, { 'content-range': headers['content-range']!.replace(/.$/, '0') }),
      ],
      ['ERR_MESSAGE_MALFORMED', ({ headers }) => void delete headers['content-range']],
      [
        'ERR_MESSAGE_MALFORMED',
        (answer) => Object.assign(answer, { status: 200, body, headers: { etag: answer.headers.etag } }),
      ],
      ['ERR_MESSAGE_TRUNCATED', (answer) => Object.assign(answer, { body: answer.body.subarray(1) })],
      ['ERR_MESSAGE_TRUNCATED', (answer) => Object.assign(answer, { body: new Uint8Array(0) })],
      ['ERR_TRAILING_DATA', (answer) => Object.assign(answer, { body })],
      ['ERR_AUTHENTICATION_FAILED', (answer) => Object.assign(answer, { body: body.subarray(0, answer.body.length) })],
    ]
    for (const [code, change] of changes) {
      store.reset()
      store.change = (answer, n) => void (n === 5 && change(answer))
      await rejects(get(), code as 'ERR_MESSAGE_MALFORMED')
      // Only the tag tells of wrong bytes.
      const isEarly = code !== 'ERR_AUTHENTICATION_FAILED'
      assert.is(store.requests.length < 20, isEarly, `${store.requests.length} requests, of 50`)
      await nothingLeft()
    }
  })

  test(`${name}: a connection that breaks is taken up where it broke, and not for ever`, async () => {
    const body = await put(plaintext)
    store.change = (answer, n) =>
      void (n === 1 && Object.assign(answer, { body: answer.body.subarray(0, 2 * MiB - 100), breaks: true }))
    assert.ok(plaintext.equals(await get({ partSize: 8 * MiB, concurrency: 1 })))
    const [, first, again] = store.requests
    assert.is(first!.headers.range, `bytes=0-${body.length - 1}`)
    assert.is(again!.headers.range, `bytes=${MiB}-${body.length - 1}`)
    assert.is(store.requests.length, 3)
    await nothingLeft()

    // After the last byte that was asked for, nothing is missing.
    store.reset()
    store.change = (answer, n) => void (n > 0 && Object.assign(answer, { breaks: true }))
    assert.ok(plaintext.equals(await get({ partSize: MiB, concurrency: 1 })))
    assert.is(store.requests.length, 1 + Math.ceil(plaintext.length / MiB))
    await nothingLeft()

    store.reset()
    store.change = (answer, n) =>
      void (n > 0 && Object.assign(answer, { body: answer.body.subarray(0, 9), breaks: true }))
    assert.match(String(await rejectionOf(get({ concurrency: 1 }))), /hang up/)
    assert.is(store.requests.length, 4)
    await nothingLeft()
  })

  test(`${name}: an abort ends it, whatever is under way`, async () => {
    await put(plaintext)
    const reason = new Error('enough')
    await rejects(get({ signal: AbortSignal.abort(reason) }), 'ERR_ABORTED')
    for (const n of [1, 3]) {
      store.reset()
      const controller = new AbortController()
      store.change = (answer, request) =>
        void (request >= n && Object.assign(answer, { body: answer.body.subarray(0, 9), hangs: true }))
      const getting = rejects(get({ signal: controller.signal }), 'ERR_ABORTED')
      await until(() => store.requests.length > n)
      setTimeout(() => controller.abort(reason), 5)
      assert.is((await getting).cause, reason)
      await nothingLeft()
    }
  })

  test(`${name}: progress is told, and may end it`, async () => {
    await put(plaintext)
    const told: number[] = []
    await get({
      onProgress: ({ loaded, total }) => {
        assert.is(total, plaintext.length)
        told.push(loaded)
      },
    })
    assert.equal(
      told,
      [...told].sort((a, b) => a - b),
    )
    assert.is(told.at(-1), plaintext.length)
    let calls = 0
    const stop = () => {
      if (++calls === 1) throw new Error('stop')
    }
    assert.is(((await rejectionOf(get({ onProgress: stop, concurrency: 1 }))) as Error).message, 'stop')
    assert.is(calls, 1)
    await nothingLeft()
  })

  test(`${name}: objects that are not in AES-GCM come in one piece, as GetObject gives them`, async () => {
    await put(plaintext, { ...FORBID, writeVersion1WithoutIntegrity: true })
    await rejects(get(), 'ERR_LEGACY_REFUSED')
    await nothingLeft()
    const legacy = { enableLegacyWrappingAlgorithms: true, enableLegacyUnauthenticatedModes: true }
    const totals = new Set<unknown>()
    const onProgress = ({ total }: { total: unknown }) => totals.add(total)
    for (const more of [{}, { enableDelayedAuthenticationMode: true }]) {
      const reader = clientOf({ ...legacy, ...more })
      assert.ok(plaintext.equals(await get({ onProgress }, reader)))
      assert.equal([...totals], [undefined], 'only the end tells it')
      await nothingLeft()
    }
    totals.clear()
    await rejects(get({}, clientOf({ ...legacy, bufferSize: MiB })), 'ERR_LIMIT_EXCEEDED')
    await nothingLeft()
    store.objects.set(Key, { metadata: {}, body: plaintext })
    await rejects(get(), 'ERR_UNSUPPORTED_FORMAT')
    assert.ok(plaintext.equals(await get({ onProgress }, clientOf({ onPlaintextObject: 'passthrough' }))))
    assert.equal([...totals], [plaintext.length])
    await nothingLeft()
  })

  test(`${name}: an instruction file is read where the input says so, and a context that nothing binds is refused`, async () => {
    const reader = clientOf({ enableLegacyWrappingAlgorithms: true, enableLegacyUnauthenticatedModes: true })
    for (const options of [{}, { ...FORBID, writeVersion1WithoutIntegrity: true }]) {
      await put(plaintext, { ...options, instructionFile: true })
      store.objects.set(`${Key}.own`, store.objects.get(`${Key}.instruction`)!)
      store.objects.delete(`${Key}.instruction`)
      assert.ok(plaintext.equals(await get({ InstructionFileSuffix: '.own' }, reader)))
      const input = { InstructionFileSuffix: '.own', EncryptionContext: { a: 'b' } }
      await rejects(get(input, reader), 'ERR_ENCRYPTION_CONTEXT')
      await nothingLeft()
    }
  })

  test(`${name}: an abort is heeded until the last moment`, async () => {
    await put(plaintext)
    const controller = new AbortController()
    const engine = getEngine()
    const verifySegments: typeof engine.verifySegments = (...args) => {
      controller.abort()
      return engine.verifySegments(...args)
    }
    useEngine(Object.assign(Object.create(engine), { verifySegments }))
    await rejects(get({ signal: controller.signal }), 'ERR_ABORTED')
    useEngine(engine)
    await nothingLeft()
  })

  test(`${name}: four ranges at a time, of 8 MiB, where nothing else is said`, async () => {
    await put(bytes(8 * MiB + 1))
    await get({ partSize: undefined })
    assert.equal(
      store.requests.flatMap(({ headers }) => headers.range ?? []),
      ['bytes=0-8388607', 'bytes=8388608-8388624'],
    )
    await put(plaintext)
    const controller = new AbortController()
    store.change = (answer, n) => void (n > 0 && Object.assign(answer, { hangs: true }))
    const getting = rejects(get({ signal: controller.signal }), 'ERR_ABORTED')
    await until(() => store.requests.length > 4)
    controller.abort()
    await getting
    assert.is(store.requests.length, 1 + 4)
    await nothingLeft()
  })

  test(`${name}: what has the name of a temporary file stays as it is`, async () => {
    await put(plaintext)
    const engine = getEngine()
    useEngine(Object.assign(Object.create(engine), { randomBytes: (length: number) => new Uint8Array(length) }))
    const names = ['.sealwax-0000000000000000.tmp', 'sealwax-0000000000000000']
    for (const one of names) symlinkSync(path, join(folder, one))
    writeFileSync(path, 'what a link leads to')
    await rejects(get(), 'ERR_FILE', /EEXIST/)
    useEngine(engine)
    assert.is(readFileSync(path, 'utf8'), 'what a link leads to')
    for (const one of ['downloaded', ...names]) rmSync(join(folder, one))
    await nothingLeft()
  })

  test(`${name}: what GetObject refuses is refused, before any range is asked for`, async () => {
    await put(plaintext, FORBID)
    await rejects(get({}, clientOf({ commitmentPolicy: 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT' })), 'ERR_COMMITMENT_POLICY')
    await rejects(get({ EncryptionContext: { a: 'b' } }), 'ERR_ENCRYPTION_CONTEXT')
    const other = new S3RawAesKeyring({ wrappingKey: bytes(32, 2) })
    await rejects(get({}, clientOf({ keyring: other })), 'ERR_AUTHENTICATION_FAILED')
    assert.ok(store.requests.every(({ method }) => method === 'HEAD'))
    store.objects.clear()
    assert.is(((await rejectionOf(get())) as Error).name, 'NoSuchKey')
    await nothingLeft()
    // HeadObject has no name for it; a store that fails is not asked once more.
    for (const [status, code, ranges] of [
      [301, 'PermanentRedirect', [undefined, 'bytes=0-0']],
      [403, 'AccessDenied', [undefined, 'bytes=0-0']],
      [503, undefined, [undefined]],
    ] as const) {
      store.reset()
      store.change = (answer) =>
        Object.assign(answer, { status, headers: {}, body: Buffer.from(errorXml(code ?? 'x')) })
      const { name } = (await rejectionOf(get())) as Error
      if (code) assert.is(name, code)
      assert.equal(
        store.requests.map(({ headers }) => headers.range),
        ranges,
      )
      await nothingLeft()
    }
  })
}

test('an abort ends a body of the web, as request handlers with fetch give it, also where its end is never told', async () => {
  const fetching = clientOf({ onPlaintextObject: 'passthrough' })
  const giveStream = (next: (args: never) => Promise<{ output: object }>) => async (args: never) => {
    const { output, ...result } = await next(args)
    const { Body } = output as GetObjectCommandOutput
    const bytes = await Body?.transformToByteArray()
    const stream = () => new ReadableStream({ type: 'bytes', start: (source) => source.enqueue(bytes!) })
    return { ...result, output: { ...output, ...(bytes && { Body: stream() }) } }
  }
  fetching.middlewareStack.add(giveStream as never, { step: 'initialize' })
  for (const isPlain of [false, true]) {
    await put(plaintext)
    if (isPlain) store.objects.set(Key, { metadata: {}, body: plaintext })
    const controller = new AbortController()
    const onProgress = () => void setImmediate(() => controller.abort())
    await rejects(toFile({ signal: controller.signal, onProgress }, fetching), 'ERR_ABORTED')
    await nothingLeft()
  }
})

test('a file takes its place when it is complete, with the usual rights', async () => {
  await put(plaintext)
  writeFileSync(path, 'old')
  const modes = new Set<number>()
  const names = new Set<string>()
  const onProgress = () => {
    assert.is(readFileSync(path, 'utf8'), 'old')
    for (const name of readdirSync(folder)) {
      if (name === 'downloaded') continue
      names.add(name)
      modes.add(statSync(join(folder, name)).mode & 0o777)
    }
  }
  await downloadObject(client, { Bucket, Key, onProgress }, path)
  assert.equal([...modes], [0o600])
  assert.is(names.size, 1)
  assert.match([...names][0]!, /^\.sealwax-[0-9a-f]{16}\.tmp$/)
  assert.equal(readdirSync(folder), ['downloaded'])
  assert.ok(plaintext.equals(readFileSync(path)))
  assert.is(statSync(path).mode & 0o777, 0o666 & ~process.umask())
  for (const mode of [0o600, 0o640, 0o4750]) {
    chmodSync(path, mode)
    await downloadObject(client, { Bucket, Key }, path)
    assert.is(statSync(path).mode & 0o7777, mode & 0o777, 'who could read what was there, and as whom nobody runs it')
  }
  rmSync(path)
  await downloadObject(client, { Bucket, Key }, path)
  assert.is(statSync(path).mode & 0o777, 0o666 & ~process.umask())
  rmSync(path)
})

test('what is no file, and what cannot be written, is refused before anything is asked for', async () => {
  await put(plaintext)
  mkdirSync(path)
  await rejects(toFile(), 'ERR_FILE', /not a regular file/)
  rmSync(path, { recursive: true })
  symlinkSync(path, path)
  await rejects(toFile(), 'ERR_FILE', /ELOOP/)
  rmSync(path)
  await rejects(downloadObject(client, { Bucket, Key }, '/dev/null'), 'ERR_FILE', /not a regular file/)
  await rejects(downloadObject(client, { Bucket, Key }, join(folder, 'none', 'file')), 'ERR_FILE', /ENOENT/)
  assert.is(store.requests.length, 0)
  await nothingLeft()
})

/** What all open files have in common. */
async function fileHandles() {
  const handle = await promises.open(folder)
  await handle.close()
  return Object.getPrototypeOf(handle) as Pick<typeof handle, 'chmod' | 'stat' | 'sync' | 'write'>
}

test('a file is on the disk before it takes its place, and its name before that is told', async () => {
  await put(plaintext)
  const files = await fileHandles()
  const steps: string[] = []
  const { sync } = files
  const { rename } = promises
  files.sync = async function () {
    steps.push((await this.stat()).isDirectory() ? 'sync folder' : 'sync file')
    await sync.call(this)
  }
  promises.rename = async (...names) => {
    steps.push('rename')
    await rename(...names)
  }
  await downloadObject(client, { Bucket, Key }, path)
  files.sync = sync
  promises.rename = rename
  assert.equal(steps, ['sync file', 'rename', 'sync folder'])
  assert.is(openFilesIn(folder), 0, 'nothing is left to the garbage collector')
  rmSync(path)
})

test('a system that puts no folders on the disk, or opens none, as Windows does, has the file all the same', async () => {
  await put(plaintext)
  const files = await fileHandles()
  const { sync } = files
  files.sync = async function () {
    if ((await this.stat()).isDirectory()) throw new Error('EINVAL: this is a folder')
    await sync.call(this)
  }
  assert.ok(plaintext.equals(await toFile()))
  files.sync = sync
  const { open } = promises
  promises.open = async (name, ...how) => {
    if (name === folder) throw new Error('EISDIR: this is a folder')
    return await open(name, ...how)
  }
  assert.ok(plaintext.equals(await toFile()))
  promises.open = open
  await nothingLeft()
})

test('rights, disks and names that a system does not give are errors of the file, and leave none', async () => {
  await put(plaintext)
  const files = await fileHandles()
  for (const [of, name] of [
    [files, 'chmod'],
    [files, 'sync'],
    [promises, 'rename'],
  ] as const) {
    const own = Reflect.get(of, name)
    Reflect.set(of, name, () => Promise.reject(new Error('EPERM: not permitted')))
    await rejects(toFile(), 'ERR_FILE', /EPERM/)
    Reflect.set(of, name, own)
    assert.is(openFilesIn(folder), 0, 'nothing is left to the garbage collector')
    await nothingLeft()
  }
})

test("a temporary file is its owner's only, and not used where its name stays", async () => {
  await put(plaintext)
  const { unlink } = promises
  promises.unlink = async (name) => {
    assert.is(statSync(name).mode & 0o777, 0o600)
    rmSync(name)
    throw new Error('EBUSY: it is in use')
  }
  await rejects(toStream(), 'ERR_FILE', /EBUSY/)
  promises.unlink = unlink
  assert.is(openFilesIn(folder), 0, 'nothing is left to the garbage collector')
  await nothingLeft()
})

for (const [name, get] of Object.entries(targets)) {
  test(`${name}: what a system writes in pieces is written whole, and a disk that is full is an error of the file`, async () => {
    await put(plaintext)
    const files = await fileHandles()
    const { write } = files
    files.write = function (this: typeof files, bytes: Uint8Array, from: number, length: number, offset: number) {
      return write.apply(this, [bytes, from, Math.min(length, 30_000), offset] as never)
    } as typeof write
    assert.ok(plaintext.equals(await get()))
    files.write = (async () => {
      throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })
    }) as typeof write
    const error = await rejects(get(), 'ERR_FILE', /ENOSPC/)
    files.write = write
    assert.is((error.cause as NodeJS.ErrnoException).code, 'ENOSPC')
    await nothingLeft()
  })
}

test('a Writable that fails ends the download, and one that is slow is waited for', async () => {
  await put(plaintext)
  const failing = new Writable({ write: (_chunk, _encoding, done) => done(new Error('full')) })
  assert.is(((await rejectionOf(downloadObject(client, { Bucket, Key }, failing))) as Error).message, 'full')
  await nothingLeft()
  const slow = new PassThrough()
  const downloading = downloadObject(client, { Bucket, Key }, slow)
  await once(slow, 'readable')
  const chunks: Buffer[] = []
  for await (const chunk of slow) chunks.push(chunk)
  await downloading
  assert.ok(plaintext.equals(Buffer.concat(chunks)))
  await nothingLeft()
})

test('an abort does not wait for a Writable that is slow', async () => {
  const passing = clientOf({ onPlaintextObject: 'passthrough' })
  for (const isPlain of [false, true]) {
    await put(plaintext)
    if (isPlain) store.objects.set(Key, { metadata: {}, body: plaintext })
    const controller = new AbortController()
    const slow = new PassThrough()
    const { signal } = controller
    const downloading = rejects(downloadObject(passing, { Bucket, Key, signal }, slow), 'ERR_ABORTED')
    await once(slow, 'readable')
    controller.abort()
    await downloading
    assert.ok(slow.destroyed)
    await nothingLeft()
  }
})

test('a Writable that is lost while ranges come ends the download; one that was lost before begins none', async () => {
  await put(plaintext)
  const gone = createWriteStream('/nonexistent/folder/file')
  assert.match(String(await rejectionOf(downloadObject(client, { Bucket, Key }, gone))), /ENOENT/)
  await nothingLeft()
  for (const end of ['destroy', 'end'] as const) {
    const target = new PassThrough()
    target.resume()[end]()
    store.reset()
    await rejects(downloadObject(client, { Bucket, Key }, target), TypeError, /ended, or was destroyed/)
    assert.is(store.requests.length, 0)
  }
  const failed = new Writable({ autoDestroy: false, write: (_chunk, _encoding, done) => done(new Error('full')) })
  failed.on('error', () => {}).write('x')
  await new Promise(setImmediate)
  await rejects(downloadObject(client, { Bucket, Key }, failed), TypeError, /ended, or was destroyed/)
  assert.is(store.requests.length, 0)
  const target = new PassThrough()
  const onProgress = () => void target.destroy()
  const input = { Bucket, Key, partSize: 64 * KiB, concurrency: 1, onProgress }
  await rejects(downloadObject(client, input, target), 'ERR_ABORTED', /closed/)
  assert.ok(store.taken < MiB, `${store.taken} bytes still came`)
  await nothingLeft()
})

test('an answer of an HTTP server is a Writable too', async () => {
  await put(plaintext)
  const answering = async (answer: ServerResponse) => {
    try {
      await downloadObject(client, { Bucket, Key }, answer)
      await rejects(downloadObject(client, { Bucket, Key }, answer), TypeError, /ended, or was destroyed/)
    } finally {
      answer.destroy()
    }
  }
  let answered: Promise<void> | undefined
  const server = createServer((_, answer) => {
    answered = answering(answer)
    answered.catch(() => {})
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    const { body } = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    assert.ok(plaintext.equals(await buffer(body!)))
  } finally {
    server.close()
    await answered
  }
  await nothingLeft()
})

test('a Writable that closes as process.stdout does, and then says nothing of its end, has ended well', async () => {
  await put(plaintext)
  const chunks: Buffer[] = []
  const target = new Writable({
    write(chunk, _encoding, done) {
      chunks.push(chunk)
      done()
    },
    destroy(error, done) {
      done(error)
      ;(this as unknown as { _undestroy(): void })._undestroy()
    },
  })
  const closing = once(target, 'close')
  await downloadObject(client, { Bucket, Key }, target)
  await closing
  assert.not(target.writableFinished)
  assert.ok(plaintext.equals(Buffer.concat(chunks)))
  await nothingLeft()
})

test('wrong options are refused', async () => {
  const download = (input: object, target: unknown = path) =>
    downloadObject(client, { Bucket, Key, ...input } as never, target as never)
  for (const concurrency of [0, 257]) await rejects(download({ concurrency }), RangeError, /"concurrency"/)
  for (const partSize of [1000, 65_520, 2 ** 32 + 16]) await rejects(download({ partSize }), RangeError, /"partSize"/)
  await rejects(download({ partSize: 65_537 }), RangeError, /multiple of 16, got 65537/)
  await rejects(download({ Key: '' }), RangeError, /"Key"/)
  await rejects(download({ Bucket: 4 }), TypeError, /"Bucket"/)
  await rejects(download({ signal: {} }), TypeError, /"signal"/)
  await rejects(download({ onProgress: 4 }), TypeError, /"onProgress"/)
  await rejects(download({ Range: 'bytes=0-1' }), TypeError, /unknown option "Range"/)
  await rejects(download({}, 4), TypeError, /a path or a Writable/)
  await rejects(downloadObject({} as never, { Bucket, Key }, path), TypeError, /"client" must be/)
  await nothingLeft()
})

test('over a network it is the same', async () => {
  const s3 = await startS3()
  try {
    const real = clientOf({}, s3.config)
    await real.send(new PutObjectCommand({ Bucket: s3.bucket, Key, Body: plaintext }))
    assert.ok(plaintext.equals(await toFile({ Bucket: s3.bucket }, real)))
    assert.ok(plaintext.equals(await toStream({ Bucket: s3.bucket, partSize: MiB }, real)))
    const controller = new AbortController()
    const onProgress = () => controller.abort()
    await rejects(toFile({ Bucket: s3.bucket, signal: controller.signal, onProgress }, real), 'ERR_ABORTED')
    await nothingLeft()
  } finally {
    for (const one of clients) one.destroy()
    await s3.close()
  }
})

test.after(() => {
  rmSync(folder, { recursive: true })
})

test.run()
