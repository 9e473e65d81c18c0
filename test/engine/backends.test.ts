import crypto, { createHash, createHmac, hkdfSync, randomBytes, randomInt } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Engine, FrameRun, HashName } from '../../src/engine/engine'
import { loadNative } from '../../src/engine/native'
import { nodeEngine } from '../../src/engine/node'
import { updateInto } from '../../src/engine/node-cipher'
import { selfTest } from '../../src/engine/self-test'
import { framesLength } from '../../src/format/frame'
import { throws } from '../support/expect'

const native = loadNative().engine!
assert.ok(native, 'the addon must be built: npm run build:native')
const backends: [string, Engine][] = [
  ['native', native],
  ['node', nodeEngine],
]
const KEY_LENGTHS = [16, 24, 32]
const none = new Uint8Array(0)
const KEY = new Uint8Array(32).fill(7)

for (const [name, engine] of backends) {
  test(`${name}: passes the self-test`, () => assert.is(selfTest(engine), undefined))

  test(`${name}: opens what it sealed, at every length around the block`, () => {
    for (const length of [0, 1, 15, 16, 17, 31, 32, 33, 255, 256, 257, 4096, 100_000]) {
      for (const keyLength of KEY_LENGTHS) {
        const [key, iv, aad, plaintext] = [keyLength, 12, length % 50, length].map(bytes) as Four
        const sealed = new Uint8Array(length + 16)
        const opened = new Uint8Array(length)
        engine.seal(key, iv, aad, plaintext, sealed)
        assert.ok(engine.open(key, iv, aad, sealed, opened))
        assert.equal(opened, plaintext)
      }
    }
  })

  test(`${name}: refuses any flipped bit and wipes the output`, () => {
    const [key, iv, aad, plaintext] = [32, 12, 20, 100].map(bytes) as Four
    const sealed = new Uint8Array(116)
    engine.seal(key, iv, aad, plaintext, sealed)
    for (const input of [key, iv, aad, sealed]) {
      for (let bit = 0; bit < input.length * 8; bit += 7) {
        input[bit >> 3]! ^= 1 << (bit & 7)
        const out = new Uint8Array(100).fill(0xaa)
        assert.not.ok(engine.open(key, iv, aad, sealed, out))
        assert.not.ok(out.some(Boolean), 'the output is wiped')
        input[bit >> 3]! ^= 1 << (bit & 7)
      }
    }
    assert.ok(engine.open(key, iv, aad, sealed, new Uint8Array(100)))
  })

  test(`${name}: HKDF is RFC 5869's, at every length`, () => {
    for (const [hash, hashLength] of [
      ['sha256', 32],
      ['sha384', 48],
      ['sha512', 64],
    ] as [HashName, number][]) {
      for (const length of [1, 16, 32, hashLength - 1, hashLength, hashLength + 1, 255 * hashLength]) {
        for (const inputLength of [0, 1, 32, 64, 65, 128, 129, 300]) {
          const [key, salt, info] = [bytes(inputLength), bytes((inputLength * 7) % 301), bytes((inputLength * 3) % 101)]
          const expected = new Uint8Array(hkdfSync(hash, key, salt, info, length))
          assert.equal(engine.hkdf(hash, key, salt, info, length), expected)
        }
      }
      const [key, salt, info] = [bytes(32), bytes(32), bytes(9)]
      // Longer than what hkdfSync takes.
      const long = bytes(5000)
      const prk = createHmac(hash, salt).update(key).digest()
      const first = createHmac(hash, prk).update(long).update(Uint8Array.of(1)).digest()
      assert.equal(engine.hkdf(hash, key, salt, long, hashLength), new Uint8Array(first))
      const pair = engine.hkdfPair(hash, key, salt, { info, length: 28 }, { info: none, length: 70 })
      assert.equal(pair, [engine.hkdf(hash, key, salt, info, 28), engine.hkdf(hash, key, salt, none, 70)])
    }
  })

  test(`${name}: allocates memory of its own that can be written and sealed into`, () => {
    for (const length of [0, 1, 4096, 4 * 2 ** 20 - 1, 4 * 2 ** 20, 9_000_001]) {
      const memory = engine.allocate(length + 16)
      assert.is(memory.length, length + 16)
      assert.is(memory.buffer.byteLength, length + 16)
      engine.seal(KEY, KEY.subarray(0, 12), none, new Uint8Array(length), memory)
      assert.ok(engine.open(KEY, KEY.subarray(0, 12), none, memory, engine.allocate(length)))
    }
    throws(() => engine.allocate(-1), RangeError)
  })

  test(`${name}: random bytes differ, fill their memory, and have it to themselves`, () => {
    const seen = new Set<string>()
    for (let i = 0; i < 1000; i++) {
      const random = engine.randomBytes(32)
      assert.is(random.buffer.byteLength, 32)
      seen.add(Buffer.from(random).toString('hex'))
    }
    assert.is(seen.size, 1000)
    assert.is(engine.randomBytes(0).length, 0)
    const large = engine.randomBytes(300_001)
    const counts = new Array<number>(256).fill(0)
    for (const byte of large) counts[byte]!++
    // Chi-square of 255 degrees of freedom: beyond 400 once in 10^8 runs.
    const expected = large.length / 256
    const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
    assert.ok(chiSquare < 400, `bytes are not uniform: ${chiSquare}`)
  })
}

test('node: what a cipher gives is wiped once it is in its place', () => {
  const given: Uint8Array[] = []
  const update = (input: Uint8Array) => {
    given.push(input.slice())
    return given.at(-1)!
  }
  const out = new Uint8Array(10)
  assert.is(updateInto({ update }, KEY.subarray(0, 10), out), 10)
  assert.equal([out, given], [KEY.subarray(0, 10), [new Uint8Array(10)]])
})

test('node: HKDF leaves nothing behind but its result', () => {
  const { createHmac } = crypto
  const digests: Buffer[] = []
  const watched: typeof createHmac = (...args) => {
    const hmac = createHmac(...args)
    const digest = hmac.digest.bind(hmac) as () => Buffer
    const kept = () => {
      digests.push(digest())
      return digests.at(-1)!
    }
    return Object.assign(hmac, { digest: kept as typeof hmac.digest })
  }
  crypto.createHmac = watched
  try {
    nodeEngine.hkdf('sha256', KEY, KEY, none, 40)
  } finally {
    crypto.createHmac = createHmac
  }
  // Of the extract and of two blocks.
  assert.equal(
    digests.map((digest) => digest.some(Boolean)),
    [false, false, false],
  )
})

test('both backends seal alike, at random sizes', () => {
  for (let i = 0; i < 300; i++) {
    const keyLength = KEY_LENGTHS[i % 3]!
    const [key, iv, aad, plaintext] = [keyLength, 12, randomInt(100), randomInt(20_000)].map(bytes) as Four
    const [a, b] = backends.map(([, engine]) => {
      const out = new Uint8Array(plaintext.length + 16)
      engine.seal(key, iv, aad, plaintext, out)
      return out
    }) as [Uint8Array, Uint8Array]
    assert.equal(digest(a), digest(b))
  }
})

test('frames are the same bytes for every backend, thread count and grain', () => {
  for (const [frameLength, plaintextLength] of [
    [1, 257],
    [16, 1000],
    [100, 100],
    [4096, 300_000],
    [65_536, 700_001],
    [5000, 1],
  ]) {
    const run = frameRun(frameLength!, randomInt(1, 1000))
    const plaintext = bytes(plaintextLength!)
    const out = new Uint8Array(framesLength(plaintextLength!, frameLength!, true))
    nodeEngine.sealFrames(run, plaintext, true, out)
    const expected = digest(out)
    for (const [threads, grain] of FORCED) {
      native.binding.force(threads, grain)
      out.fill(0)
      native.sealFrames(run, plaintext, true, out)
      assert.is(digest(out), expected, `frames of ${frameLength}, ${threads} threads, grain ${grain}`)
      const opened = new Uint8Array(plaintextLength!)
      const { count, status } = native.openFrames(run, out, opened)
      assert.is(status, 'final')
      assert.is(count, Math.floor(plaintextLength! / frameLength!))
      const whole = count * frameLength!
      assert.is(digest(opened.subarray(0, whole)), digest(plaintext.subarray(0, whole)))
    }
  }
  native.binding.force(0, 0)
})

test('the first broken frame decides, whatever the number of threads', () => {
  const frameLength = 64
  const frames = 40
  const run = frameRun(frameLength, 7)
  const plaintext = bytes(frames * frameLength)
  const sealed = new Uint8Array(framesLength(plaintext.length, frameLength, false))
  nodeEngine.sealFrames(run, plaintext, false, sealed)
  const at = (frame: number) => frame * (frameLength + 32)
  const breaks = {
    final: (body: Uint8Array, frame: number) => body.fill(0xff, at(frame), at(frame) + 4),
    'out-of-order': (body: Uint8Array, frame: number) => (body[at(frame) + 3]! ^= 1),
    'wrong-iv': (body: Uint8Array, frame: number) => (body[at(frame) + 15]! ^= 1),
    unauthentic: (body: Uint8Array, frame: number) => (body[at(frame) + 16 + 63]! ^= 1),
  }
  for (const [status, damage] of Object.entries(breaks)) {
    for (const frame of [0, 1, 19, 38, 39]) {
      const body = sealed.slice()
      damage(body, frame)
      // Later frames are broken in other ways: they must not be the ones reported.
      if (frame < 38) breaks.unauthentic(body, 38)
      if (frame < 39) breaks[status === 'wrong-iv' ? 'out-of-order' : 'wrong-iv'](body, 39)
      for (const [name, engine] of backends) {
        for (const [threads, grain] of name === 'native' ? FORCED : [[0, 0]]) {
          native.binding.force(threads!, grain!)
          const out = new Uint8Array(plaintext.length)
          assert.equal(engine.openFrames(run, body, out), { count: frame, status }, `${name} ${frame} ${threads}`)
          assert.equal(out.subarray(0, frame * frameLength), plaintext.subarray(0, frame * frameLength))
          assert.not.ok(out.subarray(frame * frameLength).some(Boolean), `${name}: the rest is wiped`)
        }
      }
    }
  }
  native.binding.force(0, 0)
})

test('a partial frame at the end is left, and `out` bounds how many frames are opened', () => {
  const run = frameRun(10, 1)
  const plaintext = bytes(35)
  const sealed = new Uint8Array(framesLength(35, 10, true))
  nodeEngine.sealFrames(run, plaintext, true, sealed)
  for (const [, engine] of backends) {
    const open = (bodyLength: number, outLength: number) =>
      engine.openFrames(run, sealed.subarray(0, bodyLength), new Uint8Array(outLength))
    assert.equal(open(0, 100), { count: 0, status: 'ok' })
    assert.equal(open(41, 100), { count: 0, status: 'ok' })
    assert.equal(open(42, 100), { count: 1, status: 'ok' })
    assert.equal(open(42, 9), { count: 0, status: 'ok' })
    assert.equal(open(sealed.length, 29), { count: 2, status: 'ok' })
    assert.equal(open(42 * 3 + 3, 100), { count: 3, status: 'ok' })
    assert.equal(open(42 * 3 + 4, 100), { count: 3, status: 'final' })
    assert.equal(open(42 * 3 + 4, 30), { count: 3, status: 'final' })
    assert.equal(open(sealed.length, 100), { count: 3, status: 'final' })
    // A message of another run: wrong key, wrong message ID, wrong start.
    assert.equal(engine.openFrames({ ...run, key: bytes(32) }, sealed, new Uint8Array(30)), {
      count: 0,
      status: 'unauthentic',
    })
    assert.equal(engine.openFrames({ ...run, messageId: bytes(16) }, sealed, new Uint8Array(30)), {
      count: 0,
      status: 'unauthentic',
    })
    assert.equal(engine.openFrames({ ...run, firstSequenceNumber: 2 }, sealed, new Uint8Array(30)), {
      count: 0,
      status: 'out-of-order',
    })
  }
})

test('sequence numbers end at 2^32 - 1, which only a final frame may have', () => {
  const last = 0xffff_ffff
  for (const [, engine] of backends) {
    const seal = (first: number, length: number, final: boolean) => {
      const sealed = new Uint8Array(framesLength(length, 4, final))
      engine.sealFrames(frameRun(4, first), bytes(length), final, sealed)
      return sealed
    }
    assert.is(seal(last, 3, true).length, 43)
    assert.is(seal(last - 1, 4, true).length, 36 + 40)
    assert.is(seal(last - 2, 8, false).length, 72)
    for (const [first, length, final] of [
      [last, 4, true],
      [last, 4, false],
      [last - 1, 8, false],
    ] as const) {
      assert.throws(
        () => seal(first, length, final),
        (error: unknown) => error instanceof RangeError,
      )
    }
    const run = frameRun(4, last - 1)
    const sealed = new Uint8Array(36)
    engine.sealFrames(run, bytes(4), false, sealed)
    const twice = new Uint8Array(72)
    twice.set(sealed)
    twice.set(sealed, 36)
    assert.equal(engine.openFrames(run, twice, new Uint8Array(8)), { count: 1, status: 'out-of-order' })
    assert.equal(engine.openFrames({ ...run, firstSequenceNumber: last }, sealed, new Uint8Array(8)), {
      count: 0,
      status: 'out-of-order',
    })
  }
})

test('info says what is in use', () => {
  const info = native.info()
  assert.is(info.backend, 'native')
  assert.match(info.openssl, /^OpenSSL \d+\.\d+\.\d+/)
  assert.ok(info.openssl.startsWith(nodeEngine.info().openssl), 'both backends run on the same OpenSSL')
  assert.ok(info.threads >= 1)
  assert.not.ok('fallback' in info)
  assert.equal(nodeEngine.info().cpu, [])
})

test.run()

type Four = [Uint8Array, Uint8Array, Uint8Array, Uint8Array]

const FORCED: [threads: number, grain: number][] = [
  [1, 0],
  [1, 1],
  [2, 1],
  [3, 100],
  [8, 1000],
  [16, 1],
  [0, 0],
].map(([threads, grain]) => [threads!, grain!])

function bytes(length: number): Uint8Array {
  return new Uint8Array(randomBytes(length))
}

function digest(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

function frameRun(frameLength: number, firstSequenceNumber: number): FrameRun {
  return { key: RUN_KEY, messageId: RUN_ID, frameLength, firstSequenceNumber }
}
const RUN_KEY = bytes(32)
const RUN_ID = bytes(32)
