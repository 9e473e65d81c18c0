import { Duplex } from 'node:stream'
import { SealwaxError } from '../errors'
import { HeaderParser, type ParsedHeader } from '../format/message-header'
import { type NodeMaterialsManager, requestEncryptionMaterials, toMaterialsManager } from '../materials/cmm'
import type { KeyringNode } from '../materials/keyring'
import { type SignaturePolicy, SignaturePolicySuites } from '../policies'
import type { ClientOptions } from './client'
import { checkDecryptOptions, type DecryptInput, requestMaterialsFor } from './decrypt'
import { checkEncryptOptions, type EncryptInput } from './encrypt'
import { MessageOpener } from './opener'
import { Slab } from './output'
import { MessageSealer } from './sealer'
import { aborted, checkAborted, nextTurn, slices } from './slices'

/** Options of `encryptStream`. */
export type EncryptStreamInput = Omit<EncryptInput, 'encoding'>
/** Options of the decrypting streams. */
export type DecryptStreamInput = Omit<DecryptInput, 'encoding'>

/** What one engine call works on at most: with what is not read yet, this bounds the memory of a stream. */
const BATCH_LENGTH = 1024 * 1024
const HIGH_WATER_MARK = 256 * 1024
/** Handling a chunk takes as long as this many bytes, however short it is. */
const CHUNK_COST = 1024

/**
 * What both directions share. Every chunk is consumed before its write callback, so its memory is the writer's again;
 * output waits for the reader between batches. Nothing happens after `destroy`: no data, no event, no second error.
 */
abstract class MessageStream extends Duplex {
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = () => void this.destroy(aborted(this.#signal!))
  readonly #end = new AbortController()
  /** The callback of the write or final under way. */
  #answer: ((error?: Error | null) => void) | undefined
  #continue: (() => void) | undefined
  /** How much has been done since other events had their turn. */
  #sinceTurn = 0
  protected readonly allocate = new Slab().allocate

  constructor(signal: AbortSignal | undefined) {
    super({ readableHighWaterMark: HIGH_WATER_MARK, writableHighWaterMark: HIGH_WATER_MARK })
    this.#signal = signal
    if (signal?.aborted) queueMicrotask(this.#onAbort)
    else signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Fires when the stream is destroyed, by whomever. */
  protected get ended(): AbortSignal {
    return this.#end.signal
  }

  /** Takes all of `chunk` in. */
  protected abstract consume(chunk: Uint8Array): Promise<void>
  /** The input has ended: gives the rest. */
  protected abstract complete(): Promise<void>
  /** Wipes every secret. */
  protected abstract release(): void

  /** Hands pieces to the reader, at its pace. */
  protected async send(pieces: readonly Uint8Array[]): Promise<void> {
    for (const piece of pieces) {
      if (this.destroyed) return
      if (piece.length === 0 || this.push(piece) || this.destroyed) continue
      await new Promise<void>((resolve) => {
        this.#continue = resolve
      })
    }
  }

  /**
   * Runs `step` over a chunk of `length` bytes in batches. Other events have their turn after each batch's worth, also
   * where a source and a reader that never wait would keep the event loop for themselves.
   */
  protected async inBatches(
    chunk: Uint8Array,
    length: number,
    step: (batch: Uint8Array) => readonly Uint8Array[],
  ): Promise<void> {
    // Another thread could change shared memory between what is checked and what is used.
    const bytes = chunk.buffer instanceof ArrayBuffer ? chunk : Uint8Array.from(chunk)
    for (const [start, end] of slices(length, 1, BATCH_LENGTH)) {
      if (this.#sinceTurn >= BATCH_LENGTH) {
        this.#sinceTurn = 0
        await nextTurn()
      }
      if (this.destroyed) return
      if (bytes.length !== length) throw new TypeError('a chunk was resized or transferred before its write callback')
      this.#sinceTurn += Math.max(end - start, CHUNK_COST)
      await this.send(step(bytes.subarray(start, end)))
    }
  }

  /** Node would go on giving what is buffered until the tick after `destroy`. */
  override read(size?: number): unknown {
    return this.destroyed ? null : super.read(size)
  }

  override _read(): void {
    const resume = this.#continue
    this.#continue = undefined
    resume?.()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#answer = callback
    this.consume(chunk).then(
      () => this.#settle(),
      (error) => this.#settle(toError(error)),
    )
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#answer = callback
    this.complete().then(
      () => {
        if (!this.destroyed) this.push(null)
        this.#settle()
      },
      (error) => this.#settle(toError(error)),
    )
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#end.abort(error)
    this.release()
    callback(error)
    // Node leaves it to the stream to answer the writer that still waits, and with it those in the queue.
    this.#settle(error)
  }

  #settle(error?: Error | null): void {
    const answer = this.#answer
    this.#answer = undefined
    answer?.(error)
  }
}

class EncryptStream extends MessageStream {
  readonly #sealer: Promise<MessageSealer | undefined>
  #open: MessageSealer | undefined

  constructor(client: Readonly<ClientOptions>, cmm: NodeMaterialsManager, op: EncryptStreamInput | undefined) {
    const options = checkEncryptOptions(client, op)
    super(options.signal)
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
    const limit = plaintextLength === undefined ? {} : { plaintextLength }
    const { commitmentPolicy } = client
    const request = { ...(suite && { suite }), encryptionContext, commitmentPolicy, ...limit, signal: this.ended }
    const material = await requestEncryptionMaterials(cmm, request, client.maxEncryptedDataKeys || undefined)
    try {
      if (this.destroyed) return undefined
      this.#open = new MessageSealer(material, { frameLength, ...limit })
      this.emit('MessageHeader', this.#open.messageHeader)
      if (!this.destroyed) this.push(this.#open.header)
      return this.#open
    } finally {
      material.zeroUnencryptedDataKey()
    }
  }

  protected override async consume(chunk: Uint8Array): Promise<void> {
    const { length } = chunk
    const sealer = await this.#sealer
    if (sealer) await this.inBatches(chunk, length, (batch) => sealer.update(batch, this.allocate))
  }

  protected override async complete(): Promise<void> {
    const sealer = await this.#sealer
    if (!sealer || this.destroyed) return
    const last = sealer.final(EMPTY, this.allocate)
    this.release()
    await this.send(last)
  }

  protected override release(): void {
    this.#open?.dispose()
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
    const { maxEncryptedDataKeys } = client
    this.#parser = new HeaderParser(maxEncryptedDataKeys ? { maxEncryptedDataKeys } : {})
  }

  protected override async consume(chunk: Uint8Array): Promise<void> {
    const used = this.#parser.push(chunk)
    if (!this.#parser.header) return
    const length = chunk.length - used
    const body = chunk.subarray(used)
    if (!this.#opener) await this.#begin(this.#parser.header)
    const opener = this.#opener
    if (opener) await this.inBatches(body, length, (batch) => opener.update(batch, this.allocate))
  }

  protected override async complete(): Promise<void> {
    if (!this.#parser.header) throw this.#parser.truncated()
    if (!this.#opener || this.destroyed) return
    const last = this.#opener.final()
    this.release()
    await this.send(last)
  }

  async #begin(header: ParsedHeader): Promise<void> {
    const { messageHeader, suite } = header
    const messageId = Buffer.from(messageHeader.messageId).toString('hex')
    SignaturePolicySuites.isDecryptEnabled(this.#signaturePolicy, suite, messageId)
    const { encryptionContext, maxBodySize, signal } = this.#options
    checkAborted(signal)
    const material = await requestMaterialsFor(this.#client, this.#cmm, header, encryptionContext, this.ended)
    try {
      if (this.destroyed) return
      this.#opener = new MessageOpener(header, material, maxBodySize)
      this.emit('MessageHeader', messageHeader)
    } finally {
      material.zeroUnencryptedDataKey()
    }
  }

  protected override release(): void {
    this.#opener?.dispose()
  }
}

/** An error even where a keyring rejected with nothing: a callback without one would mean success. */
function toError(error: unknown): Error {
  if (error) return error as Error
  return new SealwaxError('ERR_INVALID_MATERIALS', 'a keyring or materials manager failed without saying why')
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
