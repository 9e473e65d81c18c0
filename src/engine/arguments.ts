/** The checks that both backends make of a caller's arguments. Every message pays for them, so they read lengths only. */
import { isShared, readU16 } from '../bytes'
import {
  FINAL_FRAME_OVERHEAD,
  IV_LENGTH,
  MAX_GCM_LENGTH,
  MAX_UINT32,
  REGULAR_FRAME_OVERHEAD,
  TAG_LENGTH,
} from '../format/frame'
import { maxMessagePlaintext, messageLength, ownFields } from '../format/header-layout'
import { checkBoolean, checkBytes, checkInteger, checkOneOf } from '../options'
import type { FrameRun, HashName, HkdfOutput, MessageRun, SegmentHash } from './engine'

export const HASH_LENGTHS: Readonly<Record<HashName, number>> = { sha256: 32, sha384: 48, sha512: 64 }

/** Bytes of an AES block. */
export const BLOCK_LENGTH = 16

/** The most random bytes in one call: node:crypto's limit. */
const MAX_RANDOM_LENGTH = 2 ** 31 - 1

export function checkRandomLength(length: number): void {
  checkInteger(length, 'length', 0, MAX_RANDOM_LENGTH)
}

export function checkHash(hash: HashName): void {
  checkOneOf(hash, 'hash', ['sha256', 'sha384', 'sha512'])
}

export function checkHkdf(hash: HashName, key: Uint8Array, salt: Uint8Array, ...outputs: HkdfOutput[]): void {
  checkHash(hash)
  checkLive(key, 'key')
  checkLive(salt, 'salt')
  for (const { info, length } of outputs) {
    checkLive(info, 'info')
    checkInteger(length, 'length', 1, 255 * HASH_LENGTHS[hash])
  }
}

export function checkSeal(
  key: Uint8Array,
  iv: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
  out: Uint8Array,
): void {
  checkKeyAndIv(key, iv)
  checkLive(aad, 'aad')
  checkLive(plaintext, 'plaintext')
  if (plaintext.length > MAX_GCM_LENGTH) {
    throw new RangeError(`"plaintext" must be at most ${MAX_GCM_LENGTH} bytes, got ${plaintext.length}`)
  }
  checkLength(out, 'out', plaintext.length + TAG_LENGTH)
}

export function checkOpen(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): void {
  checkKeyAndIv(key, iv)
  checkLive(aad, 'aad')
  checkLive(sealed, 'sealed')
  if (sealed.length < TAG_LENGTH || sealed.length > MAX_GCM_LENGTH + TAG_LENGTH) {
    throw new RangeError(`"sealed" must be ${TAG_LENGTH} to ${MAX_GCM_LENGTH + TAG_LENGTH} bytes, got ${sealed.length}`)
  }
  checkLength(out, 'out', sealed.length - TAG_LENGTH)
}

/** `out` is missing where nothing is written. */
export function checkSegment(
  key: Uint8Array,
  iv: Uint8Array,
  blockOffset: number,
  name: 'plaintext' | 'ciphertext',
  input: Uint8Array,
  out?: Uint8Array,
): void {
  checkKeyAndIv(key, iv)
  checkInteger(blockOffset, 'blockOffset', 0, MAX_GCM_LENGTH / BLOCK_LENGTH)
  checkLive(input, name)
  const end = blockOffset * BLOCK_LENGTH + input.length
  if (end > MAX_GCM_LENGTH) throw new RangeError(`"${name}" must end at byte ${MAX_GCM_LENGTH} at most, got ${end}`)
  if (out) checkLength(out, 'out', input.length)
}

/** Checks the segments of a whole message and returns them in order. */
export function checkSegments(
  key: Uint8Array,
  iv: Uint8Array,
  aad: Uint8Array,
  segments: readonly SegmentHash[],
): SegmentHash[] {
  checkKeyAndIv(key, iv)
  checkLive(aad, 'aad')
  for (const { blockOffset, length, hash } of segments) {
    checkInteger(blockOffset, 'blockOffset', 0, MAX_GCM_LENGTH / BLOCK_LENGTH)
    checkInteger(length, 'length', 0, MAX_GCM_LENGTH)
    checkLength(hash, 'hash', BLOCK_LENGTH)
  }
  // An empty one lies before what starts at its place.
  const inOrder = [...segments].sort((a, b) => a.blockOffset - b.blockOffset || a.length - b.length)
  let end = 0
  for (const { blockOffset, length } of inOrder) {
    const start = blockOffset * BLOCK_LENGTH
    if (start !== end) throw new RangeError(`"segments" must adjoin: one starts at byte ${start}, not at ${end}`)
    end += length
  }
  if (end > MAX_GCM_LENGTH) throw new RangeError(`"segments" must be at most ${MAX_GCM_LENGTH} bytes, got ${end}`)
  return inOrder
}

export function checkTag(tag: Uint8Array): void {
  checkLength(tag, 'tag', TAG_LENGTH)
}

export function checkSealFrames(run: FrameRun, plaintext: Uint8Array, final: boolean, out: Uint8Array): void {
  checkRun(run)
  checkLive(plaintext, 'plaintext')
  checkBoolean(final, 'final')
  const rest = plaintext.length % run.frameLength
  const regular = (plaintext.length - rest) / run.frameLength
  if (rest !== 0 && !final) {
    throw new RangeError(`"plaintext" must be whole frames of ${run.frameLength} bytes, got ${plaintext.length} bytes`)
  }
  // A regular frame numbered 2^32 - 1 would read as a final one.
  if (run.firstSequenceNumber + regular > MAX_UINT32) {
    throw new RangeError(`${regular} frames from number ${run.firstSequenceNumber} pass the last number of a message`)
  }
  checkLength(out, 'out', plaintext.length + regular * REGULAR_FRAME_OVERHEAD + (final ? FINAL_FRAME_OVERHEAD : 0))
}

export function checkOpenFrames(run: FrameRun, body: Uint8Array, out: Uint8Array): void {
  checkRun(run)
  checkLive(body, 'body')
  checkLive(out, 'out')
}

export function checkSealMessages(
  run: MessageRun,
  messageIds: Uint8Array,
  plaintexts: readonly Uint8Array[],
  out: Uint8Array,
): void {
  checkMessageRun(run)
  checkCount(plaintexts, 'plaintexts')
  const { messageIdStart, messageIdEnd } = ownFields(run.suite, run.header.length)
  checkLength(messageIds, 'messageIds', plaintexts.length * (messageIdEnd - messageIdStart))
  let length = 0
  for (const plaintext of plaintexts) {
    checkLive(plaintext, 'plaintext')
    length += messageLength(run, plaintext.length)
  }
  checkLength(out, 'out', length)
}

export function checkOpenMessages(run: MessageRun, messages: readonly Uint8Array[], out: Uint8Array): void {
  checkMessageRun(run)
  checkCount(messages, 'messages')
  let length = 0
  for (const message of messages) {
    checkLive(message, 'message')
    length += maxMessagePlaintext(run, message.length)
  }
  checkLength(out, 'out', length)
}

/** Each is an argument of the native call, whose number the stack bounds. */
function checkCount(all: readonly unknown[], name: string): void {
  if (all.length > MAX_COUNT) throw new RangeError(`"${name}" must be at most ${MAX_COUNT}, got ${all.length}`)
}

const MAX_COUNT = 16_384

/** The error for memory that another thread can write. */
export function sharedMemory(): TypeError {
  return new TypeError('memory of a SharedArrayBuffer is refused: another thread could change it during the call')
}

/** Throws it for what the addon would refuse. */
export function refuseShared(...views: Uint8Array[]): void {
  if (views.some(isShared)) throw sharedMemory()
}

/** The error for an output that shares memory with the input. */
export function overlapping(): RangeError {
  return new RangeError('"out" must not overlap the input')
}

function checkRun({ key, messageId, frameLength, firstSequenceNumber }: FrameRun): void {
  checkKey(key)
  checkBytes(messageId, 'messageId')
  if (messageId.length !== 16 && messageId.length !== 32) {
    throw new RangeError(`"messageId" must be 16 or 32 bytes, got ${messageId.length}`)
  }
  checkInteger(frameLength, 'frameLength', 1, MAX_UINT32)
  checkInteger(firstSequenceNumber, 'firstSequenceNumber', 1, MAX_UINT32)
}

function checkMessageRun({ suite, dataKey, header, unstored, frameLength }: MessageRun): void {
  checkLength(dataKey, 'dataKey', suite.keyLengthBytes)
  checkBytes(header, 'header')
  const { messageIdStart, messageIdEnd, commitmentStart } = ownFields(suite, header.length)
  const fits = commitmentStart >= messageIdEnd && header[0] === suite.messageFormat
  if (!fits || readU16(header, messageIdStart - 2) !== suite.id) {
    throw new RangeError(`"header" must be the body of a header of ${suite.name}`)
  }
  checkLive(unstored, 'unstored')
  checkInteger(frameLength, 'frameLength', 1, MAX_UINT32)
}

function checkKeyAndIv(key: Uint8Array, iv: Uint8Array): void {
  checkKey(key)
  checkLength(iv, 'iv', IV_LENGTH)
}

function checkKey(key: Uint8Array): void {
  checkBytes(key, 'key')
  if (key.length !== 16 && key.length !== 24 && key.length !== 32) {
    throw new RangeError(`"key" must be 16, 24 or 32 bytes, got ${key.length}`)
  }
}

function checkLength(bytes: Uint8Array, name: string, length: number): void {
  checkLive(bytes, name)
  if (bytes.length !== length) throw new RangeError(`"${name}" must be ${length} bytes, got ${bytes.length}`)
}

/** Refuses a view whose memory was transferred or shrunk away: it has no length, but it is not an empty message. */
export function checkLive(bytes: Uint8Array, name: string): void {
  checkBytes(bytes, name)
  // Any method of the prototype throws a TypeError then.
  if (bytes.length === 0) Uint8Array.prototype.at.call(bytes, 0)
}
