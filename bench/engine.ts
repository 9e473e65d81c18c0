/**
 * The engine's own speed: `npx tsx bench/engine.ts`. Both backends, one call at a time into memory that is reused; every
 * output is compared before anything is timed. Prints medians.
 */
import { createHash, generateKeyPairSync, hkdfSync, sign, verify } from 'node:crypto'
import { equalBytes } from '#built/bytes'
import type { Engine, FrameRun, Hash, OpenedFrames, SegmentHash } from '#built/engine/engine'
import { loadNative } from '#built/engine/native'
import { nodeEngine } from '#built/engine/node'
import { framesLength } from '#built/format/frame'
import { showLength } from './contender'

const KIB = 1024
const MIB = 1024 * KIB

const native = loadNative().engine!
const key = new Uint8Array(32).fill(1)
const iv = new Uint8Array(12).fill(2)
const aad = new Uint8Array(64).fill(3)
const messageId = new Uint8Array(32).fill(4)
const info = new Uint8Array(11).fill(5)

interface Contender {
  readonly name: string
  readonly engine: Engine
  /** 0 for all. */
  readonly threads: number
}
const contenders: Contender[] = [
  { name: 'native', engine: native, threads: 0 },
  { name: 'native, 1 thread', engine: native, threads: 1 },
  { name: 'node:crypto', engine: nodeEngine, threads: 0 },
]

const { openssl, cpu, threads } = native.info()
console.log(`Node ${process.version}, ${openssl}, ${cpu.join(' ')}, ${threads} threads\n`)
console.log(row('', ...contenders.map(({ name }) => name)))

compare<[Uint8Array, Uint8Array]>('hkdfPair, SHA-512, 32 + 32 bytes', 0, (engine) => {
  const [first, second] = [
    { info, length: 32 },
    { info: iv, length: 32 },
  ]
  const expected = new Uint8Array(hkdfSync('sha512', key, messageId, info, 32))
  return {
    run: () => engine.hkdfPair('sha512', key, messageId, first, second),
    holds: (pair) => equalBytes(pair[0], expected),
  }
})
compare<Uint8Array>('randomBytes, 76', 0, (engine) => ({
  run: () => engine.randomBytes(76),
  holds: (bytes) => bytes.length === 76,
}))

for (const length of [64, KIB, 64 * KIB, MIB, 2 * MIB, 4 * MIB, 16 * MIB, 64 * MIB]) {
  const plaintext = new Uint8Array(length).fill(6)
  const expected = new Uint8Array(length + 16)
  nodeEngine.seal(key, iv, aad, plaintext, expected)
  const sealed = new Uint8Array(length + 16)
  const opened = new Uint8Array(length)
  compare(`seal ${showLength(length)}`, length, (engine) => ({
    run: () => engine.seal(key, iv, aad, plaintext, sealed),
    holds: () => equalBytes(sealed, expected),
  }))
  compare<boolean>(`open ${showLength(length)}`, length, (engine) => ({
    run: () => engine.open(key, iv, aad, expected, opened),
    holds: (authentic) => authentic && equalBytes(opened, plaintext),
  }))
}

for (const [total, frameLength] of [
  [64, 4],
  [128, 4],
  [256, 4],
  [512, 4],
  [1024, 4],
  [65536, 4],
  [65536, 64],
  [65536, 1024],
]) {
  const length = total! * KIB
  const run: FrameRun = { key, messageId, frameLength: frameLength! * KIB, firstSequenceNumber: 1 }
  const plaintext = new Uint8Array(length).fill(6)
  const expected = new Uint8Array(framesLength(length, run.frameLength, false))
  nodeEngine.sealFrames(run, plaintext, false, expected)
  const sealed = new Uint8Array(expected.length)
  const opened = new Uint8Array(length)
  const what = `${showLength(length)} in ${showLength(run.frameLength)} frames`
  compare(`seal ${what}`, length, (engine) => ({
    run: () => engine.sealFrames(run, plaintext, false, sealed),
    holds: () => equalBytes(sealed, expected),
  }))
  compare<OpenedFrames>(`open ${what}`, length, (engine) => ({
    run: () => engine.openFrames(run, expected, opened),
    holds: ({ status }) => status === 'ok' && equalBytes(opened, plaintext),
  }))
}

// One GCM message in parts, as a multipart upload seals it.
const part = new Uint8Array(8 * MIB).fill(6)
const whole = new Uint8Array(part.length + 16)
nodeEngine.seal(key, iv, aad, part, whole)
const sealedPart = new Uint8Array(part.length)
compare<SegmentHash>('seal a segment of 8 MiB', part.length, (engine) => ({
  run: () => engine.sealSegment(key, iv, 0, part, sealedPart),
  holds: (hash) => engine.verifySegments(key, iv, aad, [hash], whole.subarray(part.length)),
}))
const parts = Array.from({ length: 1000 }, (_, i) => ({
  blockOffset: (i * part.length) / 16,
  length: part.length,
  hash: key.subarray(16),
}))
compare<Uint8Array>('combine 1000 segments', 0, (engine) => ({
  run: () => engine.combineSegments(key, iv, aad, parts),
  holds: (tag) => equalBytes(tag, nodeEngine.combineSegments(key, iv, aad, parts)),
}))

// Into memory that is new for every call, as a message's output is.
const large = new Uint8Array(64 * MIB).fill(6)
const memories: [string, (engine: Engine, length: number) => Uint8Array][] = [
  ['allocUnsafeSlow', (_, length) => Buffer.allocUnsafeSlow(length)],
  ['allocate', (engine, length) => engine.allocate(length)],
]
for (const [name, allocate] of memories) {
  compare<Uint8Array>(`seal 64 MiB, fresh ${name}`, large.length, (engine) => ({
    run: () => {
      const out = allocate(engine, large.length + 16)
      engine.seal(key, iv, aad, large, out)
      return out
    },
    holds: (sealed) => engine.open(key, iv, aad, sealed, engine.allocate(large.length)),
  }))
}

// A signed message: the limit is its hash alone.
for (const length of [256 * KIB, 4 * MIB, 64 * MIB]) {
  const run: FrameRun = { key, messageId, frameLength: 4 * KIB, firstSequenceNumber: 1 }
  const plaintext = new Uint8Array(length).fill(6)
  const sealed = new Uint8Array(framesLength(length, run.frameLength, false))
  const opened = new Uint8Array(length)
  nodeEngine.sealFrames(run, plaintext, false, sealed)
  const expected = new Uint8Array(createHash('sha384').update(sealed).digest())
  const hashed = (name: string, work: (engine: Engine, hash: Hash) => void) =>
    compare<Uint8Array>(`${name} ${showLength(length)}`, length, (engine) => ({
      run: () => {
        const hash = engine.createHash('sha384')
        work(engine, hash)
        return hash.digest()
      },
      holds: (digest) => equalBytes(digest, expected),
    }))
  hashed('SHA-384 of the frames of', (_, hash) => hash.update(sealed))
  hashed('SHA-384 and seal', (engine, hash) => engine.sealFrames(run, plaintext, false, sealed, hash))
  hashed('SHA-384 and open', (engine, hash) => void engine.openFrames(run, sealed, opened, hash))
}

for (const namedCurve of ['prime256v1', 'secp384r1'] as const) {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve })
  const signature = sign('sha384', part.subarray(0, 1), privateKey)
  compare<Uint8Array>(`sign, ${namedCurve}`, 0, (engine) => ({
    run: () => engine.createSigner('sha384', privateKey).sign(),
    holds: (signed) => verify('sha384', new Uint8Array(0), publicKey, signed),
  }))
  compare<boolean>(`verify, ${namedCurve}`, 0, (engine) => ({
    run: () => {
      const verifier = engine.createVerifier('sha384', publicKey)
      verifier.update(part.subarray(0, 1))
      return verifier.verify(signature)
    },
    holds: Boolean,
  }))
}

/** One line of the table. `bytes` is what a call processes; 0 where only its time matters. */
function compare<T>(
  name: string,
  bytes: number,
  prepare: (engine: Engine) => { run: () => T; holds: (result: T) => boolean },
): void {
  const cells = contenders.map((contender) => {
    native.binding.force(contender.threads, 0)
    const { run, holds } = prepare(contender.engine)
    if (!holds(run())) throw new Error(`${contender.name} is wrong: ${name}`)
    const nanoseconds = median(run)
    native.binding.force(0, 0)
    return bytes < 16 * KIB ? `${(nanoseconds / 1000).toFixed(2)} us` : `${(bytes / nanoseconds).toFixed(2)} GB/s`
  })
  console.log(row(name, ...cells))
}

/** The median time of a call, in nanoseconds, of batches that each last long enough for the clock. */
function median(run: () => unknown): number {
  const time = (count: number) => {
    const start = process.hrtime.bigint()
    for (let i = 0; i < count; i++) run()
    return Number(process.hrtime.bigint() - start)
  }
  time(5)
  let count = 1
  while (count < 2000 && time(count) < 200_000) count *= 2
  const samples: number[] = []
  const end = Date.now() + 250
  while (samples.length < 5 || Date.now() < end) samples.push(time(count) / count)
  return samples.sort((a, b) => a - b)[samples.length >> 1]!
}

function row(first: string, ...cells: string[]): string {
  return first.padEnd(34) + cells.map((cell) => cell.padStart(18)).join('')
}
