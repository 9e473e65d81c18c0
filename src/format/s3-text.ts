import { fromUtf8 } from '../bytes'
import { type EncryptionContext, emptyContext } from '../encryption-context'
import { malformed } from '../errors'

/** A value in the JSON of an S3 object's metadata: these objects are flat. */
export type FlatValue = string | number | boolean | null

/**
 * The pairs of a JSON object that holds no other object. Refuses, as `ERR_MESSAGE_MALFORMED`, what is no strict JSON, no
 * object or nested, and a name that is there twice: readers would differ in which of the two they take.
 */
export function parseFlatJson(text: string, what: string): [name: string, value: FlatValue][] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw malformed(`${what} is not JSON`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw malformed(`${what} is not a JSON object`)
  }
  // JSON.parse makes own properties of all names, `__proto__` too.
  const pairs = Object.entries(value)
  if (pairs.some(([, item]) => typeof item === 'object' && item !== null)) throw malformed(`${what} is nested`)
  const written = pairs.length === 0 ? 0 : text.replace(JSON_STRING, '').split(',').length
  if (written !== pairs.length) throw malformed(`${what} holds a name twice`)
  return pairs
}

const JSON_STRING = /"(?:[^"\\]|\\.)*"/g

/**
 * A JSON object of strings, as materials descriptions and encryption contexts are stored. Nothing, an empty text and
 * `null` count as `{}`: other clients write each of them.
 */
export function parseStringMap(text: string | undefined, what: string): Readonly<EncryptionContext> {
  const map = emptyContext()
  if (text === undefined || text === '' || text === 'null') return Object.freeze(map)
  for (const [name, value] of parseFlatJson(text, what)) {
    if (typeof value !== 'string') throw malformed(`${what} holds a value that is not a string`)
    if (!name.isWellFormed() || !value.isWellFormed()) throw malformed(`${what} holds a lone surrogate`)
    map[name] = value
  }
  return Object.freeze(map)
}

/** JSON in ASCII: a header can carry it, and S3 cannot encode it twice. Nor is anything in it a word of RFC 2047, which readers decode. */
export function serializeStringMap(map: Readonly<EncryptionContext>): string {
  return JSON.stringify(map).replace(
    /[^ -~]|(?<==)\?/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/**
 * What a client wrote into a header as UTF-8, from what S3 makes of it: S3 reads the bytes as Latin-1, and gives
 * the text back in words of RFC 2047. Text that was never encoded so stays as it is.
 */
export function decodeHeaderText(text: string): string {
  const plain = text.replace(ENCODED_WORDS, (words) => {
    const parts = [...words.matchAll(ENCODED_WORD)].map(([, encoding, content]) =>
      encoding!.toUpperCase() === 'B' ? Buffer.from(content!, 'base64') : fromQuoted(content!),
    )
    // Decoded together: a character may begin in one word and end in the next.
    return fromUtf8(Buffer.concat(parts)) ?? words
  })
  if (!/^[\0-\xff]*$/.test(plain) || !/[\x80-\xff]/.test(plain)) return plain
  return fromUtf8(Buffer.from(plain, 'latin1')) ?? plain
}

const WORD = String.raw`=\?UTF-8\?([BQ])\?([^?\s]*)\?=`
const ENCODED_WORD = new RegExp(WORD, 'gi')
const ENCODED_WORDS = new RegExp(String.raw`${WORD}(?:\s+${WORD})*`, 'gi')

function fromQuoted(content: string): Buffer {
  const latin1 = content
    .replaceAll('_', ' ')
    .replace(/=([\da-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(latin1, 'latin1')
}
