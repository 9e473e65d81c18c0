/**
 * `npx tsx bench/local-kms.ts [seconds]`: Decrypt of a 32-byte data key. The server runs in a process of its own, which uses
 * one core; the client is raw HTTP over 16 connections that are kept alive, so that the SDK's cost is not measured. Then
 * the same at 1,000 requests a second, where latency is the question, and a run with the SDK, as applications see it.
 */
import { fork } from 'node:child_process'
import { Agent, request } from 'node:http'
import { DecryptCommand, EncryptCommand, KMSClient } from '@aws-sdk/client-kms'
import { startLocalKms } from '#built/local-kms'
import { compiled } from './contender'

const CONNECTIONS = 16
const credentials = { accessKeyId: 'bench', secretAccessKey: 'bench' }

void (process.send ? serve() : bench(Number(process.argv[2] ?? 5)))

/** The child: a server that tells how much CPU time it used when asked. */
async function serve(): Promise<void> {
  const kms = await startLocalKms()
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    process.send!({ cpu: (user + system) / 1e6, rss: process.memoryUsage.rss() })
  })
  process.on('disconnect', () => void kms.close())
  process.send!({ endpoint: kms.endpoint })
}

async function bench(seconds: number): Promise<void> {
  const server = fork(compiled(__filename), { execArgv: [] })
  const ask = <T>(): Promise<T> => new Promise((resolve) => server.once('message', (message) => resolve(message as T)))
  const usage = () => {
    server.send('usage')
    return ask<{ cpu: number; rss: number }>()
  }
  const { endpoint } = await ask<{ endpoint: string }>()
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })
  const call = (operation: string, body: string) => post(endpoint, agent, operation, body)

  const { KeyMetadata } = (await call('CreateKey', '{}')) as { KeyMetadata: { KeyId: string } }
  const { CiphertextBlob, Plaintext } = (await call(
    'GenerateDataKey',
    JSON.stringify({ KeyId: KeyMetadata.KeyId, KeySpec: 'AES_256', EncryptionContext: { purpose: 'bench' } }),
  )) as { CiphertextBlob: string; Plaintext: string }
  const body = JSON.stringify({ CiphertextBlob, EncryptionContext: { purpose: 'bench' } })
  const decrypt = async () => {
    const answer = (await call('Decrypt', body)) as { Plaintext: string }
    if (answer.Plaintext !== Plaintext) throw new Error('a wrong answer')
  }

  await flatOut(decrypt, 1)
  for (const [name, run] of [
    [`raw HTTP, ${CONNECTIONS} connections, flat out`, () => flatOut(decrypt, seconds)],
    ['raw HTTP, 1,000 requests a second', () => paced(decrypt, 1000, seconds)],
    ['AWS SDK, one client, 16 calls at once', () => withSdk(endpoint, KeyMetadata.KeyId, seconds)],
  ] as const) {
    const before = await usage()
    const times = await run()
    const after = await usage()
    const perCore = times.length / (after.cpu - before.cpu)
    console.log(
      `${name}: ${Math.round(times.length / seconds)}/s, p50 ${at(times, 0.5)} ms, p99 ${at(times, 0.99)} ms; ` +
        `server ${Math.round(perCore)} per CPU second, RSS ${Math.round(after.rss / 2 ** 20)} MiB`,
    )
  }
  agent.destroy()
  server.disconnect()
}

async function flatOut(call: () => Promise<void>, seconds: number): Promise<number[]> {
  const times: number[] = []
  const end = performance.now() + seconds * 1000
  const worker = async () => {
    while (performance.now() < end) times.push(await timed(call))
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, worker))
  return times
}

async function paced(call: () => Promise<void>, rate: number, seconds: number): Promise<number[]> {
  const running: Promise<number>[] = []
  const start = performance.now()
  while (running.length < rate * seconds) {
    const due = ((performance.now() - start) / 1000) * rate
    while (running.length < due) running.push(timed(call))
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  return Promise.all(running)
}

async function withSdk(endpoint: string, KeyId: string, seconds: number): Promise<number[]> {
  const client = new KMSClient({ endpoint, region: 'us-east-1', credentials })
  const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId, Plaintext: new Uint8Array(32) }))
  const times = await flatOut(async () => void (await client.send(new DecryptCommand({ CiphertextBlob }))), seconds)
  client.destroy()
  return times
}

async function timed(call: () => Promise<void>): Promise<number> {
  const start = performance.now()
  await call()
  return performance.now() - start
}

function at(times: number[], quantile: number): string {
  const sorted = Float64Array.from(times).sort()
  return sorted[Math.floor(sorted.length * quantile)]!.toFixed(2)
}

function post(endpoint: string, agent: Agent, operation: string, body: string): Promise<unknown> {
  const headers = {
    'content-type': 'application/x-amz-json-1.1',
    'content-length': body.length,
    'x-amz-target': `TrentService.${operation}`,
  }
  return new Promise((resolve, reject) => {
    const sent = request(endpoint, { method: 'POST', agent, headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => (response.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(text))))
    })
    sent.on('error', reject)
    sent.end(body)
  })
}
