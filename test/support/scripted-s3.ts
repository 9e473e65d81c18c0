import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { S3ClientConfig } from '@aws-sdk/client-s3'
import { errorXml } from './fault-proxy'
import { CREDENTIALS } from './s3-server'

export interface ScriptedObject {
  readonly metadata: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

export interface ScriptedRequest {
  readonly method: string
  readonly key: string
  readonly headers: Readonly<Record<string, string>>
}

export interface ScriptedAnswer {
  status: number
  headers: Record<string, string>
  body: Uint8Array
  /** The connection breaks once the body is sent. */
  breaks?: boolean
  /** Nothing more comes after the body, and no end. */
  hangs?: boolean
}

/**
 * A store without a network: objects in memory, ranges, conditions, and answers that a test can change. It can lie in every
 * way, and knows which of its bodies are still being read.
 */
export class ScriptedS3 {
  readonly objects = new Map<string, ScriptedObject>()
  readonly requests: ScriptedRequest[] = []
  /** Changes the answer to request number `n`, from 0 on. */
  change: (answer: ScriptedAnswer, n: number, request: ScriptedRequest) => void = () => {}
  /** Bytes of bodies that have been taken. */
  taken = 0
  #bodies: Readable[] = []

  readonly config: S3ClientConfig = {
    endpoint: 'http://127.0.0.1:1',
    region: 'us-east-1',
    credentials: CREDENTIALS,
    forcePathStyle: true,
    maxAttempts: 1,
    requestHandler: { handle: async (request: never, options: never) => this.#handle(request, options) } as never,
  }

  /** Bodies that nobody has ended. */
  get open(): number {
    this.#bodies = this.#bodies.filter((body) => !body.destroyed && !body.readableEnded)
    return this.#bodies.length
  }

  /** Forgets requests and changes. */
  reset(): void {
    this.requests.length = 0
    this.taken = 0
    this.change = () => {}
  }

  #handle(
    request: { method: string; path: string; headers: Record<string, string> },
    { abortSignal }: { abortSignal?: AbortSignal } = {},
  ): { response: unknown } {
    if (abortSignal?.aborted) throw Object.assign(new Error('aborted'), { name: 'AbortError' })
    const key = decodeURIComponent(request.path.replace(/^\/[^/]*\//, ''))
    const seen = { method: request.method, key, headers: request.headers }
    const n = this.requests.push(seen) - 1
    const answer = this.#answer(seen)
    const { length } = answer.body
    this.change(answer, n, seen)
    const { status, headers, body, breaks, hangs } = answer
    const sent = request.method === 'HEAD' ? new Uint8Array(0) : body
    const stream = this.#stream(sent, breaks, hangs)
    const contentLength = String(breaks || hangs ? length : body.length)
    abortSignal?.addEventListener('abort', () => stream.destroy(new Error('aborted')))
    return {
      response: { statusCode: status, headers: { 'content-length': contentLength, ...headers }, body: stream },
    }
  }

  #answer({ key, headers }: ScriptedRequest): ScriptedAnswer {
    const object = this.objects.get(key)
    if (!object) return errorAnswer(404, 'NoSuchKey')
    const etag = `"${createHash('md5').update(object.body).digest('hex')}"`
    const condition = headers['if-match'] ?? headers['If-Match']
    if (condition !== undefined && condition !== etag) return errorAnswer(412, 'PreconditionFailed')
    const metadata = Object.entries(object.metadata).map(([name, value]) => [`x-amz-meta-${name}`, value])
    const whole = { etag, ...Object.fromEntries(metadata) }
    const [, a, b] = /^bytes=(\d*)-(\d*)$/.exec(headers.range ?? headers.Range ?? '') ?? []
    if (a === undefined) return { status: 200, headers: whole, body: object.body }
    const { length } = object.body
    const first = a === '' ? Math.max(0, length - Number(b)) : Number(a)
    const body = object.body.subarray(first, a === '' || b === '' ? undefined : Number(b) + 1)
    if (body.length === 0) return errorAnswer(416, 'InvalidRange')
    const range = `bytes ${first}-${first + body.length - 1}/${length}`
    return { status: 206, headers: { ...whole, 'content-range': range }, body }
  }

  #stream(body: Uint8Array, breaks = false, hangs = false): Readable {
    let start = 0
    const store = this
    const stream = new Readable({
      read() {
        const piece = body.subarray(start, start + PIECE_LENGTH)
        start += piece.length
        store.taken += piece.length
        if (piece.length > 0) this.push(piece)
        else if (breaks) this.destroy(new Error('socket hang up'))
        else if (!hangs) this.push(null)
      },
    })
    this.#bodies.push(stream)
    return stream
  }
}

const PIECE_LENGTH = 65_536 - 7

function errorAnswer(status: number, code: string): ScriptedAnswer {
  return { status, headers: { 'content-type': 'application/xml' }, body: Buffer.from(errorXml(code)) }
}
