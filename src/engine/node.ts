import {
  constants,
  createCipheriv,
  createDecipheriv,
  createHmac,
  type KeyObject,
  randomFillSync,
  timingSafeEqual,
} from 'node:crypto'
import { allocateSecret, wipe } from '../bytes'
import {
  bodyAad,
  FINAL_FRAME_MARKER,
  frameIv,
  REGULAR_FRAME_OVERHEAD,
  serializeFinalFrameHeader,
  serializeRegularFrameHeader,
  TAG_LENGTH,
} from '../format/frame'
import { maxMessagePlaintext, messageLength } from '../format/header-layout'
import {
  checkHash,
  checkHkdf,
  checkLive,
  checkOpen,
  checkOpenFrames,
  checkOpenMessages,
  checkRandomLength,
  checkSeal,
  checkSealFrames,
  checkSealMessages,
  checkSegment,
  checkSegments,
  checkTag,
  overlapping,
  refuseShared,
} from './arguments'
import type {
  Engine,
  EngineInfo,
  FrameRun,
  Hash,
  HashName,
  HkdfOutput,
  MessageRun,
  OpenedFrames,
  OpenedMessage,
  RunningHash,
  SegmentHash,
  Signer,
  Verifier,
} from './engine'
import { gcmOf, updateInto } from './node-cipher'
import { checkRunning, NodeHash, NodeSigner, NodeVerifier } from './node-hash'
import { openMessage, sealMessage } from './node-messages'
import { combine, cryptSegment, hashBytes } from './segments'

/** The engine over node:crypto: what runs where the addon cannot, and the oracle of its tests. */
export class NodeEngine implements Engine {
  #fallback: string | undefined

  /** `fallback` says why the addon is not in use, where it should be. */
  constructor(fallback?: string) {
    this.#fallback = fallback
  }

  info(): EngineInfo {
    const info = { backend: 'node', openssl: `OpenSSL ${opensslVersion()}`, cpu: [], threads: 1 } as const
    return this.#fallback === undefined ? info : { ...info, fallback: this.#fallback }
  }

  randomBytes(length: number): Uint8Array {
    checkRandomLength(length)
    return randomFillSync(allocateSecret(length))
  }

  randomFill(out: Uint8Array): void {
    checkLive(out, 'out')
    refuseShared(out)
    randomFillSync(out)
  }

  allocate(length: number): Buffer {
    return Buffer.allocUnsafeSlow(length)
  }

  hkdf(hash: HashName, key: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array {
    checkHkdf(hash, key, salt, { info, length })
    refuseShared(key, salt, info)
    return hkdf(hash, key, salt, info, length)
  }

  hkdfPair(
    hash: HashName,
    key: Uint8Array,
    salt: Uint8Array,
    first: HkdfOutput,
    second: HkdfOutput,
  ): [Uint8Array, Uint8Array] {
    return [
      this.hkdf(hash, key, salt, first.info, first.length),
      this.hkdf(hash, key, salt, second.info, second.length),
    ]
  }

  seal(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): void {
    checkSeal(key, iv, aad, plaintext, out)
    checkMemory(out, key, iv, aad, plaintext)
    seal(key, iv, aad, plaintext, out)
  }

  open(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): boolean {
    checkOpen(key, iv, aad, sealed, out)
    checkMemory(out, key, iv, aad, sealed)
    return open(key, iv, aad, sealed, out)
  }

  sealSegment(
    key: Uint8Array,
    iv: Uint8Array,
    blockOffset: number,
    plaintext: Uint8Array,
    out: Uint8Array,
  ): SegmentHash {
    checkSegment(key, iv, blockOffset, 'plaintext', plaintext, out)
    checkMemory(out, key, iv, plaintext)
    cryptSegment(key, iv, blockOffset, plaintext, out)
    return { blockOffset, length: out.length, hash: hashBytes(key, out) }
  }

  openSegment(
    key: Uint8Array,
    iv: Uint8Array,
    blockOffset: number,
    ciphertext: Uint8Array,
    out: Uint8Array,
  ): SegmentHash {
    checkSegment(key, iv, blockOffset, 'ciphertext', ciphertext, out)
    checkMemory(out, key, iv, ciphertext)
    cryptSegment(key, iv, blockOffset, ciphertext, out)
    return { blockOffset, length: out.length, hash: hashBytes(key, ciphertext) }
  }

  hashSegment(key: Uint8Array, iv: Uint8Array, blockOffset: number, ciphertext: Uint8Array): SegmentHash {
    checkSegment(key, iv, blockOffset, 'ciphertext', ciphertext)
    refuseShared(key, iv, ciphertext)
    return { blockOffset, length: ciphertext.length, hash: hashBytes(key, ciphertext) }
  }

  combineSegments(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, segments: readonly SegmentHash[]): Uint8Array {
    const inOrder = checkSegments(key, iv, aad, segments)
    refuseShared(key, iv, aad)
    return combine(key, iv, aad, inOrder)
  }

  verifySegments(
    key: Uint8Array,
    iv: Uint8Array,
    aad: Uint8Array,
    segments: readonly SegmentHash[],
    tag: Uint8Array,
  ): boolean {
    checkTag(tag)
    return timingSafeEqual(this.combineSegments(key, iv, aad, segments), tag)
  }

  createHash(hash: HashName): Hash {
    checkHash(hash)
    return new NodeHash(hash)
  }

  createSigner(hash: HashName, privateKey: KeyObject): Signer {
    checkHash(hash)
    return new NodeSigner(hash, privateKey)
  }

  createVerifier(hash: HashName, publicKey: KeyObject): Verifier {
    checkHash(hash)
    return new NodeVerifier(hash, publicKey)
  }

  sealFrames(run: FrameRun, plaintext: Uint8Array, final: boolean, out: Uint8Array, hash?: RunningHash): void {
    checkSealFrames(run, plaintext, final, out)
    checkRunning(hash)
    const { key, messageId, frameLength } = run
    checkMemory(out, key, messageId, plaintext)

    let sequenceNumber = run.firstSequenceNumber
    let written = 0
    const put = (header: Uint8Array, part: 'frame' | 'final frame', content: Uint8Array) => {
      out.set(header, written)
      written += header.length
      const sealed = out.subarray(written, written + content.length + TAG_LENGTH)
      seal(key, frameIv(sequenceNumber), bodyAad(messageId, part, sequenceNumber, content.length), content, sealed)
      written += sealed.length
      sequenceNumber++
    }
    const regularEnd = plaintext.length - (plaintext.length % frameLength)
    for (let start = 0; start < regularEnd; start += frameLength) {
      put(serializeRegularFrameHeader(sequenceNumber), 'frame', plaintext.subarray(start, start + frameLength))
    }
    if (final) {
      const rest = plaintext.subarray(regularEnd)
      put(serializeFinalFrameHeader(sequenceNumber, rest.length), 'final frame', rest)
    }
    hash?.update(out)
  }

  openFrames(run: FrameRun, body: Uint8Array, out: Uint8Array, hash?: RunningHash): OpenedFrames {
    checkRunning(hash)
    const opened = openFrames(run, body, out)
    hash?.update(body.subarray(0, opened.count * (run.frameLength + REGULAR_FRAME_OVERHEAD)))
    return opened
  }

  sealMessages(run: MessageRun, messageIds: Uint8Array, plaintexts: readonly Uint8Array[], out: Uint8Array): void {
    checkSealMessages(run, messageIds, plaintexts, out)
    checkMemory(out, run.dataKey, run.header, run.unstored, messageIds, ...plaintexts)
    let start = 0
    for (const [i, plaintext] of plaintexts.entries()) {
      const idLength = messageIds.length / plaintexts.length
      const share = out.subarray(start, start + messageLength(run, plaintext.length))
      sealMessage(this, run, messageIds.subarray(i * idLength, (i + 1) * idLength), plaintext, share)
      start += share.length
    }
  }

  openMessages(run: MessageRun, messages: readonly Uint8Array[], out: Uint8Array): (OpenedMessage | undefined)[] {
    checkOpenMessages(run, messages, out)
    checkMemory(out, run.dataKey, run.header, run.unstored, ...messages)
    let start = 0
    return messages.map((message) => {
      const share = out.subarray(start, start + maxMessagePlaintext(run, message.length))
      start += share.length
      return openMessage(this, run, message, share)
    })
  }
}

export const nodeEngine: Engine = new NodeEngine()

function openFrames(run: FrameRun, body: Uint8Array, out: Uint8Array): OpenedFrames {
  checkOpenFrames(run, body, out)
  const { key, messageId, frameLength, firstSequenceNumber } = run
  checkMemory(out, key, messageId, body)

  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const frameBytes = frameLength + REGULAR_FRAME_OVERHEAD
  const frames = Math.min(Math.floor(body.length / frameBytes), Math.floor(out.length / frameLength))
  for (let count = 0; ; count++) {
    const start = count * frameBytes
    const sequenceNumber = firstSequenceNumber + count
    if (body.length - start >= 4 && view.getUint32(start) === FINAL_FRAME_MARKER) return { count, status: 'final' }
    if (count === frames) return { count, status: 'ok' }
    if (view.getUint32(start) !== sequenceNumber) return { count, status: 'out-of-order' }
    const iv = frameIv(sequenceNumber)
    if (Buffer.compare(body.subarray(start + 4, start + 16), iv) !== 0) return { count, status: 'wrong-iv' }
    const aad = bodyAad(messageId, 'frame', sequenceNumber, frameLength)
    const content = out.subarray(count * frameLength, (count + 1) * frameLength)
    if (!open(key, iv, aad, body.subarray(start + 16, start + frameBytes), content)) {
      return { count, status: 'unauthentic' }
    }
  }
}

/** By hand: node:crypto's own takes no more than 1024 bytes of `info`. */
function hkdf(hash: HashName, key: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  const prk = createHmac(hash, salt).update(key).digest()
  const out = allocateSecret(length)
  let block = Buffer.alloc(0)
  for (let done = 0, counter = 1; done < length; counter++) {
    const next = createHmac(hash, prk).update(block).update(info).update(Uint8Array.of(counter)).digest()
    wipe(block)
    block = next
    out.set(block.subarray(0, length - done), done)
    done += block.length
  }
  wipe(prk, block)
  return out
}

/** MNN00PP0 in hexadecimal: major, minor, patch. */
function opensslVersion(): string {
  const number = constants.OPENSSL_VERSION_NUMBER
  return `${number >>> 28}.${(number >>> 20) & 0xff}.${(number >>> 4) & 0xffff}`
}

function seal(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): void {
  const cipher = createCipheriv(gcmOf(key), key, iv, { authTagLength: TAG_LENGTH }).setAAD(aad)
  updateInto(cipher, plaintext, out)
  cipher.final()
  out.set(cipher.getAuthTag(), plaintext.length)
}

function open(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): boolean {
  const decipher = createDecipheriv(gcmOf(key), key, iv, { authTagLength: TAG_LENGTH })
  decipher.setAAD(aad).setAuthTag(sealed.subarray(out.length))
  updateInto(decipher, sealed.subarray(0, out.length), out)
  try {
    decipher.final()
    return true
  } catch {
    out.fill(0)
    return false
  }
}

function checkMemory(out: Uint8Array, ...inputs: Uint8Array[]): void {
  refuseShared(out, ...inputs)
  for (const input of inputs) {
    const apart =
      input.buffer !== out.buffer ||
      input.byteOffset + input.length <= out.byteOffset ||
      out.byteOffset + out.length <= input.byteOffset
    if (!apart && input.length !== 0 && out.length !== 0) throw overlapping()
  }
}
