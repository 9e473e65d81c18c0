/**
 * The header of a message (data-format/message-header.md).
 *
 *     version 1: 01 || 80 || u16 suite || 16-byte message ID || u16 length || encryption context || u16 count || EDKs ||
 *                u8 content type || 00000000 || 0c || u32 frame length
 *                then the header authentication: 12-byte IV || 16-byte tag
 *     version 2: 02 || u16 suite || 32-byte message ID || u16 length || encryption context || u16 count || EDKs ||
 *                u8 content type || u32 frame length || 32-byte commitment
 *                then the header authentication: 16-byte tag (its IV is zeros)
 *     EDK:       u16 length || key provider ID || u16 length || key provider info || u16 length || ciphertext
 */
import { ByteReader, ByteWriter, fromUtf8, lossyUtf8, readU16, utf8 } from '../bytes'
import { bytesOf, EncryptedDataKey } from '../encrypted-data-key'
import { type EncryptionContext, parseContext, serializeContext } from '../encryption-context'
import { malformed, SealwaxError } from '../errors'
import { type AlgorithmSuiteIdentifier, getSuite, isSigned, type NodeAlgorithmSuite } from '../suites'
import { IV_LENGTH, TAG_LENGTH } from './frame'
import { COMMITMENT_LENGTH, headerAuthLength } from './header-layout'

/** How the body is cut: one block (only read), or frames. */
export const ContentType = Object.freeze({ NO_FRAMING: 1, FRAMED_DATA: 2 } as const)
export type ContentType = 1 | 2

interface MessageHeaderFields {
  readonly suiteId: AlgorithmSuiteIdentifier
  /** Random: 16 bytes in version 1, 32 in version 2. */
  readonly messageId: Uint8Array
  readonly encryptionContext: Readonly<EncryptionContext>
  readonly encryptedDataKeys: readonly EncryptedDataKey[]
  readonly contentType: ContentType
  /** Plaintext bytes in a regular frame; 0 when not framed. */
  readonly frameLength: number
}

export interface MessageHeaderV1 extends MessageHeaderFields {
  readonly version: 1
  readonly type: 0x80
  readonly headerIvLength: 12
}

export interface MessageHeaderV2 extends MessageHeaderFields {
  readonly version: 2
  /** The key commitment, 32 bytes. */
  readonly suiteData: Uint8Array
}

/** The header of a message, as callers see it. */
export type MessageHeader = MessageHeaderV1 | MessageHeaderV2

/** A header read from a message. Nothing in it is authenticated until `tag` has been checked over `body`. */
export interface ParsedHeader {
  readonly messageHeader: MessageHeader
  readonly suite: NodeAlgorithmSuite
  /** The header body as received: the AAD of `tag`. */
  readonly body: Uint8Array
  /** Header body and header authentication as received: the start of what a signature covers. */
  readonly bytes: Uint8Array
  readonly iv: Uint8Array
  readonly tag: Uint8Array
  /** The same bytes as in `messageHeader`, which is the caller's to keep. */
  readonly messageId: Uint8Array
  /** The key commitment of version 2; empty in version 1. */
  readonly suiteData: Uint8Array
}

export interface HeaderLimits {
  /** Refuse a message with more encrypted data keys, before reading them. Default: the format's own limit. */
  maxEncryptedDataKeys?: number
}

/** A longer header is neither written nor read: the format alone would allow 12 GiB. */
export const MAX_HEADER_LENGTH = 16 * 1024 * 1024

const VERSION_1 = 1
const VERSION_2 = 2
const TYPE_CUSTOMER_AUTHENTICATED = 0x80
const ZERO_IV = new Uint8Array(IV_LENGTH)
/** Most headers are shorter: one copy brings them whole. */
const READ_AHEAD = 512

/** The header body. Throws `ERR_LIMIT_EXCEEDED` where a field is longer than the format can say, or all is longer than is read. */
export function serializeHeaderBody(header: MessageHeader): Uint8Array {
  const context = serializeContext(header.encryptionContext)
  const keys = header.encryptedDataKeys.map((edk) => {
    const { rawInfo, encryptedDataKey } = bytesOf(edk)
    return [utf8(edk.providerId), rawInfo, encryptedDataKey]
  })
  let length = (header.version === VERSION_1 ? 4 + 16 + 10 : 3 + 32 + 5 + COMMITMENT_LENGTH) + 2 + context.length + 2
  for (const fields of keys)
    for (const field of fields) length += 2 + checkU16(field.length, 'encrypted data key field')
  checkU16(keys.length, 'number of encrypted data keys')
  checkLength(length + headerAuthLength(getSuite(header.suiteId)))

  const writer = new ByteWriter(length)
  if (header.version === VERSION_1) writer.u8(VERSION_1).u8(TYPE_CUSTOMER_AUTHENTICATED)
  else writer.u8(VERSION_2)
  writer.u16(header.suiteId).put(header.messageId).u16(context.length).put(context).u16(keys.length)
  for (const fields of keys) for (const field of fields) writer.u16(field.length).put(field)
  writer.u8(header.contentType)
  if (header.version === VERSION_1) writer.u32(0).u8(IV_LENGTH).u32(header.frameLength)
  else writer.u32(header.frameLength).put(header.suiteData)
  return writer.bytes
}

/** Whether the header that `bytes` begin with says that the message is signed, before anything of it is checked. */
export function peekIsSigned(bytes: Uint8Array): boolean {
  const suiteAt = bytes[0] === VERSION_1 ? 2 : 1
  return bytes.length >= suiteAt + 2 && isSigned(readU16(bytes, suiteAt))
}

/** How many pairs of an encryption context the header says it has that `bytes` begin with, before anything of it is checked. */
export function peekPairCount(bytes: Uint8Array): number {
  const countAt = (bytes[0] === VERSION_1 ? 4 + 16 : 3 + 32) + 2
  return bytes.length < countAt + 2 || readU16(bytes, countAt - 2) === 0 ? 0 : readU16(bytes, countAt)
}

/** The same for encrypted data keys. */
export function peekKeyCount(bytes: Uint8Array): number {
  const contextAt = bytes[0] === VERSION_1 ? 4 + 16 : 3 + 32
  const keysAt = contextAt + 2 + (bytes.length < contextAt + 2 ? 0 : readU16(bytes, contextAt))
  return bytes.length < keysAt + 2 ? 0 : readU16(bytes, keysAt)
}

/**
 * Reads a header from pieces of any size, in time linear in its length: each byte is copied once, each field parsed
 * once. Memory follows the bytes received, never a length field.
 *
 * @example
 * const parser = new HeaderParser()
 * let used = parser.push(chunk) // bytes of the chunk that belong to the header
 * if (parser.header) body(chunk.subarray(used))
 */
export class HeaderParser {
  /** Set once the header is complete. */
  header: ParsedHeader | undefined
  #bytes: Uint8Array = Buffer.allocUnsafe(1024)
  #length = 0
  readonly #steps: Generator<number, ParsedHeader, void>
  #needed: number

  constructor(limits: HeaderLimits = {}) {
    this.#steps = readHeader(limits, () => this.#bytes)
    this.#needed = this.#steps.next().value as number
  }

  /** Whether nothing was read yet. */
  get isEmpty(): boolean {
    return this.#length === 0
  }

  /** Takes what it needs of `chunk`, returns how many bytes that was. Throws on the first byte that breaks a rule. */
  push(chunk: Uint8Array): number {
    let used = 0
    while (!this.header) {
      if (this.#length < this.#needed) {
        const piece = chunk.subarray(used, used + Math.max(this.#needed - this.#length, READ_AHEAD))
        this.#append(piece)
        used += piece.length
        if (this.#length < this.#needed) return used
      }
      this.#step()
    }
    // What was read ahead of the header's end came with this chunk, and belongs to the body.
    return Math.max(0, used - (this.#length - this.#needed))
  }

  /** The error for an input that ends before the header does. */
  truncated(): SealwaxError {
    return new SealwaxError('ERR_MESSAGE_TRUNCATED', `Incomplete Header. The message ends after ${this.#length} bytes`)
  }

  #step(): void {
    const { done, value } = this.#steps.next()
    if (done) {
      if (!value) throw new SealwaxError('ERR_INTERNAL', 'this header has been refused before')
      this.header = value
      return
    }
    this.#needed = value
    checkLength(this.#needed)
  }

  #append(piece: Uint8Array): void {
    const length = this.#length + piece.length
    if (length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.#bytes.length))
      larger.set(this.#bytes.subarray(0, this.#length))
      this.#bytes = larger
    }
    this.#bytes.set(piece, this.#length)
    this.#length = length
  }
}

/** Reads a whole header that stands at the start of `bytes`. */
export function parseHeader(bytes: Uint8Array, limits?: HeaderLimits): ParsedHeader {
  const parser = new HeaderParser(limits)
  parser.push(bytes)
  if (!parser.header) throw parser.truncated()
  return parser.header
}

/**
 * The grammar: yields how many bytes it needs in all, goes on once they are there. `received` gives the buffer they are
 * in, which may be another after each yield: no view of it lives across one.
 */
function* readHeader(
  { maxEncryptedDataKeys }: HeaderLimits,
  received: () => Uint8Array,
): Generator<number, ParsedHeader, void> {
  let end = 1
  yield end
  const version = checkVersion(received()[0]!)
  end += version === VERSION_1 ? 3 : 2
  yield end
  if (version === VERSION_1 && received()[1] !== TYPE_CUSTOMER_AUTHENTICATED) {
    throw malformed('Malformed Header. Unknown type')
  }
  const suite = getSuite(readU16(received(), end - 2))
  if (suite.messageFormat !== version) {
    throw new SealwaxError(
      'ERR_UNSUPPORTED_FORMAT',
      `Unsupported algorithm suite. ${suite.name} is not one of version ${version}`,
    )
  }
  const messageIdStart = end
  const messageIdEnd = end + (version === VERSION_1 ? 16 : 32)

  end = messageIdEnd + 2
  yield end
  const contextStart = end
  end += readU16(received(), end - 2)
  yield end
  const encryptionContext = parseContext(received().subarray(contextStart, end))

  end += 2
  yield end
  const count = readU16(received(), end - 2)
  if (count === 0) throw malformed('Malformed Header. No encrypted data keys')
  if (maxEncryptedDataKeys !== undefined && count > maxEncryptedDataKeys) {
    throw new SealwaxError('ERR_LIMIT_EXCEEDED', `maxEncryptedDataKeys exceeded. ${count} > ${maxEncryptedDataKeys}`)
  }
  const encryptedDataKeys: EncryptedDataKey[] = []
  for (let i = 0; i < count; i++) {
    const idStart = end + 2
    const ends: number[] = []
    for (let field = 0; field < 3; field++) {
      end += 2
      yield end
      const length = readU16(received(), end - 2)
      if (length === 0) throw malformed('Malformed encrypted data key')
      end += length
      yield end
      ends.push(end)
    }
    encryptedDataKeys.push(toEncryptedDataKey(received(), idStart, ends as [number, number, number]))
  }

  const restStart = end
  end += version === VERSION_1 ? 10 : 5 + COMMITMENT_LENGTH
  yield end
  const bodyEnd = end
  const rest = new ByteReader(received().subarray(restStart, bodyEnd), 'message header')
  const contentType = checkContentType(rest.u8())
  if (version === VERSION_1 && (rest.u32() !== 0 || rest.u8() !== IV_LENGTH)) throw malformed('Malformed Header.')
  const frameLength = rest.u32()
  if ((frameLength === 0) !== (contentType === ContentType.NO_FRAMING)) {
    throw malformed(`Malformed Header. Frame length ${frameLength} for content type ${contentType}`)
  }

  end += headerAuthLength(suite)
  yield end
  const bytes = received().subarray(0, end)
  const messageId = bytes.subarray(messageIdStart, messageIdEnd)
  const suiteData = bytes.subarray(bodyEnd - rest.remaining, bodyEnd)
  const common = {
    suiteId: suite.id,
    // Buffers, as client-node has them: programs call toString('hex').
    messageId: Buffer.from(messageId),
    encryptionContext,
    encryptedDataKeys: Object.freeze(encryptedDataKeys),
    contentType,
    frameLength,
  }
  return {
    messageHeader: Object.freeze<MessageHeader>(
      version === VERSION_1
        ? { version, type: TYPE_CUSTOMER_AUTHENTICATED, ...common, headerIvLength: IV_LENGTH }
        : { version, ...common, suiteData: Buffer.from(suiteData) },
    ),
    suite,
    body: bytes.subarray(0, bodyEnd),
    bytes,
    iv: version === VERSION_1 ? bytes.subarray(bodyEnd, bodyEnd + IV_LENGTH) : ZERO_IV,
    tag: bytes.subarray(end - TAG_LENGTH),
    messageId,
    suiteData,
  }
}

function checkVersion(byte: number): 1 | 2 {
  if (byte === VERSION_1 || byte === VERSION_2) return byte
  const hint =
    byte === 0x41 ? ' It looks like base64 text: decode it first, or pass a string with encoding "base64"' : ''
  throw new SealwaxError('ERR_UNSUPPORTED_FORMAT', `Not a supported message format version.${hint}`)
}

function checkContentType(byte: number): ContentType {
  if (byte === ContentType.NO_FRAMING || byte === ContentType.FRAMED_DATA) return byte
  throw malformed('Unknown contentType')
}

/** The key whose fields, the first from `start`, end at `ends`; two bytes of length stand before each. */
function toEncryptedDataKey(bytes: Uint8Array, start: number, ends: [number, number, number]): EncryptedDataKey {
  const providerId = fromUtf8(bytes.subarray(start, ends[0]))
  if (providerId === undefined) throw malformed('Malformed encrypted data key: the key provider ID is not valid UTF-8')
  // Key provider info is bytes (raw AES keyrings put an IV there); its text is for people and for comparing key ARNs.
  const rawInfo = bytes.subarray(ends[0] + 2, ends[1])
  const encryptedDataKey = bytes.subarray(ends[1] + 2, ends[2])
  return new EncryptedDataKey({ providerId, providerInfo: lossyUtf8(rawInfo), rawInfo, encryptedDataKey })
}

function checkLength(length: number): void {
  if (length <= MAX_HEADER_LENGTH) return
  throw new SealwaxError('ERR_LIMIT_EXCEEDED', `the message header is longer than ${MAX_HEADER_LENGTH} bytes`)
}

function checkU16(value: number, what: string): number {
  if (value <= 0xffff) return value
  throw new SealwaxError('ERR_LIMIT_EXCEEDED', `number out of bounds. ${what}: ${value}, at most 65535`)
}
