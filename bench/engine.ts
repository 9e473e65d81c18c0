/**
 * The engine's own speed: `npx tsx bench/engine.ts`. Both backends, one call at a time into memory that is reused; every
 * output is compared before anything is timed. Prints medians.
 */
import { hkdfSync } from 'node:crypto'
import { equalBytes } from '../src/bytes'
import type { Engine, FrameRun, OpenedFrames } from '../src/engine/engine'
import { loadNative } from '../src/engine/native'
import { nodeEngine } from '../src/engine/node'
import { framesLength } from '../src/format/frame'

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

for (const length of [64, KIB, 64 * KIB, MIB, 64 * MIB]) {
  const plaintext = new Uint8Array(length).fill(6)
  const expected = new Uint8Array(length + 16)
  nodeEngine.seal(key, iv, aad, plaintext, expected)
  const sealed = new Uint8Array(length + 16)
  const opened = new Uint8Array(length)
  compare(`seal ${show(length)}`, length, (engine) => ({
    run: () => engine.seal(key, iv, aad, plaintext, sealed),
    holds: () => equalBytes(sealed, expected),
  }))
  compare<boolean>(`open ${show(length)}`, length, (engine) => ({
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
  const what = `${show(length)} in ${show(run.frameLength)} frames`
  compare(`seal ${what}`, length, (engine) => ({
    run: () => engine.sealFrames(run, plaintext, false, sealed),
    holds: () => equalBytes(sealed, expected),
  }))
  compare<OpenedFrames>(`open ${what}`, length, (engine) => ({
    run: () => engine.openFrames(run, expected, opened),
    holds: ({ status }) => status === 'ok' && equalBytes(opened, plaintext),
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

function show(length: number): string {
  return length >= MIB ? `${length / MIB} MiB` : length >= KIB ? `${length / KIB} KiB` : `${length} B`
}

function row(first: string, ...cells: string[]): string {
  return first.padEnd(34) + cells.map((cell) => cell.padStart(18)).join('')
}
