import { timingSafeEqual } from 'node:crypto'

/** Whether two secrets are equal, in a time that depends on their lengths alone. */
export function equalSecrets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
