import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Engine, SegmentHash } from '../../src/engine/engine'
import { loadNative } from '../../src/engine/native'
import { nodeEngine } from '../../src/engine/node'

const native = loadNative().engine!
const backends: [string, Engine][] = [
  ['native', native],
  ['node', nodeEngine],
]
const KEY_LENGTHS = [16, 24, 32]
const LENGTHS = [0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 255, 256, 257, 1000, 4096, 5001]
const MAX_LENGTH = 2 ** 36 - 32

for (const [name, engine] of backends) {
  test(`${name}: 1 to 16 segments, sealed in any order, are node:crypto's message`, () => {
    for (const length of LENGTHS) {
      const message = newMessage(KEY_LENGTHS[length % 3]!, length % 3 === 0 ? 0 : length % 50, length)
      const blocks = Math.ceil(length / 16)
      for (let count = 1; count <= Math.min(16, Math.max(1, blocks)); count++) {
        const cuts = Array.from({ length: count - 1 }, (_, i) => Math.floor(((i + 1) * blocks) / count))
        checkCuts(engine, message, cuts)
      }
    }
  })

  test(`${name}: any cuts between blocks give the same bytes and tag`, () => {
    const cases = fc.record({
      keyLength: fc.constantFrom(...KEY_LENGTHS),
      aadLength: fc.nat(70),
      length: fc.nat(3000),
      cuts: fc.array(fc.nat(190), { maxLength: 15 }),
    })
    fc.assert(
      fc.property(cases, ({ keyLength, aadLength, length, cuts }) => {
        const inside = cuts.map((cut) => Math.min(cut, Math.floor(length / 16)))
        checkCuts(engine, newMessage(keyLength, aadLength, length), inside)
      }),
      { numRuns: name === 'native' ? 300 : 60 },
    )
  })

  test(`${name}: any changed bit of ciphertext, AAD or tag is refused, and so is another order of the bytes`, () => {
    const message = newMessage(32, 20, 100)
    const { key, iv, aad, sealed } = message
    const verify = (ciphertext: Uint8Array, aadNow: Uint8Array, tag: Uint8Array) => {
      const hashes = [
        engine.hashSegment(key, iv, 0, ciphertext.subarray(0, 48)),
        engine.hashSegment(key, iv, 3, ciphertext.subarray(48)),
      ]
      return engine.verifySegments(key, iv, aadNow, hashes, tag)
    }
    const [ciphertext, tag] = [sealed.subarray(0, 100), sealed.subarray(100)]
    assert.ok(verify(ciphertext, aad, tag))
    for (const part of [ciphertext, aad, tag]) {
      for (let bit = 0; bit < part.length * 8; bit += 5) {
        part[bit >> 3]! ^= 1 << (bit & 7)
        assert.not.ok(verify(ciphertext, aad, tag))
        part[bit >> 3]! ^= 1 << (bit & 7)
      }
    }
    const swapped = Buffer.concat([ciphertext.subarray(16, 32), ciphertext.subarray(0, 16), ciphertext.subarray(32)])
    assert.not.ok(verify(swapped, aad, tag))
    assert.not.ok(verify(ciphertext.subarray(0, 99), aad, tag))
  })

  test(`${name}: refuses segments that do not make a message`, () => {
    const { key, iv, aad } = newMessage(32, 5, 0)
    const at = (blockOffset: number, length: number): SegmentHash => ({ blockOffset, length, hash: bytes(16) })
    const cases: [RegExp, SegmentHash[]][] = [
      [/adjoin: one starts at byte 16, not at 0/, [at(1, 16)]],
      [/adjoin: one starts at byte 48, not at 32/, [at(0, 32), at(3, 16)]],
      [/adjoin: one starts at byte 16, not at 32/, [at(0, 32), at(1, 32)]],
      [/adjoin: one starts at byte 0, not at 16/, [at(0, 16), at(0, 16)]],
      [/adjoin: one starts at byte 32, not at 17/, [at(0, 17), at(2, 16)]],
      [/"hash" must be 16 bytes, got 15/, [{ blockOffset: 0, length: 1, hash: bytes(15) }]],
      [/"length" must be/, [at(0, MAX_LENGTH + 1)]],
      [/at most 68719476704 bytes/, [at(0, 2 ** 35), at(2 ** 31, 2 ** 35)]],
    ]
    for (const [message, segments] of cases) {
      const combine = () => engine.combineSegments(key, iv, aad, segments)
      assert.throws(combine, (error: Error) => error instanceof RangeError && message.test(error.message))
    }
    assert.is(engine.combineSegments(key, iv, aad, [at(0, 0), at(0, 16), at(1, 0)]).length, 16)
    assert.throws(() => engine.verifySegments(key, iv, aad, [], bytes(15)), /"tag" must be 16 bytes/)
  })

  test(`${name}: the counter ends at 2^32 - 1`, () => {
    const { key, iv } = newMessage(32, 0, 0)
    const last = 2 ** 32 - 3
    const out = bytes(16)
    engine.sealSegment(key, iv, last, new Uint8Array(16), out)
    const counter = Buffer.concat([iv, Buffer.from('ffffffff', 'hex')])
    assert.equal(Buffer.from(out), createCipheriv('aes-256-ecb', key, null).update(counter))
    for (const [blockOffset, length] of [
      [last, 17],
      [last + 1, 1],
      [last + 2, 0],
      [-1, 0],
      [0.5, 0],
      [2 ** 53, 1],
    ] as const) {
      const refused = (call: () => unknown) => assert.throws(call, (error: unknown) => error instanceof RangeError)
      refused(() => engine.sealSegment(key, iv, blockOffset, bytes(length), bytes(length)))
      refused(() => engine.openSegment(key, iv, blockOffset, bytes(length), bytes(length)))
      refused(() => engine.hashSegment(key, iv, blockOffset, bytes(length)))
    }
  })

  test(`${name}: refuses outputs of another length, over the input, and memory of other threads`, () => {
    const { key, iv } = newMessage(32, 0, 0)
    const memory = bytes(64)
    const shared = new Uint8Array(new SharedArrayBuffer(16))
    for (const run of ['sealSegment', 'openSegment'] as const) {
      assert.throws(() => engine[run](key, iv, 0, bytes(16), bytes(15)), /"out" must be 16 bytes, got 15/)
      assert.throws(() => engine[run](key, iv, 0, memory.subarray(0, 16), memory.subarray(15, 31)), /overlap/)
      assert.throws(() => engine[run](key, iv, 0, shared, bytes(16)), /SharedArrayBuffer/)
    }
    assert.throws(() => engine.hashSegment(key, iv, 0, shared), /SharedArrayBuffer/)
    assert.throws(() => engine.combineSegments(key, iv, shared, []), /SharedArrayBuffer/)
  })
}

test('one large message is the same bytes for every thread count and piece, and opens only when authentic', () => {
  for (const length of [1, 16, 100, 5000, 3_000_017]) {
    const { key, iv, aad, plaintext, sealed } = newMessage(32, 33, length)
    const forced = length < 10_000 ? FORCED : [...FORCED.filter(([, grain]) => grain === 0), [3, 100_000] as const]
    for (const [threads, grain] of forced) {
      native.binding.force(threads, grain)
      const out = new Uint8Array(length + 16)
      native.seal(key, iv, aad, plaintext, out)
      assert.is(digest(out), digest(sealed), `${length} bytes, ${threads} threads, pieces of ${grain}`)
      const opened = new Uint8Array(length)
      assert.ok(native.open(key, iv, aad, sealed, opened))
      assert.is(digest(opened), digest(plaintext))
      for (const place of [0, length >> 1, length - 1, length, length + 15]) {
        out[place]! ^= 1
        assert.not.ok(native.open(key, iv, aad, out, opened))
        assert.not.ok(opened.some(Boolean), 'the output is wiped')
        out[place]! ^= 1
      }
      aad[0]! ^= 1
      assert.not.ok(native.open(key, iv, aad, sealed, opened))
      aad[0]! ^= 1
    }
  }
  native.binding.force(0, 0)
})

test('both backends give the same hash, which depends on the bytes alone', () => {
  const { key, iv, plaintext } = newMessage(32, 0, 1000)
  const out = new Uint8Array(1000)
  const [a, b] = backends.map(([, engine]) => engine.sealSegment(key, iv, 77, plaintext, out))
  assert.equal(a, b)
  for (const [, engine] of backends) assert.equal(engine.hashSegment(key, iv, 5, out).hash, a!.hash)
})

test('native: the addon itself refuses bad segments, whatever TypeScript let pass', () => {
  const { binding } = native
  const { key, iv, aad } = newMessage(32, 0, 0)
  const [invalid, overlapping] = [5, 6]
  assert.is(binding.sealSegment(key, iv, 2 ** 32 - 3, bytes(17), bytes(17), bytes(16)), invalid)
  assert.is(binding.sealSegment(key, iv, 2 ** 53 - 1, bytes(1), bytes(1), bytes(16)), invalid)
  assert.is(binding.sealSegment(key, iv, 0, bytes(16), bytes(15), bytes(16)), invalid)
  assert.is(binding.openSegment(key, iv, 0, bytes(16), bytes(16), bytes(15)), invalid)
  assert.is(binding.hashSegment(bytes(31), iv, 0, bytes(16), bytes(16)), invalid)
  const memory = bytes(32)
  assert.is(binding.sealSegment(key, iv, 0, bytes(16), memory.subarray(0, 16), memory.subarray(8, 24)), overlapping)
  assert.is(binding.hashSegment(key, iv, 0, memory, memory.subarray(0, 16)), overlapping)
  assert.is(binding.combineSegments(key, iv, aad, bytes(23), bytes(16)), invalid)
  assert.is(binding.combineSegments(key, iv, aad, new Uint8Array(24).fill(1), bytes(16)), invalid)
})

test.run()

interface Message {
  readonly key: Uint8Array
  readonly iv: Uint8Array
  readonly aad: Uint8Array
  readonly plaintext: Uint8Array
  readonly sealed: Uint8Array
}

/** By node:crypto, in one piece. */
function newMessage(keyLength: number, aadLength: number, length: number): Message {
  const [key, iv, aad, plaintext] = [keyLength, 12, aadLength, length].map(bytes) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ]
  const sealed = new Uint8Array(length + 16)
  nodeEngine.seal(key, iv, aad, plaintext, sealed)
  return { key, iv, aad, plaintext, sealed }
}

/** Seals from the last segment to the first, opens from the first to the last; cuts are in blocks. */
function checkCuts(engine: Engine, { key, iv, aad, plaintext, sealed }: Message, cuts: readonly number[]): void {
  const bounds = [0, ...[...cuts].sort((a, b) => a - b), Math.max(plaintext.length / 16, ...cuts)]
  const ranges = bounds.slice(1).map((end, i) => [bounds[i]!, bounds[i]! * 16, end * 16] as const)
  const out = new Uint8Array(plaintext.length)
  const opened = new Uint8Array(plaintext.length)
  const hashes = ranges
    .toReversed()
    .map(([block, from, to]) =>
      engine.sealSegment(key, iv, block, plaintext.subarray(from, to), out.subarray(from, to)),
    )
  const tag = engine.combineSegments(key, iv, aad, hashes)
  assert.is(digest(Buffer.concat([out, tag])), digest(sealed), `cuts ${cuts}`)
  const fromOpening = ranges.map(([block, from, to]) =>
    engine.openSegment(key, iv, block, sealed.subarray(from, to), opened.subarray(from, to)),
  )
  assert.equal(fromOpening.toReversed(), hashes)
  assert.is(digest(opened), digest(plaintext))
  assert.ok(engine.verifySegments(key, iv, aad, fromOpening, sealed.subarray(plaintext.length)))
}

function bytes(length: number): Uint8Array {
  return new Uint8Array(randomBytes(length))
}

function digest(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

const FORCED: [threads: number, grain: number][] = [1, 2, 3, 7, 16].flatMap((threads) =>
  [0, 1, 16, 100, 1000].map((grain): [number, number] => [threads, grain]),
)
