/**
 * What became of each injected fault. The tests of this folder have a quick set, and a full one with
 * `SEALWAX_FAULTS=full`, which prints one JSON line per fault: `node scripts/faults.mjs` runs them all and counts.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import * as assert from 'uvu/assert'

export const full = process.env.SEALWAX_FAULTS === 'full'

/** With one cell, seed and `n` a fault can be injected again. */
export interface FaultLine {
  /** What was injected where: `F-11 part reset`. */
  readonly cell: string
  readonly seed: number
  /** Which of the faults of this cell and seed. */
  readonly n: number
  /**
   * `right`: done, and what is stored or given is right; `refused`: an error, and nothing is left behind. Both are good.
   * `wrong`: anything else. `nothing`: no fault was injected.
   */
  readonly outcome: 'right' | 'refused' | 'wrong' | 'nothing'
  readonly ms: number
  /** Requests that the proxy saw. */
  readonly calls: number
  /** Resident memory afterwards, in MiB. */
  readonly rss: number
  /** The longest time without a turn of the event loop, in ms; servers and the clients' checks run on it too. */
  readonly blocked: number
  /**
   * Memory that is in use after a garbage collection beyond what was before the first fault, in MiB; of the full set only,
   * and where no other fault was being injected.
   */
  readonly left?: number
  /** Why it is wrong. */
  readonly problem?: string
}

export interface Attempt {
  readonly outcome: 'right' | 'refused'
  /** Faults that the proxy injected, and requests that it saw: its `stats()`. */
  readonly injected: number
  readonly requests: number
}

/** In MiB. */
const MAX_LEFT = 32

async function memoryInUse(): Promise<number | undefined> {
  if (!full || !globalThis.gc) return undefined
  for (let i = 0; i < 2; i++) {
    globalThis.gc()
    await turn()
  }
  const { heapUsed, external } = process.memoryUsage()
  return (heapUsed + external) / 2 ** 20
}

export class FaultReport {
  readonly #lines: FaultLine[] = []
  readonly #delay = monitorEventLoopDelay({ resolution: 5 })
  #before: number | undefined
  #running = 0

  /**
   * Injects one fault: `attempt` throws where an invariant is broken. `held`: how many bytes of its own the test has in memory
   * meanwhile, which do not count as left.
   */
  async inject(cell: string, seed: number, n: number, attempt: () => Promise<Attempt>, held = 0): Promise<void> {
    if (this.#running++ === 0) this.#before ??= await memoryInUse()
    this.#delay.reset()
    this.#delay.enable()
    const start = performance.now()
    let end: Pick<FaultLine, 'outcome' | 'problem'>
    let calls = 0
    try {
      const { outcome, injected, requests } = await attempt()
      calls = requests
      end = { outcome: injected > 0 ? outcome : 'nothing' }
    } catch (error) {
      end = { outcome: 'wrong', problem: String((error as Error).stack ?? error) }
    }
    const ms = Math.round(performance.now() - start)
    this.#delay.disable()
    const blocked = Math.round(this.#delay.max / 1e6)
    const after = --this.#running === 0 ? await memoryInUse() : undefined
    const left = after !== undefined && { left: Math.round(after - (this.#before ?? after) - held / 2 ** 20) }
    if (left && left.left > MAX_LEFT) end = { outcome: 'wrong', problem: `${left.left} MiB are still in use` }
    const rss = Math.round(process.memoryUsage.rss() / 2 ** 20)
    const line: FaultLine = { cell, seed, n, ...end, ms, calls, rss, blocked, ...left }
    this.#lines.push(line)
    if (full) console.log(JSON.stringify(line))
  }

  /** Throws if anything went wrong, and where a cell injected nothing or is missing. */
  check(cells: readonly string[]): void {
    const bad = this.#lines.filter(({ outcome }) => outcome === 'wrong' || outcome === 'nothing')
    assert.equal(
      bad,
      [],
      bad.map((line) => `${line.cell} ${line.seed}/${line.n}: ${line.problem ?? line.outcome}`).join('\n'),
    )
    assert.equal([...new Set(this.#lines.map(({ cell }) => cell))].sort(), [...cells].sort())
  }
}
