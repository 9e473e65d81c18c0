import { addAbortSignal, type Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { malformed, SealwaxError } from '../errors'
import { TAG_LENGTH } from '../format/frame'
import { discardBody, toReadable } from './body'
import { CHUNK_LENGTH, Chunks, chunkLengths } from './chunks'

export interface RangedRead {
  /** Bytes of ciphertext, without the tag. */
  readonly length: number
  /** Bytes of ciphertext in a request: whole blocks. */
  readonly partSize: number
  readonly concurrency: number
  readonly signal: AbortSignal
  /** Asks for a range of the one object. */
  readonly get: (range: string, signal: AbortSignal) => Promise<GetObjectCommandOutput>
  /** Is given each chunk once, in any order, and the tag, which is at `length`; they are its own until it settles. */
  readonly take: (chunk: Buffer, offset: number) => Promise<void>
}

/** How often a range is asked for whose answer breaks off. What arrived whole is not asked for again. */
const MAX_ATTEMPTS = 3
const FIRST_DELAY = 100

/** Reads all of an object in ranges, several at a time. Once this settles, no request is under way. */
export async function readRanges(read: RangedRead): Promise<void> {
  const controller = new AbortController()
  const signal = AbortSignal.any([read.signal, controller.signal])
  const parts = partsOf(read)
  let failure: { error: unknown } | undefined
  const work = async () => {
    // For all its chunks: the system gives out new memory slowly.
    const memory = Buffer.allocUnsafeSlow(CHUNK_LENGTH)
    try {
      for (const [start, end] of parts) await readPart(read, start, end, memory, signal)
    } catch (error) {
      failure ??= { error }
      controller.abort()
    }
  }
  await Promise.all(Array.from({ length: read.concurrency }, work))
  if (failure) throw failure.error
}

/** The tag belongs to the last part, even where that is longer then. */
function* partsOf({ length, partSize }: RangedRead): Generator<readonly [start: number, end: number]> {
  let start = 0
  for (; start + partSize < length; start += partSize) yield [start, start + partSize]
  yield [start, length]
}

async function readPart(
  read: RangedRead,
  start: number,
  end: number,
  memory: Buffer,
  signal: AbortSignal,
): Promise<void> {
  const isLast = end === read.length
  let offset = start
  for (let attempt = 1; ; attempt++) {
    const lengths = [...chunkLengths(end - offset), ...(isLast ? [TAG_LENGTH] : [])]
    const last = (isLast ? end + TAG_LENGTH : end) - 1
    // One of its own for each request: what listens to it goes with it.
    const own = AbortSignal.any([signal])
    const { Body, ContentRange } = await read.get(`bytes=${offset}-${last}`, own)
    if (ContentRange !== `bytes ${offset}-${last}/${read.length + TAG_LENGTH}`) {
      discardBody(Body)
      throw malformed('S3 answered with another range than it was asked for')
    }
    const chunks = new Chunks(lengths, memory)
    let isTaking = false
    try {
      // No signal ends a byte stream of the web.
      for await (const piece of addAbortSignal(own, toReadable(Body as Readable))) {
        for (const chunk of chunks.add(piece)) {
          isTaking = true
          await read.take(chunk, offset)
          isTaking = false
          offset += chunk.length
        }
      }
      chunks.end()
      return
    } catch (error) {
      // Only the connection deserves another attempt, and only where something is missing: what is wrong, the tag tells.
      if (isTaking || error instanceof SealwaxError || signal.aborted) throw error
      if (offset > last) return
      if (attempt === MAX_ATTEMPTS) throw error
      await setTimeout(FIRST_DELAY * 2 ** (attempt - 1), undefined, { signal })
    }
  }
}
