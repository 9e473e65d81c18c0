/**
 * How long one key or Region may take to open a data key before the next is asked too, in milliseconds: many times what a
 * healthy one needs, so that one which hangs delays a message by this much only.
 */
export const HEDGE_DELAY = 500

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
  const running = new Set<Promise<unknown>>()
  for (const [i, attempt] of attempts.entries()) {
    const one = (async () => await attempt())()
      .catch((error: unknown) => (errors[i] = error instanceof Error ? error : new Error(String(error))))
      .finally(() => running.delete(one))
    running.add(one)
    await oneOf(running, delay)
    if (done()) break
  }
  while (running.size > 0 && !done()) await oneOf(running)
  return Object.values(errors)
}

/** Until one of them has ended, or `delay` milliseconds have passed. */
async function oneOf(running: Iterable<Promise<unknown>>, delay = Infinity): Promise<void> {
  if (delay === Infinity) return void (await Promise.race(running))
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, delay)
  })
  await Promise.race([...running, late]).finally(() => clearTimeout(timer))
}
