import { generateKeyPairSync } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Engine } from '../../src/engine/engine'
import { loadNative } from '../../src/engine/native'
import { nodeEngine } from '../../src/engine/node'

const native = loadNative().engine!
const key = bytes(32)
const iv = bytes(12)
const aad = bytes(5)
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const run = { key, messageId: bytes(16), frameLength: 10, firstSequenceNumber: 1 }

for (const [name, engine] of [
  ['native', native],
  ['node', nodeEngine],
] as [string, Engine][]) {
  test(`${name}: refuses wrong lengths with a RangeError that names them`, () => {
    const cases: [RegExp, () => unknown][] = [
      [/"key" must be 16, 24 or 32 bytes, got 31/, () => engine.seal(bytes(31), iv, aad, bytes(1), bytes(17))],
      [/"iv" must be 12 bytes, got 16/, () => engine.seal(key, bytes(16), aad, bytes(1), bytes(17))],
      [/"out" must be 17 bytes, got 16/, () => engine.seal(key, iv, aad, bytes(1), bytes(16))],
      [/"out" must be 17 bytes, got 18/, () => engine.seal(key, iv, aad, bytes(1), bytes(18))],
      [/"sealed" must be 16 to/, () => engine.open(key, iv, aad, bytes(15), bytes(0))],
      [/"out" must be 1 bytes, got 0/, () => engine.open(key, iv, aad, bytes(17), bytes(0))],
      [/"messageId" must be 16 or 32/, () => engine.openFrames({ ...run, messageId: bytes(17) }, bytes(42), bytes(10))],
      [/"frameLength" must be/, () => engine.openFrames({ ...run, frameLength: 0 }, bytes(42), bytes(10))],
      [/"frameLength" must be/, () => engine.openFrames({ ...run, frameLength: 2 ** 32 }, bytes(42), bytes(10))],
      [
        /"firstSequenceNumber" must be/,
        () => engine.sealFrames({ ...run, firstSequenceNumber: 0 }, bytes(10), false, bytes(42)),
      ],
      [
        /"firstSequenceNumber" must be/,
        () => engine.sealFrames({ ...run, firstSequenceNumber: 1.5 }, bytes(10), false, bytes(42)),
      ],
      [
        /"firstSequenceNumber" must be/,
        () => engine.openFrames({ ...run, firstSequenceNumber: 2 ** 32 }, bytes(42), bytes(10)),
      ],
      [
        /"plaintext" must be whole frames of 10 bytes, got 11/,
        () => engine.sealFrames(run, bytes(11), false, bytes(43)),
      ],
      [/"out" must be 42 bytes, got 43/, () => engine.sealFrames(run, bytes(10), false, bytes(43))],
      [/"length" must be/, () => engine.hkdf('sha256', key, aad, aad, 255 * 32 + 1)],
      [/"length" must be/, () => engine.hkdf('sha256', key, aad, aad, 0)],
      [/"hash" must be one of/, () => engine.hkdf('md5' as 'sha256', key, aad, aad, 1)],
      [/"length" must be/, () => engine.randomBytes(-1)],
      [/"length" must be/, () => engine.randomBytes(2 ** 31)],
    ]
    for (const [message, call] of cases)
      assert.throws(call, (error: Error) => error instanceof RangeError && message.test(error.message), String(message))
  })

  test(`${name}: refuses what is not a Uint8Array with a TypeError`, () => {
    const fakes = [
      undefined,
      null,
      'text',
      32,
      { length: 32 },
      new ArrayBuffer(32),
      new Uint16Array(16),
      new DataView(new ArrayBuffer(32)),
      [1],
    ]
    for (const fake of fakes as Uint8Array[]) {
      for (const call of callsWith(engine, () => fake)) {
        assert.throws(call, (error: Error) => error instanceof TypeError && /must be a Buffer/.test(error.message))
      }
    }
    assert.throws(() => engine.sealFrames(run, bytes(10), 1 as never, bytes(82)), /"final" must be/)
  })

  test(`${name}: refuses memory that other threads can write`, () => {
    const shared = (length: number) => new Uint8Array(new SharedArrayBuffer(length))
    const calls = [
      () => engine.seal(shared(32), iv, aad, bytes(1), bytes(17)),
      () => engine.seal(key, iv, aad, shared(1), bytes(17)),
      () => engine.seal(key, iv, aad, bytes(1), shared(17)),
      () => engine.open(key, iv, aad, shared(17), bytes(1)),
      () => engine.sealFrames(run, shared(10), false, bytes(42)),
      () => engine.openFrames(run, shared(42), bytes(10)),
      () => engine.openFrames(run, bytes(42), shared(10)),
      () => engine.hkdf('sha256', shared(32), aad, aad, 16),
      () => engine.randomFill(shared(16)),
      () => engine.createHash('sha384').update(shared(16)),
      () => engine.createSigner('sha384', privateKey).update(shared(16)),
      () => engine.createVerifier('sha384', publicKey).update(shared(16)),
      () => engine.createVerifier('sha384', publicKey).verify(shared(70)),
    ]
    for (const call of calls) {
      assert.throws(call, (error: Error) => error instanceof TypeError && /SharedArrayBuffer/.test(error.message))
    }
  })

  test(`${name}: refuses an output that overlaps an input, and takes one right beside it or empty`, () => {
    const memory = bytes(100)
    const at = (start: number, length: number) => memory.subarray(start, start + length)
    const calls = [
      () => engine.seal(key, iv, aad, at(0, 20), at(0, 36)),
      () => engine.seal(key, iv, aad, at(35, 20), at(0, 36)),
      () => engine.seal(at(35, 32), iv, aad, bytes(20), at(0, 36)),
      () => engine.seal(key, at(35, 12), aad, bytes(20), at(0, 36)),
      () => engine.seal(key, iv, at(35, 1), bytes(20), at(0, 36)),
      () => engine.open(key, iv, aad, at(0, 36), at(0, 20)),
      () => engine.sealFrames(run, at(41, 10), false, at(0, 42)),
      () => engine.openFrames(run, at(0, 42), at(41, 10)),
      () => engine.sealFrames({ ...run, key: at(41, 32) }, bytes(10), false, at(0, 42)),
      () => engine.openFrames({ ...run, messageId: at(9, 32) }, bytes(42), at(0, 10)),
    ]
    for (const call of calls)
      assert.throws(call, (error: Error) => error instanceof RangeError && /overlap/.test(error.message))
    engine.seal(key, iv, aad, at(36, 20), at(0, 36))
    assert.ok(engine.open(key, iv, aad, at(0, 36), at(36, 20)))
    engine.seal(key, iv, at(10, 0), at(36, 20), at(0, 36))
  })

  test(`${name}: refuses a transferred buffer instead of taking it for an empty one`, () => {
    const transferred = (length: number) => {
      const gone = bytes(length)
      structuredClone(gone.buffer, { transfer: [gone.buffer as ArrayBuffer] })
      return gone
    }
    // Where an empty one would do, what it is counts; elsewhere its length does too.
    const refusal = (error: Error) => error instanceof TypeError || / got 0$/.test(error.message)
    for (const [i, call] of callsWith(engine, transferred).entries()) assert.throws(call, refusal, String(i))
  })

  test(`${name}: takes a resizable buffer at its length of the moment`, () => {
    const memory = resizable(64, 128)
    const tracking = new Uint8Array(memory)
    const fixed = new Uint8Array(memory, 32, 32)
    assert.ok(sealsLike(tracking, tracking.slice()))
    memory.resize(100)
    assert.is(tracking.length, 100)
    assert.ok(sealsLike(tracking, tracking.slice()))
    assert.ok(sealsLike(fixed, fixed.slice()))
    memory.resize(40)
    assert.ok(sealsLike(tracking, tracking.slice()))
    // `fixed` no longer fits its memory: it is out of bounds, not empty.
    assert.throws(
      () => engine.seal(key, iv, aad, fixed, bytes(16)),
      (error: unknown) => error instanceof TypeError,
    )
  })

  test(`${name}: takes views at any offset, Buffers and subclasses`, () => {
    class Mine extends Uint8Array {}
    const memory = bytes(200)
    for (const offset of [1, 3, 8, 77])
      assert.ok(sealsLike(memory.subarray(offset, offset + 50), memory.slice(offset, offset + 50)))
    assert.ok(sealsLike(Buffer.from(memory), memory))
    assert.ok(sealsLike(new Mine(memory), memory))
  })

  function sealsLike(a: Uint8Array, b: Uint8Array): boolean {
    const [first, second] = [a, b].map((plaintext) => {
      const out = new Uint8Array(plaintext.length + 16)
      engine.seal(key, iv, aad, plaintext, out)
      return out
    })
    return Buffer.compare(first!, second!) === 0
  }
}

// TypeScript's check first; then the addon's own, should a length lie or a check be missing.
test('native: the addon itself refuses bad arguments, whatever TypeScript let pass', () => {
  const { binding } = native
  const [invalid, overlapping, notBytes] = [5, 6, 7]
  assert.is(binding.seal(bytes(31), iv, aad, bytes(1), bytes(17)), invalid)
  assert.is(binding.seal(key, bytes(11), aad, bytes(1), bytes(17)), invalid)
  assert.is(binding.seal(key, iv, aad, bytes(1), bytes(18)), invalid)
  assert.is(binding.open(key, iv, aad, bytes(15), bytes(0)), invalid)
  assert.is(binding.sealFrames(key, run.messageId, 10, 1, bytes(11), 0, bytes(43)), invalid)
  assert.is(binding.sealFrames(key, run.messageId, 10, 1, bytes(10), 0, bytes(41)), invalid)
  assert.is(binding.sealFrames(key, bytes(33), 10, 1, bytes(10), 0, bytes(42)), invalid)
  assert.is(binding.openFrames(key, run.messageId, 0, 1, bytes(42), bytes(10)), invalid)
  for (const number of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 2 ** 32, '1']) {
    assert.is(binding.openFrames(key, run.messageId, 10, number as number, bytes(42), bytes(10)), invalid)
  }
  assert.is(binding.hkdf(3, key, aad, aad, bytes(16)), invalid)
  assert.is(binding.hkdf(0, key, aad, aad, bytes(255 * 32 + 1)), invalid)
  assert.is(binding.hkdf(0, key, aad, key, key.subarray(1)), overlapping)
  assert.is(binding.hkdf(0, key, aad, bytes(9), key.subarray(1)), overlapping)
  assert.is(binding.hkdf(0, bytes(32), key, bytes(9), key.subarray(1)), overlapping)
  // Short messages and long ones, which several threads share.
  for (const length of [100, 4 * 2 ** 20]) {
    const memory = new Uint8Array(2 * length + 64)
    const plaintext = memory.subarray(0, length)
    const sealed = memory.subarray(0, length + 16)
    assert.is(binding.seal(key, iv, aad, plaintext, memory.subarray(length - 1, 2 * length + 15)), overlapping)
    assert.is(binding.open(key, iv, aad, sealed, memory.subarray(length + 15, 2 * length + 15)), overlapping)
    const keys = memory.subarray(length, length + 32)
    assert.is(binding.open(keys, iv, aad, bytes(length + 16), memory.subarray(31, length + 31)), overlapping)
  }
  const missing = binding.seal as unknown as (...some: unknown[]) => number
  for (const some of [
    [],
    [key],
    [key, iv, aad, aad],
    [key, iv, aad, aad, 5],
    [key, iv, aad, new Uint16Array(1), bytes(17)],
  ]) {
    assert.is(missing(...some), notBytes)
  }
  class Liar extends Uint8Array {
    override get length() {
      return 32
    }
  }
  assert.throws(() => native.seal(new Liar(5), iv, aad, bytes(1), bytes(17)), /refused checked arguments/)
})

test.run()

/** Each argument that is bytes, made by `odd`, among others that would do. */
function callsWith(engine: Engine, odd: (length: number) => Uint8Array): (() => unknown)[] {
  const segment = { blockOffset: 0, length: 16, hash: bytes(16) }
  return [
    () => engine.seal(odd(32), iv, aad, bytes(1), bytes(17)),
    () => engine.seal(key, odd(12), aad, bytes(1), bytes(17)),
    () => engine.seal(key, iv, odd(5), bytes(1), bytes(17)),
    () => engine.seal(key, iv, aad, odd(0), bytes(16)),
    () => engine.seal(key, iv, aad, bytes(1), odd(17)),
    () => engine.open(key, odd(12), aad, bytes(16), bytes(0)),
    () => engine.open(key, iv, odd(5), bytes(16), bytes(0)),
    () => engine.open(key, iv, aad, odd(16), bytes(0)),
    () => engine.open(key, iv, aad, bytes(16), odd(0)),
    () => engine.sealFrames({ ...run, key: odd(32) }, bytes(10), false, bytes(42)),
    () => engine.sealFrames({ ...run, messageId: odd(16) }, bytes(10), false, bytes(42)),
    () => engine.sealFrames(run, odd(0), true, bytes(40)),
    () => engine.openFrames(run, odd(42), bytes(10)),
    () => engine.openFrames(run, bytes(42), odd(10)),
    () => engine.hkdf('sha256', odd(32), aad, aad, 16),
    () => engine.hkdf('sha256', key, odd(5), aad, 16),
    () => engine.hkdf('sha256', key, aad, odd(5), 16),
    () => engine.randomFill(odd(16)),
    () => engine.sealSegment(key, iv, 0, odd(0), bytes(0)),
    () => engine.hashSegment(key, iv, 0, odd(0)),
    () => engine.combineSegments(key, iv, odd(5), [segment]),
    () => engine.createHash('sha384').update(odd(16)),
    () => engine.createVerifier('sha384', publicKey).verify(odd(70)),
  ]
}

function bytes(length: number): Uint8Array {
  return new Uint8Array(length).fill(length)
}

/** `lib` of ES2023 does not know resizable buffers; every supported Node does. */
function resizable(byteLength: number, maxByteLength: number): ArrayBuffer & { resize(length: number): void } {
  return Reflect.construct(ArrayBuffer, [byteLength, { maxByteLength }])
}
