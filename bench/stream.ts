/**
 * Streams: `npx tsx bench/stream.ts [GiB, default 1] [part of a case's name] [--directory DIR] [--chunk KiB] [--memory] [--json FILE] [--node BINARY] [--quick]`.
 *
 * Every contender is one pipeline in its own process, from a file (`createReadStream`, 64 KiB at a time, Node's default;
 * `--chunk` for another length, `--memory` for a source that takes no time) to a sink that counts. Contenders: no stream
 * between the two at all; Sealwax; a careful Transform over node:crypto for the same frames (no header, no key
 * wrapping); @aws-crypto/client-node, on an eighth of the length. Before it is timed, each must give back what it was
 * given, and the two libraries must open each other's. Speeds and ratios are the median of three runs, by the clock and,
 * to the peer, by CPU time too; memory is the peak above the bare pipeline's peak. A signed message can be no faster than
 * SHA-384, which is measured in the same process, alone, before and after it.
 */
import { createHash } from 'node:crypto'
import {
  closeSync,
  createReadStream,
  createWriteStream,
  fsyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { type Duplex, Readable, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { getEngine } from '#built/engine/engine'
import * as sealwax from '#built/index'
import { type Finding, type Findings, option } from './comparison'
import { aboutNode, answer, childTask, measureInChild, newKeyring, showLength } from './contender'
import { LoopOpener, LoopSealer } from './stream-loop'

interface Case {
  readonly direction: 'encrypt' | 'decrypt'
  readonly suiteId: number
  readonly frameLength: number
}

interface Task extends Case {
  readonly step: 'prepare' | 'run'
  /** Plaintext, or what this contender makes of it. */
  readonly plain: string
  readonly sealed: string
  readonly chunkLength: number
  readonly memory: boolean
}

interface Run {
  /** Plaintext bytes per second, in millions. */
  readonly speed: number
  /** The same for a second of CPU, of all threads: what a busy machine changes least. */
  readonly cpu: number
  /** Peak resident memory of the process, in MiB. */
  readonly peak: number
  /** The longest time between two turns of the event loop, in milliseconds. */
  readonly block: number
  /** The speed to that of SHA-384 alone; 0 for what is not signed. */
  readonly toHash: number
}

const KIB = 1024
const MIB = 1024 * KIB
const RUNS = 3
const PEER: string = '@aws-crypto/client-node'
const CONTENDERS = ['no encryption', 'sealwax', 'node:crypto', 'client-node'] as const
type Contender = (typeof CONTENDERS)[number]

function parent(): void {
  const gigabytes = /^[\d.]+$/.exec(process.argv[2] ?? '')?.[0] ?? (process.argv.includes('--quick') ? 0.25 : 1)
  const length = Math.round(Number(gigabytes) * 1024) * MIB
  const filter = process.argv.slice(2).find((arg) => /^(en|de)crypt/.test(arg)) ?? ''
  const directory = mkdtempSync(join(option('--directory') ?? tmpdir(), 'sealwax-bench-'))
  const chunkLength = Number(option('--chunk') ?? 64) * KIB
  const memory = process.argv.includes('--memory')
  const { node, openssl, cpu, threads } = aboutNode(option('--node') ?? process.execPath)
  console.log(`Node ${node}, ${openssl}, ${cpu.join(' ')}, ${threads} threads`)
  console.log(`${showLength(length)} from ${memory ? 'memory' : 'a file'}, ${showLength(chunkLength)} at a time\n`)
  const title = 'Streams'
  const about = `${showLength(length)} from a file through a pipeline to a sink that counts; the whole process's peak memory.`
  const results: Finding[] = []
  console.log(row('', ...CONTENDERS, 'to bare', 'to loop', 'to peer', 'by CPU', 'to SHA-384', 'memory', 'block'))
  try {
    const plain = writePlaintext(join(directory, 'plain'), length)
    const few = writePlaintext(join(directory, 'few'), Math.max(16 * MIB, length / 8))
    for (const one of cases()) {
      const name = `${one.direction} 0x0${one.suiteId.toString(16)}, ${showLength(one.frameLength)} frames`
      if (!name.startsWith(filter)) continue
      const runs = CONTENDERS.map((contender) => {
        const input = contender === 'client-node' ? few : plain
        return measure(contender, { ...one, plain: input, sealed: join(directory, 'sealed'), chunkLength, memory })
      })
      const samples = CONTENDERS.flatMap((contender, i) => {
        const run = runs[i]
        if (!run) return []
        const time = length / 1000 / run.speed
        return [[contender, { median: time, low: time, high: time, memory: run.peak }] as const]
      })
      results.push({ name, series: name, bytes: length, samples: Object.fromEntries(samples) })
      const [bare, ours, loop, theirs] = runs.map(
        (run) => run ?? { speed: Number.NaN, cpu: Number.NaN, peak: 0, block: 0, toHash: 0 },
      )
      const ratio = (other: Run | undefined, by: 'speed' | 'cpu' = 'speed') => `${(ours![by] / other![by]).toFixed(2)}x`
      const held = `${Math.max(0, Math.round(ours!.peak - bare!.peak))} MiB`
      const speeds = [bare, ours, loop, theirs].map((run) => `${run!.speed.toFixed(0)} MB/s`)
      console.log(
        row(
          name,
          ...speeds,
          ratio(bare),
          ratio(loop),
          ratio(theirs),
          ratio(theirs, 'cpu'),
          ours!.toHash === 0 ? '' : `${ours!.toHash.toFixed(2)}x`,
          held,
          `${ours!.block.toFixed(1)} ms`,
        ),
      )
    }
    const json = option('--json')
    if (json) writeFileSync(json, JSON.stringify({ title, about, contenders: CONTENDERS, results } satisfies Findings))
  } finally {
    rmSync(directory, { recursive: true })
  }
}

function* cases(): Generator<Case> {
  for (const suiteId of [0x0478, 0x0578]) {
    for (const frameLength of [4 * KIB, 64 * KIB, MIB]) {
      for (const direction of ['encrypt', 'decrypt'] as const) yield { direction, suiteId, frameLength }
    }
  }
}

function measure(contender: Contender, task: Omit<Task, 'step'>): Run | undefined {
  const child = <T>(step: Task['step']) =>
    measureInChild<T>(__filename, contender, { ...task, step }, option('--node') ?? process.execPath)
  if (!child('prepare')) return undefined
  const runs = Array.from({ length: RUNS }, () => child<Run>('run')).filter((run) => run !== undefined)
  return runs.sort((a, b) => a.speed - b.speed)[runs.length >> 1]
}

/** A file of `length` bytes that do not repeat within a batch. */
function writePlaintext(file: string, length: number): string {
  const piece = getEngine().randomBytes(MIB)
  const descriptor = openSync(file, 'w')
  for (let left = length; left > 0; left -= piece.length) writeSync(descriptor, piece, 0, Math.min(left, piece.length))
  closeSync(descriptor)
  return file
}

function flush(file: string): void {
  const descriptor = openSync(file, 'r+')
  fsyncSync(descriptor)
  closeSync(descriptor)
}

/** How fast SHA-384 alone is, in the unit of {@link Run.speed}. */
function hashAlone(): number {
  const piece = getEngine().randomBytes(64 * KIB)
  const hash = createHash('sha384')
  const start = performance.now()
  for (let i = 0; i < 4096; i++) hash.update(piece)
  return (4096 * piece.length) / 1000 / (performance.now() - start)
}

async function child(contender: Contender, task: Task): Promise<void> {
  const { step, direction, plain, sealed, chunkLength, memory } = task
  const { fallback } = getEngine().info()
  if (fallback) throw new Error(`this would measure something else: ${fallback}`)
  const { seal, open } = await contenderStreams(contender, task)
  if (step === 'prepare') {
    await verify(contender, task)
    if (direction === 'decrypt') await run(createReadStream(plain), seal?.(), createWriteStream(sealed))
    // Or the system writes it to the disk while the runs are timed.
    flush(direction === 'decrypt' ? sealed : plain)
    return answer(true)
  }
  let received = 0
  const sink = new Writable({
    write(piece: Buffer, _encoding, callback) {
      received += piece.length
      callback()
    },
  })
  const file = direction === 'encrypt' ? plain : sealed
  const input = memory ? fromMemory(file, chunkLength) : createReadStream(file, { highWaterMark: chunkLength })
  const isSigned = contender === 'sealwax' && task.suiteId === 0x0578
  const hashBefore = isSigned ? hashAlone() : 0
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const cpuBefore = process.cpuUsage()
  const start = performance.now()
  await run(input, direction === 'encrypt' ? seal?.() : open?.(), sink)
  const milliseconds = performance.now() - start
  const { user, system } = process.cpuUsage(cpuBefore)
  // A block that lasted to the end is seen after it only.
  await new Promise((resolve) => setTimeout(resolve, 10))
  delay.disable()
  const { size } = statSync(plain)
  if (received < size) throw new Error(`${received} bytes of ${size}`)
  const peak = process.resourceUsage().maxRSS / 1024
  const speed = size / 1000 / milliseconds
  const toHash = isSigned ? (2 * speed) / (hashBefore + hashAlone()) : 0
  answer({ speed, cpu: size / (user + system), peak, block: delay.max / 1e6, toHash } satisfies Run)
}

/** A file that is all in memory before the clock starts. */
function fromMemory(file: string, chunkLength: number): Readable {
  const bytes = readFileSync(file)
  let at = 0
  return new Readable({
    highWaterMark: chunkLength,
    read() {
      this.push(at < bytes.length ? bytes.subarray(at, at + chunkLength) : null)
      at += chunkLength
    },
  })
}

function run(source: Readable, stream: Duplex | undefined, sink: Writable): Promise<void> {
  return stream ? pipeline(source, stream, sink) : pipeline(source, sink)
}

/** What a contender seals it opens, and the libraries open each other's. */
async function verify(contender: Contender, task: Case): Promise<void> {
  const { seal, open } = await contenderStreams(contender, task)
  if (!seal || !open) return
  const plaintext = Buffer.from(getEngine().randomBytes(5 * MIB + 123))
  const pieces = function* (bytes: Buffer) {
    for (let at = 0; at < bytes.length; at += 50_000) yield bytes.subarray(at, at + 50_000)
  }
  const through = (bytes: Buffer, stream: Duplex) => buffer(Readable.from(pieces(bytes)).pipe(stream))
  const sealed = await through(plaintext, seal())
  const opened = [await through(sealed, open())]
  const other = { sealwax: 'client-node', 'client-node': 'sealwax' } as const
  if (contender in other) {
    const { open: openOther } = await contenderStreams(other[contender as keyof typeof other], task)
    opened.push(await through(sealed, openOther!()))
  }
  if (!opened.every((bytes) => bytes.equals(plaintext))) throw new Error(`${contender} is wrong`)
}

interface Streams {
  seal?(): Duplex
  open?(): Duplex
}

async function contenderStreams(contender: Contender, task: Case): Promise<Streams> {
  if (contender === 'no encryption') return {}
  const { suiteId, frameLength } = task
  if (contender === 'node:crypto')
    return {
      seal: () => new LoopSealer(frameLength, suiteId === 0x0578),
      open: () => new LoopOpener(frameLength, suiteId === 0x0578),
    }
  // Not loaded where another is timed: whatever is loaded weighs on every garbage collection.
  const library = contender === 'sealwax' ? sealwax : ((await import(PEER)) as typeof sealwax)
  const client = library.buildClient()
  const keyring = newKeyring(library)
  return {
    seal: () => client.encryptStream(keyring, { suiteId, frameLength }),
    open: () => client.decryptStream(keyring),
  }
}

function row(first: string, ...cells: string[]): string {
  return first.padEnd(32) + cells.map((cell) => cell.padStart(13)).join('')
}

const asked = childTask<Task>()
if (asked) void child(asked.contender as Contender, asked.task)
else parent()
