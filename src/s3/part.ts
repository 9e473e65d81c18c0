/**
 * One part of a large object: some bytes of one AES-GCM message, sealed without the others. What lies in whole blocks is
 * sealed in segments; a block that two parts share, where the length of parts is no multiple of 16, by each of them.
 */
import { allocateSecret, wipe } from '../bytes'
import { getEngine, type SegmentHash } from '../engine/engine'
import { equalSecrets } from '../engine/equal-secrets'
import { SealwaxError } from '../errors'
import { TAG_LENGTH } from '../format/frame'
import { nextTurn, turnIsDue } from '../turns'
import { type PartBody, wrongLength } from './body'
import { BLOCK_LENGTH, wipeHashes } from './chunks'
import type { ContentKey } from './content-key'

/** What one call of the engine seals or opens: some milliseconds' worth at most. The hashes of a part depend on it. */
export const SEGMENT_LENGTH = 8 * 1024 * 1024

/** Ciphertext that does not fill its block. */
export interface Fragment {
  /** In the object. */
  readonly offset: number
  readonly bytes: Uint8Array
}

/** What the tag needs to know of a part. */
export interface PartHash {
  /** Secrets. */
  readonly segments: readonly SegmentHash[]
  readonly fragments: readonly Fragment[]
}

/**
 * Seals the bytes from `offset` of the object on, as they come, into `ciphertext`, which is as long as they and a tag. What the
 * caller changes meanwhile is not torn, but sealed once.
 */
export async function sealPart(
  content: ContentKey,
  offset: number,
  body: PartBody,
  ciphertext: Uint8Array,
): Promise<PartHash> {
  const segments: SegmentHash[] = []
  const fragments: Fragment[] = []
  const reader = new ExactReader(body)
  try {
    for (const [start, end] of runsOf(offset, body.length)) {
      if (turnIsDue(end - start)) await nextTurn(end - start)
      const plaintext = await reader.take(end - start)
      const out = ciphertext.subarray(start, end)
      if (isWhole(offset + start, end - start)) {
        const { key, iv } = checkKey(content)
        segments.push(getEngine().sealSegment(key, iv, (offset + start) / BLOCK_LENGTH, plaintext, out))
      } else {
        sealFragment(content, offset + start, plaintext, out)
        fragments.push({ offset: offset + start, bytes: Uint8Array.from(out) })
      }
    }
    await reader.end()
    return { segments, fragments }
  } catch (error) {
    wipeHashes(segments)
    throw error
  } finally {
    reader.wipe()
  }
}

/** A whole object: its only part, and the tag. */
export async function sealWhole(content: ContentKey, body: PartBody): Promise<Uint8Array> {
  const ciphertext = getEngine().allocate(body.length + TAG_LENGTH)
  const hash = await sealPart(content, 0, body, ciphertext)
  try {
    ciphertext.set(tagOf(content, [hash]), body.length)
    return ciphertext
  } finally {
    wipeHashes(hash.segments)
  }
}

/** Whether two parts at one place are the same ciphertext. Without the key, nobody finds two with the same hashes. */
export function isSamePart(a: PartHash, b: PartHash): boolean {
  const all = ({ segments, fragments }: PartHash) =>
    Buffer.concat([...segments.map(({ hash }) => hash), ...fragments.map(({ bytes }) => bytes)])
  const [ofA, ofB] = [all(a), all(b)]
  const isSame = equalSecrets(ofA, ofB)
  wipe(ofA, ofB)
  return isSame
}

/** The tag of the object, from all its parts. */
export function tagOf(content: ContentKey, parts: readonly PartHash[]): Uint8Array {
  const { key, iv, aad } = checkKey(content)
  const engine = getEngine()
  const blocks = new Map<number, Fragment[]>()
  for (const fragment of parts.flatMap(({ fragments }) => fragments)) {
    const index = Math.floor(fragment.offset / BLOCK_LENGTH)
    blocks.set(index, [...(blocks.get(index) ?? []), fragment])
  }
  const shared = [...blocks].map(([index, fragments]) => {
    const inOrder = fragments.sort((a, b) => a.offset - b.offset)
    return engine.hashSegment(key, iv, index, Buffer.concat(inOrder.map(({ bytes }) => bytes)))
  })
  try {
    return engine.combineSegments(key, iv, aad, [...parts.flatMap(({ segments }) => segments), ...shared])
  } finally {
    wipeHashes(shared)
  }
}

/** Whoever gives an object up wipes its key at any time: nothing is sealed under zeros, which everybody knows. */
function checkKey(content: ContentKey): ContentKey {
  if (content.key.some((byte) => byte !== 0)) return content
  throw new SealwaxError('ERR_INTERNAL', 'the key of this object has been wiped')
}

/** Cuts a part at fixed places: whole blocks, as many as are sealed at a time, or what is in one block. */
function* runsOf(offset: number, length: number): Generator<[start: number, end: number]> {
  let start = 0
  while (start < length) {
    const left = length - start
    const inBlock = (offset + start) % BLOCK_LENGTH
    const step =
      inBlock > 0 || left < BLOCK_LENGTH
        ? BLOCK_LENGTH - inBlock
        : Math.min(SEGMENT_LENGTH, left - (left % BLOCK_LENGTH))
    const end = start + Math.min(step, left)
    yield [start, end]
    start = end
  }
}

function isWhole(offset: number, length: number): boolean {
  return offset % BLOCK_LENGTH === 0 && length % BLOCK_LENGTH === 0
}

/** As a whole block, of which the rest is thrown away: there, it would be bare keystream. */
function sealFragment(content: ContentKey, offset: number, plaintext: Uint8Array, out: Uint8Array): void {
  const { key, iv } = checkKey(content)
  const inBlock = offset % BLOCK_LENGTH
  const block = allocateSecret(BLOCK_LENGTH)
  const sealed = allocateSecret(BLOCK_LENGTH)
  block.set(plaintext, inBlock)
  const { hash } = getEngine().sealSegment(key, iv, (offset - inBlock) / BLOCK_LENGTH, block, sealed)
  out.set(sealed.subarray(inBlock, inBlock + plaintext.length))
  wipe(block, sealed, hash)
}

/** Reads a body in pieces of just the lengths that are asked for, and sees to it that it is as long as was said. */
class ExactReader {
  readonly #length: number
  readonly #chunks: AsyncIterator<Uint8Array>
  /** What has come and was not taken: no copy. */
  #rest: Uint8Array = new Uint8Array(0)
  /** Where pieces are put together. */
  #staging: Uint8Array | undefined
  #come = 0

  constructor({ length, chunks }: PartBody) {
    this.#length = length
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  /** Good until the next call. */
  async take(length: number): Promise<Uint8Array> {
    if (this.#rest.length === 0) await this.#next()
    if (this.#rest.length >= length) return this.#cut(length)
    this.#staging ??= allocateSecret(Math.min(this.#length, SEGMENT_LENGTH))
    const piece = this.#staging.subarray(0, length)
    for (let filled = 0; filled < length; ) {
      if (this.#rest.length === 0) await this.#next()
      const part = this.#cut(Math.min(length - filled, this.#rest.length))
      piece.set(part, filled)
      filled += part.length
    }
    return piece
  }

  async end(): Promise<void> {
    while (this.#rest.length === 0 && !(await this.#pull()));
    if (this.#rest.length > 0) throw wrongLength(this.#length, 'more')
  }

  wipe(): void {
    wipe(this.#staging)
    // Ends the source, where it has not ended.
    void Promise.resolve(this.#chunks.return?.()).catch(() => {})
  }

  #cut(length: number): Uint8Array {
    const part = this.#rest.subarray(0, length)
    this.#rest = this.#rest.subarray(length)
    return part
  }

  async #next(): Promise<void> {
    while (this.#rest.length === 0) if (await this.#pull()) throw wrongLength(this.#length, 'fewer')
  }

  /** Whether the source has ended. */
  async #pull(): Promise<boolean> {
    const { value, done } = await this.#chunks.next()
    if (done) return true
    this.#rest = value
    this.#come += value.length
    return false
  }
}
