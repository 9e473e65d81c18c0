import { fromUtf8 } from '../bytes'
import { type EncryptionContext, emptyContext, serializeContext } from '../encryption-context'
import { KmsError, validation } from './errors'

/** The encryption context may take this many bytes in serialized form. */
const MAX_CONTEXT_LENGTH = 8192
/** No request of KMS nests deeper: { "Constraints": { "EncryptionContextEquals": { name: value } } }. */
const MAX_DEPTH = 4

/**
 * The body of one request, read field by field. A missing field is `undefined`, or refused by the `required` methods.
 * A value of the wrong type is a `SerializationException`, one out of bounds a `ValidationException`, as in AWS.
 */
export class Input {
  readonly #fields: object

  /** Parses a request body; an empty one stands for `{}`. */
  constructor(body: Uint8Array) {
    this.#fields = parseObject(body)
  }

  text(name: string, maxLength = 2048): string | undefined {
    const value = this.#value(name)
    if (value === undefined) return undefined
    if (typeof value !== 'string') throw wrongType(name, 'a string')
    if (value === '' || value.length > maxLength) throw outOfBounds(name, `length between 1 and ${maxLength}`)
    return value
  }

  /** Text that may be empty, such as a description. */
  note(name: string, maxLength: number): string {
    return this.#value(name) === '' ? '' : (this.text(name, maxLength) ?? '')
  }

  requiredText(name: string, maxLength?: number): string {
    return required(name, this.text(name, maxLength))
  }

  /** The bytes of strict base64: canonical, padded, nothing before or after. */
  blob(name: string, maxLength: number): Buffer | undefined {
    const value = this.#value(name)
    if (value === undefined) return undefined
    if (typeof value !== 'string') throw wrongType(name, 'a base64 string')
    const bytes = Buffer.from(value, 'base64')
    if (bytes.toString('base64') !== value) throw wrongType(name, 'a base64 string')
    if (bytes.length === 0 || bytes.length > maxLength) throw outOfBounds(name, `length between 1 and ${maxLength}`)
    return bytes
  }

  requiredBlob(name: string, maxLength: number): Buffer {
    return required(name, this.blob(name, maxLength))
  }

  integer(name: string, min: number, max: number): number | undefined {
    const value = this.#value(name)
    if (value === undefined) return undefined
    if (!Number.isInteger(value)) throw wrongType(name, 'an integer')
    if ((value as number) < min || (value as number) > max) throw outOfBounds(name, `value between ${min} and ${max}`)
    return value as number
  }

  flag(name: string): boolean {
    const value = this.#value(name) ?? false
    if (typeof value !== 'boolean') throw wrongType(name, 'true or false')
    return value
  }

  oneOf<T extends string>(name: string, allowed: readonly T[]): T | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    if (!(allowed as readonly string[]).includes(value))
      throw outOfBounds(name, `enum value set: [${allowed.join(', ')}]`)
    return value as T
  }

  requiredOneOf<T extends string>(name: string, allowed: readonly T[]): T {
    return required(name, this.oneOf(name, allowed))
  }

  list(name: string, maxLength: number): readonly unknown[] | undefined {
    const value = this.#value(name)
    if (value === undefined) return undefined
    if (!Array.isArray(value)) throw wrongType(name, 'a list')
    if (value.length > maxLength) throw outOfBounds(name, `length of at most ${maxLength}`)
    return value
  }

  texts(name: string, maxLength: number): readonly string[] | undefined {
    const list = this.list(name, maxLength)
    if (list?.some((item) => typeof item !== 'string')) throw wrongType(name, 'a list of strings')
    return list as readonly string[] | undefined
  }

  /** A structure that is stored and told as it came. */
  structure(name: string): object | undefined {
    const value = this.#value(name)
    if (value === undefined) return undefined
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrongType(name, 'a structure')
    return value
  }

  /** An encryption context in its canonical serialized form: equal sets of pairs give equal bytes, none gives no byte. */
  context(name: string): Uint8Array {
    const pairs = emptyContext()
    for (const [key, value] of Object.entries(this.structure(name) ?? {})) {
      if (typeof value !== 'string') throw wrongType(name, 'a map of strings')
      pairs[key] = value
    }
    const serialized = serializePairs(name, pairs)
    if (serialized.length > MAX_CONTEXT_LENGTH) throw outOfBounds(name, `at most ${MAX_CONTEXT_LENGTH} bytes`)
    return serialized
  }

  has(name: string): boolean {
    return this.#value(name) !== undefined
  }

  #value(name: string): unknown {
    const value = Object.hasOwn(this.#fields, name) ? (this.#fields as Record<string, unknown>)[name] : undefined
    return value === null ? undefined : value
  }
}

function parseObject(body: Uint8Array): object {
  if (body.length === 0) return {}
  const text = fromUtf8(body)
  let value: unknown
  try {
    value = JSON.parse(text ?? '')
  } catch {
    throw new KmsError('SerializationException', 'The request body is not JSON in UTF-8.')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new KmsError('SerializationException', 'The request body is not a JSON object.')
  }
  if (nestsDeeper(value, MAX_DEPTH)) throw new KmsError('SerializationException', 'The request body nests too deep.')
  return value
}

function nestsDeeper(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return depth === 0 || Object.values(value).some((inner) => nestsDeeper(inner, depth - 1))
}

function serializePairs(name: string, pairs: EncryptionContext): Uint8Array {
  try {
    return serializeContext(pairs)
  } catch {
    // A lone surrogate, which JSON can spell and UTF-8 cannot, or a string past the lengths of the format.
    throw outOfBounds(name, 'well-formed text of limited length')
  }
}

function required<T>(name: string, value: T | undefined): T {
  return value ?? throwMissing(name)
}

export function throwMissing(name: string): never {
  throw validation(
    `1 validation error detected: Value at '${fieldName(name)}' failed to satisfy constraint: Member must not be null`,
  )
}

// Values are never repeated: a field may hold a plaintext that was put in the wrong place.
export function outOfBounds(name: string, constraint: string): KmsError {
  return validation(
    `1 validation error detected: Value at '${fieldName(name)}' failed to satisfy constraint: Member must satisfy ${constraint}`,
  )
}

function wrongType(name: string, expected: string): KmsError {
  return new KmsError('SerializationException', `${fieldName(name)} must be ${expected}`)
}

function fieldName(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1)
}
