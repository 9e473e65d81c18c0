import { peekIsSigned, peekKeyCount, peekPairCount } from '../format/message-header'
import { aborted } from '../signals'
import { CALL_LENGTH, nextTurn, TURN_LENGTH, turnIsDue } from '../turns'

/**
 * Cuts `length` bytes into slices of whole `unit`s, the last one taking what is left; empty input is one empty slice. One is
 * worked on in a turn of the event loop.
 */
export function* slices(
  length: number,
  unit: number,
  sliceLength = TURN_LENGTH,
): Generator<readonly [start: number, end: number]> {
  const step = Math.max(1, Math.floor(sliceLength / unit)) * unit
  let start = 0
  for (; start + step < length; start += step) yield [start, start + step]
  yield [start, length]
}

/** Where others are due for their turn before `length` more bytes are worked on, a promise to wait for: `ERR_ABORTED` ends that at once. */
export function turnBefore(length: number, signal: AbortSignal | undefined): Promise<void> | undefined {
  if (!turnIsDue(length)) return undefined
  const turn = nextTurn(length)
  return signal ? orAborted(turn, signal, () => {}) : turn
}

/** As how many bytes a message counts whose header is read, and its materials asked for. */
export function headerCost(message: Uint8Array): number {
  return keysCost(message) + peekPairCount(message) * PAIR_COST + (peekIsSigned(message) ? SIGNATURE_COST : 0)
}

/** The same without its encryption context, which is read at once. */
export function keysCost(message: Uint8Array): number {
  return CALL_LENGTH + peekKeyCount(message) * KEY_COST
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

/** To read an encrypted data key, and to find out whose it is, takes as long as to open so many bytes. */
const KEY_COST = 2048
/** To check, sort, write or read a pair of an encryption context. */
export const PAIR_COST = 2048
/** To import the key of a signature, or export it. The signature itself is another thread's. */
export const SIGNATURE_COST = 8 * CALL_LENGTH
