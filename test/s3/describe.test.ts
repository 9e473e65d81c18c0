import type { S3Client } from '@aws-sdk/client-s3'
import { S3Client as PlainClient } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { describeObject, S3EncryptionClient, S3RawAesKeyring, type SealObjectOptions, sealObject } from '../../src/s3'
import { rejectionOf, rejects } from '../support/expect'
import { bytes } from '../support/keys'
import { ScriptedS3 } from '../support/scripted-s3'

const where = { Bucket: 'objects', Key: 'object' }
const materialDescription = { owner: 'sales' }
const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32), materialDescription })
const store = new ScriptedS3()
const clients: S3Client[] = [new PlainClient(store.config), new S3EncryptionClient(store.config, { keyring })]

const put = async (options: SealObjectOptions = {}) => {
  const { metadata, body, instructionFile } = await sealObject(bytes(100), keyring, options)
  store.objects.clear()
  store.reset()
  store.objects.set('object', { metadata, body })
  if (instructionFile) store.objects.set('object.own', { metadata: {}, body: instructionFile })
}
const answers = async (client = clients[0]!) =>
  (await describeObject(client, where)).threats.map(({ answer }) => answer)

for (const client of clients) {
  const name = client.constructor.name

  test(`${name}: each version is told, from metadata and instruction files`, async () => {
    const FORBID = { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' } as const
    for (const instructionFile of [true, false]) {
      for (const [formatVersion, options] of [
        [3, {}],
        [2, FORBID],
        [1, { ...FORBID, writeVersion1WithoutIntegrity: true }],
      ] as const) {
        await put({ ...options, instructionFile })
        const input = { ...where, InstructionFileSuffix: '.own' }
        const { clientSide, serverSide } = await describeObject(client, input)
        const isV1 = formatVersion === 1
        assert.equal(clientSide, {
          formatVersion,
          contentAlgorithm: ({ 1: 'AES/CBC/PKCS5Padding', 2: 'AES/GCM/NoPadding', 3: '115' } as const)[formatVersion],
          wrapAlgorithm: isV1 ? 'AES' : 'AES/GCM',
          materialDescription: clientSide!.materialDescription,
          instructionFile,
          authenticated: !isV1,
          keyCommitment: formatVersion === 3,
          legacyWrap: isV1,
        })
        assert.equal({ ...clientSide!.materialDescription }, materialDescription)
        assert.equal(serverSide, { mode: 'none' })
        assert.is(store.requests.length, instructionFile ? 2 : 1)
        assert.ok(store.requests.every(({ method, key }) => method === 'HEAD' || key === 'object.own'))
      }
    }
  })

  test(`${name}: what the store does is told, and the key that old objects name`, async () => {
    await put()
    const sse = 'x-amz-server-side-encryption'
    const cases: [headers: Record<string, string>, expected: object][] = [
      [{ [sse]: 'AES256' }, { mode: 's3' }],
      [
        { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: 'arn', [`${sse}-bucket-key-enabled`]: 'true' },
        { mode: 'kms', keyId: 'arn', bucketKey: true },
      ],
      [{ [sse]: 'aws:kms:dsse' }, { mode: 'dsse' }],
      [{ [sse]: 'aws:new' }, { mode: 'aws:new' }],
      [{ [`${sse}-customer-algorithm`]: 'AES256', [`${sse}-customer-key-md5`]: 'x' }, { mode: 'customer' }],
    ]
    for (const [headers, expected] of cases) {
      store.change = (answer) => Object.assign(answer.headers, headers)
      assert.equal((await describeObject(client, where)).serverSide, expected)
    }
    const ses = {
      'x-amz-key-v2': Buffer.alloc(184, 1).toString('base64'),
      'x-amz-iv': Buffer.alloc(12, 1).toString('base64'),
      'x-amz-cek-alg': 'AES/GCM/NoPadding',
      'x-amz-wrap-alg': 'kms',
      'x-amz-tag-len': '128',
      'x-amz-matdesc': '{"kms_cmk_id":"alias/aws/ses"}',
    }
    store.objects.set('object', { metadata: ses, body: bytes(100) })
    const { clientSide } = await describeObject(client, where)
    assert.equal([clientSide?.keyId, clientSide?.legacyWrap], ['alias/aws/ses', true])
  })
}

test('threats are answered for client and store together', async () => {
  await put()
  assert.equal(await answers(), ['yes', 'yes', 'yes', 'yes', 'no', 'no'])
  await put({ commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' })
  assert.equal(await answers(), ['yes', 'yes', 'yes', 'partly', 'no', 'no'])
  await put({ commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT', writeVersion1WithoutIntegrity: true })
  assert.equal(await answers(), ['yes', 'yes', 'yes', 'no', 'no', 'no'])
  store.objects.set('object', { metadata: { title: 'a' }, body: bytes(100) })
  assert.is((await describeObject(clients[0]!, where)).clientSide, undefined)
  const header = (name: string, value: string) => {
    store.change = (answer) => Object.assign(answer.headers, { [`x-amz-server-side-encryption${name}`]: value })
  }
  assert.equal(await answers(), ['no', 'no', 'no', 'no', 'no', 'no'])
  header('', 'AES256')
  assert.equal(await answers(), ['yes', 'no', 'no', 'no', 'no', 'no'])
  for (const mode of ['aws:kms', 'aws:kms:dsse']) {
    header('', mode)
    assert.equal(await answers(), ['yes', 'partly', 'no', 'no', 'no', 'no'])
  }
  header('-customer-algorithm', 'AES256')
  assert.equal(await answers(), ['yes', 'yes', 'no', 'no', 'no', 'no'])
})

test('what is broken, missing or wrongly asked for is an error', async () => {
  await put()
  const { metadata, body } = store.objects.get('object')!
  const { 'x-amz-d': _, ...cut } = metadata
  store.objects.set('object', { metadata: cut, body })
  await rejects(describeObject(clients[0]!, where), 'ERR_MESSAGE_MALFORMED')
  await put({ instructionFile: true })
  await rejects(describeObject(clients[0]!, where), 'ERR_UNSUPPORTED_FORMAT', /instruction file/)
  store.objects.clear()
  assert.is(((await rejectionOf(describeObject(clients[0]!, where))) as Error).name, 'NotFound')
  await rejects(describeObject(clients[0]!, { ...where, Range: 'x' } as never), TypeError, /unknown option/)
  await rejects(describeObject(clients[0]!, { ...where, Key: '' }), RangeError, /"Key"/)
  await rejects(describeObject({} as never, where), TypeError, /"client" must be/)
})

test.after(() => {
  for (const one of clients) one.destroy()
})

test.run()
