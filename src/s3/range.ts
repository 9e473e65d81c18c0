import { Readable } from 'node:stream'
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { openCbc, openCbcPart, openGcmPart } from '../engine/legacy'
import { authenticationFailed, malformed, SealwaxError } from '../errors'
import { describe } from '../options'
import { readBody, toSdkBody } from './body'
import { BLOCK_LENGTH } from './chunks'
import type { ContentKey } from './content-key'
import { plaintextLength } from './large'

/** Bytes `first` to `last` of a plaintext, and what to ask S3 for. */
export interface WantedRange {
  /** Negative where it is counted from the end. */
  readonly first: number
  /** Infinity for all from `first` on. */
  readonly last: number
  /** Of ciphertext, and a block early, which AES-CBC needs. */
  readonly start: number
  readonly end: number
  readonly header: string
}

/** Reads `bytes=a-b`, `bytes=a-` and `bytes=-n`. Throws `RangeError` for anything else. */
export function parseRange(range: string): WantedRange {
  const [, a = '', b = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(range) ?? []
  const last = b === '' ? Infinity : Number(b)
  if (a === '' && last >= 1 && last < Infinity) {
    // The tag or the padding, a block cut short by the start, and the one before.
    const length = last + 3 * BLOCK_LENGTH
    return { first: -last, last: Infinity, start: -length, end: Infinity, header: `bytes=-${length}` }
  }
  const first = Number(a)
  if (a === '' || last < first) {
    throw new RangeError(`"Range" must be bytes=first-last, bytes=first- or bytes=-length, got ${describe(range)}`)
  }
  const start = Math.max(0, first - (first % BLOCK_LENGTH) - BLOCK_LENGTH)
  // Whole blocks, and one more: it may be the padding.
  const end = last + 2 * BLOCK_LENGTH - (last % BLOCK_LENGTH) - 1
  return last === Infinity
    ? { first, last, start, end: Infinity, header: `bytes=${start}-` }
    : { first, last, start, end, header: `bytes=${start}-${end}` }
}

/** Decrypts what S3 gave of a range. Nothing of it is authenticated. */
export async function openRange(
  contentKey: ContentKey,
  output: GetObjectCommandOutput,
  wanted: WantedRange,
  limit: number,
): Promise<GetObjectCommandOutput> {
  const { start: given, end, total } = parseContentRange(output.ContentRange)
  const asked = wanted.start < 0 ? Math.max(0, total + wanted.start) : wanted.start
  if (given !== asked || end !== Math.min(wanted.end, total - 1)) {
    throw malformed('S3 answered with another range than it was asked for')
  }
  const body = await readBody(output.Body, limit + 4 * BLOCK_LENGTH)
  if (body.length !== end - given + 1) throw new SealwaxError('ERR_MESSAGE_TRUNCATED', 'the answer ends early')
  // Counted from the end, it may start within a block.
  const start = Math.ceil(given / BLOCK_LENGTH) * BLOCK_LENGTH
  const ciphertext = body.subarray(start - given)
  const isEnd = end === total - 1
  const { plaintext, length } =
    contentKey.mode === 'gcm'
      ? openGcm(contentKey, start, ciphertext, total)
      : openCbcRange(contentKey, start, ciphertext, isEnd)
  const first = wanted.first < 0 ? Math.max(0, start + plaintext.length + wanted.first) : wanted.first
  const from = Math.min(first - start, plaintext.length)
  const wantedBytes = plaintext.subarray(from, wanted.last - start + 1)
  const { length: count } = wantedBytes
  return {
    ...output,
    Body: toSdkBody(Readable.from([wantedBytes], { objectMode: false })),
    ContentLength: count,
    ContentRange: count === 0 ? `bytes */${length}` : `bytes ${first}-${first + count - 1}/${length}`,
  }
}

interface OpenedPart {
  /** From the first byte of the range that was asked of S3. */
  readonly plaintext: Uint8Array
  /** Of the whole plaintext, as far as is known. */
  readonly length: number | '*'
}

function openGcm({ key, iv }: ContentKey, start: number, ciphertext: Uint8Array, total: number): OpenedPart {
  const length = plaintextLength(total)
  // The tag is no ciphertext.
  const part = ciphertext.subarray(0, Math.max(0, length - start))
  return { plaintext: openGcmPart(key, iv, start / BLOCK_LENGTH, part), length }
}

function openCbcRange({ key, iv }: ContentKey, start: number, ciphertext: Uint8Array, isEnd: boolean): OpenedPart {
  // The block before is the IV of the first one; its own plaintext, unless it is the first of all, cannot be had.
  const skipped = start === 0 ? 0 : BLOCK_LENGTH
  const blockBefore = start === 0 ? iv : ciphertext.subarray(0, BLOCK_LENGTH)
  const blocks = ciphertext.subarray(skipped)
  // Past the end: nothing was asked for but the padding.
  if (start > 0 && blocks.length === 0) return { plaintext: new Uint8Array(skipped), length: '*' }
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
