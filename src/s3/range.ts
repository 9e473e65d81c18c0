import { Readable } from 'node:stream'
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { openCbc, openCbcPart, openGcmPart } from '../engine/legacy'
import { authenticationFailed, SealwaxError } from '../errors'
import { TAG_LENGTH } from '../format/frame'
import { describe } from '../options'
import { readBody, toSdkBody } from './body'
import type { ContentKey } from './content-key'

const BLOCK_LENGTH = 16

/** Bytes `first` to `last` of a plaintext, and what to ask S3 for. */
export interface WantedRange {
  readonly first: number
  /** Infinity for all from `first` on. */
  readonly last: number
  /** Offset of the first byte of ciphertext: a block early, which AES-CBC needs. */
  readonly start: number
  readonly header: string
}

/** Reads `bytes=a-b` and `bytes=a-`. Throws `RangeError` for anything else. */
export function parseRange(range: string): WantedRange {
  const [, a, b] = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(range) ?? []
  const first = Number(a)
  const last = b === '' ? Infinity : Number(b)
  if (a === undefined || last < first) {
    throw new RangeError(`"Range" must be bytes=first-last or bytes=first-, got ${describe(range)}`)
  }
  const start = Math.max(0, first - (first % BLOCK_LENGTH) - BLOCK_LENGTH)
  // Whole blocks, and one more: it may be the padding.
  const end = last === Infinity ? '' : last + 2 * BLOCK_LENGTH - (last % BLOCK_LENGTH) - 1
  return { first, last, start, header: `bytes=${start}-${end}` }
}

/** Decrypts what S3 gave of a range. Nothing of it is authenticated. */
export async function openRange(
  contentKey: ContentKey,
  output: GetObjectCommandOutput,
  wanted: WantedRange,
  limit: number,
): Promise<GetObjectCommandOutput> {
  const { start, end, total } = parseContentRange(output.ContentRange)
  if (start !== wanted.start) throw malformed('S3 answered with another range than it was asked for')
  const ciphertext = await readBody(output.Body, limit + 4 * BLOCK_LENGTH)
  if (ciphertext.length !== end - start + 1) throw new SealwaxError('ERR_MESSAGE_TRUNCATED', 'the answer ends early')
  const isEnd = end === total - 1
  const { plaintext, length } =
    contentKey.mode === 'gcm'
      ? openGcm(contentKey, start, ciphertext, total)
      : openCbcRange(contentKey, start, ciphertext, isEnd)
  const from = Math.min(wanted.first - start, plaintext.length)
  const wantedBytes = plaintext.subarray(from, wanted.last - start + 1)
  return {
    ...output,
    Body: toSdkBody(Readable.from([wantedBytes], { objectMode: false })),
    ContentLength: wantedBytes.length,
    ContentRange: `bytes ${wanted.first}-${wanted.first + wantedBytes.length - 1}/${length}`,
  }
}

interface OpenedPart {
  /** From the first byte of the range that was asked of S3. */
  readonly plaintext: Uint8Array
  /** Of the whole plaintext, as far as is known. */
  readonly length: number | '*'
}

function openGcm({ key, iv }: ContentKey, start: number, ciphertext: Uint8Array, total: number): OpenedPart {
  const length = total - TAG_LENGTH
  if (length < 0) throw authenticationFailed()
  // The tag is no ciphertext.
  const part = ciphertext.subarray(0, Math.max(0, length - start))
  return { plaintext: openGcmPart(key, iv, start / BLOCK_LENGTH, part), length }
}

function openCbcRange({ key, iv }: ContentKey, start: number, ciphertext: Uint8Array, isEnd: boolean): OpenedPart {
  // The block before is the IV of the first one; its own plaintext, unless it is the first of all, cannot be had.
  const skipped = start === 0 ? 0 : BLOCK_LENGTH
  const blockBefore = start === 0 ? iv : ciphertext.subarray(0, BLOCK_LENGTH)
  const blocks = ciphertext.subarray(skipped)
  const opened = isEnd ? openCbc(key, blockBefore, blocks) : openCbcPart(key, blockBefore, blocks)
  if (!opened) throw authenticationFailed()
  const plaintext = new Uint8Array(skipped + opened.length)
  plaintext.set(opened, skipped)
  return { plaintext, length: isEnd ? start + plaintext.length : '*' }
}

function parseContentRange(text = ''): { start: number; end: number; total: number } {
  const [, start, end, total] = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(text) ?? []
  if (total === undefined) throw malformed('S3 did not say which range its answer is')
  return { start: Number(start), end: Number(end), total: Number(total) }
}

function malformed(message: string): SealwaxError {
  return new SealwaxError('ERR_MESSAGE_MALFORMED', message)
}
