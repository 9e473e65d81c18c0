import { SealwaxError } from '../errors'
import { overlapping, sharedMemory } from './arguments'
import type { HashName } from './engine'

/** `native/binding.cc`. Calls answer with a status of `native/status.h`. */
export interface Binding {
  readonly openssl: string
  /** How OpenSSL describes the CPU it found. */
  readonly cpuSettings: string
  /** 1 for RDSEED, 2 for RDRAND. */
  cpuGenerators(): number
  threads(): number
  randomBytes(out: Uint8Array): number
  hkdf(hash: number, key: Uint8Array, salt: Uint8Array, ...infosAndOutputs: Uint8Array[]): number
  seal(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): number
  open(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): number
  sealSegment: RunSegment
  openSegment: RunSegment
  hashSegment(key: Uint8Array, iv: Uint8Array, blockOffset: number, ciphertext: Uint8Array, hash: Uint8Array): number
  /** `table` holds u64 length || 16-byte hash for each segment, in order. */
  combineSegments(key: Uint8Array, iv: Uint8Array, aad: Uint8Array, table: Uint8Array, tag: Uint8Array): number
  sealFrames(
    key: Uint8Array,
    messageId: Uint8Array,
    frameLength: number,
    firstSequenceNumber: number,
    plaintext: Uint8Array,
    final: 0 | 1,
    out: Uint8Array,
    hash?: HashHandle,
  ): number
  /** 16 times the number of frames opened, plus the status. */
  openFrames(
    key: Uint8Array,
    messageId: Uint8Array,
    frameLength: number,
    firstSequenceNumber: number,
    body: Uint8Array,
    out: Uint8Array,
    hash?: HashHandle,
  ): number
  /** `kdf`: one of {@link HASHES}, or {@link NO_KDF}. */
  sealMessages(
    kdf: number,
    dataKey: Uint8Array,
    header: Uint8Array,
    unstored: Uint8Array,
    frameLength: number,
    messageIds: Uint8Array,
    out: Uint8Array,
    ...plaintexts: readonly Uint8Array[]
  ): number
  /** `results`: for each message the plaintext's length and the bytes used, of type u32; 0 used where it is refused. */
  openMessages(
    kdf: number,
    dataKey: Uint8Array,
    header: Uint8Array,
    unstored: Uint8Array,
    frameLength: number,
    results: Uint8Array,
    out: Uint8Array,
    ...messages: readonly Uint8Array[]
  ): number
  /** Undefined where memory ran out. */
  createHash(hash: number): HashHandle | undefined
  updateHash(hash: HashHandle, bytes: Uint8Array): number
  finishHash(hash: HashHandle, out: Uint8Array): number
  /** 16 times the length of the signature, plus the status. */
  signDigest(curve: number, scalar: Uint8Array, digest: Uint8Array, signature: Uint8Array): number
  verifyDigest(curve: number, point: Uint8Array, digest: Uint8Array, signature: Uint8Array): number
  /** Memory that may hold what earlier results left; undefined where there is none of this kind to be had. */
  allocate(length: number): ArrayBuffer | undefined
  /** How many bytes that nobody needs any more are kept: for {@link allocate}, and by the C library. */
  keepAtMost(length: number): number
  preferHugePages(memory: Uint8Array): number
  /** Not 0 where the system refuses. */
  forbidCoreDumps(): number
  /** For tests: how many threads share a run, in pieces of how many bytes; 0 for what the machine has and what pays. */
  force(threads: number, grain: number): number
}

/** Owns a running hash of the addon. */
export type HashHandle = Readonly<Record<never, never>> & object

type RunSegment = (
  key: Uint8Array,
  iv: Uint8Array,
  blockOffset: number,
  input: Uint8Array,
  out: Uint8Array,
  hash: Uint8Array,
) => number

export const HASHES: Readonly<Record<HashName, number>> = { sha256: 0, sha384: 1, sha512: 2 }
export const NO_KDF = 3

// native/status.h
export const UNAUTHENTIC = 4
const OVERLAPPING = 6
const NOT_BYTES = 7
const FAILED = 8

/** Throws what a status means, unless it is 0. */
export function check(status: number): void {
  if (status === 0) return
  if (status === OVERLAPPING) throw overlapping()
  if (status === NOT_BYTES) throw sharedMemory()
  if (status === FAILED) throw new SealwaxError('ERR_INTERNAL', 'OpenSSL failed, or memory ran out')
  throw new SealwaxError('ERR_INTERNAL', `the addon refused checked arguments (status ${status})`)
}
