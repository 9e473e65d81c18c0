/** The streams where Node's own are expected: pipeline, loops, web streams, compose; and streams given to the one-shot calls. */
import { createReadStream, createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex, Readable, Writable } from 'node:stream'
import { arrayBuffer, buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import type { ReadableStream, ReadableWritablePair, WritableStream } from 'node:stream/web'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { rejectionOf, rejects } from '../support/expect'
import { aesKeyring, bytes } from '../support/keys'
import { client } from './subject'

const plaintext = Buffer.from(bytes(300_000))
const sealing = () => client.encryptStream(aesKeyring())
const opening = () => client.decryptStream(aesKeyring())
async function* slices(content: Uint8Array, length = 10_000) {
  for (let start = 0; start < content.length; start += length) yield content.subarray(start, start + length)
}

test('pipeline, from file to file', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sealwax-'))
  const at = (name: string) => join(directory, name)
  try {
    writeFileSync(at('plain'), plaintext)
    await pipeline(createReadStream(at('plain')), sealing(), createWriteStream(at('sealed')))
    await pipeline(createReadStream(at('sealed')), opening(), createWriteStream(at('opened')))
    assert.ok(readFileSync(at('opened')).equals(plaintext))
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('pipeline: its own signal ends both streams', async () => {
  const [first, second] = [sealing(), opening()]
  const controller = new AbortController()
  const stalled = new Writable({ highWaterMark: 1, write: () => controller.abort() })
  const ended = rejectionOf(pipeline(slices(plaintext), first, second, stalled, { signal: controller.signal }))
  assert.is(((await ended) as Error).name, 'AbortError')
  assert.ok(first.destroyed && second.destroyed)
})

test('a reader may transfer what it gets, however short', async () => {
  const { result } = await client.encrypt(aesKeyring(), plaintext, { frameLength: 1024 })
  for (const [stream, input, length] of [
    [client.encryptStream(aesKeyring(), { frameLength: 1024 }), plaintext, result.length],
    [opening(), result, plaintext.length],
  ] as const) {
    let given = 0
    stream.on('data', (piece: Buffer) => {
      assert.is(piece.buffer.byteLength, piece.length, 'nobody else has bytes there')
      given += structuredClone(piece, { transfer: [piece.buffer as ArrayBuffer] }).length
    })
    await pipeline(slices(input, 2500), stream)
    // The signature's length varies.
    assert.ok(Math.abs(given - length) <= 2, `${given} of ${length} bytes`)
  }
})

test('for await', async () => {
  const message: Buffer[] = []
  for await (const piece of Readable.from(slices(plaintext)).pipe(sealing())) message.push(piece as Buffer)
  const opened: Buffer[] = []
  for await (const piece of Readable.from(message).pipe(opening())) opened.push(piece as Buffer)
  assert.ok(Buffer.concat(opened).equals(plaintext))
})

test('a loop throws the error of the stream, after what was authentic', async () => {
  const { result } = await client.encrypt(aesKeyring(), plaintext)
  let given = 0
  const reading = (async () => {
    for await (const piece of Readable.from(slices(result.subarray(0, -200))).pipe(opening())) {
      assert.ok((piece as Buffer).equals(plaintext.subarray(given, given + (piece as Buffer).length)))
      given += (piece as Buffer).length
    }
  })()
  await rejects(reading, 'ERR_MESSAGE_TRUNCATED')
  assert.ok(given > 0 && given < plaintext.length)
})

test('Duplex.toWeb and Readable.fromWeb', async () => {
  const source = Readable.toWeb(Readable.from(slices(plaintext))) as ReadableStream
  const sealed = source
    .pipeThrough(Duplex.toWeb(sealing()) as ReadableWritablePair)
    .pipeThrough(Duplex.toWeb(opening()) as ReadableWritablePair)
  assert.ok((await buffer(Readable.fromWeb(sealed))).equals(plaintext))
})

test('Writable.toWeb and Readable.toWeb, each on its half', async () => {
  const seal = sealing()
  const writer = (Writable.toWeb(seal) as WritableStream).getWriter()
  const message = arrayBuffer(Readable.toWeb(seal) as ReadableStream)
  for await (const slice of slices(plaintext)) await writer.write(slice)
  await writer.close()
  const { plaintext: opened } = await client.decrypt(aesKeyring(), new Uint8Array(await message))
  assert.ok(opened.equals(plaintext))
})

test('a web reader is told of a changed message, and may cancel', async () => {
  const { result } = await client.encrypt(aesKeyring(), plaintext)
  result[result.length - 150]! ^= 1
  const changed = (Readable.toWeb(Readable.from([result])) as ReadableStream).pipeThrough(
    Duplex.toWeb(opening()) as ReadableWritablePair,
  )
  await rejects(arrayBuffer(changed), 'ERR_AUTHENTICATION_FAILED')

  const seal = sealing()
  const closed = new Promise((resolve) => seal.on('close', resolve))
  seal.on('error', () => {})
  const reader = (Readable.toWeb(seal) as ReadableStream).getReader()
  seal.write(plaintext)
  await reader.read()
  await reader.cancel()
  await closed
})

test('compose', async () => {
  const opened = Readable.from(slices(plaintext)).compose(sealing()).compose(opening())
  assert.ok((await buffer(opened)).equals(plaintext))
})

test('MessageHeader comes once, before data', async () => {
  const sealed = sealing()
  const opened = opening()
  const events: string[] = []
  for (const [name, stream] of Object.entries({ sealed, opened })) {
    for (const event of ['MessageHeader', 'data', 'end']) stream.on(event, () => events.push(`${name} ${event}`))
  }
  const headers: unknown[] = []
  sealed.on('MessageHeader', (header) => headers.push(header))
  opened.on('MessageHeader', (header) => headers.push(header))
  sealed.pipe(opened)
  sealed.end(plaintext)
  await new Promise((resolve) => opened.on('end', resolve))
  for (const name of ['sealed', 'opened']) {
    const own = events.filter((event) => event.startsWith(name))
    assert.is(own[0], `${name} MessageHeader`)
    assert.is(own.at(-1), `${name} end`)
    assert.is(own.filter((event) => event === `${name} MessageHeader`).length, 1)
  }
  const [written, read] = headers as { messageId: Uint8Array; suiteId: number }[]
  assert.equal(Buffer.from(written!.messageId), Buffer.from(read!.messageId))
})

test('what a listener does to the header that it sees does not matter', async () => {
  const [sealed, opened] = [sealing(), opening()]
  for (const stream of [sealed, opened]) stream.on('MessageHeader', ({ messageId }) => messageId.fill(0))
  assert.equal(await buffer(sealed.end(plaintext).pipe(opened)), plaintext)
})

const SOURCES: Record<string, (content: Uint8Array) => NodeJS.ReadableStream | AsyncIterable<Uint8Array>> = {
  'a Readable': (content) => Readable.from(slices(content)),
  'a Readable in object mode': (content) => Readable.from([content, Buffer.alloc(0)], { objectMode: true }),
  'an async generator': (content) => slices(content),
  'a web stream': (content) => Readable.toWeb(Readable.from(slices(content))) as ReadableStream<Uint8Array>,
  'a source that uses its chunk again': async function* (content) {
    const chunk = Buffer.alloc(10_000)
    for await (const slice of slices(content)) {
      chunk.set(slice)
      yield chunk.subarray(0, slice.length)
    }
  },
}
for (const [name, source] of Object.entries(SOURCES)) {
  test(`encrypt and decrypt take ${name}`, async () => {
    const { result } = await client.encrypt(aesKeyring(), source(plaintext))
    const { plaintext: opened } = await client.decrypt(aesKeyring(), source(result))
    assert.ok(opened.equals(plaintext))
  })
}

test('encrypt takes a stream of text, decrypt one of base64', async () => {
  const text = 'Grüße, 世界\n'.repeat(1000)
  const { result } = await client.encrypt(aesKeyring(), Readable.from([text.slice(0, 999), text.slice(999)]))
  const { plaintext: opened } = await client.decrypt(aesKeyring(), Readable.from([result.toString('base64')]), {
    encoding: 'base64',
  })
  assert.is(opened.toString(), text)
})

test('encrypt and decrypt: errors of a source pass, wrong chunks are refused', async () => {
  const broken = new Error('broken')
  for (const call of [client.encrypt, client.decrypt]) {
    const failing = new Readable({ read: () => void failing.destroy(broken) })
    assert.is(await rejectionOf(call(aesKeyring(), failing)), broken)
    await rejects(call(aesKeyring(), Readable.from([5]) as never), TypeError)
    await rejects(call(aesKeyring(), { pipe() {} } as never), TypeError)
  }
})

test('encrypt: more than plaintextLength is refused as it comes, and the source is closed', async () => {
  let closed = false
  async function* endless() {
    try {
      for (;;) yield Buffer.alloc(1000)
    } finally {
      closed = true
    }
  }
  await rejects(client.encrypt(aesKeyring(), endless(), { plaintextLength: 5000 }), 'ERR_LIMIT_EXCEEDED')
  assert.ok(closed)
})

test('encrypt and decrypt: an abort ends the wait for a source that stalls, and destroys it', async () => {
  for (const call of [client.encrypt, client.decrypt]) {
    const stalled = new Readable({ read() {} })
    await rejects(call(aesKeyring(), stalled, { signal: abortSoon() }), 'ERR_ABORTED')
    assert.ok(stalled.destroyed)
    const never = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) }
    await rejects(call(aesKeyring(), never, { signal: abortSoon() }), 'ERR_ABORTED')
  }
})

function abortSoon(): AbortSignal {
  const controller = new AbortController()
  setImmediate(() => controller.abort())
  return controller.signal
}

test.run()
