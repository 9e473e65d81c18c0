/**
 * Work under load, each plan in a process of its own: `npx tsx test/faults/load.ts [plan …]`. Each prints one JSON line with
 * what was measured and what is allowed, and what failed. Some twenty minutes in all; the figures are those of a machine that does
 * nothing else.
 */
import { spawn } from 'node:child_process'
import { createHash, randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createHistogram, type Histogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { type Duplex, Readable, Writable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms'
import { GetObjectCommand } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import {
  buildClient,
  type EncryptOutput,
  getClient,
  KMS,
  KmsKeyring,
  NodeCachingMaterialsManager,
  SealwaxError,
} from '../../src'
import { getLocalCryptographicMaterialsCache } from '../../src/index'
import { startLocalKms } from '../../src/local-kms'
import { S3EncryptionClient, S3RawAesKeyring } from '../../src/s3'
import { startFaultProxy } from '../support/fault-proxy'
import { aesKeyring, bytes } from '../support/keys'
import { seeded } from '../support/random'
import { CREDENTIALS } from '../support/s3-server'

const [KiB, MiB, GiB] = [2 ** 10, 2 ** 20, 2 ** 30]
const client = buildClient()
const UNSIGNED = { suiteId: 0x0478 } as const

/** What was measured, and the most (or, with `atLeast`, the least) that it may be. */
interface Figure {
  readonly name: string
  readonly value: number
  readonly limit: number
  readonly atLeast?: boolean
}

const PLANS: Readonly<Record<string, () => Promise<Figure[]>>> = {
  cached: cachedMessages,
  'slow-sink': slowSink,
  'many-streams': manyStreams,
  quota: cpuQuota,
  'little-memory': littleMemory,
  hostile: hostileClients,
}

/** 100,000 messages of 1 KiB under cached materials. */
async function cachedMessages(): Promise<Figure[]> {
  const [messages, maxMessagesEncrypted] = [100_000, 1000]
  const kms = await startLocalKms()
  const plain = new KMSClient({ endpoint: kms.endpoint, region: 'us-east-1', credentials: CREDENTIALS })
  const generatorKeyId = (await plain.send(new CreateKeyCommand({}))).KeyMetadata!.Arn!
  plain.destroy()
  const proxy = await startFaultProxy({ origin: kms.endpoint, seed: 1 })
  const clientProvider = getClient(KMS, { endpoint: proxy.endpoint, credentials: CREDENTIALS })
  const manager = new NodeCachingMaterialsManager({
    backingMaterials: new KmsKeyring({ generatorKeyId, clientProvider }),
    cache: getLocalCryptographicMaterialsCache(10),
    maxAge: 3_600_000,
    maxMessagesEncrypted,
  })
  const [plaintext, op] = [Buffer.alloc(KiB, 1), { ...UNSIGNED, plaintextLength: KiB }]
  for (let i = 0; i < 5000; i++) await client.encrypt(manager, plaintext, op)
  const before = proxy.stats().requests
  const times = createHistogram()
  const delay = await whileLooping(async () => {
    for (let i = 0; i < messages; i++) await timed(times, client.encrypt(manager, plaintext, op))
  })
  const calls = proxy.stats().requests - before
  await Promise.all([proxy.close(), kms.close()])
  return [
    { name: 'KMS calls', value: calls, limit: messages / maxMessagesEncrypted },
    { name: 'p99 of p50', value: times.percentile(99) / times.percentile(50), limit: 3 },
    { name: 'event loop p99, ms', value: delay.percentile(99) / 1e6, limit: 20 },
  ]
}

/** One stream of 8 GiB to an S3 that reads 50 MiB in a second, and back, verified. */
async function slowSink(): Promise<Figure[]> {
  const total = Number(process.env.LOAD_GIB ?? 8) * GiB
  const store = await startChild('store')
  const s3 = new S3EncryptionClient(
    { endpoint: store.said, region: 'us-east-1', credentials: CREDENTIALS, forcePathStyle: true },
    { keyring: new S3RawAesKeyring({ wrappingKey: bytes(32) }) },
  )
  const [Bucket, Key, partSize] = ['objects', 'large', 5 * MiB]
  const before = process.memoryUsage.rss()
  let peak = before
  const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 20)
  const [sent, received] = [createHash('sha256'), createHash('sha256')]
  const piece = randomFillSync(Buffer.alloc(MiB))
  const source = function* () {
    for (let length = 0; length < total; length += piece.length) {
      piece.writeDoubleBE(length)
      const chunk = Buffer.from(piece)
      sent.update(chunk)
      yield chunk
    }
  }
  const params = { Bucket, Key, Body: Readable.from(source(), { objectMode: false }) }
  const start = performance.now()
  await new Upload({ client: s3, params, partSize, queueSize: 4 }).done()
  const seconds = (performance.now() - start) / 1000
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }))
  for await (const chunk of Body as Readable) received.update(chunk)
  clearInterval(watch)
  s3.destroy()
  store.stop()
  return [
    { name: 'peak, MiB', value: peak / MiB, limit: 256 },
    { name: 'MiB per second taken', value: total / MiB / seconds, limit: 55 },
    { name: 'wrong bytes', value: Number(sent.digest('hex') !== received.digest('hex')), limit: 0 },
  ]
}

/** 1000 streams at once: a tenth is never read, a tenth never ended, and the others are to end. Twice: the first time warms up. */
async function manyStreams(): Promise<Figure[]> {
  await thousandStreams()
  const before = await settledMemory()
  const { right, unread, peak } = await thousandStreams()
  const after = await settledMemory()
  return [
    { name: 'streams that ended right', value: right, limit: 800, atLeast: true },
    { name: 'taken without a reader, MiB', value: unread / MiB, limit: 2 + (3 * FRAME_LENGTH) / MiB },
    { name: 'peak, GiB', value: peak / GiB, limit: 2 },
    { name: 'left when they are destroyed, MiB', value: (after - before) / MiB, limit: 32 },
  ]
}

const FRAME_LENGTH = 4 * KiB

async function thousandStreams() {
  const length = 4 * MiB
  const chunk = Buffer.alloc(64 * KiB, 1)
  const stalled: Duplex[] = []
  let [right, unread, peak] = [0, 0, 0]
  const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 20)
  const run = async (i: number) => {
    const sealing = client.encryptStream(aesKeyring(), { ...UNSIGNED, frameLength: FRAME_LENGTH })
    const isRead = i % 10 > 0
    const pieces = function* () {
      for (let given = 0; given < length; given += chunk.length) {
        if (!isRead) unread = Math.max(unread, given)
        yield chunk
      }
    }
    const source = Readable.from(pieces(), { objectMode: false, highWaterMark: chunk.length })
    if (!isRead) stalled.push(source.pipe(sealing))
    else if (i % 10 === 1) {
      stalled.push(sealing.resume())
      sealing.write(chunk)
    } else {
      let opened = 0
      const sink = new Writable({
        write(piece: Buffer, _encoding, callback) {
          opened += piece.length
          callback()
        },
      })
      await pipeline(source, sealing, client.decryptStream(aesKeyring()), sink)
      right += Number(opened === length)
    }
  }
  await Promise.all(Array.from({ length: 1000 }, (_, i) => run(i)))
  clearInterval(watch)
  for (const stream of stalled) stream.destroy()
  return { right, unread, peak }
}

/** The same work on one core, then on two. */
async function cpuQuota(): Promise<Figure[]> {
  const one = Number((await startChild('mixed', ['taskset', '-c', '0'])).said)
  const two = Number((await startChild('mixed', ['taskset', '-c', '0,1'])).said)
  return [
    { name: 'operations in 10 s on one core', value: one, limit: 1, atLeast: true },
    { name: 'on two, of those on one', value: two / one, limit: 1, atLeast: true },
  ]
}

/** With little memory: streams of any length go on, and what cannot fit is an error that one may catch. */
async function littleMemory(): Promise<Figure[]> {
  const limits = ['bash', '-c', `ulimit -v ${6 * MiB}; exec "$@"`, 'bash']
  const flags = ['--max-old-space-size=64', '--disable-wasm-trap-handler']
  const child = await startChild('little', limits, flags)
  const { streamed, refused, after } = JSON.parse(child.said) as Record<string, number>
  return [
    { name: 'MiB streamed', value: streamed!, limit: 2048, atLeast: true },
    { name: 'messages beyond it refused', value: refused!, limit: 2, atLeast: true },
    { name: 'round trips afterwards', value: after!, limit: 1, atLeast: true },
  ]
}

/** What honest clients wait while one in a hundred is hostile, and what they wait otherwise. */
async function hostileClients(): Promise<Figure[]> {
  const random = seeded(1)
  const message = (await client.encrypt(aesKeyring(), Buffer.alloc(4 * KiB, 1), UNSIGNED)).result
  const hostile = await hostileInputs(message)
  const round = async (share: number) => {
    const times = createHistogram()
    let accepted = 0
    const worker = async () => {
      for (let i = 0; i < 1000; i++) {
        await turn()
        if (random() >= share) await timed(times, client.decrypt(aesKeyring(), message))
        else accepted += await client.decrypt(aesKeyring(), hostile[i % hostile.length]!).then(() => 1, refusal)
      }
    }
    await Promise.all(Array.from({ length: 32 }, worker))
    return { p99: times.percentile(99), accepted }
  }
  await round(0)
  const rounds = []
  for (let i = 0; i < 5; i++) rounds.push([await round(0), await round(0.01)] as const)
  const ratios = rounds.map(([honest, mixed]) => mixed.p99 / honest.p99).sort((a, b) => a - b)
  return [
    { name: 'p99 of honest clients, of what it is without hostile ones', value: ratios[2]!, limit: 1.5 },
    { name: 'accepted', value: rounds.reduce((sum, [, { accepted }]) => sum + accepted, 0), limit: 0 },
  ]
}

async function hostileInputs(message: Buffer): Promise<Buffer[]> {
  const flipped = Buffer.from(message)
  flipped[flipped.length - 1]! ^= 1
  const counted = Buffer.from(message)
  counted.writeUInt16BE(0xffff, 37)
  // As many encrypted data keys as fit, none of which anybody can open.
  const key = Buffer.concat([
    Buffer.from([0, 1]),
    Buffer.from('x'),
    Buffer.from([0, 1]),
    Buffer.from('x'),
    Buffer.alloc(2),
  ])
  const end = Buffer.alloc(100)
  const keys = Buffer.concat([message.subarray(0, 37), Buffer.from([0xff, 0xff]), ...Array(65_535).fill(key), end])
  return [
    flipped,
    message.subarray(0, -1),
    counted,
    keys,
    Buffer.concat([message, Buffer.alloc(MiB)]),
    Buffer.alloc(MiB),
  ]
}

/** An error of the closed list counts as none accepted. */
function refusal(error: unknown): number {
  if (error instanceof SealwaxError) return 0
  throw error
}

async function timed<T>(times: ReturnType<typeof createHistogram>, work: Promise<T>): Promise<void> {
  const start = performance.now()
  await work
  times.record(Math.max(1, Math.round((performance.now() - start) * 1e6)))
}

async function whileLooping(work: () => Promise<void>): Promise<Histogram> {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  await work()
  delay.disable()
  return delay
}

async function settledMemory(): Promise<number> {
  // What is kept for the next result goes after a second.
  for (let i = 0; i < 4; i++) {
    globalThis.gc?.()
    await sleep(700)
  }
  return process.memoryUsage.rss()
}

/** What runs beside or instead of a plan's own process; the first line that one prints is its answer. */
const CHILDREN: Readonly<Record<string, () => Promise<void>>> = { store, mixed, little }

/** S3 for one object, in a file; it reads 50 MiB in a second. */
async function store(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'sealwax-load-'))
  const [path, rate] = [join(folder, 'object'), 50 * MiB]
  const file = openSync(path, 'w')
  let metadata: Record<string, string | string[] | undefined> = {}
  let [partLength, due] = [0, 0]
  const server = createServer(async (request, response) => {
    const { method, headers, url } = request
    const query = new URL(url!, 'http://localhost').searchParams
    const number = Number(query.get('partNumber'))
    if (number === 1) partLength = Number(headers['x-amz-decoded-content-length'] ?? headers['content-length'])
    if (method === 'GET' || method === 'HEAD') {
      const { size } = statSync(path)
      response.writeHead(200, { ...metadata, etag: '"large"', 'content-length': size })
      if (method === 'HEAD') return void response.end()
      return void (await pipeline(createReadStream(path, { highWaterMark: MiB }), response).catch(() => {}))
    }
    while (number > 1 && partLength === 0) await sleep(1)
    let offset = (number - 1) * partLength
    for await (const chunk of request as AsyncIterable<Buffer>) {
      if (number === 0) continue
      offset += writeSync(file, chunk, 0, chunk.length, offset)
      due = Math.max(due, performance.now()) + (chunk.length / rate) * 1000
      if (due > performance.now() + 5) await sleep(due - performance.now())
    }
    if (query.has('uploads'))
      metadata = Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('x-amz-meta-')))
    response.writeHead(200, { etag: `"${number}"` })
    const result = query.has('uploads') ? 'InitiateMultipartUploadResult' : 'CompleteMultipartUploadResult'
    response.end(method === 'POST' ? `<${result}><UploadId>1</UploadId><ETag>"large"</ETag></${result}>` : undefined)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  process.on('exit', () => rmSync(folder, { recursive: true }))
  process.on('disconnect', () => process.exit())
  process.on('SIGTERM', () => process.exit())
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
}

async function mixed(): Promise<void> {
  const lengths = [100, 4 * KiB, 300 * KiB, 6 * MiB].map((length) => Buffer.alloc(length, 1))
  let operations = 0
  const end = performance.now() + 10_000
  const worker = async (_: unknown, i: number) => {
    while (performance.now() < end) {
      const plaintext = lengths[(operations + i) % lengths.length]!
      const { result } = await client.encrypt(aesKeyring(), plaintext)
      const opened = await client.decrypt(aesKeyring(), result)
      if (!opened.plaintext.equals(plaintext)) throw new Error('wrong')
      operations++
    }
  }
  await Promise.all(Array.from({ length: 64 }, worker))
  console.log(operations)
}

async function little(): Promise<void> {
  const [chunk, total] = [Buffer.alloc(64 * KiB, 1), 2 * GiB]
  const pieces = function* () {
    for (let given = 0; given < total; given += chunk.length) yield chunk
  }
  let streamed = 0
  const source = Readable.from(pieces(), { objectMode: false })
  const opening = source.pipe(client.encryptStream(aesKeyring())).pipe(client.decryptStream(aesKeyring()))
  opening.on('data', (piece: Buffer) => (streamed += piece.length))
  await finished(opening)
  // Each is more than the process may have, together or alone.
  let refused = 0
  const keep: EncryptOutput[] = []
  for (let i = 0; i < 16 && refused < 2; i++) {
    try {
      keep.push(await client.encrypt(aesKeyring(), Buffer.alloc(GiB, 1), UNSIGNED))
    } catch {
      refused++
    }
  }
  keep.length = 0
  const small = Buffer.alloc(KiB, 1)
  const { result } = await client.encrypt(aesKeyring(), small)
  const after = Number((await client.decrypt(aesKeyring(), result)).plaintext.equals(small))
  console.log(JSON.stringify({ streamed: streamed / MiB, refused, after }))
}

/** Starts this file again, with the name of a plan or a child; resolves with the first line that it prints. */
async function startChild(name: string, wrapper: readonly string[] = [], flags: readonly string[] = []) {
  const [command, ...args] = [
    ...wrapper,
    process.execPath,
    ...flags,
    '--expose-gc',
    '--import',
    'tsx',
    __filename,
    name,
  ]
  const child = spawn(command!, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, LOAD_CHILD: '1' },
  })
  let output = ''
  for await (const data of child.stdout) {
    output += String(data)
    if (output.includes('\n')) break
  }
  const said = output.split('\n', 1)[0]!
  if (!said) throw new Error(`${name} said nothing, and ended with ${child.exitCode ?? child.signalCode}`)
  return { said, stop: () => child.kill() }
}

async function main(): Promise<void> {
  const names = process.argv.slice(2)
  if (process.env.LOAD_CHILD) {
    const child = CHILDREN[names[0]!]
    if (child) return await child()
    return console.log(JSON.stringify(await PLANS[names[0]!]!()))
  }
  let missed = 0
  for (const plan of names.length > 0 ? names : Object.keys(PLANS)) {
    const { said } = await startChild(plan)
    for (const { name, value, limit, atLeast } of JSON.parse(said) as Figure[]) {
      const met = atLeast ? value >= limit : value <= limit
      if (!met) missed++
      console.log(JSON.stringify({ plan, name, value: Math.round(value * 1000) / 1000, limit, met }))
    }
  }
  console.log(`${missed} missed`)
  process.exitCode = missed > 0 ? 1 : 0
}

void main()
