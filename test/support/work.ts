/** How much is done, and whether others have their turn meanwhile: counted, as no clock can be relied on. */

/** Which turn of the event loop this is, counted from the call on. */
export function watchTurns(): { turn: () => number; stop: () => void } {
  let turns = 0
  let next: NodeJS.Immediate
  const count = () => {
    turns++
    next = setImmediate(count)
  }
  next = setImmediate(count)
  return { turn: () => turns, stop: () => clearImmediate(next) }
}

/** The same; the function it gives says how many there were, and ends that. */
export function countTurns(): () => number {
  const { turn, stop } = watchTurns()
  return () => {
    stop()
    return turn()
  }
}

/** How often `work` compares strings, as sorting an encryption context by `localeCompare` does. */
export async function countComparisons<T>(work: () => Promise<T>): Promise<{ compared: number; result: T }> {
  const { localeCompare } = String.prototype
  let compared = 0
  String.prototype.localeCompare = function (this: string, ...args: Parameters<typeof localeCompare>) {
    compared++
    return localeCompare.apply(this, args)
  }
  try {
    const result = await work()
    return { compared, result }
  } finally {
    String.prototype.localeCompare = localeCompare
  }
}
