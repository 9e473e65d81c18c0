import { readU32, wipe } from '../bytes'
import { deriveCommittedKey } from '../engine/derive'
import { type Engine, getEngine, type Verifier } from '../engine/engine'
import { authenticationFailed, SealwaxError } from '../errors'
import {
  bodyAad,
  FINAL_FRAME_HEADER_LENGTH,
  FINAL_FRAME_MARKER,
  frameIv,
  outOfOrder,
  parseFinalFrameHeader,
  parseSingleBlockHeader,
  REGULAR_FRAME_OVERHEAD,
  SINGLE_BLOCK_HEADER_LENGTH,
  TAG_LENGTH,
  wrongIv,
} from '../format/frame'
import { FOOTER_HEADER_LENGTH, parseFooterHeader } from '../format/message-footer'
import { ContentType, type ParsedHeader } from '../format/message-header'
import { dataKeyOf, type NodeDecryptionMaterial } from '../materials/materials'
import { headerAad } from './header'
import type { Allocate } from './output'

type State = 'frames' | 'final frame' | 'single block' | 'footer' | 'done'

/** Enough of a frame to tell whether it is the final one. */
const MARKER_LENGTH = 4

/**
 * Reads the body and footer of one message, piece by piece, after its header. Constructing it derives the key, checks
 * the commitment and authenticates the header. What `update` returns is authenticated plaintext; the last frame of a
 * signed message comes from `final`, when the signature is verified and nothing follows it. After a throw the opener is
 * of no more use.
 *
 * `dispose` wipes the derived key and must be called however the message ends; the materials stay their owner's. The
 * input is read before a call returns and never kept by reference.
 */
export class MessageOpener {
  readonly #engine: Engine
  readonly #header: ParsedHeader
  readonly #key: Uint8Array
  readonly #verifier: Verifier | undefined
  readonly #maxBodySize: number
  #state: State
  #sequenceNumber = 1
  /** How many bytes, at least, the next step takes; they must lie side by side. */
  #needed: number
  /** The start of what the next step takes, where a piece of input ended inside it. */
  #pending = new Uint8Array(0)
  #pendingLength = 0
  /** The last plaintext of a signed message, which waits for the signature and the end. */
  #held: Uint8Array | undefined
  #disposed = false

  constructor(header: ParsedHeader, material: NodeDecryptionMaterial, maxBodySize = Infinity) {
    const { messageHeader, suite } = header
    const { verificationKey } = material // throws where it is missing, before there is a derived key to wipe
    this.#engine = getEngine()
    this.#header = header
    this.#maxBodySize = maxBodySize
    const framed = messageHeader.contentType === ContentType.FRAMED_DATA
    this.#state = framed ? 'frames' : 'single block'
    this.#needed = framed ? MARKER_LENGTH : SINGLE_BLOCK_HEADER_LENGTH
    this.#key = deriveCommittedKey(this.#engine, suite, dataKeyOf(material), header.messageId, header.suiteData)
    try {
      const aad = headerAad(header.body, material)
      if (!this.#engine.open(this.#key, header.iv, aad, header.tag, EMPTY)) throw authenticationFailed()
      if (verificationKey) this.#verifier = this.#engine.createVerifier(suite.signatureHash!, verificationKey.publicKey)
      this.#verifier?.update(header.bytes)
    } catch (error) {
      this.dispose()
      throw error
    }
  }

  get isSigned(): boolean {
    return this.#verifier !== undefined
  }

  /** Plaintext of what `chunk` completes, in pieces of `allocate`'s memory. */
  update(chunk: Uint8Array, allocate: Allocate): Uint8Array[] {
    if (this.#disposed) throw new SealwaxError('ERR_INTERNAL', 'the message is finished')
    const pieces: Uint8Array[] = []
    let offset = 0
    while (offset < chunk.length) {
      const rest = chunk.subarray(offset)
      if (this.#pendingLength === 0 && rest.length >= this.#needed) {
        offset += this.#step(rest, pieces, allocate)
        continue
      }
      const taken = rest.subarray(0, this.#needed - this.#pendingLength)
      this.#append(taken)
      offset += taken.length
      if (this.#pendingLength < this.#needed) break
      const pending = this.#pending.subarray(0, this.#pendingLength)
      const used = this.#step(pending, pieces, allocate, chunk.subarray(offset))
      // A step over pending bytes takes all of them, or none because it has learnt that it needs more.
      if (used === 0) continue
      offset += used - pending.length
      this.#pendingLength = 0
    }
    return pieces
  }

  /** Says that the input has ended, gives what was held back. Throws `ERR_MESSAGE_TRUNCATED` unless the message has ended. */
  final(): Uint8Array[] {
    if (this.#state === 'done') {
      const pieces = this.#held ? [this.#held] : []
      this.#held = undefined
      return pieces
    }
    const where = this.#state === 'frames' ? `frame ${this.#sequenceNumber}` : `the ${this.#state}`
    throw new SealwaxError('ERR_MESSAGE_TRUNCATED', `Incomplete message. It ends before or inside ${where}`)
  }

  /** Wipes the derived key and whatever plaintext was held back. Safe to call twice. */
  dispose(): void {
    this.#disposed = true
    wipe(this.#key, this.#held)
  }

  /**
   * Takes what it can from the start of `bytes`, which are at least `#needed`, and, after all of them, of the bytes that `follow`;
   * returns how many bytes that was.
   */
  #step(bytes: Uint8Array, pieces: Uint8Array[], allocate: Allocate, follow: Uint8Array = EMPTY): number {
    switch (this.#state) {
      case 'frames':
        return this.#stepFrames(bytes, pieces, allocate, follow)
      case 'final frame': {
        const { frameLength } = this.#header.messageHeader
        const contentLength = parseFinalFrameHeader(bytes, this.#sequenceNumber, frameLength)
        return this.#stepLast(bytes, FINAL_FRAME_HEADER_LENGTH, contentLength, pieces, allocate)
      }
      case 'single block':
        return this.#stepLast(bytes, SINGLE_BLOCK_HEADER_LENGTH, parseSingleBlockHeader(bytes), pieces, allocate)
      case 'footer':
        return this.#stepFooter(bytes)
      case 'done':
        throw new SealwaxError('ERR_TRAILING_DATA', 'bytes follow the end of the message')
    }
  }

  #stepFrames(bytes: Uint8Array, pieces: Uint8Array[], allocate: Allocate, follow: Uint8Array): number {
    const { frameLength } = this.#header.messageHeader
    const wireLength = frameLength + REGULAR_FRAME_OVERHEAD
    const next = readU32(bytes, 0)
    if (next === FINAL_FRAME_MARKER) {
      this.#state = 'final frame'
      this.#needed = FINAL_FRAME_HEADER_LENGTH
      return 0
    }
    if (next !== this.#sequenceNumber) throw outOfOrder(this.#sequenceNumber)
    this.#checkBodySize(frameLength)
    if (bytes.length < wireLength) {
      this.#needed = wireLength
      return 0
    }
    const regular = this.#guessRegular(bytes, 0)
    // Bytes follow only where these are one whole frame.
    const more = this.#guessRegular(follow, regular)
    // One piece for both: each costs its reader as much as some KiB of it.
    const out = allocate((regular + more) * frameLength)
    let count = this.#openFrames(bytes.subarray(0, regular * wireLength), out.subarray(0, regular * frameLength))
    if (more > 0) count += this.#openFrames(follow.subarray(0, more * wireLength), out.subarray(regular * frameLength))
    pieces.push(out.subarray(0, count * frameLength))
    this.#needed = MARKER_LENGTH
    return count * wireLength
  }

  /** Opens the frames that `frames` start with, up to the final one; returns how many. */
  #openFrames(frames: Uint8Array, out: Uint8Array): number {
    const { messageId, messageHeader } = this.#header
    const { frameLength } = messageHeader
    const run = { key: this.#key, messageId, frameLength, firstSequenceNumber: this.#sequenceNumber }
    const { count, status } = this.#engine.openFrames(run, frames, out, this.#verifier)
    if (status === 'unauthentic') throw authenticationFailed()
    if (status === 'wrong-iv') throw wrongIv(this.#sequenceNumber + count)
    if (status === 'out-of-order') throw outOfOrder(this.#sequenceNumber + count)
    this.#sequenceNumber += count
    return count
  }

  /**
   * How many frames at the start of `bytes` come before the final one, where `before` frames come before them: looks from the
   * end, where the final frame and a footer are worth a few small frames at most. Too many cost memory, not correctness.
   */
  #guessRegular(bytes: Uint8Array, before: number): number {
    const wireLength = this.#header.messageHeader.frameLength + REGULAR_FRAME_OVERHEAD
    const first = this.#sequenceNumber + before
    let regular = Math.floor(bytes.length / wireLength)
    while (regular > 0 && readU32(bytes, (regular - 1) * wireLength) !== first + regular - 1) regular--
    return regular
  }

  /** The final frame or the single block: one sealed run of bytes behind a header. */
  #stepLast(
    bytes: Uint8Array,
    headerLength: number,
    contentLength: number,
    pieces: Uint8Array[],
    allocate: Allocate,
  ): number {
    this.#checkBodySize(contentLength)
    const length = headerLength + contentLength + TAG_LENGTH
    if (bytes.length < length) {
      this.#needed = length
      return 0
    }
    const part = this.#state === 'single block' ? 'single block' : 'final frame'
    const aad = bodyAad(this.#header.messageId, part, this.#sequenceNumber, contentLength)
    const out = allocate(contentLength)
    const sealed = bytes.subarray(headerLength, length)
    if (!this.#engine.open(this.#key, frameIv(this.#sequenceNumber), aad, sealed, out)) throw authenticationFailed()
    if (this.#verifier) {
      this.#verifier.update(bytes.subarray(0, length))
      this.#held = out
      this.#state = 'footer'
      this.#needed = FOOTER_HEADER_LENGTH
    } else {
      pieces.push(out)
      this.#end()
    }
    return length
  }

  #stepFooter(bytes: Uint8Array): number {
    const length = FOOTER_HEADER_LENGTH + parseFooterHeader(bytes)
    if (bytes.length < length) {
      this.#needed = length
      return 0
    }
    if (!this.#verifier!.verify(bytes.subarray(FOOTER_HEADER_LENGTH, length))) throw authenticationFailed()
    this.#end()
    return length
  }

  #end(): void {
    this.#state = 'done'
    this.#needed = 1
  }

  #checkBodySize(length: number): void {
    if (length > this.#maxBodySize) {
      throw new SealwaxError('ERR_LIMIT_EXCEEDED', `maxBodySize exceeded. ${length} > ${this.#maxBodySize}`)
    }
  }

  #append(bytes: Uint8Array): void {
    const length = this.#pendingLength + bytes.length
    if (length > this.#pending.length) {
      // Grows with what arrives, never by a length the message claims.
      const larger = new Uint8Array(Math.max(length, Math.min(this.#needed, 2 * this.#pending.length)))
      larger.set(this.#pending.subarray(0, this.#pendingLength))
      this.#pending = larger
    }
    this.#pending.set(bytes, this.#pendingLength)
    this.#pendingLength = length
  }
}

const EMPTY = new Uint8Array(0)
