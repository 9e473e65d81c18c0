import { types } from 'node:util'
import { doneSignal, type NodeDecryptionMaterial } from '../materials/materials'
import { describe } from '../options'
import { CALL_LENGTH, nextTurn, turnIsDue } from '../turns'

/**
 * How long one key or Region may take to open a data key before the next is asked too, in milliseconds: many times what a
 * healthy one needs, so that one which hangs delays a message by this much only. Less where `count` of them have `time`
 * milliseconds together, so that all are asked before that is over.
 */
export function hedgeDelay(time: number, count: number): number {
  return Math.min(500, time / count)
}

/** Past as many that have not answered, one more begins only when one ends: a message may name thousands of keys. */
const MAX_RUNNING = 64

/**
 * Makes attempts in order until `done`. The next one begins when one has ended, or when the last has taken `delay`
 * milliseconds: then they go on side by side. Returns the errors of those that failed, in the order of the attempts.
 */
export async function attemptInTurn(
  attempts: readonly (() => Promise<unknown>)[],
  done: () => boolean,
  delay: number,
): Promise<Error[]> {
  const errors: Error[] = []
  let running = 0
  let oneEnded = () => {}
  const begin = async (attempt: () => Promise<unknown>, i: number) => {
    running++
    try {
      await attempt()
    } catch (error) {
      errors[i] = toError(error)
    } finally {
      running--
      oneEnded()
    }
  }
  // Not a race of all that run: a message may name thousands of keys.
  const untilOneEnds = async (atMost = Infinity) => {
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      oneEnded = resolve
      if (atMost !== Infinity) timer = setTimeout(resolve, atMost)
    })
    clearTimeout(timer)
  }
  for (const [i, attempt] of attempts.entries()) {
    const next = untilOneEnds(running + 1 < MAX_RUNNING ? delay : Infinity)
    void begin(attempt, i)
    await next
    if (done()) break
  }
  while (running > 0 && !done()) await untilOneEnds()
  return Object.values(errors)
}

/**
 * Before a keyring tries one more encrypted data key of a message, which may name thousands: other events get their turn. `false` where
 * nobody wants the data key any more. `length` is how much there is to authenticate, or as how many bytes a try counts.
 */
export async function mayTryAnother(material: NodeDecryptionMaterial, length = 0): Promise<boolean> {
  const cost = CALL_LENGTH + length
  if (turnIsDue(cost)) await nextTurn(cost)
  return !doneSignal(material).aborted
}

/** Whatever was thrown, as an error. */
export function toError(thrown: unknown): Error {
  // Errors of Node.js are of another realm in a test's environment.
  if (thrown instanceof Error || types.isNativeError(thrown)) return thrown
  try {
    return new Error(String(thrown))
  } catch {
    // An object without toString.
    return new Error(describe(thrown))
  }
}
