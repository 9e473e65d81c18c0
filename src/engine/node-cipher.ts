import { wipe } from '../bytes'

/** node:crypto takes less than 2 GiB a call. */
export const MAX_UPDATE = 2 ** 30

/** Writes what `cipher` makes of `input` to the start of `out`, and tells how many bytes that is. */
export function updateInto(
  cipher: { update(bytes: Uint8Array): Uint8Array },
  input: Uint8Array,
  out: Uint8Array,
): number {
  let written = 0
  for (let start = 0; start < input.length; start += MAX_UPDATE) {
    const bytes = cipher.update(input.subarray(start, start + MAX_UPDATE))
    out.set(bytes, written)
    written += bytes.length
    wipe(bytes)
  }
  return written
}

export function gcmOf(key: Uint8Array): 'aes-128-gcm' | 'aes-192-gcm' | 'aes-256-gcm' {
  return key.length === 16 ? 'aes-128-gcm' : key.length === 24 ? 'aes-192-gcm' : 'aes-256-gcm'
}
