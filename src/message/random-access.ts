import { Readable } from 'node:stream'
import { readU32, viewOf, wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { deriveCommittedKey } from '../engine/derive'
import { getEngine } from '../engine/engine'
import { authenticationFailed, SealwaxError } from '../errors'
import {
  bodyAad,
  FINAL_FRAME_HEADER_LENGTH,
  FINAL_FRAME_MARKER,
  FINAL_FRAME_OVERHEAD,
  frameIv,
  MAX_UINT32,
  parseFinalFrameHeader,
  REGULAR_FRAME_OVERHEAD,
  TAG_LENGTH,
} from '../format/frame'
import { FOOTER_HEADER_LENGTH, MAX_SIGNATURE_LENGTH, parseFooterHeader } from '../format/message-footer'
import { ContentType, HeaderParser, type MessageHeader, type ParsedHeader } from '../format/message-header'
import { type NodeMaterialsManager, toMaterialsManager } from '../materials/cmm'
import type { KeyringNode } from '../materials/keyring'
import { dataKeyOf } from '../materials/materials'
import { checkBoolean, checkInteger, checkOptions, describe, kindOf } from '../options'
import { nextTurn } from '../turns'
import type { ClientOptions } from './client'
import { checkDecryptOptions, type DecryptInput, limitsOf, requestMaterialsFor } from './decrypt'
import { headerAad } from './header'
import { pushInSlices } from './header-slices'
import { checkAborted, orAborted } from './slices'

/** Where a message lies: bytes, an open file, or anything that reads a range of known total length. */
export type RandomAccessSource = Uint8Array | FileHandleLike | RangeReader

/** A source of the caller's own: `read` gives exactly the bytes asked for, which all exist. */
export interface RangeReader {
  /** Bytes of the whole message. */
  readonly length: number
  read(offset: number, length: number): Promise<Uint8Array> | Uint8Array
}

/** What is used of `FileHandle` of `node:fs/promises`. The file stays the caller's to close. */
export interface FileHandleLike {
  stat(): Promise<{ size: number }>
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>
}

/** Options of `openMessage`. */
export interface OpenMessageInput extends Pick<DecryptInput, 'encryptionContext' | 'maxBodySize' | 'signal'> {
  /**
   * Read a signed message all the same: every frame is authenticated with the data key, but the signature, which covers
   * the whole message, is not checked. Default: false, signed messages are refused with `ERR_SIGNATURE_POLICY`.
   */
  readSignedMessageWithoutVerifyingItsSignature?: boolean
}

const OPTIONS = ['encryptionContext', 'maxBodySize', 'signal', 'readSignedMessageWithoutVerifyingItsSignature'] as const
/** What is read and opened at a time: enough to keep every core at work, little enough to hold. */
const BATCH_LENGTH = 1024 * 1024
/** The header's length is not known before it is read; nearly all fit the first piece. */
const HEADER_PIECE_LENGTH = 4096

/**
 * A framed message that is read from the middle. Reads only its header, its final frame and the frames asked for; each
 * byte given is authenticated by its frame, and `length` by the final one, so that a cut message does not open.
 * Hold it while reading, then `close` it: that wipes its key.
 */
export class OpenedMessage {
  readonly messageHeader: MessageHeader
  /** Plaintext bytes. */
  readonly length: number
  readonly #range: RangeReader
  /** What callers see of it is theirs. */
  readonly #header: ParsedHeader
  readonly #key: Uint8Array
  readonly #bodyStart: number
  readonly #regularFrames: number
  readonly #maxBatch: number
  #closed = false

  /** @internal */
  constructor(range: RangeReader, header: ParsedHeader, key: Uint8Array, regularFrames: number, lastLength: number) {
    const { frameLength } = header.messageHeader
    this.messageHeader = header.messageHeader
    this.#header = header
    this.length = regularFrames * frameLength + lastLength
    this.#regularFrames = regularFrames
    this.#range = range
    this.#key = key
    this.#bodyStart = header.bytes.length
    this.#maxBatch = Math.max(1, Math.floor(BATCH_LENGTH / frameLength))
  }

  /**
   * The plaintext from `offset`, `length` bytes or up to the end. The result is the caller's.
   * Throws `RangeError` for a range outside the plaintext, `ERR_AUTHENTICATION_FAILED` for a changed frame.
   */
  async read(offset: number, length = this.length - offset): Promise<Buffer> {
    checkInteger(offset, 'offset', 0, this.length)
    checkInteger(length, 'length', 0, this.length - offset)
    const out = Buffer.allocUnsafeSlow(length)
    let filled = 0
    try {
      for await (const piece of this.#pieces(offset, offset + length)) {
        out.set(piece, filled)
        wipe(piece)
        filled += piece.length
      }
      return out
    } catch (error) {
      wipe(out)
      throw error
    }
  }

  /** The same as a stream, with memory bounded by a batch of frames. */
  createReadStream(offset = 0, length = this.length - offset): Readable {
    checkInteger(offset, 'offset', 0, this.length)
    checkInteger(length, 'length', 0, this.length - offset)
    const pieces = this.#pieces(offset, offset + length)
    // Not Readable.from: its destroy waits for a read under way, which may never end.
    return new Readable({
      read() {
        pieces.next().then(
          ({ value, done }) => {
            if (this.destroyed) wipe(value as Uint8Array | undefined)
            else this.push(done ? null : value)
          },
          // Without an error it would be a stream that has no end.
          (error) => this.destroy(error ?? new Error('the source failed without saying why')),
        )
      },
    })
  }

  /** Wipes the key; later reads throw. Safe to call twice. */
  close(): void {
    this.#closed = true
    wipe(this.#key)
  }

  async *#pieces(start: number, end: number): AsyncGenerator<Uint8Array> {
    const { frameLength } = this.messageHeader
    this.#checkOpen()
    for (let position = start; position < end; ) {
      if (position > start) await nextTurn()
      const first = Math.floor(position / frameLength)
      const frames = Math.min(this.#maxBatch, Math.floor((end - 1) / frameLength) - first + 1)
      const plaintext = await this.#openFrames(first, frames)
      const from = position - first * frameLength
      const to = Math.min(end - first * frameLength, plaintext.length)
      wipe(plaintext.subarray(0, from), plaintext.subarray(to))
      yield plaintext.subarray(from, to)
      position += to - from
    }
  }

  /** Opens `count` frames from number `first` (from 0) on; the final frame counts as one, and comes alone. */
  async #openFrames(first: number, count: number): Promise<Uint8Array> {
    const { messageId } = this.#header
    const { frameLength } = this.messageHeader
    const wireLength = frameLength + REGULAR_FRAME_OVERHEAD
    const regular = Math.min(count, this.#regularFrames - first)
    const at = this.#bodyStart + first * wireLength
    if (regular <= 0) {
      const contentLength = this.length - first * frameLength
      const bytes = await readRange(this.#range, at, contentLength + FINAL_FRAME_OVERHEAD)
      this.#checkOpen()
      return openFinalFrame(bytes, this.#key, this.#header, first + 1)
    }
    const bytes = await readRange(this.#range, at, regular * wireLength)
    this.#checkOpen()
    const out = Buffer.allocUnsafeSlow(regular * frameLength)
    const run = { key: this.#key, messageId, frameLength, firstSequenceNumber: first + 1 }
    if (getEngine().openFrames(run, bytes, out).count < regular) {
      wipe(out)
      throw authenticationFailed()
    }
    return out
  }

  #checkOpen(): void {
    if (this.#closed) throw new SealwaxError('ERR_ABORTED', 'the message has been closed')
  }
}

/** See {@link DecryptClient.openMessage}. */
export async function openMessage(
  client: Readonly<ClientOptions>,
  source: KeyringNode | NodeMaterialsManager,
  message: RandomAccessSource,
  op?: OpenMessageInput,
): Promise<OpenedMessage> {
  const { readSignedMessageWithoutVerifyingItsSignature = false, ...rest } = checkOptions(op, OPTIONS, 'openMessage')
  checkBoolean(readSignedMessageWithoutVerifyingItsSignature, 'readSignedMessageWithoutVerifyingItsSignature')
  const { encryptionContext, maxBodySize, signal } = checkDecryptOptions(rest)
  const cmm = toMaterialsManager(source)
  checkAborted(signal)
  const limits = { encryptionContext, maxBodySize, signal, signed: readSignedMessageWithoutVerifyingItsSignature }
  const opening = open(client, cmm, message, limits)
  return await (signal ? orAborted(opening, signal, (late) => late.close()) : opening)
}

interface Limits {
  readonly encryptionContext: Readonly<EncryptionContext>
  readonly maxBodySize: number
  readonly signal: AbortSignal | undefined
  /** Whether a signed message may be read. */
  readonly signed: boolean
}

async function open(
  client: Readonly<ClientOptions>,
  cmm: NodeMaterialsManager,
  message: RandomAccessSource,
  { encryptionContext, maxBodySize, signal, signed }: Limits,
): Promise<OpenedMessage> {
  const range = await toRangeReader(message)
  const header = await readHeader(range, client, signal)
  const { messageHeader, suite } = header
  if (messageHeader.contentType !== ContentType.FRAMED_DATA) {
    throw new SealwaxError('ERR_UNSUPPORTED_FORMAT', 'only framed messages can be read from the middle')
  }
  if (suite.signatureCurve && !signed) {
    throw new SealwaxError(
      'ERR_SIGNATURE_POLICY',
      'the message is signed, and reading parts of it cannot check the signature: decrypt it, or set "readSignedMessageWithoutVerifyingItsSignature"',
    )
  }
  const { start, contentLength, sequenceNumber } = await findFinalFrame(range, header)
  const longest = sequenceNumber > 1 ? messageHeader.frameLength : contentLength
  if (longest > maxBodySize) {
    throw new SealwaxError('ERR_LIMIT_EXCEEDED', `maxBodySize exceeded. ${longest} > ${maxBodySize}`)
  }

  const material = await requestMaterialsFor(client, cmm, header, encryptionContext, signal)
  let key: Uint8Array | undefined
  try {
    key = deriveCommittedKey(getEngine(), suite, dataKeyOf(material), header.messageId, header.suiteData)
    const aad = headerAad(header.body, material)
    if (!getEngine().open(key, header.iv, aad, header.tag, new Uint8Array(0))) throw authenticationFailed()
    const last = await readRange(range, start, contentLength + FINAL_FRAME_OVERHEAD)
    wipe(openFinalFrame(last, key, header, sequenceNumber))
    return new OpenedMessage(range, header, key, sequenceNumber - 1, contentLength)
  } catch (error) {
    wipe(key)
    throw error
  } finally {
    material.zeroUnencryptedDataKey()
  }
}

export async function toRangeReader(source: RandomAccessSource): Promise<RangeReader> {
  const bytes = viewOf(source)
  if (bytes) return { length: bytes.length, read: (offset, length) => bytes.subarray(offset, offset + length) }
  if (typeof (source as FileHandleLike | null)?.stat === 'function') {
    const file = source as FileHandleLike
    const { size } = await file.stat()
    return {
      length: size,
      read: async (offset, length) => {
        const buffer = Buffer.allocUnsafeSlow(length)
        let filled = 0
        while (filled < length) {
          const { bytesRead } = await file.read(buffer, filled, length - filled, offset + filled)
          // Also for what is no such number: it would be asked for ever.
          if (!(bytesRead > 0)) break
          filled += bytesRead
        }
        return buffer.subarray(0, filled)
      },
    }
  }
  if (typeof (source as RangeReader | null)?.read === 'function') {
    checkInteger((source as RangeReader).length, 'length', 0, Number.MAX_SAFE_INTEGER)
    return source as RangeReader
  }
  throw new TypeError(`a Buffer, FileHandle or object with "length" and "read" is needed, got ${describe(source)}`)
}

/** The bytes asked for, in private memory: what a caller's buffer becomes later does not matter. */
export async function readRange(range: RangeReader, offset: number, length: number): Promise<Uint8Array> {
  const given: unknown = await range.read(offset, length)
  const bytes = viewOf(given)
  if (!bytes) throw new TypeError(`"read" must give bytes, it gave ${kindOf(given)}`)
  if (bytes.length > length) throw new RangeError(`"read" gave ${bytes.length} bytes where ${length} were asked for`)
  if (bytes.length < length) throw truncated()
  return Uint8Array.from(bytes)
}

export async function readHeader(
  range: RangeReader,
  client: Pick<ClientOptions, 'maxEncryptedDataKeys'>,
  signal?: AbortSignal,
): Promise<ParsedHeader> {
  const parser = new HeaderParser(limitsOf(client))
  for (let offset = 0; !parser.header; ) {
    const length = Math.min(Math.max(HEADER_PIECE_LENGTH, offset), range.length - offset)
    if (length <= 0) throw parser.truncated()
    await pushInSlices(parser, await readRange(range, offset, length), signal)
    offset += length
  }
  return parser.header
}

/**
 * Where the final frame starts, from the length of the message. Without a footer that is plain arithmetic; with one, its
 * length varies, and the few places possible are looked at, last first. Nothing found here is trusted before its tag is checked.
 */
export async function findFinalFrame(
  range: RangeReader,
  { bytes, suite, messageHeader: { frameLength } }: ParsedHeader,
) {
  const wireLength = frameLength + REGULAR_FRAME_OVERHEAD
  const bodyLength = range.length - bytes.length
  const maxFooterLength = suite.signatureCurve ? FOOTER_HEADER_LENGTH + MAX_SIGNATURE_LENGTH : 0
  const most = Math.floor((bodyLength - FINAL_FRAME_OVERHEAD) / wireLength)
  const least = Math.max(0, Math.floor((bodyLength - FINAL_FRAME_OVERHEAD - maxFooterLength) / wireLength))
  for (let regular = Math.min(most, MAX_UINT32 - 1); regular >= least; regular--) {
    const start = bytes.length + regular * wireLength
    const header = await readRange(range, start, FINAL_FRAME_HEADER_LENGTH)
    if (readU32(header, 0) !== FINAL_FRAME_MARKER) continue
    const contentLength = parseFinalFrameHeader(header, regular + 1, frameLength)
    const end = start + contentLength + FINAL_FRAME_OVERHEAD
    if (await endsAt(range, end, maxFooterLength > 0)) return { start, end, contentLength, sequenceNumber: regular + 1 }
  }
  throw truncated()
}

/** Whether the message ends at `end`, or with a footer that starts there. */
export async function endsAt(range: RangeReader, end: number, signed: boolean): Promise<boolean> {
  if (!signed || end + FOOTER_HEADER_LENGTH > range.length) return !signed && end === range.length
  const signatureLength = parseFooterHeader(await readRange(range, end, FOOTER_HEADER_LENGTH))
  return end + FOOTER_HEADER_LENGTH + signatureLength === range.length
}

function openFinalFrame(bytes: Uint8Array, key: Uint8Array, header: ParsedHeader, sequenceNumber: number): Uint8Array {
  const contentLength = parseFinalFrameHeader(bytes, sequenceNumber, header.messageHeader.frameLength)
  if (bytes.length !== contentLength + FINAL_FRAME_OVERHEAD) throw authenticationFailed()
  const aad = bodyAad(header.messageId, 'final frame', sequenceNumber, contentLength)
  const sealed = bytes.subarray(FINAL_FRAME_HEADER_LENGTH, bytes.length)
  const out = Buffer.allocUnsafeSlow(sealed.length - TAG_LENGTH)
  if (!getEngine().open(key, frameIv(sequenceNumber), aad, sealed, out)) throw authenticationFailed()
  return out
}

function truncated(): SealwaxError {
  return new SealwaxError('ERR_MESSAGE_TRUNCATED', 'Incomplete message. It does not end where its frames say')
}
