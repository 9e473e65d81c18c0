import { isShared, viewOf, wipe } from '../bytes'
import { getEngine } from '../engine/engine'
import { describe } from '../options'

/** Gives memory of exactly `length` bytes for the next piece of a result; its content is overwritten. */
export type Allocate = (length: number) => Uint8Array

/**
 * A buffer of its own for each piece, which whoever gets it may transfer: never a slice of Node's shared pool, where others
 * could see it.
 */
export const allocateFresh: Allocate = (length) => getEngine().allocate(length)

/** One buffer for a whole result, so that its pieces need no joining. */
export class Output {
  readonly #buffer: Buffer
  readonly #room: number
  /** Pieces for which there was no room, and all after them. */
  readonly #others: Uint8Array[] = []
  #length = 0

  constructor(buffer: Buffer) {
    this.#buffer = buffer
    this.#room = buffer.length
  }

  readonly allocate: Allocate = (length) => {
    const start = this.#length
    if (this.#buffer.length !== this.#room) {
      throw new TypeError('the output was resized or transferred while it was being written')
    }
    if (this.#others.length > 0 || start + length > this.#room) {
      // Not refused yet: it may be no message, or more memory than was needed may have been asked for before.
      const other = allocateFresh(length)
      this.#others.push(other)
      return other
    }
    this.#length += length
    return this.#buffer.subarray(start, start + length)
  }

  /**
   * The pieces in order, as one. They nearly always lie in place; where memory went unused they are moved together. Throws
   * `RangeError` where they do not fit.
   */
  join(pieces: readonly Uint8Array[]): Buffer {
    const total = pieces.reduce((sum, piece) => sum + piece.length, 0)
    if (total > this.#room) throw tooShort(total, this.#room)
    let length = 0
    for (const piece of pieces) {
      const inPlace = piece.buffer === this.#buffer.buffer && piece.byteOffset === this.#buffer.byteOffset + length
      if (!inPlace) this.#buffer.set(piece, length)
      length += piece.length
    }
    this.#buffer.fill(0, length)
    for (const other of this.#others) wipe(other)
    return this.#buffer.subarray(0, length)
  }

  /** Leaves nothing behind after a failure. */
  wipe(): void {
    if (this.#buffer.length === this.#room) this.#buffer.fill(0, 0, this.#length)
    for (const other of this.#others) wipe(other)
  }
}

/** Where a result goes: the caller's memory, or a function that is told how long the result can be and returns some. */
export type OutputMemory = Uint8Array | ((length: number) => Uint8Array)

/** Throws `TypeError` for what no result can go to. */
export function checkOutputMemory(output: unknown): asserts output is OutputMemory {
  if (typeof output !== 'function') checkMemory(output)
}

/**
 * The output over a caller's memory for a result that takes `atLeast` to `atMost` bytes and is made from `input`. Throws
 * `RangeError` where it is too short or overlaps the input.
 */
export function outputOver(memory: OutputMemory, atLeast: number, atMost: number, input: Uint8Array): Output {
  const output = checkMemory(typeof memory === 'function' ? memory(atMost) : memory)
  const { byteOffset: start, length } = output
  if (length < atLeast) throw tooShort(atMost, length)
  const overlaps = start < input.byteOffset + input.length && input.byteOffset < start + length
  if (output.buffer === input.buffer && overlaps) throw new RangeError('"output" must not overlap the input')
  return new Output(output.subarray(0, Math.min(length, atMost)))
}

function tooShort(needed: number, length: number): RangeError {
  return new RangeError(`"output" must be at least ${needed} bytes for this message, got ${length}`)
}

function checkMemory(output: unknown): Buffer {
  const bytes = viewOf(output)
  if (!bytes) {
    throw new TypeError(`"output" must be a Uint8Array or a function that returns one, got ${describe(output)}`)
  }
  if (isShared(bytes)) {
    throw new TypeError('"output" must not be in shared memory: others would see plaintext before it is authenticated')
  }
  if ((bytes.buffer as { resizable?: boolean }).resizable) {
    throw new TypeError('"output" must not be resizable: what is cut off could not be wiped')
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}
