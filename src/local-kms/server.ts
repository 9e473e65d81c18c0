import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, isIP, type Socket } from 'node:net'
import { SealwaxError } from '../errors'
import { checkBoolean, checkInteger, checkOptions, checkString, describe } from '../options'
import { nextTurn } from '../turns'
import type { Answer } from './call'
import { KmsError } from './errors'
import { Input } from './input'
import { handlerOf } from './operations'
import { type Authorization, type Credentials, parseAuthorization, verifySignature } from './sigv4'
import { inProduction, Store } from './store'
import { Vault } from './vault'

export interface LocalKmsOptions {
  /** Where keys are kept; made with mode 0700 where it is missing. Without it, keys live in memory and end with the server. */
  readonly dataDir?: string
  /** Seals the key file. Without it, a random key beside the file does, which protects backups of the file alone. */
  readonly passphrase?: string
  /** The TCP port; 0, the default, takes a free one. */
  readonly port?: number
  /** A loopback address: `127.0.0.1` (the default), another `127.x.x.x`, `::1`, or `localhost` for `127.0.0.1`. */
  readonly host?: string
  /** The one pair of credentials that requests must be signed with. Without it, any signature passes unchecked, and none. */
  readonly credentials?: Credentials
  /** The Region of requests without a signature. Default `us-east-1`; signed requests name their own. */
  readonly region?: string
  /** The account in ARNs. Default `111122223333`. */
  readonly accountId?: string
  /** Gets one line of JSON for each event and request: never a plaintext, a context or a credential. Must not throw. */
  readonly log?: (line: string) => void
  /** Start although NODE_ENV is `production`. Default `false`. */
  readonly allowProduction?: boolean
}

/** A running server. */
export interface LocalKms extends AsyncDisposable {
  /** The URL for the `endpoint` of KMS clients, such as `http://127.0.0.1:49152`. */
  readonly endpoint: string
  /** Stops listening, lets running requests end for a second, releases the store. Calling it again changes nothing. */
  close(): Promise<void>
}

/**
 * Starts a server on loopback that speaks the protocol of AWS KMS. **For development and tests only**: nothing here
 * protects keys from other programs of the same user.
 *
 * Throws `TypeError` or `RangeError` for wrong options; `SealwaxError` with `ERR_FILE` when the store cannot be used, and
 * with `ERR_KEY_SERVICE` when the port cannot be had or NODE_ENV is `production`.
 *
 * @example
 * const kms = await startLocalKms()
 * const client = new KMS({ endpoint: kms.endpoint, region: 'us-east-1', credentials: { accessKeyId: 'x', secretAccessKey: 'x' } })
 * const { KeyMetadata } = await client.createKey({})
 * await kms.close()
 */
export async function startLocalKms(options?: LocalKmsOptions): Promise<LocalKms> {
  const checked = checkLocalKmsOptions(options)
  if (inProduction() && !checked.allowProduction) {
    const advice = 'it starts with NODE_ENV=production only where "allowProduction" is true'
    throw new SealwaxError('ERR_KEY_SERVICE', `the local KMS is for development and tests only: ${advice}`)
  }
  const store = checked.dataDir === undefined ? undefined : await Store.open(checked.dataDir, checked.passphrase)
  try {
    const server = new LocalKmsServer(await Vault.open(store), checked)
    await server.listen()
    return server
  } catch (error) {
    await store?.close()
    throw error
  }
}

class LocalKmsServer implements LocalKms {
  readonly #vault: Vault
  readonly #options: CheckedOptions
  readonly #server: Server
  /** The last request of each connection that is at work. */
  readonly #turns = new WeakMap<Socket, Promise<void>>()
  /** Requests behind another one, on all connections. */
  #waiting = 0
  #endpoint = ''
  #closing: Promise<void> | undefined

  constructor(vault: Vault, options: CheckedOptions) {
    this.#vault = vault
    this.#options = options
    const take = (request: IncomingMessage, response: ServerResponse) => void this.#take(request, response)
    this.#server = createServer(SERVER_OPTIONS, take).on('checkExpectation', take)
    this.#server.maxConnections = MAX_CONNECTIONS
  }

  get endpoint(): string {
    return this.#endpoint
  }

  async listen(): Promise<void> {
    const { host, port } = this.#options
    await new Promise<void>((resolve, reject) => {
      // Later errors are of single connections, such as too many open files.
      this.#server.on('error', (cause: NodeJS.ErrnoException) => {
        this.#log({ event: 'error', code: cause.code })
        reject(
          new SealwaxError('ERR_KEY_SERVICE', `the local KMS cannot listen on ${host} port ${port} (${cause.code})`, {
            cause,
          }),
        )
      })
      // The workers of a cluster would share a port, and each has keys of its own.
      this.#server.listen({ port, host, exclusive: true }, resolve)
    })
    const { address, family, port: taken } = this.#server.address() as AddressInfo
    this.#endpoint = `http://${family === 'IPv6' ? `[${address}]` : address}:${taken}`
    this.#log({ event: 'start', endpoint: this.endpoint, warning: 'for development and tests only' })
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    const deadline = setTimeout(() => this.#server.closeAllConnections(), GRACE)
    await closed
    clearTimeout(deadline)
    await this.#vault.close()
    this.#log({ event: 'stop' })
  }

  /**
   * Node.js hands out all requests that a client sends ahead, and a socket that is paused does not stay so. They are
   * answered one after another, each once the answer before it is sent, and there is a bound to how many wait for that.
   */
  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request
    const before = this.#turns.get(socket)
    if (before && this.#waiting === MAX_WAITING) return this.#cutOff(socket, 'too many requests sent ahead')
    const turn = before ? this.#respondAfter(before, request, response) : this.#respond(request, response)
    this.#turns.set(socket, turn)
    try {
      await turn
    } finally {
      if (this.#turns.get(socket) === turn) this.#turns.delete(socket)
    }
  }

  async #respondAfter(before: Promise<void>, request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#waiting++
    // An error there, of the caller's log, is told there.
    await before.catch(() => {})
    await nextTurn()
    this.#waiting--
    // Else the client has gone, or was told that the connection ends.
    if (request.socket.writable) await this.#respond(request, response)
  }

  /** Ends when the answer is with the system, or the connection is gone. */
  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const started = performance.now()
    const entry: Record<string, unknown> = { event: 'request', requestId: randomUUID() }
    const controller = new AbortController()
    const closed = new Promise<void>((resolve) => {
      response.once('close', () => {
        controller.abort()
        resolve()
      })
    })
    let status = 200
    let answer: Answer
    try {
      answer = await this.#answer(request, entry, controller.signal)
    } catch (error) {
      const known = error instanceof KmsError ? error : internalError(error, entry)
      status = known.status
      answer = { __type: known.type, message: known.message }
      entry.error = known.type
      response.setHeader('x-amzn-errortype', known.type)
    }
    const body = answer === undefined ? '' : JSON.stringify(answer)
    // A body that was not read to its end cannot be followed by another request.
    if (this.#closing || !request.complete) response.setHeader('connection', 'close')
    response.writeHead(status, {
      'content-type': CONTENT_TYPE,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      'x-amzn-requestid': String(entry.requestId),
    })
    response.end(body)
    this.#log({ ...entry, status, milliseconds: Math.round((performance.now() - started) * 1000) / 1000 })
    if (response.writableFinished) return closed
    const deadline = setTimeout(() => this.#cutOff(request.socket, 'an answer was not read'), ANSWER_TIMEOUT)
    await closed
    clearTimeout(deadline)
  }

  #cutOff(socket: Socket, reason: string): void {
    // Of what was read at once, the rest still comes.
    if (!socket.destroyed) this.#log({ event: 'cut off', reason })
    socket.destroy()
  }

  async #answer(request: IncomingMessage, entry: Record<string, unknown>, signal: AbortSignal): Promise<Answer> {
    const operation = operationOf(request)
    const body = await readBody(request)
    const now = Date.now()
    const authorization = authorize(request, body, this.#options.credentials, now)
    const region = authorization?.region ?? this.#options.region
    const handler = handlerOf(operation)
    Object.assign(entry, { operation, region })
    const vault = this.#vault
    // What is due and cannot be stored is no matter of other keys.
    await vault.sweep(now).catch((error) => this.#log({ event: 'error', ...causeOf(error) }))
    const { accountId: account } = this.#options
    return handler({ input: new Input(body), vault, state: vault.state, now, region, account, signal })
  }

  #log(entry: Record<string, unknown>): void {
    this.#options.log?.(JSON.stringify({ time: new Date().toISOString(), ...entry }))
  }
}

/**
 * The operation of a request that is one of this protocol. A web page cannot make one: its Host is not loopback after DNS
 * rebinding, and this content type needs a preflight, which gets no answer that allows it.
 */
function operationOf({ headers, method, url }: IncomingMessage): string {
  if (!isLoopbackHost(headers.host))
    throw new KmsError('AccessDeniedException', 'The Host header does not name a loopback address.', 403)
  if (url !== '/') throw new KmsError('UnknownOperationException', 'The only path is "/".', 404)
  if (method !== 'POST') throw new KmsError('UnknownOperationException', 'The only method is POST.', 405)
  if (headers['content-type']?.split(';')[0]?.trim().toLowerCase() !== CONTENT_TYPE) {
    throw new KmsError('SerializationException', `The content type must be ${CONTENT_TYPE}.`, 415)
  }
  const [service, operation] = String(headers['x-amz-target'] ?? '').split('.')
  if (service !== 'TrentService' || !operation)
    throw new KmsError('UnknownOperationException', 'The header X-Amz-Target names no operation of TrentService.')
  return operation
}

function isLoopbackHost(header: string | undefined): boolean {
  const [, host] = /^(\[::1\]|[^:]+)(?::\d+)?$/.exec(header?.toLowerCase() ?? '') ?? []
  return host === '[::1]' || isLoopback(host ?? '')
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

function readBody(request: IncomingMessage): Promise<Buffer> {
  const tooLarge = () =>
    new KmsError('RequestEntityTooLargeException', `The request body exceeds ${MAX_BODY_LENGTH} bytes.`, 413)
  return new Promise((resolve, reject) => {
    if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_LENGTH) return reject(tooLarge())
    const chunks: Buffer[] = []
    let length = 0
    request.on('data', (chunk: Buffer) => {
      length += chunk.length
      if (length <= MAX_BODY_LENGTH) return chunks.push(chunk)
      request.pause()
      return reject(tooLarge())
    })
    request.on('end', () => resolve(Buffer.concat(chunks)))
    request.on('close', () => reject(new KmsError('SerializationException', 'The request ended early.')))
  })
}

/** Who signed, for which Region. The signature is checked where there are credentials to check it with. */
function authorize(
  { headers, method, url }: IncomingMessage,
  body: Uint8Array,
  credentials: Credentials | undefined,
  now: number,
): Authorization | undefined {
  if (headers.authorization === undefined) {
    if (credentials) throw new KmsError('MissingAuthenticationTokenException', 'The request is not signed.')
    return undefined
  }
  const authorization = parseAuthorization(headers.authorization)
  if (credentials) verifySignature({ method: method!, path: url!, headers, body }, authorization, credentials, now)
  return authorization
}

/** The client learns nothing of it; the log gets the code of our own errors, whose messages hold no secret. */
function internalError(error: unknown, entry: Record<string, unknown>): KmsError {
  Object.assign(entry, causeOf(error))
  return new KmsError('KMSInternalException', 'The request could not be completed.', 500)
}

function causeOf(error: unknown): { cause: string } {
  return { cause: error instanceof SealwaxError ? `${error.code}: ${error.message}` : (error as Error)?.name }
}

type CheckedOptions = LocalKmsOptions & Required<Pick<LocalKmsOptions, 'host' | 'port' | 'region' | 'accountId'>>

function checkLocalKmsOptions(options: LocalKmsOptions | undefined): CheckedOptions {
  const given = checkOptions(options, KNOWN_OPTIONS, 'startLocalKms')
  const {
    dataDir,
    passphrase,
    port = 0,
    host = '127.0.0.1',
    credentials,
    region = 'us-east-1',
    accountId = '111122223333',
    log,
  } = given
  if (dataDir !== undefined) checkString(dataDir, 'dataDir')
  if (passphrase !== undefined) checkSecret(passphrase, 'passphrase')
  if (passphrase !== undefined && dataDir === undefined)
    throw new TypeError('"passphrase" needs a "dataDir": without it nothing is stored')
  checkInteger(port, 'port', 0, 65_535)
  if (!isLoopback(checkString(host, 'host'))) {
    throw new RangeError(`"host" must be a loopback address (127.0.0.1, ::1 or localhost), got ${describe(host)}`)
  }
  if (credentials !== undefined) {
    // Not by checkOptions: the SDK adds fields to the objects it is given, and some carry an expiration.
    if (typeof credentials !== 'object' || credentials === null)
      throw new TypeError(`"credentials" must be an object, got ${describe(credentials)}`)
    checkString(credentials.accessKeyId, 'credentials.accessKeyId')
    checkSecret(credentials.secretAccessKey, 'credentials.secretAccessKey')
  }
  if (!/^[a-z0-9-]{1,64}$/.test(checkString(region, 'region')))
    throw new RangeError(`"region" must be the name of a Region, got ${describe(region)}`)
  if (!/^\d{12}$/.test(checkString(accountId, 'accountId')))
    throw new RangeError(`"accountId" must be 12 digits, got ${describe(accountId)}`)
  if (log !== undefined && typeof log !== 'function')
    throw new TypeError(`"log" must be a function, got ${describe(log)}`)
  if (given.allowProduction !== undefined) checkBoolean(given.allowProduction, 'allowProduction')
  // "localhost" may be ::1 alone for one program and 127.0.0.1 for the next.
  return { ...given, port, host: host === 'localhost' ? '127.0.0.1' : host, region, accountId }
}

/** Unlike the other checks, never shows the value. */
function checkSecret(value: unknown, name: string): void {
  if (typeof value !== 'string' || value === '') throw new TypeError(`"${name}" must be a string that is not empty`)
}

const KNOWN_OPTIONS = [
  'dataDir',
  'passphrase',
  'port',
  'host',
  'credentials',
  'region',
  'accountId',
  'log',
  'allowProduction',
] as const satisfies readonly (keyof LocalKmsOptions)[]

const CONTENT_TYPE = 'application/x-amz-json-1.1'
const MAX_BODY_LENGTH = 65_536
const MAX_CONNECTIONS = 1024
/** Requests that came before the answer to another of their connection. */
const MAX_WAITING = 256
/** Milliseconds that a client has to read an answer. */
const ANSWER_TIMEOUT = 10_000
/** Milliseconds that running requests have left when the server closes. */
const GRACE = 1000
/** A client that sends slowly is cut off by these, in milliseconds. Requests without a Host header are refused here, as others. */
const SERVER_OPTIONS = {
  requireHostHeader: false,
  headersTimeout: 5000,
  requestTimeout: 10_000,
  connectionsCheckingInterval: 1000,
  keepAliveTimeout: 60_000,
  maxHeaderSize: 16_384,
} as const
