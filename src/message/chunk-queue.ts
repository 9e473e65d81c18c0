import { allocateSecret, isShared, viewOf, wipe } from '../bytes'

/** A chunk this long is worked on where it lies; shorter ones are put together first, which costs less than a batch each. */
const LONG_CHUNK = 16 * 1024
/** How many bytes are put together: what they make takes no pages of its own from the system, which would cost more. */
const GATHERED_LENGTH = 64 * 1024
/** How many chunks are, however short. */
const GATHERED_CHUNKS = 4096

interface Chunk {
  readonly bytes: Uint8Array
  /** When it came. */
  readonly length: number
}

/** Chunks that a writer gave, whose memory is the writer's again once they are done. */
export class ChunkQueue {
  #chunks: Chunk[] = []
  /** The first that is not done, and how many bytes of it are. */
  #first = 0
  #offset = 0
  #length = 0

  /** How many bytes are not done. */
  get length(): number {
    return this.#length
  }

  /** Throws `TypeError` where its memory was transferred while it waited. */
  add(chunk: Uint8Array): void {
    const bytes = viewOf(chunk)!
    const { length } = bytes
    if (length === 0) return
    this.#chunks.push({ bytes, length })
    this.#length += length
  }

  /** What is not done of the first chunk. Throws `TypeError` where it is no longer what it was. */
  first(): Uint8Array {
    const { bytes, length } = this.#chunks[this.#first]!
    if (bytes.length === length) return bytes.subarray(this.#offset)
    throw new TypeError('a chunk was resized or transferred before its write callback')
  }

  /** So many bytes of the first chunk are done. */
  advance(count: number): void {
    this.#length -= count
    this.#offset += count
    if (this.#offset < this.#chunks[this.#first]!.length) return
    this.#first++
    this.#offset = 0
    if (this.#length > 0) return
    this.#chunks = []
    this.#first = 0
  }

  /** How many bytes the next batch has, `atMost` or less, and of how many chunks they are. */
  next(atMost: number): { readonly length: number; readonly count: number } {
    let length = this.#chunks[this.#first]!.length - this.#offset
    if (length >= LONG_CHUNK) return { length: Math.min(atMost, length), count: 1 }
    const most = Math.min(atMost, GATHERED_LENGTH)
    const count = Math.min(this.#chunks.length - this.#first, GATHERED_CHUNKS)
    let taken = 1
    for (; taken < count && length < most; taken++) length += this.#chunks[this.#first + taken]!.length
    return { length: Math.min(most, length), count: taken }
  }

  /** Has `work` done on the next batch of that length, in memory that no other thread writes and that lasts for this call. */
  take<T>(length: number, work: (batch: Uint8Array) => T): T {
    const first = this.first()
    if (first.length >= length) {
      this.advance(length)
      const batch = first.subarray(0, length)
      return work(isShared(batch) ? Uint8Array.from(batch) : batch)
    }
    gathered ??= allocateSecret(GATHERED_LENGTH)
    const batch = gathered.subarray(0, length)
    try {
      for (let done = 0; done < length; ) {
        const part = this.first().subarray(0, length - done)
        batch.set(part, done)
        done += part.length
        this.advance(part.length)
      }
      return work(batch)
    } finally {
      wipe(batch)
    }
  }
}

/** Shared by all streams: what is put together there is wiped before another can be. */
let gathered: Uint8Array | undefined
