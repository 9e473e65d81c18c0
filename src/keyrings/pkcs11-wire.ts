/**
 * What a process and the host of its PKCS#11 module say to each other. A message, integers big-endian:
 *
 *     u32 length of what follows || u32 id || u32 length of head || head (JSON) || body
 *
 * Secrets (PIN, data keys) travel in the body only, and every buffer that a body passes through is wiped.
 */
import type { Socket } from 'node:net'
import { allocateSecret, copySecret, wipe } from '../bytes'
import { soon } from '../turns'

/** Which token: all that is given must match, and one token only. */
export interface TokenQuery {
  label?: string
  serial?: string
  manufacturer?: string
  model?: string
  slot?: number
}

/** Which key; `id` in hexadecimal. All that is given must match, and one key only. */
export interface KeyQuery {
  kind: KeyKind
  label?: string
  id?: string
}

export type KeyKind = 'aes' | 'rsa-private' | 'rsa-public'

export interface TokenDescription {
  readonly slot: number
  readonly label: string
  readonly manufacturer: string
  readonly model: string
  readonly serial: string
  readonly initialized: boolean
  readonly loginRequired: boolean
  /** The token says that one more wrong PIN locks it. */
  readonly finalTry: boolean
  readonly pinLocked: boolean
  /** Which of the mechanisms that matter here the token has, and what they are good for: `encrypt`, `decrypt`, `unwrap`. */
  readonly mechanisms: Readonly<Record<string, readonly string[]>>
}

/** What the slots of a module tell. */
export interface TokenList {
  readonly tokens: TokenDescription[]
  /** Of a slot that told nothing. */
  readonly failure?: HostFailure
}

export interface KeyDescription {
  /** The object handle; good for one host only. */
  readonly handle: string
  readonly label: string
  readonly id: string
  readonly bits: number
  readonly encrypt: boolean
  readonly decrypt: boolean
  readonly unwrap: boolean
  readonly sensitive: boolean
  readonly extractable: boolean
  /** Of RSA keys, in hexadecimal. */
  readonly modulus?: string
  readonly publicExponent?: string
}

export type OaepHashName = 'sha1' | 'sha256' | 'sha384' | 'sha512'

/** The body begins with the IV (12 bytes) and the AAD; what comes back of an encryption begins with the IV that was used. */
export interface GcmMechanism {
  name: 'gcm'
  aadLength: number
}

export type WireMechanism =
  | GcmMechanism
  | { name: 'oaep'; hash: OaepHashName }
  | { name: 'pkcs1' }
  /** The bare operations, for paddings that are undone here. */
  | { name: 'rsa' }
  | { name: 'ecb' }
  /** RFC 3394; decrypts only. */
  | { name: 'key-wrap' }

export interface CryptHead {
  op: 'encrypt' | 'decrypt'
  slot: number
  handle: string
  mechanism: WireMechanism
}

export type RequestHead =
  | { op: 'load'; module: string; libraryParameters?: string }
  | { op: 'tokens' }
  | { op: 'open'; slot: number; sessions: { cap: number; readWrite: boolean }; login: boolean }
  | { op: 'key'; slot: number; query: KeyQuery }
  | { op: 'keys'; slot: number }
  | { op: 'generate'; slot: number; kind: 'aes' | 'rsa'; bits: number; label: string; id: string }
  | { op: 'random'; slot: number; length: number }
  | CryptHead

/** How long an answer is waited for, in milliseconds. */
export interface Patience {
  within?: number
}

/** What went wrong in the host: a return value of the module, a problem told in words, or no session in time. */
export type HostFailure = { ckr: string; value: number; call: string } | { problem: string } | { late: true }

/** `begun`: from here on the token may have seen the PIN; the answer follows. */
export type AnswerHead = { result: unknown } | { failure: HostFailure } | { begun: true }

/** Collects what is said in one turn of the event loop, and writes it at once; but so that the other side can begin. */
export class WireWriter {
  readonly #socket: Socket
  #frames = newBuffer(0)
  #length = 0
  #count = 0

  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** The parts of the body are copied; they still belong to the caller. */
  send(id: number, head: (RequestHead & Patience) | AnswerHead, ...body: readonly Uint8Array[]): void {
    const text = JSON.stringify(head)
    const headLength = Buffer.byteLength(text)
    const length = body.reduce((sum, part) => sum + part.length, 8 + headLength)
    if (this.#count++ === 0) soon(() => this.#endTurn())
    const frames = this.#room(4 + length)
    let at = frames.writeUInt32BE(length, this.#length)
    at = frames.writeUInt32BE(id, at)
    at = frames.writeUInt32BE(headLength, at)
    at += frames.write(text, at)
    for (const part of body) {
      frames.set(part, at)
      at += part.length
    }
    this.#length = at
    if (this.#count % BATCH === 0) this.flush()
  }

  /** Hands over what has been said, before a call that may hang: a pipe takes it at once. */
  flush(): void {
    if (this.#length === 0) return
    const written = this.#frames.subarray(0, this.#length)
    this.#socket.write(written, () => wipe(written))
    this.#frames = this.#frames.subarray(this.#length)
    this.#length = 0
  }

  #endTurn(): void {
    this.#count = 0
    this.flush()
  }

  #room(length: number): Buffer {
    if (this.#length + length > this.#frames.length) {
      const larger = newBuffer(Math.max(LEAST, 2 * (this.#length + length)))
      larger.set(this.#frames.subarray(0, this.#length))
      wipe(this.#frames)
      this.#frames = larger
    }
    return this.#frames
  }
}

const LEAST = 0x10000
const BATCH = 16

/** Outside the JavaScript heap, for what is secret. */
function newBuffer(length: number): Buffer {
  return Buffer.from(allocateSecret(length).buffer)
}

/** Cuts what arrives into messages. */
export class WireReader<Head> {
  #rest: Buffer = Buffer.alloc(0)

  /** Calls back for each complete message. The body is the callee's to wipe; `chunk` is wiped here. */
  push(chunk: Buffer, receive: (id: number, head: Head, body: Uint8Array) => void): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    wipe(this.#rest)
    let at = 0
    while (bytes.length - at >= 4) {
      const end = at + 4 + bytes.readUInt32BE(at)
      if (end > bytes.length) break
      const bodyAt = at + 12 + bytes.readUInt32BE(at + 8)
      const head = JSON.parse(bytes.toString('utf8', at + 12, bodyAt)) as Head
      receive(bytes.readUInt32BE(at + 4), head, copySecret(bytes.subarray(bodyAt, end)))
      at = end
    }
    this.#rest = Buffer.from(copySecret(bytes.subarray(at)).buffer)
    wipe(bytes, chunk)
  }
}
