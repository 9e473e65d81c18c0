/** What tells a file from all others, by whatever path, link or descriptor it is reached. */
import { type BigIntStats, fstatSync, statSync } from 'node:fs'
import type { Path } from './errors'

/** `undefined` where there is no file, or its system numbers none. On Windows the numbers are longer than a `number` is exact. */
export function idOf(stats: BigIntStats | undefined): string | undefined {
  return stats?.ino ? `${stats.dev}:${stats.ino}` : undefined
}

/** Of an open file, or of what is at a path, if anything is. */
export function statsOf(file: number | Path): BigIntStats | undefined {
  return typeof file === 'number'
    ? fstatSync(file, { bigint: true })
    : statSync(file, { bigint: true, throwIfNoEntry: false })
}

export function isSameFile(a: number | Path, b: number | Path): boolean {
  const id = idOf(statsOf(a))
  return id !== undefined && id === idOf(statsOf(b))
}
