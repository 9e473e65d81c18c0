const monotonic = performance.now.bind(performance)
const wall = Date.now
let elapsed = 0
let stepped = 0

/** From now on both clocks read this much later, as if time had passed. */
export function advance(milliseconds: number): void {
  elapsed += milliseconds
  performance.now = () => monotonic() + elapsed
  Date.now = () => wall() + elapsed + stepped
}

/** Sets the wall clock forward or back, as an administrator or a time server does. */
export function stepWallClock(milliseconds: number): void {
  stepped += milliseconds
  advance(0)
}

/** Waits for `condition`; a test whose condition never comes is ended by the runner. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1))
}
