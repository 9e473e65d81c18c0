/** `s3://bucket/key` as input and output, on an S3 server in this process. */
import { createCipheriv } from 'node:crypto'
import { appendFileSync, existsSync, statSync, writeFileSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { CreateKeyCommand, KMS } from '@aws-sdk/client-kms'
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseS3Url } from '../../src/cli/s3'
import { startLocalKms } from '../../src/local-kms'
import { S3EncryptionClient, S3KmsKeyring, S3RawAesKeyring, sealObject } from '../../src/s3'
import { bytes } from '../support/keys'
import { CREDENTIALS, startS3 } from '../support/s3-server'
import { startSmallS3 } from '../support/small-s3'
import { keyForms, path, printed, read, sealwax, start } from './cli'

const PLAINTEXT = Buffer.from(bytes(100_000))

async function main(): Promise<void> {
  const s3 = await startS3()
  const Bucket = s3.bucket
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
    AWS_REGION: 'us-east-1',
  })
  const at = ['--endpoint-url', s3.endpoint]
  const key = ['-k', 'key.json']
  const head = async (Key: string) => await s3.client.send(new HeadObjectCommand({ Bucket, Key }))
  const ok = async (...args: string[]) => {
    const result = await sealwax(...args)
    assert.is(result.code, 0, result.stderr)
    return result
  }
  const refused = async (code: number, message: RegExp, ...args: string[]) => {
    const result = await sealwax(...args)
    assert.is(result.code, code, result.stderr)
    assert.match(result.stderr, message)
  }
  writeFileSync(path('plain'), PLAINTEXT)
  await ok('keygen', 'key.json', '--name', 'one')
  await ok('keygen', 'new.json', '--name', 'two')

  test('an object of the S3 client goes there and back', async () => {
    await ok('encrypt', 'plain', '-o', `s3://${Bucket}/dir/object`, ...key, ...at)
    const { Metadata, ContentLength } = await head('dir/object')
    assert.is(ContentLength, PLAINTEXT.length + 16)
    assert.equal(JSON.parse(Metadata!['x-amz-m']!), { namespace: 'sealwax', name: 'one' })
    await ok('decrypt', `s3://${Bucket}/dir/object`, '-o', 'back', ...key, ...at)
    assert.equal(read('back'), PLAINTEXT)
    assert.is(statSync(path('back')).mode & 0o777, 0o600)
    const { stdout } = await ok('decrypt', `s3://${Bucket}/dir/object`, '-o', '-', '-k', 'new.json', ...key, ...at)
    assert.equal(stdout, PLAINTEXT)
    const others = ['-k', 'new.json', '-k', 'new.json']
    await refused(3, /AUTHENTICATION_FAILED/, 'decrypt', `s3://${Bucket}/dir/object`, '-o', 'none', ...others, ...at)
    const { key: wrappingKey } = JSON.parse(read('key.json').toString()) as { key: string }
    const keyring = new S3RawAesKeyring({ wrappingKey: Buffer.from(wrappingKey, 'base64') })
    const client = new S3EncryptionClient(s3.config, { keyring })
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: 'dir/object' }))
    assert.equal(Buffer.from(await Body!.transformToByteArray()), PLAINTEXT)
    client.destroy()
  })

  test('a message goes there and back, in parts where it is long', async () => {
    const message = ['--format', 'message', '--encryption-context', 'a=b']
    writeFileSync(path('long'), bytes(20 * 2 ** 20))
    for (const name of ['long']) {
      await ok('encrypt', name, '-o', `s3://${Bucket}/${name}.sealed`, ...message, ...key, ...at)
      await ok('decrypt', `s3://${Bucket}/${name}.sealed`, '-o', 'back', '-f', ...message, ...key, ...at)
      assert.equal(read('back'), read(name))
    }
    assert.match((await head('long.sealed')).ETag!, /-3"$/)
    await s3.client.send(new PutObjectCommand({ Bucket, Key: 'in clear', Body: PLAINTEXT }))
    const from = `s3://${Bucket}/in clear`
    await ok('encrypt', from, '-o', 'local.sealed', ...key, ...at)
    await ok('decrypt', 'local.sealed', '-o', 'back', '-f', ...key)
    assert.equal(read('back'), PLAINTEXT)
  })

  for (const format of ['s3', 'message']) {
    test(`an upload that is interrupted is not left open: ${format}`, async () => {
      const store = await startSmallS3()
      const to = ['-o', `s3://${store.bucket}/never`, '--format', format, ...key, '--endpoint-url', store.endpoint]
      const { child, done } = start(['encrypt', '-', ...to])
      child.stdin!.write(bytes(20 * 2 ** 20))
      while (![...store.uploads.values()].some(({ parts }) => parts.size > 0)) await nextTurn()
      child.kill('SIGINT')
      assert.is((await done).code, 130)
      assert.equal([store.uploads.size, store.objects.size], [0, 0])
      await store.close()
    })
  }

  test('nor is one whose input proves wrong at its end', async () => {
    const store = await startSmallS3()
    await ok('encrypt', 'long', '-o', 'damaged', ...key)
    appendFileSync(path('damaged'), 'x')
    const to = ['-o', `s3://${store.bucket}/never`, '--endpoint-url', store.endpoint]
    await refused(3, /bytes follow/, 'decrypt', 'damaged', ...to, ...key)
    assert.equal([store.uploads.size, store.objects.size], [0, 0])
    await store.close()
  })

  test('a long object of the S3 client goes up in parts', async () => {
    await ok('encrypt', 'long', '-o', `s3://${Bucket}/long`, ...key, ...at)
    assert.match((await head('long')).ETag!, /-3"$/)
    await ok('decrypt', `s3://${Bucket}/long`, '-o', 'back', '-f', ...key, ...at)
    assert.equal(read('back'), read('long'))
  })

  test('S3 encrypts once more as it is told, and with a key that it does not keep', async () => {
    const store = await startSmallS3()
    const url = `s3://${store.bucket}/twice`
    const there = ['--endpoint-url', store.endpoint]
    const keyed = [...key, ...there]
    const mode = async (...more: string[]) => {
      const { stdout } = await ok('inspect', url, '--json', ...more, ...there)
      return (JSON.parse(stdout.toString()) as { serverSide: { mode: string; keyId?: string } }).serverSide
    }
    await ok('encrypt', 'plain', '-o', url, '--sse', 'aws:kms', '--sse-kms-key-id', 'alias/objects', ...keyed)
    assert.equal(await mode(), { mode: 'kms', keyId: 'alias/objects' })
    await ok('encrypt', 'plain', '-f', '-o', url, '--format', 'message', '--sse', 'aws:kms:dsse', ...keyed)
    assert.is((await mode()).mode, 'dsse')
    await ok('encrypt', 'plain', '-f', '-o', url, '--sse', 'AES256', ...keyed)
    assert.is((await mode()).mode, 's3')

    const customer = ['--sse-c-key', 'customer.key']
    writeFileSync(path('customer.key'), bytes(32), { mode: 0o600 })
    for (const name of ['plain', 'long']) {
      await ok('encrypt', name, '-f', '-o', url, ...customer, ...keyed)
      await ok('decrypt', url, '-f', '-o', 'back', ...customer, ...keyed)
      assert.equal(read('back'), read(name))
    }
    assert.is((await mode(...customer)).mode, 'customer')
    await refused(1, /cannot read/, 'decrypt', url, '-f', '-o', 'back', ...keyed)
    writeFileSync(path('short.key'), bytes(31), { mode: 0o600 })
    await refused(1, /32 bytes, and has 31/, 'inspect', url, '--sse-c-key', 'short.key', ...there)
    await refused(2, /is for --sse aws:kms/, 'encrypt', 'plain', '-o', url, '--sse-kms-key-id', 'x', ...keyed)
    await refused(2, /cannot be used with/, 'encrypt', 'plain', '-o', url, '--sse', 'AES256', ...customer, ...keyed)
    await store.close()

    // This one does not do as it is told, and says so.
    await ok('encrypt', 'plain', '-o', `s3://${Bucket}/told`, ...key, ...at)
    const rewrap = ['rewrap', `s3://${Bucket}/told`, ...key, '--new-key', 'new.json', ...at]
    await refused(1, /was asked for x-amz-server-side-encryption "aws:kms"/, ...rewrap, '--sse', 'aws:kms')
  })

  test('inspect tells what protects an object', async () => {
    const inspect = async (name: string, ...more: string[]) =>
      (await ok('inspect', `s3://${Bucket}/${name}`, ...at, ...more)).stdout.toString()
    const object = JSON.parse(await inspect('dir/object', '--json'))
    assert.is(object.clientSide.formatVersion, 3)
    assert.is(object.clientSide.wrapAlgorithm, 'AES/GCM')
    assert.is(object.message, undefined)
    assert.match(await inspect('dir/object'), /client side {1,}version 3[\s\S]*"name" = "one"[\s\S]*Protected when/)
    const message = JSON.parse(await inspect('long.sealed', '--json'))
    assert.is(message.clientSide, undefined)
    assert.is(message.message.plaintextLength, 20 * 2 ** 20)
    assert.equal(message.message.encryptionContext.a, 'b')
    assert.equal(message.threats, [], 'what the store can read of it is not the content')
    assert.not.match(await inspect('long.sealed'), /Protected when|decrypts for everyone/)
    const clear = JSON.parse(await inspect('in clear', '--json'))
    assert.is(clear.clientSide ?? clear.message, undefined)
    assert.is(clear.threats[0].answer, 'no')
    await refused(1, /NotFound|not there|no such/i, 'inspect', `s3://${Bucket}/missing`, ...at)
  })

  test('an object that is there is kept without --force', async () => {
    await refused(1, /exists already/, 'encrypt', 'plain', '-o', `s3://${Bucket}/dir/object`, ...key, ...at)
    await ok('encrypt', 'plain', '-o', `s3://${Bucket}/dir/object`, '--force', ...key, ...at)
  })

  test('a changed object gives no file', async () => {
    const { Body, Metadata = {} } = await s3.client.send(new GetObjectCommand({ Bucket, Key: 'dir/object' }))
    const body = await Body!.transformToByteArray()
    body[5]! ^= 1
    await s3.client.send(new PutObjectCommand({ Bucket, Key: 'changed', Body: body, Metadata }))
    await refused(3, /ERR_AUTHENTICATION_FAILED/, 'decrypt', `s3://${Bucket}/changed`, '-o', 'none', ...key, ...at)
    assert.not.ok(existsSync(path('none')))
  })

  test('rewrap gives all objects below a prefix another key', async () => {
    const kmsServer = await startLocalKms()
    const kms = new KMS({ endpoint: kmsServer.endpoint, region: 'us-east-1', credentials: CREDENTIALS })
    const arn = (await kms.send(new CreateKeyCommand({}))).KeyMetadata!.Arn!
    for (const name of ['a', 'b']) await ok('encrypt', 'plain', '-o', `s3://${Bucket}/all/${name}`, ...key, ...at)
    await ok('encrypt', 'plain', '-o', `s3://${Bucket}/all/c`, '-k', 'new.json', ...at)
    const url = `s3://${Bucket}/all/`
    const toKms = ['--new-wrapping-key', arn, '--kms-endpoint', kmsServer.endpoint, ...at]
    const dry = await sealwax('rewrap', url, ...key, ...toKms, '--dry-run')
    assert.is(dry.stdout.toString(), '2 would be rewrapped, 0 already, 0 not encrypted, 1 failed\n', dry.stderr)
    assert.is(dry.code, 3)
    assert.match(dry.stderr, /"s3:\/\/objects\/all\/c": .*ERR_AUTHENTICATION_FAILED/)
    const done = await ok('rewrap', url, ...key, '-k', 'new.json', ...toKms, '--journal', 'journal')
    assert.is(done.stdout.toString(), '3 rewrapped, 0 already, 0 not encrypted, 0 failed\n')
    const again = await ok('rewrap', url, ...key, '-k', 'new.json', ...toKms, '--journal', 'journal')
    assert.is(again.stdout.toString(), '0 rewrapped, 0 already, 0 not encrypted, 0 failed\n')
    await ok(
      'decrypt',
      `${url}a`,
      '-o',
      'back',
      '-f',
      '--wrapping-key',
      arn,
      '--kms-endpoint',
      kmsServer.endpoint,
      ...at,
    )
    assert.equal(read('back'), PLAINTEXT)
    const keyring = new S3KmsKeyring({ keyId: arn, clientProvider: () => kms })
    const client = new S3EncryptionClient(s3.config, { keyring })
    await client.send(new GetObjectCommand({ Bucket, Key: 'all/c' })).then(({ Body }) => Body!.transformToByteArray())
    client.destroy()
    const same = ['--wrapping-key', arn]
    await refused(1, /ERR_WRAPPING_KEY/, 'rewrap', url, ...same, ...toKms)
    kms.destroy()
    await kmsServer.close()
  })

  test('rewrap takes encryption contexts, and sizes of parts', async () => {
    const kmsServer = await startLocalKms()
    const kms = new KMS({ endpoint: kmsServer.endpoint, region: 'us-east-1', credentials: CREDENTIALS })
    const arn = (await kms.send(new CreateKeyCommand({}))).KeyMetadata!.Arn!
    const inKms = ['--wrapping-key', arn, '--kms-endpoint', kmsServer.endpoint, ...at]
    const url = `s3://${Bucket}/context/object`
    await ok('encrypt', 'plain', '-o', url, ...inKms, '-c', 'department=sales')
    const to = ['--new-wrapping-key', arn, '--no-enforce-rotation', '--part-size', '5MiB']
    const wrong = await sealwax('rewrap', url, ...inKms, ...to, '-c', 'department=legal')
    assert.match(wrong.stderr, /ERR_ENCRYPTION_CONTEXT/)
    await ok('rewrap', url, ...inKms, ...to, '-c', 'department=sales', '--new-encryption-context', 'department=audit')
    await refused(3, /ERR_ENCRYPTION_CONTEXT/, 'decrypt', url, '-o', 'c', ...inKms, '-c', 'department=sales')
    await ok('decrypt', url, '-o', 'c', ...inKms, '-c', 'department=audit')
    assert.equal(read('c'), PLAINTEXT)
    await refused(2, /from 5242880 to/, 'rewrap', url, ...inKms, ...to.slice(0, 3), '--part-size', '1MiB')
    kms.destroy()
    await kmsServer.close()
  })

  test('an object under another KMS key is refused, unless a key could not be asked', async () => {
    const kmsServer = await startLocalKms()
    const kms = new KMS({ endpoint: kmsServer.endpoint, region: 'us-east-1', credentials: CREDENTIALS })
    const [own, other] = [await kms.createKey({}), await kms.createKey({})].map(({ KeyMetadata }) => KeyMetadata!.Arn!)
    const inKms = ['--kms-endpoint', kmsServer.endpoint, ...at]
    const url = `s3://${Bucket}/under-kms`
    await ok('encrypt', 'plain', '-o', url, '--wrapping-key', own!, ...inKms)
    const decrypt = ['decrypt', url, '-o', 'none', ...inKms]
    await refused(3, /IncorrectKeyException/, ...decrypt, '--wrapping-key', other!)
    await refused(1, /NotFoundException/, ...decrypt, '--wrapping-key', 'alias/none', '--wrapping-key', other!)
    kms.destroy()
    await kmsServer.close()
  })

  test('from one object to another', async () => {
    await s3.client.send(new PutObjectCommand({ Bucket, Key: 'from', Body: PLAINTEXT }))
    await ok('encrypt', `s3://${Bucket}/from`, '-o', `s3://${Bucket}/sealed`, ...key, ...at)
    assert.is((await head('sealed')).ContentLength, PLAINTEXT.length + 16)
    await ok('decrypt', `s3://${Bucket}/sealed`, '-o', `s3://${Bucket}/opened`, ...key, ...at)
    const { Body } = await s3.client.send(new GetObjectCommand({ Bucket, Key: 'opened' }))
    assert.equal(Buffer.from(await Body!.transformToByteArray()), PLAINTEXT)
  })

  test('old objects are opened where the switches allow it', async () => {
    const { key: text } = JSON.parse(read('key.json').toString()) as { key: string }
    const keyring = new S3RawAesKeyring({ wrappingKey: Buffer.from(text, 'base64') })
    const V1 = { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT', writeVersion1WithoutIntegrity: true } as const
    const { metadata, body } = await sealObject(PLAINTEXT, keyring, V1)
    await s3.client.send(new PutObjectCommand({ Bucket, Key: 'v1', Body: body, Metadata: { ...metadata } }))
    const open = ['decrypt', `s3://${Bucket}/v1`, '-o', 'v1', ...key, ...at]
    const policy = ['--commitment-policy', 'require-encrypt-allow-decrypt']
    const [wraps, modes] = ['--enable-legacy-wrapping-algorithms', '--enable-legacy-unauthenticated-modes']
    await refused(1, /ERR_LEGACY_REFUSED/, ...open, ...policy)
    await refused(1, /ERR_LEGACY_REFUSED/, ...open, ...policy, wraps)
    await ok(...open, ...policy, wraps, modes)
    assert.equal(read('v1'), PLAINTEXT)
    for (const legacy of [wraps, modes]) {
      await refused(2, /legacy algorithms are of S3 objects/, 'decrypt', 'plain', '-o', 'x', ...key, legacy)
    }
    const wrap = createCipheriv('id-aes256-wrap', Buffer.from(text, 'base64'), Buffer.alloc(8, 0xa6))
    const old = {
      'x-amz-key-v2': wrap.update(bytes(32)).toString('base64'),
      'x-amz-wrap-alg': 'AESWrap',
      'x-amz-cek-alg': 'AES/GCM/NoPadding',
      'x-amz-tag-len': '128',
      'x-amz-iv': Buffer.alloc(12).toString('base64'),
      'x-amz-matdesc': '{}',
    }
    await s3.client.send(new PutObjectCommand({ Bucket, Key: 'old', Body: body, Metadata: old }))
    const rewrap = ['rewrap', `s3://${Bucket}/old`, ...key, '--new-key', 'new.json', ...at]
    await refused(1, /ERR_LEGACY_REFUSED/, ...rewrap, ...policy)
    await refused(1, /ERR_COMMITMENT_POLICY/, ...rewrap, wraps)
    assert.match((await ok(...rewrap, ...policy, wraps)).stdout.toString(), /^1 rewrapped/)
  })

  test('a bucket may be named by the ARN of an access point', () => {
    const point = 'arn:aws:s3:us-east-1:111122223333:accesspoint'
    const outpost = 'arn:aws:s3-outposts:us-east-1:111122223333:outpost'
    for (const Bucket of [`${point}/one`, `${point}:one`, `${outpost}/op-1/accesspoint/one`, 'accesspoint', 'arn']) {
      for (const Key of ['key', 'accesspoint/one/key', ':accesspoint/'])
        assert.equal(parseS3Url(`s3://${Bucket}/${Key}`), { Bucket, Key })
      assert.equal(parseS3Url(`s3://${Bucket}`, { keyRequired: false }), { Bucket, Key: '' })
    }
  })

  test('what cannot be is refused', async () => {
    const url = `s3://${Bucket}/x`
    await refused(2, /s3:\/\/bucket\/key/, 'encrypt', 'plain', '-o', 's3://bucket', ...key, ...at)
    await refused(2, /--recursive is for folders/, 'encrypt', '-r', 'plain', '-o', url, ...key, ...at)
    await refused(2, /--endpoint-url must be a URL/, 'encrypt', 'plain', '-o', url, ...key, '--endpoint-url', 'ftp://x')
    await refused(2, /one wrapping key/, 'encrypt', 'plain', '-o', url, ...key, '-k', 'new.json', ...at)
    await refused(2, /use --format message/, 'encrypt', 'plain', '-o', url, '--frame-length', '64', ...key, ...at)
    const rsa = ['--rsa-public-key', 'rsa.pem', '--oaep-hash', 'sha512']
    await refused(2, /RSA OAEP of S3 objects has SHA-1/, 'encrypt', 'plain', '-o', url, ...rsa, ...at)
    const opened = ['--rsa-private-key', 'rsa.pem', '--oaep-hash', 'sha1']
    await refused(2, /RSA OAEP of S3 objects has SHA-1/, 'decrypt', url, '-o', 'x', ...opened, ...at)
    const token = ['--wrapping-key', 'pkcs11:token=t;object=o?module-path=/nowhere.so']
    for (const raw of [key, rsa.slice(0, 2), token])
      await refused(2, /-context is for keys of AWS KMS/, 'encrypt', 'plain', '-o', url, '-c', 'a=b', ...raw, ...at)
    const pair = ['--new-encryption-context', 'a=b']
    for (const raw of [
      ['--new-key', 'new.json'],
      ['--new-rsa-public-key', 'rsa.pem'],
      ['--new-wrapping-key', token[1]!],
    ])
      await refused(2, /new-encryption-context is for keys of AWS/, 'rewrap', url, ...key, ...raw, ...pair, ...at)
    await refused(1, /NoSuchBucket/, 'rewrap', 's3://none/', ...key, '--new-key', 'new.json', ...at)
    await refused(2, /--dry-run does/, 'rewrap', url, ...key, '--new-key', 'new.json', '--journal', 'j', '--dry-run')
  })

  test('what has no effect is refused', async () => {
    const url = `s3://${Bucket}/dir/object`
    const local: string[][] = [
      ['encrypt', 'plain', ...at],
      ['encrypt', 'plain', '--sse', 'AES256'],
      ['encrypt', 'plain', '--sse-kms-key-id', 'x'],
      ['decrypt', 'plain', '--sse-c-key', 'x'],
      ['decrypt', 'plain', '--format', 's3'],
      ['encrypt', '-r', '.', '--format', 's3'],
      ['decrypt', '-r', '.', ...at],
    ]
    for (const args of local) await refused(2, / is for objects at s3:/, ...args, '-o', 'none', ...key)
    await refused(2, /--endpoint-url is for objects at s3:/, 'inspect', 'plain', ...at)
    for (const sse of [
      ['--sse', 'aws:kms'],
      ['--sse-kms-key-id', 'x'],
    ]) {
      await refused(2, /objects that are written/, 'decrypt', url, '-o', 'none', ...key, ...at, ...sse)
    }
    const early = '--release-plaintext-before-signature-is-verified'
    await refused(2, /S3 objects are not signed/, 'decrypt', url, '-o', '-', ...key, ...at, early)
    assert.not(existsSync(path('none')))
  })

  test('no key was ever printed', () => {
    const output = Buffer.concat(printed)
    for (const name of ['key.json', 'new.json']) for (const form of keyForms(name)) assert.not.ok(output.includes(form))
  })

  test('the server ends', async () => {
    await s3.close()
  })
  test.run()
}

void main()
