/** Files of keys, PINs and credentials that are in use: what is written never takes their place. */
import { fileError } from './errors'
import { idOf, statsOf } from './file-id'

const inUse = new Set<string | undefined>()

/** Notes a file that is open, or else what is at a path, if anything is. */
export function noteSecretFile(file: number | string): void {
  try {
    const stats = statsOf(file)
    if (stats?.isFile()) inUse.add(idOf(stats))
  } catch {
    // Who reads it says why that cannot be.
  }
}

/** Throws `ERR_FILE` for one of them. */
export function refuseSecretFile(id: string | undefined, name: string): void {
  if (id === undefined || !inUse.has(id)) return
  throw fileError(`${name} holds a key, a PIN or credentials that are in use`)
}
