import { Readable } from 'node:stream'
import { types } from 'node:util'
import { isShared, utf8, viewOf } from '../bytes'
import { SealwaxError } from '../errors'
import { untilEnd } from '../foreign-streams'
import { checkUnread, kindOf } from '../options'
import { orAborted } from './slices'

/** Bytes, text, or a readable stream (anything that iterates asynchronously over bytes or text). */
export type MessageSource = Uint8Array | string | NodeJS.ReadableStream | AsyncIterable<Uint8Array | string>

/** Whether a source is no stream. */
export function hasBytes(source: MessageSource): boolean {
  return typeof source === 'string' || types.isUint8Array(source)
}

/** The bytes of a source that has them at hand: as they are, except for shared memory and text. Undefined for streams. */
export function bytesOfSource(source: MessageSource, encoding: BufferEncoding): Uint8Array | undefined {
  if (typeof source === 'string') return bytesOfText(source, encoding)
  const bytes = viewOf(source)
  return bytes && isShared(bytes) ? Uint8Array.from(bytes) : bytes
}

/**
 * All bytes of a stream, copied; an abort destroys it. Throws `TypeError` for anything else, starting with `problem`,
 * `ERR_LIMIT_EXCEEDED` as soon as there are more than `maxLength`.
 */
export async function readStream(
  source: MessageSource,
  { encoding, signal, maxLength, problem }: ReadOptions,
): Promise<Uint8Array> {
  const reading = collect(chunksOf(source, problem), encoding, maxLength, problem)
  if (!signal) return await reading
  try {
    return await orAborted(reading, signal, () => {})
  } catch (error) {
    if (signal.aborted) endSource(source)
    throw error
  }
}

/** Ends a source that can be ended, which whoever iterates cannot do while it is waited for. What it makes of that is its own affair. */
export function endSource(source: MessageSource): void {
  const ended = async () => {
    const { destroy } = source as { destroy?: unknown }
    if (typeof destroy === 'function') await destroy.call(source)
  }
  ended().catch(() => {})
}

export interface ReadOptions {
  /** Of chunks of text. */
  readonly encoding: BufferEncoding
  readonly signal: AbortSignal | undefined
  readonly maxLength?: number | undefined
  readonly problem: string
}

async function collect(
  source: AsyncIterable<unknown>,
  encoding: BufferEncoding,
  maxLength = Infinity,
  problem: string,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const bytes of bytesOfChunks(source, encoding, problem)) {
    length += bytes.length
    if (length > maxLength) {
      throw new SealwaxError('ERR_LIMIT_EXCEEDED', `Encrypted data exceeded plaintextLength. ${length} > ${maxLength}`)
    }
    chunks.push(bytes)
  }
  return Buffer.concat(chunks)
}

/**
 * Copies: a source may use its chunk's memory again. Text is cut anywhere, so that what ends inside a character, or a group of
 * base64 or hexadecimal digits, waits for the next chunk. Throws `TypeError` for what is neither bytes nor text.
 */
export async function* bytesOfChunks(
  source: AsyncIterable<unknown>,
  encoding: BufferEncoding,
  problem: string,
): AsyncGenerator<Uint8Array> {
  let rest = ''
  for await (const chunk of source) {
    if (typeof chunk === 'string') {
      const text = rest + chunk
      const end = wholeLength(text, encoding)
      // Without what does not count: or blank lines could make it ever longer.
      rest = /^base64/i.test(encoding) ? digitsOf(text.slice(end)) : text.slice(end)
      yield bytesOfText(text.slice(0, end), encoding)
    } else {
      if (rest !== '') yield bytesOfText(rest, encoding)
      rest = ''
      yield bytesOfChunk(chunk, problem)
    }
  }
  if (rest !== '') yield bytesOfText(rest, encoding)
}

/** How much of a text can be made bytes whatever follows it. */
function wholeLength(text: string, encoding: BufferEncoding): number {
  let end = text.length
  switch (encoding.toLowerCase()) {
    case 'utf8':
    case 'utf-8':
      return /[\ud800-\udbff]$/.test(text) ? end - 1 : end
    case 'hex':
      return end - (end % 2)
    case 'base64':
    case 'base64url': {
      // What ends in '=' is whole.
      let more = digitsOf(text.slice(text.lastIndexOf('=') + 1)).length % 4
      while (more > 0) more -= digitsOf(text[--end]!).length
      return end
    }
    default:
      return end
  }
}

function digitsOf(base64: string): string {
  return base64.replace(/[^\w+/-]/g, '')
}

function bytesOfChunk(chunk: unknown, problem: string): Uint8Array {
  const bytes = viewOf(chunk)
  if (bytes) return Uint8Array.from(bytes)
  throw new TypeError(`${problem} A stream must give bytes or strings, it gave ${kindOf(chunk)}`)
}

/** Node.js would replace a lone surrogate. */
function bytesOfText(text: string, encoding: BufferEncoding): Uint8Array {
  return /^utf-?8$/i.test(encoding) ? utf8(text) : Buffer.from(text, encoding)
}

/** Throws `TypeError` for what is no stream, or was read before, starting with `problem`. */
export function chunksOf(source: unknown, problem: string): AsyncIterable<unknown> {
  checkUnread(source, problem)
  if (typeof (source as AsyncIterable<unknown> | null)?.[Symbol.asyncIterator] === 'function') {
    return source instanceof Readable ? source : untilEnd(source as AsyncIterable<unknown>)
  }
  if (isLegacyStream(source)) return wrapLegacy(source)
  throw new TypeError(`${problem} Bytes, a string or a readable stream are needed, got ${kindOf(source)}`)
}

function wrapLegacy(source: NodeJS.ReadableStream): Readable {
  let hasEnded = false
  source.on('end', () => {
    hasEnded = true
  })
  const on = (event: string, listener: (...args: unknown[]) => void) => {
    // Closed after its end, it has not lost what nobody has read yet.
    const unlessEnded = () => hasEnded || listener()
    source.on(event, event === 'close' ? unlessEnded : listener)
  }
  const view = { on, pause: () => source.pause?.(), resume: () => source.resume?.() }
  // Of objects: otherwise text would become bytes in UTF-8, whatever its encoding, and wherever it is cut.
  return new Readable({ objectMode: true }).wrap(view as unknown as NodeJS.ReadableStream)
}

/** As Node.js had them before they could be iterated, and some libraries still do. */
function isLegacyStream(source: unknown): source is NodeJS.ReadableStream {
  const { on, pipe } = (source ?? {}) as Partial<NodeJS.ReadableStream>
  return typeof on === 'function' && typeof pipe === 'function'
}
