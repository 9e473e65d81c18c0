import { Transform } from 'node:stream'
import { allocateSecret, copySecret, wipe } from '../bytes'
import { getEngine, type SegmentHash } from '../engine/engine'
import { MAX_GCM_LENGTH } from '../format/frame'
import { BLOCK_LENGTH, CHUNK_LENGTH, wipeHashes } from './chunks'
import type { ContentKey } from './content-key'
import { tooLong } from './part-geometry'

/** Seals a stream of any length: its ciphertext, and the tag at the end. Memory does not grow with it but by 16 bytes a MiB. */
export function sealStream({ key: callers, iv, aad }: ContentKey): Transform {
  const engine = getEngine()
  // The caller's is wiped when its call ends.
  const key = copySecret(callers)
  const staging = allocateSecret(CHUNK_LENGTH)
  const segments: SegmentHash[] = []
  let filled = 0
  let sealed = 0
  const sealStaged = () => {
    const ciphertext = engine.allocate(filled)
    segments.push(engine.sealSegment(key, iv, sealed / BLOCK_LENGTH, staging.subarray(0, filled), ciphertext))
    sealed += filled
    filled = 0
    return ciphertext
  }
  return new Transform({
    readableHighWaterMark: CHUNK_LENGTH,
    transform(piece: Uint8Array, _encoding, done) {
      try {
        if (sealed + filled + piece.length > MAX_GCM_LENGTH) throw tooLong()
        // Whoever reads may end the stream at any piece: then the key is gone.
        for (let start = 0; start < piece.length && !this.destroyed; ) {
          const part = piece.subarray(start, start + CHUNK_LENGTH - filled)
          staging.set(part, filled)
          filled += part.length
          start += part.length
          if (filled === CHUNK_LENGTH) this.push(sealStaged())
        }
        done()
      } catch (error) {
        done(error as Error)
      }
    },
    flush(done) {
      try {
        if (filled > 0) this.push(sealStaged())
        if (!this.destroyed) this.push(engine.combineSegments(key, iv, aad, segments))
        done()
      } catch (error) {
        done(error as Error)
      }
    },
    destroy(error, done) {
      wipe(key, staging)
      wipeHashes(segments)
      done(error)
    },
  })
}
