/** The content of a whole object, in memory. */
import { isShared, wipe } from '../bytes'
import { getEngine, type SegmentHash } from '../engine/engine'
import { openCbc, sealCbc } from '../engine/legacy'
import { authenticationFailed } from '../errors'
import { TAG_LENGTH } from '../format/frame'
import { nextTurn, turnIsDue } from '../turns'
import { type PartBody, readExactly } from './body'
import { BLOCK_LENGTH, wipeHashes } from './chunks'
import type { ContentKey } from './content-key'
import { SEGMENT_LENGTH, sealWhole } from './part'

/** The ciphertext of a whole body, sealed as its bytes come. */
export async function sealContent(content: ContentKey, body: PartBody): Promise<Uint8Array> {
  if (content.mode === 'gcm') return await sealWhole(content, body)
  return sealCbc(content.key, content.iv, await readExactly(body))
}

/** The plaintext of a whole body, once it is verified. */
export async function openContent(content: ContentKey, body: Uint8Array): Promise<Buffer> {
  const ciphertext = isShared(body) ? Uint8Array.from(body) : body
  const plaintext =
    content.mode === 'cbc' ? openCbc(content.key, content.iv, ciphertext) : await openGcm(content, ciphertext)
  if (plaintext) return Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.length)
  throw authenticationFailed()
}

async function openGcm({ key, iv, aad }: ContentKey, ciphertext: Uint8Array): Promise<Uint8Array | undefined> {
  const engine = getEngine()
  const length = ciphertext.length - TAG_LENGTH
  if (length < 0) return undefined
  const plaintext = new Uint8Array(length)
  if (length <= SEGMENT_LENGTH) return engine.open(key, iv, aad, ciphertext, plaintext) ? plaintext : undefined
  // In turns: others have theirs in between. What the caller changes meanwhile does not change what was opened.
  const segments: SegmentHash[] = []
  let isAuthentic = false
  try {
    for (let start = 0; start < length; start += SEGMENT_LENGTH) {
      const end = Math.min(start + SEGMENT_LENGTH, length)
      if (turnIsDue(end - start)) await nextTurn(end - start)
      const out = plaintext.subarray(start, end)
      segments.push(engine.openSegment(key, iv, start / BLOCK_LENGTH, ciphertext.subarray(start, end), out))
    }
    isAuthentic = engine.verifySegments(key, iv, aad, segments, ciphertext.subarray(length))
    return isAuthentic ? plaintext : undefined
  } finally {
    wipeHashes(segments)
    // Also where the caller took its memory away meanwhile.
    if (!isAuthentic) wipe(plaintext)
  }
}
