import { wipe } from '../bytes'
import type { SegmentHash } from '../engine/engine'
import { SealwaxError } from '../errors'

export const BLOCK_LENGTH = 16

/** How much ciphertext is hashed and opened at once: whole blocks, far more than a call costs, little enough to hold. */
export const CHUNK_LENGTH = 1024 * 1024

/** The lengths of the chunks that `length` bytes of ciphertext are cut into. */
export function chunkLengths(length: number): number[] {
  const lengths = Array<number>(Math.floor(length / CHUNK_LENGTH)).fill(CHUNK_LENGTH)
  const rest = length % CHUNK_LENGTH
  return rest === 0 ? lengths : [...lengths, rest]
}

export function wipeHashes(hashes: readonly SegmentHash[]): void {
  for (const { hash } of hashes) wipe(hash)
}

/** Puts the pieces of a stream together to chunks of known lengths. */
export class Chunks {
  readonly #lengths: readonly number[]
  // Ciphertext only.
  readonly #held: Buffer
  #complete = 0
  #filled = 0

  /** Lengths from 1 to {@link CHUNK_LENGTH}, which must be all of the stream; and as much memory as the longest, to be used. */
  constructor(lengths: readonly number[], memory: Buffer = Buffer.allocUnsafeSlow(CHUNK_LENGTH)) {
    this.#lengths = lengths
    this.#held = memory
  }

  /** The chunks that `piece` completes. Each is valid until the next is asked for. */
  *add(piece: Uint8Array): Generator<Buffer> {
    for (let start = 0; start < piece.length; ) {
      const length = this.#lengths[this.#complete]
      if (length === undefined) throw new SealwaxError('ERR_TRAILING_DATA', 'the answer goes on past its end')
      const part = piece.subarray(start, start + length - this.#filled)
      this.#held.set(part, this.#filled)
      this.#filled += part.length
      start += part.length
      if (this.#filled < length) return
      this.#complete++
      this.#filled = 0
      yield this.#held.subarray(0, length)
    }
  }

  /** Throws `ERR_MESSAGE_TRUNCATED` where chunks are missing. */
  end(): void {
    if (this.#complete < this.#lengths.length) {
      throw new SealwaxError('ERR_MESSAGE_TRUNCATED', 'the answer ends early')
    }
  }
}
