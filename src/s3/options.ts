import { checkEncryptionContext, type EncryptionContext, emptyContext } from '../encryption-context'
import { SealwaxError } from '../errors'
import { MAX_GCM_LENGTH } from '../format/frame'
import { CONTENT_ALGORITHM_PAIR } from '../materials/s3-keyring'
import { checkBoolean, checkInteger, checkOneOf } from '../options'
import { CommitmentPolicy, checkCommitmentPolicy } from '../policies'

/** What an object is written as: with key commitment (version 3), or without (version 2). */
export type S3EncryptionAlgorithm = 'ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY' | 'ALG_AES_256_GCM_IV12_TAG16_NO_KDF'

export interface S3EncryptOptions {
  /**
   * `FORBID_ENCRYPT_ALLOW_DECRYPT` writes version 2, the other two write version 3.
   * Default: `REQUIRE_ENCRYPT_REQUIRE_DECRYPT`.
   */
  commitmentPolicy?: CommitmentPolicy | `${CommitmentPolicy}` | undefined
  /** Must be what the policy writes. Default: that. */
  encryptionAlgorithm?: S3EncryptionAlgorithm | undefined
  /**
   * Public pairs that KMS binds to the data key, and a reader must give again. Raw keys can bind none. Default: `{}`.
   */
  encryptionContext?: EncryptionContext | undefined
}

export interface S3DecryptOptions {
  /**
   * `REQUIRE_ENCRYPT_REQUIRE_DECRYPT`, the default, reads version 3 only: the one version whose ciphertext opens with no
   * more than one key. The other two read all versions.
   */
  commitmentPolicy?: CommitmentPolicy | `${CommitmentPolicy}` | undefined
  /** The pairs that the object was encrypted with, all of them. Default: `{}`. */
  encryptionContext?: EncryptionContext | undefined
  /**
   * Also read data keys wrapped as `kms` (old clients, and Amazon SES), `AES`, `RSA`, `AESWrap` and
   * `RSA/ECB/OAEPWithSHA-256AndMGF1Padding`. None binds the content algorithm. Default: `false`.
   */
  enableLegacyWrappingAlgorithms?: boolean | undefined
  /** Also read content that nothing authenticates: AES-CBC. Default: `false`. */
  enableLegacyUnauthenticatedModes?: boolean | undefined
}

/** How objects are read that are longer than `bufferSize`. */
export type LargeObjects = 'two-pass' | 'temporary-file' | 'refuse'

/** How much is held in memory, and what becomes of more. */
export interface BufferOptions {
  /**
   * Objects up to this length, in bytes of plaintext, are held in memory until they are verified. 16 to 2^36 - 32.
   * Default: 64 MiB. Excludes `enableDelayedAuthenticationMode`.
   */
  bufferSize?: number | undefined
  /**
   * Give plaintext out **before it is verified**. Where it turns out to be wrong, the body is destroyed with an error and
   * never ends: act on nothing before it has ended. Default: `false`.
   */
  enableDelayedAuthenticationMode?: boolean | undefined
}

export interface CheckedBuffering<Large extends LargeObjects = LargeObjects> {
  readonly bufferSize: number
  readonly largeObjects: Large
  readonly enableDelayedAuthenticationMode: boolean
}

export interface CheckedDecryptOptions {
  readonly commitmentPolicy: CommitmentPolicy
  readonly encryptionContext: Readonly<EncryptionContext>
  readonly enableLegacyWrappingAlgorithms: boolean
  readonly enableLegacyUnauthenticatedModes: boolean
}

export const ENCRYPT_OPTIONS = ['commitmentPolicy', 'encryptionAlgorithm', 'encryptionContext'] as const
export const BUFFER_OPTIONS = ['bufferSize', 'largeObjects', 'enableDelayedAuthenticationMode'] as const
export const DECRYPT_OPTIONS = [
  'commitmentPolicy',
  'encryptionContext',
  'enableLegacyWrappingAlgorithms',
  'enableLegacyUnauthenticatedModes',
] as const

export function checkDecryptOptions(options: S3DecryptOptions): CheckedDecryptOptions {
  const { enableLegacyWrappingAlgorithms = false, enableLegacyUnauthenticatedModes = false } = options
  return {
    commitmentPolicy: checkPolicy(options.commitmentPolicy),
    encryptionContext: checkObjectContext(options.encryptionContext),
    enableLegacyWrappingAlgorithms: checkBoolean(enableLegacyWrappingAlgorithms, 'enableLegacyWrappingAlgorithms'),
    enableLegacyUnauthenticatedModes: checkBoolean(
      enableLegacyUnauthenticatedModes,
      'enableLegacyUnauthenticatedModes',
    ),
  }
}

export function checkBuffering<Large extends LargeObjects>(
  options: BufferOptions & { largeObjects?: LargeObjects | undefined },
  known: readonly [Large, ...Large[]],
): CheckedBuffering<Large> {
  const { bufferSize, largeObjects, enableDelayedAuthenticationMode = false } = options
  if (checkBoolean(enableDelayedAuthenticationMode, 'enableDelayedAuthenticationMode')) {
    const held = bufferSize !== undefined ? 'bufferSize' : largeObjects !== undefined ? 'largeObjects' : undefined
    if (held) throw new RangeError(`"${held}" has no meaning where "enableDelayedAuthenticationMode" is true`)
  }
  return {
    bufferSize: checkInteger(bufferSize ?? DEFAULT_BUFFER_SIZE, 'bufferSize', 16, MAX_GCM_LENGTH),
    largeObjects: checkOneOf(largeObjects ?? known[0], 'largeObjects', known),
    enableDelayedAuthenticationMode,
  }
}

const DEFAULT_BUFFER_SIZE = 64 * 1024 * 1024

export function checkPolicy(policy: unknown = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT): CommitmentPolicy {
  return checkCommitmentPolicy(policy)
}

/** The version to write. Throws `RangeError` where the algorithm contradicts the policy. */
export function versionToWrite(policy: CommitmentPolicy, algorithm: unknown): 2 | 3 {
  const forbids = policy === CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
  const written = forbids ? 'ALG_AES_256_GCM_IV12_TAG16_NO_KDF' : 'ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY'
  if (algorithm !== undefined && algorithm !== written)
    throw new RangeError(`"encryptionAlgorithm" must be what the policy ${policy} writes, ${written}`)
  return forbids ? 2 : 3
}

/** Checks a context that a caller passed; the pairs that clients add by themselves are not the caller's to give. */
export function checkObjectContext(context: unknown): Readonly<EncryptionContext> {
  const checked = context === undefined ? Object.freeze(emptyContext()) : checkEncryptionContext(context)
  const reserved = RESERVED_PAIRS.find((name) => name in checked)
  if (reserved === undefined) return checked
  throw new SealwaxError('ERR_ENCRYPTION_CONTEXT', `"encryptionContext" must not hold ${reserved}: it is reserved`)
}

/** Pairs of a stored context that are not the caller's: the content algorithm, and what old clients and SES add. */
export const RESERVED_PAIRS = [CONTENT_ALGORITHM_PAIR, 'kms_cmk_id'] as const
