/** The local KMS as a process of its own, under load and before clients that mean no good (F-32). */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { path, start } from '../cli/cli'
import { until } from '../support/clock'
import { seeded } from '../support/random'
import { type Attempt, FaultReport, full } from './report'

const SECONDS = full ? 60 : 2
const RATE = 1000
const JSON_TYPE = 'application/x-amz-json-1.1'

const report = new FaultReport()
const CELLS: Readonly<Record<string, () => Promise<Attempt>>> = {
  'F-32 256 clients': load,
  'F-32 rotation under load': rotation,
  'F-32 500 slow senders': slowSenders,
  'F-32 a body of 1 GiB, declared': () => hugeBody('content-length: 1073741824'),
  'F-32 a body of 1 GiB, in chunks': () => hugeBody('transfer-encoding: chunked'),
  'F-32 damaged requests': damaged,
  'F-32 pipelined requests': pipelined,
  'F-32 requests far ahead of their answers': farAhead,
  'F-32 answers that nobody reads': unread,
  'F-32 SIGTERM while at work': stopped,
  'F-32 SIGKILL while at work, restart': killed,
}

test('faults of the local KMS', async () => {
  for (const [name, attempt] of Object.entries(CELLS)) await report.inject(name, 1, 0, attempt)
  report.check(Object.keys(CELLS))
})

interface Serving {
  readonly server: Server
  readonly keyId: string
  /** A blob, and what it holds. */
  readonly blobs: readonly { readonly blob: string; readonly plaintext: string }[]
}

/** A server with a key and blobs, stopped afterwards. What it took of memory is checked. */
async function serving(use: (world: Serving) => Promise<Attempt>, ...args: string[]): Promise<Attempt> {
  const server = await Server.start(...args)
  try {
    const { KeyMetadata } = (await server.call('CreateKey', {})) as { KeyMetadata: { KeyId: string } }
    const blobs = await Promise.all(
      Array.from({ length: 64 }, async () => {
        const made = await server.call('GenerateDataKey', { KeyId: KeyMetadata.KeyId, KeySpec: 'AES_256' })
        return { blob: String(made.CiphertextBlob), plaintext: String(made.Plaintext) }
      }),
    )
    const result = await use({ server, keyId: KeyMetadata.KeyId, blobs })
    assert.ok(server.peakMemory() <= 200 * 2 ** 20, `${server.peakMemory()} bytes of memory`)
    return result
  } finally {
    await server.stop('SIGKILL')
  }
}

async function checkDecrypt(server: Server, { blob, plaintext }: Serving['blobs'][number]): Promise<void> {
  assert.is((await server.call('Decrypt', { CiphertextBlob: blob })).Plaintext, plaintext)
}

/** A steady rate over 256 connections; times count from when a request was due. */
async function load(): Promise<Attempt> {
  return await serving(async ({ server, blobs }) => {
    const times: number[] = []
    const running: Promise<void>[] = []
    const begin = performance.now()
    for (let i = 0; i < RATE * SECONDS; i++) {
      const due = begin + (i * 1000) / RATE
      if (performance.now() < due) await new Promise((resolve) => setTimeout(resolve, due - performance.now()))
      const call = checkDecrypt(server, blobs[i % blobs.length]!)
      running.push(call.then(() => void times.push(performance.now() - due)))
    }
    await Promise.all(running)
    const p99 = times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)]!
    if (full) {
      const memory = Math.round(server.peakMemory() / 2 ** 20)
      console.log(`p99 ${p99.toFixed(1)} ms at ${RATE} requests a second for ${SECONDS} s, ${memory} MiB at most`)
      assert.ok(p99 <= 20, `p99 ${p99} ms`)
    }
    return { outcome: 'right', injected: times.length, requests: times.length }
  })
}

/** Encrypt, decrypt and re-encrypt while the key gets new material: everything ever encrypted opens. */
async function rotation(): Promise<Attempt> {
  return await serving(async ({ server, keyId, blobs }) => {
    const rounds = full ? 2000 : 100
    const made: Serving['blobs'][number][] = [...blobs]
    const EncryptionContext = { round: 'trip' }
    const worker = async (id: number) => {
      for (let round = 0; round < rounds / 10; round++) {
        const plaintext = Buffer.from(`plaintext ${id}/${round}`).toString('base64')
        const sealed = await server.call('Encrypt', { KeyId: keyId, Plaintext: plaintext, EncryptionContext })
        const moved = await server.call('ReEncrypt', {
          CiphertextBlob: sealed.CiphertextBlob,
          SourceEncryptionContext: EncryptionContext,
          DestinationKeyId: keyId,
        })
        const opened = await server.call('Decrypt', { CiphertextBlob: sealed.CiphertextBlob, EncryptionContext })
        assert.is(opened.Plaintext, plaintext)
        made.push({ blob: String(moved.CiphertextBlob), plaintext })
        await checkDecrypt(server, made[(id * 7919 + round * 104_729) % made.length]!)
      }
    }
    const rotate = async () => {
      for (let i = 0; i < 20; i++) {
        await server.call('RotateKeyOnDemand', { KeyId: keyId })
        for (const change of ['DisableKey', 'EnableKey']) {
          const { KeyMetadata } = (await server.call('CreateKey', {})) as { KeyMetadata: { KeyId: string } }
          await server.call(change, { KeyId: KeyMetadata.KeyId })
        }
      }
    }
    await Promise.all([rotate(), ...Array.from({ length: 10 }, (_, id) => worker(id))])
    for (const one of made) await checkDecrypt(server, one)
    return { outcome: 'right', injected: 20, requests: made.length }
  })
}

async function slowSenders(): Promise<Attempt> {
  return await serving(async ({ server, blobs }) => {
    const sockets = await Promise.all(Array.from({ length: 500 }, () => server.connect()))
    for (const socket of sockets) socket.write('POST / HTTP/1.1\r\nhost: localhost\r\nx: ')
    const drip = setInterval(() => {
      for (const socket of sockets) if (!socket.destroyed) socket.write('x')
    }, 500)
    for (const one of blobs) await checkDecrypt(server, one)
    await until(() => sockets.every(({ destroyed }) => destroyed))
    clearInterval(drip)
    for (const one of blobs) await checkDecrypt(server, one)
    return { outcome: 'right', injected: sockets.length, requests: 2 * blobs.length }
  })
}

async function hugeBody(header: string): Promise<Attempt> {
  return await serving(async ({ server, blobs }) => {
    const socket = await server.connect()
    let answer = ''
    socket.on('data', (chunk) => (answer += String(chunk)))
    socket.write(
      `POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${JSON_TYPE}\r\nx-amz-target: TrentService.ListKeys\r\n`,
    )
    socket.write(`${header}\r\n\r\n`)
    const chunk = header.includes('chunked') ? `10000\r\n${' '.repeat(0x10000)}\r\n` : ' '.repeat(0x10000)
    let sent = 0
    while (sent < 2 ** 30 && !socket.destroyed) {
      sent += chunk.length
      if (!socket.write(chunk)) await new Promise((resolve) => socket.once('drain', resolve).once('close', resolve))
    }
    await until(() => socket.destroyed)
    // A connection that is cut while more comes can take the answer with it.
    if (answer) assert.match(answer, /^HTTP\/1\.1 413 /)
    // Nobody reads it: what is gone is in the sockets.
    assert.ok(sent < 2 ** 26, `${sent} bytes were taken`)
    await checkDecrypt(server, blobs[0]!)
    return { outcome: 'refused', injected: 1, requests: 1 }
  })
}

/** A right request with a few bytes changed, cut or doubled is refused, or means the same. */
async function damaged(): Promise<Attempt> {
  return await serving(async ({ server, blobs }) => {
    const random = seeded(32)
    const count = full ? 20_000 : 1000
    let refused = 0
    const one = async (i: number) => {
      const { blob, plaintext } = blobs[i % blobs.length]!
      const body = Buffer.from(JSON.stringify({ CiphertextBlob: blob, EncryptionContext: {} }))
      const at = Math.floor(random() * body.length)
      const kind = Math.floor(random() * 3)
      if (kind === 0) body[at] = Math.floor(random() * 256)
      const sent = kind === 1 ? body.subarray(0, at) : kind === 2 ? Buffer.concat([body, body.subarray(at)]) : body
      const { status, text } = await server.post('Decrypt', sent)
      if (status === 200) assert.is((JSON.parse(text) as { Plaintext: string }).Plaintext, plaintext)
      else {
        assert.is(status, 400)
        refused++
      }
    }
    for (let i = 0; i < count; i += 50) await Promise.all(Array.from({ length: 50 }, (_, k) => one(i + k)))
    assert.ok(refused > count / 2)
    return { outcome: 'refused', injected: refused, requests: count }
  })
}

async function pipelined(): Promise<Attempt> {
  return await serving(async ({ server, blobs }) => {
    const socket = await server.connect()
    let answers = ''
    socket.on('data', (chunk) => (answers += String(chunk)))
    for (const [i, { blob }] of blobs.entries()) {
      const last = i === blobs.length - 1 ? 'connection: close\r\n' : ''
      socket.write(rawRequest('Decrypt', { CiphertextBlob: blob }, last))
    }
    await until(() => socket.destroyed)
    assert.equal(
      [...answers.matchAll(/"Plaintext":"([^"]*)"/g)].map(([, plaintext]) => plaintext),
      blobs.map(({ plaintext }) => plaintext),
    )
    return { outcome: 'right', injected: blobs.length, requests: blobs.length }
  })
}

/** A client that changes a key as fast as it can write is cut off, and holds up no other. */
async function farAhead(): Promise<Attempt> {
  return await serving(
    async ({ server, keyId, blobs }) => {
      const socket = await server.connect()
      socket.resume()
      const many = rawRequest('UpdateKeyDescription', { KeyId: keyId, Description: 'x' }).repeat(5000)
      let sent = 0
      while (sent < 300_000 && !socket.destroyed) {
        sent += 5000
        socket.write(many)
        await until(() => socket.destroyed || !socket.writableNeedDrain)
      }
      await until(() => socket.destroyed)
      await server.call('UpdateKeyDescription', { KeyId: keyId, Description: 'y' })
      for (const one of blobs) await checkDecrypt(server, one)
      return { outcome: 'refused', injected: 1, requests: sent }
    },
    '--data',
    path('far-ahead'),
  )
}

/** Answers of more than a megabyte each wait with the server, one for a connection; all come when they are read. */
async function unread(): Promise<Attempt> {
  return await serving(async ({ server, keyId, blobs }) => {
    const pairs = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`name ${i}`, 'x'.repeat(950)]))
    const Constraints = { EncryptionContextEquals: pairs, EncryptionContextSubset: pairs }
    const grant = { KeyId: keyId, GranteePrincipal: 'someone', Operations: ['Decrypt'], Constraints }
    await Promise.all(Array.from({ length: 100 }, () => server.call('CreateGrant', grant)))
    const sockets = await Promise.all(Array.from({ length: 4 }, () => server.connect()))
    const list = (headers?: string) => rawRequest('ListGrants', { KeyId: keyId, Limit: 100 }, headers)
    for (const socket of sockets) socket.write(list().repeat(29) + list('connection: close\r\n'))
    for (const one of blobs) await checkDecrypt(server, one)
    for (const socket of sockets) socket.resume()
    await until(() => sockets.every(({ destroyed }) => destroyed))
    for (const { bytesRead } of sockets) assert.is(bytesRead, sockets[0]!.bytesRead)
    assert.ok(sockets[0]!.bytesRead > 30 * 2 ** 20)
    return { outcome: 'right', injected: sockets.length, requests: 120 }
  })
}

/** What was answered is right; the rest is refused, not left hanging; and it ends soon and well. */
async function stopped(): Promise<Attempt> {
  return await serving(async ({ server, keyId, blobs }) => {
    const pairs = Array.from({ length: 4 }, () =>
      server.call('GenerateDataKeyPair', { KeyId: keyId, KeyPairSpec: 'RSA_2048' }),
    )
    const calls = Promise.allSettled([...pairs, ...blobs.map((one) => checkDecrypt(server, one))])
    await checkDecrypt(server, blobs[0]!)
    const begin = performance.now()
    const code = await server.stop('SIGTERM')
    const took = performance.now() - begin
    assert.is(code, 0)
    // One second for running requests; the rest is what a busy machine takes to end a process.
    assert.ok(took < 5000, `took ${took} ms`)
    let cut = 0
    for (const result of await calls) {
      if (result.status === 'fulfilled') continue
      assert.ok(
        ['ECONNRESET', 'ECONNREFUSED', 'EPIPE'].includes((result.reason as { code: string }).code),
        String(result.reason),
      )
      cut++
    }
    return { outcome: cut > 0 ? 'refused' : 'right', injected: 1, requests: blobs.length + 4 }
  })
}

async function killed(): Promise<Attempt> {
  const data = path('killed')
  const kept: Serving['blobs'][number][] = []
  const keys: string[] = []
  let restarts = 0
  const rounds = full ? 30 : 3
  for (; restarts < rounds; restarts++) {
    await serving(
      async ({ server, blobs }) => {
        for (const one of kept) await checkDecrypt(server, one)
        for (const KeyId of keys) await server.call('DescribeKey', { KeyId })
        kept.push(blobs[0]!)
        const creating = Array.from({ length: 20 }, async () => {
          const { KeyMetadata } = (await server.call('CreateKey', {})) as { KeyMetadata: { KeyId: string } }
          keys.push(KeyMetadata.KeyId)
        })
        const all = Promise.allSettled(creating)
        await Promise.race(creating)
        await server.stop(restarts % 2 ? 'SIGTERM' : 'SIGKILL')
        await all
        return { outcome: 'right', injected: 1, requests: 0 }
      },
      '--data',
      data,
    )
  }
  return { outcome: 'right', injected: restarts, requests: keys.length }
}

function rawRequest(operation: string, fields: object, headers = ''): string {
  const body = JSON.stringify(fields)
  const head = `host: localhost\r\ncontent-type: ${JSON_TYPE}\r\nx-amz-target: TrentService.${operation}`
  return `POST / HTTP/1.1\r\n${head}\r\n${headers}content-length: ${body.length}\r\n\r\n${body}`
}

/** `sealwax kms serve`, spoken to in plain HTTP. */
class Server {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 256 })
  readonly #process: ReturnType<typeof start>
  readonly #port: number

  static async start(...args: string[]): Promise<Server> {
    const started = start(['kms', 'serve', ...args])
    const [line] = (await once(started.child.stdout!, 'data')) as [Buffer]
    return new Server(started, Number(new URL(String(line).trim()).port))
  }

  private constructor(started: ReturnType<typeof start>, port: number) {
    this.#process = started
    this.#port = port
  }

  async connect(): Promise<Socket> {
    const socket = connect(this.#port, '127.0.0.1').on('error', () => {})
    await once(socket, 'connect')
    return socket
  }

  async call(operation: string, fields: object): Promise<Record<string, unknown>> {
    const { status, text } = await this.post(operation, JSON.stringify(fields))
    if (status === 200) return (text ? JSON.parse(text) : {}) as Record<string, unknown>
    throw new Error(`${operation}: ${status} ${text}`)
  }

  post(operation: string, body: string | Buffer): Promise<{ status: number; text: string }> {
    const headers = { 'content-type': JSON_TYPE, 'x-amz-target': `TrentService.${operation}` }
    const options = { port: this.#port, host: '127.0.0.1', method: 'POST', agent: this.#agent, headers }
    return new Promise((resolve, reject) => {
      const sent = request(options, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        response.on('error', reject).on('end', () => resolve({ status: response.statusCode!, text }))
      })
      sent.on('error', reject).end(body)
    })
  }

  /** Resident, in bytes; known on Linux only. */
  peakMemory(): number {
    try {
      const status = readFileSync(`/proc/${this.#process.child.pid}/status`, 'latin1')
      return Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? 0) * 1024
    } catch {
      return 0
    }
  }

  async stop(signal: NodeJS.Signals): Promise<number | null> {
    this.#process.child.kill(signal)
    const { code } = await this.#process.done
    this.#agent.destroy()
    return code
  }
}

test.run()
