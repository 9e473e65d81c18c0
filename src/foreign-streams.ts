/** Streams that are not of this Node.js, but of libraries such as readable-stream. */

/**
 * The pieces of a stream. One of readable-stream 3 that is destroyed before its end gives no more, as if that had been all: here
 * it is an error. What is no stream, and so has no events, is given as it is.
 */
export function untilEnd<T>(stream: AsyncIterable<T>): AsyncIterable<T>
export function untilEnd<T>(stream: Pieces<T>): Pieces<T>
export function untilEnd<T>(stream: Pieces<T>): Pieces<T> {
  return typeof (stream as StreamLike<T>).on === 'function' ? checkEnd(stream as StreamLike<T>) : stream
}

type Pieces<T> = AsyncIterable<T> | Iterable<T>

interface StreamLike<T> extends AsyncIterable<T> {
  on(event: 'end', listener: () => void): unknown
  readonly destroyed?: boolean
}

async function* checkEnd<T>(stream: StreamLike<T>): AsyncGenerator<T> {
  let hasEnded = false
  stream.on('end', () => {
    hasEnded = true
  })
  yield* stream
  if (hasEnded || !stream.destroyed) return
  throw Object.assign(new Error('The stream was destroyed before its end'), { code: 'ERR_STREAM_PREMATURE_CLOSE' })
}
