/**
 * Mixed work for an hour, with faults and aborts in it: `node --expose-gc --import tsx test/faults/soak.ts [minutes] [seed]`.
 * Each minute ends with one JSON line of what was done and what is left when all of it has ended. Fails where a result is wrong, an
 * operation failed that nothing was injected into, something was left behind, memory grew, or a kind of work was never done.
 */
import { randomFillSync } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Readable, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms'
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import {
  buildClient,
  cacheClients,
  getClient,
  KMS,
  KmsKeyring,
  NodeCachingMaterialsManager,
  type SealwaxError,
} from '../../src'
import { getLocalCryptographicMaterialsCache } from '../../src/index'
import { startLocalKms } from '../../src/local-kms'
import { downloadObject, S3EncryptionClient, S3RawAesKeyring } from '../../src/s3'
import { type FaultRule, startFaultProxy } from '../support/fault-proxy'
import { aesKeyring, bytes } from '../support/keys'
import { seeded } from '../support/random'
import { CREDENTIALS } from '../support/s3-server'
import { startSmallS3 } from '../support/small-s3'

const minutes = Number(process.argv[2] ?? 60)
const seed = Number(process.argv[3] ?? Date.now() % 1e9)
const AT_ONCE = 64
const MiB = 2 ** 20
/** Of memory, in MiB for 100,000 operations; the first quarter warms up. */
const MAX_SLOPE = 1
const FAULTS: readonly FaultRule[] = [
  { fault: 'status', status: 503, when: { chance: 0.02 } },
  { fault: 'reset', when: { chance: 0.01 } },
  { fault: 'corrupt', match: { method: 'GET' }, when: { chance: 0.02 } },
  { fault: 'truncate', match: { method: 'GET' }, when: { chance: 0.02 } },
  // Not of CreateMultipartUpload: nobody knows of the upload then.
  { fault: 'lost-answer', match: { method: 'PUT' }, when: { chance: 0.01 } },
  { fault: 'lost-answer', match: { method: 'POST', query: 'uploadId=' }, when: { chance: 0.1 } },
]

/** Work that cannot succeed, and work that may fail. */
const REFUSED = ['changed', 'aborted', 'destroyed']
const PROXIED = ['kms', 's3', 's3 file', 's3 upload']

/** `refused`: an error, which an injected fault or an abort explains. */
type Outcome = 'right' | 'refused'

async function main(): Promise<void> {
  const random = seeded(seed)
  const folder = mkdtempSync(join(tmpdir(), 'sealwax-soak-'))
  const [kms, s3] = [await startLocalKms(), await startSmallS3()]
  const kmsProxy = await startFaultProxy({ origin: kms.endpoint, seed })
  const s3Proxy = await startFaultProxy({ origin: s3.endpoint, seed })
  const [Bucket, client] = [s3.bucket, buildClient()]
  const plain = new KMSClient({ endpoint: kms.endpoint, region: 'us-east-1', credentials: CREDENTIALS })
  const generatorKeyId = (await plain.send(new CreateKeyCommand({}))).KeyMetadata!.Arn!
  plain.destroy()
  const clientProvider = cacheClients(getClient(KMS, { endpoint: kmsProxy.endpoint, credentials: CREDENTIALS }))
  const kmsKeyring = new KmsKeyring({ generatorKeyId, clientProvider })
  const keyring = aesKeyring()
  const caching = new NodeCachingMaterialsManager({
    backingMaterials: keyring,
    cache: getLocalCryptographicMaterialsCache(100),
    maxAge: 60_000,
    maxMessagesEncrypted: 1000,
  })
  const s3Client = new S3EncryptionClient(
    { ...s3.config, endpoint: s3Proxy.endpoint, maxAttempts: 3 },
    { keyring: new S3RawAesKeyring({ wrappingKey: bytes(32) }) },
  )

  const pool = Buffer.allocUnsafeSlow(16 * MiB)
  randomFillSync(pool)
  /** Lengths from 1 byte on, each order of magnitude as often as the others. */
  const draw = (max = MiB) => {
    const length = Math.floor(max ** random())
    const start = Math.floor(random() * (pool.length - length))
    return pool.subarray(start, start + length)
  }
  const same = (a: Uint8Array, b: Uint8Array): Outcome => {
    if (Buffer.compare(a, b) !== 0) throw new Error(`${a.length} bytes are not the ${b.length} that went in`)
    return 'right'
  }
  /** What must fail, or may. */
  const refusal = async (promise: Promise<unknown>, code?: string): Promise<Outcome> => {
    const error = await promise.then(
      () => undefined,
      (error: unknown) => error,
    )
    if (error === undefined) throw new Error('a success that cannot be')
    if (code !== undefined && (error as SealwaxError).code !== code) throw error
    return 'refused'
  }
  let keys = 0
  const withObject = async (use: (Key: string) => Promise<Outcome>) => {
    const Key = `object-${keys++}`
    try {
      return await use(Key)
    } finally {
      s3.objects.delete(Key)
    }
  }
  /** A call through a proxy may fail, but only as often as something was injected. */
  const maybe = async (work: () => Promise<Outcome>): Promise<Outcome> => {
    try {
      return await work()
    } catch (error) {
      if (error instanceof Error && /that went in|cannot be/.test(error.message)) throw error
      return 'refused'
    }
  }

  const WORK: Readonly<Record<string, { readonly weight: number; readonly run: () => Promise<Outcome> }>> = {
    message: {
      weight: 50,
      run: async () => {
        const plaintext = draw()
        const { result } = await client.encrypt(keyring, plaintext)
        return same((await client.decrypt(keyring, result)).plaintext, plaintext)
      },
    },
    cached: {
      weight: 10,
      run: async () => {
        const plaintext = draw()
        const { result } = await client.encrypt(caching, plaintext, { plaintextLength: plaintext.length })
        return same((await client.decrypt(caching, result)).plaintext, plaintext)
      },
    },
    many: {
      weight: 2,
      run: async () => {
        const plaintexts = Array.from({ length: 20 }, () => draw(2 ** 12))
        const sealed = await client.encryptMany(keyring, plaintexts)
        const messages = sealed.map((each) => (each.status === 'fulfilled' ? each.value.result : bytes(1)))
        const opened = await client.decryptMany(keyring, messages)
        const results = opened.map((each) => (each.status === 'fulfilled' ? each.value.plaintext : bytes(1)))
        return same(Buffer.concat(results), Buffer.concat(plaintexts))
      },
    },
    changed: {
      weight: 10,
      run: async () => {
        const { result } = await client.encrypt(keyring, draw())
        const message = Buffer.from(result)
        message[Math.floor(random() * message.length)]! ^= 1 << Math.floor(random() * 8)
        return refusal(client.decrypt(keyring, message))
      },
    },
    stream: {
      weight: 12,
      run: async () => {
        const plaintext = draw(4 * MiB)
        const sealed = Readable.from(cut(plaintext)).compose(client.encryptStream(keyring))
        return same(await buffer(sealed.compose(client.decryptStream(keyring))), plaintext)
      },
    },
    aborted: {
      weight: 5,
      run: async () => {
        const stop = new AbortController()
        let left = Math.floor(random() * 2 * MiB)
        const sink = new Writable({
          write(chunk: Buffer, _encoding, callback) {
            left -= chunk.length
            if (left < 0) stop.abort()
            callback()
          },
        })
        const source = Readable.from(cut(pool.subarray(0, 4 * MiB)))
        const stages = [client.encryptStream(keyring, { signal: stop.signal }), client.decryptStream(keyring)]
        return refusal(pipeline([source, ...stages, sink] as unknown as [Readable, Writable]), 'ERR_ABORTED')
      },
    },
    destroyed: {
      weight: 2,
      run: async () => {
        const stream = client.encryptStream(keyring)
        stream.on('error', () => {})
        stream.write(draw())
        if (random() < 0.5) await new Promise(setImmediate)
        stream.destroy()
        return 'refused'
      },
    },
    kms: {
      weight: 4,
      run: () =>
        maybe(async () => {
          const plaintext = draw()
          const { result } = await client.encrypt(kmsKeyring, plaintext)
          return same((await client.decrypt(kmsKeyring, result)).plaintext, plaintext)
        }),
    },
    s3: {
      weight: 3,
      run: () =>
        maybe(() =>
          withObject(async (Key) => {
            const Body = draw()
            await s3Client.send(new PutObjectCommand({ Bucket, Key, Body }))
            const { Body: stored } = await s3Client.send(new GetObjectCommand({ Bucket, Key }))
            return same(await stored!.transformToByteArray(), Body)
          }),
        ),
    },
    's3 file': {
      weight: 1,
      run: () =>
        maybe(() =>
          withObject(async (Key) => {
            const [Body, file] = [draw(4 * MiB), join(folder, Key)]
            await s3Client.send(new PutObjectCommand({ Bucket, Key, Body }))
            await downloadObject(s3Client, { Bucket, Key, partSize: MiB }, file)
            try {
              return same(readFileSync(file), Body)
            } finally {
              rmSync(file)
            }
          }),
        ),
    },
    's3 upload': {
      weight: 0.1,
      run: () =>
        maybe(() =>
          withObject(async (Key) => {
            const Body = pool.subarray(0, 11 * MiB)
            const upload = new Upload({ client: s3Client, params: { Bucket, Key, Body } })
            if (random() < 0.3) {
              injected++
              upload.once('httpUploadProgress', () => void upload.abort())
            }
            await upload.done()
            const { Body: stored } = await s3Client.send(new GetObjectCommand({ Bucket, Key }))
            return same(await stored!.transformToByteArray(), Body)
          }),
        ),
    },
  }
  function* cut(data: Buffer): Generator<Buffer> {
    for (let offset = 0; offset < data.length; ) {
      const length = 1 + Math.floor(random() * 131_072)
      yield data.subarray(offset, offset + length)
      offset += length
    }
  }
  const weights = Object.entries(WORK).map(([kind, { weight }]) => ({ kind, weight }))
  const total = weights.reduce((sum, { weight }) => sum + weight, 0)
  const drawKind = () => {
    let place = random() * total
    for (const { kind, weight } of weights) {
      place -= weight
      if (place < 0) return kind
    }
    return weights[0]!.kind
  }

  let injected = 0
  const counts: Record<string, Record<Outcome | 'wrong', number>> = {}
  for (const kind of Object.keys(WORK)) counts[kind] = { right: 0, refused: 0, wrong: 0 }
  const delay = monitorEventLoopDelay({ resolution: 10 })
  const worker = async (end: number) => {
    while (performance.now() < end) {
      const kind = drawKind()
      try {
        counts[kind]![await WORK[kind]!.run()]++
      } catch (error) {
        counts[kind]!.wrong++
        console.error(kind, error)
      }
    }
  }

  interface Line {
    readonly operations: number
    readonly rss: number
    readonly files: number
    readonly left: readonly string[]
  }
  const lines: Line[] = []
  for (let minute = 1; minute <= minutes; minute++) {
    kmsProxy.setRules(FAULTS)
    s3Proxy.setRules(FAULTS)
    delay.enable()
    const end = performance.now() + 60_000
    await Promise.all(Array.from({ length: AT_ONCE }, () => worker(end)))
    delay.disable()
    injected += kmsProxy.stats().injected + s3Proxy.stats().injected
    for (const proxy of [kmsProxy, s3Proxy]) proxy.setRules([])
    const Key = 'last'
    await s3Client.send(new PutObjectCommand({ Bucket, Key, Body: 'still alive' }))
    await s3Client.send(new DeleteObjectCommand({ Bucket, Key }))
    // What is kept for the next result goes after a second; an upload that was aborted may still be on its way.
    for (let turn = 0; turn < 3; turn++) {
      globalThis.gc?.()
      await sleep(1000)
    }
    const operations = Object.values(counts).reduce((sum, count) => sum + count.right + count.refused + count.wrong, 0)
    const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage()
    const line = {
      seed,
      minute,
      operations,
      injected,
      rss: rss / MiB,
      heap: heapUsed / MiB,
      external: external / MiB,
      arrayBuffers: arrayBuffers / MiB,
      files: readdirSync('/proc/self/fd').length,
      left: [...s3.uploads.keys(), ...s3.objects.keys(), ...readdirSync(folder)],
      // The longest block of the event loop, in milliseconds.
      blocked: Math.round(delay.max / 1e6),
      counts,
    }
    delay.reset()
    lines.push(line)
    console.log(JSON.stringify(line, (_, value) => (typeof value === 'number' ? Math.round(value * 100) / 100 : value)))
  }

  s3Client.destroy()
  const kmsClient = clientProvider('us-east-1')
  if (kmsClient) kmsClient.destroy()
  await Promise.all([kmsProxy.close(), s3Proxy.close(), s3.close(), kms.close()])
  rmSync(folder, { recursive: true })

  const settled = lines.slice(Math.floor(lines.length / 4))
  const slope = slopeOf(lowest(settled, 5).map(({ operations, rss }) => [operations / 1e5, rss]))
  const problems = [
    ...Object.entries(counts).flatMap(([kind, { right, refused, wrong }]) => [
      ...(wrong > 0 ? [`${kind}: ${wrong} wrong`] : []),
      ...((REFUSED.includes(kind) ? refused : right) === 0 ? [`${kind}: never done`] : []),
    ]),
    ...(injected === 0 ? ['nothing was injected'] : []),
    ...(PROXIED.reduce((sum, kind) => sum + counts[kind]!.refused, 0) > injected ? ['more refused than injected'] : []),
    ...(lines.some(({ left }) => left.length > 0) ? ['something was left behind'] : []),
    ...(settled.at(-1)!.files > settled[0]!.files + 8 ? ['open files grow'] : []),
    ...(slope > MAX_SLOPE ? ['memory grows'] : []),
  ]
  const { operations } = lines.at(-1)!
  console.log(
    `${operations} operations in ${minutes} minutes, ${injected} faults, ${slope.toFixed(2)} MiB per 100000 operations, ${problems.length} bad`,
  )
  for (const problem of problems) console.log(`FAILED: ${problem}`)
  process.exitCode = problems.length > 0 ? 1 : 0
}

/** Of each `length` lines the one with the least memory: what a collection has not taken yet is no leak. */
function lowest<T extends { rss: number }>(lines: readonly T[], length: number): T[] {
  const windows = Array.from({ length: Math.ceil(lines.length / length) }, (_, i) =>
    lines.slice(i * length, (i + 1) * length),
  )
  return windows.map((window) => window.reduce((low, line) => (line.rss < low.rss ? line : low)))
}

/** Of the line through these points that misses them least. */
function slopeOf(points: readonly (readonly [number, number])[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [x, y] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))]
  const spread = points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0)
  return spread === 0 ? 0 : points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0) / spread
}

void main()
