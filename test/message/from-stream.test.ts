/** One-shot calls of streams: what is wrong ends them as soon as it comes, whatever else the source would give. */
import { EventEmitter } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  buildClient,
  KeyringNode,
  NodeDefaultCryptographicMaterialsManager,
  type NodeEncryptionRequest,
} from '../../src/index'
import { rejectionOf, rejects } from '../support/expect'
import { ForeignStream } from '../support/foreign-stream'
import { givenBy } from '../support/given-by'
import { aesKeyring, bytes } from '../support/keys'

const { encrypt, decrypt, encryptInto } = buildClient()
const UNSIGNED = { suiteId: 0x0478 } as const

class Refusing extends KeyringNode {
  async _onEncrypt(): Promise<never> {
    throw new Error('denied')
  }
  async _onDecrypt(): Promise<never> {
    throw new Error('denied')
  }
}

/** Gives these bytes, and then the last of them again and again, in its own time, and never ends. */
function endless(start: Uint8Array, chunk: Uint8Array): Readable & { given: number } {
  async function* pieces() {
    yield start
    for (;;) {
      await new Promise(setImmediate)
      source.given += chunk.length
      yield chunk
    }
  }
  const source = Object.assign(Readable.from(pieces(), { objectMode: false }), { given: 0 })
  return source
}

/** Gives what it has, and then nothing more. */
function stuck(start: Uint8Array): PassThrough {
  const source = new PassThrough()
  source.write(start)
  return source
}

test('a source that is no message, for others, or too long, is not read on', async () => {
  const chunk = Buffer.alloc(65_536, 0xff)
  const message = (await encrypt(aesKeyring(), bytes(300_000), UNSIGNED)).result
  const start = message.subarray(0, 200_000)
  for (const source of [endless(chunk, chunk), stuck(chunk)]) {
    await rejects(decrypt(aesKeyring(), source), 'ERR_UNSUPPORTED_FORMAT')
    assert.ok(source.destroyed)
  }
  for (const source of [endless(start, chunk), stuck(start)]) {
    await rejects(decrypt(new Refusing(), source), Error, /denied/)
    assert.ok(source.destroyed)
  }
  const long = (await encrypt(aesKeyring(), bytes(100_000), { ...UNSIGNED, frameLength: 1000 })).result
  const few = endless(long.subarray(0, -100), chunk)
  await rejects(decrypt(aesKeyring(), few, { maxBodySize: 999 }), 'ERR_LIMIT_EXCEEDED')
  assert.ok(few.destroyed)
  assert.ok(few.given < 8 * 2 ** 20, `${few.given} bytes were read`)
})

test('a keyring that refuses does not wait for the plaintext', async () => {
  for (const source of [endless(bytes(10), Buffer.alloc(1000)), stuck(bytes(10))]) {
    await rejects(encrypt(new Refusing(), source), Error, /denied/)
    assert.ok(source.destroyed)
  }
})

test('a materials manager hears of the length that the caller tells, and of no other', async () => {
  const lengths: unknown[] = []
  class Hearing extends NodeDefaultCryptographicMaterialsManager {
    override async getEncryptionMaterials(request: NodeEncryptionRequest) {
      lengths.push(request.plaintextLength)
      return await super.getEncryptionMaterials(request)
    }
  }
  const manager = new Hearing(aesKeyring())
  await encrypt(manager, Readable.from([bytes(2)]), { plaintextLength: 5 })
  await encrypt(manager, Readable.from([bytes(2)]))
  await encrypt(manager, bytes(2))
  assert.equal(lengths, [5, undefined, 2])
  const tooLong = encrypt(manager, Readable.from([bytes(6)]), { plaintextLength: 5 })
  await rejects(tooLong, 'ERR_LIMIT_EXCEEDED', /plaintextLength/)
})

test('a stream that was read before is no empty message', async () => {
  const read = Readable.from([bytes(5)])
  for await (const _ of read);
  await rejects(encrypt(aesKeyring(), read), TypeError, /^Unsupported plaintext\. .*read before/)
  await rejects(decrypt(aesKeyring(), read), TypeError, /^Unsupported ciphertext format\. .*read before/)
  assert.is((await decrypt(aesKeyring(), (await encrypt(aesKeyring(), Readable.from([]))).result)).plaintext.length, 0)
})

test('a stream of a library that is destroyed before its end is no message that is shorter', async () => {
  const { result } = await encrypt(aesKeyring(), new ForeignStream(['ab', 'cd']))
  assert.is(String((await decrypt(aesKeyring(), result)).plaintext), 'abcd')
  for (const lostAt of [0, 1]) {
    const error = await rejectionOf(encrypt(aesKeyring(), new ForeignStream(['ab', 'cd'], lostAt)))
    assert.is((error as NodeJS.ErrnoException).code, 'ERR_STREAM_PREMATURE_CLOSE')
  }
  await rejects(encrypt(aesKeyring(), new ForeignStream(['ab']).destroy()), TypeError, /destroyed/)
})

test('streams as they were before they could be iterated', async () => {
  const legacy = (pieces: readonly unknown[], ...ends: string[]) => {
    const source = Object.assign(new EventEmitter(), {
      readable: true,
      pause: () => source,
      resume: () => source,
      pipe: () => assert.unreachable(),
    })
    setImmediate(() => {
      for (const piece of pieces) source.emit('data', piece)
      for (const event of ends.length > 0 ? ends : ['end']) source.emit(event)
    })
    return source as unknown as NodeJS.ReadableStream
  }
  const { result } = await encrypt(aesKeyring(), legacy([bytes(10), bytes(20)]))
  const { plaintext } = await decrypt(aesKeyring(), legacy([result.subarray(0, 7), result.subarray(7)]))
  assert.equal(plaintext, Buffer.concat([bytes(10), bytes(20)]))

  const closed = await decrypt(aesKeyring(), legacy([result.subarray(0, 7), result.subarray(7)], 'end', 'close'))
  assert.equal(closed.plaintext, plaintext)
  const lost = await rejectionOf(encrypt(aesKeyring(), legacy([bytes(10)], 'close')))
  assert.is((lost as NodeJS.ErrnoException).code, 'ERR_STREAM_PREMATURE_CLOSE')

  const base64 = result.toString('base64')
  const ofText = await decrypt(aesKeyring(), legacy([base64.slice(0, 5), base64.slice(5)]), { encoding: 'base64' })
  assert.equal(ofText.plaintext, plaintext)
  await rejects(encrypt(aesKeyring(), legacy([5])), TypeError, /must give bytes or strings, it gave a number/)
})

test('what fails after any number of pieces fails the call', async () => {
  const { result } = await encrypt(aesKeyring(), bytes(150_000), { ...UNSIGNED, frameLength: 1 })
  result[result.length - 1]! ^= 1
  async function* frames() {
    for (let at = 0; at < result.length; at += 33) yield result.subarray(at, at + 33)
  }
  await rejects(decrypt(aesKeyring(), frames()), 'ERR_AUTHENTICATION_FAILED')
})

test('a short plaintext lies in memory of its own', async () => {
  const { result } = await encrypt(aesKeyring(), bytes(30))
  const { plaintext } = await decrypt(aesKeyring(), Readable.from([result.subarray(0, 9), result.subarray(9)]))
  assert.is(plaintext.buffer.byteLength, 30)
})

test('the pieces that a plaintext is put together of are wiped', async () => {
  const { result } = await encrypt(aesKeyring(), bytes(200_000))
  let plaintext: Uint8Array | undefined
  const made = await givenBy([[Buffer, 'allocUnsafeSlow']], async () => {
    ;({ plaintext } = await decrypt(aesKeyring(), Readable.from([result.subarray(0, 9), result.subarray(9)])))
  })
  assert.equal(plaintext, Buffer.from(bytes(200_000)))
  const pieces = made.filter((memory) => memory !== plaintext)
  assert.ok(pieces.length > 1 && pieces.every((piece) => piece.every((byte) => byte === 0)))
})

test('an abort ends the source; one that ends by itself is left as it is', async () => {
  const [controller, source] = [new AbortController(), stuck(bytes(10))]
  const encrypting = encrypt(aesKeyring(), source, { signal: controller.signal })
  setImmediate(() => controller.abort())
  await rejects(encrypting, 'ERR_ABORTED')
  assert.ok(source.destroyed)
  const own = { pieces: [bytes(3)], destroyed: false }
  const iterable = {
    destroy() {
      own.destroyed = true
    },
    async *[Symbol.asyncIterator]() {
      yield* own.pieces
    },
  }
  await encrypt(aesKeyring(), iterable)
  assert.not(own.destroyed)
})

test('a source that cannot be ended fails nothing but the call', async () => {
  const unheard: unknown[] = []
  const hear = (error: unknown) => void unheard.push(error)
  process.on('uncaughtException', hear)
  process.on('unhandledRejection', hear)
  try {
    for (const destroy of [true, () => fail(), async () => fail()]) {
      const source = {
        destroy,
        async *[Symbol.asyncIterator]() {
          yield bytes(10)
          await new Promise(() => {})
        },
      }
      await rejects(decrypt(aesKeyring(), source), 'ERR_MESSAGE_MALFORMED')
      await rejects(encrypt(new Refusing(), source), Error, /denied/)
      const controller = new AbortController()
      setImmediate(() => controller.abort())
      const { signal } = controller
      await rejects(encryptInto(aesKeyring(), source, bytes(500), { signal }), 'ERR_ABORTED')
    }
    await new Promise(setImmediate)
    assert.equal(unheard, [])
  } finally {
    process.off('uncaughtException', hear)
    process.off('unhandledRejection', hear)
  }
})

function fail(): never {
  throw new Error('cannot be destroyed')
}

const TEXTS: readonly [encoding: BufferEncoding, text: string][] = [
  ['base64', Buffer.from(bytes(3001)).toString('base64').replace(/.{76}/g, '$&\n')],
  ['base64', `${Buffer.from(bytes(100)).toString('base64url')}=\r\n`],
  ['base64url', Buffer.from(bytes(1000)).toString('base64url')],
  ['hex', Buffer.from(bytes(500)).toString('hex')],
  ['utf8', '\u{1F600}a\u00e9\u{1F601}'.repeat(100)],
  ['utf16le', '\u{1F600}a\u00e9'.repeat(100)],
  ['latin1', 'a\u00e9\u00ff'.repeat(100)],
]
for (const [encoding, text] of TEXTS) {
  test(`text in ${encoding} is the same bytes, wherever a stream of it is cut`, async () => {
    const expected = Buffer.from(text, encoding)
    for (const pieceLength of [1, 2, 3, 5, 64, 1000]) {
      const pieces = () =>
        Readable.from(
          Array.from({ length: Math.ceil(text.length / pieceLength) }, (_, i) =>
            text.slice(i * pieceLength, (i + 1) * pieceLength),
          ),
        )
      const { result } = await encrypt(aesKeyring(), pieces(), { ...UNSIGNED, encoding })
      assert.ok((await decrypt(aesKeyring(), result)).plaintext.equals(expected))
      const out = Buffer.alloc(expected.length + 2000)
      const into = await encryptInto(aesKeyring(), pieces(), out, { ...UNSIGNED, encoding })
      assert.ok((await decrypt(aesKeyring(), into.result)).plaintext.equals(expected))
    }
  })
}

test('blank lines inside a group of base64 digits are not kept', async () => {
  const blank = '\n'.repeat(64)
  const pieces = function* () {
    yield 'QU'
    for (let i = 0; i < 2 ** 16; i++) yield blank
    yield 'JD'
  }
  const { result } = await encrypt(aesKeyring(), Readable.from(pieces()), { ...UNSIGNED, encoding: 'base64' })
  assert.is((await decrypt(aesKeyring(), result)).plaintext.toString(), 'ABC')
})

test('base64 that ends in "=" is whole, whatever text follows', async () => {
  const { result } = await encrypt(aesKeyring(), Readable.from(['QQ==', 'QkM=']), { ...UNSIGNED, encoding: 'base64' })
  assert.is((await decrypt(aesKeyring(), result)).plaintext.toString(), 'ABC')
})

test('a message comes as text too, in lines of base64', async () => {
  const plaintext = Buffer.from(bytes(10_000))
  const { result } = await encrypt(aesKeyring(), plaintext, UNSIGNED)
  const lines = result.toString('base64').replace(/.{76}/g, '$&\n')
  for (const pieceLength of [1, 77, 1000]) {
    const pieces = lines.match(new RegExp(`.{1,${pieceLength}}`, 'gs'))!
    const opened = await decrypt(aesKeyring(), Readable.from(pieces), { encoding: 'base64' })
    assert.ok(opened.plaintext.equals(plaintext))
  }
})

test.run()
