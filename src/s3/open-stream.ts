import { pipeline, Readable } from 'node:stream'
import { TAG_LENGTH } from '../format/frame'
import { bytesOf, tooLong, toReadable } from './body'
import { openContent } from './content'
import type { ContentKey } from './content-key'
import { openDelayed } from './delayed'
import { openVerified, plaintextLength, verifyCiphertext } from './large'
import type { CheckedBuffering } from './options'
import { type CiphertextFile, openCiphertextFile } from './temporary-file'

/** The plaintext of a stream, all of which is verified before this settles, unless authentication is delayed. */
export async function openStream(
  content: ContentKey,
  body: AsyncIterable<Uint8Array>,
  buffering: CheckedBuffering<'temporary-file' | 'refuse'>,
): Promise<Readable> {
  // Whichever of the two ends badly ends the other; the consumer of the plaintext hears of it there.
  if (buffering.enableDelayedAuthenticationMode) return pipeline(toReadable(body), openDelayed(content), () => {})
  const { bufferSize, largeObjects } = buffering
  // A tag, or a padding, which is as long at most.
  const limit = bufferSize + TAG_LENGTH
  const held: Uint8Array[] = []
  let file: CiphertextFile | undefined
  let length = 0
  try {
    // Leaving the loop ends the source.
    for await (const piece of bytesOf(body)) {
      // A copy: a source may use its memory again.
      held.push(Uint8Array.from(piece))
      length += piece.length
      if (length <= limit) continue
      if (content.mode === 'cbc' || largeObjects === 'refuse') throw tooLong(bufferSize)
      file ??= await openCiphertextFile()
      const bytes = Buffer.concat(held.splice(0))
      await file.write(bytes, length - bytes.length)
    }
    if (!file) return Readable.from([await openContent(content, Buffer.concat(held))], { objectMode: false })
    const verified = await verifyCiphertext(content, file.read({ keepOpen: true }), plaintextLength(length))
    return pipeline(file.read(), openVerified(content, verified), () => {})
  } catch (error) {
    await file?.close()
    throw error
  }
}
