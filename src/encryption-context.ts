import { ByteReader, ByteWriter, compareBytes, utf8 } from './bytes'
import { malformed, SealwaxError } from './errors'
import { describe, isRecord, kindOf } from './options'

/**
 * Public, authenticated pairs of strings that travel with a message.
 *
 * Serialized (client-apis/structures.md "Encryption Context"), no bytes at all when empty:
 *
 *     u16 count || count x ( u16 key length || key || u16 value length || value )    sorted by key bytes
 */
export type EncryptionContext = { [key: string]: string }

/** Where signed messages carry their public key; callers may not set it. */
export const PUBLIC_KEY_FIELD = 'aws-crypto-public-key'

/** client-apis/encrypt.md "Encryption Context": keys that begin so are the format's own. */
const RESERVED_PREFIX = 'aws-crypto-'
const MAX_LENGTH = 0xffff
/** One for all: to freeze a new one takes as long as to encrypt some hundred bytes. */
const NO_PAIRS: Readonly<EncryptionContext> = Object.freeze({})
const NOTHING_READ: Readonly<EncryptionContext> = Object.freeze(emptyContext())

/** Checks what a caller passed and returns a frozen copy. */
export function checkEncryptionContext(value: unknown, name = 'encryptionContext'): Readonly<EncryptionContext> {
  if (!isRecord(value)) throw new TypeError(`"${name}" must be an object of strings, got ${kindOf(value)}`)
  const pairs = Object.entries(value)
  if (pairs.length === 0) return NO_PAIRS
  const context: EncryptionContext = {}
  for (const [key, text] of pairs) {
    if (typeof text !== 'string') {
      throw new TypeError(`"${name}" must hold strings, got ${kindOf(text)} for key ${describe(key)}`)
    }
    setPair(context, key, text)
  }
  refusePublicKey(context)
  return Object.freeze(context)
}

/** Throws `ERR_ENCRYPTION_CONTEXT` where there is a public key already. */
export function refusePublicKey(context: Readonly<EncryptionContext>): void {
  if (!Object.hasOwn(context, PUBLIC_KEY_FIELD)) return
  throw new SealwaxError('ERR_ENCRYPTION_CONTEXT', `Reserved encryptionContext value ${PUBLIC_KEY_FIELD} not allowed.`)
}

/** Checks what a caller wants in a message: as {@link checkEncryptionContext}, and no key of the reserved prefix. */
export function checkNewEncryptionContext(value: unknown): Readonly<EncryptionContext> {
  const context = checkEncryptionContext(value)
  const reserved = Object.keys(context).find((key) => key.startsWith(RESERVED_PREFIX))
  if (reserved === undefined) return context
  throw new SealwaxError(
    'ERR_ENCRYPTION_CONTEXT',
    `Reserved encryptionContext value ${JSON.stringify(reserved)} not allowed: keys must not begin with "${RESERVED_PREFIX}"`,
  )
}

/** An object that has no inherited keys, so that any string is safe as a key. */
export function emptyContext(): EncryptionContext {
  return Object.create(null) as EncryptionContext
}

/** Sets a pair of an ordinary object, also where its key is the one that would set the prototype. */
function setPair(context: EncryptionContext, key: string, value: string): void {
  if (key !== '__proto__') context[key] = value
  else Object.defineProperty(context, key, { value, enumerable: true, writable: true, configurable: true })
}

/** A frozen copy of `context`. */
export function copyContext(context: Readonly<EncryptionContext>): Readonly<EncryptionContext> {
  const names = Object.keys(context)
  if (names.length === 0) return NO_PAIRS
  // Half the time of Object.assign.
  const copy: EncryptionContext = {}
  for (const name of names) setPair(copy, name, context[name]!)
  return Object.freeze(copy)
}

/** A frozen copy of `context` with one more pair. */
export function withPair(
  context: Readonly<EncryptionContext>,
  key: string,
  value: string,
): Readonly<EncryptionContext> {
  const copy: EncryptionContext = {}
  for (const name of Object.keys(context)) setPair(copy, name, context[name]!)
  setPair(copy, key, value)
  return Object.freeze(copy)
}

/** The pairs of `context` under `keys`, and the others. */
export function splitContext(
  context: Readonly<EncryptionContext>,
  keys: readonly string[],
): [listed: EncryptionContext, others: EncryptionContext] {
  const [listed, others] = [emptyContext(), emptyContext()]
  for (const name of Object.keys(context)) (keys.includes(name) ? listed : others)[name] = context[name]!
  return [listed, others]
}

/**
 * How pairs are sorted before they are serialized: by the bytes of their keys as the specification says, or by
 * `localeCompare`, as `@aws-crypto/client-node` still does for the AAD of raw AES keyrings by default: in the language of the
 * process, or in English, as where none is set.
 */
export type ContextOrder = 'utf8' | 'locale' | 'english'

/** The pairs in serialized form. Throws `ERR_LIMIT_EXCEEDED` past 65535 bytes, `TypeError` on ill-formed text. */
export function serializeContext(context: Readonly<EncryptionContext>, order: ContextOrder = 'utf8'): Uint8Array {
  const names = Object.keys(context)
  if (names.length === 0) return EMPTY
  let length = 2
  const pairs = names.map((name) => {
    const pair = { name, key: utf8(name), value: utf8(context[name]!) }
    length += 4 + pair.key.length + pair.value.length
    return pair
  })
  if (length > MAX_LENGTH) {
    throw new SealwaxError(
      'ERR_LIMIT_EXCEEDED',
      `number out of bounds. The encryption context takes ${length} bytes, at most ${MAX_LENGTH} fit`,
    )
  }
  // `localeCompare` finds some different keys equal ('é' in its two forms, 'a' and 'a\0'): without the second rule their
  // order would be that of the object, which a reader does not know.
  const language = order === 'english' ? 'en' : undefined
  pairs.sort((a, b) => (order !== 'utf8' && a.name.localeCompare(b.name, language)) || compareBytes(a.key, b.key))
  const writer = new ByteWriter(length).u16(pairs.length)
  for (const { key, value } of pairs) writer.u16(key.length).put(key).u16(value.length).put(value)
  return writer.bytes
}

/** Reads serialized pairs that fill `bytes` exactly. The order is not checked; duplicate keys are refused. */
export function parseContext(bytes: Uint8Array): Readonly<EncryptionContext> {
  if (bytes.length === 0) return NOTHING_READ
  const context = emptyContext()
  const reader = new ByteReader(bytes, 'encryption context')
  for (let count = reader.u16(); count > 0; count--) {
    const key = reader.text(reader.u16())
    const value = reader.text(reader.u16())
    if (key in context) throw malformed('Duplicate encryption context key value.')
    context[key] = value
  }
  reader.end('Overflow, too much data. The encryption context is longer than its pairs')
  return Object.freeze(context)
}

const EMPTY = new Uint8Array(0)
