import { setMaxListeners } from 'node:events'
import { SealwaxError } from './errors'

/** Any number may wait for one signal: Node.js 20 would take more than ten for a leak. */
export function allowManyListeners(signal: AbortSignal): void {
  try {
    setMaxListeners(0, signal)
  } catch {
    // Signals of a test's environment are none of Node.js, and have no limit.
  }
}

/** The error of an operation that its signal ended. */
export function aborted(signal: AbortSignal): SealwaxError {
  return new SealwaxError('ERR_ABORTED', 'the operation was aborted', { cause: signal.reason })
}
