import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { GetObjectCommand, type S3Client } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  S3EncryptionClient,
  type S3EncryptionSettings,
  S3RawAesKeyring,
  type SealObjectOptions,
  sealObject,
} from '../../src/s3'
import { until } from '../support/clock'
import { checkError, rejectionOf, rejects } from '../support/expect'
import { bytes } from '../support/keys'
import { openFilesIn } from '../support/open-files'
import { ScriptedS3 } from '../support/scripted-s3'

const MiB = 1024 * 1024
const Bucket = 'objects'
const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const MODES = ['two-pass', 'temporary-file'] as const

// Temporary files go there.
const folder = mkdtempSync(join(tmpdir(), 'sealwax-test-'))
process.env.TMPDIR = folder

const store = new ScriptedS3()
const clients: S3Client[] = []
const clientOf = (settings: Partial<S3EncryptionSettings> = {}) => {
  const client = new S3EncryptionClient(store.config, {
    keyring,
    commitmentPolicy: 'REQUIRE_ENCRYPT_ALLOW_DECRYPT',
    bufferSize: 16,
    ...settings,
  })
  clients.push(client)
  return client
}
const put = async (Key: string, plaintext: Uint8Array, options: SealObjectOptions = {}) => {
  const { metadata, body } = await sealObject(plaintext, keyring, options)
  store.objects.set(Key, { metadata, body })
  store.reset()
  return body
}
const get = async (client: S3Client, Key = 'object') => await client.send(new GetObjectCommand({ Bucket, Key }))

/** What came out of a body before it ended, and how it ended. */
async function drain(body: unknown): Promise<{ plaintext: Buffer; error: unknown }> {
  const chunks: Buffer[] = []
  const error = await rejectionOf(
    (async () => {
      for await (const chunk of body as Readable) chunks.push(chunk)
    })(),
  )
  return { plaintext: Buffer.concat(chunks), error }
}

/** Nothing is left of a read: bodies, names of files, open files. */
async function nothingLeft(): Promise<void> {
  assert.equal(readdirSync(folder), [])
  await until(() => store.open === 0 && openFilesIn(folder) === 0)
}

const plaintext = Buffer.from(bytes(3 * MiB + 5))

for (const largeObjects of MODES) {
  const client = clientOf({ largeObjects })

  test(`${largeObjects}: objects of every length come back`, async () => {
    for (const commitmentPolicy of ['REQUIRE_ENCRYPT_REQUIRE_DECRYPT', 'FORBID_ENCRYPT_ALLOW_DECRYPT'] as const) {
      for (const length of [
        17,
        31,
        32,
        33,
        MiB - 17,
        MiB - 16,
        MiB - 1,
        MiB,
        MiB + 1,
        MiB + 16,
        2 * MiB,
        3 * MiB + 5,
      ]) {
        await put('object', plaintext.subarray(0, length), { commitmentPolicy })
        const { Body, ContentLength, Metadata } = await get(client)
        assert.is(ContentLength, length)
        assert.ok(Metadata)
        assert.is(store.requests.length, largeObjects === 'two-pass' ? 2 : 1)
        assert.ok(plaintext.subarray(0, length).equals(await Body!.transformToByteArray()), `${length}`)
        await nothingLeft()
      }
    }
  })

  test(`${largeObjects}: what is held in memory is got once`, async () => {
    await put('object', plaintext)
    const { Body } = await get(clientOf({ largeObjects, bufferSize: plaintext.length }))
    assert.ok(plaintext.equals(await Body!.transformToByteArray()))
    assert.is(store.requests.length, 1)
  })

  test(`${largeObjects}: a wrong ciphertext gives no byte`, async () => {
    const body = await put('object', plaintext)
    const { metadata } = store.objects.get('object')!
    const other = (await sealObject(bytes(plaintext.length), keyring)).body
    const flipped = (offset: number) => body.with(offset, body[offset]! ^ 1)
    const swapped = Buffer.concat([body.subarray(MiB, 2 * MiB), body.subarray(0, MiB), body.subarray(2 * MiB)])
    const bad = [
      flipped(0),
      flipped(MiB),
      flipped(body.length - 17),
      flipped(body.length - 16),
      flipped(body.length - 1),
      body.subarray(0, -1),
      body.subarray(0, 33),
      body.subarray(1),
      Buffer.concat([body, Buffer.alloc(1)]),
      swapped,
      other,
    ]
    for (const wrong of bad) {
      store.objects.set('object', { metadata, body: wrong })
      store.reset()
      await rejects(get(client), 'ERR_AUTHENTICATION_FAILED')
      assert.is(store.requests.length, 1)
      await nothingLeft()
    }
  })

  test(`${largeObjects}: an answer of another length than it says gives no byte`, async () => {
    const body = await put('object', plaintext)
    const header = { 'content-length': String(body.length) }
    store.change = (answer) =>
      Object.assign(answer, { body: body.subarray(0, -1), headers: { ...answer.headers, ...header } })
    await rejects(get(client), 'ERR_MESSAGE_TRUNCATED')
    await nothingLeft()
    store.change = (answer) =>
      Object.assign(answer, { body: Buffer.concat([body, body]), headers: { ...answer.headers, ...header } })
    await rejects(get(client), 'ERR_TRAILING_DATA')
    await nothingLeft()
    store.change = (answer) =>
      Object.assign(answer, { headers: { ...answer.headers, 'content-length': '99999999999' } })
    await rejects(get(client), 'ERR_LIMIT_EXCEEDED')
    await nothingLeft()
    // The longest that AES-GCM takes, and its tag.
    for (const [length, code] of [
      [2 ** 36 - 16, 'ERR_MESSAGE_TRUNCATED'],
      [2 ** 36 - 15, 'ERR_LIMIT_EXCEEDED'],
    ] as const) {
      store.change = (answer) =>
        Object.assign(answer, { headers: { ...answer.headers, 'content-length': String(length) } })
      await rejects(get(client), code)
      await nothingLeft()
    }
  })

  test(`${largeObjects}: a connection that breaks or hangs is an error, and an abort ends it`, async () => {
    const body = await put('object', plaintext)
    store.change = (answer) => Object.assign(answer, { body: body.subarray(0, 2 * MiB), breaks: true })
    assert.match(String(await rejectionOf(get(client))), /hang up/)
    await nothingLeft()
    store.change = (answer) => Object.assign(answer, { body: body.subarray(0, 2 * MiB), hangs: true })
    const controller = new AbortController()
    const command = new GetObjectCommand({ Bucket, Key: 'object' })
    const getting = client.send(command, { abortSignal: controller.signal })
    await until(() => store.taken >= 2 * MiB)
    controller.abort()
    assert.match(String(await rejectionOf(getting)), /abort/)
    await nothingLeft()
  })

  test(`${largeObjects}: a slow consumer holds the source up, and one that stops ends it`, async () => {
    await put('object', Buffer.from(bytes(8 * MiB)))
    const { Body } = await get(client)
    store.taken = 0
    const source = Body as Readable
    await once(source, 'readable')
    await new Promise((resolve) => setTimeout(resolve, 50))
    assert.ok(store.taken <= 2 * MiB, `${store.taken} bytes taken`)
    source.destroy()
    await once(source, 'close')
    await nothingLeft()
  })
}

const twice = clientOf()
const second = (change: (answer: { headers: Record<string, string>; body: Uint8Array }) => object) => {
  store.change = (answer, n) => void (n === 1 && Object.assign(answer, change(answer)))
}

test('two passes are the default, the second for the same object', async () => {
  await put('object', plaintext)
  await drain((await get(twice)).Body)
  const [first, again] = store.requests
  assert.is(first!.headers['if-match'], undefined)
  assert.match(again!.headers['if-match']!, /^"[0-9a-f]{32}"$/)
})

test('the tag of an object is the same with and without quotes, and as a weak one', async () => {
  await put('object', plaintext)
  for (const change of [(tag: string) => tag.slice(1, -1), (tag: string) => `W/${tag}`]) {
    store.reset()
    second(({ headers }) => ({ headers: { ...headers, etag: change(headers.etag!) } }))
    assert.ok(plaintext.equals((await drain((await get(twice)).Body)).plaintext))
  }
})

test('an object that is replaced between the passes gives no byte', async () => {
  const other = { ...(await sealObject(plaintext, keyring)) }
  await put('object', plaintext)
  store.change = (_, n) => void (n === 0 && store.objects.set('object', other))
  const error = await rejects(get(twice), 'ERR_OBJECT_CHANGED')
  assert.is((error.cause as Error).name, 'PreconditionFailed')
  await nothingLeft()
  // A store that does not heed the condition.
  for (const headers of [{ etag: '"other"' }, { 'x-amz-version-id': 'other' }]) {
    await put('object', plaintext)
    second((answer) => ({ body: other.body, headers: { ...answer.headers, ...headers } }))
    await rejects(get(twice), 'ERR_OBJECT_CHANGED')
    await nothingLeft()
  }
  await put('object', plaintext)
  store.change = (_, n) => void (n === 0 && store.objects.delete('object'))
  assert.is(((await rejectionOf(get(twice))) as Error).name, 'NoSuchKey')
})

test('a store that lies in the second pass ends the plaintext, and changes none of it', async () => {
  const body = await put('object', plaintext)
  const other = (await sealObject(plaintext, keyring)).body
  const flipped = (offset: number) => body.with(offset, body[offset]! ^ 1)
  const cases: [lie: Uint8Array, chunks: number, code: string][] = [
    [other, 0, 'ERR_AUTHENTICATION_FAILED'],
    [flipped(0), 0, 'ERR_AUTHENTICATION_FAILED'],
    [flipped(2 * MiB - 1), 1, 'ERR_AUTHENTICATION_FAILED'],
    [flipped(3 * MiB + 4), 3, 'ERR_AUTHENTICATION_FAILED'],
    [flipped(body.length - 1), 3, 'ERR_AUTHENTICATION_FAILED'],
    [Buffer.concat([body.subarray(0, MiB), other.subarray(MiB)]), 1, 'ERR_AUTHENTICATION_FAILED'],
    [
      Buffer.concat([body.subarray(0, MiB), body.subarray(0, MiB), body.subarray(2 * MiB)]),
      1,
      'ERR_AUTHENTICATION_FAILED',
    ],
    [body.subarray(0, 2 * MiB + 7), 2, 'ERR_MESSAGE_TRUNCATED'],
    [body.subarray(0, 3 * MiB + 7), 3, 'ERR_MESSAGE_TRUNCATED'],
    [new Uint8Array(0), 0, 'ERR_MESSAGE_TRUNCATED'],
  ]
  for (const [lie, chunks, code] of cases) {
    store.reset()
    second(() => ({ body: lie }))
    const given = await drain((await get(twice)).Body)
    checkError(given.error, code as 'ERR_AUTHENTICATION_FAILED')
    assert.ok(given.plaintext.length <= Math.min(plaintext.length, chunks * MiB + (chunks === 3 ? 5 : 0)))
    assert.ok(plaintext.subarray(0, given.plaintext.length).equals(given.plaintext))
    await nothingLeft()
  }
  store.reset()
  second((answer) => ({ headers: { ...answer.headers, 'content-range': `bytes 0-${body.length - 1}/${body.length}` } }))
  await rejects(get(twice), 'ERR_MESSAGE_TRUNCATED')
  await nothingLeft()
  store.reset()
  second(() => ({ body: Buffer.concat([body, Buffer.alloc(1)]) }))
  checkError((await drain((await get(twice)).Body)).error, 'ERR_TRAILING_DATA')
  store.reset()
  second(() => ({ body: body.subarray(0, MiB), breaks: true }))
  assert.match(String((await drain((await get(twice)).Body)).error), /hang up/)
  await nothingLeft()
})

test('a folder for temporary files that is not there is an error', async () => {
  await put('object', plaintext)
  process.env.TMPDIR = join(folder, 'none')
  const error = await rejects(get(clientOf({ largeObjects: 'temporary-file' })), 'ERR_FILE', /temporary file/)
  process.env.TMPDIR = folder
  assert.is((error.cause as NodeJS.ErrnoException).code, 'ENOENT')
  await nothingLeft()
})

test('the last descriptor that a process may have is enough for a temporary file, and its name goes', () => {
  const program = `
    const { closeSync, openSync } = require('node:fs')
    const { openCiphertextFile } = require(${JSON.stringify(join(__dirname, '../../src/s3/temporary-file'))})
    const { getEngine } = require(${JSON.stringify(join(__dirname, '../../src/engine/engine'))})
    getEngine()
    process.env.TMPDIR = ${JSON.stringify(folder)}
    const taken = []
    try { for (;;) taken.push(openSync('/dev/null')) } catch {}
    closeSync(taken.pop())
    openCiphertextFile().then((file) => file.close()).then(() => console.log('closed'))`
  const file = join(folder, 'program.cjs')
  writeFileSync(file, program)
  const limited = ['-c', 'ulimit -n 64; exec "$@"', 'sh', process.execPath, '--import', 'tsx', file]
  const env = { ...process.env, TMPDIR: dirname(folder) }
  assert.is(execFileSync('sh', limited, { encoding: 'utf8', env }), 'closed\n')
  unlinkSync(file)
  assert.equal(readdirSync(folder), [])
})

test('objects in AES-CBC are not read beyond the buffer', async () => {
  const cbc = { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT', writeVersion1WithoutIntegrity: true } as const
  await put('object', plaintext, cbc)
  const legacy = { enableLegacyWrappingAlgorithms: true, enableLegacyUnauthenticatedModes: true }
  await rejects(get(clientOf(legacy)), 'ERR_LIMIT_EXCEEDED', /bufferSize/)
  await nothingLeft()
  await put('object', plaintext.subarray(0, 32), cbc)
  await rejects(get(clientOf({ ...legacy, bufferSize: 31 })), 'ERR_LIMIT_EXCEEDED', /bufferSize/)
  const { Body } = await get(clientOf({ ...legacy, bufferSize: 32 }))
  assert.is((await Body!.transformToByteArray()).length, 32)
})

test('what is longer than the store said is not read beyond the buffer', async () => {
  const body = await put('object', plaintext)
  store.change = (answer) => Object.assign(answer, { body, headers: { ...answer.headers, 'content-length': '20' } })
  await rejects(get(twice), 'ERR_LIMIT_EXCEEDED', /bufferSize/)
  assert.ok(store.taken < MiB, `${store.taken} bytes taken`)
  await nothingLeft()
})

test.after(() => {
  for (const one of clients) one.destroy()
  rmdirSync(folder)
})

test.run()
