import type { KeyObject } from 'node:crypto'
import type { NodeAlgorithmSuite } from '../suites'
import { loadNative } from './native'
import { NodeEngine } from './node'

/** HKDF and signature hashes of the algorithm suites. */
export type HashName = 'sha256' | 'sha384' | 'sha512'

/** `native`: the addon; `node`: node:crypto, where the addon cannot load. */
export type Backend = 'native' | 'node'

/** What {@link Engine.info} tells. */
export interface EngineInfo {
  readonly backend: Backend
  /** The OpenSSL that does the work, as it names itself. */
  readonly openssl: string
  /** CPU features in use, of `aes-ni`, `pclmulqdq`, `vaes`, `vpclmulqdq`, `avx512`, `rdseed`, `rdrand`; on ARM `armv8-aes`, `armv8-pmull`. */
  readonly cpu: readonly string[]
  /** How many threads one call can use, the calling one included. */
  readonly threads: number
  /** Why the addon is not in use; absent when it is. */
  readonly fallback?: string
}

/** One output of {@link Engine.hkdfPair}. */
export interface HkdfOutput {
  readonly info: Uint8Array
  readonly length: number
}

/** Which frames one call seals or opens; all of one message. */
export interface FrameRun {
  /** The derived key of the message: 16, 24 or 32 bytes. */
  readonly key: Uint8Array
  /** 16 (version 1) or 32 (version 2) bytes. */
  readonly messageId: Uint8Array
  /** Plaintext bytes in a regular frame, 1 to 2^32-1. */
  readonly frameLength: number
  /** Sequence number of the first frame of the run, from 1. */
  readonly firstSequenceNumber: number
}

/** Why {@link Engine.openFrames} stopped. */
export type FramesStatus =
  /** Every complete frame in the input was opened. */
  | 'ok'
  /** The next frame is marked as the final one; the 4 bytes of the mark are enough, and `out` need not have room for it. */
  | 'final'
  /** The next frame's sequence number is not the next one. */
  | 'out-of-order'
  /** The next frame's IV is not its sequence number. */
  | 'wrong-iv'
  /** The next frame's tag is wrong. */
  | 'unauthentic'

export interface OpenedFrames {
  /** Frames opened: their plaintext fills `count * frameLength` bytes of `out`. The rest of `out` is wiped or untouched. */
  readonly count: number
  readonly status: FramesStatus
}

/** What the messages of one call have in common; message ID and commitment are each message's own. */
export interface MessageRun {
  readonly suite: NodeAlgorithmSuite
  /** What each message's key is derived from, or, for the oldest suites, is. */
  readonly dataKey: Uint8Array
  /** The body of a framed message's header. What stands in the places of message ID and commitment does not count. */
  readonly header: Uint8Array
  /** What a header's tag is over besides its body. */
  readonly unstored: Uint8Array
  /** As in the header. */
  readonly frameLength: number
}

/** What {@link Engine.openMessages} says of one message. */
export interface OpenedMessage {
  /** Where its plaintext is: a view of `out`. */
  readonly plaintext: Uint8Array
  /** Bytes of header and frames; what follows them is for the caller to judge. */
  readonly used: number
}

/**
 * What the tag of an AES-GCM message needs to know of one of its segments. `hash`, 16 bytes, is a secret like the key:
 * whoever has it can forge. Wipe it when the tag is made; never log it, and encrypt it where it must be stored.
 */
export interface SegmentHash {
  /** Where the segment starts, in blocks of 16 bytes. */
  readonly blockOffset: number
  /** Bytes; only the last segment of a message may end inside a block. */
  readonly length: number
  readonly hash: Uint8Array
}

/** A hash of bytes that come piece by piece. {@link Engine.sealFrames} and {@link Engine.openFrames} can feed it. */
export interface RunningHash {
  update(bytes: Uint8Array): void
}

export interface Hash extends RunningHash {
  /** Ends it: nothing can follow. */
  digest(): Uint8Array
}

/** Signs all bytes it was fed, with ECDSA. */
export interface Signer extends RunningHash {
  /** The DER signature, whose length varies by a few bytes. Nothing can follow. */
  sign(): Uint8Array
}

/** Verifies an ECDSA signature of all bytes it was fed. */
export interface Verifier extends RunningHash {
  /** Whether the signature is theirs, in its one DER form. Nothing can follow. */
  verify(signature: Uint8Array): boolean
}

/**
 * Everything that runs AES-GCM. Two backends implement it, byte for byte alike: the addon and node:crypto.
 *
 * All calls are synchronous: large ones use every core, and the calling thread works along. While a call runs no
 * other JavaScript of this thread can touch the buffers, so what is authenticated is what is decrypted; memory that
 * other threads can write (`SharedArrayBuffer`) is refused with a `TypeError`. Callers who want the event loop free
 * cut long work into slices.
 *
 * Keys are 16, 24 or 32 bytes and IVs 12. `out` belongs to the caller, must have the stated length and must not overlap
 * the input. Wrong lengths throw `RangeError`.
 */
export interface Engine {
  info(): EngineInfo

  /** Fresh random bytes in memory of their own: OpenSSL's private DRBG, with the CPU's generator mixed in. */
  randomBytes(length: number): Uint8Array

  /** Overwrites `out` with random bytes from the same source; for values that are not secret, in memory of any kind. */
  randomFill(out: Uint8Array): void

  /**
   * Memory of its own for the output of a large call: on huge pages where the system has them, as filling fresh small ones
   * takes longer than sealing. What it holds is not defined: overwrite all of it, or `fill` it.
   */
  allocate(length: number): Buffer

  /** HKDF (RFC 5869), extract and expand. An empty `salt` counts as zeros. At most 255 hashes long. */
  hkdf(hash: HashName, key: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array

  /** Two outputs of one extract: the same as two calls of {@link hkdf}, in less time. */
  hkdfPair(
    hash: HashName,
    key: Uint8Array,
    salt: Uint8Array,
    first: HkdfOutput,
    second: HkdfOutput,
  ): [first: Uint8Array, second: Uint8Array]

  createHash(hash: HashName): Hash

  /** ECDSA with a private key of P-256 or P-384. */
  createSigner(hash: HashName, privateKey: KeyObject): Signer

  /** ECDSA with a public key of P-256 or P-384. */
  createVerifier(hash: HashName, publicKey: KeyObject): Verifier

  /** One AES-GCM seal: `out` (plaintext.length + 16 bytes) receives ciphertext and tag. At most 2^36 - 32 bytes. */
  seal(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): void

  /**
   * One AES-GCM open of ciphertext and tag into `out` (sealed.length - 16 bytes).
   * Returns false, with `out` wiped, when the tag is wrong.
   */
  open(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): boolean

  /**
   * Seals one segment of the AES-GCM message under `key` and `iv`: the bytes of the plaintext from block `blockOffset` on.
   * The segments of a message can come in any order; `out` (plaintext.length) receives the very bytes that {@link seal}
   * would give, and {@link combineSegments} its tag. At most 2^36 - 32 bytes in all.
   *
   * A position of a message seals ONE plaintext: to seal other bytes at the same key, IV and block gives both away. What
   * is sent again must be the ciphertext of the first time.
   */
  sealSegment(key: Uint8Array, iv: Uint8Array, blockOffset: number, plaintext: Uint8Array, out: Uint8Array): SegmentHash

  /**
   * Decrypts one segment into `out` (ciphertext.length), which is NOT authentic yet: release nothing before
   * {@link verifySegments} has said so of all segments, and wipe everything when it does not.
   */
  openSegment(
    key: Uint8Array,
    iv: Uint8Array,
    blockOffset: number,
    ciphertext: Uint8Array,
    out: Uint8Array,
  ): SegmentHash

  /** The hash of a segment's ciphertext, as {@link sealSegment} and {@link openSegment} give it. */
  hashSegment(key: Uint8Array, iv: Uint8Array, blockOffset: number, ciphertext: Uint8Array): SegmentHash

  /**
   * The 16-byte tag of a message from all its segments, in any order. Throws `RangeError` where they overlap, leave a gap, or
   * one that is not the last ends inside a block.
   */
  combineSegments(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, segments: readonly SegmentHash[]): Uint8Array

  /** Whether `tag` is the tag of a message, from all its segments; compared in constant time. */
  verifySegments(
    key: Uint8Array,
    iv: Uint8Array,
    aad: Uint8Array,
    segments: readonly SegmentHash[],
    tag: Uint8Array,
  ): boolean

  /**
   * Seals a run of message frames, header fields included (message-body.md "Framed Data").
   * Without `final`, `plaintext` is a whole number of frames. With it, the frames are followed by the final one, which
   * holds the remainder, possibly nothing. `out` is exactly as long as the frames. Throws `RangeError` when the
   * sequence number would pass 2^32 - 1, which only a final frame may have: elsewhere it would read as the final mark.
   *
   * `hash`, of this engine, is fed `out`, while later frames are being sealed: it takes the time of the slower of both.
   */
  sealFrames(run: FrameRun, plaintext: Uint8Array, final: boolean, out: Uint8Array, hash?: RunningHash): void

  /**
   * Opens the complete regular frames at the start of `body`, at most as many as fit `out`. Stops before the first frame
   * that is not the expected regular one, and says why; the answer does not depend on the number of threads.
   *
   * `hash`, of this engine, is fed the opened frames, headers and tags included, while later frames are being opened.
   */
  openFrames(run: FrameRun, body: Uint8Array, out: Uint8Array, hash?: RunningHash): OpenedFrames

  /**
   * Seals short messages whole, each with a key of its own: derives it, completes and authenticates the header, seals all
   * frames. `messageIds` holds their message IDs side by side; `out`, as long as all messages are, receives them
   * one after the other. Many are spread over the cores, one is not: long ones are for {@link sealFrames}. At most 16,384.
   */
  sealMessages(run: MessageRun, messageIds: Uint8Array, plaintexts: readonly Uint8Array[], out: Uint8Array): void

  /**
   * Opens short messages whole whose headers are that of the run, but for message ID and commitment. Undefined, with its
   * share of `out` wiped, where a message is not down to its final frame what it must be: the other calls tell why.
   * `out` has for each what a final frame could hold that begins right after the header's authentication. At most 16,384.
   */
  openMessages(run: MessageRun, messages: readonly Uint8Array[], out: Uint8Array): (OpenedMessage | undefined)[]
}

let chosen: Engine | undefined

/** The engine in use: the addon where it loads and passes its self-test, else node:crypto, with one warning. */
export function getEngine(): Engine {
  chosen ??= chooseEngine()
  return chosen
}

/** @internal Chooses anew; `files` are the addons to try in place of the installed ones. */
export function chooseEngine(files?: readonly string[]): Engine {
  const native = loadNative(files)
  return native.engine ?? new NodeEngine(native.fallback)
}

/** @internal For tests: what {@link getEngine} gives from now on. */
export function useEngine(engine: Engine): void {
  chosen = engine
}
