/** Faults F-10 to F-12: PutObject and multipart uploads, and what remains where they end early. */
import { getActiveResourcesInfo } from 'node:process'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { S3EncryptionClient, S3RawAesKeyring } from '../../src/s3'
import { until } from '../support/clock'
import { type FaultRule, startFaultProxy } from '../support/fault-proxy'
import { bytes } from '../support/keys'
import { startSmallS3 } from '../support/small-s3'
import { type Attempt, FaultReport, full } from './report'

const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const MiB = 2 ** 20
const SEEDS = full ? 20 : 1
const PART = { method: 'PUT', query: 'partNumber=' }
const COMPLETE = { method: 'POST', query: /^uploadId=/ }
const CREATE = { method: 'POST', query: 'uploads' }

async function main(): Promise<void> {
  const s3 = await startSmallS3()
  const proxy = await startFaultProxy({ origin: s3.endpoint })
  const report = new FaultReport()
  const cells = new Set<string>()
  const [Bucket, Key] = [s3.bucket, 'object']
  /** Only what hangs needs to be given up soon: a busy machine is slow too. */
  const clientOf = (rules: readonly FaultRule[]) =>
    new S3EncryptionClient(
      {
        ...s3.config,
        endpoint: proxy.endpoint,
        maxAttempts: 3,
        requestHandler: {
          requestTimeout: rules.some(({ fault }) => fault === 'stall') ? 1500 : 60_000,
          throwOnRequestTimeout: true,
        },
      },
      { keyring },
    )
  const direct = new S3EncryptionClient(s3.config, { keyring })
  const source = (length: number, seed: number) => Buffer.alloc(length, `source ${seed} of these bytes`)

  /** Runs one operation under one fault, and checks what must hold whatever became of it. */
  const attempt = async (
    rules: readonly FaultRule[],
    plaintext: Uint8Array,
    work: (client: S3EncryptionClient) => Promise<unknown>,
  ): Promise<Attempt> => {
    s3.objects.clear()
    s3.uploads.clear()
    proxy.setRules(rules)
    const client = clientOf(rules)
    let outcome: Attempt['outcome'] = 'right'
    try {
      await work(client)
    } catch {
      outcome = 'refused'
    }
    const { injected, requests } = proxy.stats()
    // What was under way when the caller gave up ends too.
    const deadline = performance.now() + 2000
    while (s3.uploads.size > 0 && performance.now() < deadline) await sleep(5)
    assert.is(s3.uploads.size, 0, 'no upload is left open')
    const isStored = s3.objects.has(Key)
    if (outcome === 'right') assert.ok(isStored, 'what is called done is there')
    if (isStored) {
      const { Body } = await direct.send(new GetObjectCommand({ Bucket, Key }))
      assert.ok(Buffer.from(await Body!.transformToByteArray()).equals(plaintext), 'what is stored is right')
    }
    checkOneCiphertext()
    proxy.setRules([])
    await client.send(new PutObjectCommand({ Bucket, Key, Body: 'still alive' }))
    await until(() => proxy.pending === 0)
    client.destroy()
    await until(() => proxy.sockets === 0)
    return { outcome, injected, requests }
  }
  /** Under one key, every request for one place had the same bytes, but for the tag at the end, or was cut. */
  const checkOneCiphertext = () => {
    const sent = new Map<string, Set<string>>()
    for (const { method, url, headers, length, sha256 } of proxy.seen) {
      if (method !== 'PUT' || length < Number(headers['content-length'])) continue
      const place = `${url.replace(/\?.*partNumber=(\d+).*uploadId=([^&]*).*/, '?$1 $2')} ${length}`
      sent.set(place, (sent.get(place) ?? new Set()).add(sha256))
    }
    for (const [place, bodies] of sent) assert.is(bodies.size, 1, `one ciphertext at ${place}`)
  }
  const inject = async (
    cell: string,
    rules: readonly FaultRule[],
    length: number,
    work: (client: S3EncryptionClient, plaintext: Buffer) => Promise<unknown>,
  ) => {
    cells.add(cell)
    for (let seed = 1; seed <= SEEDS; seed++) {
      const plaintext = source(length, seed)
      const run = () => attempt(rules, plaintext, (client) => work(client, plaintext))
      await report.inject(cell, seed, 1, run, plaintext.length)
    }
  }

  const first = (rule: FaultRule, times: number): FaultRule => ({ ...rule, when: { first: times } })
  const put = (client: S3EncryptionClient, Body: Uint8Array) => client.send(new PutObjectCommand({ Bucket, Key, Body }))
  const TRANSIENT: Record<string, FaultRule> = {
    'reset at the start': { fault: 'reset' },
    'reset after a byte': { fault: 'reset', at: 2 },
    'reset halfway': { fault: 'reset', at: 0.5 },
    'reset at the end': { fault: 'reset', at: 1 },
    'cut-up': { fault: 'cut-up' },
    'status 503': { fault: 'status' },
    'status 500': { fault: 'status', status: 500 },
    'lost-answer': { fault: 'lost-answer' },
    stall: { fault: 'stall' },
  }

  for (const [name, rule] of Object.entries(TRANSIENT)) {
    test(`F-10 PutObject, ${name}`, async () => {
      const lengths = full ? [1, 65_536, 8 * MiB + 1] : [100_000]
      const match = { method: 'PUT' }
      for (const length of lengths) {
        await inject(`F-10 ${name}, once, ${length} bytes`, [first({ ...rule, match }, 1)], length, put)
        if (full || name === 'status 503')
          await inject(`F-10 ${name}, always, ${length} bytes`, [{ ...rule, match }], length, put)
      }
    })
  }

  const upload = (queueSize: number, more = {}) => {
    return async (client: S3EncryptionClient, plaintext: Buffer) => {
      const params = { Bucket, Key, Body: plaintext, ...more }
      await new Upload({ client, params, queueSize }).done()
    }
  }
  const LENGTH = full ? 27 * MiB + 5 : 11 * MiB + 5
  for (const [name, rule] of Object.entries(TRANSIENT)) {
    test(`F-11 multipart, ${name}`, async () => {
      const of = (part: number): FaultRule => ({ ...rule, match: { ...PART, query: `partNumber=${part}&` } })
      await inject(`F-11 part ${name}, once`, [first(of(2), 1)], LENGTH, upload(4))
      await inject(`F-11 last part ${name}, once`, [first(of(Math.ceil(LENGTH / (5 * MiB))), 1)], LENGTH, upload(2))
      await inject(`F-11 complete ${name}, once`, [first({ ...rule, match: COMPLETE }, 1)], LENGTH, upload(4))
      // Where an upload was begun, and the answer is lost, nobody knows its ID: S3 keeps it until a lifecycle rule ends it.
      if (full && !['lost-answer', 'cut-up'].includes(name))
        await inject(`F-11 create ${name}, once`, [first({ ...rule, match: CREATE }, 1)], LENGTH, upload(4))
      if (full || name === 'status 503') {
        await inject(`F-11 part ${name}, always`, [of(2)], LENGTH, upload(4))
        await inject(`F-11 complete ${name}, always`, [{ ...rule, match: COMPLETE }], LENGTH, upload(4))
      }
      if (full) {
        const abort = first({ ...rule, match: { method: 'DELETE' } }, 1)
        await inject(`F-11 abort ${name}, once`, [of(2), abort], LENGTH, upload(4))
      }
    })
  }

  test('F-11 multipart, answers that lie', async () => {
    const complete = first({ fault: 'error-200', match: COMPLETE }, 1)
    await inject('F-11 complete error-200, once', [complete], LENGTH, upload(4))
    await inject('F-11 complete error-200, always', [{ fault: 'error-200', match: COMPLETE }], LENGTH, upload(4))
    await inject('F-11 wrong ETag', [{ fault: 'wrong-etag', match: PART, when: { nth: 2 } }], LENGTH, upload(4))
    await inject(
      'F-11 NoSuchUpload after a lost answer',
      [first({ fault: 'lost-answer', match: COMPLETE }, 1)],
      LENGTH,
      upload(1),
    )
  })

  test('F-11 multipart, parts that are late and drawn faults', async () => {
    for (const queueSize of full ? [1, 2, 4, 8] : [4]) {
      const late: FaultRule = { fault: 'delay', ms: 100, match: PART, when: { chance: 0.5 } }
      const drawn = [
        first({ fault: 'delay', ms: 100, match: PART }, 1),
        { ...late, fault: 'status' as const, when: { chance: 0.1 } },
        { ...late, fault: 'lost-answer' as const, when: { chance: 0.1 } },
        late,
      ]
      await inject(`F-11 drawn, ${queueSize} at once`, drawn, LENGTH, upload(queueSize))
    }
  })

  test('F-12 an upload that is aborted leaves nothing', async () => {
    const steps = full ? 20 : 4
    const plaintext = source(LENGTH, 1)
    for (const how of ['abort', 'source']) {
      const cell = `F-12 ${how}`
      cells.add(cell)
      for (let step = 0; step < steps; step++) {
        const run = async () => {
          let isBroken = 0
          const ended = await attempt([], plaintext, async (client) => {
            const stop = Math.floor((LENGTH * step) / steps)
            let given = 0
            const holder: { upload?: Upload } = {}
            const body = Readable.from(
              (async function* () {
                for (; given < LENGTH; given += 65_536) {
                  if (how === 'source' && given >= stop) {
                    isBroken = 1
                    throw new Error('the source broke')
                  }
                  if (how === 'abort' && given >= stop) {
                    isBroken = 1
                    void holder.upload?.abort()
                  }
                  yield plaintext.subarray(given, given + 65_536)
                }
              })(),
            )
            holder.upload = new Upload({ client, params: { Bucket, Key, Body: body } })
            await holder.upload.done()
          })
          return { ...ended, injected: isBroken }
        }
        await report.inject(cell, 1, step, run, LENGTH)
      }
    }
  })

  test('every fault was injected, and none did harm', async () => {
    direct.destroy()
    await proxy.close()
    await s3.close()
    await until(() => !getActiveResourcesInfo().some((name) => /TCP/.test(name)))
    report.check([...cells])
  })
  test.run()
}

void main()
