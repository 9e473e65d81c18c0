import { Transform } from 'node:stream'
import { copySecret, wipe } from '../bytes'
import { getEngine, type SegmentHash } from '../engine/engine'
import { UnverifiedCbc } from '../engine/legacy'
import { authenticationFailed } from '../errors'
import { TAG_LENGTH } from '../format/frame'
import { BLOCK_LENGTH, CHUNK_LENGTH, wipeHashes } from './chunks'
import type { ContentKey } from './content-key'
import { plaintextLength, verifyHashes } from './large'

/**
 * Plaintext as it comes, **before it is verified**. What was read means something only once the stream has ended: where
 * the tag is wrong, it is destroyed with `ERR_AUTHENTICATION_FAILED` and does not end. The content key may be wiped at once.
 */
export function openDelayed(contentKey: ContentKey): Transform {
  return contentKey.mode === 'gcm' ? delayedGcm(contentKey) : delayedCbc(contentKey)
}

/** Chunk by chunk, on all cores. The last one is given out after the tag was compared. */
function delayedGcm({ key: callers, iv, aad }: ContentKey): Transform {
  const content = { mode: 'gcm', key: copySecret(callers), iv, aad } as const
  // A chunk, and what may be the tag.
  const held = Buffer.allocUnsafeSlow(CHUNK_LENGTH + TAG_LENGTH)
  const hashes: SegmentHash[] = []
  let filled = 0
  let offset = 0
  const open = (length: number): Uint8Array => {
    // Throws where it gets longer than AES-GCM allows.
    plaintextLength(offset + length + TAG_LENGTH)
    const plaintext = getEngine().allocate(length)
    const ciphertext = held.subarray(0, length)
    hashes.push(getEngine().openSegment(content.key, iv, offset / BLOCK_LENGTH, ciphertext, plaintext))
    offset += length
    return plaintext
  }
  return new Transform({
    readableHighWaterMark: CHUNK_LENGTH,
    transform(piece: Uint8Array, _encoding, done) {
      try {
        for (let start = 0; start < piece.length; ) {
          if (filled === held.length) {
            this.push(open(CHUNK_LENGTH))
            held.copyWithin(0, CHUNK_LENGTH)
            filled = TAG_LENGTH
          }
          const part = piece.subarray(start, start + held.length - filled)
          held.set(part, filled)
          filled += part.length
          start += part.length
        }
        done()
      } catch (error) {
        done(error as Error)
      }
    },
    flush(done) {
      let last: Uint8Array = new Uint8Array(0)
      try {
        if (filled < TAG_LENGTH) throw authenticationFailed()
        last = open(filled - TAG_LENGTH)
        verifyHashes(content, hashes, held.subarray(filled - TAG_LENGTH, filled))
        done(null, last)
      } catch (error) {
        wipe(last)
        done(error as Error)
      }
    },
    destroy(error, done) {
      wipe(content.key)
      wipeHashes(hashes)
      done(error)
    },
  })
}

function delayedCbc({ key, iv }: ContentKey): Transform {
  const opener = new UnverifiedCbc(key, iv)
  return new Transform({
    transform: (piece: Uint8Array, _encoding, done) => done(null, opener.update(piece)),
    flush(done) {
      const rest = opener.final()
      if (rest) done(null, rest)
      else done(authenticationFailed())
    },
  })
}
