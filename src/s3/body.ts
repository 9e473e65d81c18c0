import { Readable } from 'node:stream'
// Not the globals, which a test's environment may lack.
import { TransformStream, ReadableStream as WebStream } from 'node:stream/web'
import { types } from 'node:util'
import { isShared, viewOf } from '../bytes'
import { SealwaxError } from '../errors'
import { untilEnd } from '../foreign-streams'
import { checkInteger, checkUnread, kindOf } from '../options'

/** The content of an object as the SDK gives it. */
export type SdkBody = Readable & {
  transformToByteArray(): Promise<Uint8Array>
  transformToString(encoding?: string): Promise<string>
  transformToWebStream(): ReadableStream
}

/** Bytes that come one after the other, and how many they will be. */
export interface PartBody {
  readonly length: number
  readonly chunks: AsyncIterable<Uint8Array>
}

/** The bytes of a piece, which may be any view of memory; a stream of numbers or objects is none of bytes. */
function toBytes(chunk: unknown): Uint8Array {
  if (typeof chunk === 'string') return Buffer.from(chunk, 'utf8')
  if (types.isAnyArrayBuffer(chunk)) return new Uint8Array(chunk)
  if (!ArrayBuffer.isView(chunk))
    throw new TypeError(`"Body" must be a stream of bytes, and gives values of type ${typeof chunk}`)
  return viewOf(chunk) ?? new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength)
}

/** A stream that fails before anyone reads it would end the process; whoever reads it then hears of it all the same. */
function holdErrors(body: unknown): void {
  if (isStream(body)) body.on('error', () => {})
}

/** Of Node.js, or of a library that has its own. */
function isStream(body: unknown): body is Readable {
  const { on, destroy } = (body ?? {}) as Partial<Readable>
  return typeof on === 'function' && typeof destroy === 'function'
}

/** Throws `TypeError` for a stream that has nothing left: it is not an empty object that its owner wants stored. */
export function checkBody(body: unknown, name: string): void {
  const problem = `"${name}" cannot be used.`
  holdErrors(body)
  checkUnread(body, problem)
  if (!(body instanceof WebStream)) return
  // Locked, it is refused by whoever iterates.
  if (Readable.isDisturbed(body as unknown as Readable)) throw new TypeError(`${problem} The stream was read before`)
}

/** The body of a part. A stream whose length nobody tells is read into memory first. */
export async function toPartBody(
  body: unknown,
  length: unknown,
  limit: number,
  exceeded?: (limit: number) => Error,
): Promise<PartBody> {
  if (length !== undefined) checkInteger(length, 'ContentLength', 0, limit)
  checkBody(body, 'Body')
  const isBlob = body instanceof Blob
  const told = (length as number | undefined) ?? (isBlob ? body.size : undefined)
  const stream = isBlob ? body.stream() : body instanceof WebStream ? readerOf(body) : body
  if (told !== undefined && isIterable(stream)) return { length: told, chunks: bytesOf(stream) }
  const bytes = await readBody(stream, limit, exceeded)
  if (told !== undefined && told !== bytes.length) throw wrongLength(told, bytes.length > told ? 'more' : 'fewer')
  return bodyOf(bytes)
}

export function bodyOf(bytes: Uint8Array): PartBody {
  return { length: bytes.length, chunks: bytesOf([bytes]) }
}

/** All bytes of a part, in a copy. */
export async function readExactly({ length, chunks }: PartBody): Promise<Uint8Array> {
  const bytes = await readBody(chunks, length, () => wrongLength(length, 'more'))
  if (bytes.length < length) throw wrongLength(length, 'fewer')
  return bytes
}

export function wrongLength(length: number, has: 'more' | 'fewer'): RangeError {
  return new RangeError(`"Body" was said to have ${length} bytes, and has ${has}`)
}

/** All bytes of a body. Throws `exceeded`, and destroys the stream, as soon as there are more than `limit`. */
export async function readBody(
  body: unknown,
  limit: number,
  exceeded: (limit: number) => Error = tooLong,
): Promise<Uint8Array> {
  const bytes = bytesAtHand(body)
  if (bytes) {
    if (bytes.length > limit) throw exceeded(limit)
    return bytes
  }
  if (body instanceof Blob) return await readBody(body.stream(), limit, exceeded)
  if (!isIterable(body)) throw new TypeError(`"Body" must be bytes, a string, a Blob or a stream, got ${kindOf(body)}`)
  const chunks: Uint8Array[] = []
  let length = 0
  // Leaving the loop destroys the stream.
  for await (const chunk of bytesOf(body)) {
    length += chunk.length
    if (length > limit) throw exceeded(limit)
    // A copy: a source may use its chunk's memory again.
    chunks.push(new Uint8Array(chunk))
  }
  return Buffer.concat(chunks, length)
}

function bytesAtHand(body: unknown): Uint8Array | undefined {
  if (body === undefined || body === null) return new Uint8Array(0)
  if (typeof body === 'string') return Buffer.from(body, 'utf8')
  return viewOf(body)
}

/** The pieces of a body, as bytes that nobody else changes while they are used. */
export async function* bytesOf(
  chunks: AsyncIterable<Uint8Array | string> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks instanceof Readable ? chunks : untilEnd(chunks)) {
    const bytes = toBytes(chunk)
    // Another thread could change shared memory while it is sealed.
    yield isShared(bytes) ? new Uint8Array(bytes) : bytes
  }
}

/** A body as a stream of Node.js, which can be destroyed while it waits. */
export function toReadable(body: AsyncIterable<Uint8Array>): Readable {
  if (body instanceof Readable && !body.readableObjectMode) return body
  if (body instanceof WebStream) {
    const asBytes = new TransformStream({ transform: (piece, out) => out.enqueue(toBytes(piece)) })
    return Readable.fromWeb(body.pipeThrough(asBytes) as import('node:stream/web').ReadableStream)
  }
  return Readable.from(copiesOf(body), { objectMode: false })
}

/** A stream of the web that is being read is locked: who read it must end it. */
const readers = new WeakMap<ReadableStream, Readable>()

function readerOf(body: ReadableStream): Readable {
  const settings = { objectMode: true, highWaterMark: 1 }
  const reader = Readable.fromWeb(body as import('node:stream/web').ReadableStream, settings)
  readers.set(body, reader)
  return reader
}

/** What a generator gives, it may use again as soon as it is asked for more; and a stream asks ahead. */
async function* copiesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of untilEnd(body)) yield Uint8Array.from(toBytes(piece))
}

/** What the work gives; where it fails, the body it was to read is ended. */
export async function orDiscard<T>(body: unknown, work: () => Promise<T>): Promise<T> {
  holdErrors(body)
  try {
    return await work()
  } catch (error) {
    discardBody(body)
    throw error
  }
}

/** Ends a body that nobody will read, so that its connection, or its file, is free again. */
export function discardBody(body: unknown): void {
  const stream = (body instanceof WebStream && readers.get(body)) || body
  holdErrors(stream)
  if (isStream(stream)) stream.destroy()
  else if (isIterable(body)) void endOf(body).catch(() => {})
}

async function endOf(body: AsyncIterable<unknown>): Promise<void> {
  await body[Symbol.asyncIterator]().return?.()
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
    transformToString: async (encoding = 'utf8') =>
      Buffer.isEncoding(encoding)
        ? Buffer.from(await toBytes()).toString(encoding)
        : new TextDecoder(encoding).decode(await toBytes()),
    transformToWebStream: () => Readable.toWeb(take()) as ReadableStream,
  })
}

export function tooLong(limit: number): SealwaxError {
  return new SealwaxError(
    'ERR_LIMIT_EXCEEDED',
    `the object is longer than the ${limit} bytes that are held until they are verified: raise "bufferSize", or see "largeObjects" and "enableDelayedAuthenticationMode"`,
  )
}

export function isIterable(body: unknown): body is AsyncIterable<Uint8Array | string> {
  return typeof (body as AsyncIterable<unknown> | null)?.[Symbol.asyncIterator] === 'function'
}
