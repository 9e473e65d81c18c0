import { GetObjectCommand, HeadObjectCommand } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  S3EncryptionClient,
  type S3EncryptionSettings,
  S3RawAesKeyring,
  type SealObjectOptions,
  sealObject,
} from '../../src/s3'
import { rejectionOf, rejects } from '../support/expect'
import { errorXml } from '../support/fault-proxy'
import { bytes } from '../support/keys'
import { type ScriptedAnswer, ScriptedS3 } from '../support/scripted-s3'

const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const FORBID = { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' } as const
const CBC = { ...FORBID, writeVersion1WithoutIntegrity: true } as const
const FORMATS: readonly SealObjectOptions[] = [{}, FORBID, CBC]

const store = new ScriptedS3()
const clients: S3EncryptionClient[] = []
const clientOf = (settings: Partial<S3EncryptionSettings> = {}) => {
  const legacy = { enableLegacyWrappingAlgorithms: true, enableLegacyUnauthenticatedModes: true }
  const client = new S3EncryptionClient(store.config, { keyring, ...FORBID, ...legacy, ...settings })
  clients.push(client)
  return client
}
const client = clientOf()
const put = async (plaintext: Uint8Array, options: SealObjectOptions = {}) => {
  const { metadata, body } = await sealObject(plaintext, keyring, options)
  store.objects.set('object', { metadata, body })
  store.reset()
  return body
}
const get = async (Range: string | undefined, by = client) => {
  const { Body, ContentLength, ContentRange } = await by.send(
    new GetObjectCommand({ Bucket: 'objects', Key: 'object', Range }),
  )
  return { plaintext: Buffer.from(await Body!.transformToByteArray()), ContentLength, ContentRange }
}

test('the last bytes of an object, whatever its length', async () => {
  for (const options of FORMATS) {
    for (const length of [0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 100]) {
      const plaintext = Buffer.from(bytes(length))
      await put(plaintext, options)
      for (const count of [1, 15, 16, 17, 31, 32, 33, 63, 100, 1000]) {
        const expected = plaintext.subarray(-count)
        const first = length - expected.length
        assert.equal(await get(`bytes=-${count}`), {
          plaintext: expected,
          ContentLength: expected.length,
          ContentRange: length === 0 ? 'bytes */0' : `bytes ${first}-${length - 1}/${length}`,
        })
      }
    }
  }
})

test('the answer says which bytes it has, and of how many where that is known', async () => {
  for (const options of FORMATS) {
    const plaintext = Buffer.from(bytes(100))
    await put(plaintext, options)
    const length = options === CBC ? '*' : 100
    for (const [range, first, last, total] of [
      ['bytes=3-40', 3, 40, length],
      ['bytes=3-3', 3, 3, length],
      ['bytes=90-', 90, 99, 100],
      ['bytes=90-1000', 90, 99, 100],
    ] as const) {
      assert.equal(await get(range), {
        plaintext: plaintext.subarray(first, last + 1),
        ContentLength: last + 1 - first,
        ContentRange: `bytes ${first}-${last}/${total}`,
      })
    }
    const { ContentLength, ContentRange } = await get('bytes=105-')
    assert.equal([ContentLength, ContentRange], [0, 'bytes */100'])
  }
})

test('an answer of another range or length than was asked for gives nothing', async () => {
  const body = await put(bytes(100))
  const range = (start: number, end: number, total: number | string = body.length) => ({
    'content-range': `bytes ${start}-${end}/${total}`,
  })
  const changes: [code: 'ERR_MESSAGE_MALFORMED' | 'ERR_MESSAGE_TRUNCATED', change: Partial<ScriptedAnswer>][] = [
    ['ERR_MESSAGE_MALFORMED', { headers: range(0, 79) }],
    ['ERR_MESSAGE_MALFORMED', { headers: range(16, 78) }],
    ['ERR_MESSAGE_MALFORMED', { headers: range(16, 80) }],
    ['ERR_MESSAGE_MALFORMED', { headers: range(16, 79, '*') }],
    ['ERR_MESSAGE_MALFORMED', { headers: {} }],
    ['ERR_MESSAGE_TRUNCATED', { body: body.subarray(16, 79) }],
    ['ERR_MESSAGE_TRUNCATED', { body: body.subarray(16, 81) }],
  ]
  for (const [code, change] of changes) {
    store.reset()
    store.change = (answer) => {
      const { 'content-range': _, ...headers } = answer.headers
      const changed = change.headers && { ...headers, ...change.headers }
      Object.assign(answer, change, changed && { headers: changed })
    }
    await rejects(get('bytes=40-60'), code)
    assert.is(store.open, 0)
  }
})

test('a part is not taken for the whole that was asked for', async () => {
  for (const options of FORMATS) {
    const body = await put(bytes(96), options)
    const part = body.subarray(16)
    store.change = (answer) => {
      const headers = { ...answer.headers, 'content-range': `bytes 16-${body.length - 1}/${body.length}` }
      Object.assign(answer, { status: 206, body: part, headers })
    }
    for (const settings of [{}, { enableDelayedAuthenticationMode: true }]) {
      await rejects(get(undefined, clientOf(settings)), 'ERR_MESSAGE_TRUNCATED', /is a part of the object/)
      assert.is(store.open, 0)
    }
  }
})

test('an object that has no room for a tag, or a wrong padding, gives nothing', async () => {
  const body = await put(bytes(100))
  const { metadata } = store.objects.get('object')!
  store.objects.set('object', { metadata, body: body.subarray(0, 15) })
  await rejects(get('bytes=0-5'), 'ERR_AUTHENTICATION_FAILED')
  const cbc = await put(bytes(96), CBC)
  cbc[cbc.length - 17]! ^= 0xff
  await rejects(get('bytes=90-'), 'ERR_AUTHENTICATION_FAILED')
  cbc[cbc.length - 17]! ^= 0xff
  store.objects.set('object', { ...store.objects.get('object')!, body: cbc.subarray(0, -1) })
  await rejects(get('bytes=90-'), 'ERR_AUTHENTICATION_FAILED')
})

test('a range of an object that is longer than AES-GCM allows gives nothing', async () => {
  await put(bytes(100))
  const { metadata } = store.objects.get('object')!
  const described = Object.fromEntries(Object.entries(metadata).map(([name, value]) => [`x-amz-meta-${name}`, value]))
  for (const start of [32, 2 ** 36 + 32]) {
    const headers = { ...described, 'content-range': `bytes ${start}-${start + 79}/${2 ** 36 + 1000}` }
    store.change = (answer) => void Object.assign(answer, { status: 206, body: bytes(80), headers })
    await rejects(get(`bytes=${start + 20}-${start + 60}`), 'ERR_LIMIT_EXCEEDED')
  }
})

test('a range of an object that another takes the place of is of none of the two', async () => {
  const passing = clientOf({ onPlaintextObject: 'passthrough' })
  const plain = (length: number) => ({ metadata: {}, body: bytes(length) })
  const encrypted = await sealObject(bytes(100), keyring)
  for (const [first, next, code] of [
    [plain(100), plain(101), 'ERR_OBJECT_CHANGED'],
    [plain(100), encrypted, 'ERR_OBJECT_CHANGED'],
    [encrypted, plain(100), 'ERR_UNSUPPORTED_FORMAT'],
  ] as const) {
    store.objects.set('object', first)
    store.reset()
    store.change = (_, n, { method }) => void (n === 0 && method === 'HEAD' && store.objects.set('object', next))
    await rejects(get('bytes=40-60', passing), code)
    assert.is(store.open, 0)
  }
})

test('a length is that of the plaintext where all of the object is asked about, an empty one included', async () => {
  const head = async (input = {}) =>
    (await client.send(new HeadObjectCommand({ Bucket: 'objects', Key: 'object', ...input }))).ContentLength
  for (const length of [0, 100]) {
    await put(bytes(length))
    assert.is(await head(), length)
    for (const input of [{ Range: 'bytes=0-15' }, { PartNumber: 1 }]) {
      store.change = (answer) => Object.assign(answer, { headers: { ...answer.headers, 'content-length': '16' } })
      assert.is(await head(input), 16)
    }
  }
  await put(bytes(32), CBC)
  assert.is(await head(), 48)
  // What is in the instruction file decides, where it can be read.
  const { metadata, body, instructionFile } = await sealObject(bytes(32), keyring, { ...FORBID, instructionFile: true })
  store.objects.set('object', { metadata, body })
  store.objects.set('object.instruction', { metadata: {}, body: instructionFile! })
  assert.is(await head(), 32)
  for (const [status, code] of [
    [403, 'AccessDenied'],
    [403, 'InvalidObjectState'],
    [503, 'SlowDown'],
  ] as const) {
    store.change = (answer, _, { key }) => {
      if (key !== 'object') Object.assign(answer, { status, headers: {}, body: Buffer.from(errorXml(code)) })
    }
    if (status === 403) assert.is(await head(), 48)
    else assert.is(((await rejectionOf(head())) as Error).name, code)
  }
  store.objects.delete('object.instruction')
})

test('a range that does not fit the buffer is refused', async () => {
  await put(bytes(1000))
  await rejects(get('bytes=100-', clientOf({ bufferSize: 800 })), 'ERR_LIMIT_EXCEEDED', /bufferSize/)
  assert.is(store.open, 0)
  assert.is((await get('bytes=100-', clientOf({ bufferSize: 900 }))).plaintext.length, 900)
})

test('numbers of more than 15 digits are refused', async () => {
  for (const range of [`bytes=${10 ** 15}-`, `bytes=0-${10 ** 15}`, `bytes=-${10 ** 15}`]) {
    await rejects(get(range), RangeError, /"Range" must be/)
  }
})

test.after(() => {
  for (const one of clients) one.destroy()
})

test.run()
