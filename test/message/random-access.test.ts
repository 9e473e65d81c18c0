import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FINAL_FRAME_OVERHEAD, REGULAR_FRAME_OVERHEAD, serializeFinalFrameHeader } from '../../src/format/frame'
import { parseHeader } from '../../src/format/message-header'
import {
  buildClient,
  CommitmentPolicy,
  type OpenedMessage,
  type RangeReader,
  type SealwaxErrorCode,
} from '../../src/index'
import { rejectionOf, rejects, throws } from '../support/expect'
import { givenBy } from '../support/given-by'
import { aesKeyring, bytes } from '../support/keys'
import { SpyKeyring } from '../support/spy-keyring'
import { vectorKeyring, vectors } from '../support/vectors'
import { build, rawAesEdk, u16 } from '../vectors/messages/build'
import { AES_256 } from '../vectors/messages/cases/case'

const client = buildClient()
const UNVERIFIED = { readSignedMessageWithoutVerifyingItsSignature: true }

async function seal(length: number, frameLength: number, suiteId = 0x0478): Promise<Buffer> {
  return (await client.encrypt(aesKeyring(), bytes(length), { suiteId, frameLength })).result
}

const never = () => new Promise<never>(() => {})
/** A materials manager that must not be asked. */
const unasked = {
  getEncryptionMaterials: () => Promise.reject(new Error('asked')),
  decryptMaterials: () => Promise.reject(new Error('asked')),
}

/** A reader that notes every range it is asked for. */
function noting(message: Uint8Array) {
  const ranges: [offset: number, length: number][] = []
  const reader: RangeReader = {
    length: message.length,
    read: async (offset, length) => {
      ranges.push([offset, length])
      return message.subarray(offset, offset + length)
    },
  }
  return { reader, ranges }
}

/** Offsets where something changes, and the ones beside them. */
function boundaries(length: number, frameLength: number): number[] {
  const places = [0, frameLength, 2 * frameLength, Math.floor(length / frameLength) * frameLength, length]
  const near = places.flatMap((place) => [place - 1, place, place + 1])
  return [...new Set(near)].filter((place) => place >= 0 && place <= length)
}

const SHAPES = Object.entries({ 1: [0, 1, 5], 16: [0, 15, 16, 17, 50], 100: [300], 4096: [10, 3 * 4096 + 7] }).flatMap(
  ([frameLength, lengths]) => lengths.map((length) => ({ frameLength: Number(frameLength), length })),
)
for (const suiteId of [0x0478, 0x0578]) {
  for (const { frameLength, length } of SHAPES) {
    test(`suite 0x0${suiteId.toString(16)}, ${length} bytes in frames of ${frameLength}: every range between boundaries`, async () => {
      const plaintext = bytes(length)
      const message = await client.openMessage(aesKeyring(), await seal(length, frameLength, suiteId), UNVERIFIED)
      assert.is(message.length, length)
      const places = boundaries(length, frameLength)
      for (const from of places) {
        for (const to of places.filter((place) => place >= from)) {
          const expected = Buffer.from(plaintext.subarray(from, to))
          assert.equal(await message.read(from, to - from), expected)
          assert.equal(await buffer(message.createReadStream(from, to - from)), expected)
        }
        assert.equal(await message.read(from), Buffer.from(plaintext.subarray(from)))
      }
      message.close()
    })
  }
}

for (const fullFinal of [true, false]) {
  const shape = fullFinal ? 'a full final frame' : 'an empty final frame after a full one'
  for (const [frameLength, frames] of [1, 32].flatMap((length) => [1, 3].map((count) => [length, count] as const))) {
    for (const suite of [0x0178, 0x0478, 0x0578]) {
      test(`${shape}: ${frames} x ${frameLength}, suite 0x0${suite.toString(16)}`, async () => {
        const plaintext = Buffer.from(bytes(frameLength * frames))
        const wrap: Parameters<typeof build>[0]['wrap'] = (dataKey, context) => [
          rawAesEdk('full', AES_256, dataKey, context),
        ]
        const { message } = build({ label: 'full', suite, plaintext, frameLength, fullFinal, wrap })
        const { openMessage } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT)
        const opened = await openMessage(vectorKeyring('aes-256'), message, UNVERIFIED)
        assert.is(opened.length, plaintext.length)
        assert.equal(await opened.read(0), plaintext)
        assert.equal(await opened.read(plaintext.length - 1), plaintext.subarray(-1))
        assert.is((await opened.read(plaintext.length)).length, 0)
      })
    }
  }
}

test('batches: more than 1 MiB, over frames of many lengths', async () => {
  const plaintext = Buffer.from(bytes(3_000_000))
  for (const frameLength of [4096, 65_536, 1_048_576, 2_000_000, 2 ** 32 - 1]) {
    const message = await client.openMessage(aesKeyring(), await seal(plaintext.length, frameLength))
    assert.ok((await message.read(0)).equals(plaintext))
    assert.ok((await buffer(message.createReadStream(12_345, 2_345_678))).equals(plaintext.subarray(12_345, 2_358_023)))
  }
})

test('every valid framed vector reads as it decrypts; no bad unsigned one opens and reads', async () => {
  for (const vector of vectors()) {
    const bytes = Buffer.from(vector.message, 'base64')
    const { maxEncryptedDataKeys = false, ...options } = vector.options ?? {}
    const { openMessage, decrypt } = buildClient({
      commitmentPolicy: vector.policy as CommitmentPolicy,
      maxEncryptedDataKeys,
    })
    const keyring = vectorKeyring(vector.keyring)
    const reading = openMessage(keyring, bytes, { ...options, ...UNVERIFIED }).then((message) => message.read(0))
    if ('error' in vector.expect) {
      const signed = [0x0214, 0x0346, 0x0378, 0x0578].some((id) => bytes.subarray(1, 4).includes(u16(id)))
      const problem = await rejectionOf(reading)
      if (!signed) assert.instance(problem, Error, vector.description)
      continue
    }
    const { frameLength } = parseHeader(bytes).messageHeader
    if (frameLength === 0) await rejects(reading, 'ERR_UNSUPPORTED_FORMAT')
    else if (frameLength > (options.maxBodySize ?? Infinity)) await rejects(reading, 'ERR_LIMIT_EXCEEDED')
    else assert.equal(await reading, (await decrypt(keyring, bytes, options)).plaintext, vector.description)
  }
})

test('only the header, the final frame and the frames asked for are read', async () => {
  const message = await seal(100_000, 1000)
  const headerLength = parseHeader(message).bytes.length
  const start = (frame: number) => headerLength + frame * (1000 + REGULAR_FRAME_OVERHEAD)
  const { reader, ranges } = noting(message)
  const opened = await client.openMessage(aesKeyring(), reader)
  const total = ranges.reduce((sum, [, length]) => sum + length, 0)
  assert.ok(total < 4096 + 2 * FINAL_FRAME_OVERHEAD, `${total} bytes to open`)
  assert.ok(ranges.every(([offset, length]) => offset + length <= 4096 || offset >= start(100)))
  const asked = async (offset: number, length: number) => {
    ranges.length = 0
    await opened.read(offset, length)
    return [...ranges]
  }
  assert.equal(await asked(5000, 1), [[start(5), 1032]])
  assert.equal(await asked(5000, 1000), [[start(5), 1032]])
  assert.equal(await asked(4999, 2), [[start(4), 2 * 1032]])
  assert.equal(await asked(99_999, 1), [[start(99), 1032]])
  assert.equal(await asked(100_000, 0), [])
  assert.equal(await asked(0, 0), [])
})

test('from a file; the file stays open', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sealwax-'))
  let file: FileHandle | undefined
  try {
    writeFileSync(join(directory, 'sealed'), await seal(50_000, 4096))
    file = await open(join(directory, 'sealed'))
    const message = await client.openMessage(aesKeyring(), file)
    assert.equal(await message.read(12_000, 9000), Buffer.from(bytes(50_000).subarray(12_000, 21_000)))
    message.close()
    assert.is((await file.stat()).size > 50_000, true)
    const held = await client.openMessage(aesKeyring(), file)
    await file.close()
    assert.instance(await rejectionOf(held.read(0, 1)), Error)
  } finally {
    await file?.close()
    rmSync(directory, { recursive: true })
  }
})

test('file handles that read little at a time', async () => {
  const sealed = await seal(10_000, 1000)
  const file = {
    stat: async () => ({ size: sealed.length }),
    read: async (into: Uint8Array, offset: number, length: number, position: number) => {
      const bytesRead = Math.min(length, 7)
      into.set(sealed.subarray(position, position + bytesRead), offset)
      return { bytesRead }
    },
  }
  const message = await client.openMessage(aesKeyring(), file)
  assert.equal(await message.read(0), Buffer.from(bytes(10_000)))
})

const READS: Record<string, [read: (bytes: Uint8Array) => unknown, expected: SealwaxErrorCode | typeof TypeError]> = {
  'too little': [(given) => given.subarray(1), 'ERR_MESSAGE_TRUNCATED'],
  nothing: [() => new Uint8Array(0), 'ERR_MESSAGE_TRUNCATED'],
  'no bytes': [() => 'text', TypeError],
  undefined: [() => undefined, TypeError],
}
for (const [what, [change, expected]] of Object.entries(READS)) {
  test(`a reader that gives ${what}`, async () => {
    const sealed = await seal(1000, 100)
    let broken = false
    const { reader } = noting(sealed)
    const read = async (offset: number, length: number) => {
      const given = await reader.read(offset, length)
      return (broken ? change(given) : given) as Uint8Array
    }
    const opened = await client.openMessage(aesKeyring(), { length: sealed.length, read })
    broken = true
    await rejects(client.openMessage(aesKeyring(), { length: sealed.length, read }), expected)
    await rejects(opened.read(0, 10), expected)
    assert.instance(await rejectionOf(buffer(opened.createReadStream())), Error)
    broken = false
    assert.is((await opened.read(0)).length, 1000, 'the message is still good')
  })
}

test('a reader that gives too much, fails or throws', async () => {
  const sealed = await seal(1000, 100)
  const failure = new Error('no disk')
  const over = {
    length: sealed.length,
    read: (offset: number, length: number) => sealed.subarray(offset, offset + length + 1),
  }
  await rejects(client.openMessage(aesKeyring(), over), RangeError)
  const rejecting = { length: sealed.length, read: () => Promise.reject(failure) }
  assert.is(await rejectionOf(client.openMessage(aesKeyring(), rejecting)), failure)
  const throwing = {
    length: sealed.length,
    read: () => {
      throw failure
    },
  }
  assert.is(await rejectionOf(client.openMessage(aesKeyring(), throwing)), failure)
  let fails = false
  const silent = {
    length: sealed.length,
    read: async (offset: number, length: number) =>
      fails ? Promise.reject() : sealed.subarray(offset, offset + length),
  }
  const opened = await client.openMessage(aesKeyring(), silent)
  fails = true
  const stream = opened.createReadStream().resume()
  const [error] = await once(stream, 'error')
  assert.match((error as Error).message, /without saying why/)
})

test('a file that gives nothing sensible has ended', async () => {
  const file = { stat: async () => ({ size: 1000 }), read: async () => ({ bytesRead: -1 }) }
  await rejects(client.openMessage(aesKeyring(), file), 'ERR_MESSAGE_TRUNCATED')
})

test('a frame that changes between reads is refused, and only that one', async () => {
  const sealed = await seal(1000, 100)
  const opened = await client.openMessage(aesKeyring(), sealed)
  const at = parseHeader(sealed).bytes.length + 3 * 132
  for (const place of [0, 3, 4, 15, 16, 50, 115, 116, 131]) {
    sealed[at + place]! ^= 1
    await rejects(opened.read(300, 1), 'ERR_AUTHENTICATION_FAILED')
    await rejects(opened.read(0), 'ERR_AUTHENTICATION_FAILED')
    await rejects(buffer(opened.createReadStream(250)), 'ERR_AUTHENTICATION_FAILED')
    assert.equal(await opened.read(200, 100), Buffer.from(bytes(1000).subarray(200, 300)))
    assert.equal(await opened.read(400), Buffer.from(bytes(1000).subarray(400)))
    sealed[at + place]! ^= 1
  }
  assert.equal(await opened.read(300, 1), Buffer.from(bytes(1000).subarray(300, 301)))
})

test('what was opened before a frame that is refused is wiped, and so is what was not asked for', async () => {
  const [spy, plaintext] = [new SpyKeyring(), Buffer.alloc(2_500_000, 'secret')]
  const { result } = await client.encrypt(spy, plaintext, { suiteId: 0x0478 })
  let opened!: OpenedMessage
  const last = await givenBy([[Buffer, 'allocUnsafeSlow']], async () => {
    opened = await client.openMessage(spy, result)
  })
  assert.equal(last, [Buffer.alloc(plaintext.length % 4096)])
  assert.ok(spy.wiped)
  const part = (await givenBy([[Buffer, 'allocUnsafeSlow']], () => opened.read(10, 5))) as Buffer[]
  assert.equal(part.filter((memory) => memory.includes('s')).map(String), [plaintext.toString('latin1', 10, 15)])
  result[result.length - 100_000]! ^= 1
  const made = await givenBy([[Buffer, 'allocUnsafeSlow']], () => rejects(opened.read(0), 'ERR_AUTHENTICATION_FAILED'))
  assert.ok(made.length > 3)
  for (const memory of made as Buffer[]) assert.ok(memory.equals(Buffer.alloc(memory.length)))
})

test('what is opened for a stream that was destroyed meanwhile is wiped', async () => {
  const sealed = await seal(100, 100)
  let answer: (() => void) | undefined
  const read = async (offset: number, length: number) => {
    if (answer) await new Promise<void>((resolve) => (answer = resolve))
    return sealed.subarray(offset, offset + length)
  }
  const opened = await client.openMessage(aesKeyring(), { length: sealed.length, read })
  answer = () => {}
  const made = await givenBy([[Buffer, 'allocUnsafeSlow']], async () => {
    const stream = opened.createReadStream().resume()
    await new Promise(setImmediate)
    stream.destroy()
    answer!()
    await new Promise(setImmediate)
  })
  assert.equal(made, [Buffer.alloc(100)])
})

test('frames that change places are refused', async () => {
  const sealed = await seal(1000, 100)
  const start = parseHeader(sealed).bytes.length
  const frame = (i: number) => sealed.subarray(start + i * 132, start + (i + 1) * 132)
  const second = Buffer.from(frame(1))
  frame(1).set(frame(2))
  frame(2).set(second)
  const opened = await client.openMessage(aesKeyring(), sealed)
  await rejects(opened.read(100, 1), 'ERR_AUTHENTICATION_FAILED')
  assert.is((await opened.read(0, 100)).length, 100)
})

test('memory that changes while it is read does no harm', async () => {
  const sealed = await seal(1000, 100)
  const lent = Buffer.alloc(sealed.length)
  const read = async (offset: number, length: number) => {
    const given = lent.subarray(0, length)
    sealed.copy(given, 0, offset)
    queueMicrotask(() => queueMicrotask(() => queueMicrotask(() => given.fill(0xee))))
    return given
  }
  const opened = await client.openMessage(aesKeyring(), { length: sealed.length, read })
  assert.equal(await opened.read(0), Buffer.from(bytes(1000)))
})

for (const suiteId of [0x0478, 0x0578]) {
  test(`suite 0x0${suiteId.toString(16)}: a message cut or lengthened anywhere does not open`, async () => {
    for (const [frameLength, length] of [
      [1, 6],
      [16, 48],
      [16, 50],
    ] as const) {
      const sealed = await seal(length, frameLength, suiteId)
      for (let end = 0; end < sealed.length; end++) {
        const problem = await rejectionOf(client.openMessage(aesKeyring(), sealed.subarray(0, end), UNVERIFIED))
        assert.ok(['ERR_MESSAGE_TRUNCATED', 'ERR_MESSAGE_MALFORMED'].includes((problem as { code: string })?.code))
      }
      for (const more of [1, 16, 33, 40]) {
        const longer = Buffer.concat([sealed, Buffer.alloc(more)])
        assert.instance(await rejectionOf(client.openMessage(aesKeyring(), longer, UNVERIFIED)), Error)
      }
    }
  })
}

test('a final frame that was changed or forged does not open: nothing else says where the message ends', async () => {
  for (const suiteId of [0x0478, 0x0578]) {
    const sealed = await seal(1050, 100, suiteId)
    const start = parseHeader(sealed).bytes.length
    for (const at of [24, 73, 74, 89]) {
      const changed = Buffer.from(sealed)
      changed[start + 10 * 132 + at]! ^= 1
      await rejects(client.openMessage(aesKeyring(), changed, UNVERIFIED), 'ERR_AUTHENTICATION_FAILED')
    }
    const end = sealed.subarray(start + 10 * 132 + 24 + 50 + 16)
    const forged = [sealed.subarray(0, start + 3 * 132), serializeFinalFrameHeader(4, 0), Buffer.alloc(16), end]
    await rejects(client.openMessage(aesKeyring(), Buffer.concat(forged), UNVERIFIED), 'ERR_AUTHENTICATION_FAILED')
  }
})

test('signed messages are refused before a keyring is asked, unframed ones always', async () => {
  await rejects(client.openMessage(unasked, await seal(100, 10, 0x0578)), 'ERR_SIGNATURE_POLICY')
  const no = { readSignedMessageWithoutVerifyingItsSignature: false }
  await rejects(client.openMessage(unasked, await seal(100, 10, 0x0578), no), 'ERR_SIGNATURE_POLICY')
})

test('policies, limits and required pairs hold before a keyring is asked', async () => {
  const old = buildClient(CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)
  const { result } = await old.encrypt(aesKeyring(), bytes(100), { suiteId: 0x0178, encryptionContext: { a: 'b' } })
  await rejects(client.openMessage(unasked, result), 'ERR_COMMITMENT_POLICY')
  assert.is((await old.openMessage(aesKeyring(), result, { encryptionContext: { a: 'b' } })).length, 100)
  for (const encryptionContext of [{ a: 'c' }, { b: 'a' }]) {
    await rejects(old.openMessage(unasked, result, { encryptionContext }), 'ERR_ENCRYPTION_CONTEXT')
  }
  await rejects(old.openMessage(unasked, result, { maxBodySize: 99 }), 'ERR_LIMIT_EXCEEDED')
  assert.is((await old.openMessage(aesKeyring(), result, { maxBodySize: 100 })).length, 100)
  const frames = await seal(105, 10)
  await rejects(client.openMessage(unasked, frames, { maxBodySize: 9 }), 'ERR_LIMIT_EXCEEDED')
  assert.is((await client.openMessage(aesKeyring(), frames, { maxBodySize: 10 })).length, 105)
})

test('what a caller does to the header that it sees does not matter', async () => {
  const message = await client.openMessage(aesKeyring(), await seal(100, 10))
  message.messageHeader.messageId.fill(0)
  assert.is((await message.read(0)).length, 100)
  message.close()
})

test('a wrong key, none at all, and a changed header', async () => {
  const sealed = await seal(100, 10)
  await rejects(client.openMessage(aesKeyring({ unencryptedMasterKey: bytes(32, 9) }), sealed), 'ERR_NO_DATA_KEY')
  sealed[parseHeader(sealed).bytes.length - 1]! ^= 1
  await rejects(client.openMessage(aesKeyring(), sealed), 'ERR_AUTHENTICATION_FAILED')
})

test('wrong arguments', async () => {
  const sealed = await seal(100, 10)
  for (const source of [undefined, null, 5, 'text', {}, { length: 5 }, { read() {} }]) {
    await rejects(client.openMessage(aesKeyring(), source as never), TypeError)
  }
  for (const length of [-1, 0.5, NaN]) {
    await rejects(client.openMessage(aesKeyring(), { length, read: () => sealed }), RangeError)
  }
  await rejects(client.openMessage(aesKeyring(), sealed, { maxBodysize: 1 } as never), TypeError)
  const message = await client.openMessage(aesKeyring(), sealed)
  for (const [offset, length] of [
    [-1, 1],
    [101, 0],
    [0, 101],
    [100, 1],
    [0, -1],
    [0.5, 1],
  ] as const) {
    await rejects(message.read(offset, length), RangeError)
    throws(() => message.createReadStream(offset, length), RangeError)
  }
})

test('close while reading: the read fails, later ones too, twice is well', async () => {
  const sealed = await seal(1000, 100)
  let release = () => {}
  let gate: Promise<void> | undefined
  const read = async (offset: number, length: number) => {
    await gate
    return sealed.subarray(offset, offset + length)
  }
  const message = await client.openMessage(aesKeyring(), { length: sealed.length, read })
  gate = new Promise((resolve) => {
    release = resolve
  })
  const reads = [message.read(0), message.read(950), buffer(message.createReadStream())].map(rejectionOf)
  message.close()
  message.close()
  release()
  for (const problem of await Promise.all(reads)) assert.is((problem as { code: string }).code, 'ERR_ABORTED')
  await rejects(message.read(0, 1), 'ERR_ABORTED')
  await rejects(message.read(0, 0), 'ERR_ABORTED')
  await rejects(buffer(message.createReadStream()), 'ERR_ABORTED')
})

test('an abort ends the opening, whatever the reader or the keyring do', async () => {
  const sealed = await seal(100, 10)
  const attempts = (signal: AbortSignal) =>
    [
      client.openMessage(aesKeyring(), { length: sealed.length, read: never }, { signal }),
      client.openMessage(aesKeyring(), { stat: never, read: never }, { signal }),
      client.openMessage({ getEncryptionMaterials: never, decryptMaterials: never }, sealed, { signal }),
    ].map(rejectionOf)
  const controller = new AbortController()
  const opening = attempts(controller.signal)
  setImmediate(() => controller.abort())
  for (const attempt of opening) assert.is(((await attempt) as { code: string }).code, 'ERR_ABORTED')
  for (const attempt of attempts(AbortSignal.abort()))
    assert.is(((await attempt) as { code: string }).code, 'ERR_ABORTED')
})

test('createReadStream: destroyed in the middle, or while its reader is busy', async () => {
  const sealed = await seal(3_000_000, 4096)
  const message = await client.openMessage(aesKeyring(), sealed)
  for await (const piece of message.createReadStream(5)) {
    assert.equal(piece.subarray(0, 10), Buffer.from(bytes(15).subarray(5)))
    break
  }
  let stalled = false
  const read = (offset: number, length: number) => (stalled ? never() : sealed.subarray(offset, offset + length))
  const slow = await client.openMessage(aesKeyring(), { length: sealed.length, read })
  stalled = true
  const stream = slow.createReadStream().resume()
  await new Promise((resolve) => setImmediate(resolve))
  const failure = new Error('enough')
  const ended = new Promise((resolve) => stream.on('error', resolve))
  stream.destroy(failure)
  assert.is(await ended, failure)
})

test('reads at the same time', async () => {
  const plaintext = Buffer.from(bytes(200_000))
  const message = await client.openMessage(aesKeyring(), await seal(plaintext.length, 1000))
  const offsets = Array.from({ length: 100 }, (_, i) => i * 1999)
  const reads = await Promise.all(offsets.map((offset) => message.read(offset, 1500)))
  for (const [i, offset] of offsets.entries()) assert.ok(reads[i]!.equals(plaintext.subarray(offset, offset + 1500)))
})

test.run()
