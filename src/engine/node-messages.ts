/** Whole messages over the other calls of an engine: the definition of what `native/message.cc` does, and its oracle. */
import { equalBytes, readU32, wipe } from '../bytes'
import { SealwaxError } from '../errors'
import {
  bodyAad,
  FINAL_FRAME_HEADER_LENGTH,
  FINAL_FRAME_OVERHEAD,
  frameIv,
  IV_LENGTH,
  REGULAR_FRAME_OVERHEAD,
  serializeFinalFrameHeader,
  TAG_LENGTH,
} from '../format/frame'
import { headerAuthLength, ownFields } from '../format/header-layout'
import { deriveCommittedKey, deriveMessageKeys } from './derive'
import type { Engine, MessageRun, OpenedMessage } from './engine'

/** `out` is as long as the message. */
export function sealMessage(
  engine: Engine,
  run: MessageRun,
  messageId: Uint8Array,
  plaintext: Uint8Array,
  out: Uint8Array,
): void {
  const { suite, frameLength } = run
  const bodyLength = run.header.length
  const headerLength = bodyLength + headerAuthLength(suite)
  const { messageIdStart, commitmentStart } = ownFields(suite, bodyLength)
  const { key, commitment } = deriveMessageKeys(engine, suite, run.dataKey, messageId)
  out.set(run.header)
  out.set(messageId, messageIdStart)
  if (commitment) out.set(commitment, commitmentStart)
  // Version 1 carries the header's IV, zeros.
  out.fill(0, bodyLength, headerLength)
  const aad = Buffer.concat([out.subarray(0, bodyLength), run.unstored])
  const frames = { key, messageId, frameLength, firstSequenceNumber: 1 }
  try {
    engine.seal(key, ZERO_IV, aad, EMPTY, out.subarray(headerLength - TAG_LENGTH, headerLength))
    engine.sealFrames(frames, plaintext, true, out.subarray(headerLength))
  } finally {
    wipe(key)
  }
}

/** `out` has the room that the message may need; it is wiped where the message is refused. */
export function openMessage(
  engine: Engine,
  run: MessageRun,
  message: Uint8Array,
  out: Uint8Array,
): OpenedMessage | undefined {
  let key: Uint8Array | undefined
  try {
    key = authenticatedKey(engine, run, message)
    const opened = key && openBody(engine, run, key, message, out)
    if (!opened) out.fill(0)
    return opened
  } finally {
    wipe(key)
  }
}

/** The message's own key, where its header is the expected one and authentic. */
function authenticatedKey(engine: Engine, run: MessageRun, message: Uint8Array): Uint8Array | undefined {
  const { suite, header, unstored, dataKey } = run
  const { messageIdStart, messageIdEnd, commitmentStart } = ownFields(suite, header.length)
  const headerLength = header.length + headerAuthLength(suite)
  const expected =
    message.length >= headerLength &&
    equalBytes(message.subarray(0, messageIdStart), header.subarray(0, messageIdStart)) &&
    equalBytes(message.subarray(messageIdEnd, commitmentStart), header.subarray(messageIdEnd, commitmentStart))
  if (!expected) return undefined
  const body = message.subarray(0, header.length)
  const messageId = body.subarray(messageIdStart, messageIdEnd)
  const iv = suite.messageFormat === 1 ? message.subarray(header.length, header.length + IV_LENGTH) : ZERO_IV
  const tag = message.subarray(headerLength - TAG_LENGTH, headerLength)
  let key: Uint8Array
  try {
    key = deriveCommittedKey(engine, suite, dataKey, messageId, body.subarray(commitmentStart))
  } catch (error) {
    if (error instanceof SealwaxError && error.code === 'ERR_AUTHENTICATION_FAILED') return undefined
    throw error
  }
  if (engine.open(key, iv, Buffer.concat([body, unstored]), tag, EMPTY)) return key
  wipe(key)
  return undefined
}

function openBody(
  engine: Engine,
  { suite, header, frameLength }: MessageRun,
  key: Uint8Array,
  message: Uint8Array,
  out: Uint8Array,
): OpenedMessage | undefined {
  const { messageIdStart, messageIdEnd } = ownFields(suite, header.length)
  const messageId = message.subarray(messageIdStart, messageIdEnd)
  const start = header.length + headerAuthLength(suite)
  const body = message.subarray(start)
  const { count } = engine.openFrames({ key, messageId, frameLength, firstSequenceNumber: 1 }, body, out)
  const opened = count * frameLength
  const last = body.subarray(count * (frameLength + REGULAR_FRAME_OVERHEAD))
  if (last.length < FINAL_FRAME_OVERHEAD) return undefined
  const contentLength = readU32(last, FINAL_FRAME_HEADER_LENGTH - 4)
  if (contentLength > frameLength || contentLength > last.length - FINAL_FRAME_OVERHEAD) return undefined
  const expected = serializeFinalFrameHeader(count + 1, contentLength)
  if (!equalBytes(last.subarray(0, FINAL_FRAME_HEADER_LENGTH), expected)) return undefined
  const sealed = last.subarray(FINAL_FRAME_HEADER_LENGTH, FINAL_FRAME_OVERHEAD + contentLength)
  const aad = bodyAad(messageId, 'final frame', count + 1, contentLength)
  const plaintext = out.subarray(opened, opened + contentLength)
  if (!engine.open(key, frameIv(count + 1), aad, sealed, plaintext)) return undefined
  const used = message.length - last.length + FINAL_FRAME_OVERHEAD + contentLength
  return { plaintext: out.subarray(0, opened + contentLength), used }
}

const ZERO_IV = new Uint8Array(IV_LENGTH)
const EMPTY = new Uint8Array(0)
