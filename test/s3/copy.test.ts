import {
  CopyObjectCommand,
  type CopyObjectCommandInput,
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { S3EncryptionClient, type S3EncryptionSettings, S3RawAesKeyring, sealObject } from '../../src/s3'
import { rejectionOf, rejects } from '../support/expect'
import { bytes } from '../support/keys'
import { startS3 } from '../support/s3-server'

const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const ALL = { commitmentPolicy: 'REQUIRE_ENCRYPT_ALLOW_DECRYPT' } as const
const KINDS: readonly [name: string, settings: Partial<S3EncryptionSettings>][] = [
  ['version 3', {}],
  ['version 2', { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' }],
  ['version 3 with an instruction file', { putInstructionFiles: true }],
  [
    'version 2 with an instruction file',
    { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT', putInstructionFiles: true },
  ],
]

async function main(): Promise<void> {
  const s3 = await startS3()
  const Bucket = s3.bucket
  const clients: S3Client[] = []
  const clientOf = (settings: Partial<S3EncryptionSettings> = ALL) => {
    const client = new S3EncryptionClient(s3.config, { keyring, ...settings })
    clients.push(client)
    return client
  }
  const client = clientOf()
  const text = async (Key: string, from: S3Client = client) => {
    const { Body } = await from.send(new GetObjectCommand({ Bucket, Key }))
    return await Body!.transformToString()
  }
  const copy = (Key: string, source: string, more: Partial<CopyObjectCommandInput> = {}, by: S3Client = client) => {
    const CopySource = `${Bucket}/${source.split('/').map(encodeURIComponent).join('/')}`
    return by.send(new CopyObjectCommand({ Bucket, Key, CopySource, ...more }))
  }
  /** Answers to copies as S3 does where a condition is not met: the servers of the tests know none. */
  const refusing = (asked: (string | undefined)[] = []) => {
    const refuser = clientOf()
    const refuse = (next: (args: object) => Promise<unknown>, { commandName }: { commandName: string }) => {
      return async (args: { input: CopyObjectCommandInput }) => {
        if (commandName !== 'CopyObjectCommand') return await next(args)
        asked.push(args.input.CopySourceIfMatch)
        const $metadata = { attempts: 1, httpStatusCode: 412 }
        throw Object.assign(new Error('refused'), { name: 'PreconditionFailed', $metadata })
      }
    }
    refuser.middlewareStack.add(refuse as never, { step: 'build', name: 'refuse' })
    return refuser
  }
  const metadataOf = async (Key: string) =>
    (await s3.client.send(new HeadObjectCommand({ Bucket, Key }))).Metadata ?? {}
  const exists = async (Key: string) =>
    (await rejectionOf(s3.client.send(new HeadObjectCommand({ Bucket, Key })))) === undefined

  for (const [name, settings] of KINDS) {
    test(`a copy opens, ${name}`, async () => {
      const Key = `a folder/${name} + \u00fc?`
      const writer = clientOf(settings)
      await writer.send(new PutObjectCommand({ Bucket, Key, Body: 'secret', Metadata: { title: 'old' } }))

      await copy(`${name}/same`, Key)
      assert.is(await text(`${name}/same`), 'secret')
      assert.is((await metadataOf(`${name}/same`)).title, 'old')

      const REPLACE = { MetadataDirective: 'REPLACE', Metadata: { title: 'new', 'x-amz-meta': 'x' } } as const
      await copy(`${name}/new`, Key, REPLACE)
      assert.is(await text(`${name}/new`), 'secret')
      assert.is((await metadataOf(`${name}/new`)).title, 'new')

      await copy(Key, Key, REPLACE)
      assert.is(await text(Key), 'secret')
      assert.is((await metadataOf(Key)).title, 'new')
      assert.is(await exists(`${name}/new.instruction`), settings.putInstructionFiles === true)

      const head = await client.send(new HeadObjectCommand({ Bucket, Key }))
      assert.is(head.ContentLength, 6, 'HeadObject tells the length of the plaintext')
    })
  }

  test('a copy under the same name in another bucket opens', async () => {
    const elsewhere = { Bucket: 'elsewhere', Key: 'kept' }
    await s3.client.send(new CreateBucketCommand({ Bucket: elsewhere.Bucket }))
    const writer = clientOf({ ...ALL, putInstructionFiles: true })
    await writer.send(new PutObjectCommand({ Bucket, Key: 'kept', Body: 'secret' }))
    await client.send(new CopyObjectCommand({ ...elsewhere, CopySource: `${Bucket}/kept` }))
    const { Body } = await client.send(new GetObjectCommand(elsewhere))
    assert.is(await Body!.transformToString(), 'secret')
  })

  test('a source is what S3 makes of it, however much of it is encoded', async () => {
    const writer = clientOf({ ...ALL, putInstructionFiles: true })
    const Key = 'a b/\u00fc?versionId=1'
    for (const encoded of [`${Bucket}/${Key}`, `/${Bucket}/${Key}`].map(encodeURIComponent)) {
      await writer.send(new PutObjectCommand({ Bucket, Key, Body: 'apart' }))
      await client.send(new CopyObjectCommand({ Bucket, Key: 'moved', CopySource: encoded }))
      assert.is(await text('moved'), 'apart')
      await client.send(new PutObjectCommand({ Bucket, Key, Body: 'whole' }))
      const replace = { CopySource: encoded, MetadataDirective: 'REPLACE', Metadata: { a: 'b' } } as const
      await client.send(new CopyObjectCommand({ Bucket, Key, ...replace }))
      assert.is(await text(Key), 'whole')
      assert.is((await metadataOf(Key)).a, 'b')
      await s3.client.send(new DeleteObjectCommand({ Bucket, Key: `${Key}.instruction` }))
    }
  })

  test('what breaks the rules of an envelope is copied as it is', async () => {
    const Metadata = { 'x-amz-iv': 'no IV' }
    await s3.client.send(new PutObjectCommand({ Bucket, Key: 'stray', Body: 'x', Metadata }))
    await copy('strayed', 'stray')
    assert.equal(await metadataOf('strayed'), Metadata)
  })

  test('a copy with metadata of the caller that have an envelope is stored as it is', async () => {
    const { metadata, body } = await sealObject(Buffer.from('moved'), keyring)
    await s3.client.send(new PutObjectCommand({ Bucket, Key: 'bare', Body: body }))
    await copy('dressed', 'bare', { MetadataDirective: 'REPLACE', Metadata: metadata })
    assert.is(await text('dressed'), 'moved')
  })

  test('an envelope that the caller read before is not stored with what is there by now', async () => {
    await client.send(new PutObjectCommand({ Bucket, Key: 'again', Body: 'one' }))
    const { Metadata } = await client.send(new HeadObjectCommand({ Bucket, Key: 'again' }))
    await client.send(new PutObjectCommand({ Bucket, Key: 'again', Body: 'two' }))
    await copy('again', 'again', { MetadataDirective: 'REPLACE', Metadata: { ...Metadata, a: 'b' } })
    assert.is(await text('again'), 'two')
    assert.is((await metadataOf('again')).a, 'b')
    const length = { 'x-amz-unencrypted-content-length': '3' }
    await copy('again', 'again', { MetadataDirective: 'REPLACE', Metadata: length })
    assert.is(await text('again'), 'two')
  })

  test('what is not encrypted is copied as it is, and so is not what only has the name of an instruction file', async () => {
    for (const [Key, Body] of [
      ['plain', 'plain'],
      ['plain.instruction', 'how to build it'],
    ] as const) {
      await s3.client.send(new PutObjectCommand({ Bucket, Key, Body }))
    }
    await copy('plain copy', 'plain', { MetadataDirective: 'REPLACE', Metadata: { a: 'b' } })
    assert.equal(await metadataOf('plain copy'), { a: 'b' })
    assert.not(await exists('plain copy.instruction'))
    await s3.client.send(new PutObjectCommand({ Bucket, Key: 'plain.instruction', Body: Buffer.alloc(100_000) }))
    await copy('plain copy', 'plain')
    assert.not(await exists('plain copy.instruction'))
    const reader = clientOf({ onPlaintextObject: 'passthrough' })
    assert.is(await text('plain copy', reader), 'plain')
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: 'plain' }))
    assert.is(head.ContentLength, 5)
  })

  test('a source that is replaced meanwhile is not copied with the old envelope', async () => {
    await client.send(new PutObjectCommand({ Bucket, Key: 'changing', Body: 'one' }))
    const { ETag } = await s3.client.send(new HeadObjectCommand({ Bucket, Key: 'changing' }))
    const asked: (string | undefined)[] = []
    const changing = refusing(asked)
    await rejects(copy('torn', 'changing', { MetadataDirective: 'REPLACE' }, changing), 'ERR_OBJECT_CHANGED')
    assert.equal(asked, [ETag])
    const own = copy('torn', 'changing', { MetadataDirective: 'REPLACE', CopySourceIfMatch: '"own"' }, changing)
    assert.is(((await rejectionOf(own)) as Error).name, 'PreconditionFailed')
    assert.equal(asked, [ETag, '"own"'])
    const writer = clientOf({ ...ALL, putInstructionFiles: true })
    await writer.send(new PutObjectCommand({ Bucket, Key: 'apart', Body: 'one' }))
    await rejects(copy('torn', 'apart', {}, changing), 'ERR_OBJECT_CHANGED')
    assert.is(asked.at(-1), (await s3.client.send(new HeadObjectCommand({ Bucket, Key: 'apart' }))).ETag)
    const known = copy('torn', 'changing', { MetadataDirective: 'REPLACE', CopySourceIfNoneMatch: ETag }, changing)
    assert.is(((await rejectionOf(known)) as Error).name, 'PreconditionFailed')
    // What is at the destination is the caller's business.
    const since = { CopySourceIfModifiedSince: new Date(0) }
    for (const condition of [{ IfNoneMatch: '*' }, { IfMatch: '"own"' }, since]) {
      const taken = copy('torn', 'changing', { MetadataDirective: 'REPLACE', ...condition }, changing)
      assert.is(((await rejectionOf(taken)) as Error).name, 'PreconditionFailed')
    }
  })

  test('a source that was modified since is not copied, whatever else is asked for', async () => {
    const asked: (Date | undefined)[] = []
    const refuser = clientOf()
    const refuse = (next: (args: object) => Promise<unknown>, { commandName }: { commandName: string }) => {
      return async (args: { input: { IfUnmodifiedSince?: Date } }) => {
        assert.is.not(commandName, 'CopyObjectCommand')
        asked.push(args.input.IfUnmodifiedSince)
        if (args.input.IfUnmodifiedSince === undefined) return await next(args)
        // Only answers to GetObject say what is wrong.
        const name = commandName === 'GetObjectCommand' ? 'PreconditionFailed' : '412'
        throw Object.assign(new Error('UnknownError'), { name, $metadata: { httpStatusCode: 412 } })
      }
    }
    refuser.middlewareStack.add(refuse as never, { step: 'build', name: 'refuse' })
    const CopySourceIfUnmodifiedSince = new Date(0)
    for (const MetadataDirective of ['COPY', 'REPLACE'] as const) {
      const refused = copy('torn', 'changing', { MetadataDirective, CopySourceIfUnmodifiedSince }, refuser)
      assert.is(((await rejectionOf(refused)) as Error).name, 'PreconditionFailed')
    }
    assert.equal(asked, Array(4).fill(CopySourceIfUnmodifiedSince))
    const heard: (Date | undefined)[] = []
    const asking = clientOf()
    const hear = (next: (args: object) => Promise<unknown>, { commandName }: { commandName: string }) => {
      return async (args: { input: { IfUnmodifiedSince?: Date } }) => {
        if (commandName === 'HeadObjectCommand') heard.push(args.input.IfUnmodifiedSince)
        return await next(args)
      }
    }
    asking.middlewareStack.add(hear as never, { step: 'build', name: 'hear' })
    const { ETag: CopySourceIfMatch } = await s3.client.send(new HeadObjectCommand({ Bucket, Key: 'changing' }))
    const both = { CopySourceIfMatch, CopySourceIfUnmodifiedSince }
    await copy('matching', 'changing', { MetadataDirective: 'REPLACE', ...both }, asking)
    assert.equal(heard, [undefined], 'a tag that matches is enough, as to S3')
  })

  test('a copy that is refused leaves the object that was there, and its instruction file', async () => {
    const writer = clientOf({ ...ALL, putInstructionFiles: true })
    for (const Key of ['from', 'to']) await writer.send(new PutObjectCommand({ Bucket, Key, Body: Key }))
    const refuser = refusing()
    await rejects(copy('to', 'from', {}, refuser), 'ERR_OBJECT_CHANGED')
    assert.is(await text('to'), 'to')
    await rejects(copy('fresh', 'from', {}, refuser), 'ERR_OBJECT_CHANGED')
    assert.not(await exists('fresh.instruction'))
  })

  test('a copy whose answer was lost is looked for, and keeps its instruction file', async () => {
    const writer = clientOf({ ...ALL, putInstructionFiles: true })
    await writer.send(new PutObjectCommand({ Bucket, Key: 'from', Body: 'from' }))
    let failure = {}
    const losing = clientOf()
    const lose = (next: (args: object) => Promise<unknown>, { commandName }: { commandName: string }) => {
      return async (args: object) => {
        const result = await next(args)
        if (commandName === 'CopyObjectCommand') throw Object.assign(new Error('lost'), failure)
        return result
      }
    }
    losing.middlewareStack.add(lose as never, { step: 'build', name: 'lose' })
    for (const [Key, found] of [
      ['found', { $metadata: { attempts: 1, httpStatusCode: 500 } }],
      ['unknown', { $metadata: { attempts: 2, httpStatusCode: 400 } }],
    ] as const) {
      failure = found
      if (Key === 'found') {
        const { CopyObjectResult } = await copy(Key, 'from', {}, losing)
        const { ETag } = await s3.client.send(new HeadObjectCommand({ Bucket, Key }))
        assert.is(CopyObjectResult?.ETag, ETag)
      } else assert.match(String(await rejectionOf(copy(Key, 'from', {}, losing))), /lost/)
      assert.is(await text(Key), 'from')
    }
  })

  test('an object whose instruction file may not be read is not copied without it', async () => {
    const writer = clientOf({ ...ALL, putInstructionFiles: true })
    await writer.send(new PutObjectCommand({ Bucket, Key: 'from', Body: 'from' }))
    const denied = clientOf()
    const deny = (next: (args: object) => Promise<unknown>, { commandName }: { commandName: string }) => {
      return async (args: object) => {
        if (commandName === 'GetObjectCommand') throw Object.assign(new Error('no'), { name: 'AccessDenied' })
        return await next(args)
      }
    }
    denied.middlewareStack.add(deny as never, { step: 'build', name: 'deny' })
    assert.is(((await rejectionOf(copy('without', 'from', {}, denied))) as Error).name, 'AccessDenied')
    assert.not(await exists('without'))
  })

  test('a source is asked for as the copy says: of whose bucket, and who pays', async () => {
    await client.send(new PutObjectCommand({ Bucket, Key: 'owned', Body: 'secret' }))
    const asked: unknown[] = []
    const asking = clientOf()
    asking.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          const { ExpectedBucketOwner, RequestPayer } = args.input as Partial<CopyObjectCommandInput>
          asked.push([commandName, ExpectedBucketOwner, RequestPayer])
          return await next(args)
        },
      { step: 'build' },
    )
    const owners = { ExpectedBucketOwner: '111122223333', ExpectedSourceBucketOwner: '444455556666' }
    await copy('owned-copy', 'owned', { ...owners, RequestPayer: 'requester' }, asking)
    assert.equal(asked, [
      ['HeadObjectCommand', owners.ExpectedSourceBucketOwner, 'requester'],
      ['CopyObjectCommand', owners.ExpectedBucketOwner, 'requester'],
    ])
  })

  test('what is no source, the store refuses', async () => {
    for (const CopySource of ['', 'nothing', `${Bucket}/%`]) {
      const error = await rejectionOf(client.send(new CopyObjectCommand({ Bucket, Key: 'x', CopySource })))
      assert.instance(error, Error, CopySource)
    }
    assert.is(((await rejectionOf(copy('x', 'missing'))) as Error).name, 'NoSuchKey')
  })

  test('the servers end', async () => {
    for (const one of clients) one.destroy()
    await s3.close()
  })
  test.run()
}

void main()
