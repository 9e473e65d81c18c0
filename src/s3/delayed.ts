import { Transform } from 'node:stream'
import { wipe } from '../bytes'
import { UnverifiedCbc, UnverifiedGcm } from '../engine/legacy'
import { authenticationFailed } from '../errors'
import { TAG_LENGTH } from '../format/frame'
import type { ContentKey } from './content-key'

/**
 * Plaintext as it comes, **before it is verified**. What was read means something only once the stream has ended: where
 * the tag is wrong, it is destroyed with `ERR_AUTHENTICATION_FAILED` and does not end. The content key is wiped at once.
 */
export function openDelayed(contentKey: ContentKey): Transform {
  const { mode, key, iv, aad } = contentKey
  const opener = mode === 'gcm' ? new UnverifiedGcm(key, iv, aad) : new UnverifiedCbc(key, iv)
  wipe(key)
  const tagLength = mode === 'gcm' ? TAG_LENGTH : 0
  // The last bytes so far, which may be the tag. They alone are copied.
  let held: Uint8Array = Buffer.alloc(0)
  return new Transform({
    transform(chunk: Uint8Array, _encoding, done) {
      const ready = Math.max(0, held.length + chunk.length - tagLength)
      const before = held.subarray(0, ready)
      const now = chunk.subarray(0, ready - before.length)
      held = Buffer.concat([held.subarray(before.length), chunk.subarray(now.length)])
      this.push(opener.update(before))
      done(null, opener.update(now))
    },
    flush(done) {
      const rest = held.length === tagLength ? opener.final(held) : undefined
      if (rest) done(null, rest)
      else done(authenticationFailed())
    },
  })
}
