/**
 * S3 through the client: `npx tsx bench/s3.ts [MiB, default 1024]`.
 *
 * Contenders: the client of the SDK, and the same with Sealwax in it; the same server, in a process of its own, which
 * counts what it is sent and sends bytes from memory. Each runs in its own process, by turns; times are medians of three,
 * memory the highest peak above that of a process that only has the SDK loaded. The work:
 *
 * - upload: `Upload` of the SDK (parts of 8 MiB, 4 at a time) from a stream;
 * - to a file: `GetObject` piped into a file that is flushed at the end, against `downloadObject`, which verifies all before the
 *   file has its name;
 * - delayed: `GetObject` to a sink that counts, against the same with `enableDelayedAuthenticationMode`;
 * - verified: the same, against `GetObject` as it is by default: in two passes, so that its best is half the plain speed.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, mkdtempSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { downloadObject, S3EncryptionClient, S3RawAesKeyring, sealObject } from '#built/s3'
import { answer, childTask, compiled, measureInChild } from './contender'

interface Task {
  readonly work: (typeof WORK)[number]
  readonly endpoint: string
  readonly length: number
}

interface Run {
  readonly seconds: number
  readonly cpu: number
  readonly memory: number
}

const WORK = ['upload', 'to a file', 'delayed', 'verified'] as const
const MIB = 2 ** 20
const PART = 8 * MIB
const QUEUE = 4
const keyring = new S3RawAesKeyring({ wrappingKey: new Uint8Array(32).fill(7) })

async function parent(): Promise<void> {
  const length = Number(process.argv[2] ?? 1024) * MIB
  const server = spawn(process.execPath, [compiled(__filename), '--server', String(length)])
  server.stderr.pipe(process.stderr)
  const { value: endpoint } = await createInterface(server.stdout)[Symbol.asyncIterator]().next()
  console.log(`${length / MIB} MiB, parts of ${PART / MIB} MiB, ${QUEUE} at a time`)
  for (const work of WORK) {
    const runs = { plain: [] as Run[], sealwax: [] as Run[] }
    for (let round = 0; round < 3; round++) {
      for (const contender of ['plain', 'sealwax'] as const) {
        const run = measureInChild<Run>(__filename, contender, { work, endpoint, length } satisfies Task)
        if (run) runs[contender].push(run)
      }
    }
    const best = (contender: 'plain' | 'sealwax', of: 'seconds' | 'cpu') =>
      runs[contender].map((run) => run[of]).sort((a, b) => a - b)[1] ?? Number.NaN
    for (const contender of ['plain', 'sealwax'] as const) {
      const speed = length / MIB / best(contender, 'seconds')
      const memory = Math.max(...runs[contender].map((run) => run.memory))
      console.log(
        `${work.padEnd(9)} ${contender.padEnd(8)} ${speed.toFixed(0).padStart(5)} MiB/s  ${best(contender, 'cpu').toFixed(2)} s of CPU  ${memory.toFixed(0)} MiB`,
      )
    }
    const ratio = best('plain', 'seconds') / best('sealwax', 'seconds')
    console.log(`${work}: encrypted at ${ratio.toFixed(2)} of the plain speed\n`)
  }
  server.kill()
}

/** Takes parts and keeps none; gives an object of this length, sealed and plain, in whole or in ranges. */
async function serve(length: number): Promise<void> {
  const plain = Buffer.alloc(length, 1)
  const { metadata, body } = await sealObject(plain, keyring)
  const server = createServer(async (request, response) => {
    const { pathname, searchParams: query } = new URL(request.url!, 'http://localhost')
    if (request.method === 'GET' || request.method === 'HEAD') {
      const isSealed = pathname.endsWith('/sealed')
      const object = isSealed ? Buffer.from(body.buffer, body.byteOffset, body.length) : plain
      const [, first, last] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? []
      const start = Number(first ?? 0)
      const end = Math.min(last ? Number(last) + 1 : object.length, object.length)
      const named = Object.entries(isSealed ? metadata : {}).map(([name, value]) => [`x-amz-meta-${name}`, value])
      response.writeHead(first === undefined ? 200 : 206, {
        etag: '"1"',
        'content-length': end - start,
        ...(first !== undefined && { 'content-range': `bytes ${start}-${end - 1}/${object.length}` }),
        ...Object.fromEntries(named),
      })
      if (request.method === 'HEAD') response.end()
      else Readable.from(slices(object.subarray(start, end)), { objectMode: false }).pipe(response)
      return
    }
    for await (const _ of request);
    const isBegin = query.has('uploads')
    const xml = isBegin
      ? `<InitiateMultipartUploadResult><UploadId>${Math.random()}</UploadId></InitiateMultipartUploadResult>`
      : '<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>'
    response.writeHead(200, { etag: '"1"', 'content-type': 'application/xml' })
    response.end(request.method === 'POST' ? xml : '')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
}

async function contend(contender: string, { work, endpoint, length }: Task): Promise<void> {
  const credentials = { accessKeyId: 'x', secretAccessKey: 'x' }
  const config = { endpoint, region: 'us-east-1', credentials, forcePathStyle: true }
  const isSealwax = contender === 'sealwax'
  const settings = { keyring, enableDelayedAuthenticationMode: work === 'delayed' }
  const client = isSealwax ? new S3EncryptionClient(config, settings) : new S3Client(config)
  const base = process.memoryUsage.rss()
  const start = performance.now()
  const cpu = process.cpuUsage()
  const object = { Bucket: 'b', Key: isSealwax ? 'sealed' : 'plain' }
  if (work === 'upload') {
    const piece = Buffer.alloc(MIB, 1)
    const Body = Readable.from(repeat(piece, length / MIB), { objectMode: false })
    await new Upload({ client, params: { ...object, Body }, partSize: PART, queueSize: QUEUE }).done()
  } else if (work === 'to a file') {
    const folder = mkdtempSync(join(tmpdir(), 'bench-s3-'))
    const path = join(folder, 'object')
    try {
      if (isSealwax) await downloadObject(client, { ...object, concurrency: QUEUE, partSize: PART }, path)
      else await pipeline(await bodyOf(client, object), createWriteStream(path, { flush: true } as object))
      checkLength(statSync(path).size, length)
    } finally {
      rmSync(folder, { recursive: true })
    }
  } else {
    let counted = 0
    const sink = new Writable({
      write(chunk, _, done) {
        counted += chunk.length
        done()
      },
    })
    await pipeline(await bodyOf(client, object), sink)
    checkLength(counted, length)
  }
  const { user, system } = process.cpuUsage(cpu)
  const seconds = (performance.now() - start) / 1000
  client.destroy()
  const memory = (process.resourceUsage().maxRSS * 1024 - base) / MIB
  answer({ seconds, cpu: (user + system) / 1e6, memory } satisfies Run)
}

async function bodyOf(client: S3Client, object: { Bucket: string; Key: string }): Promise<Readable> {
  const { Body } = await client.send(new GetObjectCommand(object))
  return Body as Readable
}

function checkLength(length: number, expected: number): void {
  if (length !== expected) throw new Error(`${length} bytes came`)
}

function* repeat(piece: Buffer, count: number): Generator<Buffer> {
  for (let i = 0; i < count; i++) yield piece
}

function* slices(bytes: Buffer): Generator<Buffer> {
  for (let start = 0; start < bytes.length; start += MIB) yield bytes.subarray(start, start + MIB)
}

const task = childTask<Task>()
const [, , mode, length] = process.argv
if (task) void contend(task.contender, task.task)
else if (mode === '--server') void serve(Number(length))
else void parent()
