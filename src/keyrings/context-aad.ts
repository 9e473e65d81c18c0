import { equalBytes } from '../bytes'
import { type ContextOrder, type EncryptionContext, serializeContext } from '../encryption-context'

/**
 * An encryption context as additional authenticated data, in the orders that a reader tries, without those that give the
 * same. Each is serialized when it is first wanted and then kept: a message may name thousands of keys, and to sort a long context
 * takes milliseconds.
 */
export class ContextAad implements Iterable<Uint8Array> {
  readonly #context: Readonly<EncryptionContext>
  readonly #orders: ContextOrder[]
  readonly #known: Uint8Array[] = []

  constructor(context: Readonly<EncryptionContext>, orders: readonly [ContextOrder, ContextOrder]) {
    this.#context = context
    // Most processes that write have that language, whatever this one has.
    this.#orders = [...orders, 'english']
  }

  *[Symbol.iterator](): Generator<Uint8Array> {
    for (let i = 0; i < this.#known.length || this.#serializeNext(); i++) yield this.#known[i]!
  }

  /** Whether there is one more. */
  #serializeNext(): boolean {
    for (let order = this.#orders.shift(); order !== undefined; order = this.#orders.shift()) {
      const bytes = serializeContext(this.#context, order)
      if (this.#known.some((known) => equalBytes(known, bytes))) continue
      this.#known.push(bytes)
      return true
    }
    return false
  }

  /** Bytes that a try to open an encrypted data key has to authenticate, as far as they are known. */
  get length(): number {
    return this.#known.reduce((sum, { length }) => sum + length, 0)
  }
}
