/** Where things stand in a header, as far as who seals and opens messages must know; `message-header.ts` knows the rest. */
import type { NodeAlgorithmSuite } from '../suites'
import { FINAL_FRAME_OVERHEAD, framesLength, IV_LENGTH, TAG_LENGTH } from './frame'

export const COMMITMENT_LENGTH = 32

/** Bytes of the header authentication that follows the header body. */
export function headerAuthLength(suite: NodeAlgorithmSuite): number {
  return suite.messageFormat === 1 ? IV_LENGTH + TAG_LENGTH : TAG_LENGTH
}

/** The fields that each message has of its own, in a header body. */
export interface OwnFields {
  readonly messageIdStart: number
  readonly messageIdEnd: number
  /** The commitment ends the body: suites without one have none of its bytes. */
  readonly commitmentStart: number
}

export function ownFields(suite: NodeAlgorithmSuite, bodyLength: number): OwnFields {
  return suite.messageFormat === 1
    ? { messageIdStart: 4, messageIdEnd: 20, commitmentStart: bodyLength }
    : { messageIdStart: 3, messageIdEnd: 35, commitmentStart: bodyLength - COMMITMENT_LENGTH }
}

/** What decides how long a message is, besides its plaintext. */
export interface MessageShape {
  readonly suite: NodeAlgorithmSuite
  /** The body of the header. */
  readonly header: Uint8Array
  readonly frameLength: number
}

/** Bytes of header and frames. */
export function messageLength({ suite, header, frameLength }: MessageShape, plaintextLength: number): number {
  return header.length + headerAuthLength(suite) + framesLength(plaintextLength, frameLength, true)
}

/** The most plaintext that a message of `length` bytes can hold, or a little more. */
export function maxMessagePlaintext({ suite, header }: MessageShape, length: number): number {
  return Math.max(0, length - header.length - headerAuthLength(suite) - FINAL_FRAME_OVERHEAD)
}
