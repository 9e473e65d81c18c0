import { type KeyObject, timingSafeEqual } from 'node:crypto'
import { existsSync } from 'node:fs'
import { constants, totalmem } from 'node:os'
import { join, toNamespacedPath } from 'node:path'
import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads'
import { allocateSecret, ByteWriter, wipe } from '../bytes'
import { TAG_LENGTH } from '../format/frame'
import { maxMessagePlaintext } from '../format/header-layout'
import {
  BLOCK_LENGTH,
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
} from './arguments'
import { type Binding, check, HASHES, NO_KDF, UNAUTHENTIC } from './binding'
import type {
  Engine,
  EngineInfo,
  FrameRun,
  FramesStatus,
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
import { handleOf, NativeHash, NativeSigner, NativeVerifier } from './native-hash'
import { selfTest } from './self-test'

/** The addon as an engine, or why there is none. */
export type LoadedNative =
  | { readonly engine: NativeEngine; readonly fallback?: never }
  | { readonly engine?: never; readonly fallback: string }

/**
 * Loads the first of `files` that works: this platform's prebuilt addon, or the one built here. Where none does, warns
 * once a process, and says why.
 */
export function loadNative(files: readonly string[] = addonFiles(), load = loadAddon): LoadedNative {
  const problems: string[] = []
  for (const file of files) {
    try {
      // Throws where Node.js's permissions keep the folder closed.
      if (!existsSync(file)) continue
      const engine = new NativeEngine(load(file))
      const problem = selfTest(engine)
      if (problem === undefined) return { engine }
      problems.push(`the addon failed its self-test: ${problem}`)
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error))
    }
  }
  const fallback = problems.join('; ') || `there is no addon for ${process.platform}-${process.arch}`
  warnOnce(`sealwax runs on node:crypto, many times slower: ${fallback}`)
  return { fallback }
}

/**
 * As `require` loads addons, but with all that it needs looked up at once: where a function is lacking, as in Electron, whose
 * OpenSSL is another, the first call would end the process. Bundlers would warn of a `require` that they cannot follow.
 */
function loadAddon(file: string): Binding {
  const addon = { exports: {} }
  process.dlopen(addon, toNamespacedPath(file), constants.dlopen.RTLD_NOW)
  return addon.exports as Binding
}

/** Workers that are started afterwards know of it. */
function warnOnce(text: string): void {
  if (getEnvironmentData(FALLBACK)) return
  setEnvironmentData(FALLBACK, true)
  warn(text, FALLBACK)
}

/** A warning of this library, which programs tell by its code. */
export function warn(text: string, code: string): void {
  process.emitWarning(text, { code })
}

const FALLBACK = 'SEALWAX_FALLBACK'

/** The one built here, if there is one; then prebuildify's names. Only the addon of the right C library loads on Linux. */
function addonFiles(): string[] {
  // Of a bundle that is an ES module nobody knows where it lies, unless it defines that.
  if (typeof __dirname === 'undefined') return []
  const root = join(__dirname, '../..')
  const prebuilt = process.platform === 'linux' ? ['sealwax.glibc.node', 'sealwax.musl.node'] : ['sealwax.node']
  const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`)
  return [join(root, 'native/build/Release/sealwax.node'), ...prebuilt.map((name) => join(folder, name))]
}

/** The engine over the addon. */
export class NativeEngine implements Engine {
  /** @internal */
  readonly binding: Binding

  constructor(binding: Binding) {
    this.binding = binding
    check(binding.keepAtMost(Math.floor(availableMemory() / KEPT_SHARE)))
  }

  info(): EngineInfo {
    const { openssl } = this.binding
    return { backend: 'native', openssl, cpu: cpuFeatures(this.binding), threads: this.binding.threads() }
  }

  randomBytes(length: number): Uint8Array {
    checkRandomLength(length)
    const out = allocateSecret(length)
    check(this.binding.randomBytes(out))
    return out
  }

  randomFill(out: Uint8Array): void {
    checkLive(out, 'out')
    check(this.binding.randomBytes(out))
  }

  allocate(length: number): Buffer {
    // A worker that ends takes its pooled memory along, though it may have sent it to another thread.
    const pooled = length >= POOLED_LENGTH && isMainThread ? this.binding.allocate(length) : undefined
    if (pooled) return Buffer.from(transferable(pooled))
    const memory = Buffer.allocUnsafeSlow(length)
    if (length >= HUGE_LENGTH) check(this.binding.preferHugePages(memory))
    return memory
  }

  hkdf(hash: HashName, key: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array {
    checkHkdf(hash, key, salt, { info, length })
    const out = allocateSecret(length)
    check(this.binding.hkdf(HASHES[hash], key, salt, info, out))
    return out
  }

  hkdfPair(
    hash: HashName,
    key: Uint8Array,
    salt: Uint8Array,
    first: HkdfOutput,
    second: HkdfOutput,
  ): [Uint8Array, Uint8Array] {
    checkHkdf(hash, key, salt, first, second)
    // One allocation for both: it costs about a quarter of the derivation.
    const memory = allocateSecret(first.length + second.length)
    const outs: [Uint8Array, Uint8Array] = [memory.subarray(0, first.length), memory.subarray(first.length)]
    check(this.binding.hkdf(HASHES[hash], key, salt, first.info, outs[0], second.info, outs[1]))
    return outs
  }

  seal(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): void {
    checkSeal(key, iv, aad, plaintext, out)
    check(this.binding.seal(key, iv, aad, plaintext, out))
  }

  open(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): boolean {
    checkOpen(key, iv, aad, sealed, out)
    const status = this.binding.open(key, iv, aad, sealed, out)
    if (status === UNAUTHENTIC) return false
    check(status)
    return true
  }

  sealSegment(
    key: Uint8Array,
    iv: Uint8Array,
    blockOffset: number,
    plaintext: Uint8Array,
    out: Uint8Array,
  ): SegmentHash {
    checkSegment(key, iv, blockOffset, 'plaintext', plaintext, out)
    const hash = allocateSecret(BLOCK_LENGTH)
    check(this.binding.sealSegment(key, iv, blockOffset, plaintext, out, hash))
    return { blockOffset, length: plaintext.length, hash }
  }

  openSegment(
    key: Uint8Array,
    iv: Uint8Array,
    blockOffset: number,
    ciphertext: Uint8Array,
    out: Uint8Array,
  ): SegmentHash {
    checkSegment(key, iv, blockOffset, 'ciphertext', ciphertext, out)
    const hash = allocateSecret(BLOCK_LENGTH)
    check(this.binding.openSegment(key, iv, blockOffset, ciphertext, out, hash))
    return { blockOffset, length: ciphertext.length, hash }
  }

  hashSegment(key: Uint8Array, iv: Uint8Array, blockOffset: number, ciphertext: Uint8Array): SegmentHash {
    checkSegment(key, iv, blockOffset, 'ciphertext', ciphertext)
    const hash = allocateSecret(BLOCK_LENGTH)
    check(this.binding.hashSegment(key, iv, blockOffset, ciphertext, hash))
    return { blockOffset, length: ciphertext.length, hash }
  }

  combineSegments(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, segments: readonly SegmentHash[]): Uint8Array {
    const inOrder = checkSegments(key, iv, aad, segments)
    const table = new ByteWriter(inOrder.length * (8 + BLOCK_LENGTH))
    for (const { length, hash } of inOrder) table.u64(length).put(hash)
    const tag = allocateSecret(TAG_LENGTH)
    const status = this.binding.combineSegments(key, iv, aad, table.bytes, tag)
    wipe(table.bytes)
    check(status)
    return tag
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
    return new NativeHash(this.binding, hash)
  }

  createSigner(hash: HashName, privateKey: KeyObject): Signer {
    checkHash(hash)
    return new NativeSigner(this.binding, hash, privateKey)
  }

  createVerifier(hash: HashName, publicKey: KeyObject): Verifier {
    checkHash(hash)
    return new NativeVerifier(this.binding, hash, publicKey)
  }

  sealFrames(run: FrameRun, plaintext: Uint8Array, final: boolean, out: Uint8Array, hash?: RunningHash): void {
    checkSealFrames(run, plaintext, final, out)
    const { key, messageId, frameLength, firstSequenceNumber } = run
    const last = final ? 1 : 0
    const handle = handleOf(hash)
    check(this.binding.sealFrames(key, messageId, frameLength, firstSequenceNumber, plaintext, last, out, handle))
  }

  openFrames(run: FrameRun, body: Uint8Array, out: Uint8Array, hash?: RunningHash): OpenedFrames {
    checkOpenFrames(run, body, out)
    const { key, messageId, frameLength, firstSequenceNumber } = run
    const handle = handleOf(hash)
    const answer = this.binding.openFrames(key, messageId, frameLength, firstSequenceNumber, body, out, handle)
    const code = answer % 16
    const status = FRAMES_STATUS[code]
    if (status === undefined) check(code)
    return { count: (answer - code) / 16, status: status! }
  }

  sealMessages(run: MessageRun, messageIds: Uint8Array, plaintexts: readonly Uint8Array[], out: Uint8Array): void {
    checkSealMessages(run, messageIds, plaintexts, out)
    const { dataKey, header, unstored, frameLength } = run
    const kdf = kdfOf(run)
    check(this.binding.sealMessages(kdf, dataKey, header, unstored, frameLength, messageIds, out, ...plaintexts))
  }

  openMessages(run: MessageRun, messages: readonly Uint8Array[], out: Uint8Array): (OpenedMessage | undefined)[] {
    checkOpenMessages(run, messages, out)
    const { dataKey, header, unstored, frameLength } = run
    const results = new Uint32Array(2 * messages.length)
    const kdf = kdfOf(run)
    const bytes = new Uint8Array(results.buffer)
    check(this.binding.openMessages(kdf, dataKey, header, unstored, frameLength, bytes, out, ...messages))
    let start = 0
    return messages.map((message, i) => {
      const used = results[2 * i + 1]!
      const plaintext = out.subarray(start, start + results[2 * i]!)
      start += maxMessagePlaintext(run, message.length)
      return used === 0 ? undefined : { plaintext, used }
    })
  }
}

function kdfOf({ suite }: MessageRun): number {
  return suite.kdfHash ? HASHES[suite.kdfHash] : NO_KDF
}

const ARM_FEATURES: readonly (readonly [name: string, bit: number])[] = [
  ['armv8-aes', 2],
  ['armv8-pmull', 5],
]

/** From here on filling fresh memory takes as long as to set up pooled memory (bench/memory.ts). */
const POOLED_LENGTH = 256 * 1024

/** A container of 512 MiB has better use for its memory than to keep half of it. */
const KEPT_SHARE = 16

/** What the machine has, or a container may have of it. */
function availableMemory(): number {
  return Math.min(totalmem(), process.constrainedMemory?.() || Infinity)
}

/** Node.js forbids to send an addon's memory to a worker. Moved once, it is as good as any. */
function transferable(memory: ArrayBuffer & { transfer?: () => ArrayBuffer }): ArrayBuffer {
  return memory.transfer?.() ?? memory
}

/** From here on there is a huge page of 2 MiB inside, however the memory is aligned. */
const HUGE_LENGTH = 4 * 1024 * 1024

// native/status.h
const FRAMES_STATUS: readonly FramesStatus[] = ['ok', 'final', 'out-of-order', 'wrong-iv', 'unauthentic']

/** From OpenSSL's own findings, so that a mask set by the environment (OPENSSL_ia32cap, OPENSSL_armcap) counts. */
function cpuFeatures(binding: Binding): string[] {
  // OpenSSL's arm_arch.h.
  const arm = Number(/OPENSSL_armcap=(0x[0-9a-f]+)/.exec(binding.cpuSettings)?.[1] ?? 0)
  if (arm !== 0) return ARM_FEATURES.filter(([, bit]) => (arm >> bit) % 2 === 1).map(([name]) => name)

  const [first = 0n, second = 0n] = (/OPENSSL_ia32cap=([0-9a-fx:]+)/.exec(binding.cpuSettings)?.[1] ?? '')
    .split(':')
    .filter(Boolean)
    .map(BigInt)
  const all = (word: bigint, ...bits: bigint[]) => bits.every((bit) => ((word >> bit) & 1n) === 1n)
  // OpenSSL took to the wide instructions for AES-GCM in 3.1, and takes all of them or none.
  const wide = !binding.openssl.startsWith('OpenSSL 3.0.') && all(second, 16n, 17n, 30n, 31n, 41n, 42n)
  const generators = binding.cpuGenerators()
  const features: [string, boolean][] = [
    ['aes-ni', all(first, 57n)],
    ['pclmulqdq', all(first, 33n)],
    ['vaes', wide],
    ['vpclmulqdq', wide],
    ['avx512', wide],
    ['rdseed', generators % 2 === 1],
    ['rdrand', generators >= 2],
  ]
  return features.filter(([, inUse]) => inUse).map(([name]) => name)
}
