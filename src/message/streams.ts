import { Duplex } from 'node:stream'
import { type InspectOptions, inspect } from 'node:util'
import { SealwaxError } from '../errors'
import { framesLength, REGULAR_FRAME_OVERHEAD } from '../format/frame'
import { HeaderParser, type ParsedHeader } from '../format/message-header'
import { type NodeMaterialsManager, requestEncryptionMaterials, toMaterialsManager } from '../materials/cmm'
import type { KeyringNode } from '../materials/keyring'
import { type SignaturePolicy, SignaturePolicySuites } from '../policies'
import { aborted } from '../signals'
import { nextTurn, SIGNED_COST, turnIsDue } from '../turns'
import { ChunkQueue } from './chunk-queue'
import type { ClientOptions } from './client'
import { checkDecryptOptions, type DecryptInput, limitsOf, requestMaterialsFor } from './decrypt'
import { checkEncryptOptions, type EncryptInput } from './encrypt'
import { HEADER_SLICE, pushInSlices } from './header-slices'
import { MessageOpener } from './opener'
import { type Allocate, allocateFresh } from './output'
import { MessageSealer } from './sealer'
import { checkAborted } from './slices'

/** Options of `encryptStream`. */
export type EncryptStreamInput = Omit<EncryptInput, 'encoding'>
/** Options of the decrypting streams. */
export type DecryptStreamInput = Omit<DecryptInput, 'encoding'>

/** What one engine call works on at most: with what is not read yet, this bounds the memory of a stream. */
const BATCH_LENGTH = 1024 * 1024
/** However short they are. */
const BATCH_FRAMES = BATCH_LENGTH / REGULAR_FRAME_OVERHEAD
const WRITABLE_HIGH_WATER_MARK = 256 * 1024
/** Less: of frames of one byte each has a buffer, three hundred times as large. */
const READABLE_HIGH_WATER_MARK = 64 * 1024
/** Handling a chunk takes as long as this many bytes, however short it is. */
const CHUNK_COST = 1024

/** What seals or opens the body of a message. */
interface Machine {
  readonly isSigned: boolean
  update(chunk: Uint8Array, allocate: Allocate): Uint8Array[]
  dispose(): void
}

/**
 * What both directions share. Every chunk is consumed before its write callback, so its memory is the writer's again;
 * output waits for the reader between batches. Nothing happens after `destroy`: no data, no event, no second error.
 */
abstract class MessageStream extends Duplex {
  readonly #signal: AbortSignal | undefined
  readonly #batchLength: number
  readonly #onAbort = () => void this.destroy(aborted(this.#signal!))
  readonly #end = new AbortController()
  /** There once the keyring has answered. It holds every secret. */
  protected machine: Machine | undefined
  /** The callback of the write or final under way. */
  #answer: ((error?: Error | null) => void) | undefined
  readonly #chunks = new ChunkQueue()
  /** What the reader has yet to take. */
  #pieces: Uint8Array[] = []
  #ending = false
  #waitsForReader = false

  constructor(signal: AbortSignal | undefined, batchLength = BATCH_LENGTH) {
    super({ readableHighWaterMark: READABLE_HIGH_WATER_MARK, writableHighWaterMark: WRITABLE_HIGH_WATER_MARK })
    this.#signal = signal
    this.#batchLength = batchLength
    if (signal?.aborted) queueMicrotask(this.#onAbort)
    else signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Fires when the stream is destroyed, by whomever. */
  protected get ended(): AbortSignal {
    return this.#end.signal
  }

  /** Takes in what comes before the body; gives how many bytes of `chunk` that is. Called until there is a machine. */
  protected abstract begin(chunk: Uint8Array): Promise<number>
  /** How much of a message `length` bytes of input are, or make. */
  protected messageLength(length: number): number {
    return length
  }

  /** The input has ended: gives the rest. */
  protected abstract complete(): Promise<Uint8Array[]>

  /** Node would go on giving what is buffered until the tick after `destroy`. */
  override read(size?: number): unknown {
    return this.destroyed ? null : super.read(size)
  }

  /**
   * Node answers a write that the end of the stream cuts short as if it were done, unless there is an error; and after a callback that
   * throws neither those of the chunks that waited with it, nor the end of the stream, would come.
   */
  override write(chunk: unknown, ...rest: unknown[]): boolean {
    const callback = rest.at(-1)
    if (typeof callback === 'function') {
      rest[rest.length - 1] = (error?: Error | null) => {
        try {
          callback(error ?? (this.destroyed ? cutShort() : null))
        } catch (thrown) {
          queueMicrotask(() => {
            throw thrown
          })
        }
      }
    }
    return super.write(chunk, ...(rest as []))
  }

  override _read(): void {
    if (!this.#waitsForReader) return
    this.#waitsForReader = false
    void SOON.then(this.#goOn)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#take([{ chunk }], callback)
  }

  override _writev(chunks: readonly { chunk: Buffer }[], callback: (error?: Error | null) => void): void {
    this.#take(chunks, callback)
  }

  #take(chunks: readonly { chunk: Buffer }[], callback: (error?: Error | null) => void): void {
    this.#answer = callback
    try {
      for (const { chunk } of chunks) this.#chunks.add(chunk)
    } catch (error) {
      this.#fail(error)
      return
    }
    // Not at once: a file that gives a chunk asks for its next one when this tick ends, and reads it during the work.
    void (this.machine ? SOON : this.#begin()).then(this.#goOn, this.#fail)
  }

  async #begin(): Promise<void> {
    while (!this.machine && this.#chunks.length > 0 && !this.destroyed) {
      this.#chunks.advance(await this.begin(this.#chunks.first()))
    }
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#answer = callback
    this.complete().then((last) => {
      this.#pieces = last
      this.#ending = true
      this.#goOn()
    }, this.#fail)
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#end.abort(error)
    this.machine?.dispose()
    callback(error)
    // Node leaves it to the stream to answer the writer that still waits, and with it those in the queue.
    this.#settle(error)
  }

  /** What may be printed: what waits in a stream is plaintext, on one side of it or the other. */
  toJSON(): object {
    const { destroyed, readableLength, writableLength } = this
    return { destroyed, readableLength, writableLength }
  }

  [inspect.custom](_depth: number, options: InspectOptions): string {
    return `${this.constructor.name} ${inspect(this.toJSON(), options)}`
  }

  /**
   * Works in batches until the chunks are done or the reader has enough. Other events have their turn in between, also where a
   * source and a reader that never wait would keep the event loop for themselves.
   */
  #work(isTurn: boolean): void {
    try {
      for (let hasTurn = isTurn; this.#deliver() && this.#chunks.length > 0; hasTurn = false) {
        const { length, count } = this.#chunks.next(this.#batchLength)
        const made = this.messageLength(length)
        const cost = Math.max(this.machine!.isSigned ? made * SIGNED_COST : made, count * CHUNK_COST)
        if (!hasTurn && turnIsDue(cost)) {
          void nextTurn(cost).then(this.#takeTurn)
          return
        }
        this.#pieces = this.#chunks.take(length, this.#update)
      }
    } catch (error) {
      this.#fail(error)
      return
    }
    // Not in the `try`: what a write callback throws is not the stream's.
    if (!this.#waitsForReader && !this.destroyed) this.#finish()
  }

  readonly #goOn = (): void => this.#work(false)
  readonly #takeTurn = (): void => this.#work(true)
  readonly #update = (batch: Uint8Array): Uint8Array[] => this.machine!.update(batch, allocateFresh)

  /** Hands pieces to the reader, at its pace; whether it is time for more. */
  #deliver(): boolean {
    while (!this.destroyed) {
      const piece = this.#pieces.shift()
      if (!piece) return true
      if (piece.length > 0 && !this.push(piece)) {
        this.#waitsForReader = true
        return false
      }
    }
    return false
  }

  #finish(): void {
    if (this.#ending) this.push(null)
    this.#settle()
  }

  readonly #fail = (error: unknown): void => this.#settle(toError(error))

  #settle(error?: Error | null): void {
    const answer = this.#answer
    this.#answer = undefined
    answer?.(error)
  }
}

class EncryptStream extends MessageStream {
  readonly #frameLength: number
  readonly #sealer: Promise<MessageSealer | undefined>

  constructor(client: Readonly<ClientOptions>, cmm: NodeMaterialsManager, op: EncryptStreamInput | undefined) {
    const options = checkEncryptOptions(client, op)
    super(options.signal, Math.min(BATCH_LENGTH, BATCH_FRAMES * options.frameLength))
    this.#frameLength = options.frameLength
    this.#sealer = this.#begin(client, cmm, options)
    this.#sealer.catch((error) => this.destroy(toError(error)))
  }

  async #begin(
    client: Readonly<ClientOptions>,
    cmm: NodeMaterialsManager,
    options: ReturnType<typeof checkEncryptOptions>,
  ): Promise<MessageSealer | undefined> {
    const { suite, encryptionContext, frameLength, plaintextLength, signal } = options
    checkAborted(signal)
    const { commitmentPolicy } = client
    const request = { suite, encryptionContext, commitmentPolicy, plaintextLength, signal: this.ended }
    const material = await requestEncryptionMaterials(cmm, request, client.maxEncryptedDataKeys || undefined)
    try {
      if (this.destroyed) return undefined
      const sealer = new MessageSealer(material, { frameLength, plaintextLength })
      this.machine = sealer
      this.emit('MessageHeader', sealer.messageHeader)
      // A copy: the sealer's lies in Node's shared pool, and a reader may transfer what it gets.
      if (!this.destroyed) this.push(new Uint8Array(sealer.header))
      return sealer
    } finally {
      material.zeroUnencryptedDataKey()
    }
  }

  protected override messageLength(length: number): number {
    return framesLength(length, this.#frameLength, false)
  }

  protected override async begin(): Promise<number> {
    await this.#sealer
    return 0
  }

  protected override async complete(): Promise<Uint8Array[]> {
    const sealer = await this.#sealer
    if (!sealer || this.destroyed) return []
    const last = sealer.final(EMPTY, allocateFresh)
    sealer.dispose()
    return last
  }
}

class DecryptStream extends MessageStream {
  readonly #client: Readonly<ClientOptions>
  readonly #cmm: NodeMaterialsManager
  readonly #options: ReturnType<typeof checkDecryptOptions>
  readonly #signaturePolicy: SignaturePolicy
  readonly #parser: HeaderParser
  #opener: MessageOpener | undefined

  constructor(
    client: Readonly<ClientOptions>,
    cmm: NodeMaterialsManager,
    signaturePolicy: SignaturePolicy,
    op: DecryptStreamInput | undefined,
  ) {
    const options = checkDecryptOptions(op)
    super(options.signal)
    this.#client = client
    this.#cmm = cmm
    this.#options = options
    this.#signaturePolicy = signaturePolicy
    this.#parser = new HeaderParser(limitsOf(client))
  }

  protected override async begin(chunk: Uint8Array): Promise<number> {
    // Nearly every header comes with the first slice.
    let used = this.#parser.isEmpty ? this.#parser.push(chunk.subarray(0, HEADER_SLICE)) : 0
    if (!this.#parser.header && used < chunk.length) {
      used += await pushInSlices(this.#parser, chunk.subarray(used), this.ended)
    }
    if (this.#parser.header) await this.#open(this.#parser.header)
    return used
  }

  protected override async complete(): Promise<Uint8Array[]> {
    if (!this.#parser.header) throw this.#parser.truncated()
    if (!this.#opener || this.destroyed) return []
    const last = this.#opener.final()
    this.#opener.dispose()
    return last
  }

  async #open(header: ParsedHeader): Promise<void> {
    const { messageHeader, suite } = header
    const messageId = Buffer.from(messageHeader.messageId).toString('hex')
    SignaturePolicySuites.isDecryptEnabled(this.#signaturePolicy, suite, messageId)
    const { encryptionContext, maxBodySize, signal } = this.#options
    checkAborted(signal)
    const material = await requestMaterialsFor(this.#client, this.#cmm, header, encryptionContext, this.ended)
    try {
      if (this.destroyed) return
      this.#opener = new MessageOpener(header, material, maxBodySize)
      this.machine = this.#opener
      this.emit('MessageHeader', messageHeader)
    } finally {
      material.zeroUnencryptedDataKey()
    }
  }
}

/** An error even where a keyring rejected with nothing: a callback without one would mean success. */
function toError(error: unknown): Error {
  if (error) return error as Error
  return new SealwaxError('ERR_INVALID_MATERIALS', 'a keyring or materials manager failed without saying why')
}

/** As Node has it for the writes that are queued. */
function cutShort(): Error {
  return Object.assign(new Error('Cannot call write after a stream was destroyed'), { code: 'ERR_STREAM_DESTROYED' })
}

/** See {@link EncryptClient.encryptStream}. */
export function encryptStream(
  client: Readonly<ClientOptions>,
  source: KeyringNode | NodeMaterialsManager,
  op?: EncryptStreamInput,
): Duplex {
  return new EncryptStream(client, toMaterialsManager(source), op)
}

/** See {@link DecryptClient.decryptStream}. */
export function decryptStream(
  client: Readonly<ClientOptions>,
  source: KeyringNode | NodeMaterialsManager,
  signaturePolicy: SignaturePolicy,
  op?: DecryptStreamInput,
): Duplex {
  return new DecryptStream(client, toMaterialsManager(source), signaturePolicy, op)
}

const EMPTY = new Uint8Array(0)
const SOON = Promise.resolve(0)
