import { isatty } from 'node:tty'
import type { Path } from './errors'

/** A bar on the terminal, or nothing at all. */
export interface Progress {
  /** Starts over with something else, of `total` bytes where that is known. */
  phase(label: string, total: number | undefined): void
  /** So many bytes more are done. */
  add(bytes: number): void
  /** Takes the bar away. */
  stop(): void
}

/** The bar on the terminal. */
let shown: { stop(): void } | undefined

/** Takes the bar away, so that what is said next stays on the screen. */
export function stopProgress(): void {
  shown?.stop()
  shown = undefined
}

const SILENT: Progress = { phase: () => {}, add: () => {}, stop: () => {} }

/** A bar on standard error where that is a terminal, and the output does not go to it too. `show` words what is counted. */
export async function openProgress(output: Path, show: (done: number) => string = mebibytes): Promise<Progress> {
  if (!isatty(2) || (output === '-' && isatty(1))) return SILENT
  const { SingleBar } = await import('cli-progress')
  let bar: InstanceType<typeof SingleBar> | undefined
  let done = 0
  return {
    phase(label, total) {
      stopProgress()
      done = 0
      bar = new SingleBar({
        format: total === undefined ? '{label} {done}' : '{label} [{bar}] {percentage}% of {size}',
        stream: process.stderr,
        barsize: 30,
        clearOnComplete: true,
        // Signals are for main.ts.
        gracefulExit: false,
      })
      shown = bar
      bar.start(total ?? 0, 0, { label: label.padEnd(10), size: show(total ?? 0), done: show(0) })
    },
    add(bytes) {
      done += bytes
      if (bar && shown === bar) bar.update(done, { done: show(done) })
    },
    stop: stopProgress,
  }
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}
