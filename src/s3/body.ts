import { Readable } from 'node:stream'
import { SealwaxError } from '../errors'
import { describe } from '../options'

/** What the SDK takes for the content of an object. */
export type ObjectBody = Uint8Array | string | Blob | Readable | ReadableStream | undefined

/** The content of an object as the SDK gives it. */
export type SdkBody = Readable & {
  transformToByteArray(): Promise<Uint8Array>
  transformToString(encoding?: string): Promise<string>
  transformToWebStream(): ReadableStream
}

/** All bytes of a body. Throws `ERR_LIMIT_EXCEEDED`, and destroys the stream, as soon as there are more than `limit`. */
export async function readBody(body: unknown, limit: number): Promise<Uint8Array> {
  if (body === undefined) return new Uint8Array(0)
  if (typeof body === 'string') return Buffer.from(body, 'utf8')
  if (body instanceof Uint8Array) return body
  if (body instanceof Blob) return new Uint8Array(await body.arrayBuffer())
  if (!isIterable(body))
    throw new TypeError(`"Body" must be bytes, a string, a Blob or a stream, got ${describe(body)}`)
  const chunks: Uint8Array[] = []
  let length = 0
  // Leaving the loop destroys the stream.
  for await (const chunk of body) {
    // A copy: a source may use its chunk's memory again.
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, 'utf8') : Uint8Array.from(chunk)
    length += bytes.length
    if (length > limit) throw tooLong(limit)
    chunks.push(bytes)
  }
  return Buffer.concat(chunks, length)
}

/** Ends a body that nobody will read, so that its connection is free again. */
export function discardBody(body: unknown): void {
  if (body instanceof Readable) body.on('error', () => {}).destroy()
}

/** Gives a stream the methods that bodies of the SDK have. */
export function toSdkBody(stream: Readable): SdkBody {
  let taken = false
  const take = () => {
    if (taken) throw new Error('the body of this object was read before')
    taken = true
    return stream
  }
  const toBytes = async () => await readBody(take(), Infinity)
  return Object.assign(stream, {
    transformToByteArray: toBytes,
    transformToString: async (encoding = 'utf8') => Buffer.from(await toBytes()).toString(encoding as BufferEncoding),
    transformToWebStream: () => Readable.toWeb(take()) as ReadableStream,
  })
}

export function tooLong(limit: number): SealwaxError {
  return new SealwaxError(
    'ERR_LIMIT_EXCEEDED',
    `the object is longer than the ${limit} bytes that are held until they are verified: raise "bufferSize", or see "largeObjects" and "enableDelayedAuthenticationMode"`,
  )
}

function isIterable(body: unknown): body is AsyncIterable<Uint8Array | string> {
  return typeof (body as AsyncIterable<unknown> | null)?.[Symbol.asyncIterator] === 'function'
}
