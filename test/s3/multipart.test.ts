import { PassThrough, Readable } from 'node:stream'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getEngine, useEngine } from '../../src/engine/engine'
import { parseS3Metadata, type S3Envelope } from '../../src/format/s3-metadata'
import {
  resumeToken,
  resumeUpload,
  S3EncryptionClient,
  type S3EncryptionSettings,
  S3RawAesKeyring,
  s3Encryption,
} from '../../src/s3'
import { bodyOf } from '../../src/s3/body'
import { newContentKey, openContentKey } from '../../src/s3/content-key'
import { MultipartUpload } from '../../src/s3/multipart-upload'
import { OpenUploads } from '../../src/s3/open-uploads'
import { checkDecryptOptions } from '../../src/s3/options'
import { sealPart } from '../../src/s3/part'
import { PartGeometry } from '../../src/s3/part-geometry'
import { until } from '../support/clock'
import { rejectionOf, rejects, throws } from '../support/expect'
import { startFaultProxy } from '../support/fault-proxy'
import { givenBy } from '../support/given-by'
import { bytes } from '../support/keys'
import { seeded, shuffled } from '../support/random'
import { startSmallS3 } from '../support/small-s3'

const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const V2 = { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' } as const

async function main(): Promise<void> {
  const s3 = await startSmallS3()
  const Bucket = s3.bucket
  const Key = 'object'
  const clients: S3Client[] = []
  const clientOf = (settings: Partial<S3EncryptionSettings> = {}) => {
    const client = new S3EncryptionClient(s3.config, { keyring, ...settings })
    clients.push(client)
    return client
  }
  const client = clientOf()

  /** One upload by the bare commands. */
  const begin = async (by: S3Client = client, more = {}) => {
    const { UploadId } = await by.send(new CreateMultipartUploadCommand({ Bucket, Key, ...more }))
    const listed = new Map<number, object>()
    return {
      UploadId,
      listed,
      part: async (PartNumber: number, Body: unknown, more = {}) => {
        const input = { Bucket, Key, UploadId, PartNumber, Body: Body as Uint8Array, ...more }
        const { ETag, ChecksumCRC32 } = await by.send(new UploadPartCommand(input))
        listed.set(PartNumber, { PartNumber, ETag, ChecksumCRC32 })
      },
      complete: async (more = {}) => {
        const Parts = [...listed].sort(([a], [b]) => a - b).map(([, part]) => part)
        return await by.send(
          new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts }, ...more }),
        )
      },
      abort: () => by.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId })),
      sent: () => [...s3.uploads.get(UploadId!)!.parts].map(([number, { body }]) => [number, body.length]),
    }
  }
  /** One upload without a store. */
  const unsent = async () => {
    const content = await newContentKey(keyring, 3, {})
    const { envelope } = content
    const start = { bucket: Bucket, key: Key, content, envelope, storage: {}, instructionFile: undefined }
    return { content, upload: new MultipartUpload(start) }
  }
  /** What one serial AES-GCM run under the same key and IV gives. */
  const serial = async (plaintext: Uint8Array, settings: Partial<S3EncryptionSettings> = {}) => {
    const envelope = parseS3Metadata(s3.objects.get(Key)!.metadata) as S3Envelope
    const policy = settings.commitmentPolicy ?? 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT'
    const content = await openContentKey(envelope, keyring, checkDecryptOptions({ commitmentPolicy: policy }))
    const sealed = new Uint8Array(plaintext.length + 16)
    getEngine().seal(content.key, content.iv, content.aad, plaintext, sealed)
    return Buffer.from(sealed)
  }
  const check = async (plaintext: Uint8Array, settings: Partial<S3EncryptionSettings> = {}, by = client) => {
    assert.ok(s3.objects.get(Key)!.body.equals(await serial(plaintext, settings)), 'the bytes of a serial run')
    const { Body } = await by.send(new GetObjectCommand({ Bucket, Key }))
    assert.ok(Buffer.from(await Body!.transformToByteArray()).equals(plaintext), 'and they open')
    assert.is(s3.uploads.size, 0)
  }
  const text = async () => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }))
    return await Body!.transformToString()
  }
  const cut = (plaintext: Uint8Array, length: number) =>
    Array.from({ length: Math.max(1, Math.ceil(plaintext.length / length)) }, (_, i) => ({
      number: i + 1,
      body: plaintext.subarray(i * length, (i + 1) * length),
    }))

  for (const how of ['its client is destroyed', 'it is aborted']) {
    test(`a part whose body is read while ${how} is not sent: its key is zeros then`, async () => {
      // Read before it is sealed, or sealed as it comes.
      for (const [slow, more] of [
        [false, {}],
        [true, {}],
        [true, { ContentLength: 100 }],
      ] as const) {
        const by = clientOf()
        let sent = 0
        by.middlewareStack.add(
          (next, { commandName }) =>
            async (args) => {
              if (commandName === 'UploadPartCommand') sent++
              return await next(args)
            },
          { step: 'finalizeRequest' },
        )
        const upload = await begin(by)
        const body = new PassThrough()
        // The place of the second is known once the first is there.
        await upload.part(1, bytes(100))
        const before = sent
        const part = rejectionOf(upload.part(2, slow ? body : bytes(100), more))
        if (slow) await new Promise(setImmediate)
        const ended = how === 'it is aborted' ? upload.abort() : by.destroy()
        body.end(bytes(100))
        assert.is(((await part) as { code?: string }).code, 'ERR_MULTIPART_UPLOAD')
        await ended
        assert.is(sent, before)
        s3.uploads.clear()
      }
    })
  }

  test('a resumed upload sends what it adds with the checksums that it was begun with', async () => {
    const by = clientOf()
    const algorithms: unknown[] = []
    by.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          const { headers } = args.request as { headers: Record<string, string> }
          if (commandName === 'UploadPartCommand') algorithms.push(headers['x-amz-sdk-checksum-algorithm'])
          return await next(args)
        },
      { step: 'finalizeRequest' },
    )
    const begun = await begin(client, { ChecksumAlgorithm: 'SHA256' })
    await begun.part(1, bytes(5 * 2 ** 20), { ChecksumAlgorithm: 'SHA256' })
    const { UploadId, Parts } = await resumeUpload(by, await resumeToken(client, begun.UploadId!))
    const complete = { Bucket, Key, UploadId, MultipartUpload: { Parts } }
    await by.send(new CompleteMultipartUploadCommand(complete))
    assert.equal(algorithms, ['SHA256'])
  })

  test('what is sent besides for an upload that goes on elsewhere says what began it, and what the requests there say', async () => {
    const more = {
      SSECustomerAlgorithm: 'AES256',
      SSECustomerKey: Buffer.from(bytes(32)).toString('base64'),
      RequestPayer: 'requester',
    } as const
    // Those for its parts; without any, that which completes it.
    for (const sends of [true, false]) {
      const [by, other] = [clientOf({ putInstructionFiles: true }), clientOf({ putInstructionFiles: true })]
      const said: unknown[] = []
      other.middlewareStack.add(
        (next, { commandName }) =>
          async (args) => {
            const { headers } = args.request as { headers: Record<string, string> }
            const hasKey = 'x-amz-server-side-encryption-customer-key' in headers
            if (/UploadPart|Put|Get/.test(commandName!))
              said.push([commandName, hasKey, headers['x-amz-request-payer'], headers['x-amz-acl']])
            return await next(args)
          },
        { step: 'finalizeRequest' },
      )
      const begun = await begin(by, { ...more, ACL: 'private' })
      await begun.part(1, bytes(5 * 2 ** 20), more)
      const { UploadId, Parts } = await resumeUpload(other, await resumeToken(by, begun.UploadId!))
      const target = { Bucket, Key, UploadId }
      const part = { PartNumber: 1, Body: bytes(5 * 2 ** 20), ...more } as const
      if (sends) await other.send(new UploadPartCommand({ ...target, ...part }))
      const complete = { ...target, MultipartUpload: { Parts }, ...(!sends && more) }
      await other.send(new CompleteMultipartUploadCommand(complete))
      const names = [...(sends ? ['UploadPart'] : []), 'UploadPart', 'GetObject', 'PutObject']
      assert.equal(
        said,
        names.map((name) => [`${name}Command`, true, 'requester', name === 'PutObject' ? 'private' : undefined]),
      )
    }
    s3.objects.delete(`${Key}.instruction`)
  })

  test('a part that is sealed, and whose body has not ended where its upload does, is not sent', async () => {
    const by = clientOf()
    const upload = await begin(by)
    await upload.part(1, bytes(100))
    const { parts } = s3.uploads.get(upload.UploadId!)!
    const body = new PassThrough()
    const part = rejectionOf(upload.part(2, body, { ContentLength: 100 }))
    body.write(bytes(100))
    await until(() => body.readableLength === 0)
    await new Promise(setImmediate)
    by.destroy()
    body.end()
    assert.is(((await part) as { code?: string }).code, 'ERR_MULTIPART_UPLOAD')
    assert.equal([...parts.keys()], [1])
    s3.uploads.clear()
  })

  test('an upload that ends while its token is made gives none', async () => {
    const by = clientOf()
    const upload = await begin(by)
    const body = new PassThrough()
    const part = rejectionOf(upload.part(1, body))
    const token = rejectionOf(resumeToken(by, upload.UploadId!))
    await upload.abort()
    body.end(bytes(10))
    for (const error of [await part, await token]) assert.is((error as { code?: string }).code, 'ERR_MULTIPART_UPLOAD')
  })

  test('a token waits for the parts under way, and no other begins', async () => {
    const by = clientOf()
    const upload = await begin(by)
    await upload.part(1, bytes(100))
    const body = new PassThrough()
    const part = upload.part(2, body, { ContentLength: 100 })
    body.write(bytes(50))
    await until(() => body.readableLength === 0)
    const token = resumeToken(by, upload.UploadId!)
    await rejects(upload.part(3, bytes(10)), 'ERR_MULTIPART_UPLOAD', /was handed over/)
    body.end(bytes(50))
    await part
    const { Parts } = await resumeUpload(client, await token)
    assert.equal(
      Parts.map(({ PartNumber }) => PartNumber),
      [1, 2],
    )
    await client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId: upload.UploadId }))
  })

  const random = seeded(1)
  for (const [name, settings] of [
    ['version 3', {}],
    ['version 2', V2],
  ] as const) {
    test(`parts of any length, in any order, give the bytes of one serial run, ${name}`, async () => {
      const by = clientOf(settings)
      for (const partLength of name === 'version 2' ? [64, 100] : [64, 100, 16, 15, 1]) {
        for (const around of [-17, -16, -15, -1, 0, 1, 15, 16, 17]) {
          for (const ends of [1, 2, 3]) {
            const length = ends * partLength + around
            if (length < 0 || length > 40 * partLength) continue
            const plaintext = bytes(length)
            const parts = cut(plaintext, partLength)
            const inOrder = around % 2 === 0 ? shuffled(parts, random) : parts
            const upload = await begin(by)
            for (const { number, body } of inOrder) await upload.part(number, body)
            await upload.complete()
            await check(plaintext, settings, by)
          }
        }
      }
    })
  }

  test('parts come in parallel, in a drawn order, some of them again', async () => {
    for (let round = 0; round < 30; round++) {
      const plaintext = bytes(1 + Math.floor(random() * 3000))
      const parts = cut(plaintext, 1 + Math.floor(random() * 500))
      const upload = await begin()
      await Promise.all(shuffled([...parts, ...parts.slice(0, 2)], random).map((p) => upload.part(p.number, p.body)))
      // In parallel, nobody knows which of two requests for one part the store keeps.
      for (const { number, body } of parts.slice(0, 2)) await upload.part(number, body)
      await upload.complete()
      await check(plaintext)
    }
  })

  test('what was stored for a part without a place may come after the part itself', async () => {
    for (const last of [2, 3]) {
      for (const isListed of [true, false]) {
        const plaintext = bytes(100 * last)
        const [first, second, third] = cut(plaintext, 100)
        const upload = await begin()
        const held = new UploadPartCommand({
          Bucket,
          Key,
          UploadId: upload.UploadId,
          PartNumber: 2,
          Body: second!.body,
        })
        let release = () => {}
        const released = new Promise<void>((resolve) => {
          release = resolve
        })
        let isHeld = false
        const hold = (next: (args: object) => unknown) => async (args: object) => {
          isHeld = true
          await released
          return await next(args)
        }
        held.middlewareStack.add(hold as never, { step: 'finalizeRequest', priority: 'low' })
        const late = client.send(held)
        await until(() => isHeld)
        await upload.part(1, first!.body)
        await upload.part(2, second!.body)
        if (third) await upload.part(3, third.body)
        release()
        const { ETag, ChecksumCRC32 } = await late
        if (isListed) upload.listed.set(2, { PartNumber: 2, ETag, ChecksumCRC32 })
        await upload.complete()
        await check(plaintext)
      }
    }
  })

  test('a shorter part carries the tag; where all are equal, a part of its own does', async () => {
    const upload = await begin()
    for (const { number, body } of cut(bytes(250), 100)) await upload.part(number, body)
    assert.equal(upload.sent(), [
      [1, 100],
      [2, 100],
      [3, 66],
    ])
    await upload.complete()
    await check(bytes(250))

    const five = 5 * 2 ** 20
    const equal = await begin()
    for (const { number, body } of cut(bytes(2 * five), five)) await equal.part(number, body)
    s3.objects.delete(Key)
    const { parts } = s3.uploads.get(equal.UploadId!)!
    await equal.complete()
    assert.equal(
      [...parts].map(([number, { body }]) => [number, body.length]),
      [
        [1, five],
        [2, five],
        [3, 16],
      ],
    )
    await check(bytes(2 * five))
  })

  test('a part under 5 MiB that is the last is sent again with the tag, for S3 takes such at the end only', async () => {
    for (const order of [
      [3, 1, 2],
      [3, 2, 1],
      [2, 3, 1],
      [1, 3, 2],
    ]) {
      for (const length of [250, 300]) {
        const parts = cut(bytes(length), 100)
        const upload = await begin()
        for (const number of order) await upload.part(number, parts[number - 1]!.body)
        const { parts: stored } = s3.uploads.get(upload.UploadId!)!
        await upload.complete()
        assert.equal([...stored.keys()].sort(), [1, 2, 3])
        assert.is(stored.get(3)!.body.length, length - 200 + 16)
        await check(bytes(length))
      }
    }
  })

  test('bodies of every kind are taken', async () => {
    const plaintext = bytes(300)
    const pieces = (body: Uint8Array) => Readable.from([body.subarray(0, 17), body.subarray(17)])
    const shared = new Uint8Array(new SharedArrayBuffer(100))
    shared.set(plaintext.subarray(0, 100))
    const kinds: [(body: Uint8Array) => unknown, object?][] = [
      [(body) => Buffer.from(body)],
      [(body) => new Blob([body])],
      [(body) => pieces(body)],
      [(body) => pieces(body), { ContentLength: 100 }],
      [(body) => Readable.toWeb(pieces(body)), { ContentLength: 100 }],
    ]
    for (const [toBody, more] of kinds) {
      const upload = await begin()
      for (const { number, body } of cut(plaintext, 100)) await upload.part(number, toBody(body), more)
      await upload.complete()
      await check(plaintext)
    }
    const upload = await begin()
    await upload.part(1, shared)
    await upload.part(2, 'caf\u00e9')
    await upload.complete()
    await check(Buffer.concat([shared, Buffer.from('caf\u00e9')]))
    const empty = await begin()
    await empty.part(1, '')
    await empty.complete()
    await check(bytes(0))
  })

  test('long parts are sealed in several calls, from memory and from streams alike', async () => {
    const long = Buffer.alloc(20 * 2 ** 20 + 5, 7)
    const upload = await begin()
    await upload.part(1, long.subarray(0, 17 * 2 ** 20 + 3))
    const again = Readable.from([long.subarray(0, 100), long.subarray(100, 17 * 2 ** 20 + 3)])
    await upload.part(1, again, { ContentLength: 17 * 2 ** 20 + 3 })
    await upload.part(2, long.subarray(17 * 2 ** 20 + 3))
    await upload.complete()
    await check(long)
  })

  test('other bytes for a part are refused, and do not leave', async () => {
    const upload = await begin()
    await upload.part(1, bytes(100))
    await rejects(upload.part(1, bytes(100, 2)), 'ERR_MULTIPART_UPLOAD', /part 1 was sealed with other bytes/)
    await rejects(upload.part(1, bytes(99)), 'ERR_MULTIPART_UPLOAD', /part 1 was 100 bytes before, and is 99/)
    await upload.part(1, bytes(100))
    await upload.part(2, bytes(10))
    await rejects(upload.part(2, bytes(10, 2)), 'ERR_MULTIPART_UPLOAD', /part 2/)
    await upload.complete()
    await check(Buffer.concat([bytes(100), bytes(10)]))
    const waits = await begin()
    await waits.part(2, bytes(60))
    await rejects(waits.part(2, bytes(60, 2)), 'ERR_MULTIPART_UPLOAD', /part 2/)
    await waits.part(2, bytes(60))
    await waits.part(1, bytes(100))
    await waits.complete()
    await check(Buffer.concat([bytes(100), bytes(60)]))
  })

  test('a part that could not be read has no place: it may come again as it is', async () => {
    const plaintext = bytes(250)
    const upload = await begin()
    const [first, second, third] = [0, 100, 200].map((start) => plaintext.subarray(start, start + 100))
    await rejects(upload.part(1, Readable.from([first]), { ContentLength: 101 }), RangeError, /has fewer/)
    await upload.part(1, first!)
    // Shorter than the others, it would be the last.
    await rejects(upload.part(2, Readable.from([second]), { ContentLength: 99 }), RangeError, /has more/)
    await upload.part(3, third!)
    const broken = new Readable({ read: () => {} })
    const failed = rejectionOf(upload.part(2, broken, { ContentLength: 100 }))
    broken.destroy(new Error('broke'))
    assert.match(String(await failed), /broke/)
    await upload.part(2, second!)
    await upload.complete()
    await check(plaintext)
    // Nor does it keep the object from ending before it.
    const shorter = await begin()
    await shorter.part(1, first!)
    await rejects(shorter.part(2, Readable.from([]), { ContentLength: 100 }), RangeError, /has fewer/)
    await shorter.complete()
    await check(first!)
  })

  test('a part whose other request could not be read keeps its place', async () => {
    const upload = await begin()
    await upload.part(1, bytes(100))
    const [broken, whole] = [new PassThrough(), new PassThrough()]
    const failed = rejectionOf(upload.part(2, broken, { ContentLength: 100 }))
    const sent = upload.part(2, whole, { ContentLength: 100 })
    for (const body of [broken, whole]) {
      body.write(bytes(100).subarray(0, 1))
      await until(() => body.readableLength === 0)
    }
    broken.destroy(new Error('broke'))
    assert.match(String(await failed), /broke/)
    whole.end(bytes(100).subarray(1))
    await sent
    await upload.complete()
    await check(Buffer.concat([bytes(100), bytes(100)]))
  })

  test('the last part gets no second tag where the tag is stored as a part of its own', async () => {
    const five = bytes(5 * 2 ** 20)
    const upload = await begin()
    await upload.part(1, five)
    await rejects(upload.complete({ MpuObjectSize: 1 }), RangeError, /"MpuObjectSize"/)
    await upload.part(1, five)
    assert.equal(upload.sent(), [
      [1, five.length],
      [2, 16],
    ])
    await upload.complete()
    await check(five)
  })

  test('memory of parts that were sent is used again, but not held where it is very long', async () => {
    const longest = 64 * 2 ** 20
    for (const [length, times] of [
      [longest, 1],
      [longest + 1, 2],
    ] as const) {
      const { upload } = await unsent()
      const plaintext = new Uint8Array(length)
      const made = await givenBy([[getEngine(), 'allocate']], async () => {
        for (const number of [1, 2]) {
          const body = await upload.seal(number, bodyOf(plaintext), undefined)
          upload.sent({ number, body })
        }
      })
      assert.is(made.length, times)
      upload.end('was given up')
    }
  })

  test('memory of a part that was sent more than once is not used again: an attempt may still read it', async () => {
    for (const attempts of [1, 2]) {
      const by = clientOf()
      const count = (next: (args: object) => Promise<{ output: object }>) => async (args: object) => {
        const { output, ...rest } = await next(args)
        return { ...rest, output: { ...output, $metadata: { attempts } } }
      }
      by.middlewareStack.add(count as never, { step: 'build' })
      const upload = await begin(by)
      const made = await givenBy([[getEngine(), 'allocate']], async () => {
        for (const number of [1, 2]) await upload.part(number, bytes(5 * 2 ** 20))
      })
      assert.is(made.length, attempts)
      await upload.abort()
    }
  })

  test('parts that do not fit together are refused', async () => {
    const refused = async (parts: [number, number, object?][], pattern: RegExp) => {
      const upload = await begin()
      for (const [number, length, more] of parts.slice(0, -1)) await upload.part(number, bytes(length), more)
      const [number, length, more] = parts.at(-1)!
      await rejects(upload.part(number, bytes(length), more), 'ERR_MULTIPART_UPLOAD', pattern)
      await upload.abort()
    }
    await refused(
      [
        [1, 100],
        [2, 101],
      ],
      /part 2 has 101 bytes, and part 1 has 100/,
    )
    await refused(
      [
        [1, 100],
        [2, 99],
        [3, 100],
      ],
      /part 3 cannot follow part 2/,
    )
    await refused(
      [
        [1, 100],
        [3, 100],
        [2, 99],
      ],
      /part 3 cannot follow part 2/,
    )
    await refused(
      [
        [3, 90],
        [2, 80],
      ],
      /part 3 has 90 bytes/,
    )
    await refused(
      [
        [1, 100],
        [2, 100, { IsLastPart: true }],
        [3, 10],
      ],
      /part 3 cannot be the last: part 2 is/,
    )
    await refused(
      [
        [1, 100],
        [2, 90, { IsLastPart: false }],
      ],
      /all parts but the last must have 100/,
    )
    await refused(
      [
        [1, 100],
        [3, 90],
        [2, 100, { IsLastPart: true }],
      ],
      /part 2 cannot be the last: part 3 is/,
    )
    const upload = await begin()
    for (const PartNumber of [0, 10_001, 1.5]) await rejects(upload.part(PartNumber, 'x'), RangeError, /"PartNumber"/)
    await rejects(upload.part(1, 'x', { IsLastPart: 'yes' }), TypeError, /"IsLastPart"/)
    await rejects(upload.part(1, 'x', { ChecksumSHA256: 'x' }), TypeError, /"ChecksumSHA256" describes/)
    const short = () => Readable.from([bytes(10)])
    await rejects(upload.part(1, short(), { ContentLength: 11 }), RangeError, /11 bytes, and has fewer/)
    await rejects(upload.part(2, short(), { ContentLength: 9 }), RangeError, /9 bytes, and has more/)
    await upload.abort()
  })

  test('the caller may say which part is the last, and then it may be longer', async () => {
    for (const length of [50, 100, 150]) {
      const upload = await begin()
      await upload.part(1, bytes(100))
      await upload.part(2, bytes(length), { IsLastPart: true })
      assert.equal(upload.sent().at(-1), [2, length + 16])
      await upload.complete()
      await check(Buffer.concat([bytes(100), bytes(length)]))
    }
    const upload = await begin()
    await upload.part(2, bytes(100), { IsLastPart: false })
    assert.equal(upload.sent(), [[2, 100]])
    await upload.abort()
  })

  test('part 10000 is the last, whatever its length', async () => {
    const { content, upload } = await unsent()
    const sealed: Uint8Array[] = []
    for (let number = 1; number <= 10_000; number++) {
      const body = await upload.seal(number, bodyOf(Uint8Array.of(number)), undefined)
      await upload.send({ number, body }, false, async () => ({ $metadata: {} }))
      sealed.push(body)
    }
    assert.equal(upload.finish(sealed.map((_, i) => i + 1)), [])
    const plaintext = new Uint8Array(10_000)
    const out = Buffer.concat(sealed)
    assert.ok(getEngine().open(content.key, content.iv, content.aad, out, plaintext))
    assert.equal(
      plaintext,
      Uint8Array.from({ length: 10_000 }, (_, i) => i + 1),
    )
    upload.end('is complete')
    assert.equal(content.key, new Uint8Array(32))
  })

  test('an object past the end of AES-GCM is refused as soon as that is known', async () => {
    const GiB = 2 ** 30
    const more = { ContentLength: 64 * GiB }
    await rejects(client.send(new CreateMultipartUploadCommand({ Bucket, Key, ...more })), 'ERR_LIMIT_EXCEEDED')
    const geometry = new PartGeometry()
    geometry.add(1, 4 * GiB, undefined)
    geometry.add(16, 4 * GiB - 32, undefined)
    throws(() => new PartGeometry(4 * GiB).add(16, 4 * GiB - 31, true), 'ERR_LIMIT_EXCEEDED', /68719476704/)
    throws(() => new PartGeometry(4 * GiB).add(17, 0, undefined), 'ERR_LIMIT_EXCEEDED')
    const upload = await begin()
    const long = { ContentLength: 5 * GiB + 1 }
    await rejects(upload.part(2, Readable.from([]), long), RangeError, /"ContentLength"/)
    await upload.abort()
  })

  test('completing takes all parts, in order, and can be tried again', async () => {
    const upload = await begin()
    await rejects(upload.complete(), 'ERR_MULTIPART_UPLOAD', /part 1 is missing/)
    await upload.part(1, bytes(100))
    await upload.part(3, bytes(100))
    await rejects(upload.complete(), 'ERR_MULTIPART_UPLOAD', /part 2 is missing/)
    await upload.part(2, bytes(100))
    const Parts = [{ PartNumber: 1, ETag: 'x' }]
    await rejects(upload.complete({ MultipartUpload: { Parts } }), 'ERR_MULTIPART_UPLOAD', /parts 1 to 3/)
    await rejects(upload.complete({ ChecksumSHA256: 'x' }), TypeError, /"ChecksumSHA256" describes/)
    await rejects(upload.complete({ MpuObjectSize: 299 }), RangeError, /"MpuObjectSize" is 299.* 300 bytes/)
    await rejects(upload.part(4, bytes(100)), 'ERR_MULTIPART_UPLOAD', /part 4 cannot follow part 3/)
    await upload.part(3, bytes(100))
    await upload.complete({ MpuObjectSize: 300 })
    await check(Buffer.concat([bytes(100), bytes(100), bytes(100)]))
    await rejects(upload.part(1, bytes(100)), 'ERR_MULTIPART_UPLOAD', /does not hold the key/)
  })

  test('what was aborted, or begun elsewhere, takes no part', async () => {
    const upload = await begin()
    await upload.part(1, bytes(100))
    await upload.abort()
    await rejects(upload.part(2, bytes(100)), 'ERR_MULTIPART_UPLOAD', /resumeUpload/)
    await rejects(upload.complete(), 'ERR_MULTIPART_UPLOAD')
    assert.is(s3.uploads.size, 0)

    const other = await begin(clientOf())
    const input = { Bucket, Key, UploadId: other.UploadId, PartNumber: 1, Body: 'x' }
    await rejects(client.send(new UploadPartCommand(input)), 'ERR_MULTIPART_UPLOAD', /begun elsewhere/)
    await client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId: other.UploadId }))
    const copy = { Bucket, Key, UploadId: 'x', PartNumber: 1, CopySource: 'a/b' }
    await rejects(client.send(new UploadPartCopyCommand(copy)), 'ERR_MULTIPART_UPLOAD', /sealed as a whole/)
    const plugged = new S3Client(s3.config)
    plugged.middlewareStack.use(s3Encryption(plugged, { keyring }))
    for (const ended of [clientOf(), plugged]) {
      const last = await begin(ended)
      ended.destroy()
      await rejects(last.part(1, 'x'), 'ERR_MULTIPART_UPLOAD')
    }
    s3.uploads.clear()
  })

  test('past 10,000 open uploads, that which was not used for longest is given up', async () => {
    const uploads = new OpenUploads()
    const [first, second, other] = [await unsent(), await unsent(), await unsent()]
    uploads.add('first', first.upload)
    uploads.add('second', second.upload)
    for (let i = 2; i < 10_000; i++) uploads.add(`${i}`, other.upload)
    assert.is(uploads.get('first'), first.upload)
    assert.ok(second.content.key.some(Boolean))
    uploads.add('one more', other.upload)
    assert.equal([uploads.find('first'), uploads.find('second')], [first.upload, undefined])
    assert.equal(second.content.key, new Uint8Array(32))
    await rejects(
      second.upload.run(async () => {}),
      'ERR_MULTIPART_UPLOAD',
      /was given up: too many are open/,
    )
    uploads.endAll('was given up')
  })

  test('what is sent after destroy(), as Upload of the SDK cleans up, leaves no connection behind', async () => {
    const proxy = await startFaultProxy({ origin: s3.endpoint })
    const ended = new S3EncryptionClient({ ...s3.config, endpoint: proxy.endpoint }, { keyring })
    const { abort } = await begin(ended)
    assert.is(proxy.sockets, 1)
    ended.destroy()
    await abort()
    await until(() => proxy.sockets === 0)
    await proxy.close()
  })

  test('an upload that is aborted while its tag is sent says so', async () => {
    const aborting = clientOf()
    const upload = await begin(aborting)
    await upload.part(1, bytes(100))
    await upload.part(2, bytes(100))
    const { UploadId } = upload
    // Whatever part is sent from here on has the tag.
    const meanwhile = (next: (args: object) => Promise<object>) => async (args: { input: object }) => {
      const answer = await next(args)
      const { PartNumber } = args.input as { PartNumber?: number }
      if (PartNumber !== undefined) await aborting.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }))
      return answer
    }
    aborting.middlewareStack.add(meanwhile as never, { step: 'build', name: 'meanwhile' })
    await rejects(upload.complete(), 'ERR_MULTIPART_UPLOAD', /was aborted/)
    assert.is(s3.uploads.size, 0)
  })

  test('metadata go with the request that begins, or in an instruction file with the one that completes', async () => {
    const upload = await begin(client, { Metadata: { title: 'a', 'x-amz-key-v2': 'of another object' } })
    assert.equal(Object.keys(s3.uploads.get(upload.UploadId!)!.metadata).sort(), [
      'title',
      'x-amz-3',
      'x-amz-c',
      'x-amz-d',
      'x-amz-i',
      'x-amz-w',
    ])
    await upload.part(1, 'x')
    await upload.complete()
    const head = await client.send(new HeadObjectCommand({ Bucket, Key }))
    assert.is(head.ContentLength, 1)

    const writer = clientOf({ putInstructionFiles: true })
    const filed = await begin(writer)
    await filed.part(1, 'secret')
    assert.not(s3.objects.has(`${Key}.instruction`))
    await rejects(filed.complete({ IfMatch: 'x' }), TypeError, /"IfMatch"/)
    await filed.complete()
    assert.equal(Object.keys(s3.objects.get(Key)!.metadata).sort(), ['x-amz-c', 'x-amz-d', 'x-amz-i'])
    assert.is(s3.objects.get(`${Key}.instruction`)!.metadata['x-amz-crypto-instr-file'], '')
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }))
    assert.is(await Body!.transformToString(), 'secret')
    s3.objects.delete(`${Key}.instruction`)
  })

  test('an upload that does not come to be leaves the object that was there, and its instruction file', async () => {
    const writer = clientOf({ putInstructionFiles: true })
    let failure: object | undefined
    let isDone = false
    const fail = (next: (args: object) => Promise<unknown>, { commandName }: { commandName: string }) => {
      return async (args: object) => {
        if (commandName !== 'CompleteMultipartUploadCommand' || !failure) return await next(args)
        if (isDone) await next(args)
        throw Object.assign(new Error('failed'), failure)
      }
    }
    writer.middlewareStack.add(fail as never, { step: 'build', name: 'fail' })
    const beginWith = async (body: string) => {
      const upload = await begin(writer)
      await upload.part(1, body)
      return upload
    }
    await (await beginWith('old')).complete()
    const refused = await beginWith('new')
    failure = { name: 'InvalidPart', $metadata: { attempts: 1, httpStatusCode: 400 } }
    await rejects(refused.complete(), Error, /failed/)
    assert.is(await text(), 'old')
    failure = undefined
    await refused.complete()
    assert.is(await text(), 'new')

    const broken = await beginWith('newer')
    failure = { name: 'InternalError', $metadata: { attempts: 3, httpStatusCode: 500 } }
    await rejects(broken.complete(), Error, /failed/)
    await broken.abort()
    assert.is(await text(), 'new')

    const done = await beginWith('newer')
    isDone = true
    await done.complete()
    assert.is(await text(), 'newer')

    const lost = await beginWith('newest')
    failure = { name: 'TimeoutError', code: 'ECONNRESET', $metadata: { attempts: 3 } }
    await rejects(lost.complete(), Error, /failed/)
    assert.is(((await rejectionOf(lost.abort())) as Error).name, 'NoSuchUpload')
    assert.is(await text(), 'newest')

    // A store may say of an upload that is complete that it was aborted.
    const agree = (next: (args: object) => Promise<unknown>, { commandName }: { commandName: string }) => {
      const agreed = { response: {}, output: { $metadata: {} } }
      return async (args: object) => (commandName === 'AbortMultipartUploadCommand' ? agreed : await next(args))
    }
    writer.middlewareStack.add(agree as never, { step: 'build' })
    const kept = await beginWith('last')
    await rejects(kept.complete(), Error, /failed/)
    await kept.abort()
    assert.is(await text(), 'last')
    s3.objects.delete(`${Key}.instruction`)
  })

  test('requests that go along with an upload say what those for its parts say', async () => {
    const writer = clientOf({ putInstructionFiles: true })
    const said: unknown[] = []
    const note = (next: (args: object) => unknown, { commandName }: { commandName: string }) => {
      return async (args: { request: { headers: Record<string, string> } }) => {
        if (commandName === 'CompleteMultipartUploadCommand') throw new Error('lost')
        if (/UploadPart|Head/.test(commandName)) said.push([commandName, args.request.headers['x-amz-request-payer']])
        return await next(args)
      }
    }
    writer.middlewareStack.add(note as never, { step: 'finalizeRequest', priority: 'low' })
    const upload = await begin(writer)
    await upload.part(1, 'x', { RequestPayer: 'requester' })
    await rejects(upload.complete(), Error, /lost/)
    await upload.abort()
    assert.equal(said, [
      ['UploadPartCommand', 'requester'],
      ['UploadPartCommand', 'requester'],
      ['HeadObjectCommand', 'requester'],
    ])
  })

  test('an upload that is given up while its tag is sent stores no instruction file', async () => {
    const writer = clientOf({ putInstructionFiles: true })
    const controller = new AbortController()
    const sent: string[] = []
    const note = (next: (args: object) => unknown, { commandName }: { commandName: string }) => {
      return async (args: object) => {
        sent.push(commandName)
        if (sent.length === 4) controller.abort()
        return await next(args)
      }
    }
    writer.middlewareStack.add(note as never, { step: 'finalizeRequest' })
    const { UploadId, part, listed } = await begin(writer)
    for (const number of [1, 2]) await part(number, bytes(100))
    const target = { Bucket, Key, UploadId }
    const complete = new CompleteMultipartUploadCommand({ ...target, MultipartUpload: { Parts: [...listed.values()] } })
    const error = await rejectionOf(writer.send(complete, { abortSignal: controller.signal }))
    assert.is((error as Error).name, 'AbortError')
    // Waits for what is left of it.
    await resumeToken(writer, UploadId!)
    assert.equal(sent, ['CreateMultipartUploadCommand', ...Array(3).fill('UploadPartCommand')])
    await client.send(new AbortMultipartUploadCommand(target))
  })

  test('completing again keeps what was there before the instruction file, and puts it back once', async () => {
    const writer = clientOf({ putInstructionFiles: true })
    let failure: object | undefined
    const fail = (next: (args: object) => unknown, { commandName }: { commandName: string }) => {
      return async (args: object) => {
        if (commandName !== 'CompleteMultipartUploadCommand' || !failure) return await next(args)
        throw Object.assign(new Error('failed'), failure)
      }
    }
    writer.middlewareStack.add(fail as never, { step: 'finalizeRequest', priority: 'low' })
    const beginWith = async (body: string) => {
      const upload = await begin(writer)
      await upload.part(1, body)
      return upload
    }
    await (await beginWith('old')).complete()
    const upload = await beginWith('new')
    // First nobody knows whether it arrived, then it is refused.
    for (failure of [{}, { name: 'InvalidPart', $metadata: { httpStatusCode: 400 } }]) {
      await rejects(upload.complete(), Error, /failed/)
    }
    assert.is(await text(), 'old')
    failure = undefined
    await (await beginWith('of another')).complete()
    await upload.abort()
    assert.is(await text(), 'of another')
    s3.objects.delete(`${Key}.instruction`)
  })

  test('encryption contexts are checked before anything is sent', async () => {
    const EncryptionContext = { department: 'sales' }
    const create = new CreateMultipartUploadCommand({ Bucket, Key, EncryptionContext })
    await rejects(client.send(create), 'ERR_ENCRYPTION_CONTEXT')
    assert.is(s3.uploads.size, 0)
  })

  for (const settings of [{}, V2, { putInstructionFiles: true }]) {
    test(`an upload goes on elsewhere, with ${JSON.stringify(settings)}`, async () => {
      const plaintext = bytes(350)
      const parts = cut(plaintext, 70 + 3)
      const order = [3, 1, 5, 2, 4]
      for (let before = 0; before <= parts.length; before++) {
        const by = clientOf(settings)
        const upload = await begin(by)
        const UploadId = upload.UploadId!
        for (const n of order.slice(0, before)) await upload.part(n, parts[n - 1]!.body)
        const token = await resumeToken(by, UploadId)
        await rejects(upload.part(1, bytes(73)), 'ERR_MULTIPART_UPLOAD', /does not hold/)
        await rejects(resumeToken(by, UploadId), 'ERR_MULTIPART_UPLOAD')
        assert.not(Buffer.from(token, 'base64url').includes(UploadId))

        const other = clientOf(settings)
        const resumed = await resumeUpload(other, token)
        assert.is(resumed.UploadId, UploadId)
        await rejects(resumeUpload(other, token), 'ERR_MULTIPART_UPLOAD', /in use/)
        const Parts: object[] = [...resumed.Parts]
        const send = async (n: number, Body: Uint8Array) =>
          await other.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: n, Body }))
        const sealed = before >= 2 ? order.slice(0, before) : []
        assert.is(resumed.PartLength, before >= 2 ? 73 : undefined)
        for (const n of sealed) {
          const changed = parts[n - 1]!.body.map((byte) => byte ^ 1)
          await rejects(send(n, changed), 'ERR_MULTIPART_UPLOAD', /other bytes/)
        }
        for (const { number, body } of parts) {
          // What was stored in a part's stead, and what may need the tag, is sent again.
          if (resumed.Parts.some(({ PartNumber }) => PartNumber === number) && number < 5) continue
          const { ETag } = await send(number, body)
          const at = Parts.findIndex((part) => (part as { PartNumber: number }).PartNumber === number)
          Parts.splice(at < 0 ? Parts.length : at, at < 0 ? 0 : 1, { PartNumber: number, ETag })
        }
        Parts.sort((a, b) => (a as { PartNumber: number }).PartNumber - (b as { PartNumber: number }).PartNumber)
        const input = { Bucket, Key, UploadId, MultipartUpload: { Parts } }
        await other.send(new CompleteMultipartUploadCommand(input))
        const { Body } = await clientOf(settings).send(new GetObjectCommand({ Bucket, Key }))
        assert.ok(Buffer.from(await Body!.transformToByteArray()).equals(plaintext))
        assert.is(s3.uploads.size, 0)
      }
    })
  }

  test('a last part that has the tag need not be sent again elsewhere', async () => {
    const upload = await begin(clientOf())
    for (const { number, body } of cut(bytes(150), 100)) await upload.part(number, body)
    const other = clientOf()
    const { Parts } = await resumeUpload(other, await resumeToken(clients.at(-2)!, upload.UploadId!))
    const target = { Bucket, Key, UploadId: upload.UploadId }
    await other.send(new CompleteMultipartUploadCommand({ ...target, MultipartUpload: { Parts } }))
    await check(bytes(150))
  })

  test('what the store has in place of a part that waited is not taken for the part by the next process', async () => {
    const [first, second] = [bytes(100), bytes(60, 1)]
    const upload = await begin(clientOf())
    await upload.part(2, second)
    await upload.part(1, first)
    const other = clientOf()
    const { Parts } = await resumeUpload(other, await resumeToken(clients.at(-2)!, upload.UploadId!))
    assert.equal(
      Parts.map(({ PartNumber }) => PartNumber),
      [1],
    )
    const target = { Bucket, Key, UploadId: upload.UploadId }
    const complete = (all: object[]) =>
      other.send(new CompleteMultipartUploadCommand({ ...target, MultipartUpload: { Parts: all } }))
    const [placeholder] = [...s3.uploads.get(upload.UploadId!)!.parts].filter(([number]) => number === 2)
    const listed = [...Parts, { PartNumber: 2, ETag: placeholder![1].etag }]
    await rejects(complete(listed), 'ERR_MULTIPART_UPLOAD', /part 2 is missing/)
    const { ETag } = await other.send(new UploadPartCommand({ ...target, PartNumber: 2, Body: second }))
    await complete([...Parts, { PartNumber: 2, ETag }])
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }))
    assert.equal(Buffer.from(await Body!.transformToByteArray()), Buffer.concat([first, second]))
  })

  test('that a part which waited is the last is known to the next process', async () => {
    const upload = await begin(clientOf())
    await upload.part(2, bytes(60), { IsLastPart: true })
    const other = clientOf()
    await resumeUpload(other, await resumeToken(clients.at(-2)!, upload.UploadId!))
    const target = { Bucket, Key, UploadId: upload.UploadId }
    const { ETag } = await other.send(new UploadPartCommand({ ...target, PartNumber: 1, Body: bytes(100) }))
    const complete = { ...target, MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] } }
    await rejects(other.send(new CompleteMultipartUploadCommand(complete)), 'ERR_MULTIPART_UPLOAD', /part 2 is missing/)
    s3.uploads.clear()
  })

  test('a token is nothing without its keyring, or changed', async () => {
    const upload = await begin()
    await upload.part(1, bytes(100))
    const token = await resumeToken(client, upload.UploadId!)
    const stranger = clientOf({ keyring: new S3RawAesKeyring({ wrappingKey: bytes(32, 2) }) })
    await rejects(resumeUpload(stranger, token), 'ERR_AUTHENTICATION_FAILED')
    const changed = Buffer.from(token, 'base64url')
    for (const place of [changed.length - 1, changed.length - 100, 600]) {
      const bad = changed.with(place, changed[place]! ^ 1)
      await rejects(resumeUpload(client, Buffer.from(bad).toString('base64url')), 'ERR_AUTHENTICATION_FAILED')
    }
    // In version 2 nothing else binds the IV to the data key.
    const old = clientOf(V2)
    const ofOld = Buffer.from(await resumeToken(old, (await begin(old)).UploadId!), 'base64url').toString('latin1')
    const otherIv = ofOld.replace(/"x-amz-iv":"./, (iv) => iv.slice(0, -1) + (iv.endsWith('A') ? 'B' : 'A'))
    const withOtherIv = Buffer.from(otherIv, 'latin1').toString('base64url')
    await rejects(resumeUpload(old, withOtherIv), 'ERR_AUTHENTICATION_FAILED')
    const short = changed.subarray(0, 3 + changed.readUInt16BE(1) + 32 + 15)
    await rejects(resumeUpload(client, short.toString('base64url')), 'ERR_AUTHENTICATION_FAILED')
    await rejects(resumeUpload(client, 'none'), 'ERR_MESSAGE_MALFORMED')
    const newer = Buffer.from(changed.with(0, 2)).toString('base64url')
    await rejects(resumeUpload(client, newer), 'ERR_MESSAGE_MALFORMED', /no resume token/)
    for (const json of ['null', '1', '"text"', '[]', '{"x-amz-w":1}', '{']) {
      const [start, rest] = [changed.subarray(0, 1), Buffer.alloc(1000)]
      const other = Buffer.concat([start, Buffer.from([0, json.length]), Buffer.from(json), rest])
      await rejects(resumeUpload(client, other.toString('base64url')), 'ERR_MESSAGE_MALFORMED')
    }
    await rejects(resumeUpload(client, token, { EncryptionContext: { a: 'b' } }), 'ERR_ENCRYPTION_CONTEXT')
    await rejects(resumeUpload(new S3Client(s3.config), token), TypeError, /"client"/)
    await rejects(resumeToken(client, 'x'), 'ERR_MULTIPART_UPLOAD')
    await rejects(resumeToken(client, ''), RangeError, /"uploadId"/)
    s3.uploads.clear()
  })

  test('the plugin does the same for a client that is there', async () => {
    const plain = new S3Client(s3.config)
    clients.push(plain)
    plain.middlewareStack.use(s3Encryption(plain, { keyring }))
    const upload = await begin(plain)
    for (const { number, body } of cut(bytes(250), 100)) await upload.part(number, body)
    await upload.complete()
    await check(bytes(250))
  })

  test('nothing is sealed under a key that was wiped meanwhile', async () => {
    const key = Buffer.from(bytes(32))
    const content = { mode: 'gcm' as const, key, iv: bytes(12), aad: new Uint8Array(0) }
    const chunks = async function* () {
      yield bytes(40)
      key.fill(0)
      yield bytes(40)
    }
    const out = new Uint8Array(96)
    await rejects(sealPart(content, 0, { length: 80, chunks: chunks() }, out), 'ERR_INTERNAL', /wiped/)
    assert.ok(out.every((byte) => byte === 0))
  })

  test('the key of an upload is wiped where it ends, and where it does not begin', async () => {
    const engine = getEngine()
    const keys: Uint8Array[] = []
    const hkdfPair: typeof engine.hkdfPair = (...of) => {
      const pair = engine.hkdfPair(...of)
      keys.push(pair[0])
      return pair
    }
    const failing = clientOf()
    failing.middlewareStack.add(() => () => Promise.reject(new Error('refused')), { step: 'finalizeRequest' })
    const ends: ((by: S3Client) => Promise<unknown>)[] = [
      async (by) => (await begin(by)).abort(),
      async (by) => {
        const upload = await begin(by)
        await upload.part(1, bytes(100))
        await upload.complete()
      },
      async (by) => resumeToken(by, (await begin(by)).UploadId!),
      async (by) => {
        await begin(by)
        by.destroy()
      },
      async () => rejects(begin(failing), Error, /refused/),
    ]
    useEngine(Object.assign(Object.create(engine), { hkdfPair }))
    try {
      for (const end of ends) await end(clientOf())
    } finally {
      useEngine(engine)
    }
    assert.is(keys.length, ends.length)
    assert.ok(keys.every((key) => key.every((byte) => byte === 0)))
    s3.uploads.clear()
  })

  test("a customer's key is not in a token, though it is sealed", async () => {
    const engine = getEngine()
    const { UploadId } = await begin(client, { SSECustomerAlgorithm: 'AES256', SSECustomerKey: 'of the customer' })
    const sealed: string[] = []
    const seal: typeof engine.seal = (...of) => {
      sealed.push(Buffer.from(of[3]).toString())
      engine.seal(...of)
    }
    useEngine(Object.assign(Object.create(engine), { seal }))
    try {
      await resumeToken(client, UploadId!)
    } finally {
      useEngine(engine)
    }
    assert.is(sealed.length, 1)
    assert.match(sealed[0]!, UploadId!)
    assert.not.match(sealed[0]!, 'SSECustomer')
    s3.uploads.clear()
  })

  test('no two tokens of an upload are sealed under one key', async () => {
    const upload = await begin()
    await upload.part(1, bytes(100))
    const first = await resumeToken(client, upload.UploadId!)
    const other = clientOf()
    await resumeUpload(other, first)
    const second = await resumeToken(other, upload.UploadId!)
    // They hold the same: under one key, they would be the same.
    assert.is(second.length, first.length)
    assert.is.not(second.slice(-40), first.slice(-40))
    s3.uploads.clear()
  })

  test('the servers end', async () => {
    for (const one of clients) one.destroy()
    await s3.close()
  })
  test.run()
}

void main()
