/**
 * What a careful program would do with node:crypto alone: the frames of a message as Transforms, without header and key
 * wrapping. One buffer out for each chunk in; only frames that chunks cut apart are copied together.
 */
import { createCipheriv, createDecipheriv, createSign, createVerify, generateKeyPairSync } from 'node:crypto'
import { Transform, type TransformCallback } from 'node:stream'
import {
  type BodyPart,
  bodyAad,
  FINAL_FRAME_HEADER_LENGTH,
  FINAL_FRAME_MARKER,
  FINAL_FRAME_OVERHEAD,
  frameIv,
  parseFinalFrameHeader,
  REGULAR_FRAME_OVERHEAD,
  serializeFinalFrameHeader,
  serializeRegularFrameHeader,
  TAG_LENGTH,
} from '#built/format/frame'

const HEADER_LENGTH = REGULAR_FRAME_OVERHEAD - TAG_LENGTH
const FOOTER_LENGTH = 200
const KEY = new Uint8Array(32).fill(2)
const MESSAGE_ID = new Uint8Array(32).fill(3)
const OPTIONS = { readableHighWaterMark: 256 * 1024, writableHighWaterMark: 256 * 1024 }

/** Seals a plaintext in frames; signed, with a key that only its own process knows, behind them. */
export class LoopSealer extends Transform {
  readonly #frameLength: number
  readonly #partial: Buffer
  readonly #sign
  #partialLength = 0
  #sequenceNumber = 1

  constructor(frameLength: number, signed: boolean) {
    super(OPTIONS)
    this.#frameLength = frameLength
    this.#partial = Buffer.allocUnsafeSlow(frameLength)
    this.#sign = signed ? createSign('sha384') : undefined
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    const frames = Math.floor((this.#partialLength + chunk.length) / this.#frameLength)
    const out = Buffer.allocUnsafeSlow(frames * (this.#frameLength + REGULAR_FRAME_OVERHEAD))
    let used = 0
    let filled = 0
    const seal = (content: Buffer) => {
      out.set(serializeRegularFrameHeader(this.#sequenceNumber), filled)
      this.#seal(content, 'frame', out.subarray(filled + HEADER_LENGTH))
      filled += content.length + REGULAR_FRAME_OVERHEAD
    }
    if (this.#partialLength > 0) {
      used = chunk.copy(this.#partial, this.#partialLength)
      this.#partialLength += used
      if (this.#partialLength === this.#frameLength) {
        seal(this.#partial)
        this.#partialLength = 0
      }
    }
    for (; chunk.length - used >= this.#frameLength; used += this.#frameLength) {
      seal(chunk.subarray(used, used + this.#frameLength))
    }
    this.#partialLength += chunk.copy(this.#partial, this.#partialLength, used)
    this.#sign?.update(out)
    callback(null, out)
  }

  override _flush(callback: TransformCallback): void {
    const content = this.#partial.subarray(0, this.#partialLength)
    const out = Buffer.allocUnsafeSlow(content.length + FINAL_FRAME_OVERHEAD)
    out.set(serializeFinalFrameHeader(this.#sequenceNumber, content.length))
    this.#seal(content, 'final frame', out.subarray(FINAL_FRAME_HEADER_LENGTH))
    this.push(out)
    callback(null, this.#sign?.update(out).sign(SIGNATURE_KEYS.privateKey))
  }

  #seal(content: Buffer, part: BodyPart, out: Buffer): void {
    const cipher = createCipheriv('aes-256-gcm', KEY, frameIv(this.#sequenceNumber))
    cipher.setAAD(bodyAad(MESSAGE_ID, part, this.#sequenceNumber++, content.length))
    out.set(cipher.update(content))
    cipher.final()
    out.set(cipher.getAuthTag(), content.length)
  }
}

/** Opens what {@link LoopSealer} sealed; the signature is looked at when it comes from the same process. */
export class LoopOpener extends Transform {
  readonly #frameLength: number
  readonly #wireLength: number
  readonly #partial: Buffer
  readonly #verify
  #partialLength = 0
  #sequenceNumber = 1
  #final = false

  constructor(frameLength: number, signed: boolean) {
    super(OPTIONS)
    this.#frameLength = frameLength
    this.#wireLength = frameLength + REGULAR_FRAME_OVERHEAD
    this.#partial = Buffer.allocUnsafeSlow(frameLength + FINAL_FRAME_OVERHEAD + FOOTER_LENGTH)
    this.#verify = signed ? createVerify('sha384') : undefined
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, callback: TransformCallback): void {
    const frames = Math.floor((this.#partialLength + chunk.length) / this.#wireLength)
    const out = Buffer.allocUnsafeSlow(frames * this.#frameLength)
    let used = 0
    let filled = 0
    const open = (frame: Buffer): boolean => {
      this.#final = frame.readUInt32BE(0) === FINAL_FRAME_MARKER
      if (this.#final) return false
      this.#verify?.update(frame)
      this.#open(frame.subarray(HEADER_LENGTH), 'frame', out.subarray(filled))
      filled += this.#frameLength
      return true
    }
    try {
      if (this.#partialLength > 0 && !this.#final) {
        used = chunk.copy(this.#partial, this.#partialLength, 0, this.#wireLength - this.#partialLength)
        this.#partialLength += used
        const full = this.#partialLength === this.#wireLength
        if (full && open(this.#partial.subarray(0, this.#wireLength))) this.#partialLength = 0
      }
      while (!this.#final && chunk.length - used >= this.#wireLength) {
        if (open(chunk.subarray(used, used + this.#wireLength))) used += this.#wireLength
      }
      this.#partialLength += chunk.copy(this.#partial, this.#partialLength, used)
      callback(null, out.subarray(0, filled))
    } catch (error) {
      callback(error as Error)
    }
  }

  override _flush(callback: TransformCallback): void {
    try {
      const length = parseFinalFrameHeader(this.#partial, this.#sequenceNumber, this.#frameLength)
      const end = FINAL_FRAME_OVERHEAD + length
      const out = Buffer.allocUnsafeSlow(length)
      this.#open(this.#partial.subarray(FINAL_FRAME_HEADER_LENGTH, end), 'final frame', out)
      const signature = this.#partial.subarray(end, this.#partialLength)
      this.#verify?.update(this.#partial.subarray(0, end)).verify(SIGNATURE_KEYS.publicKey, signature)
      callback(null, out)
    } catch (error) {
      callback(error as Error)
    }
  }

  #open(sealed: Buffer, part: BodyPart, out: Buffer): void {
    const length = sealed.length - TAG_LENGTH
    const decipher = createDecipheriv('aes-256-gcm', KEY, frameIv(this.#sequenceNumber), { authTagLength: TAG_LENGTH })
    decipher.setAAD(bodyAad(MESSAGE_ID, part, this.#sequenceNumber++, length))
    decipher.setAuthTag(sealed.subarray(length))
    out.set(decipher.update(sealed.subarray(0, length)))
    decipher.final()
  }
}

const SIGNATURE_KEYS = generateKeyPairSync('ec', { namedCurve: 'secp384r1' })
