import { isUtf8 } from 'node:buffer'
import { types } from 'node:util'
import { malformed } from './errors'

/** The UTF-8 bytes of `text`. Throws `TypeError` on a lone surrogate, which has no UTF-8 form. */
export function utf8(text: string): Uint8Array {
  if (!text.isWellFormed()) throw new TypeError('text with a lone surrogate cannot be written as UTF-8')
  return Buffer.from(text, 'utf8')
}

/**
 * The bytes that `value` is, as a plain view of the same memory; `undefined` where it is none. Arrays of another realm, such as a
 * test's environment, are bytes too. What a subclass has in place of `length` or `subarray` is not asked. Throws `TypeError`
 * where the memory was transferred or shrunk away: that is not an empty array.
 */
export function viewOf(value: unknown): Uint8Array | undefined {
  if (!types.isUint8Array(value)) return undefined
  const length = lengthOf.call(value) as number
  // Any method of the prototype throws a TypeError then.
  if (length === 0) Uint8Array.prototype.at.call(value, 0)
  return new Uint8Array(bufferOf.call(value) as ArrayBuffer, byteOffsetOf.call(value) as number, length)
}

const [bufferOf, byteOffsetOf, lengthOf] = (['buffer', 'byteOffset', 'length'] as const).map(
  (name) => Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), name)!.get!,
) as [() => unknown, () => unknown, () => unknown]

/** Whether another thread can change the bytes between what is checked and what is used. */
export function isShared(bytes: Uint8Array): boolean {
  return types.isSharedArrayBuffer(bytes.buffer)
}

/** The text of `bytes`, or `undefined` where they are not valid UTF-8. Nothing is replaced or normalized. */
export function fromUtf8(bytes: Uint8Array): string | undefined {
  return isUtf8(bytes) ? lossyUtf8(bytes) : undefined
}

/** The text of `bytes` for people to read: what is not valid UTF-8 becomes U+FFFD. */
export function lossyUtf8(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8')
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')
}

/** Compares byte by byte, as unsigned numbers; a prefix sorts first. Not constant-time: for public bytes only. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const common = Math.min(a.length, b.length)
  for (let i = 0; i < common; i++) {
    if (a[i] !== b[i]) return a[i]! - b[i]!
  }
  return a.length - b.length
}

/** Whether two public byte strings are equal. Not constant-time. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && compareBytes(a, b) === 0
}

/** A private copy in memory of its own: never on the JavaScript heap, where a moving collector could leave copies. */
export function copySecret(bytes: Uint8Array): Uint8Array {
  const copy = allocateSecret(bytes.length)
  copy.set(bytes)
  return copy
}

/** Zeroed memory for a secret. An explicit ArrayBuffer keeps small arrays off the JavaScript heap. */
export function allocateSecret(length: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(length))
}

/** Overwrites secrets with zeros; `undefined` entries are skipped. */
export function wipe(...secrets: (Uint8Array | undefined)[]): void {
  for (const secret of secrets) secret?.fill(0)
}

/**
 * A cursor over received bytes. Every length is checked against what is there before anything is taken.
 * Views it hands out share memory with the input.
 */
export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #what: string
  #offset = 0

  /** `what` names the structure in errors. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes
    this.#what = what
  }

  get offset(): number {
    return this.#offset
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset
  }

  u8(): number {
    return this.#bytes[this.#advance(1)]!
  }

  u16(): number {
    return readU16(this.#bytes, this.#advance(2))
  }

  u32(): number {
    return readU32(this.#bytes, this.#advance(4))
  }

  u64(): bigint {
    const start = this.#advance(8)
    return BigInt(readU32(this.#bytes, start)) * 0x1_0000_0000n + BigInt(readU32(this.#bytes, start + 4))
  }

  /** The next `length` bytes, as a view. */
  take(length: number): Uint8Array {
    const start = this.#advance(length)
    return this.#bytes.subarray(start, start + length)
  }

  /** The next `length` bytes as text; refuses invalid UTF-8. */
  text(length: number): string {
    const text = fromUtf8(this.take(length))
    if (text === undefined) throw malformed(`${this.#what} holds invalid UTF-8`)
    return text
  }

  /** Throws unless everything was read. `problem` is what to say of leftover bytes. */
  end(problem = `${this.#what} has bytes left over`): void {
    if (this.remaining !== 0) throw malformed(problem)
  }

  #advance(length: number): number {
    if (length > this.remaining) {
      throw malformed(
        `${this.#what} ends early: ${length} bytes needed at offset ${this.#offset}, ${this.remaining} left`,
      )
    }
    const start = this.#offset
    this.#offset += length
    return start
  }
}

/** Writes big-endian integers and byte strings, which are not secret, into one buffer of just the right length. */
export class ByteWriter {
  readonly bytes: Uint8Array
  #offset = 0

  constructor(length: number) {
    // From Node's shared pool: much cheaper than memory of its own, which a small view gets when it crosses to the addon.
    this.bytes = Buffer.allocUnsafe(length)
  }

  u8(value: number): this {
    this.bytes[this.#offset++] = value
    return this
  }

  u16(value: number): this {
    return this.u8(value >>> 8).u8(value)
  }

  u32(value: number): this {
    return this.u16(value >>> 16).u16(value)
  }

  /** An integer up to 2^53 - 1. */
  u64(value: number): this {
    return this.u32(Math.floor(value / 0x1_0000_0000)).u32(value)
  }

  put(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.#offset)
    this.#offset += bytes.length
    return this
  }
}

/** The big-endian integer at `offset`, which must lie within `bytes`. */
export function readU16(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! * 0x100 + bytes[offset + 1]!
}

/** The big-endian integer at `offset`, which must lie within `bytes`. */
export function readU32(bytes: Uint8Array, offset: number): number {
  return readU16(bytes, offset) * 0x1_0000 + readU16(bytes, offset + 2)
}
