import { describe } from '../options'

/** Bytes, text, or a readable stream (anything that iterates asynchronously over bytes or text). */
export type MessageSource = Uint8Array | string | NodeJS.ReadableStream | AsyncIterable<Uint8Array | string>

/** The bytes of a source that has them at hand: as they are, except for shared memory and text. Undefined for streams. */
export function bytesOfSource(source: MessageSource, encoding: BufferEncoding): Uint8Array | undefined {
  if (typeof source === 'string') return Buffer.from(source, encoding)
  if (!(source instanceof Uint8Array && ArrayBuffer.isView(source))) return undefined
  // Another thread could change shared memory between what is checked and what is used.
  return source.buffer instanceof ArrayBuffer ? source : Uint8Array.from(source)
}

/** All bytes of a stream, copied. Throws `TypeError` for anything else, starting with `problem`. */
export async function readStream(
  source: MessageSource,
  encoding: BufferEncoding,
  problem: string,
): Promise<Uint8Array> {
  if (!isAsyncIterable(source)) {
    throw new TypeError(`${problem} Bytes, a string or a readable stream are needed, got ${describe(source)}`)
  }
  const chunks: Uint8Array[] = []
  for await (const chunk of source) {
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) {
      throw new TypeError(`${problem} A stream must give bytes or strings, it gave ${describe(chunk)}`)
    }
    // A copy: a source may use its chunk's memory again.
    chunks.push(typeof chunk === 'string' ? Buffer.from(chunk, encoding) : Uint8Array.from(chunk))
  }
  return Buffer.concat(chunks)
}

function isAsyncIterable(source: unknown): source is AsyncIterable<unknown> {
  return typeof (source as AsyncIterable<unknown> | null)?.[Symbol.asyncIterator] === 'function'
}
