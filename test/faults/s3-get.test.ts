/** F-13: GetObject and downloads in ranges, from a store whose answers are cut, changed, swapped, late or of another object. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { downloadObject, S3EncryptionClient, type S3EncryptionSettings, S3RawAesKeyring } from '../../src/s3'
import { until } from '../support/clock'
import { rejectionOf } from '../support/expect'
import { type FaultRule, startFaultProxy } from '../support/fault-proxy'
import { bytes } from '../support/keys'
import { openFilesIn } from '../support/open-files'
import { seeded } from '../support/random'
import { startS3 } from '../support/s3-server'
import { type Attempt, FaultReport, full } from './report'

const KiB = 1024
const Key = 'object'
const plaintext = Buffer.from(bytes(300 * KiB + 7))
const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const folder = mkdtempSync(join(tmpdir(), 'sealwax-test-'))
process.env.TMPDIR = folder
const path = join(folder, 'downloaded')

/** How an object is read. What is given must be the plaintext; of a read that fails, at most its beginning where `early`. */
const READERS: Record<string, Partial<S3EncryptionSettings> & { early?: true }> = {
  buffered: {},
  'two-pass': { bufferSize: 16, early: true },
  'temporary-file': { bufferSize: 16, largeObjects: 'temporary-file' },
  delayed: { enableDelayedAuthenticationMode: true, early: true },
  download: {},
}

interface Case {
  readonly fault: string
  readonly rule: (random: () => number) => FaultRule
  /** It is done all the same: the answer is right, though late. */
  readonly harmless?: true
  /** A download asks for the rest of a range that broke off. */
  readonly resumed?: true
  /** Nothing comes any more: only a timeout ends it. */
  readonly silent?: true
}

const match = { method: 'GET' }
const CASES: readonly Case[] = [
  { fault: 'truncate reset', resumed: true, rule: (random) => ({ fault: 'truncate', at: random(), match }) },
  { fault: 'truncate fin', resumed: true, rule: (random) => ({ fault: 'truncate', how: 'fin', at: random(), match }) },
  { fault: 'truncate short', rule: (random) => ({ fault: 'truncate', how: 'short', at: random() * 0.99, match }) },
  {
    fault: 'truncate tag',
    rule: (random) => ({ fault: 'truncate', how: 'short', at: -1 - Math.floor(random() * 17), match }),
  },
  { fault: 'corrupt start', rule: () => ({ fault: 'corrupt', at: 0, match }) },
  { fault: 'corrupt middle', rule: (random) => ({ fault: 'corrupt', at: random() * 0.99, match }) },
  { fault: 'corrupt last 16', rule: (random) => ({ fault: 'corrupt', at: -1 - Math.floor(random() * 16), match }) },
  { fault: 'swap', rule: () => ({ fault: 'swap', body: (body) => Buffer.from(body).reverse(), match }) },
  {
    fault: 'swap blocks',
    rule: () => ({
      fault: 'swap',
      body: (body) => Buffer.concat([body.subarray(16, 32), body.subarray(0, 16), body.subarray(32)]),
      match,
    }),
  },
  {
    fault: 'longer',
    rule: () => ({ fault: 'swap', body: (body) => Buffer.concat([body, body.subarray(-16)]), match }),
  },
  { fault: 'empty', rule: () => ({ fault: 'swap', body: '', match }) },
  { fault: 'gzip', rule: () => ({ fault: 'swap', body: gzipSync, headers: { 'content-encoding': 'gzip' }, match }) },
  {
    fault: 'half-open',
    resumed: true,
    silent: true,
    rule: (random) => ({ fault: 'half-open', at: random() * 0.99, match }),
  },
  { fault: 'stall', silent: true, rule: () => ({ fault: 'stall', match }) },
  { fault: 'reset', rule: () => ({ fault: 'reset', match }) },
  { fault: 'lost-answer', rule: () => ({ fault: 'lost-answer', match }) },
  { fault: 'status 500', rule: () => ({ fault: 'status', status: 500, match }) },
  { fault: 'error-200', rule: () => ({ fault: 'error-200', match }) },
  {
    fault: '206 of what was not asked for',
    rule: () => ({
      fault: 'swap',
      status: 206,
      headers: { 'content-range': 'bytes 16-31/307223' },
      body: (body) => body.subarray(16, 32),
      match,
    }),
  },
  {
    fault: 'another range',
    rule: () => ({ fault: 'swap', headers: { 'content-range': 'bytes 16-31/32' }, body: (body) => body, match }),
  },
  { fault: 'drip', harmless: true, rule: () => ({ fault: 'drip', step: 40_000, ms: 2, match }) },
]

async function main(): Promise<void> {
  const s3 = await startS3()
  const Bucket = s3.bucket
  const proxy = await startFaultProxy({ origin: s3.endpoint })
  const report = new FaultReport()
  const clientFor = (settings: Partial<S3EncryptionSettings> = {}, socketTimeout = 30_000) =>
    new S3EncryptionClient(
      { ...s3.config, endpoint: proxy.endpoint, requestHandler: { socketTimeout } },
      { keyring, ...settings },
    )
  const writer = clientFor()
  await writer.send(new PutObjectCommand({ Bucket, Key, Body: plaintext }))
  await writer.send(new PutObjectCommand({ Bucket, Key: 'other', Body: plaintext }))
  writer.destroy()

  /** What came before the end or the error. */
  async function read(reader: string, socketTimeout?: number): Promise<{ given: Buffer; error: unknown }> {
    const { early: _, ...settings } = READERS[reader]!
    const client = clientFor(settings, socketTimeout)
    let given = Buffer.alloc(0)
    try {
      const error = await rejectionOf(
        (async () => {
          if (reader === 'download') {
            await downloadObject(client, { Bucket, Key, partSize: 64 * KiB, concurrency: 2 }, path)
            given = readFileSync(path)
            rmSync(path)
            return
          }
          const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }), {
            abortSignal: AbortSignal.timeout(30_000),
          })
          for await (const piece of Body as Readable) given = Buffer.concat([given, piece])
        })(),
      )
      return { given, error }
    } finally {
      client.destroy()
    }
  }

  async function attempt(
    reader: string,
    rule: FaultRule,
    { harmless, resumed, silent }: Partial<Case>,
  ): Promise<Attempt> {
    proxy.setRules([rule])
    const { given, error } = await read(reader, silent ? 250 : undefined)
    const { injected, requests } = proxy.stats()
    if (reader === 'delayed') {
      assert.ok(error || plaintext.equals(given), 'it must not end well with another plaintext')
    } else {
      assert.ok(plaintext.subarray(0, given.length).equals(given), 'what is given is the plaintext')
      if (error && !READERS[reader]!.early) assert.is(given.length, 0)
    }
    if (!error) assert.is(given.length, plaintext.length)
    const isResumed = resumed === true && reader === 'download'
    const isRight = harmless === true || isResumed
    // On a busy machine, the honest answer to another attempt can come too late as well.
    if (injected > 0 && !(silent && isResumed))
      assert.is(error === undefined, isRight, String((error as Error | undefined)?.stack ?? 'no error'))
    assert.equal(readdirSync(folder), [], 'no file is left')
    await until(() => openFilesIn(folder) === 0 && proxy.sockets === 0)
    return { outcome: error ? 'refused' : 'right', injected, requests }
  }

  const cells: string[] = []
  for (const reader of Object.keys(READERS)) {
    test(`${reader}: ${CASES.length} faults in the answer`, async () => {
      for (const { fault, rule, ...what } of CASES) {
        const cell = `F-13 ${reader}: ${fault}`
        cells.push(cell)
        // Which GET it is: of two passes the second is another thing, of a download each range is.
        const places = { buffered: 1, delayed: 1, 'temporary-file': 1, 'two-pass': 2, download: 5 }[reader]!
        const rounds = full ? (what.silent ? 5 : 40) : what.silent ? 1 : Math.min(places, 2)
        for (let n = 0; n < rounds; n++) {
          const seed = n + 1
          const random = seeded(seed)
          const nth = 1 + (n % places)
          await report.inject(cell, seed, n, () => attempt(reader, { ...rule(random), when: { nth } }, what))
        }
      }
    })
  }

  test('an object that is replaced between two requests gives no byte of the other', async () => {
    for (const reader of ['two-pass', 'download']) {
      const cell = `F-13 ${reader}: replaced`
      cells.push(cell)
      const other = await s3.client.send(new GetObjectCommand({ Bucket, Key: 'other' }))
      const body = Buffer.from(await other.Body!.transformToByteArray())
      for (const heeds of [true, false]) {
        const range = reader === 'download' ? body.subarray(0, 64 * KiB) : body
        const rule: FaultRule = heeds
          ? { fault: 'status', status: 412, body: '<Error><Code>PreconditionFailed</Code></Error>', match }
          : { fault: 'swap', headers: { etag: other.ETag! }, body: range, match }
        const nth = reader === 'download' ? 1 : 2
        await report.inject(cell, Number(heeds), 0, () => attempt(reader, { ...rule, when: { nth } }, {}))
      }
    }
  })

  test('each fault was injected, and none did harm', () => report.check(cells))

  test('the servers end', async () => {
    await proxy.close()
    await s3.close()
    rmSync(folder, { recursive: true })
  })
  test.run()
}

void main()
