import { constants } from 'node:buffer'
import { SealwaxError } from '../errors'
import { MAX_GCM_LENGTH, TAG_LENGTH } from '../format/frame'

/** S3's limits: numbers from 1, and bytes in one part. Older releases of Node.js hold a little less in one piece. */
export const MAX_PART_NUMBER = 10_000
export const MAX_PART_LENGTH = Math.min(5 * 2 ** 30, constants.MAX_LENGTH - TAG_LENGTH)
/** S3 takes shorter ones at the end only. */
export const MIN_PART_LENGTH = 5 * 2 ** 20

/**
 * Where the parts of an upload lie in their object, in whatever order they come. All but the last have one length, which
 * is that of part 1; or, of the first two parts to come, that of the lower number: it cannot be the last.
 */
export class PartGeometry {
  readonly #lengths = new Map<number, number>()
  readonly #known: readonly [partLength: number | undefined, last: number | undefined]
  #partLength: number | undefined
  #last: number | undefined
  #highest = 0

  /** What is known already, where an upload goes on. */
  constructor(partLength?: number, last?: number) {
    this.#known = [partLength, last]
    this.#partLength = partLength
    this.#last = last
  }

  /** Of all parts but the last; `undefined` until it is known. */
  get partLength(): number | undefined {
    return this.#partLength
  }

  /** The number of the last part, once it is known: it was said to be, is shorter than the others, or no number follows. */
  get last(): number | undefined {
    return this.#last
  }

  /** The highest number so far. */
  get highest(): number {
    return this.#highest
  }

  /**
   * Gives a part its place. The same part can come again. Throws, and keeps nothing, where it does not fit in;
   * `isLast` is what the caller said, if anything.
   */
  add(number: number, length: number, isLast: boolean | undefined): void {
    const before = this.#lengths.get(number)
    if (before !== undefined && before !== length) {
      throw partError(`part ${number} was ${before} bytes before, and is ${length} now: a part cannot change`)
    }
    const partLength = this.#partLength ?? this.#infer(number, length, isLast)
    const isNew = partLength !== this.#partLength
    const last = [...(isNew ? this.#lengths : []), [number, length] as const].reduce(
      (last, [n, l]) => lastOf(last, n, l, partLength, n === number ? isLast : undefined),
      this.#last,
    )
    const highest = Math.max(this.#highest, number)
    if (last !== undefined && highest > last) {
      throw partError(
        `part ${highest} cannot follow part ${last}: that one is shorter than the others, or was said to be the last`,
      )
    }
    if (partLength !== undefined && (number - 1) * partLength + length > MAX_GCM_LENGTH) throw tooLong()
    this.#lengths.set(number, length)
    this.#partLength = partLength
    this.#last = last
    this.#highest = highest
  }

  /** Takes back a part that has not come after all: it may come otherwise. Where others have their places, they keep them. */
  remove(number: number): void {
    this.#lengths.delete(number)
    const [partLength, last] = this.#known
    if (this.#lengths.size === 0) this.#partLength = partLength
    if (this.#last === number) this.#last = last
    this.#highest = Math.max(0, ...this.#lengths.keys())
  }

  /** Ends the object after the highest part. */
  end(): void {
    this.#last = this.#highest
  }

  /** Offset of the first byte; the length of the parts must be known. */
  offsetOf(number: number): number {
    return (number - 1) * this.#partLength!
  }

  #infer(number: number, length: number, isLast: boolean | undefined): number | undefined {
    if (number === 1 || isLast === false) return length
    const [other] = [...this.#lengths].filter(([n]) => n !== number)
    if (!other) return undefined
    return other[0] < number ? other[1] : length
  }
}

/** Which part is the last, now that this one is known. */
function lastOf(
  last: number | undefined,
  number: number,
  length: number,
  partLength: number | undefined,
  isLast: boolean | undefined,
): number | undefined {
  const isShort = partLength !== undefined && length < partLength
  if (isShort && isLast === false) {
    throw partError(`part ${number} has ${length} bytes: all parts but the last must have ${partLength}`)
  }
  const ends = isLast || isShort || number === MAX_PART_NUMBER
  if (ends && last !== undefined && last !== number) {
    throw partError(`part ${number} cannot be the last: part ${last} is`)
  }
  if (!ends && last !== number && partLength !== undefined && length > partLength) {
    throw partError(
      `part ${number} has ${length} bytes, and part 1 has ${partLength}: all but the last, which may be shorter, must be equal`,
    )
  }
  return ends ? number : last
}

export function tooLong(): SealwaxError {
  return new SealwaxError(
    'ERR_LIMIT_EXCEEDED',
    `an encrypted object takes at most ${MAX_GCM_LENGTH} bytes: AES-GCM ends there`,
  )
}

export function partError(message: string): SealwaxError {
  return new SealwaxError('ERR_MULTIPART_UPLOAD', message)
}
