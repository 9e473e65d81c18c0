import { setMaxListeners } from 'node:events'

/** Any number may wait for one signal: Node.js 20 would take more than ten for a leak. */
export function allowManyListeners(signal: AbortSignal): void {
  try {
    setMaxListeners(0, signal)
  } catch {
    // Signals of a test's environment are none of Node.js, and have no limit.
  }
}
