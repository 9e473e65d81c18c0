import { once } from 'node:events'
import { Readable } from 'node:stream'
import { CreateKeyCommand, KMS } from '@aws-sdk/client-kms'
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  type DeleteObjectsCommandInput,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListObjectsV2Command,
  NoSuchKey,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { startLocalKms } from '../../src/local-kms'
import {
  openObject,
  S3EncryptionClient,
  type S3EncryptionSettings,
  S3KmsKeyring,
  S3RawAesKeyring,
  s3Encryption,
  sealObject,
} from '../../src/s3'
import { MAX_PART_LENGTH } from '../../src/s3/part-geometry'
import { rejectionOf, rejects, throws } from '../support/expect'
import { bytes } from '../support/keys'
import { CREDENTIALS, startS3 } from '../support/s3-server'
import { countTurns } from '../support/work'

interface HttpHandler {
  httpHandlerConfigs(): { readonly socketTimeout?: number }
}

type Body = NonNullable<PutObjectCommandInput['Body']>
const MiB = 1024 * 1024
const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const LEGACY = {
  commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT',
  enableLegacyWrappingAlgorithms: true,
  enableLegacyUnauthenticatedModes: true,
} as const

async function main(): Promise<void> {
  const s3 = await startS3()
  const Bucket = s3.bucket
  const clients: S3Client[] = []
  const clientOf = (settings: Partial<S3EncryptionSettings> = {}) => {
    const client = new S3EncryptionClient(s3.config, { keyring, ...settings })
    clients.push(client)
    return client
  }
  const client = clientOf()
  const put = (Key: string, Body: Body, more = {}) => client.send(new PutObjectCommand({ Bucket, Key, Body, ...more }))
  const get = async (from: S3Client, Key: string, more = {}) => {
    const { Body } = await from.send(new GetObjectCommand({ Bucket, Key, ...more }))
    return Buffer.from(await Body!.transformToByteArray())
  }
  const stored = async (Key: string) => {
    const { Body, Metadata = {} } = await s3.client.send(new GetObjectCommand({ Bucket, Key }))
    return { metadata: Metadata, body: await Body!.transformToByteArray() }
  }
  const store = (Key: string, body: Uint8Array, metadata: Record<string, string>) =>
    s3.client.send(new PutObjectCommand({ Bucket, Key, Body: body, Metadata: metadata }))
  const keys = async () => (await s3.client.send(new ListObjectsV2Command({ Bucket }))).Contents?.map(({ Key }) => Key)

  for (const length of [0, 1, 15, 16, 17, 5 * MiB]) {
    test(`${length} bytes are stored encrypted, and come back`, async () => {
      const plaintext = Buffer.from(bytes(length))
      await put('object', plaintext, { Metadata: { title: 'a' } })
      const { metadata, body } = await stored('object')
      assert.is(body.length, length + 16)
      assert.is(metadata['x-amz-c'], '115')
      assert.is(metadata.title, 'a')
      if (length > 15) assert.not(Buffer.from(body).includes(plaintext.subarray(0, 16)))
      assert.equal(Buffer.from((await openObject({ metadata, body }, keyring)).plaintext), plaintext)
      assert.equal(await get(client, 'object'), plaintext)
      const head = await client.send(new HeadObjectCommand({ Bucket, Key: 'object' }))
      assert.is(head.ContentLength, length)
      const answer = await client.send(new GetObjectCommand({ Bucket, Key: 'object' }))
      assert.is(answer.ContentLength, length)
      assert.is(answer.Metadata?.title, 'a')
      const chunks: Buffer[] = []
      for await (const chunk of answer.Body as Readable) chunks.push(chunk)
      assert.equal(Buffer.concat(chunks), plaintext)
    })
  }

  test('bodies of every kind are taken', async () => {
    const plaintext = Buffer.from(bytes(100_000))
    const parts = () => [plaintext.subarray(0, 17), plaintext.subarray(17)]
    const bodies: Record<string, Body> = {
      Uint8Array: new Uint8Array(plaintext),
      Blob: new Blob([plaintext]) as never,
      Readable: Readable.from(parts()),
      ReadableStream: Readable.toWeb(Readable.from(parts())) as never,
      'ReadableStream of buffers': Readable.toWeb(
        Readable.from(parts().map((part) => Uint8Array.from(part).buffer)),
      ) as never,
    }
    for (const [name, body] of Object.entries(bodies)) {
      await put('object', body, name === 'Readable' ? { ContentLength: plaintext.length } : {})
      assert.equal(await get(client, 'object'), plaintext, name)
    }
    await put('object', 'caf\u00e9')
    assert.is((await get(client, 'object')).toString(), 'caf\u00e9')
    await client.send(new PutObjectCommand({ Bucket, Key: 'object' }))
    assert.is((await get(client, 'object')).length, 0)
    await rejects(put('object', 4 as never), TypeError, /"Body" must be/)
    await rejects(
      put('object', 'abc', { ContentLength: 4 }),
      RangeError,
      /"Body" was said to have 4 bytes, and has fewer/,
    )
  })

  test('bodies have the methods of the SDK, and are read once', async () => {
    await put('object', 'hello')
    const answer = async () => (await client.send(new GetObjectCommand({ Bucket, Key: 'object' }))).Body!
    assert.is(await (await answer()).transformToString(), 'hello')
    assert.is(await (await answer()).transformToString('base64'), 'aGVsbG8=')
    assert.is(await new Response((await answer()).transformToWebStream() as never).text(), 'hello')
    const body = await answer()
    await body.transformToString()
    await rejects(body.transformToString(), Error, /read before/)
  })

  test('the caller keeps its input as it was', async () => {
    const input = { Bucket, Key: 'object', Body: Buffer.from('hello'), Metadata: { a: 'b' } }
    const copy = structuredClone(input)
    await client.send(new PutObjectCommand(input))
    assert.equal({ ...input, Body: new Uint8Array(input.Body) }, { ...copy, Body: new Uint8Array(copy.Body) })
  })

  test('what describes the plaintext does not leave the process', async () => {
    const named = { ContentMD5: 'XUFAKrxLKna5cZ2REBfFkg==', ChecksumCRC32: 'NhCmhg==', ChecksumSHA256: 'x' }
    for (const [name, value] of Object.entries(named)) {
      await rejects(put('object', 'hello', { [name]: value }), TypeError, new RegExp(`"${name}" describes`))
    }
    await put('object', 'hello', { ChecksumAlgorithm: 'SHA256' })
    assert.is((await get(client, 'object', { ChecksumMode: 'ENABLED' })).toString(), 'hello')
  })

  test('a changed, cut or swapped object gives nothing', async () => {
    await put('object', bytes(1000))
    const { metadata, body } = await stored('object')
    for (const bad of [body.with(500, body[500]! ^ 1), body.subarray(0, -1), body.subarray(0, 3), new Uint8Array(0)]) {
      await store('bad', bad, metadata)
      await rejects(get(client, 'bad'), 'ERR_AUTHENTICATION_FAILED')
    }
    await put('other', bytes(1000))
    await store('bad', body, (await stored('other')).metadata)
    await rejects(get(client, 'bad'), 'ERR_AUTHENTICATION_FAILED')
  })

  test('the metadata of an old envelope do not reach a new object', async () => {
    const v2 = await sealObject(bytes(10), keyring, { commitmentPolicy: LEGACY.commitmentPolicy })
    await store('old', v2.body, { ...v2.metadata, title: 'a' })
    const reader = clientOf({ commitmentPolicy: 'REQUIRE_ENCRYPT_ALLOW_DECRYPT' })
    const { Body, Metadata } = await reader.send(new GetObjectCommand({ Bucket, Key: 'old' }))
    await put('new', await Body!.transformToByteArray(), { Metadata })
    const { metadata } = await stored('new')
    assert.equal(Object.keys(metadata).sort(), ['title', 'x-amz-3', 'x-amz-c', 'x-amz-d', 'x-amz-i', 'x-amz-w'])
    assert.equal(await get(client, 'new'), Buffer.from(bytes(10)))
  })

  test('metadata that S3 would not take are refused before anything is sent', async () => {
    const error = await rejects(put('long', 'x', { Metadata: { a: 'x'.repeat(1900) } }), 'ERR_LIMIT_EXCEEDED', /2048/)
    assert.match(error.message, /instruction file/)
    await rejects(stored('long'), NoSuchKey)
  })

  test('objects of other versions are opened where the settings allow', async () => {
    const v2 = { commitmentPolicy: LEGACY.commitmentPolicy }
    for (const options of [v2, { ...v2, writeVersion1WithoutIntegrity: true }]) {
      const { metadata, body } = await sealObject(bytes(100), keyring, options)
      await store('old', body, metadata)
      await rejects(get(client, 'old'), 'ERR_COMMITMENT_POLICY')
      assert.equal(await get(clientOf(LEGACY), 'old'), Buffer.from(bytes(100)))
    }
    await rejects(get(clientOf({ ...LEGACY, enableLegacyUnauthenticatedModes: false }), 'old'), 'ERR_LEGACY_REFUSED')
    const writer = clientOf(v2)
    await writer.send(new PutObjectCommand({ Bucket, Key: 'old', Body: 'x' }))
    assert.is((await stored('old')).metadata['x-amz-cek-alg'], 'AES/GCM/NoPadding')
  })

  test('instruction files are written, read and deleted along', async () => {
    const writer = clientOf({ putInstructionFiles: true })
    // Seen where it leaves: this server does not keep empty metadata.
    const marks: unknown[] = []
    let conditions = 0
    const mark = 'x-amz-meta-x-amz-crypto-instr-file'
    writer.middlewareStack.add(
      (next) => (args) => {
        const { headers } = args.request as { headers: Record<string, string> }
        if (mark in headers) marks.push(headers[mark])
        if (headers['if-none-match']) conditions++
        return next(args)
      },
      { step: 'finalizeRequest' },
    )
    for (const name of ['a', 'b', 'c'])
      await writer.send(new PutObjectCommand({ Bucket, Key: `dir/${name}`, Body: name }))
    const file = await stored('dir/a.instruction')
    assert.equal(Object.keys((await stored('dir/a')).metadata).sort(), ['x-amz-c', 'x-amz-d', 'x-amz-i'])
    assert.equal(marks, Array(3).fill(''))
    await rejects(writer.send(new PutObjectCommand({ Bucket, Key: 'dir/a', IfMatch: 'x' })), TypeError, /"IfMatch"/)
    await writer.send(new PutObjectCommand({ Bucket, Key: 'conditional', IfNoneMatch: '*' }))
    assert.is(conditions, 2, 'the file is not written over either')
    assert.is((await get(client, 'dir/a')).toString(), 'a')

    await store('dir/a-custom', file.body, file.metadata)
    assert.is((await get(client, 'dir/a', { InstructionFileSuffix: '-custom' })).toString(), 'a')
    await rejects(get(client, 'dir/a', { InstructionFileSuffix: '.none' }), 'ERR_UNSUPPORTED_FORMAT')
    await store('dir/a.instruction', (await stored('dir/b.instruction')).body, {})
    await rejects(get(client, 'dir/a'), 'ERR_AUTHENTICATION_FAILED')

    await client.send(new DeleteObjectCommand({ Bucket, Key: 'dir/a' }))
    const Delete = { Objects: [{ Key: 'dir/b' }, { Key: 'dir/c' }] }
    const { Deleted } = await client.send(new DeleteObjectsCommand({ Bucket, Delete }))
    assert.is(Deleted?.length, 2)
    assert.equal(
      (await keys())?.filter((key) => key?.startsWith('dir/')),
      ['dir/a-custom'],
    )
  })

  test('a version that is not deleted keeps no instruction file of an object that is', async () => {
    await put('versioned', 'x')
    await store('versioned.instruction', Buffer.from('{}'), {})
    const failing = clientOf()
    failing.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          const result = await next(args)
          const { Bucket: _, Delete } = args.input as DeleteObjectsCommandInput
          if (commandName !== 'DeleteObjectsCommand' || !Delete?.Objects?.[0]?.VersionId) return result
          const Errors = [{ ...Delete.Objects[0], Code: 'AccessDenied' }]
          return { ...result, output: { ...result.output, Errors } }
        },
      { step: 'build' },
    )
    const Objects = [{ Key: 'versioned', VersionId: 'v1' }, { Key: 'versioned' }]
    await failing.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }))
    const left = await client.send(new ListObjectsV2Command({ Bucket, Prefix: 'versioned' }))
    assert.equal(left.Contents ?? [], [])
  })

  test('an instruction file that its object still needs is not deleted, and one that cannot be is told of', async () => {
    const asked: unknown[] = []
    const refused = ['stays', 'c.instruction']
    const deleting = clientOf()
    deleting.middlewareStack.add(
      () => async (args) => {
        const { Key, Delete, ExpectedBucketOwner, RequestPayer, MFA } = args.input as {
          Key: string
        } & DeleteObjectsCommandInput
        const names = Delete?.Objects?.map((object) => object.Key) ?? [Key]
        asked.push([ExpectedBucketOwner, RequestPayer, MFA, ...names])
        const Errors = refused.filter((name) => names.includes(name)).map((name) => ({ Key: name }))
        return { response: {}, output: { $metadata: {}, Errors } as never }
      },
      { step: 'build' },
    )
    const target = {
      Bucket,
      ExpectedBucketOwner: '111122223333',
      RequestPayer: 'requester',
      MFA: 'token 123456',
    } as const
    await deleting.send(new DeleteObjectCommand({ ...target, Key: 'a', VersionId: 'v1' }))
    await deleting.send(new DeleteObjectCommand({ ...target, Key: 'a' }))
    const Objects = [{ Key: 'a' }, { Key: 'stays' }, { Key: 'b', VersionId: 'v1' }, { Key: 'c' }]
    const { Errors } = await deleting.send(new DeleteObjectsCommand({ ...target, Delete: { Objects } }))
    assert.equal(
      asked,
      [['a'], ['a'], ['a.instruction'], ['a', 'stays', 'b', 'c'], ['a.instruction', 'c.instruction']].map((names) => [
        target.ExpectedBucketOwner,
        target.RequestPayer,
        target.MFA,
        ...names,
      ]),
    )
    assert.equal(
      Errors?.map(({ Key }) => Key),
      refused,
    )
    asked.length = 0
    const versions = [
      { Key: 'a', VersionId: 'v1' },
      { Key: 'b', VersionId: 'v1' },
    ]
    await deleting.send(new DeleteObjectsCommand({ ...target, Delete: { Objects: versions } }))
    assert.is(asked.length, 1, 'a request for no files is none')
  })

  test('long objects are refused before they are read, or given unverified where the caller says so', async () => {
    const plaintext = Buffer.from(bytes(3 * MiB))
    await put('long', plaintext)
    await rejects(
      get(clientOf({ bufferSize: 3 * MiB - 1, largeObjects: 'refuse' }), 'long'),
      'ERR_LIMIT_EXCEEDED',
      /bufferSize/,
    )
    assert.equal(await get(clientOf({ bufferSize: 3 * MiB }), 'long'), plaintext)
    const delayed = clientOf({ enableDelayedAuthenticationMode: true })
    assert.equal(await get(delayed, 'long'), plaintext)

    const { metadata, body } = await stored('long')
    await store('bad', body.with(body.length - 1, body.at(-1)! ^ 1), metadata)
    const fetching = clientOf({ enableDelayedAuthenticationMode: true })
    const giveWebStream = (next: (args: never) => Promise<{ output: object }>) => async (args: never) => {
      const { output, ...result } = await next(args)
      const { Body } = output as GetObjectCommandOutput
      return { ...result, output: { ...output, Body: Body!.transformToWebStream() } }
    }
    fetching.middlewareStack.add(giveWebStream as never, { step: 'serialize' })
    for (const from of [delayed, fetching]) {
      const { Body } = await from.send(new GetObjectCommand({ Bucket, Key: 'bad' }))
      let length = 0
      let ended = false
      ;(Body as Readable).on('end', () => (ended = true))
      const reading = (async () => {
        for await (const chunk of Body as Readable) length += chunk.length
      })()
      await rejects(reading, 'ERR_AUTHENTICATION_FAILED')
      assert.not(ended)
      assert.ok(length > 0)
    }
    for (const cut of [0, 15, 16, 1000]) {
      await store('bad', body.subarray(0, cut), metadata)
      await rejects(get(delayed, 'bad'), 'ERR_AUTHENTICATION_FAILED')
    }
    const cbc = await sealObject(plaintext, keyring, {
      commitmentPolicy: LEGACY.commitmentPolicy,
      writeVersion1WithoutIntegrity: true,
    })
    await store('cbc', cbc.body, cbc.metadata)
    const legacy = clientOf({ ...LEGACY, enableDelayedAuthenticationMode: true })
    assert.equal(await get(legacy, 'cbc'), plaintext)
    const pastEnd = `bytes=${cbc.body.length}-${cbc.body.length + 8}`
    assert.is((await get(legacy, 'cbc', { Range: pastEnd })).length, 0)
    await store('bad', cbc.body.subarray(0, -1), cbc.metadata)
    await rejects(get(legacy, 'bad'), 'ERR_AUTHENTICATION_FAILED')
  })

  test('a connection that breaks is an error in either mode, and a consumer may stop early', async () => {
    const { metadata, body } = await sealObject(bytes(1000), keyring)
    const headers = Object.fromEntries(Object.entries(metadata).map(([name, value]) => [`x-amz-meta-${name}`, value]))
    let source = new Readable()
    const requestHandler = {
      handle: async () => {
        let sent = false
        const read = () => {
          if (sent) source.destroy(breaks ? new Error('socket hang up') : undefined)
          else source.push(body.subarray(0, 500))
          sent = true
        }
        source = new Readable({ read })
        return { response: { statusCode: 200, headers, body: source } as never }
      },
    }
    let breaks = true
    for (breaks of [true, false]) {
      for (const enableDelayedAuthenticationMode of [true, false]) {
        const settings = { keyring, enableDelayedAuthenticationMode }
        const broken = new S3EncryptionClient({ ...s3.config, requestHandler }, settings)
        clients.push(broken)
        assert.instance(await rejectionOf(get(broken, 'object')), Error)
        assert.ok(source.destroyed)
      }
    }
    await put('long', bytes(MiB))
    const delayed = clientOf({ enableDelayedAuthenticationMode: true })
    const { Body } = await delayed.send(new GetObjectCommand({ Bucket, Key: 'long' }))
    ;(Body as Readable).destroy()
    await once(Body as Readable, 'close')
  })

  test('ranges are read with the switch for unauthenticated modes only', async () => {
    await put('object', bytes(100))
    await rejects(get(client, 'object', { Range: 'bytes=0-1' }), 'ERR_LEGACY_REFUSED')
    await rejects(get(client, 'object', { PartNumber: 1 }), TypeError)
    const reader = clientOf(LEGACY)
    const v2 = { commitmentPolicy: LEGACY.commitmentPolicy }
    for (const options of [{}, v2, { ...v2, writeVersion1WithoutIntegrity: true }]) {
      for (const length of [100, 96, 16, 1]) {
        const plaintext = Buffer.from(bytes(length))
        const { metadata, body } = await sealObject(plaintext, keyring, options)
        await store('ranged', body, metadata)
        for (const first of [0, 1, 15, 16, 17, 31, 32, 80, 95, 96, 99].filter((offset) => offset < length)) {
          for (const last of [Infinity, first, first + 1, 15, 16, 47, 80, 95, 96, 99, 1000]) {
            if (last < first) continue
            const expected = plaintext.subarray(first, last + 1)
            const range = `bytes=${first}-${last === Infinity ? '' : last}`
            assert.equal(await get(reader, 'ranged', { Range: range }), expected, `${range} of ${length}`)
          }
        }
      }
    }
    for (const range of ['bytes=-', 'bytes=-0', 'bytes=5-4', 'bytes=0-1,3-4', 'items=0-1', 'bytes=1e3-']) {
      await rejects(get(reader, 'object', { Range: range }), RangeError, /"Range" must be/)
    }
  })

  test('objects that are not encrypted are refused unless the settings allow them', async () => {
    await store('plain', Buffer.from('plain'), { title: 'a' })
    await rejects(get(client, 'plain'), 'ERR_UNSUPPORTED_FORMAT')
    const reader = clientOf({ onPlaintextObject: 'passthrough' })
    assert.is((await get(reader, 'plain')).toString(), 'plain')
    await put('object', 'hello')
    assert.is((await get(reader, 'object')).toString(), 'hello')
    const { metadata, body } = await stored('object')
    const { 'x-amz-3': _, ...without } = metadata
    await store('bad', body, without)
    await rejects(get(reader, 'bad'), 'ERR_MESSAGE_MALFORMED')
  })

  test('what would store plaintext or lose a key is refused', async () => {
    const Key = 'object'
    await put(Key, 'hello')
    const part = new UploadPartCommand({ Bucket, Key, PartNumber: 1, UploadId: 'x', Body: 'hello' })
    await rejects(client.send(part), 'ERR_MULTIPART_UPLOAD')
    await rejects(put(Key, 'more', { WriteOffsetBytes: 21 }), TypeError, /"WriteOffsetBytes"/)
  })

  test('nothing is presigned', async () => {
    for (const command of [
      new PutObjectCommand({ Bucket, Key: 'signed', Body: 'hello' }),
      new GetObjectCommand({ Bucket, Key: 'signed' }),
      new DeleteObjectCommand({ Bucket, Key: 'signed' }),
    ]) {
      await rejects(getSignedUrl(client, command), TypeError, /cannot be presigned/)
    }
  })

  test('what never leaves for the store leaves the instruction file of the object that is there', async () => {
    const filing = clientOf({ putInstructionFiles: true })
    await filing.send(new PutObjectCommand({ Bucket, Key: 'kept', Body: 'precious' }))
    await filing.send(new PutObjectCommand({ Bucket, Key: 'other', Body: 'other' }))
    const again = { Bucket, Key: 'kept', Body: 'new' }
    const copy = { Bucket, Key: 'kept', CopySource: `${Bucket}/other` }
    const abortSignal = AbortSignal.abort()
    for (const attempt of [
      () => getSignedUrl(filing, new PutObjectCommand(again)),
      () => getSignedUrl(filing, new CopyObjectCommand(copy)),
      () => filing.send(new PutObjectCommand(again), { abortSignal }),
      () => filing.send(new CopyObjectCommand(copy), { abortSignal }),
      () => filing.send(new PutObjectCommand({ ...again, ContentDisposition: '\u65e5\u672c' })),
    ]) {
      assert.instance(await rejectionOf(attempt()), Error, String(attempt))
      const { Body } = await filing.send(new GetObjectCommand({ Bucket, Key: 'kept' }))
      assert.is(await Body!.transformToString(), 'precious', String(attempt))
    }
  })

  test('a request that is repeated elsewhere does not store what is left of its stream', async () => {
    const redirecting = new S3EncryptionClient({ ...s3.config, followRegionRedirects: true }, { keyring })
    let times = 0
    redirecting.middlewareStack.add(
      (next) => async (args) => {
        if (times++ > 0) return await next(args)
        const $response = { statusCode: 301, headers: { 'x-amz-bucket-region': 'eu-west-1' } }
        throw Object.assign(new Error('elsewhere'), {
          name: 'PermanentRedirect',
          $metadata: { httpStatusCode: 301 },
          $response,
        })
      },
      { step: 'finalizeRequest', priority: 'high' },
    )
    const command = (Body: Readable | string) => new PutObjectCommand({ Bucket, Key: 'redirected', Body })
    await rejects(redirecting.send(command(Readable.from([Buffer.from('x')]))), TypeError, /was read before/)
    times = 0
    await redirecting.send(command('text'))
    assert.ok(times >= 2)
    redirecting.destroy()
  })

  test('ranges of objects that are not encrypted are the store\u2019s business, where such are accepted', async () => {
    await store('plain', Buffer.from('0123456789'), {})
    await put('object', '0123456789')
    const reader = clientOf({ onPlaintextObject: 'passthrough' })
    const answer = await reader.send(new GetObjectCommand({ Bucket, Key: 'plain', Range: 'bytes=2-4' }))
    assert.is(await answer.Body!.transformToString(), '234')
    assert.is(answer.ContentRange, 'bytes 2-4/10')
    await rejects(get(reader, 'object', { Range: 'bytes=2-4' }), 'ERR_LEGACY_REFUSED')
    const legacy = clientOf({ ...LEGACY, onPlaintextObject: 'passthrough' })
    assert.is((await get(legacy, 'object', { Range: 'bytes=2-4' })).toString(), '234')
    await rejects(get(client, 'plain', { Range: 'bytes=2-4' }), 'ERR_LEGACY_REFUSED')
    const nothing = await rejectionOf(get(reader, 'nothing', { Range: 'bytes=2-4' }))
    assert.instance(nothing, NoSuchKey)
  })

  test('long objects are sealed and opened in turns, which others have in between', async () => {
    const plaintext = Buffer.from(bytes(20 * MiB + 5))
    const turnsToSeal = countTurns()
    const { metadata, body } = await sealObject(plaintext, keyring)
    assert.ok(turnsToSeal() >= 2)
    const turnsToOpen = countTurns()
    assert.ok(plaintext.equals((await openObject({ metadata, body }, keyring)).plaintext))
    assert.ok(turnsToOpen() >= 2)
    for (const at of [0, 8 * MiB, body.length - 1]) {
      const changed = Uint8Array.from(body)
      changed[at]! ^= 1
      await rejects(openObject({ metadata, body: changed }, keyring), 'ERR_AUTHENTICATION_FAILED')
    }
    const taken = Uint8Array.from(body)
    const opening = openObject({ metadata, body: taken }, keyring)
    await new Promise(setImmediate)
    structuredClone(taken, { transfer: [taken.buffer] })
    assert.instance(await rejectionOf(opening), Error, 'memory that is taken away gives no plaintext')
  })

  test('a stream whose length is told is sealed as it comes', async () => {
    const plaintext = Buffer.from(bytes(9 * MiB + 5))
    const pieces = async function* () {
      for (let start = 0; start < plaintext.length; start += 70_001) yield plaintext.subarray(start, start + 70_001)
    }
    await put('long', Readable.from(pieces(), { objectMode: false }), { ContentLength: plaintext.length })
    assert.ok(plaintext.equals(await get(client, 'long')))
  })

  test('a body of another length than was said is refused, and a stream that nobody reads is ended', async () => {
    for (const Body of ['hello', Readable.from([Buffer.from('hello')]), new Blob(['hello'])]) {
      await rejects(
        put('short', Body, { ContentLength: 6 }),
        RangeError,
        /"Body" was said to have 6 bytes, and has fewer/,
      )
      if (Body instanceof Readable) assert.ok(Body.destroyed)
    }
    await rejects(put('short', 'hello', { ContentLength: 4 }), RangeError, /has more/)
    await rejects(
      put('short', 'hello', { ContentLength: MAX_PART_LENGTH - 15 }),
      'ERR_LIMIT_EXCEEDED',
      /send more in parts/,
    )
    const unread = Readable.from([Buffer.from('hello')])
    await rejects(put('short', unread, { ContentLength: 5, Metadata: { a: 'x'.repeat(2048) } }), 'ERR_LIMIT_EXCEEDED')
    assert.ok(unread.destroyed)
    assert.not((await keys())?.includes('short'))
  })

  test('metadata that S3 would not take are refused before any key is asked for', async () => {
    let calls = 0
    const counting = clientOf({
      keyring: {
        wrapDataKey: async (request) => {
          calls++
          return await keyring.wrapDataKey(request)
        },
        unwrapDataKey: (request) => keyring.unwrapDataKey(request),
      },
    })
    const command = new PutObjectCommand({ Bucket, Key: 'big', Body: 'x', Metadata: { a: 'x'.repeat(2048) } })
    await rejects(counting.send(command), 'ERR_LIMIT_EXCEEDED')
    assert.is(calls, 0)
    const nearly = new PutObjectCommand({ Bucket, Key: 'big', Body: 'x', Metadata: { a: 'x'.repeat(2000) } })
    await rejects(counting.send(nearly), 'ERR_LIMIT_EXCEEDED')
    assert.is(calls, 1)
  })

  test('an object that is refused leaves the one that was there, and its instruction file', async () => {
    for (const commitmentPolicy of ['REQUIRE_ENCRYPT_ALLOW_DECRYPT', 'FORBID_ENCRYPT_ALLOW_DECRYPT'] as const) {
      const [writer, reader] = [
        clientOf({ putInstructionFiles: true, commitmentPolicy }),
        clientOf({ commitmentPolicy }),
      ]
      const write = (Body: string) => writer.send(new PutObjectCommand({ Bucket, Key: 'kept', Body }))
      await write('old')
      const refuse = (next: (args: { input: object }) => Promise<never>) => async (args: { input: object }) => {
        if ((args.input as PutObjectCommandInput).Key !== 'kept') return await next(args)
        throw Object.assign(new Error('refused'), { $metadata: { attempts: 1, httpStatusCode: 403 } })
      }
      writer.middlewareStack.add(refuse as never, { step: 'build', name: 'refuse' })
      assert.match(String(await rejectionOf(write('new'))), /refused$/)
      assert.is((await get(reader, 'kept')).toString(), 'old')
    }
  })

  test('where the answer was lost, and the store refuses what is there, the object tells that it is', async () => {
    for (const putInstructionFiles of [false, true]) {
      const Key = `lost/${putInstructionFiles}`
      const writer = clientOf({ putInstructionFiles })
      const lose = (next: (args: { input: object }) => Promise<never>, { commandName }: { commandName?: string }) => {
        return async (args: { input: object }) => {
          const result = await next(args)
          if (commandName !== 'PutObjectCommand' || (args.input as PutObjectCommandInput).Key !== Key) return result
          const $metadata = { attempts: 2, httpStatusCode: 412 }
          throw Object.assign(new Error('refused'), { name: 'PreconditionFailed', $metadata })
        }
      }
      writer.middlewareStack.add(lose as never, { step: 'build', name: 'lose' })
      const write = (Body: string) => writer.send(new PutObjectCommand({ Bucket, Key, Body, IfNoneMatch: '*' }))
      const { ETag } = await write('mine')
      assert.is(ETag, (await s3.client.send(new HeadObjectCommand({ Bucket, Key }))).ETag)
      assert.is((await get(client, Key)).toString(), 'mine')
      await client.send(new DeleteObjectCommand({ Bucket, Key }))
      await store(Key, Buffer.from('of another'), {})
      const other = (next: (args: { input: object }) => Promise<never>) => async (args: { input: object }) => {
        if ((args.input as PutObjectCommandInput).Key !== Key) return await next(args)
        return { output: {} } as never
      }
      writer.middlewareStack.addRelativeTo(other as never, { relation: 'after', toMiddleware: 'lose', name: 'other' })
      assert.is(((await rejectionOf(write('late'))) as Error).name, 'PreconditionFailed')
      assert.not((await keys())?.includes(`${Key}.instruction`))
    }
  })

  test('where the answer was lost to the request that stored an instruction file, the file tells that it is there', async () => {
    const Key = 'lost/file'
    const writer = clientOf({ putInstructionFiles: true })
    let isStored = true
    const lose = (next: (args: { input: object }) => Promise<never>, { commandName }: { commandName?: string }) => {
      return async (args: { input: object }) => {
        const { Key: key } = args.input as PutObjectCommandInput
        if (commandName !== 'PutObjectCommand' || key !== `${Key}.instruction`) return await next(args)
        if (isStored) await next(args)
        throw Object.assign(new Error('refused'), { name: 'PreconditionFailed', $metadata: { attempts: 2 } })
      }
    }
    writer.middlewareStack.add(lose as never, { step: 'build', name: 'lose' })
    const write = () => writer.send(new PutObjectCommand({ Bucket, Key, Body: 'mine', IfNoneMatch: '*' }))
    await write()
    assert.is((await get(writer, Key)).toString(), 'mine')
    isStored = false
    await client.send(new DeleteObjectCommand({ Bucket, Key }))
    await store(`${Key}.instruction`, Buffer.from('of another'), {})
    assert.is(((await rejectionOf(write())) as Error).name, 'PreconditionFailed')
    assert.is((await s3.client.send(new HeadObjectCommand({ Bucket, Key: `${Key}.instruction` }))).ContentLength, 10)
    assert.not((await keys())?.includes(Key))
  })

  test('where nobody can tell whether an object was stored, its new instruction file stays', async () => {
    const { commitmentPolicy } = LEGACY
    const writer = clientOf({ commitmentPolicy, putInstructionFiles: true })
    await writer.send(new PutObjectCommand({ Bucket, Key: 'untold', Body: 'old' }))
    writer.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          const result = await next(args)
          if (commandName !== 'PutObjectCommand' || (args.input as PutObjectCommandInput).Key !== 'untold')
            return result
          throw Object.assign(new Error('failed'), {
            name: 'InternalError',
            $metadata: { attempts: 1, httpStatusCode: 500 },
          })
        },
      { step: 'build' },
    )
    const putting = writer.send(new PutObjectCommand({ Bucket, Key: 'untold', Body: 'new' }))
    assert.is(((await rejectionOf(putting)) as Error).name, 'InternalError')
    assert.is((await get(clientOf(LEGACY), 'untold')).toString(), 'new')
  })

  test('an instruction file for a new object goes where the object is refused, and stays where it may be stored', async () => {
    for (const [attempts, httpStatusCode, stays] of [
      [1, 412, false],
      [1, 403, false],
      [2, 412, true],
      [1, 503, true],
      [undefined, undefined, true],
    ] as const) {
      const writer = clientOf({ putInstructionFiles: true })
      const Key = `refused/${attempts}-${httpStatusCode}`
      const refuse = (next: (args: { input: object }) => Promise<never>) => async (args: { input: object }) => {
        const result = await next(args)
        if ((args.input as PutObjectCommandInput).Key !== Key) return result
        throw Object.assign(new Error('refused'), { $metadata: { attempts, httpStatusCode } })
      }
      writer.middlewareStack.add(refuse as never, { step: 'build', name: 'refuse' })
      const command = new PutObjectCommand({ Bucket, Key, Body: 'x', IfNoneMatch: '*' })
      assert.match(String(await rejectionOf(writer.send(command))), /refused$/)
      const there = (await keys())?.includes(`${Key}.instruction`)
      assert.is(there, stays, Key)
    }
  })

  test('an instruction file that cannot be read, or put back, hides not why its object was refused', async () => {
    const fail = (message: string, httpStatusCode: number) =>
      Object.assign(new Error(message), { $metadata: { attempts: 1, httpStatusCode } })
    for (const unreadable of [true, false]) {
      const Key = `unreadable/${unreadable}`
      const writer = clientOf({ putInstructionFiles: true })
      await writer.send(new PutObjectCommand({ Bucket, Key, Body: 'old' }))
      const asked: unknown[] = []
      const refuse = (next: (args: { input: object }) => Promise<never>, { commandName }: { commandName?: string }) => {
        return async (args: { input: object }) => {
          asked.push(commandName)
          if ((args.input as PutObjectCommandInput).Key === Key) throw fail('refused', 403)
          if (commandName === 'GetObjectCommand' && unreadable) throw fail('unreadable', 403)
          if (asked.filter((name) => name === 'PutObjectCommand').length > 2) throw fail('not put back', 503)
          return await next(args)
        }
      }
      writer.middlewareStack.add(refuse as never, { step: 'build', name: 'refuse' })
      const writing = writer.send(new PutObjectCommand({ Bucket, Key, Body: 'new' }))
      assert.match(String(await rejectionOf(writing)), /refused$/)
      const puts = unreadable ? 2 : 3
      assert.equal(asked, ['GetObjectCommand', ...Array(puts).fill('PutObjectCommand')], String(unreadable))
    }
  })

  test('encryption contexts of KMS are given per object', async () => {
    const kms = await startLocalKms()
    const kmsClient = new KMS({ endpoint: kms.endpoint, region: 'us-east-1', credentials: CREDENTIALS })
    try {
      const { KeyMetadata } = await kmsClient.send(new CreateKeyCommand({}))
      const withKms = clientOf({
        keyring: new S3KmsKeyring({ keyId: KeyMetadata!.Arn!, clientProvider: () => kmsClient }),
      })
      const EncryptionContext = { department: 'sales', city: '\u6771\u4eac' }
      await withKms.send(new PutObjectCommand({ Bucket, Key: 'kms', Body: 'hello', EncryptionContext }))
      assert.is((await get(withKms, 'kms', { EncryptionContext })).toString(), 'hello')
      await rejects(get(withKms, 'kms'), 'ERR_ENCRYPTION_CONTEXT')
      await rejects(get(withKms, 'kms', { EncryptionContext: { department: 'sales' } }), 'ERR_ENCRYPTION_CONTEXT')
    } finally {
      kmsClient.destroy()
      await kms.close()
    }
  })

  test('the plugin does the same for a client that is there', async () => {
    const plain = new S3Client(s3.config)
    clients.push(plain)
    plain.middlewareStack.use(s3Encryption(plain, { keyring, putInstructionFiles: true }))
    await plain.send(new PutObjectCommand({ Bucket, Key: 'plugin', Body: 'hello' }))
    assert.is((await get(plain, 'plugin')).toString(), 'hello')
    assert.is((await get(client, 'plugin')).toString(), 'hello')
  })

  test('the client is one of the SDK, and can be extended', () => {
    throws(() => (S3EncryptionClient as unknown as () => void)(), TypeError, /without 'new'/)
    assert.instance(client, S3Client)
    assert.instance(client, S3EncryptionClient)
    class Own extends S3EncryptionClient {}
    const own = new Own(s3.config, { keyring })
    clients.push(own)
    assert.instance(own, Own)
    assert.instance(own, S3Client)
  })

  test('a connection that is silent ends, after a minute unless another time is given', async () => {
    for (const [requestHandler, expected] of [
      [{}, 60_000],
      [{ connectionTimeout: 5_000 }, 60_000],
      [{ socketTimeout: 1234 }, 1234],
      [s3.client.config.requestHandler, undefined],
    ] as const) {
      const one = new S3EncryptionClient({ ...s3.config, requestHandler }, { keyring })
      clients.push(one)
      await one.send(new PutObjectCommand({ Bucket, Key: 'timed', Body: 'x' }))
      const { socketTimeout } = (one.config.requestHandler as HttpHandler).httpHandlerConfigs()
      assert.is(socketTimeout, expected)
    }
  })

  test('a client that encrypts already is refused', () => {
    throws(() => s3Encryption(clientOf(), { keyring }), TypeError, /encrypts already/)
  })

  test('wrong settings are refused', () => {
    const of = (settings: object) => () => clientOf(settings as never)
    throws(of({ keyring: undefined }), TypeError, /"keyring" must have/)
    throws(of({ comitmentPolicy: 'x' }), TypeError, /unknown option "comitmentPolicy"/)
    throws(of({ commitmentPolicy: 'x' }), TypeError, /commitment policy/)
    throws(of({ encryptionAlgorithm: 'ALG_AES_256_GCM_IV12_TAG16_NO_KDF' }), RangeError, /what the policy \w+ writes/)
    for (const bufferSize of [15, 2 ** 36 - 31]) throws(of({ bufferSize }), RangeError, /"bufferSize"/)
    throws(of({ onPlaintextObject: true }), RangeError, /"onPlaintextObject"/)
    throws(of({ largeObjects: 'twice' }), RangeError, /"largeObjects"/)
    throws(of({ largeObjects: 'two-pass', enableDelayedAuthenticationMode: true }), RangeError, /"largeObjects"/)
    throws(of({ bufferSize: 16, enableDelayedAuthenticationMode: true }), RangeError, /"bufferSize"/)
    throws(of({ enableLegacyWrappingAlgorithms: 'yes' }), TypeError, /"enableLegacyWrappingAlgorithms"/)
    throws(() => s3Encryption({} as never, { keyring }), TypeError, /"client" must be/)
  })

  test('the servers end', async () => {
    for (const one of clients) one.destroy()
    await s3.close()
  })
  test.run()
}

void main()
