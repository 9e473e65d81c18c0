import { SealwaxError } from '../errors'

/**
 * How much one engine call works on before other events get a turn: some milliseconds' worth at most, so that a long
 * message does not hold up the event loop. Measured in bench/message.ts.
 */
const SLICE_LENGTH = 4 * 1024 * 1024

/** Cuts `length` bytes into slices of whole `unit`s, the last one taking what is left; empty input is one empty slice. */
export function* slices(
  length: number,
  unit: number,
  sliceLength = SLICE_LENGTH,
): Generator<readonly [start: number, end: number]> {
  const step = Math.max(1, Math.floor(sliceLength / unit)) * unit
  let start = 0
  for (; start + step < length; start += step) yield [start, start + step]
  yield [start, length]
}

/** How much was done since other events had their turn, whatever the message. */
let sinceTurn = 0

/**
 * Whether other events are due for their turn before `length` more bytes are worked on: a caller who awaits one message
 * after the other would keep the event loop for itself, and memory that is no longer needed would not come back.
 */
export function turnIsDue(length: number): boolean {
  sinceTurn += length
  if (sinceTurn <= SLICE_LENGTH) return false
  sinceTurn = length
  return true
}

/** The last turn that is waited for. */
let turns = Promise.resolve()

/** Lets other events have their turn. Of all that wait, one goes on after each: many messages hold up no more than one. */
export function nextTurn(): Promise<void> {
  turns = turns.then(() => new Promise((resolve) => setImmediate(resolve)))
  return turns
}

/** Throws `ERR_ABORTED` once the signal says so. */
export function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(signal)
}

/** The promise's result, or `ERR_ABORTED` as soon as the signal says so, whatever the promise does later. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal, discard: (late: T) => void): Promise<T> {
  let onAbort = () => {}
  const abort = new Promise<never>((_, reject) => {
    onAbort = () => reject(aborted(signal))
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([promise, abort])
  } catch (error) {
    if (signal.aborted) promise.then(discard, () => {})
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** The error of an operation that its signal ended. */
export function aborted(signal: AbortSignal): SealwaxError {
  return new SealwaxError('ERR_ABORTED', 'the operation was aborted', { cause: signal.reason })
}
