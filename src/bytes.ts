import { SealwaxError } from './errors'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The UTF-8 bytes of `text`. Throws `TypeError` on a lone surrogate, which has no UTF-8 form. */
export function utf8(text: string): Uint8Array {
  if (!text.isWellFormed()) throw new TypeError('text with a lone surrogate cannot be written as UTF-8')
  return encoder.encode(text)
}

/** The text of `bytes`, or `undefined` where they are not valid UTF-8. Nothing is replaced or normalized. */
export function fromUtf8(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes)
  } catch {
    return undefined
  }
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
  #bytes: Uint8Array
  #view: DataView
  #offset = 0
  #what: string

  /** `what` names the structure in errors. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#what = what
  }

  get offset(): number {
    return this.#offset
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1))
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2))
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4))
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8))
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

/** Writes big-endian integers and byte strings into one buffer of a known length. */
export class ByteWriter {
  readonly bytes: Uint8Array
  #view: DataView
  #offset = 0

  constructor(length: number) {
    this.bytes = new Uint8Array(length)
    this.#view = new DataView(this.bytes.buffer)
  }

  get offset(): number {
    return this.#offset
  }

  u8(value: number): this {
    this.#view.setUint8(this.#advance(1), value)
    return this
  }

  u16(value: number): this {
    this.#view.setUint16(this.#advance(2), value)
    return this
  }

  u32(value: number): this {
    this.#view.setUint32(this.#advance(4), value)
    return this
  }

  u64(value: bigint): this {
    this.#view.setBigUint64(this.#advance(8), value)
    return this
  }

  put(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.#advance(bytes.length))
    return this
  }

  #advance(length: number): number {
    const start = this.#offset
    this.#offset += length
    return start
  }
}

function malformed(message: string): SealwaxError {
  return new SealwaxError('ERR_MESSAGE_MALFORMED', message)
}
