import type { Target } from './sink'

/** A bar on the terminal, or nothing at all. */
export interface Progress {
  /** Starts over with something else of `total` bytes. */
  phase(label: string, total: number): void
  /** So many bytes more are done. */
  add(bytes: number): void
  /** Takes the bar away. */
  stop(): void
}

const SILENT: Progress = { phase: () => {}, add: () => {}, stop: () => {} }

/** A bar on standard error where that is a terminal, and the output does not go to it too. */
export async function openProgress(target: Target): Promise<Progress> {
  if (!process.stderr.isTTY || (target.path === '-' && process.stdout.isTTY)) return SILENT
  const { SingleBar } = await import('cli-progress')
  const bar = new SingleBar({
    format: '{label} [{bar}] {percentage}% of {size}',
    stream: process.stderr,
    barsize: 30,
    clearOnComplete: true,
    // Signals are for main.ts.
    gracefulExit: false,
  })
  return {
    phase(label, total) {
      bar.stop()
      bar.start(total, 0, { label: label.padEnd(10), size: `${(total / 2 ** 20).toFixed(1)} MiB` })
    },
    add: (bytes) => bar.increment(bytes),
    stop: () => bar.stop(),
  }
}
