/** Wrapping keys of stored objects are replaced: on an S3 server in this process, with raw keys and the local KMS. */
import { Readable } from 'node:stream'
import { CreateKeyCommand, KMS } from '@aws-sdk/client-kms'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { startLocalKms } from '../../src/local-kms'
import {
  openObject,
  type RewrapObjectInput,
  rewrapInstructionFile,
  rewrapObject,
  S3EncryptionClient,
  type S3Keyring,
  S3KmsKeyring,
  S3MultiKeyring,
  S3RawAesKeyring,
  S3RawRsaKeyring,
  SealwaxError,
  type ServerSideEncryption,
  sealObject,
  serverSideEncryption,
} from '../../src/s3'
import { RewrapSession } from '../../src/s3/rewrap-session'
import { rejectionOf, rejects } from '../support/expect'
import { bytes, RSA_PRIVATE_PEM } from '../support/keys'
import { CREDENTIALS, startS3 } from '../support/s3-server'

const MiB = 2 ** 20
const Key = 'folder/an object.txt'
const POLICY = { 2: 'FORBID_ENCRYPT_ALLOW_DECRYPT', 3: 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT' } as const
const PLAINTEXT = Buffer.from(bytes(1000))
const aes = new S3RawAesKeyring({ wrappingKey: bytes(32), materialDescription: { key: 'old' } })
const newAes = new S3RawAesKeyring({ wrappingKey: bytes(32, 77), materialDescription: { key: 'new' } })

async function main(): Promise<void> {
  const s3 = await startS3()
  const kmsServer = await startLocalKms()
  const { endpoint } = kmsServer
  const kms = new KMS({ endpoint, region: 'us-east-1', credentials: CREDENTIALS })
  const kmsKeyring = async () => {
    const { KeyMetadata } = await kms.send(new CreateKeyCommand({}))
    return new S3KmsKeyring({ keyId: KeyMetadata!.Arn!, clientProvider: () => kms })
  }
  const Bucket = s3.bucket
  const send = s3.client.send.bind(s3.client)
  const old: Record<string, S3Keyring> = {
    AES: aes,
    RSA: new S3RawRsaKeyring({ rsaKey: { publicKey: RSA_PRIVATE_PEM, privateKey: RSA_PRIVATE_PEM } }),
    KMS: await kmsKeyring(),
  }
  const fresh: Record<string, S3Keyring> = { AES: newAes, KMS: await kmsKeyring() }

  /** Stores an object as it would be found. */
  const store = async (keyring: S3Keyring, { version = 3 as 2 | 3, instructionFile = false } = {}) => {
    const isKms = keyring instanceof S3KmsKeyring
    const options = { commitmentPolicy: POLICY[version], encryptionContext: isKms ? { tenant: 'a\u00fc' } : {} }
    const sealed = await sealObject(PLAINTEXT, keyring, { ...options, instructionFile })
    await send(new PutObjectCommand({ Bucket, Key, Body: sealed.body, Metadata: { title: 't', ...sealed.metadata } }))
    if (sealed.instructionFile) await storeFile(sealed.instructionFile)
    return sealed
  }
  const storeFile = (Body: Uint8Array) => send(new PutObjectCommand({ Bucket, Key: `${Key}.instruction`, Body }))
  const stored = async () => {
    const { Body, Metadata = {} } = await send(new GetObjectCommand({ Bucket, Key }))
    return { metadata: Metadata, body: await Body!.transformToByteArray() }
  }
  const file = async (suffix = '.instruction') => {
    const { Body } = await send(new GetObjectCommand({ Bucket, Key: `${Key}${suffix}` }))
    return await Body!.transformToByteArray()
  }
  const open = async (keyring: S3Keyring, more: object = {}, instructionFile?: Uint8Array) => {
    const commitmentPolicy = 'REQUIRE_ENCRYPT_ALLOW_DECRYPT'
    const object = { ...(await stored()), instructionFile }
    return Buffer.from((await openObject(object, keyring, { commitmentPolicy, ...more })).plaintext)
  }
  const rewrap = (input: Partial<RewrapObjectInput>, client: S3Client = s3.client) =>
    rewrapObject(client, {
      Bucket,
      Key,
      from: aes,
      to: newAes,
      commitmentPolicy: 'REQUIRE_ENCRYPT_ALLOW_DECRYPT',
      ...input,
    })

  for (const version of [2, 3] as const) {
    for (const [oldName, from] of Object.entries(old)) {
      for (const [newName, to] of Object.entries(fresh)) {
        const toRaw = oldName === 'KMS' && newName === 'AES'
        const tenant = oldName === 'KMS' && newName === 'KMS' ? { encryptionContext: { tenant: 'a\u00fc' } } : {}
        for (const instructionFile of [false, true]) {
          test(`version ${version}, ${oldName} to ${newName}${instructionFile ? ', instruction file' : ''}`, async () => {
            const before = await store(from, { version, instructionFile })
            const input = { from, to, ...(toRaw && { newEncryptionContext: {} }) }
            const result = await rewrap(input)
            assert.is(result.status, 'rewrapped')
            assert.is(result.location, instructionFile ? 'instruction file' : 'metadata')
            const after = await stored()
            assert.equal(Buffer.from(after.body), Buffer.from(before.body), 'the content stays')
            for (const name of ['x-amz-c', 'x-amz-d', 'x-amz-i', 'x-amz-iv']) {
              assert.is(after.metadata[name], before.metadata[name], name)
            }
            assert.is(after.metadata.title, 't')
            const newFile = instructionFile ? await file() : undefined
            assert.equal(await open(to, tenant, newFile), PLAINTEXT)
            assert.not.ok(await open(from, {}, newFile).catch(() => undefined), 'the old key does not open it')
            assert.is((await rewrap(input)).status, 'current', 'it can be done again')
          })
        }
      }
    }
  }

  test('a client that encrypts does the same, and sends what it writes as it is', async () => {
    const client = new S3EncryptionClient(s3.config, { keyring: aes })
    for (const instructionFile of [false, true]) {
      await store(aes, { instructionFile })
      assert.is((await rewrap({}, client)).status, 'rewrapped')
      assert.equal(await open(newAes, {}, instructionFile ? await file() : undefined), PLAINTEXT)
    }
    client.destroy()
  })

  test('what a copy would forget is stated again', async () => {
    const unencrypted = { 'x-amz-meta-x-amz-unencrypted-content-length': '1000' }
    const head = { ...(await fakeHead()), ...unencrypted }
    for (const length of [1000, 12 * MiB]) {
      const store = new FakeStore({ ...head, 'content-length': String(length) })
      await rewrap({ partSize: 5 * MiB, ExpectedBucketOwner: '111122223333' }, store.client)
      const isLong = length > 1000
      const creating = store.requests.find(({ method }) => method === (isLong ? 'POST' : 'PUT'))!
      for (const [name, value] of Object.entries({ ...KEPT_HEADERS, ...unencrypted })) {
        assert.is(creating.headers[name], value, name)
      }
      assert.is(creating.headers['x-amz-meta-title'], 't')
      const names = store.requests.map(({ method, query }) => `${method} ${Object.keys(query).sort()}`)
      const parts = Array(3).fill('PUT partNumber,uploadId,x-id')
      const inParts = ['POST uploads', ...parts, 'POST uploadId']
      assert.equal(names, ['HEAD ', 'GET tagging', ...(isLong ? inParts : ['PUT x-id']), 'HEAD '])
      const copies = store.requests.filter(({ headers }) => 'x-amz-copy-source' in headers)
      for (const { headers } of copies) {
        assert.is(headers['x-amz-copy-source'], 'objects/folder/an%20object.txt')
        assert.is(headers['x-amz-copy-source-if-match'], '"tag"')
        assert.is(headers['x-amz-source-expected-bucket-owner'], '111122223333')
      }
      assert.is(creating.headers['x-amz-tagging'], 'a+b=c%26d')
      assert.is(creating.headers['x-amz-tagging-directive'], isLong ? undefined : 'REPLACE')
      if (!isLong) continue
      assert.equal(
        copies.map(({ headers }) => headers['x-amz-copy-source-range']),
        ['bytes=0-5242879', 'bytes=5242880-10485759', 'bytes=10485760-12582911'],
      )
      assert.is(store.requests.find(({ query }) => query.uploadId && !query.partNumber)?.headers['if-match'], 'tag')
    }
  })

  test('the tags of a copy in parts are kept, whatever is said of their number', async () => {
    const { 'x-amz-tagging-count': _, ...head } = await fakeHead()
    const store = new FakeStore({ ...head, 'content-length': String(12 * MiB) })
    await rewrap({ partSize: 5 * MiB }, store.client)
    const creating = store.requests.find(({ query }) => 'uploads' in query)!
    assert.is(creating.headers['x-amz-tagging'], 'a+b=c%26d')
  })

  test('a retention that is past is not stated again', async () => {
    const past = { 'x-amz-object-lock-retain-until-date': '2020-01-01T00:00:00Z' }
    const store = new FakeStore({ ...(await fakeHead()), ...past })
    await rewrap({}, store.client)
    const { headers } = store.requests.find(({ method }) => method === 'PUT')!
    const locks = Object.entries(headers).filter(([name]) => name.startsWith('x-amz-object-lock-'))
    assert.equal(locks, [['x-amz-object-lock-legal-hold', 'ON']])
  })

  test('a copy that fails in its parts leaves no upload open', async () => {
    const head = { ...(await fakeHead()), 'content-length': String(12 * MiB) }
    for (const expected of ['ERR_KEY_SERVICE', 'ERR_ABORTED'] as const) {
      for (const at of [
        ['POST', 'uploads'],
        ['PUT', 'partNumber'],
        ['POST', 'uploadId'],
      ] as const) {
        if (expected === 'ERR_KEY_SERVICE' && at[1] === 'uploads') continue
        const abort = new AbortController()
        const store = new FakeStore(head, ({ method, query }) => {
          if (method !== at[0] || !(at[1] in query)) return
          if (expected === 'ERR_ABORTED') abort.abort()
          else throw new SealwaxError(expected, 'fault')
        })
        await rejects(rewrap({ partSize: 5 * MiB, signal: abort.signal }, store.client), expected)
        const { method, query } = store.requests.at(-1)!
        // What was complete when it was aborted is complete.
        if (at[1] !== 'uploadId' || expected !== 'ERR_ABORTED')
          assert.equal([method, query.uploadId], ['DELETE', 'upload'])
      }
    }
  })

  test('an upload is aborted once no part is on its way any more, and none is begun after one has failed', async () => {
    const head = { ...(await fakeHead()), 'content-length': String(40 * MiB) }
    let running = 0
    let atAbort: number | undefined
    const store = new FakeStore(head, async ({ method, query }) => {
      if (method === 'DELETE') {
        atAbort = running
        throw new Error('that it stays open is not what the caller is to hear')
      }
      if (query.partNumber === '1') throw new SealwaxError('ERR_KEY_SERVICE', 'fault')
      if (!query.partNumber) return
      running++
      for (let turn = 0; turn < 10_000 && atAbort === undefined; turn++) await new Promise(setImmediate)
      running--
    })
    await rejects(rewrap({ partSize: 5 * MiB }, store.client), 'ERR_KEY_SERVICE')
    assert.is(atAbort, 0)
    assert.is(store.requests.filter(({ query }) => 'partNumber' in query).length, 4)
  })

  test('a store that keeps the old metadata, or an object that changed, is told', async () => {
    const head = await fakeHead()
    for (const change of [{ 'x-amz-meta-x-amz-w': '22' }, { 'content-length': '999' }]) {
      const store = new FakeStore(head)
      store.changeAfter = change
      await rejects(rewrap({}, store.client), 'ERR_OBJECT_CHANGED')
    }
    const lossy = new FakeStore({ ...head, 'x-amz-missing-meta': '1' })
    await rejects(rewrap({}, lossy.client), 'ERR_UNSUPPORTED_FORMAT', /would lose them/)
    const undated = new FakeStore({ ...head, expires: 'never' })
    await rejects(rewrap({}, undated.client), 'ERR_UNSUPPORTED_FORMAT', /would lose them/)
  })

  test('what is told of an object is what it is afterwards', async () => {
    const store = new FakeStore(await fakeHead())
    store.changeAfter = { etag: '"new"', 'x-amz-version-id': '2' }
    const { ETag, VersionId } = await rewrap({}, store.client)
    assert.equal([ETag, VersionId], ['"new"', '2'])
  })

  test('an object is copied in parts where it is longer than one, and in 10 000 at most', async () => {
    const head = await fakeHead()
    const firstCopy = async (length: number) => {
      const store = new FakeStore({ ...head, 'content-length': String(length) }, ({ headers }) => {
        if ('x-amz-copy-source' in headers) throw new SealwaxError('ERR_KEY_SERVICE', 'enough')
      })
      await rejects(rewrap({ partSize: 5 * MiB }, store.client), 'ERR_KEY_SERVICE')
      return store.requests.find(({ headers }) => 'x-amz-copy-source' in headers)?.headers['x-amz-copy-source-range']
    }
    assert.is(await firstCopy(5 * MiB), undefined)
    assert.is(await firstCopy(5 * MiB + 1), 'bytes=0-5242879')
    assert.is(await firstCopy(60 * 1024 * MiB), 'bytes=0-6442450')
  })

  test('a store that forgets the tags of a copy is told them again, and one that hides them is not believed', async () => {
    const head = await fakeHead()
    const forgetful = new FakeStore(head)
    forgetful.changeAfter = { 'x-amz-tagging-count': '0' }
    await rewrap({}, forgetful.client)
    const { method, query } = forgetful.requests.at(-1)!
    assert.equal([method, 'tagging' in query], ['PUT', true])
    const refuse =
      (name: string) =>
      ({ query }: Request) => {
        if ('tagging' in query) throw Object.assign(new Error('no'), { name })
      }
    const { 'x-amz-tagging-count': _, ...untold } = head
    for (const name of ['NotImplemented', 'MethodNotAllowed']) {
      const hiding = new FakeStore(head, refuse(name))
      assert.is(((await rejectionOf(rewrap({}, hiding.client))) as Error).name, name)
      assert.ok(hiding.requests.every(({ method }) => method !== 'PUT'))
      const knowsNone = new FakeStore({ ...untold, 'content-length': String(12 * MiB) }, refuse(name))
      assert.is((await rewrap({ partSize: 5 * MiB }, knowsNone.client)).status, 'rewrapped')
    }
  })

  test('the source of a copy is named as S3 wants it', () => {
    const pathOf = (Bucket: string) => new RewrapSession(s3.client, { Bucket, Key: 'a b/c?d+\u00fc' }).sourcePath
    assert.is(pathOf('objects'), 'objects/a%20b/c%3Fd%2B%C3%BC')
    const point = 'arn:aws:s3:eu-central-1:111122223333:accesspoint/point'
    assert.is(pathOf(point), `${point}/object/a%20b/c%3Fd%2B%C3%BC`)
  })

  test("the store's own encryption is kept, or changed where that is asked for", async () => {
    const SSE = 'x-amz-server-side-encryption'
    const key = bytes(32, 5)
    const kms = { [SSE]: 'aws:kms', [`${SSE}-aws-kms-key-id`]: 'the-key', [`${SSE}-bucket-key-enabled`]: 'true' }
    const head = { ...(await fakeHead()), ...kms }
    const copied = async (mode: ServerSideEncryption | undefined, input: Partial<RewrapObjectInput>) => {
      const store = new FakeStore(head)
      if (mode) store.client.middlewareStack.use(serverSideEncryption(mode))
      await rewrap(input, store.client)
      const [before, , { headers }, after] = store.requests as [Request, Request, Request, Request]
      return { before: before.headers, headers, after: after.headers }
    }
    const kept = await copied(undefined, {})
    for (const [name, value] of Object.entries(kms)) assert.is(kept.headers[name], value)
    const stated = await copied({ mode: 'dsse' }, {})
    assert.is(stated.headers[SSE], 'aws:kms:dsse')
    assert.is(stated.headers[`${SSE}-aws-kms-key-id`], undefined)
    const copySource = { mode: 'customer', key } as const
    const asked = await copied({ mode: 'dsse' }, { serverSide: { mode: 's3' }, copySource })
    assert.is(asked.headers[SSE], 'AES256')
    const sourceKey = 'x-amz-copy-source-server-side-encryption-customer-key'
    assert.is(asked.headers[sourceKey], Buffer.from(key).toString('base64'))
    assert.ok(`${SSE}-customer-key` in asked.before, 'the source is read with its key')
    assert.not.ok(`${SSE}-customer-key` in asked.after)
  })

  test('the same key again is refused, and nothing is written', async () => {
    const { metadata } = await store(aes)
    const sameKey = new S3RawAesKeyring({ wrappingKey: bytes(32), materialDescription: { key: 'new' } })
    await rejects(rewrap({ to: sameKey }), 'ERR_WRAPPING_KEY', /old key again/)
    const kmsKey = old.KMS!
    await store(kmsKey)
    await rejects(rewrap({ from: kmsKey, to: kmsKey }), 'ERR_WRAPPING_KEY', /old key again/)
    await store(aes)
    await rejects(rewrap({ to: aes }), 'ERR_WRAPPING_KEY', /old key again/)
    assert.is((await stored()).metadata['x-amz-m'], metadata['x-amz-m'])
    assert.is((await rewrap({ to: sameKey, enforceRotation: false })).status, 'rewrapped')
  })

  test('where nobody can say whether the old key opens it, nothing is written', async () => {
    const { metadata } = await store(aes)
    let calls = 0
    const silent: S3Keyring = {
      wrapDataKey: (request) => aes.wrapDataKey(request),
      unwrapDataKey: async (request) => {
        if (++calls > 1) throw new Error('no answer')
        return await aes.unwrapDataKey(request)
      },
    }
    await rejects(rewrap({ from: silent }), Error, /no answer/)
    assert.is((await stored()).metadata['x-amz-3'], metadata['x-amz-3'])
    // That the new key opens it does not say that the old one does not.
    await store(newAes)
    await rejects(rewrap({ from: silent }), Error, /no answer/)
  })

  test('a key that the old keyring excludes, as a discovery filter does, is not the old one', async () => {
    await store(aes)
    const filtered: S3Keyring = {
      wrapDataKey: (request) => aes.wrapDataKey(request),
      unwrapDataKey: (request) =>
        aes.unwrapDataKey(request).catch((cause) => {
          throw new SealwaxError('ERR_WRAPPING_KEY', 'excluded', { cause })
        }),
    }
    assert.is((await rewrap({ from: filtered })).status, 'rewrapped')
    assert.is((await rewrap({ from: filtered })).status, 'current')
  })

  test('a keyring of all keys tells the old one by its description', async () => {
    await store(aes)
    const all = new S3MultiKeyring({
      generator: newAes,
      others: [{ materialDescription: { key: 'old' }, keyring: aes }],
    })
    assert.is((await rewrap({ from: all })).status, 'rewrapped')
    assert.equal(await open(newAes), PLAINTEXT)
    // Also where only one of the two is a key of KMS.
    const [oldKms, newKms] = [old.KMS!, fresh.KMS!]
    await store(aes)
    const toKms = new S3MultiKeyring({
      generator: newKms,
      others: [{ materialDescription: { key: 'old' }, keyring: aes }],
    })
    assert.is((await rewrap({ from: toKms, to: newKms })).status, 'rewrapped')
    await store(oldKms)
    const fromKms = new S3MultiKeyring({
      generator: oldKms,
      others: [{ materialDescription: { key: 'new' }, keyring: newAes }],
    })
    assert.is((await rewrap({ from: fromKms, newEncryptionContext: {} })).status, 'rewrapped')
    assert.equal(await open(newAes), PLAINTEXT)
  })

  test('the new key may be one that cannot unwrap', async () => {
    await store(aes)
    const writeOnly = new S3RawRsaKeyring({ rsaKey: { publicKey: RSA_PRIVATE_PEM } })
    await rewrap({ to: writeOnly })
    assert.equal(await open(old.RSA!), PLAINTEXT)
    const failing = (error: Error): S3Keyring => ({
      wrapDataKey: (request) => newAes.wrapDataKey(request),
      unwrapDataKey: () => Promise.reject(error),
    })
    const cause = Object.assign(new Error('no'), { name: 'AccessDeniedException' })
    await store(aes)
    await rejects(rewrap({ to: failing(new SealwaxError('ERR_KEY_SERVICE', 'no answer')) }), 'ERR_KEY_SERVICE')
    await rewrap({ to: failing(new SealwaxError('ERR_KEY_SERVICE', 'no', { cause })) })
    assert.equal(await open(newAes), PLAINTEXT)
  })

  test('a dry run does all but write', async () => {
    const { metadata } = await store(aes)
    assert.is((await rewrap({ dryRun: true })).status, 'rewrapped')
    await rejects(rewrap({ dryRun: true, from: newAes, to: old.RSA! }), 'ERR_AUTHENTICATION_FAILED')
    assert.equal((await stored()).metadata, { title: 't', ...metadata })
    const used = Object.entries(metadata).reduce((sum, [name, value]) => sum + name.length + value.length, 0)
    const Metadata = { ...metadata, full: 'x'.repeat(2048 - used - 20) }
    await send(new PutObjectCommand({ Bucket, Key, Body: (await stored()).body, Metadata }))
    for (const dryRun of [true, false]) await rejects(rewrap({ to: old.RSA!, dryRun }), 'ERR_LIMIT_EXCEEDED')
    const { instructionFile } = await store(aes, { instructionFile: true })
    const result = await rewrap({ dryRun: true })
    assert.equal([result.status, result.location], ['rewrapped', 'instruction file'])
    assert.equal(Buffer.from(await file()), Buffer.from(instructionFile!))
  })

  test('an instruction file stays what it was said to be', async () => {
    const { instructionFile } = await store(aes, { instructionFile: true })
    const target = { Bucket, Key: `${Key}.instruction` }
    await send(new PutObjectCommand({ ...target, Body: instructionFile!, ContentType: 'application/json' }))
    // What a store says of how it keeps the file goes along too.
    const kms = { ServerSideEncryption: 'aws:kms', SSEKMSKeyId: 'the-key', BucketKeyEnabled: true } as const
    const said = { ...kms, StorageClass: 'STANDARD_IA' }
    let written = {}
    const client = new S3Client(s3.config)
    client.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          if (commandName === 'PutObjectCommand') written = args.input
          const result = await next(args)
          if (commandName === 'GetObjectCommand') Object.assign(result.output, said)
          return result
        },
      { step: 'initialize' },
    )
    await rewrap({}, client)
    assert.is((await send(new HeadObjectCommand(target))).ContentType, 'application/json')
    assert.equal(pick(written, Object.keys(said)), said)
    client.destroy()
  })

  test('an instruction file whose answer was lost is known again', async () => {
    let failure = 'PreconditionFailed'
    for (const newSuffix of ['.instruction', '.partner'] as const) {
      await store(aes, { instructionFile: true })
      const client = new S3Client(s3.config)
      client.middlewareStack.add(
        (next, { commandName }) =>
          async (args) => {
            const result = await next(args)
            if (commandName !== 'PutObjectCommand') return result
            const $metadata = { attempts: 2, httpStatusCode: 412 }
            throw Object.assign(new Error('no'), { name: failure, $metadata })
          },
        { step: 'build' },
      )
      const input = { Bucket, Key, from: aes, to: newAes, newSuffix }
      if (newSuffix === '.partner') {
        failure = 'AccessDenied'
        assert.is(((await rejectionOf(rewrapInstructionFile(client, input))) as Error).name, failure)
        await send(new DeleteObjectCommand({ Bucket, Key: `${Key}${newSuffix}` }))
        failure = 'PreconditionFailed'
      }
      const { status } = await rewrapInstructionFile(client, input)
      assert.is(status, 'rewrapped')
      assert.equal(await open(newAes, {}, await file(newSuffix)), PLAINTEXT)
      client.destroy()
    }
  })

  test('conditions are stated to releases of the SDK that do not know them', async () => {
    const client = new S3Client(s3.config)
    const none = { 'if-match': undefined, 'if-none-match': undefined }
    const seen: Record<string, string | undefined>[] = []
    client.middlewareStack.add(
      (next) => async (args) => {
        const { headers } = args.request as { headers: Record<string, string> }
        for (const name of Object.keys(none)) delete headers[name]
        return await next(args)
      },
      { step: 'build', priority: 'high' },
    )
    client.middlewareStack.add(
      (next, { commandName = '' }) =>
        async (args) => {
          const { headers } = args.request as { headers: Record<string, string> }
          if (/Copy|Put/.test(commandName)) seen.push({ ...none, ...headers })
          return await next(args)
        },
      { step: 'finalizeRequest', priority: 'low' },
    )
    await store(aes)
    await rewrap({}, client)
    assert.ok(seen.pop()?.['if-match'])
    await store(aes, { instructionFile: true })
    await rewrap({}, client)
    assert.ok(seen.pop()?.['if-match'])
    await rewrapInstructionFile(client, { Bucket, Key, from: newAes, to: aes, newSuffix: '.old-sdk' })
    assert.is(seen.pop()?.['if-none-match'], '*')
    client.destroy()
  })

  test('keyrings that make data keys of their own, or open others, are refused', async () => {
    await store(aes)
    const own: S3Keyring = {
      wrapDataKey: ({ contentAlgorithm, encryptionContext }) =>
        newAes.wrapDataKey({ contentAlgorithm, encryptionContext }),
      unwrapDataKey: (request) => newAes.unwrapDataKey(request),
    }
    await rejects(rewrap({ to: own }), 'ERR_INVALID_MATERIALS', /new data keys only/)
    const wrong: S3Keyring = {
      wrapDataKey: (request) => newAes.wrapDataKey(request),
      unwrapDataKey: async () => bytes(32, 3),
    }
    await rejects(rewrap({ to: wrong }), 'ERR_INVALID_MATERIALS', /does not open what it wrapped/)
    for (const part of [{ wrapAlgorithm: 'kms' }, { encryptedDataKey: 'x' }] as object[]) {
      const unknown: S3Keyring = {
        wrapDataKey: async (request) => ({ ...(await newAes.wrapDataKey(request)), ...part }),
        unwrapDataKey: (request) => newAes.unwrapDataKey(request),
      }
      await rejects(rewrap({ to: unknown }), 'ERR_INVALID_MATERIALS', /known wrapping/)
    }
    const handedBack: S3Keyring = {
      wrapDataKey: async (request) => ({ ...(await newAes.wrapDataKey(request)), dataKey: request.dataKey! }),
      unwrapDataKey: (request) => newAes.unwrapDataKey(request),
    }
    await rewrap({ to: handedBack })
    assert.equal(await open(newAes), PLAINTEXT)
  })

  test('a data key other than the one committed to is refused', async () => {
    const other = await sealObject(PLAINTEXT, aes)
    const { metadata, body } = await store(aes)
    const Metadata = { ...metadata, 'x-amz-3': other.metadata['x-amz-3']! }
    await send(new PutObjectCommand({ Bucket, Key, Body: body, Metadata }))
    await rejects(rewrap({}), 'ERR_AUTHENTICATION_FAILED')
    const { body: body2, instructionFile } = await sealObject(PLAINTEXT, aes, { instructionFile: true })
    const forged = { ...JSON.parse(Buffer.from(instructionFile!).toString()), 'x-amz-d': metadata['x-amz-d'] }
    await send(
      new PutObjectCommand({ Bucket, Key, Body: body2, Metadata: pick(metadata, ['x-amz-c', 'x-amz-d', 'x-amz-i']) }),
    )
    await storeFile(Buffer.from(JSON.stringify(forged)))
    await rejects(rewrap({}), 'ERR_MESSAGE_MALFORMED', /must not have x-amz-d/)
  })

  test('policies, contexts and AES-CBC are as strict as for reading', async () => {
    await store(aes, { version: 2 })
    await rejects(rewrap({ commitmentPolicy: undefined }), 'ERR_COMMITMENT_POLICY')
    const cbc = await sealObject(PLAINTEXT, aes, { commitmentPolicy: POLICY[2], writeVersion1WithoutIntegrity: true })
    await send(new PutObjectCommand({ Bucket, Key, Body: cbc.body, Metadata: { ...cbc.metadata } }))
    await rejects(rewrap({}), 'ERR_LEGACY_REFUSED', /read it, and write it again/)
    const [from, to] = [old.KMS!, fresh.KMS!]
    await store(from)
    await rejects(rewrap({ from, to, encryptionContext: { tenant: 'b' } }), 'ERR_ENCRYPTION_CONTEXT')
    await rejects(rewrap({ from, to: newAes }), 'ERR_ENCRYPTION_CONTEXT', /raw key binds no/)
    await rewrap({ from, to, newEncryptionContext: { tenant: 'c' } })
    assert.equal(await open(to, { encryptionContext: { tenant: 'c' } }), PLAINTEXT)
    const again = { encryptionContext: { tenant: 'a\u00fc' }, newEncryptionContext: { tenant: 'c' } }
    assert.is((await rewrap({ from, to, ...again })).status, 'current')
    await rejects(rewrap({ from, to, encryptionContext: { tenant: 'b' } }), 'ERR_ENCRYPTION_CONTEXT')
    await send(new PutObjectCommand({ Bucket, Key: 'plain', Body: 'plain' }))
    await rejects(rewrap({ Key: 'plain' }), 'ERR_UNSUPPORTED_FORMAT', /not encrypted by/)
    const filed = { Bucket, Key: 'filed', from: aes, to: newAes }
    await rejects(rewrapInstructionFile(s3.client, { ...filed, Key: 'plain' }), 'ERR_UNSUPPORTED_FORMAT')
    const { metadata, body } = await sealObject(PLAINTEXT, aes, { instructionFile: true })
    await send(new PutObjectCommand({ Bucket, Key: 'filed', Body: body, Metadata: metadata }))
    await rejects(rewrapObject(s3.client, filed), 'ERR_UNSUPPORTED_FORMAT', /not encrypted by/)
    await rejects(rewrapInstructionFile(s3.client, filed), 'ERR_UNSUPPORTED_FORMAT', /not encrypted by/)
  })

  test('a second reader gets an instruction file of its own', async () => {
    await store(aes, { instructionFile: true })
    const partner = old.RSA!
    const input = { Bucket, Key, from: aes, to: partner }
    await rewrapInstructionFile(s3.client, { ...input, newSuffix: '.partner' })
    assert.equal(await open(aes, {}, await file()), PLAINTEXT)
    assert.equal(await open(partner, {}, await file('.partner')), PLAINTEXT)
    // What is named is what is replaced.
    await rewrapInstructionFile(s3.client, { Bucket, Key, from: partner, to: newAes, suffix: '.partner' })
    assert.equal(await open(aes, {}, await file()), PLAINTEXT)
    assert.equal(await open(newAes, {}, await file('.partner')), PLAINTEXT)
    await store(aes)
    await rejects(rewrapInstructionFile(s3.client, input), 'ERR_UNSUPPORTED_FORMAT', /use rewrapObject/)
  })

  test('requests are conditional, and an object that was replaced meanwhile is told', async () => {
    const client = new S3Client(s3.config)
    const seen: Record<string, string | undefined>[] = []
    let fails: string | undefined
    client.middlewareStack.add(
      (next, { commandName = '' }) =>
        async (args) => {
          const { headers } = args.request as { headers: Record<string, string> }
          if (/Copy|Put/.test(commandName)) {
            seen.push({
              match: headers['if-match'],
              none: headers['if-none-match'],
              source: headers['x-amz-copy-source-if-match'],
            })
            if (fails) throw Object.assign(new Error('no'), { name: fails })
          }
          return await next(args)
        },
      { step: 'build' },
    )
    await store(aes)
    const { ETag } = await send(new HeadObjectCommand({ Bucket, Key }))
    const bare = ETag!.replaceAll('"', '')
    for (fails of ['PreconditionFailed', 'ConditionalRequestConflict']) {
      await rejects(rewrap({}, client), 'ERR_OBJECT_CHANGED')
      assert.equal(seen.pop(), { match: bare, none: undefined, source: ETag })
    }
    await store(aes, { instructionFile: true })
    await rejects(rewrap({}, client), 'ERR_OBJECT_CHANGED')
    // Also where what was there is gone again.
    const gone = { Bucket, Key, from: aes, to: newAes, newSuffix: '.gone' }
    await rejects(rewrapInstructionFile(client, gone), 'ERR_OBJECT_CHANGED')
    fails = undefined
    const { ETag: fileTag } = await send(new HeadObjectCommand({ Bucket, Key: `${Key}.instruction` }))
    await rewrap({}, client)
    assert.is(seen.pop()?.match, fileTag!.replaceAll('"', ''))
    await rewrapInstructionFile(client, { Bucket, Key, from: newAes, to: aes, newSuffix: '.other' })
    assert.is(seen.pop()?.none, '*')
    client.destroy()
  })

  test('wrong options are refused before anything is sent', async () => {
    await rejects(rewrap({ to: undefined as never }), TypeError, /"to" must have/)
    await rejects(rewrap({ Key: '' }), RangeError, /"Key"/)
    for (const partSize of [5 * MiB - 1, 5 * 2 ** 30 + 1]) {
      await rejects(rewrap({ partSize }), RangeError, /"partSize"/)
    }
    await rejects(rewrap({ partsize: 1 } as never), TypeError, /unknown option "partsize"/)
    await rejects(rewrap({ enforceRotation: 1 as never }), TypeError, /"enforceRotation"/)
    await rejects(rewrap({ dryRun: 'true' as never }), TypeError, /"dryRun"/)
    for (const name of ['encryptionContext', 'newEncryptionContext']) {
      await rejects(rewrap({ [name]: { a: 1 } }), TypeError)
    }
    await rejects(rewrap({ copySource: { mode: 's3' } }), TypeError, /"copySource" goes with/)
    const store = new FakeStore(await fakeHead())
    await rejects(rewrap({ serverSide: { mode: 'x' } as never }, store.client), RangeError, /serverSide.mode/)
    await rejects(rewrap({ signal: AbortSignal.abort() }, store.client), 'ERR_ABORTED')
    for (const name of ['suffix', 'newSuffix']) {
      // Without one, the file would be written in the place of the object.
      const input = { Bucket, Key, from: aes, to: newAes, [name]: '' }
      await rejects(rewrapInstructionFile(store.client, input), RangeError, new RegExp(`"${name}"`))
    }
    assert.equal(store.requests, [])
    await rejects(rewrap({}, {} as never), TypeError, /"client" must be/)
  })

  test('the servers end', async () => {
    kms.destroy()
    await kmsServer.close()
    await s3.close()
  })
  test.run()
}

const KEPT_HEADERS = {
  'cache-control': 'no-cache',
  'content-disposition': 'inline',
  'content-encoding': 'gzip',
  'content-language': 'de',
  'content-type': 'text/plain',
  expires: 'Wed, 18 May 2033 03:33:20 GMT',
  'x-amz-website-redirect-location': '/x',
  'x-amz-storage-class': 'STANDARD_IA',
  'x-amz-object-lock-mode': 'GOVERNANCE',
  'x-amz-object-lock-legal-hold': 'ON',
  'x-amz-object-lock-retain-until-date': '2033-05-18T03:33:20Z',
}

/** What a HEAD of an object under the old key says. */
async function fakeHead(): Promise<Headers> {
  const { metadata } = await sealObject(PLAINTEXT, aes)
  const fields = Object.entries({ title: 't', ...metadata }).map(([name, value]) => [`x-amz-meta-${name}`, value])
  const known = { ...KEPT_HEADERS, etag: '"tag"', 'content-length': '1000', 'x-amz-tagging-count': '1' }
  return { ...known, ...Object.fromEntries(fields) }
}

type Headers = Record<string, string>
interface Request {
  method: string
  query: Record<string, string>
  headers: Headers
}

/** A store of one object, of any length, that answers as S3 does and keeps what it was asked. */
class FakeStore {
  readonly requests: Request[] = []
  readonly client: S3Client
  changeAfter: Headers = {}
  #head: Headers

  constructor(head: Headers, onRequest: (request: Request) => void | Promise<void> = () => {}) {
    this.#head = head
    const handle = async (request: Request, { abortSignal }: { abortSignal?: AbortSignal } = {}) => {
      const { method, query = {}, headers } = request
      this.requests.push({ method, query, headers })
      await onRequest({ method, query, headers })
      if (abortSignal?.aborted) throw Object.assign(new Error('aborted'), { name: 'AbortError' })
      return { response: { statusCode: 200, ...this.#answer({ method, query, headers }) } as never }
    }
    this.client = new S3Client({
      endpoint: 'https://store.example',
      region: 'us-east-1',
      credentials: CREDENTIALS,
      forcePathStyle: true,
      maxAttempts: 1,
      requestHandler: { handle },
    })
  }

  #answer({ method, query, headers }: Request) {
    const body = (xml: string) => Readable.from([Buffer.from(xml)])
    const isStated = (name: string) => /^x-amz-(?:server-side-encryption|customer)/.test(name) && !name.endsWith('-key')
    const echo = Object.fromEntries(Object.entries(headers).filter(([name]) => isStated(name)))
    if (method === 'HEAD') return { headers: { ...this.#head, ...echo }, body: body('') }
    if ('tagging' in query) {
      const tag = '<Tagging><TagSet><Tag><Key>a b</Key><Value>c&amp;d</Value></Tag></TagSet></Tagging>'
      return { headers: {}, body: body(tag) }
    }
    if ('uploads' in query || (method === 'PUT' && !('partNumber' in query))) {
      const metadata = Object.entries(headers).filter(([name]) => name.startsWith('x-amz-meta-'))
      this.#head = { ...this.#head, ...Object.fromEntries(metadata), ...this.changeAfter }
    }
    const xml = '<Result><UploadId>upload</UploadId><ETag>"part"</ETag></Result>'
    return { headers: echo, body: body(xml) }
  }
}

function pick(from: Readonly<Record<string, string>>, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, from[name]!]))
}

void main()
