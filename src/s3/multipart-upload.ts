import type { CreateMultipartUploadCommandInput, UploadPartCommandOutput } from '@aws-sdk/client-s3'
import { copySecret, wipe } from '../bytes'
import { getEngine } from '../engine/engine'
import { equalSecrets } from '../engine/equal-secrets'
import { TAG_LENGTH } from '../format/frame'
import type { S3Envelope } from '../format/s3-metadata'
import { bodyOf, type PartBody, readExactly } from './body'
import { wipeHashes } from './chunks'
import type { ContentKey } from './content-key'
import type { Stored } from './lost-answer'
import { isSamePart, type PartHash, sealPart, tagOf } from './part'
import { MAX_PART_LENGTH, MAX_PART_NUMBER, MIN_PART_LENGTH, PartGeometry, partError } from './part-geometry'

/** What an upload was begun with. */
export interface UploadStart {
  readonly bucket: string
  readonly key: string
  readonly content: ContentKey
  readonly envelope: S3Envelope
  /** Where and how the object is stored: fields of the request that began it. */
  readonly storage: Pick<CreateMultipartUploadCommandInput, 'ChecksumAlgorithm'>
  /** To be stored before the object is complete, where there is one. */
  readonly instructionFile: Uint8Array | undefined
}

/** A part as the store has it: its number, its `ETag`, its checksums. */
export type StoredPart = Readonly<Record<string, string | number | undefined>>

/** Ciphertext to be sent under a number. */
export interface PartToSend {
  readonly number: number
  readonly body: Uint8Array
}

/** What is known of a part that was sealed. */
export interface PartState {
  readonly number: number
  readonly length: number
  readonly hash: PartHash
  readonly stored: StoredPart | undefined
  /** Whether the tag of the object is stored at its end. */
  readonly isTagged: boolean
}

/** What another process needs to go on. */
export interface UploadState {
  readonly partLength: number | undefined
  readonly last: number | undefined
  readonly parts: readonly PartState[]
}

interface Part {
  readonly length: number
  /** How many requests for it are under way. */
  running: number
  /** Absent as long as it is not sealed. */
  hash?: PartHash
  /** Its ciphertext, with room for the tag, where it may have to be sent again. */
  kept?: Uint8Array | undefined
  /** Whether something else is stored in its place, or may be. */
  isOwed?: boolean
  /** How many requests under way store that. */
  placeholders?: number
  /** Whether it was stored again under an `ETag` that the caller may not know of. */
  isResent?: boolean
  stored?: StoredPart | undefined
  isTagged?: boolean
}

/** Stored under the number of a part whose place in the object is not known yet, and so cannot be sealed. */
const PLACEHOLDER = new Uint8Array(16)

/**
 * One object while its parts come, in any order: one AES-GCM message. At any place one plaintext is sealed and no other,
 * and one tag leaves and no other: else two ciphertexts would give away the plaintext, and two tags the key of the tag.
 */
export class MultipartUpload {
  readonly start: UploadStart
  /** Fields of the caller's requests for parts, for those that are sent besides. */
  request: object = {}
  hasInstructionFile = false
  /** Puts back what was there before the instruction file. */
  putBack: (() => Promise<void>) | undefined
  readonly #geometry: PartGeometry
  readonly #parts = new Map<number, Part>()
  /** The one part that came before anyone could tell where it belongs. */
  #waiting: { readonly number: number; readonly plaintext: Uint8Array } | undefined
  /** The highest part, which would be the last. */
  #candidate: Part | undefined
  /** The tag, once it has left or is about to; and whether it goes as a part of its own, and is stored. */
  #tag: Uint8Array | undefined
  #isTagApart = false
  #tagPart: StoredPart | undefined
  readonly #memory = new PartMemory()
  readonly #running = new Set<Promise<unknown>>()
  #stopped: string | undefined
  /** Whether the key is gone. */
  #hasEnded = false

  constructor(start: UploadStart, state?: UploadState) {
    this.start = start
    this.#geometry = new PartGeometry(state?.partLength, state?.last)
    for (const { number, ...part } of state?.parts ?? []) {
      this.#geometry.add(number, part.length, undefined)
      this.#parts.set(number, { ...part, running: 0 })
    }
  }

  /** Runs what belongs to the upload, unless that has ended. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    this.#checkRunning()
    const running = work()
    this.#running.add(running)
    try {
      return await running
    } finally {
      this.#running.delete(running)
    }
  }

  /** Lets nothing new begin, and waits for what is under way. */
  async stop(why: string): Promise<void> {
    this.#stopped ??= why
    await Promise.allSettled(this.#running)
  }

  /** Forgets all secrets. */
  end(why: string): void {
    this.#stopped ??= why
    this.#hasEnded = true
    wipe(this.start.content.key, this.#waiting?.plaintext)
    for (const { hash } of this.#parts.values()) if (hash) wipeHashes(hash.segments)
    this.#parts.clear()
  }

  /** What to send for a part: its ciphertext, with the tag after it where it is the last and all others are sealed. */
  async seal(number: number, body: PartBody, isLast: boolean | undefined): Promise<Uint8Array> {
    // Its body may have been read meanwhile.
    this.#checkPresent()
    this.#geometry.add(number, body.length, isLast)
    const part = this.#parts.get(number) ?? { length: body.length, running: 0 }
    this.#parts.set(number, part)
    part.running++
    try {
      return await this.#sealOrWait(number, body)
    } finally {
      // What could not be read has no place: it may come again, and then be as long as it is.
      if (--part.running === 0 && !part.hash && !part.isOwed && this.#parts.delete(number))
        this.#geometry.remove(number)
    }
  }

  async #sealOrWait(number: number, body: PartBody): Promise<Uint8Array> {
    if (this.#geometry.partLength !== undefined) {
      await this.#sealWaiting()
      return await this.#sealPlaced(number, body)
    }
    const plaintext = await readExactly(body)
    try {
      // Another part may have come meanwhile.
      if (this.#geometry.partLength !== undefined) return await this.#sealPlaced(number, bodyOf(plaintext))
      this.#checkRunning()
      if (this.#waiting && !equalSecrets(this.#waiting.plaintext, plaintext)) throw changed(number)
      this.#waiting ??= { number, plaintext: copySecret(plaintext) }
      this.#parts.get(number)!.isOwed = true
      return PLACEHOLDER
    } finally {
      wipe(plaintext)
    }
  }

  /** The request for a part is over, and needs its ciphertext no more. */
  sent({ number, body }: PartToSend): void {
    const { length, kept } = this.#parts.get(number) ?? {}
    if (length === undefined || kept || body === PLACEHOLDER) return
    this.#memory.give(Buffer.from(body.buffer, body.byteOffset, length + TAG_LENGTH))
  }

  /** Sends a part, and notes what the store has then. */
  async send<T extends UploadPartCommandOutput>(
    part: PartToSend,
    isResent: boolean,
    request: () => Promise<T>,
  ): Promise<T> {
    const known: Partial<Part> = this.#parts.get(part.number) ?? {}
    const { placeholders = 0 } = known
    const isPlaceholder = part.body === PLACEHOLDER
    if (isPlaceholder) known.placeholders = placeholders + 1
    try {
      const output = await request()
      // The store keeps what comes last, and that may be a placeholder.
      this.#stored(part, storedPart(part.number, output), isResent, isPlaceholder || placeholders > 0)
      return output
    } finally {
      if (isPlaceholder) known.placeholders!--
    }
  }

  #stored({ number, body }: PartToSend, stored: StoredPart, isResent: boolean, isOwed: boolean): void {
    if (number > this.#geometry.highest) this.#tagPart = stored
    const part = this.#parts.get(number)
    if (!part) return
    part.stored = stored
    part.isResent ||= isResent
    if (isOwed) return
    part.isOwed = false
    part.isTagged = body.length > part.length
    if (part.isTagged || number !== this.#geometry.highest) part.kept = undefined
  }

  /** Ends the object after the parts of these numbers. Gives what must be sent before the store can put it together. */
  finish(numbers: readonly number[]): PartToSend[] {
    const highest = Math.max(this.#geometry.last ?? this.#geometry.highest, 1)
    const missing = Array.from({ length: highest }, (_, i) => i + 1).find((number) => {
      const { hash, stored, isOwed } = this.#parts.get(number) ?? {}
      // After a hand-over, what the store has in place of a part that waited is not the part.
      return !hash || !(stored || isOwed)
    })
    if (missing !== undefined) throw partError(`part ${missing} is missing: upload it`)
    if (numbers.length !== highest || numbers.some((number, i) => number !== i + 1)) {
      throw partError(
        `"MultipartUpload.Parts" must list parts 1 to ${highest}, which were uploaded, each once and in order`,
      )
    }
    this.#geometry.end()
    const tag = this.#makeTag()
    const toSend: PartToSend[] = []
    for (const number of numbers.slice(0, -1)) {
      const { isOwed, kept, length } = this.#parts.get(number)!
      if (isOwed) toSend.push({ number, body: kept!.subarray(0, length) })
    }
    const last = this.#parts.get(highest)!
    if (last.isTagged || this.#tagPart) return toSend
    if (last.kept && canCarryTag(last.length)) {
      last.kept.set(tag, last.length)
      return [...toSend, { number: highest, body: last.kept }]
    }
    if (mustCarryTag(highest, last.length)) {
      throw partError(
        `part ${highest} must be uploaded again, with the same bytes: as the last it is stored with the tag`,
      )
    }
    if (last.isOwed) toSend.push({ number: highest, body: last.kept!.subarray(0, last.length) })
    this.#isTagApart = true
    return [...toSend, { number: highest + 1, body: tag }]
  }

  /** What the store is to put together: the caller's list, as far as it is still right. */
  list<T extends object>(given: readonly T[]): (T | StoredPart)[] {
    this.#checkPresent()
    const parts = given.map((part, i) => {
      const { isResent, stored } = this.#parts.get(i + 1)!
      return isResent ? stored! : part
    })
    return this.#tagPart ? [...parts, this.#tagPart] : parts
  }

  /** Bytes that the object has in the store, once it has ended. */
  get storedLength(): number {
    this.#checkPresent()
    const { highest } = this.#geometry
    return this.#geometry.offsetOf(highest) + this.#parts.get(highest)!.length + TAG_LENGTH
  }

  /** What the store then has. */
  get object(): Stored {
    const { envelope, instructionFile } = this.start
    return { envelope, instructionFile, length: this.storedLength }
  }

  get state(): UploadState {
    this.#checkPresent()
    const { partLength, last } = this.#geometry
    const parts = [...this.#parts].flatMap(([number, { length, hash, stored, isOwed = false, isTagged = false }]) =>
      hash ? [{ number, length, hash, stored: isOwed ? undefined : stored, isTagged }] : [],
    )
    return { partLength, last, parts }
  }

  async #sealPlaced(number: number, body: PartBody): Promise<Uint8Array> {
    const { ciphertext } = await this.#sealOnce(number, body)
    const { last, highest } = this.#geometry
    const part = this.#parts.get(number)!
    if (number === last && canCarryTag(part.length) && !this.#isTagApart && this.#isSealed(last)) {
      ciphertext.set(this.#makeTag(), part.length)
      return ciphertext
    }
    if (number === highest) {
      // The one before does not get the tag.
      if (this.#candidate && !this.#candidate.isOwed) this.#candidate.kept = undefined
      this.#candidate = part
      if (mustCarryTag(number, part.length)) part.kept = ciphertext
    }
    return ciphertext.subarray(0, part.length)
  }

  /** The part that waited has a place now; what was stored in its stead is replaced before the object is complete. */
  async #sealWaiting(): Promise<void> {
    const waiting = this.#waiting
    if (!waiting) return
    this.#waiting = undefined
    try {
      const { ciphertext } = await this.#sealOnce(waiting.number, bodyOf(waiting.plaintext))
      this.#parts.get(waiting.number)!.kept = ciphertext
    } finally {
      wipe(waiting.plaintext)
    }
  }

  /** Other bytes than before stay here. */
  async #sealOnce(number: number, body: PartBody): Promise<{ readonly ciphertext: Uint8Array }> {
    const ciphertext = this.#memory.take(body.length + TAG_LENGTH)
    const hash = await sealPart(this.start.content, this.#geometry.offsetOf(number), body, ciphertext).catch(
      (error) => {
        // Where the key was wiped meanwhile, why it was.
        this.#checkPresent()
        throw error
      },
    )
    const part = this.#parts.get(number)
    if (part && !part.hash) {
      part.hash = hash
      return { ciphertext }
    }
    const isSame = part?.hash !== undefined && isSamePart(part.hash, hash)
    wipeHashes(hash.segments)
    if (isSame) return { ciphertext }
    wipe(ciphertext)
    this.#checkRunning()
    throw changed(number)
  }

  #isSealed(last: number): boolean {
    for (let number = 1; number <= last; number++) if (!this.#parts.get(number)?.hash) return false
    return true
  }

  /** From all parts: from then on, there is no other. */
  #makeTag(): Uint8Array {
    this.#tag ??= tagOf(
      this.start.content,
      [...this.#parts.values()].map(({ hash }) => hash!),
    )
    return this.#tag
  }

  #checkRunning(): void {
    if (this.#stopped !== undefined) throw partError(`the upload ${this.#stopped}`)
  }

  /** What is under way goes on after `stop`, and not after `end`. */
  #checkPresent(): void {
    if (this.#hasEnded) this.#checkRunning()
  }
}

/** Ciphertext of parts that were sent makes room for that of the next: the system gives out new memory far slower. */
class PartMemory {
  readonly #free: Buffer[] = []

  take(length: number): Buffer {
    const found = this.#free.findIndex((memory) => memory.length === length)
    return found < 0 ? getEngine().allocate(length) : this.#free.splice(found, 1)[0]!
  }

  give(memory: Buffer): void {
    if (memory.length <= MAX_REUSED_LENGTH) this.#free.push(memory)
  }
}

/** What CompleteMultipartUpload takes: an `ETag`, and the checksums there are. */
function storedPart(number: number, output: UploadPartCommandOutput): StoredPart {
  const checksums = Object.entries(output).filter(
    ([name, value]) => /^Checksum/.test(name) && typeof value === 'string',
  )
  return { ...Object.fromEntries(checksums), ETag: output.ETag, PartNumber: number }
}

const MAX_REUSED_LENGTH = 64 * 2 ** 20 + TAG_LENGTH

/** Nothing can come after it: too short not to be the last, or the last number there is. */
function mustCarryTag(number: number, length: number): boolean {
  return length < MIN_PART_LENGTH || number === MAX_PART_NUMBER
}

function canCarryTag(length: number): boolean {
  return length + TAG_LENGTH <= MAX_PART_LENGTH
}

function changed(number: number): Error {
  return partError(
    `part ${number} was sealed with other bytes before: to seal two at one place would give both away. Abort, and begin anew`,
  )
}
