import { allocateSecret, wipe } from '../bytes'
import { deriveMessageKeys } from '../engine/derive'
import { type Engine, getEngine, type Signer } from '../engine/engine'
import { SealwaxError } from '../errors'
import { framesLength, IV_LENGTH, MAX_UINT32, TAG_LENGTH } from '../format/frame'
import { headerAuthLength } from '../format/header-layout'
import { serializeFooter } from '../format/message-footer'
import { type MessageHeader, serializeHeaderBody } from '../format/message-header'
import { dataKeyOf, type NodeEncryptionMaterial } from '../materials/materials'
import type { NodeAlgorithmSuite } from '../suites'
import { headerAad, headerFields, newHeader } from './header'
import type { Allocate } from './output'

/** A DER signature takes at most this many bytes, by curve. */
const MAX_SIGNATURE_LENGTH = { prime256v1: 72, secp384r1: 104 } as const
const ZERO_IV = new Uint8Array(IV_LENGTH)

export interface SealerOptions {
  /** Plaintext bytes in a frame. */
  readonly frameLength: number
  /** Refuse more plaintext than this. */
  readonly plaintextLength?: number | undefined
}

/**
 * Writes one message, piece by piece: `header`, then what `update` and `final` return. `dispose` wipes the derived key
 * and must be called however the message ends; the materials stay their owner's.
 *
 * The input is read before a call returns and never kept by reference. All frames but the final one are full; the
 * final one holds the rest, possibly nothing, as `@aws-crypto/client-node` writes it.
 */
export class MessageSealer {
  readonly messageHeader: MessageHeader
  /** Header body and header authentication. */
  readonly header: Uint8Array
  readonly #engine: Engine
  readonly #suite: NodeAlgorithmSuite
  readonly #messageId: Uint8Array
  readonly #key: Uint8Array
  readonly #signer: Signer | undefined
  readonly #frameLength: number
  readonly #plaintextLength: number
  #sequenceNumber = 1
  #total = 0
  /** The start of a frame that is not full yet. */
  #partial: Uint8Array | undefined
  #partialLength = 0
  #disposed = false

  constructor(material: NodeEncryptionMaterial, { frameLength, plaintextLength = Infinity }: SealerOptions) {
    const { suite } = material
    const { signatureKey } = material // throws where it is missing, before there is a derived key to wipe
    this.#engine = getEngine()
    this.#suite = suite
    this.#frameLength = frameLength
    this.#plaintextLength = plaintextLength
    const messageId = Buffer.allocUnsafe(suite.messageFormat === 1 ? 16 : 32)
    this.#engine.randomFill(messageId)
    this.#messageId = messageId
    const { key, commitment } = deriveMessageKeys(this.#engine, suite, dataKeyOf(material), messageId)
    this.#key = key
    try {
      this.messageHeader = newHeader(
        suite,
        headerFields(material, frameLength),
        Buffer.from(messageId),
        Buffer.from(commitment ?? EMPTY),
      )
      this.header = this.#authenticatedHeader(material)
      if (signatureKey) this.#signer = this.#engine.createSigner(suite.signatureHash!, signatureKey.privateKey)
      this.#signer?.update(this.header)
    } catch (error) {
      this.dispose()
      throw error
    }
  }

  get isSigned(): boolean {
    return this.#signer !== undefined
  }

  /** At most how many bytes the message of `plaintextLength` bytes takes, header and footer included. */
  messageLength(plaintextLength: number): number {
    const { signatureCurve } = this.#suite
    const footer = signatureCurve ? 2 + MAX_SIGNATURE_LENGTH[signatureCurve] : 0
    return this.header.length + framesLength(plaintextLength, this.#frameLength, true) + footer
  }

  /** Seals what is full, in a piece of `allocate`'s memory; keeps the rest, less than a frame. */
  update(plaintext: Uint8Array, allocate: Allocate): Uint8Array[] {
    this.#count(plaintext.length)
    let rest = plaintext
    if (this.#partialLength > 0) {
      rest = plaintext.subarray(this.#fillPartial(plaintext))
      if (this.#partialLength < this.#frameLength) return []
    }
    const first = this.#takePartial()
    const full = rest.length - (rest.length % this.#frameLength)
    const pieces: Uint8Array[] = []
    if (first.length + full > 0) {
      // One piece for both: each costs its reader as much as some KiB of it.
      const out = allocate(framesLength(first.length + full, this.#frameLength, false))
      const start = framesLength(first.length, this.#frameLength, false)
      if (start > 0) this.#seal(first, false, out.subarray(0, start))
      if (full > 0) this.#seal(rest.subarray(0, full), false, out.subarray(start))
      pieces.push(out)
    }
    this.#fillPartial(rest.subarray(full))
    return pieces
  }

  /** Seals the last `plaintext`, if any, with what was kept, as the last frames; then the footer of signed suites. */
  final(plaintext: Uint8Array, allocate: Allocate): Uint8Array[] {
    const pieces: Uint8Array[] = []
    let rest = plaintext
    if (this.#partialLength > 0) {
      pieces.push(...this.update(plaintext, allocate))
      rest = this.#takePartial()
    } else {
      this.#count(plaintext.length)
    }
    const last = allocate(framesLength(rest.length, this.#frameLength, true))
    this.#seal(rest, true, last)
    pieces.push(last)
    if (this.#signer) {
      const footer = serializeFooter(this.#signer.sign())
      const out = allocate(footer.length)
      out.set(footer)
      pieces.push(out)
    }
    return pieces
  }

  /** Wipes the derived key and whatever plaintext was kept. Safe to call twice. */
  dispose(): void {
    this.#disposed = true
    wipe(this.#key, this.#partial)
  }

  #authenticatedHeader(material: NodeEncryptionMaterial): Uint8Array {
    const body = serializeHeaderBody(this.messageHeader)
    // Version 1 carries the header's IV, written as zeros; version 2 does not.
    const header = Buffer.allocUnsafe(body.length + headerAuthLength(this.#suite))
    header.set(body)
    header.fill(0, body.length)
    const tag = header.subarray(header.length - TAG_LENGTH)
    this.#engine.seal(this.#key, ZERO_IV, headerAad(body, material), EMPTY, tag)
    return header
  }

  #seal(plaintext: Uint8Array, final: boolean, out: Uint8Array): void {
    // A wiped key is a key like any other: never seal with it.
    if (this.#disposed) throw new SealwaxError('ERR_INTERNAL', 'the message is finished')
    const run = {
      key: this.#key,
      messageId: this.#messageId,
      frameLength: this.#frameLength,
      firstSequenceNumber: this.#sequenceNumber,
    }
    const full = Math.floor(plaintext.length / this.#frameLength)
    const frames = full + (final ? 1 : 0)
    // The last number is for a final frame only.
    if (this.#sequenceNumber + full > MAX_UINT32) {
      throw new SealwaxError(
        'ERR_LIMIT_EXCEEDED',
        `a message has at most ${MAX_UINT32} frames: use a larger frameLength`,
      )
    }
    this.#engine.sealFrames(run, plaintext, final, out, this.#signer)
    this.#sequenceNumber += frames
  }

  #count(length: number): void {
    this.#total += length
    if (this.#total > this.#plaintextLength) {
      throw new SealwaxError(
        'ERR_LIMIT_EXCEEDED',
        `Encrypted data exceeded plaintextLength. ${this.#total} > ${this.#plaintextLength}`,
      )
    }
  }

  /** Copies from `bytes` what the current frame still takes; returns how much that was. */
  #fillPartial(bytes: Uint8Array): number {
    const taken = Math.min(this.#frameLength - this.#partialLength, bytes.length)
    const length = this.#partialLength + taken
    if (taken > 0 && length > (this.#partial?.length ?? 0)) {
      // Grows with what arrives, never by the frame length alone, which may be 4 GiB.
      const larger = allocateSecret(Math.min(this.#frameLength, Math.max(length, 2 * (this.#partial?.length ?? 0))))
      if (this.#partial) larger.set(this.#partial.subarray(0, this.#partialLength))
      wipe(this.#partial)
      this.#partial = larger
    }
    this.#partial?.set(bytes.subarray(0, taken), this.#partialLength)
    this.#partialLength = length
    return taken
  }

  #takePartial(): Uint8Array {
    const partial = this.#partial?.subarray(0, this.#partialLength) ?? EMPTY
    this.#partialLength = 0
    return partial
  }
}

const EMPTY = new Uint8Array(0)
