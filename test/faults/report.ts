/**
 * What became of each injected fault. The tests of this folder have a quick set, and a full one with
 * `SEALWAX_FAULTS=full`, which prints one JSON line per fault: `node scripts/faults.mjs` runs them all and counts.
 */
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
  /** Why it is wrong. */
  readonly problem?: string
}

export interface Attempt {
  readonly outcome: 'right' | 'refused'
  /** Faults that the proxy injected, and requests that it saw: its `stats()`. */
  readonly injected: number
  readonly requests: number
}

export class FaultReport {
  readonly #lines: FaultLine[] = []

  /** Injects one fault: `attempt` throws where an invariant is broken. */
  async inject(cell: string, seed: number, n: number, attempt: () => Promise<Attempt>): Promise<void> {
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
    const rss = Math.round(process.memoryUsage.rss() / 2 ** 20)
    const line: FaultLine = { cell, seed, n, ...end, ms, calls, rss }
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
