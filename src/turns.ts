import { setImmediate } from 'node:timers'

/**
 * The turns of the event loop, shared by all that works long in this thread: messages, streams and parts of objects give
 * way to other events in time, and many of them at once hold up no more than one.
 */

/** How many bytes are worked on in one turn: some milliseconds' worth. Measured in bench/message.ts. */
export const TURN_LENGTH = 4 * 1024 * 1024
/** As how many bytes a message counts, however short it is: as many take about as long. */
export const CALL_LENGTH = 16 * 1024
/** As how many bytes one counts that is hashed too, for a signature. */
export const SIGNED_COST = 3

/**
 * Node's own, and not the global one: jsdom has none, and a program's tests may put a clock of theirs in its place, which stands still
 * while a message waits.
 */
export const soon = setImmediate

interface Waiting {
  readonly length: number
  readonly resume: () => void
}

/** How much this turn has seen. */
let worked = 0
let waiting: Waiting[] = []
/** The first of them that still waits. */
let next = 0

/** Whether other events are due for their turn before `length` more bytes are worked on. Where not, they count as worked on. */
export function turnIsDue(length: number): boolean {
  if (next < waiting.length || worked + length > TURN_LENGTH) return true
  worked += length
  return false
}

/**
 * Lets other events have their turn, before `length` more bytes are worked on. Those that wait go on in their order, in one turn as
 * many as fit; what is longer than a turn has one of its own.
 */
export function nextTurn(length = TURN_LENGTH): Promise<void> {
  return new Promise((resume) => {
    if (next === waiting.length) soon(begin)
    waiting.push({ length, resume })
  })
}

/** A new turn. */
function begin(): void {
  worked = 0
  const first = next
  while (next < waiting.length) {
    const { length, resume } = waiting[next]!
    if (next > first && worked + length > TURN_LENGTH) break
    worked += length
    next++
    resume()
  }
  if (next < waiting.length) soon(begin)
  // Those before `next` have gone on.
  if (next * 2 > waiting.length) {
    waiting = waiting.slice(next)
    next = 0
  }
}
