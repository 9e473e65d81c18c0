import { warn } from '../engine/native'
import { SealwaxError } from '../errors'

/** How many times AES-GCM may seal under one key with IVs that are drawn at random (NIST SP 800-38D, 8.3). */
const LIMIT = 2 ** 32
const WARNED = LIMIT / 2

/** Counts what a wrapping key wraps in this process; what others have wrapped with it, nobody here can know. */
export class WrapCount {
  #count: number

  constructor(count = 0) {
    this.#count = count
  }

  /** Throws `ERR_LIMIT_EXCEEDED` past the limit; half way there, warns once. */
  add(): void {
    if (this.#count >= LIMIT) {
      throw new SealwaxError('ERR_LIMIT_EXCEEDED', 'an AES key wraps at most 2^32 data keys: take a new one')
    }
    this.#count++
    if (this.#count === WARNED)
      warn('an AES wrapping key has wrapped 2^31 data keys, half of what it may: rotate it', 'SEALWAX_KEY_USE')
  }
}
