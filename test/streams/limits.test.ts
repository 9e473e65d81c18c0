/** Limits are enforced as the bytes pass, not when everything is there. */
import { once } from 'node:events'
import { type Duplex, Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getEngine, useEngine } from '../../src/engine/engine'
import { framesLength } from '../../src/format/frame'
import { parseHeader } from '../../src/format/message-header'
import { CommitmentPolicy, NodeDefaultCryptographicMaterialsManager } from '../../src/index'
import { MessageSealer, type SealerOptions } from '../../src/message/sealer'
import { getSuite } from '../../src/suites'
import { rejects, throws } from '../support/expect'
import { aesKeyring, bytes } from '../support/keys'
import { countTurns } from '../support/work'
import { drive } from './drive'
import { checkCode, client, nextTurn, suiteOf } from './subject'

const plaintext = Buffer.from(bytes(500))
const write = (stream: Duplex, chunk: Uint8Array) => new Promise((resolve) => stream.write(chunk, resolve))
const seal = async (signed: boolean, frameLength: number) =>
  (await client.encrypt(aesKeyring(), plaintext, { suiteId: suiteOf(signed), frameLength })).result
const ignore = () => {}

test('a keyring that fails ends the stream, though nothing was written', async () => {
  const keyring = aesKeyring()
  const failing = { onEncrypt: async () => Promise.reject(new Error('broken')), onDecrypt: keyring.onDecrypt }
  const stream = client.encryptStream(failing as never)
  const [error] = await once(stream, 'error')
  assert.is((error as Error).message, 'broken')
  assert.ok(stream.destroyed)
})

test('plaintextLength: exactly that much passes', async () => {
  for (const frameLength of [1, 100, 500, 4096]) {
    const stream = client.encryptStream(aesKeyring(), { plaintextLength: 500, frameLength })
    const message = await drive(stream, [plaintext.subarray(0, 333), plaintext.subarray(333)])
    assert.equal((await client.decrypt(aesKeyring(), message)).plaintext, plaintext)
  }
})

test('plaintextLength: one byte more fails at once, and less is well', async () => {
  const stream = client.encryptStream(aesKeyring(), { plaintextLength: 499 })
  stream.on('error', ignore)
  assert.not(await write(stream, plaintext.subarray(0, 499)))
  checkCode(await write(stream, plaintext.subarray(499)), 'ERR_LIMIT_EXCEEDED')
  assert.ok(stream.destroyed)
  const longer = client.encryptStream(aesKeyring(), { plaintextLength: 501 })
  const message = await drive(longer, [plaintext])
  assert.equal((await client.decrypt(aesKeyring(), message)).plaintext, plaintext)
})

test('plaintextLength: what comes with the end counts too', async () => {
  const allocate = (length: number) => new Uint8Array(length)
  for (const before of [20, 15]) {
    const sealer = await sealerOf({ frameLength: 10, plaintextLength: 20 })
    sealer.update(bytes(before), allocate)
    throws(() => sealer.final(bytes(21 - before), allocate), 'ERR_LIMIT_EXCEEDED')
  }
})

test('plaintextLength: it is given to the materials manager, and no option is written to', async () => {
  const op = Object.freeze({ plaintextLength: 500 })
  for (let i = 0; i < 2; i++) await drive(client.encryptStream(aesKeyring(), op), [plaintext])
})

test('a message has 2^32 - 1 frames, the last of which is the final one', async () => {
  const engine = getEngine()
  // What is checked is the count: of memory that nobody touches.
  useEngine(Object.assign(Object.create(engine), { sealFrames: () => {} }))
  const none = () => new Uint8Array(0)
  const half = Buffer.allocUnsafeSlow(2 ** 31)
  const sealer = async () => {
    const made = await sealerOf({ frameLength: 1 })
    made.update(half, none)
    return made
  }
  try {
    const full = await sealer()
    full.update(half.subarray(2), none)
    full.final(none(), none)
    const over = await sealer()
    throws(() => over.update(half.subarray(1), none), 'ERR_LIMIT_EXCEEDED', /at most 4294967295 frames/)
  } finally {
    useEngine(engine)
  }
})

test('a long chunk is worked on in batches, and no further than the reader takes them', async () => {
  const held = process.memoryUsage().arrayBuffers
  const chunk = Buffer.alloc(64 * 2 ** 20)
  const suiteId = suiteOf(false)
  const sealer = client.encryptStream(aesKeyring(), { suiteId })
  const opener = client.decryptStream(aesKeyring())
  for (const [stream, input] of [
    [sealer, chunk],
    [opener, (await client.encrypt(aesKeyring(), chunk, { suiteId })).result],
  ] as const) {
    stream.write(input)
    await once(stream, 'readable')
    for (let i = 0; i < 20; i++) await nextTurn()
    assert.ok(stream.readableLength > 0 && stream.readableLength < 2 * 2 ** 20, `${stream.readableLength} bytes`)
  }
  const most = held + 2 * chunk.length + 8 * 2 ** 20
  assert.ok(process.memoryUsage().arrayBuffers < most, 'nor is more of it made')
  sealer.destroy()
  opener.destroy()
})

test('text is bytes in the encoding of `write`, whatever the options say, as in client-node', async () => {
  const op = { encoding: 'hex' } as never
  for (const [encoding, expected] of [
    ['utf8', '616263'],
    ['hex', 'abc'],
  ] as const) {
    const stream = client.encryptStream(aesKeyring(), op)
    stream.end('616263', encoding)
    const pieces: Buffer[] = []
    for await (const piece of stream) pieces.push(piece)
    assert.is((await client.decrypt(aesKeyring(), Buffer.concat(pieces))).plaintext.toString(), expected)
  }
})

for (const signed of [false, true]) {
  const name = signed ? 'signed' : 'unsigned'

  test(`maxBodySize, ${name}: refuses the first frame that is longer, when its start is there`, async () => {
    const message = await seal(signed, 100)
    const { headerLength } = layout(message, 100)
    const stream = client.decryptStream(aesKeyring(), { maxBodySize: 99 })
    stream.on('error', ignore).resume()
    assert.not(await write(stream, message.subarray(0, headerLength + 3)))
    checkCode(await write(stream, message.subarray(headerLength + 3, headerLength + 4)), 'ERR_LIMIT_EXCEEDED')
    const allowed = client.decryptStream(aesKeyring(), { maxBodySize: 100 })
    assert.equal(await drive(allowed, [message]), plaintext)
  })

  test(`maxBodySize, ${name}: of the final frame, its own length counts`, async () => {
    const message = await seal(signed, 4096)
    const { headerLength } = layout(message, 4096)
    const stream = client.decryptStream(aesKeyring(), { maxBodySize: 499 })
    stream.on('error', ignore).resume()
    checkCode(await write(stream, message.subarray(0, headerLength + 24)), 'ERR_LIMIT_EXCEEDED')
    assert.equal(await drive(client.decryptStream(aesKeyring(), { maxBodySize: 500 }), [message]), plaintext)
  })

  test(`${name}: a frame that does not come next is refused when its number is there`, async () => {
    const message = await seal(signed, 100)
    const second = layout(message, 100).headerLength + 132
    message[second + 3]! ^= 1
    const stream = client.decryptStream(aesKeyring())
    stream.on('error', ignore).resume()
    assert.not(await write(stream, message.subarray(0, second + 3)))
    checkCode(await write(stream, message.subarray(second + 3, second + 4)), 'ERR_MESSAGE_MALFORMED')
  })

  test(`${name}: the first byte after the end fails`, async () => {
    const message = await seal(signed, 100)
    const stream = client.decryptStream(aesKeyring())
    stream.on('error', ignore).resume()
    assert.not(await write(stream, message))
    checkCode(await write(stream, Buffer.alloc(1)), 'ERR_TRAILING_DATA')
    const joined = client.decryptStream(aesKeyring())
    await rejects(drive(joined, [Buffer.concat([message, Buffer.alloc(1)])]), 'ERR_TRAILING_DATA')
  })

  test(`${name}: what is released when`, async () => {
    const message = await seal(signed, 200)
    const { headerLength, bodyLength } = layout(message, 200)
    const stream = client.decryptStream(aesKeyring())
    let given = 0
    let ended = false
    stream.on('data', (piece: Buffer) => {
      given += piece.length
    })
    stream.on('end', () => {
      ended = true
    })
    const after = async (from: number, to: number) => {
      await write(stream, message.subarray(from, to))
      await nextTurn()
      return given
    }
    const second = headerLength + 2 * 232
    assert.is(await after(0, headerLength + 231), 0)
    assert.is(await after(headerLength + 231, headerLength + 232), 200)
    assert.is(await after(headerLength + 232, second), 400)
    const bodyEnd = headerLength + bodyLength
    assert.is(await after(second, bodyEnd - 1), 400)
    assert.is(await after(bodyEnd - 1, bodyEnd), signed ? 400 : 500)
    if (signed) assert.is(await after(bodyEnd, message.length), 400, 'the last frame waits for the end of input')
    assert.not(ended)
    stream.end()
    await new Promise((resolve) => stream.on('close', resolve))
    assert.is(given, 500)
    assert.ok(ended)
  })
}

test('a wrong signature releases no part of the last frame', async () => {
  const message = await seal(true, 200)
  message[message.length - 1]! ^= 1
  const stream = client.decryptStream(aesKeyring())
  let given = 0
  stream.on('data', (piece: Buffer) => {
    given += piece.length
  })
  await rejects(drive(stream, [message]), 'ERR_AUTHENTICATION_FAILED')
  assert.is(given, 0, 'not even the frames that came in the same chunk')
})

for (const chunkLength of [64, 100_000]) {
  test(`other events have their turn while chunks of ${chunkLength} bytes come without a pause`, async () => {
    const total = chunkLength * 40_960 > 2 ** 26 ? 2 ** 26 : chunkLength * 40_960
    let left = total
    const source = new Readable({
      read() {
        left -= chunkLength
        this.push(left > 0 ? Buffer.alloc(chunkLength) : null)
      },
    })
    const through = [client.encryptStream(aesKeyring()), client.decryptStream(aesKeyring())] as const
    let turns = 0
    let over = false
    const turn = () => {
      turns++
      if (!over) setImmediate(turn)
    }
    turn()
    await pipeline(source, ...through, new Writable({ write: (_piece, _encoding, callback) => callback() }))
    over = true
    assert.ok(turns >= Math.min(total / 2 ** 20, 20), `${turns} turns`)
  })
}

test('other events have their turn while very short chunks are worked on that were written at once', async () => {
  const stream = client.encryptStream(aesKeyring(), { suiteId: suiteOf(false) })
  await once(stream.resume(), 'MessageHeader')
  stream.cork()
  for (let i = 0; i < 100_000; i++) stream.write(Buffer.of(1))
  const turns = countTurns()
  stream.end()
  await once(stream, 'end')
  const count = turns()
  assert.ok(count >= 20, `${count} turns`)
})

test('decryptUnsignedMessageStream refuses signed messages before a keyring is asked', async () => {
  const message = await seal(true, 200)
  await rejects(drive(client.decryptUnsignedMessageStream(aesKeyring()), [message]), 'ERR_SIGNATURE_POLICY')
  const unsigned = await seal(false, 200)
  assert.equal(await drive(client.decryptUnsignedMessageStream(aesKeyring()), [unsigned]), plaintext)
})

/** Where the parts of a message of the 500 bytes lie. */
function layout(message: Buffer, frameLength: number) {
  return { headerLength: parseHeader(message).bytes.length, bodyLength: framesLength(500, frameLength, true) }
}

async function sealerOf(options: SealerOptions): Promise<MessageSealer> {
  const cmm = new NodeDefaultCryptographicMaterialsManager(aesKeyring())
  const commitmentPolicy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
  const request = { suite: getSuite(0x0478), encryptionContext: {}, commitmentPolicy }
  return new MessageSealer(await cmm.getEncryptionMaterials(request), options)
}

test.run()
