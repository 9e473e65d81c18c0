/**
 * Objects longer than what is held in memory: their ciphertext is read twice. The first time it is hashed chunk by chunk, until
 * the tag of the whole has been compared. The second time each chunk is decrypted, and given out only where its hash is
 * that of the first time: who answers differently then can end the plaintext early, with an error, and change no byte of it.
 */
import { pipeline, type Readable, Transform } from 'node:stream'
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { copySecret, equalBytes, wipe } from '../bytes'
import { getEngine, type SegmentHash } from '../engine/engine'
import { equalSecrets } from '../engine/equal-secrets'
import { authenticationFailed, SealwaxError } from '../errors'
import { MAX_GCM_LENGTH, TAG_LENGTH } from '../format/frame'
import { toSdkBody } from './body'
import { BLOCK_LENGTH, CHUNK_LENGTH, Chunks, chunkLengths, wipeHashes } from './chunks'
import type { ContentKey } from './content-key'
import { type CiphertextFile, openCiphertextFile } from './temporary-file'

/** A ciphertext that is authentic. */
export interface VerifiedCiphertext {
  /** Of its chunks, in order. They are secrets: wipe them. */
  readonly hashes: readonly SegmentHash[]
  /** Without the tag. */
  readonly length: number
  readonly tag: Uint8Array
}

/**
 * The answer to a GetObject with the plaintext as its body, all of which is verified before this settles. `again` gets the
 * same object once more; without it, a temporary file keeps the ciphertext.
 */
export async function openLarge(
  contentKey: ContentKey,
  output: GetObjectCommandOutput,
  again?: () => Promise<GetObjectCommandOutput>,
): Promise<GetObjectCommandOutput> {
  const length = plaintextLength(output.ContentLength ?? 0)
  const file = again ? undefined : await openCiphertextFile()
  let verified: VerifiedCiphertext | undefined
  try {
    verified = await verifyCiphertext(contentKey, output.Body as Readable, length, file?.write)
    const { Body, ...rest } = again ? await again() : { ...output, Body: file!.read() }
    // Whichever of the two ends badly ends the other; the consumer of the plaintext hears of it there.
    const plaintext = pipeline(Body as Readable, openVerified(contentKey, verified), () => {})
    return { ...rest, Body: toSdkBody(plaintext), ContentLength: length }
  } catch (error) {
    wipeHashes(verified?.hashes ?? [])
    await file?.close()
    throw error
  }
}

/** From the length of the ciphertext. Throws where an object of AES-GCM cannot have it. */
export function plaintextLength(ciphertextLength: number): number {
  const length = ciphertextLength - TAG_LENGTH
  if (length < 0) throw authenticationFailed()
  if (length <= MAX_GCM_LENGTH) return length
  throw new SealwaxError('ERR_LIMIT_EXCEEDED', `the object is longer than AES-GCM allows: ${length} bytes`)
}

/** Decrypts a ciphertext that was verified: the same bytes, in the same chunks. Takes over the hashes. */
export function openVerified({ key: callers, iv }: ContentKey, { hashes, tag }: VerifiedCiphertext): Transform {
  // The caller's is wiped when its call ends.
  const key = copySecret(callers)
  const chunks = new Chunks([...hashes.map(({ length }) => length), TAG_LENGTH])
  let opened = 0
  return new Transform({
    readableHighWaterMark: CHUNK_LENGTH,
    transform(piece: Uint8Array, _encoding, done) {
      try {
        for (const chunk of chunks.add(piece)) {
          const verified = hashes[opened++]
          if (verified) this.push(openChunk(key, iv, verified, chunk))
          else if (!equalBytes(tag, chunk)) throw authenticationFailed()
        }
        done()
      } catch (error) {
        done(error as Error)
      }
    },
    flush(done) {
      try {
        chunks.end()
        done()
      } catch (error) {
        done(error as Error)
      }
    },
    destroy(error, done) {
      wipe(key)
      wipeHashes(hashes)
      done(error)
    },
  })
}

/** Throws `ERR_AUTHENTICATION_FAILED` unless `tag` is that of the hashed chunks, in whatever order they are. */
export function verifyHashes({ key, iv, aad }: ContentKey, hashes: readonly SegmentHash[], tag: Uint8Array): void {
  if (!getEngine().verifySegments(key, iv, aad, hashes, tag)) throw authenticationFailed()
}

/** Reads a ciphertext of `length` bytes and its tag. `keep` is given each chunk, and the tag, until it settles. */
export async function verifyCiphertext(
  contentKey: ContentKey,
  body: AsyncIterable<Uint8Array>,
  length: number,
  keep?: CiphertextFile['write'],
): Promise<VerifiedCiphertext> {
  const { key, iv } = contentKey
  const chunks = new Chunks([...chunkLengths(length), TAG_LENGTH])
  const hashes: SegmentHash[] = []
  let tag = new Uint8Array(0)
  let offset = 0
  try {
    for await (const piece of body) {
      for (const chunk of chunks.add(piece)) {
        if (offset === length) tag = Uint8Array.from(chunk)
        else hashes.push(getEngine().hashSegment(key, iv, offset / BLOCK_LENGTH, chunk))
        await keep?.(chunk, offset)
        offset += chunk.length
      }
    }
    chunks.end()
    verifyHashes(contentKey, hashes, tag)
    return { hashes, length, tag }
  } catch (error) {
    wipeHashes(hashes)
    throw error
  }
}

function openChunk(key: Uint8Array, iv: Uint8Array, verified: SegmentHash, chunk: Uint8Array): Uint8Array {
  const plaintext = getEngine().allocate(chunk.length)
  const { hash } = getEngine().openSegment(key, iv, verified.blockOffset, chunk, plaintext)
  const isSame = equalSecrets(hash, verified.hash)
  wipe(hash)
  if (isSame) return plaintext
  wipe(plaintext)
  throw authenticationFailed()
}
