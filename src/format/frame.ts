/**
 * The body of a message (data-format/message-body.md): frames, or (reading only) a single block.
 *
 *     regular frame   u32 sequence number || 12-byte IV || frame-length bytes || 16-byte tag
 *     final frame     ff ff ff ff || u32 sequence number || 12-byte IV || u32 content length || content || 16-byte tag
 *     single block    12-byte IV || u64 content length || content || 16-byte tag
 *
 * Sequence numbers start at 1 and rise by 1; a frame's IV is its sequence number in 12 bytes, the single block's is 1.
 * Each is one AES-GCM operation with the AAD of {@link bodyAad}.
 *
 * This file is the definition; `native/frames.cc` is the same layout again, for speed.
 */
import { ByteReader, ByteWriter, equalBytes, utf8 } from '../bytes'
import { malformed, type SealwaxError } from '../errors'

export const IV_LENGTH = 12
export const TAG_LENGTH = 16

/** Sequence numbers, frame lengths and so the number of frames end here. */
export const MAX_UINT32 = 0xffff_ffff

/** Bytes that a regular frame adds to its content. */
export const REGULAR_FRAME_OVERHEAD = 4 + IV_LENGTH + TAG_LENGTH
/** Bytes of a final frame before its content. */
export const FINAL_FRAME_HEADER_LENGTH = 4 + 4 + IV_LENGTH + 4
/** Bytes that the final frame adds to its content. */
export const FINAL_FRAME_OVERHEAD = FINAL_FRAME_HEADER_LENGTH + TAG_LENGTH
/** What stands in place of a sequence number at the start of the final frame. */
export const FINAL_FRAME_MARKER = 0xffff_ffff
/** Bytes of a single block before its content. */
export const SINGLE_BLOCK_HEADER_LENGTH = IV_LENGTH + 8
/** The most bytes AES-GCM seals under one IV. */
export const MAX_GCM_LENGTH = 2 ** 36 - 32

export type BodyPart = 'frame' | 'final frame' | 'single block'

const CONTENT_STRINGS: Readonly<Record<BodyPart, Uint8Array>> = {
  frame: utf8('AWSKMSEncryptionClient Frame'),
  'final frame': utf8('AWSKMSEncryptionClient Final Frame'),
  'single block': utf8('AWSKMSEncryptionClient Single Block'),
}

/** How many bytes the frames of `plaintextLength` bytes take. */
export function framesLength(plaintextLength: number, frameLength: number, final: boolean): number {
  const regular = Math.floor(plaintextLength / frameLength)
  return plaintextLength + regular * REGULAR_FRAME_OVERHEAD + (final ? FINAL_FRAME_OVERHEAD : 0)
}

/** The most plaintext that `bodyLength` bytes of body, perhaps with a footer behind them, can hold. */
export function maxPlaintextLength(bodyLength: number, frameLength: number, framed: boolean): number {
  if (!framed) return Math.max(0, bodyLength - SINGLE_BLOCK_HEADER_LENGTH - TAG_LENGTH)
  const length = Math.max(0, bodyLength - FINAL_FRAME_OVERHEAD)
  const regular = Math.floor(length / (frameLength + REGULAR_FRAME_OVERHEAD))
  return regular * frameLength + Math.min(frameLength, length - regular * (frameLength + REGULAR_FRAME_OVERHEAD))
}

/** The AAD of a frame or single block (message-body-aad.md): bound to the message, the place and the length. */
export function bodyAad(
  messageId: Uint8Array,
  part: BodyPart,
  sequenceNumber: number,
  contentLength: number,
): Uint8Array {
  const content = CONTENT_STRINGS[part]
  return new ByteWriter(messageId.length + content.length + 12)
    .put(messageId)
    .put(content)
    .u32(sequenceNumber)
    .u64(contentLength).bytes
}

/** The IV of a frame: its sequence number, big-endian. */
export function frameIv(sequenceNumber: number): Uint8Array {
  return new ByteWriter(IV_LENGTH).u64(0).u32(sequenceNumber).bytes
}

export function serializeRegularFrameHeader(sequenceNumber: number): Uint8Array {
  return new ByteWriter(4 + IV_LENGTH).u32(sequenceNumber).put(frameIv(sequenceNumber)).bytes
}

export function serializeFinalFrameHeader(sequenceNumber: number, contentLength: number): Uint8Array {
  return new ByteWriter(FINAL_FRAME_HEADER_LENGTH)
    .u32(FINAL_FRAME_MARKER)
    .u32(sequenceNumber)
    .put(frameIv(sequenceNumber))
    .u32(contentLength).bytes
}

/**
 * Checks the header of the final frame and returns its content length. `header` is FINAL_FRAME_HEADER_LENGTH bytes.
 * The frame must be number `sequenceNumber`.
 */
export function parseFinalFrameHeader(header: Uint8Array, sequenceNumber: number, frameLength: number): number {
  const reader = new ByteReader(header, 'final frame')
  reader.take(4) // the marker, which the caller has seen
  if (reader.u32() !== sequenceNumber) throw outOfOrder(sequenceNumber)
  checkIv(reader.take(IV_LENGTH), sequenceNumber)
  const contentLength = reader.u32()
  if (contentLength > frameLength) {
    throw malformed(`Final frame length exceeds frame length. ${contentLength} > ${frameLength}`)
  }
  return contentLength
}

/** Checks the header of a single block and returns its content length. `header` is SINGLE_BLOCK_HEADER_LENGTH bytes. */
export function parseSingleBlockHeader(header: Uint8Array): number {
  const reader = new ByteReader(header, 'single block')
  checkIv(reader.take(IV_LENGTH), 1)
  const contentLength = reader.u64()
  if (contentLength > BigInt(MAX_GCM_LENGTH)) {
    throw malformed(`Content length out of bounds. ${contentLength} > ${MAX_GCM_LENGTH}`)
  }
  return Number(contentLength)
}

/** The error for a frame that is not number `expected`. */
export function outOfOrder(expected: number): SealwaxError {
  return malformed(`Encrypted body sequence out of order. Frame ${expected} does not come next`)
}

/** The error for an IV that is not the sequence number. */
export function wrongIv(sequenceNumber: number): SealwaxError {
  return malformed(`the IV of frame ${sequenceNumber} is not its sequence number`)
}

function checkIv(iv: Uint8Array, sequenceNumber: number): void {
  if (!equalBytes(iv, frameIv(sequenceNumber))) throw wrongIv(sequenceNumber)
}
