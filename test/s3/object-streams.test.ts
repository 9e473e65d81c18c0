import { EventEmitter, once } from 'node:events'
import { readdirSync } from 'node:fs'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openObject, S3RawAesKeyring, sealObject } from '../../src/s3'
import { rejects } from '../support/expect'
import { bytes } from '../support/keys'
import { startS3 } from '../support/s3-server'

const MiB = 2 ** 20
const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const V2 = { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' } as const
const V1 = { ...V2, writeVersion1WithoutIntegrity: true } as const

function* pieces(of: Uint8Array, length: number): Generator<Uint8Array> {
  for (let start = 0; start < of.length; start += length) yield of.subarray(start, start + length)
}

async function* one(of: Uint8Array, length = 70_001): AsyncGenerator<Uint8Array> {
  // The memory is used again, as that of a source may be.
  for (const piece of pieces(of, length)) {
    const copy = Uint8Array.from(piece)
    yield copy
    copy.fill(0)
  }
}

const openFiles = () => readdirSync('/proc/self/fd').length

for (const length of [0, 1, 15, 16, 17, MiB - 1, MiB, MiB + 1, 3 * MiB + 5]) {
  test(`a stream of ${length} bytes is sealed and opened as bytes are`, async () => {
    const plaintext = Buffer.from(bytes(length))
    const sources = [
      Readable.from(pieces(plaintext, 100_000), { objectMode: false }),
      new Blob([plaintext]).stream(),
      Readable.toWeb(Readable.from([Uint8Array.from(plaintext).buffer])),
      one(plaintext),
    ] as AsyncIterable<Uint8Array>[]
    for (const source of sources) {
      for (const options of [{}, V2]) {
        const { metadata, body } = await sealObject(options === V2 ? one(plaintext) : source, keyring, options)
        const sealed = await buffer(body)
        assert.is(sealed.length, length + 16)
        assert.ok(plaintext.equals((await openObject({ metadata, body: sealed }, keyring, options)).plaintext))
        for (const buffering of [{}, { bufferSize: 16 }, { enableDelayedAuthenticationMode: true }]) {
          const opened = await openObject({ metadata, body: one(sealed) }, keyring, { ...options, ...buffering })
          assert.ok(plaintext.equals(await buffer(opened.plaintext)))
        }
      }
    }
  })
}

test('a stream of the web is sealed where there are no globals for it, as in jsdom', async () => {
  const source = new Blob([bytes(100)]).stream()
  const globals = ['ReadableStream', 'TransformStream'].map(
    (name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)!] as const,
  )
  for (const [name] of globals) Reflect.deleteProperty(globalThis, name)
  try {
    const { metadata, body } = await sealObject(source, keyring)
    const { plaintext } = await openObject({ metadata, body: await buffer(body) }, keyring)
    assert.equal(plaintext, Buffer.from(bytes(100)))
  } finally {
    for (const [name, descriptor] of globals) Object.defineProperty(globalThis, name, descriptor)
  }
})

for (const pieceLength of [1, 7, 15, 16, 17, 33, 1000]) {
  test(`authentication is delayed for a stream in pieces of ${pieceLength} bytes, too`, async () => {
    const options = {
      ...V2,
      enableDelayedAuthenticationMode: true,
      enableLegacyWrappingAlgorithms: true,
      enableLegacyUnauthenticatedModes: true,
    }
    for (const length of [0, 1, 16, 17, 1000]) {
      const plaintext = Buffer.from(bytes(length))
      for (const written of [{}, V2, V1]) {
        const { metadata, body } = await sealObject(plaintext, keyring, written)
        const opened = await openObject({ metadata, body: one(body, pieceLength) }, keyring, options)
        assert.ok(plaintext.equals(await buffer(opened.plaintext)))
        const cut = await openObject({ metadata, body: one(body.subarray(0, -1), pieceLength) }, keyring, options)
        await rejects(buffer(cut.plaintext), 'ERR_AUTHENTICATION_FAILED')
      }
    }
  })
}

const DELAYED = { enableDelayedAuthenticationMode: true } as const

for (const length of [2 * MiB - 1, 2 * MiB, 2 * MiB + 1, 2 * MiB + 17]) {
  test(`delayed, a wrong stream of ${length} bytes does not give its last chunk`, async () => {
    const plaintext = Buffer.from(bytes(length))
    const { metadata, body } = await sealObject(plaintext, keyring)
    const changed = Uint8Array.from(body)
    changed[length + 15]! ^= 1
    for (const pieceLength of [16, MiB, MiB + 16, MiB + 17]) {
      const opened = await openObject({ metadata, body: one(changed, pieceLength) }, keyring, DELAYED)
      let given = Buffer.alloc(0)
      const all = (async () => {
        for await (const chunk of opened.plaintext) given = Buffer.concat([given, chunk as Buffer])
      })()
      await rejects(all, 'ERR_AUTHENTICATION_FAILED')
      assert.ok(given.length <= (length <= 2 * MiB ? MiB : 2 * MiB))
      assert.ok(given.equals(plaintext.subarray(0, given.length)))
    }
  })
}

test('delayed, a chunk is given before the next one comes', async () => {
  const plaintext = Buffer.from(bytes(2 * MiB))
  const { metadata, body } = await sealObject(plaintext, keyring)
  const wanted = new EventEmitter()
  const source = (async function* () {
    yield body.subarray(0, MiB + 17)
    await once(wanted, 'more')
    yield body.subarray(MiB + 17)
  })()
  const opened = await openObject({ metadata, body: source }, keyring, DELAYED)
  const chunks = opened.plaintext[Symbol.asyncIterator]()
  const { value: first } = await chunks.next()
  wanted.emit('more')
  const given = [first]
  for (let next = await chunks.next(); !next.done; next = await chunks.next()) given.push(next.value)
  assert.ok(Buffer.concat(given).equals(plaintext))
})

test('a changed or shortened stream gives no byte, and its file is gone', async () => {
  const before = openFiles()
  const plaintext = bytes(2 * MiB + 5)
  const { metadata, body } = await sealObject(plaintext, keyring)
  for (const at of [0, MiB, body.length - 1]) {
    const changed = Uint8Array.from(body)
    changed[at]! ^= 1
    for (const bufferSize of [16, 64 * MiB]) {
      const wrong = openObject({ metadata, body: one(changed) }, keyring, { bufferSize })
      await rejects(wrong, 'ERR_AUTHENTICATION_FAILED')
    }
    const delayed = await openObject({ metadata, body: one(changed) }, keyring, {
      enableDelayedAuthenticationMode: true,
    })
    await rejects(buffer(delayed.plaintext), 'ERR_AUTHENTICATION_FAILED')
  }
  for (const cut of [0, 15, MiB, body.length - 1]) {
    for (const bufferSize of [16, 64 * MiB]) {
      const wrong = openObject({ metadata, body: one(body.subarray(0, cut)) }, keyring, { bufferSize })
      await rejects(wrong, 'ERR_AUTHENTICATION_FAILED')
    }
  }
  await rejects(
    openObject({ metadata, body: one(body) }, keyring, { bufferSize: 16, largeObjects: 'refuse' }),
    'ERR_LIMIT_EXCEEDED',
  )
  const unread = await openObject({ metadata, body: one(body) }, keyring, { bufferSize: 16 })
  assert.is(openFiles(), before + 1)
  unread.plaintext.destroy()
  await once(unread.plaintext, 'close')
  for (let turns = 0; openFiles() > before && turns < 1000; turns++) await new Promise(setImmediate)
  assert.is(openFiles(), before)
})

test('the file of a changed stream is closed, and not left to the garbage collector', async () => {
  const { metadata, body } = await sealObject(bytes(100), keyring)
  body[0]! ^= 1
  const before = openFiles()
  await rejects(openObject({ metadata, body: one(body) }, keyring, { bufferSize: 16 }), 'ERR_AUTHENTICATION_FAILED')
  assert.is(openFiles(), before)
})

test('AES-CBC is held in memory, or not read', async () => {
  const plaintext = bytes(1000)
  const { metadata, body } = await sealObject(plaintext, keyring, V1)
  const options = { ...V2, enableLegacyWrappingAlgorithms: true, enableLegacyUnauthenticatedModes: true }
  const { plaintext: opened } = await openObject({ metadata, body: one(body) }, keyring, options)
  assert.ok((await buffer(opened)).equals(plaintext))
  const long = openObject({ metadata, body: one(body) }, keyring, { ...options, bufferSize: 900 })
  await rejects(long, 'ERR_LIMIT_EXCEEDED')
  const whole = await sealObject(bytes(992), keyring, V1)
  const openIn = (bufferSize: number) =>
    openObject({ ...whole, body: one(whole.body) }, keyring, { ...options, bufferSize })
  await rejects(openIn(991), 'ERR_LIMIT_EXCEEDED')
  assert.is((await buffer((await openIn(992)).plaintext)).length, 992)
  await rejects(sealObject(one(plaintext), keyring, V1), RangeError, /takes bytes/)
})

test('an error at one end is heard at the other, and nothing stays open', async () => {
  const failing = new Readable({ read() {} })
  failing.push(bytes(10))
  const { body } = await sealObject(failing, keyring)
  failing.destroy(new Error('the disk is gone'))
  await rejects(buffer(body), Error, /the disk is gone/)

  const left = new Readable({ read() {} })
  const sealed = await sealObject(left, keyring)
  sealed.body.on('error', () => {}).destroy()
  await new Promise<void>((resolve) => void left.on('error', () => {}).once('close', resolve))

  const { metadata } = await sealObject(bytes(10), keyring)
  const broken = new Readable({ read() {} })
  const opening = openObject({ metadata, body: broken }, keyring, { bufferSize: 16 })
  broken.push(bytes(100))
  setImmediate(() => broken.destroy(new Error('the connection is gone')))
  await rejects(opening, Error, /the connection is gone/)
})

test('a stream that is not read is ended', async () => {
  const ended: string[] = []
  const source = (name: string) =>
    new ReadableStream({ pull: (controller) => controller.enqueue(bytes(10)), cancel: () => void ended.push(name) })
  const nobody = { wrapDataKey: () => Promise.reject(new Error('no key')), unwrapDataKey: async () => undefined }
  await rejects(sealObject(source('plaintext'), nobody), Error, /no key/)
  const { metadata } = await sealObject(bytes(10), keyring)
  await rejects(openObject({ metadata, body: source('body') }, nobody), 'ERR_NO_DATA_KEY')
  const readable = new Readable({ read() {} })
  await rejects(openObject({ metadata: {}, body: readable }, keyring), 'ERR_UNSUPPORTED_FORMAT')
  assert.ok(readable.destroyed)
  await new Promise(setImmediate)
  assert.equal(ended, ['plaintext', 'body'])
})

test('an object goes to a store and back by fetch alone, streamed', async () => {
  const s3 = await startS3()
  const url = `${s3.endpoint}/${s3.bucket}/fetched`
  const plaintext = Buffer.from(bytes(2 * MiB + 3))
  const source = Readable.from(pieces(plaintext, 65_536), { objectMode: false })
  const { metadata, body } = await sealObject(source, keyring)
  const headers = new Headers({ 'content-length': String(plaintext.length + 16) })
  for (const [name, value] of Object.entries(metadata)) headers.set(`x-amz-meta-${name}`, value)
  const init = { method: 'PUT', headers, body, duplex: 'half' } as unknown as RequestInit
  assert.ok((await fetch(url, init)).ok)
  const answer = await fetch(url)
  const stored = [...answer.headers].filter(([name]) => name.startsWith('x-amz-meta-'))
  const fields = Object.fromEntries(stored.map(([name, value]) => [name.slice('x-amz-meta-'.length), value]))
  const opened = await openObject({ metadata: fields, body: answer.body! }, keyring, { bufferSize: MiB })
  assert.ok(plaintext.equals(await buffer(opened.plaintext)))
  await s3.close()
})

test('options that bytes cannot have, and wrong ones, are refused', async () => {
  const { metadata, body } = await sealObject(bytes(10), keyring)
  const bytesWith = openObject({ metadata, body }, keyring, { bufferSize: 16 } as never)
  await rejects(bytesWith, TypeError, /unknown option "bufferSize"/)
  for (const [options, name] of [
    [{ bufferSize: 15 }, /"bufferSize"/],
    [{ largeObjects: 'two-pass' }, /"largeObjects"/],
    [{ bufferSize: 16, enableDelayedAuthenticationMode: true }, /"bufferSize"/],
  ] as const) {
    await rejects(openObject({ metadata, body: one(body) }, keyring, options as never), RangeError, name)
  }
  await rejects(sealObject('text' as never, keyring), TypeError, /"plaintext"/)
})

test.run()
