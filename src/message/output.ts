/** Gives memory of exactly `length` bytes for the next piece of a result; its content is overwritten. */
export type Allocate = (length: number) => Uint8Array

/** A buffer of its own for each piece: never a slice of Node's shared pool, where others could see it. */
export const allocateFresh: Allocate = (length) => Buffer.allocUnsafeSlow(length)

const SLAB_LENGTH = 64 * 1024

/**
 * The pieces of a stream: large ones have a buffer each, small ones share those of this stream alone. A buffer each
 * would cost a message of many tiny frames some hundred times its length.
 */
export class Slab {
  #free = new Uint8Array(0)

  readonly allocate: Allocate = (length) => {
    if (length > SLAB_LENGTH / 8) return allocateFresh(length)
    if (length > this.#free.length) this.#free = Buffer.allocUnsafeSlow(SLAB_LENGTH)
    const piece = this.#free.subarray(0, length)
    this.#free = this.#free.subarray(length)
    return piece
  }
}

/** One buffer for a whole result, so that its pieces need no joining. */
export class Output {
  readonly #buffer: Buffer
  #length = 0

  /** `buffer` has room for the whole result. */
  constructor(buffer: Buffer) {
    this.#buffer = buffer
  }

  readonly allocate: Allocate = (length) => {
    const start = this.#length
    if (start + length > this.#buffer.length) return allocateFresh(length)
    this.#length += length
    return this.#buffer.subarray(start, start + length)
  }

  /** The pieces in order, as one. They nearly always lie in place; where memory went unused they are moved together. */
  join(pieces: readonly Uint8Array[]): Buffer {
    let length = 0
    for (const piece of pieces) {
      const inPlace = piece.buffer === this.#buffer.buffer && piece.byteOffset === this.#buffer.byteOffset + length
      if (!inPlace) this.#buffer.set(piece, length)
      length += piece.length
    }
    this.#buffer.fill(0, length)
    return this.#buffer.subarray(0, length)
  }

  /** Leaves nothing behind after a failure. */
  wipe(): void {
    this.#buffer.fill(0, 0, this.#length)
  }
}
