import { equalBytes } from '../bytes'
import { type ContextOrder, type EncryptionContext, serializeContext } from '../encryption-context'

/**
 * An encryption context as additional authenticated data, in the orders that a reader tries. Each is serialized when it is first
 * wanted and then kept: a message may name thousands of keys, and to sort a long context takes milliseconds.
 */
export class ContextAad {
  readonly #context: Readonly<EncryptionContext>
  readonly #orders: readonly [ContextOrder, ContextOrder]
  #first: Uint8Array | undefined
  #second: Uint8Array | undefined
  #isSame: boolean | undefined

  constructor(context: Readonly<EncryptionContext>, orders: readonly [ContextOrder, ContextOrder]) {
    this.#context = context
    this.#orders = orders
  }

  get first(): Uint8Array {
    this.#first ??= serializeContext(this.#context, this.#orders[0])
    return this.#first
  }

  /** Undefined where it is the same. */
  get second(): Uint8Array | undefined {
    if (this.#isSame === undefined) {
      const second = serializeContext(this.#context, this.#orders[1])
      this.#isSame = equalBytes(second, this.first)
      if (!this.#isSame) this.#second = second
    }
    return this.#second
  }

  /** Bytes that a try to open an encrypted data key has to authenticate, as far as they are known. */
  get length(): number {
    return (this.#first?.length ?? 0) + (this.#second?.length ?? 0)
  }
}
