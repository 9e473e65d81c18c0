import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  Agent,
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { seeded } from './random'

/** What the proxy does with a request in place of passing it on and giving the answer back. */
export type Fault =
  /** Answers with `status` and `body`; the origin sees nothing. */
  | 'status'
  /** Resets the connection once `at` of the request has come, 0 by default; the origin sees nothing. */
  | 'reset'
  /** The origin gets `at` of the request, a half by default, then both connections are reset. */
  | 'cut-up'
  /** The origin does it; the connection is reset in place of the answer. */
  | 'lost-answer'
  /** Takes the request and never answers, or closes after `ms`; the origin sees nothing. */
  | 'stall'
  /** The answer begins, and stops at `at`, a half by default; the connection stays open. */
  | 'half-open'
  /** Resets this connection and takes no other for `ms`, 1000 by default; `Infinity` for ever. */
  | 'refuse'
  /** Passes the request on after `ms`. */
  | 'delay'
  /** The answer ends at `at`, a half by default; `how` says in which way. */
  | 'truncate'
  /** One bit of the answer's body is flipped, at `at` or at a drawn place. */
  | 'corrupt'
  /** The answer has another body: `body`, or what it makes of the true one. */
  | 'swap'
  /** The body of the answer comes `step` bytes at a time, 1 by default, `ms` apart. */
  | 'drip'
  /** The answer has another `ETag`. */
  | 'wrong-etag'
  /** Answers 200 with an XML `<Error>`, as CompleteMultipartUpload and CopyObject can; the origin sees nothing. */
  | 'error-200'

export interface FaultRule {
  readonly fault: Fault
  /** Requests it is for; all, where nothing is given. Texts are parts of what they are compared with. */
  readonly match?: {
    readonly method?: string
    readonly path?: string | RegExp
    /** Of the query: `partNumber=3&`. */
    readonly query?: string | RegExp
    /** Any header, such as `x-amz-target`. */
    readonly header?: Readonly<Record<string, string | RegExp>>
  }
  /** Which of them, counted from 1; all, where nothing is given. `chance` is drawn from the seed. */
  readonly when?: { readonly first?: number; readonly nth?: number | readonly number[]; readonly chance?: number }
  /** A part of the body, 0 to 1; or for a whole number beyond, and for a negative one, bytes from its start or end. */
  readonly at?: number
  readonly ms?: number
  readonly step?: number
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | ((body: Buffer) => string | Uint8Array)
  /** `reset`, `fin` (both before `Content-Length` is reached), or `short`, where `Content-Length` fits. Default: `reset`. */
  readonly how?: 'reset' | 'fin' | 'short'
}

/** A request as the proxy saw it. */
export interface SeenRequest {
  readonly method: string
  /** Path and query. */
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly fault?: Fault
  /** Of the body, as much as came. */
  readonly length: number
  readonly sha256: string
  /** Where `keepBodies` says so. */
  readonly body?: Buffer
}

export interface FaultProxy {
  readonly endpoint: string
  readonly port: number
  /** The rules from now on, counted anew; the first that is due is injected. */
  setRules(rules: readonly FaultRule[]): void
  /** What was injected, and how many requests came, since the start or `setRules`. */
  stats(): {
    readonly requests: number
    readonly faults: Readonly<Partial<Record<Fault, number>>>
    readonly injected: number
  }
  /** In the order in which their bodies ended. Emptied by `setRules`. */
  readonly seen: readonly SeenRequest[]
  /** Connections that clients have open. */
  readonly sockets: number
  /** Requests that have no whole answer yet. */
  readonly pending: number
  close(): Promise<void>
}

/** An HTTP proxy on loopback in front of `origin` (`http://127.0.0.1:port`), which injects what the rules say. */
export async function startFaultProxy(options: {
  readonly origin: string
  readonly seed?: number
  readonly rules?: readonly FaultRule[]
  readonly keepBodies?: boolean
}): Promise<FaultProxy> {
  const { origin, seed = 1, keepBodies = false } = options
  const { hostname, port: originPort } = new URL(origin)
  const agent = new Agent({ keepAlive: true })
  const random = seeded(seed)
  const seen: SeenRequest[] = []
  let rules: { readonly rule: FaultRule; matched: number }[] = []
  let requests = 0
  let pending = 0
  let faults: Partial<Record<Fault, number>> = {}
  let listening: NodeJS.Timeout | undefined
  const setRules = (next: readonly FaultRule[]) => {
    rules = next.map((rule) => ({ rule, matched: 0 }))
    requests = 0
    faults = {}
    seen.length = 0
  }
  setRules(options.rules ?? [])

  const server = createServer((incoming, answer) => {
    requests++
    pending++
    answer.on('close', () => pending--)
    // A side that went away is what is being tested.
    for (const end of [incoming, answer]) end.on('error', () => {})
    void serve(incoming, answer, takeRule(incoming)).catch(() => incoming.socket.destroy())
  })
  // A connection that a client leaves behind stays.
  server.keepAliveTimeout = 0
  let open = 0
  server.on('connection', (socket) => {
    open++
    socket.on('error', () => {}).on('close', () => open--)
  })

  function takeRule(incoming: IncomingMessage): FaultRule | undefined {
    for (const entry of rules) {
      if (!matches(entry.rule, incoming)) continue
      entry.matched++
      const { first, nth, chance } = entry.rule.when ?? {}
      const due =
        (first === undefined || entry.matched <= first) &&
        (nth === undefined || [nth].flat().includes(entry.matched)) &&
        (chance === undefined || random() < chance)
      if (due) return entry.rule
    }
    return undefined
  }

  async function serve(incoming: IncomingMessage, answer: ServerResponse, rule: FaultRule | undefined): Promise<void> {
    const { method = '', url = '', headers, socket } = incoming
    const inject = () => {
      if (rule) faults[rule.fault] = (faults[rule.fault] ?? 0) + 1
    }
    if (rule?.fault === 'delay') {
      inject()
      await sleep(rule.ms ?? 0, undefined, { ref: false })
    }
    const chunks: Buffer[] = []
    const hash = createHash('sha256')
    let length = 0
    let recorded = false
    const record = () => {
      if (recorded) return
      recorded = true
      const body = keepBodies ? { body: Buffer.concat(chunks) } : {}
      seen.push({
        method,
        url,
        headers,
        length,
        sha256: hash.digest('hex'),
        ...(rule && { fault: rule.fault }),
        ...body,
      })
    }
    incoming.on('data', (chunk: Buffer) => {
      if (recorded) return
      length += chunk.length
      hash.update(chunk)
      if (keepBodies) chunks.push(chunk)
    })
    incoming.on('close', record)
    const whole = async () => {
      if (!incoming.complete) await once(incoming, 'end')
      record()
    }
    const expected = Number(headers['content-length'] ?? 0)
    const come = (limit: number, each: (chunk: Buffer) => void) =>
      new Promise<void>((resolve) => {
        let left = limit
        const take = (chunk: Buffer) => {
          if (left <= 0) return
          each(chunk.subarray(0, left))
          left -= chunk.length
          if (left <= 0) resolve()
        }
        incoming.on('data', take).on('end', resolve).on('close', resolve)
      })

    if (rule?.fault === 'refuse') {
      inject()
      server.close()
      server.closeAllConnections()
      const { ms = 1000 } = rule
      if (ms !== Infinity) listening = setTimeout(() => server.listen(port, '127.0.0.1'), ms)
      return
    }
    if (rule?.fault === 'reset' || rule?.fault === 'cut-up') {
      const upstream = rule.fault === 'cut-up' ? startUpstream(incoming) : undefined
      upstream?.on('error', () => {})
      upstream?.flushHeaders()
      const limit = placeIn(expected, rule.at ?? (upstream ? 0.5 : 0))
      if (limit > 0) await come(limit, (chunk) => void upstream?.write(chunk))
      inject()
      record()
      // What was written must have left before it is cut.
      if (upstream) await sleep(5)
      upstream?.destroy()
      socket.resetAndDestroy()
      return
    }
    if (rule?.fault === 'status' || rule?.fault === 'error-200' || rule?.fault === 'stall') {
      incoming.resume()
      await whole()
      inject()
      if (rule.fault === 'stall') {
        if (rule.ms === undefined) return
        await sleep(rule.ms, undefined, { ref: false })
        socket.destroy()
        return
      }
      const status = rule.fault === 'error-200' ? 200 : (rule.status ?? 503)
      const { body = errorXml(status === 503 ? 'SlowDown' : 'InternalError') } = rule
      const bytes = Buffer.from(typeof body === 'function' ? body(Buffer.alloc(0)) : body)
      const type = { 'content-type': 'application/xml', 'content-length': String(bytes.length) }
      answer.writeHead(status, { ...type, ...rule.headers })
      answer.end(bytes)
      return
    }

    const upstream = startUpstream(incoming)
    // Whichever side goes away takes the other along.
    answer.on('close', () => upstream.destroy())
    incoming.pipe(upstream)
    const [given] = (await once(upstream, 'response')) as [IncomingMessage]
    given.on('error', () => socket.destroy())
    record()
    const status = given.statusCode ?? 502
    if (!rule || rule.fault === 'delay') {
      answer.writeHead(status, given.rawHeaders)
      given.pipe(answer)
      return
    }
    const body = await buffer(given)
    inject()
    if (rule.fault === 'lost-answer') {
      socket.resetAndDestroy()
      return
    }
    await spoil(rule, answer, status, given.headers, body)
  }

  async function spoil(
    rule: FaultRule,
    answer: ServerResponse,
    status: number,
    { 'transfer-encoding': _, ...given }: IncomingHttpHeaders,
    body: Buffer,
  ): Promise<void> {
    const headers = { ...given, ...rule.headers }
    const { fault, how = 'reset' } = rule
    let sent = body
    if (fault === 'swap') {
      const { body: other = '' } = rule
      sent = Buffer.from(typeof other === 'function' ? other(body) : other)
    } else if (fault === 'corrupt' && body.length > 0) {
      const place = Math.min(placeIn(body.length, rule.at ?? random()), body.length - 1)
      sent = Buffer.from(body)
      sent[place] = sent[place]! ^ (1 << Math.floor(random() * 8))
    } else if (fault === 'wrong-etag') {
      headers.etag = `"${createHash('md5').update(String(random())).digest('hex')}"`
    } else if (fault === 'half-open' || fault === 'truncate') {
      sent = body.subarray(0, placeIn(body.length, rule.at ?? 0.5))
    }
    const isCut = fault === 'half-open' || (fault === 'truncate' && how !== 'short')
    answer.writeHead(rule.status ?? status, {
      ...headers,
      'content-length': String((isCut ? body : sent).length),
    })
    answer.flushHeaders()
    if (fault === 'drip') {
      const { step = 1, ms = 1 } = rule
      for (let start = 0; start < sent.length && !answer.destroyed; start += step) {
        answer.write(sent.subarray(start, start + step))
        await sleep(ms, undefined, { ref: false })
      }
    } else answer.write(sent)
    if (!isCut) {
      answer.end()
    } else if (fault === 'truncate') {
      // What was written must have arrived before it is cut.
      await sleep(20)
      if (how === 'reset') answer.socket?.resetAndDestroy()
      else answer.socket?.end()
    }
  }

  function startUpstream({ method, url, rawHeaders }: IncomingMessage) {
    return request({ host: hostname, port: originPort, method, path: url, headers: rawHeaders, agent } as object)
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    endpoint: `http://127.0.0.1:${port}`,
    port,
    setRules,
    stats: () => ({ requests, faults: { ...faults }, injected: Object.values(faults).reduce((a, b) => a + b, 0) }),
    seen,
    get sockets() {
      return open
    },
    get pending() {
      return pending
    },
    close: async () => {
      clearTimeout(listening)
      agent.destroy()
      server.closeAllConnections()
      if (server.listening) await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** An error as S3 writes it. */
export function errorXml(code: string, message = 'injected'): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`
}

function matches({ match = {} }: FaultRule, { method, url = '', headers }: IncomingMessage): boolean {
  const [path = '', query = ''] = url.split('?')
  const has = (text: unknown, part: string | RegExp | undefined) =>
    part === undefined || (part instanceof RegExp ? part.test(String(text ?? '')) : String(text ?? '').includes(part))
  return (
    (match.method === undefined || match.method === method) &&
    has(path, match.path) &&
    has(query, match.query) &&
    Object.entries(match.header ?? {}).every(([name, part]) => has(headers[name], part))
  )
}

function placeIn(length: number, at: number): number {
  if (at < 0) return Math.max(0, length + at)
  return at <= 1 ? Math.floor(length * at) : Math.min(length, at)
}
