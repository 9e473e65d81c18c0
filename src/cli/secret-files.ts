/** Files of keys, PINs and credentials that are in use: what is written never takes their place. */
import { type Stats, statSync } from 'node:fs'
import { fileError } from './errors'

const inUse: Stats[] = []

/** Notes a file that is open, or else what is at a path, if anything is. */
export function noteSecretFile(file: Stats | string): void {
  const stats = typeof file === 'string' ? statsOf(file) : file
  if (stats?.isFile()) inUse.push(stats)
}

function statsOf(path: string): Stats | undefined {
  try {
    return statSync(path)
  } catch {
    return undefined
  }
}

/** Throws `ERR_FILE` for one of them. */
export function refuseSecretFile(stats: Stats | undefined, name: string): void {
  if (!stats || !inUse.some(({ dev, ino }) => dev === stats.dev && ino === stats.ino)) return
  throw fileError(`${name} holds a key, a PIN or credentials that are in use`)
}
