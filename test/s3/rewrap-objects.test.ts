/** All objects of a bucket get another key, over interruptions of every kind. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, promises, readFileSync, rmSync, statSync, watch, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { DeleteObjectCommand, GetObjectCommand, NoSuchBucket, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  INSTRUCTION_FILE_METADATA,
  openObject,
  type RewrapObjectsInput,
  type RewrapProgress,
  rewrapObject,
  rewrapObjects,
  S3RawAesKeyring,
  sealObject,
} from '../../src/s3'
import { instructionFileKey } from '../../src/s3/instruction-file'
import { openJournal } from '../../src/s3/journal'
import { rejects } from '../support/expect'
import { bytes } from '../support/keys'
import { openFilesIn } from '../support/open-files'
import { startS3 } from '../support/s3-server'
import { ScriptedS3 } from '../support/scripted-s3'

const COUNT = 30
const from = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const to = new S3RawAesKeyring({ wrappingKey: bytes(32, 77), materialDescription: { key: 'new' } })
const other = new S3RawAesKeyring({ wrappingKey: bytes(32, 99) })
const folder = mkdtempSync(join(tmpdir(), 'sealwax-journal-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
let journals = 0
const newJournal = () => join(folder, `${++journals}.jsonl`)
const entries = (path: string) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => JSON.parse(line) as { Key: string; status: string; code?: string })

async function main(): Promise<void> {
  const s3 = await startS3()
  const Bucket = s3.bucket
  const send = s3.client.send.bind(s3.client)
  const put = async (Key: string, keyring = from, instructionFile = false) => {
    const sealed = await sealObject(Buffer.from(Key), keyring, { instructionFile })
    await send(new PutObjectCommand({ Bucket, Key, Body: sealed.body, Metadata: { ...sealed.metadata } }))
    if (sealed.instructionFile) {
      await send(new PutObjectCommand({ Bucket, Key: `${Key}.instruction`, Body: sealed.instructionFile }))
    }
  }
  const keyOf = (i: number) => `objects/${String(i).padStart(3, '0')}`
  const fill = async () => {
    for (let i = 0; i < COUNT; i++) await put(keyOf(i))
  }
  const isNew = async (Key: string) => {
    const { Metadata = {}, Body } = await send(new GetObjectCommand({ Bucket, Key }))
    const body = await Body!.transformToByteArray()
    return await openObject({ metadata: Metadata, body }, to).then(
      ({ plaintext }) => Buffer.from(plaintext).toString() === Key,
      () => false,
    )
  }
  const allNew = async () => {
    for (let i = 0; i < COUNT; i++) assert.ok(await isNew(keyOf(i)), keyOf(i))
  }
  const rewrap = (more: Partial<RewrapObjectsInput> = {}) =>
    rewrapObjects(s3.client, { Bucket, Prefix: 'objects/', from, to, ...more })

  test('all are done, and what cannot be is told, in order', async () => {
    await fill()
    await put('objects/005', other)
    await put('objects/file', from, true)
    await send(new PutObjectCommand({ Bucket, Key: 'objects/plain', Body: 'plain' }))
    await put('elsewhere')
    const seen: RewrapProgress[] = []
    const onProgress = (progress: RewrapProgress) => void seen.push(progress)
    const dry = await rewrap({ dryRun: true })
    assert.equal(dry, { rewrapped: COUNT, current: 0, skipped: 2, failed: 1, complete: true })
    assert.not.ok(await isNew(keyOf(0)))
    const journal = newJournal()
    const summary = await rewrap({ onProgress, journal })
    assert.equal(summary, { rewrapped: COUNT, current: 0, skipped: 2, failed: 1, complete: true })
    const keys = seen.map(({ Key }) => Key)
    assert.equal(keys, [...keys].sort())
    assert.equal(
      entries(journal).map(({ Key }) => Key),
      keys,
    )
    const failure = seen.find(({ status }) => status === 'failed')!
    assert.is(failure.Key, 'objects/005')
    assert.is((failure.error as { code?: string }).code, 'ERR_AUTHENTICATION_FAILED')
    assert.not.ok(await isNew('elsewhere'))
    assert.equal(await rewrap(), { rewrapped: 0, current: COUNT, skipped: 2, failed: 1, complete: true })
    // What failed is tried again, and nothing else.
    await put('objects/005')
    assert.equal(await rewrap({ journal }), { rewrapped: 1, current: 0, skipped: 0, failed: 0, complete: true })
    assert.equal(await rewrap({ journal }), { rewrapped: 0, current: 0, skipped: 0, failed: 0, complete: true })
    await allNew()
  })

  test('what failed and was then deleted is skipped once, and not tried again', async () => {
    await put('deleted/it', other)
    const journal = newJournal()
    const none = { rewrapped: 0, current: 0, skipped: 0, failed: 0, complete: true }
    assert.equal(await rewrap({ Prefix: 'deleted/', journal }), { ...none, failed: 1 })
    await send(new DeleteObjectCommand({ Bucket, Key: 'deleted/it' }))
    assert.equal(await rewrap({ Prefix: 'deleted/', journal }), { ...none, skipped: 1 })
    assert.equal(entries(journal).at(-1), { Key: 'deleted/it', status: 'skipped' })
    assert.equal(await rewrap({ Prefix: 'deleted/', journal }), none)
  })

  test('names with ends of lines in them are in the journal, and tried again after what is new', async () => {
    const names = ['lines/1\u2028', 'lines/2\u2029', 'lines/3\n']
    for (const name of names) await put(name, other)
    const journal = newJournal()
    const none = { rewrapped: 0, current: 0, skipped: 0, failed: 0, complete: true }
    assert.equal(await rewrap({ Prefix: 'lines/', journal }), { ...none, failed: 3 })
    assert.not.match(readFileSync(journal, 'utf8'), /[\u2028\u2029]/)
    for (const name of [...names, 'lines/4']) await put(name)
    const seen: string[] = []
    const onProgress = ({ Key }: RewrapProgress) => void seen.push(Key)
    assert.equal(await rewrap({ Prefix: 'lines/', journal, onProgress }), { ...none, rewrapped: 4 })
    assert.equal(seen, ['lines/4', ...names])
  })

  test('what is deleted while it is worked on is skipped', async () => {
    await put('vanishing/it')
    const client = new S3Client(s3.config)
    client.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          if (commandName === 'CopyObjectCommand') await send(new DeleteObjectCommand({ Bucket, Key: 'vanishing/it' }))
          return await next(args)
        },
      { step: 'build' },
    )
    const { skipped, failed } = await rewrapObjects(client, { Bucket, Prefix: 'vanishing/', from, to })
    assert.equal([skipped, failed], [1, 0])
    client.destroy()
  })

  test('what only has the name of an instruction file is none', async () => {
    for (const [name, Body] of Object.entries({ a: 'how to build it', b: '{}', c: bytes(70_000) })) {
      await send(new PutObjectCommand({ Bucket, Key: `beside/${name}`, Body: 'plain' }))
      await send(new PutObjectCommand({ Bucket, Key: `beside/${name}.instruction`, Body }))
    }
    const none = { rewrapped: 0, current: 0, skipped: 0, failed: 0, complete: true }
    assert.equal(await rewrap({ Prefix: 'beside/' }), { ...none, skipped: 6 })
  })

  test('an instruction file that cannot be read to its end has failed, and is not skipped', async () => {
    const names = ['broken/it', 'broken/it.instruction']
    for (const name of names) await send(new PutObjectCommand({ Bucket, Key: name, Body: 'plain' }))
    const client = new S3Client(s3.config)
    client.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          const result = await next(args)
          const Body = new Readable({ read: () => Body.destroy(new Error('no more')) })
          if (commandName === 'GetObjectCommand') Object.assign(result.output, { Body })
          return result
        },
      { step: 'initialize' },
    )
    const { failed, skipped } = await rewrapObjects(client, { Bucket, Prefix: 'broken/', from, to })
    // The file, which is listed too, has none.
    assert.equal([failed, skipped], [1, 1])
    client.destroy()
  })

  test('a damaged instruction file is told', async () => {
    const s3 = new ScriptedS3()
    s3.objects.set('a', { metadata: {}, body: Buffer.from('x') })
    s3.objects.set('a.instruction', { metadata: INSTRUCTION_FILE_METADATA, body: Buffer.from('{}') })
    const input = { Bucket, Key: 'a', from, to }
    const client = new S3Client(s3.config)
    await rejects(rewrapObject(client, input), 'ERR_MESSAGE_MALFORMED')
    // Beside a commitment it is one, marked or not.
    const { metadata } = await sealObject(Buffer.from('x'), from, { instructionFile: true })
    s3.objects.set('a', { metadata, body: Buffer.from('x') })
    s3.objects.set('a.instruction', { metadata: {}, body: Buffer.from('{}') })
    await rejects(rewrapObject(client, input), 'ERR_MESSAGE_MALFORMED')
    s3.objects.set('a.instruction', { metadata: {}, body: bytes(2 ** 22) })
    s3.reset()
    await rejects(rewrapObject(client, input), 'ERR_LIMIT_EXCEEDED')
    assert.ok(s3.taken < 2 ** 20, `${s3.taken} bytes taken`)
  })

  test('an object with a commitment whose instruction file is gone has failed, and is not skipped', async () => {
    const { metadata, body } = await sealObject(Buffer.from('x'), from, { instructionFile: true })
    const target = { Bucket, Key: 'filed/x' }
    await send(new PutObjectCommand({ ...target, Body: body, Metadata: metadata }))
    await rejects(rewrapObject(s3.client, { ...target, from, to }), 'ERR_UNSUPPORTED_FORMAT')
    const { failed, skipped } = await rewrapObjects(s3.client, { Bucket, Prefix: 'filed/', from, to })
    assert.equal([failed, skipped], [1, 0])
    await send(new DeleteObjectCommand(target))
  })

  test('a key that leaves no room for an instruction file has none', async () => {
    assert.is(instructionFileKey('x'.repeat(1012))?.length, 1024)
    for (const key of ['x'.repeat(1013), '\u00fc'.repeat(507)]) assert.is(instructionFileKey(key), undefined)
    const s3 = new ScriptedS3()
    const Key = 'x'.repeat(1015)
    s3.objects.set(Key, { metadata: {}, body: Buffer.from('plain') })
    const client = new S3Client(s3.config)
    await rejects(rewrapObject(client, { Bucket, Key, from, to }), 'ERR_UNSUPPORTED_FORMAT', /not encrypted by/)
    assert.equal(
      s3.requests.map(({ method }) => method),
      ['HEAD'],
    )
  })

  test('an abort ends it, and the journal takes it up', async () => {
    await fill()
    const journal = newJournal()
    const abort = new AbortController()
    let seen = 0
    const onProgress = () => {
      if (++seen === 10) abort.abort()
    }
    await rejects(rewrap({ journal, onProgress, signal: abort.signal }), 'ERR_ABORTED')
    assert.is(entries(journal).length, 10)
    const { rewrapped, current, failed } = await rewrap({ journal })
    assert.is(rewrapped + current + 10, COUNT + 1)
    assert.is(failed, 0)
    await allNew()
  })

  test('kill -9 ends it, and the journal takes it up', async () => {
    for (const lines of [1, 7, 20]) {
      await fill()
      const journal = newJournal()
      const args = ['--import', pathToFileURL(require.resolve('tsx')).href, join(__dirname, 'rewrap-child.ts')]
      const child = spawn(process.execPath, [...args, s3.endpoint, Bucket, journal], { stdio: 'ignore' })
      const watcher = watch(folder, () => {
        if (existsSync(journal) && readFileSync(journal, 'utf8').split('\n').length > lines + 1) child.kill('SIGKILL')
      })
      await once(child, 'exit')
      watcher.close()
      const { failed, complete } = await rewrap({ Prefix: undefined, journal })
      assert.equal([failed, complete], [0, true])
      await allNew()
    }
  })

  test('a journal that is cut anywhere is taken up before the cut', async () => {
    const path = newJournal()
    const work = { Bucket, to: 'k' }
    const journal = await openJournal(path, work)
    for (const Key of ['a', 'b"\u00fc\n', 'c']) await journal.add({ Key, status: Key === 'a' ? 'failed' : 'rewrapped' })
    await journal.close()
    const text = readFileSync(path)
    const header = text.indexOf('\n') + 1
    for (let end = 0; end <= text.length; end++) {
      writeFileSync(path, text.subarray(0, end))
      const again = await openJournal(path, work)
      const whole = text.subarray(header, end).toString().split('\n').filter(isJson)
      assert.is(again.last, whole.length === 0 ? undefined : ['a', 'b"\u00fc\n', 'c'][whole.length - 1], `${end}`)
      assert.equal([...again.failed], whole.length === 0 ? [] : ['a'])
      await again.add({ Key: 'd', status: 'rewrapped' })
      await again.close()
      const third = await openJournal(path, work)
      assert.is(third.last, 'd', `${end}`)
      await third.close()
    }
    await rejects(openJournal(path, { ...work, to: 'other' }), 'ERR_FILE', /of other work/)
    await rejects(openJournal(join(folder, 'no/such/folder'), work), 'ERR_FILE')
    // Not even what begins as a journal does is emptied where more follows.
    for (const text of ['\nprecious', `${JSON.stringify({ journal: 'sealwax rewrap' }).slice(0, -1)}\nprecious`]) {
      writeFileSync(path, text)
      await rejects(openJournal(path, work), 'ERR_FILE', /of other work/)
      assert.is(readFileSync(path, 'utf8'), text)
    }
    assert.is(openFilesIn(folder), 0)
  })

  test('a line of a journal is on the disk before its object is told of, and the name of a new one before the first', async () => {
    await put('synced/1')
    const handle = await promises.open(folder)
    await handle.close()
    const files = Object.getPrototypeOf(handle) as Pick<typeof handle, 'stat' | 'sync' | 'datasync'>
    const { sync, datasync } = files
    const steps: string[] = []
    files.sync = async function () {
      steps.push((await this.stat()).isDirectory() ? 'sync folder' : 'sync file')
      await sync.call(this)
    }
    files.datasync = async function (this: typeof files) {
      steps.push('sync data')
      await datasync.call(this)
    } as typeof datasync
    const onProgress = ({ Key }: RewrapProgress) => void steps.push(Key)
    const { rewrapped } = await rewrap({ Prefix: 'synced/', journal: newJournal(), onProgress })
    Object.assign(files, { sync, datasync })
    assert.is(rewrapped, 1)
    assert.equal(steps, ['sync file', 'sync folder', 'sync data', 'synced/1'])
  })

  test('the last name in a journal is the last by its bytes, as S3 lists them, and its file is for its owner', async () => {
    const path = newJournal()
    const journal = await openJournal(path, { Bucket })
    // In UTF-16 the second comes before the first.
    for (const Key of ['\uff5e', '\u{1f600}', 'a']) await journal.add({ Key, status: 'rewrapped' })
    await journal.close()
    assert.is(statSync(path).mode & 0o777, 0o600)
    const again = await openJournal(path, { Bucket })
    assert.is(again.last, '\u{1f600}')
    await again.close()
  })

  test('the journal holds no secret, and is the work of one key', async () => {
    await fill()
    const journal = newJournal()
    await rewrap({ journal })
    const text = readFileSync(journal, 'utf8')
    for (const key of [bytes(32), bytes(32, 77)]) {
      assert.not.match(text, Buffer.from(key).toString('base64').slice(0, 20))
    }
    assert.match(text.split('\n')[0]!, /"to":\{"key":"new"\}/)
    for (const more of [{ from: to, to: other }, { Prefix: 'objects' }, { Bucket: 'others' }]) {
      await rejects(rewrap({ journal, ...more }), 'ERR_FILE', /of other work/)
    }
    assert.is(openFilesIn(folder), 0, 'it is closed')
  })

  test('a list that ends in the middle, without saying where it goes on, is not taken for all', async () => {
    await fill()
    const client = new S3Client(s3.config)
    client.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          const result = await next(args)
          if (commandName === 'ListObjectsV2Command') Object.assign(result.output, { IsTruncated: true })
          return result
        },
      { step: 'initialize' },
    )
    await rejects(rewrapObjects(client, { Bucket, from, to }), 'ERR_MESSAGE_TRUNCATED', /goes on/)
    client.destroy()
  })

  test('it stops where everything fails', async () => {
    await fill()
    const { failed, complete } = await rewrap({
      from: other,
      to: new S3RawAesKeyring({ wrappingKey: bytes(32, 3) }),
      maxFailures: 5,
    })
    assert.not.ok(complete)
    assert.ok(failed >= 5 && failed < 5 + 8, `${failed} failed`)
    const one = await rewrap({ from: other, to: other, maxFailures: 5, concurrency: 1 })
    assert.equal([one.failed, one.complete], [5, false])
  })

  test('as many objects are worked on at a time as was said', async () => {
    await fill()
    const begun = new Set<string>()
    let told = 0
    let most = 0
    const client = new S3Client(s3.config)
    client.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          if (commandName === 'HeadObjectCommand') begun.add((args.input as { Key: string }).Key)
          most = Math.max(most, begun.size - told)
          return await next(args)
        },
      { step: 'initialize' },
    )
    const onProgress = () => void told++
    await rewrapObjects(client, { Bucket, Prefix: 'objects/', from, to, concurrency: 2, onProgress })
    assert.is(most, 2)
    client.destroy()
  })

  test('what its caller throws ends it, once no object is under work any more', async () => {
    await fill()
    const client = new S3Client(s3.config)
    let running = 0
    client.middlewareStack.add(
      (next) => async (args) => {
        running++
        return await next(args).finally(() => running--)
      },
      { step: 'initialize' },
    )
    const onProgress = () => {
      throw new Error('enough')
    }
    const input = { Bucket, Prefix: 'objects/', from, to, concurrency: 4, onProgress }
    await rejects(rewrapObjects(client, input), Error, /enough/)
    assert.is(running, 0)
    client.destroy()
  })

  test('wrong options are refused', async () => {
    for (const concurrency of [0, 257]) await rejects(rewrap({ concurrency }), RangeError, /"concurrency"/)
    await rejects(rewrap({ dryRun: true, journal: 'x' }), TypeError, /"journal"/)
    await rejects(rewrap({ dryRun: 'true' as never }), TypeError, /"dryRun"/)
    await rejects(rewrap({ onProgress: 1 as never }), TypeError, /"onProgress"/)
    await rejects(rewrap({ Key: 'x' } as never), TypeError, /unknown option "Key"/)
    await rejects(rewrap({ Prefix: 1 as never }), TypeError, /"Prefix"/)
    await rejects(rewrap({ Bucket: 'none' }), NoSuchBucket)
  })

  test('the server ends', async () => {
    await s3.close()
  })
  test.run()
}

function isJson(line: string): boolean {
  try {
    return typeof JSON.parse(line) === 'object'
  } catch {
    return false
  }
}

void main()
