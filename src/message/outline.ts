import { SealwaxError } from '../errors'
import { parseSingleBlockHeader, SINGLE_BLOCK_HEADER_LENGTH, TAG_LENGTH } from '../format/frame'
import { ContentType, type MessageHeader, type ParsedHeader } from '../format/message-header'
import type { NodeAlgorithmSuite } from '../suites'
import {
  endsAt,
  findFinalFrame,
  type RandomAccessSource,
  type RangeReader,
  readHeader,
  readRange,
  toRangeReader,
} from './random-access'

/** What a message says of itself. Lengths in bytes. */
export interface MessageOutline {
  readonly messageHeader: MessageHeader
  readonly suite: NodeAlgorithmSuite
  /** Of the whole message. */
  readonly length: number
  readonly headerLength: number
  /** Absent where the message does not end where its frames say: it is cut, or something follows it. */
  readonly body?: BodyOutline
}

export interface BodyOutline {
  /** The final one included; 0 for a body in a single block. */
  readonly frames: number
  readonly plaintextLength: number
  /** 0 for a message without a signature. */
  readonly footerLength: number
}

/**
 * Reads the header and the lengths of a message without a key, from its two ends only. Nothing of it is authenticated:
 * fit to look at, not to decide by. Throws as `decrypt` does where the header is not one.
 *
 * @example
 * const file = await open('report.sealed')
 * const { messageHeader, body } = await outlineMessage(file)
 * await file.close()
 */
export async function outlineMessage(message: RandomAccessSource): Promise<MessageOutline> {
  const range = await toRangeReader(message)
  const header = await readHeader(range, { maxEncryptedDataKeys: false })
  const { messageHeader, suite, bytes } = header
  const body = await outlineBody(range, header)
  return { messageHeader, suite, length: range.length, headerLength: bytes.length, ...(body && { body }) }
}

async function outlineBody(range: RangeReader, header: ParsedHeader): Promise<BodyOutline | undefined> {
  try {
    return header.messageHeader.contentType === ContentType.FRAMED_DATA
      ? await outlineFrames(range, header)
      : await outlineSingleBlock(range, header)
  } catch (error) {
    if (error instanceof SealwaxError && error.code.startsWith('ERR_MESSAGE_')) return undefined
    throw error
  }
}

async function outlineFrames(range: RangeReader, header: ParsedHeader): Promise<BodyOutline> {
  const { contentLength, sequenceNumber, end } = await findFinalFrame(range, header)
  const plaintextLength = (sequenceNumber - 1) * header.messageHeader.frameLength + contentLength
  return { frames: sequenceNumber, plaintextLength, footerLength: range.length - end }
}

async function outlineSingleBlock(
  range: RangeReader,
  { bytes, suite }: ParsedHeader,
): Promise<BodyOutline | undefined> {
  const plaintextLength = parseSingleBlockHeader(await readRange(range, bytes.length, SINGLE_BLOCK_HEADER_LENGTH))
  const end = bytes.length + SINGLE_BLOCK_HEADER_LENGTH + plaintextLength + TAG_LENGTH
  if (!(await endsAt(range, end, suite.signatureCurve !== undefined))) return undefined
  return { frames: 0, plaintextLength, footerLength: range.length - end }
}
