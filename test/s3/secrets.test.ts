/** Keys, the hashes that tags are made of, and plaintext that nobody was given: none is left behind, whatever becomes of a call. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Engine, getEngine, type SegmentHash, useEngine } from '../../src/engine/engine'
import { parseS3Metadata, type S3Envelope } from '../../src/format/s3-metadata'
import {
  downloadObject,
  openObject,
  resumeToken,
  resumeUpload,
  S3EncryptionClient,
  type S3EncryptionSettings,
  type S3Keyring,
  S3RawAesKeyring,
  sealObject,
} from '../../src/s3'
import { checkRewrapKeys, rewrapEnvelope } from '../../src/s3/rewrap-key'
import { rejectionOf, rejects } from '../support/expect'
import { givenBy, secretsMadeBy } from '../support/given-by'
import { bytes } from '../support/keys'
import { ScriptedS3 } from '../support/scripted-s3'
import { startSmallS3 } from '../support/small-s3'

const MiB = 2 ** 20
const MARK = 0x5a
const MARKED = Buffer.alloc(5, MARK)
const WRAPPING_KEY = bytes(32)
const keyring = new S3RawAesKeyring({ wrappingKey: WRAPPING_KEY })
const plaintextOf = (length: number) => new Uint8Array(length).fill(MARK)
const folder = mkdtempSync(join(tmpdir(), 'sealwax-test-'))

/** Does `work`, and looks into all memory in which it had secrets. Gives the memory for results. */
async function leavesNothing(work: () => Promise<unknown>): Promise<Buffer[]> {
  const engine = getEngine()
  const secrets: { readonly memory: Uint8Array; readonly value: Buffer }[] = []
  const results: Buffer[] = []
  const note = (memory: Uint8Array) => {
    const value = Buffer.from(memory)
    if (!value.equals(WRAPPING_KEY)) secrets.push({ memory, value })
  }
  const noting =
    <Args extends [Uint8Array, ...unknown[]]>(call: (...args: Args) => SegmentHash) =>
    (...args: Args) => {
      note(args[0])
      const given = call.apply(engine, args)
      note(given.hash)
      return given
    }
  const recording: Partial<Engine> = {
    allocate: (length) => {
      const memory = engine.allocate(length)
      results.push(memory)
      return memory
    },
    hkdf: (...args) => {
      const key = engine.hkdf(...args)
      for (const secret of [args[1], key]) note(secret)
      return key
    },
    hkdfPair: (...args) => {
      const pair = engine.hkdfPair(...args)
      for (const secret of [args[1], pair[0]]) note(secret)
      return pair
    },
    sealSegment: noting((...args: Parameters<Engine['sealSegment']>) => {
      const given = engine.sealSegment(...args)
      // No result, but memory from which a part of a block is taken: the rest of it is bare keystream.
      const out = args[4]
      if (!results.some(({ buffer }) => buffer === out.buffer)) note(out)
      return given
    }),
    openSegment: (...args) => {
      results.push(Buffer.from(args[4].buffer))
      return noting(engine.openSegment)(...args)
    },
    hashSegment: noting(engine.hashSegment),
    combineSegments: (...args) => {
      note(args[0])
      return engine.combineSegments(...args)
    },
  }
  let made: Uint8Array[] = []
  let joined: Uint8Array[] = []
  useEngine(Object.assign(Object.create(engine), recording))
  try {
    joined = await givenBy([[Buffer, 'concat']], async () => {
      made = await secretsMadeBy(work)
    })
  } finally {
    useEngine(engine)
  }
  assert.ok(secrets.length > 0)
  for (const { memory } of secrets) assert.not(memory.some(Boolean))
  for (const { buffer, byteOffset, length } of [...made, ...joined]) {
    const memory = Buffer.from(buffer, byteOffset, length)
    assert.not(memory.includes(MARKED), 'plaintext is left')
    for (const { value } of secrets) assert.not(memory.includes(value), 'a key or a hash is left')
  }
  return results
}

/** The same for what fails: no result is left either. */
async function failsAndLeavesNothing(work: () => Promise<unknown>): Promise<void> {
  for (const memory of await leavesNothing(async () => assert.instance(await rejectionOf(work()), Error))) {
    assert.not(memory.some(Boolean))
  }
}

/** Reads to the end, and until all is over. */
async function drain(body: unknown): Promise<void> {
  const stream = body as Readable
  const closed = new Promise((resolve) => stream.once('close', resolve))
  try {
    for await (const _ of stream);
  } finally {
    await closed
  }
}

const store = new ScriptedS3()
const target = { Bucket: 'objects', Key: 'object' }
const put = async (plaintext: Uint8Array) => {
  const { metadata, body } = await sealObject(plaintext, keyring)
  store.objects.set(target.Key, { metadata, body })
  store.reset()
  return { metadata, body }
}
const clientOf = (settings: Partial<S3EncryptionSettings> = {}) =>
  new S3EncryptionClient(store.config, { keyring, ...settings })
const flipLast = (answer: { body: Uint8Array }) => {
  const { body } = answer
  answer.body = body.with(body.length - 1, body.at(-1)! ^ 1)
}

const get = async (settings: Partial<S3EncryptionSettings>, more = {}) => {
  const { Body } = await clientOf(settings).send(new GetObjectCommand({ ...target, ...more }))
  await drain(Body)
}
const READERS = {
  'an object': () => get({}),
  'a range': () => get({ enableLegacyUnauthenticatedModes: true }, { Range: 'bytes=3-70' }),
  'an object unverified': () => get({ enableDelayedAuthenticationMode: true }),
  'a long object twice': () => get({ bufferSize: 16 }),
  'a long object from a file': () => get({ bufferSize: 16, largeObjects: 'temporary-file' }),
  'an object to a file': () => downloadObject(clientOf(), target, join(folder, 'downloaded')),
  'an object to a Writable': () =>
    downloadObject(clientOf(), target, new Writable({ write: (_chunk, _encoding, done) => done() })),
} as const

for (const [name, read] of Object.entries(READERS)) {
  test(`reading ${name}`, async () => {
    // The memory of a range is the caller's.
    await put(name === 'a range' ? bytes(100) : plaintextOf(100))
    await leavesNothing(read)
  })

  if (name === 'a range') continue
  test(`reading ${name} that was changed`, async () => {
    await put(plaintextOf(100))
    store.change = (answer, _n, { method }) => {
      if (method === 'GET') flipLast(answer)
    }
    await failsAndLeavesNothing(read)
  })
}

test('reading a long object that is another the second time', async () => {
  for (const change of [
    (answer: { body: Uint8Array }) => (answer.body = answer.body.with(0, answer.body[0]! ^ 1)),
    (answer: { headers: Record<string, string> }) => (answer.headers.etag = '"another"'),
  ]) {
    await put(plaintextOf(100))
    store.change = (answer, n) => {
      if (n === 1) change(answer)
    }
    await failsAndLeavesNothing(READERS['a long object twice'])
  }
})

test('giving an object another wrapping key', async () => {
  const other = new S3RawAesKeyring({ wrappingKey: bytes(32, 77) })
  const { metadata } = await sealObject(bytes(10), keyring)
  const envelope = parseS3Metadata(metadata) as S3Envelope
  const rewrap = (of: S3Envelope, from: S3Keyring, to: S3Keyring) => rewrapEnvelope(of, checkRewrapKeys({ from, to }))
  const done = (await rewrap(envelope, keyring, other))!
  await leavesNothing(async () => assert.ok(await rewrap(envelope, keyring, other)))
  await leavesNothing(async () => assert.is(await rewrap(done, keyring, other), undefined))
  const ofAnother = parseS3Metadata((await sealObject(bytes(10), keyring)).metadata) as S3Envelope
  const { encryptedDataKey, materialDescription } = ofAnother
  for (const [of, to, code] of [
    [envelope, keyring, 'ERR_WRAPPING_KEY'],
    [{ ...envelope, encryptedDataKey, materialDescription }, other, 'ERR_AUTHENTICATION_FAILED'],
  ] as const) {
    await failsAndLeavesNothing(() => rewrap(of, keyring, to))
    await rejects(rewrap(of, keyring, to), code)
  }
  // What another keyring gives in the place of a data key.
  const given: Uint8Array[] = []
  const giving = () => {
    given.push(bytes(32, 3))
    return given.at(-1)!
  }
  const made = other.wrapDataKey.bind(other)
  const unwrapDataKey = async () => giving()
  await rejects(rewrap(envelope, keyring, { wrapDataKey: made, unwrapDataKey }), 'ERR_INVALID_MATERIALS')
  const wrapDataKey: typeof made = async (request) => ({ ...(await made(request)), dataKey: giving() })
  await rejects(rewrap(envelope, keyring, { wrapDataKey, unwrapDataKey }), 'ERR_INVALID_MATERIALS')
  assert.equal(given, [new Uint8Array(32), new Uint8Array(32)])
})

test('opening and sealing without a client', async () => {
  const { metadata, body } = await put(plaintextOf(100))
  await leavesNothing(() => sealObject(plaintextOf(100), keyring))
  await leavesNothing(() => openObject({ metadata, body }, keyring))
  const stream = () => openObject({ metadata, body: Readable.from([body]) }, keyring, { bufferSize: 16 })
  await leavesNothing(async () => drain((await stream()).plaintext))
  body[0]! ^= 1
  await failsAndLeavesNothing(() => openObject({ metadata, body }, keyring))
  await failsAndLeavesNothing(stream)
})

test('opening what takes several turns', async () => {
  const { metadata, body } = await sealObject(plaintextOf(8 * MiB + 5), keyring)
  await leavesNothing(() => openObject({ metadata, body }, keyring))
  body[0]! ^= 1
  await failsAndLeavesNothing(() => openObject({ metadata, body }, keyring))
})

test('sealing for a reader who has enough: nothing more is sealed, under zeros which everybody knows', async () => {
  for (const length of [3 * MiB, 100]) {
    await leavesNothing(async () => {
      const { body } = await sealObject(Readable.from([plaintextOf(length)], { objectMode: false }), keyring)
      body.on('data', () => body.destroy())
      await once(body, 'close')
    })
  }
})

async function main(): Promise<void> {
  const s3 = await startSmallS3()
  const Key = 'object'
  const { bucket: Bucket } = s3
  const clients: S3Client[] = []
  const uploading = () => {
    const client = new S3EncryptionClient(s3.config, { keyring })
    clients.push(client)
    return client
  }
  const begin = async (client = uploading()) => {
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }))
    const upload = { Bucket, Key, UploadId }
    const tags: (string | undefined)[] = []
    return {
      client,
      UploadId: UploadId!,
      part: async (PartNumber: number, Body: Uint8Array | Readable, more = {}) => {
        const { ETag } = await client.send(new UploadPartCommand({ ...upload, PartNumber, Body, ...more }))
        tags[PartNumber - 1] = ETag
      },
      complete: () => {
        const Parts = tags.map((ETag, i) => ({ PartNumber: i + 1, ETag }))
        return client.send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }))
      },
      abort: () => client.send(new AbortMultipartUploadCommand(upload)),
    }
  }
  /** Its body comes in pieces. */
  const streamOf = (plaintext: Uint8Array) => Readable.from([plaintext.subarray(0, 7), plaintext.subarray(7)])

  test('an upload that is completed', async () => {
    await leavesNothing(async () => {
      const { part, complete } = await begin()
      const [first, second, third] = [plaintextOf(75), plaintextOf(75), plaintextOf(9)]
      // It waits for its place, and comes again.
      await part(2, second!)
      await part(2, second!)
      await part(1, streamOf(first!), { ContentLength: 75 })
      await part(2, second!)
      await part(3, third!)
      await complete()
    })
  })

  test('an upload that is aborted, while a part waits and after others were sealed', async () => {
    for (const numbers of [[2], [1, 2]]) {
      await leavesNothing(async () => {
        const { part, abort } = await begin()
        for (const number of numbers) await part(number, plaintextOf(75))
        await abort()
      })
    }
  })

  test('a part that is not what was said', async () => {
    await leavesNothing(async () => {
      const { part, abort } = await begin()
      await rejects(part(1, streamOf(plaintextOf(75)), { ContentLength: 76 }), RangeError)
      await rejects(part(1, streamOf(plaintextOf(75)), { ContentLength: 74 }), RangeError)
      await abort()
    })
  })

  test('the ciphertext of other bytes in the place of a part', async () => {
    const results = await leavesNothing(async () => {
      const { part, abort } = await begin()
      await part(1, plaintextOf(75))
      await rejects(part(1, plaintextOf(75).with(0, 0)), 'ERR_MULTIPART_UPLOAD')
      await abort()
    })
    assert.is(results.length, 2)
    assert.not(results[1]!.some(Boolean))
  })

  test('an upload that goes on elsewhere, or is not taken there', async () => {
    await leavesNothing(async () => {
      const { client, part, UploadId } = await begin()
      await part(1, plaintextOf(75))
      const token = await resumeToken(client, UploadId)
      const other = uploading()
      await resumeUpload(other, token)
      await rejects(resumeUpload(other, token), 'ERR_MULTIPART_UPLOAD', /in use/)
      other.destroy()
    })
  })

  test('what a token says, where it is sealed and where it is opened', async () => {
    const engine = getEngine()
    const states: Uint8Array[] = []
    const recording: Partial<Engine> = {
      seal: (...args) => {
        states.push(args[3])
        engine.seal(...args)
      },
      open: (...args) => {
        states.push(args[4])
        return engine.open(...args)
      },
    }
    const { client, part, UploadId } = await begin()
    await part(1, plaintextOf(75))
    useEngine(Object.assign(Object.create(engine), recording))
    try {
      const other = uploading()
      await resumeUpload(other, await resumeToken(client, UploadId))
      other.destroy()
    } finally {
      useEngine(engine)
    }
    assert.ok(states.length >= 2)
    for (const memory of states) assert.not(memory.some(Boolean))
  })

  test('the servers end', async () => {
    for (const client of clients) client.destroy()
    await s3.close()
    rmSync(folder, { recursive: true })
  })
  test.run()
}

void main()
