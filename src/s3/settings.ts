import { checkS3Keyring, type S3Keyring } from '../materials/s3-keyring'
import { checkBoolean, checkInteger, checkOneOf, checkOptions } from '../options'
import type { CommitmentPolicy } from '../policies'
import {
  type CheckedDecryptOptions,
  checkDecryptOptions,
  type S3DecryptOptions,
  type S3EncryptionAlgorithm,
  versionToWrite,
} from './options'
import { type ServerSideEncryption, type ServerSidePlugin, serverSideEncryption } from './server-side'

/** How objects are read that are longer than `bufferSize`. */
export type LargeObjects = 'two-pass' | 'temporary-file' | 'refuse'

/** How a client encrypts and decrypts. */
export interface S3EncryptionSettings extends Omit<S3DecryptOptions, 'encryptionContext'> {
  /** Wraps and unwraps the data key of each object. */
  keyring: S3Keyring
  /** Must be what the policy writes. Default: that. */
  encryptionAlgorithm?: S3EncryptionAlgorithm | undefined
  /** `true`: PutObject stores the wrapped data key in an instruction file. Default: `false`. */
  putInstructionFiles?: boolean | undefined
  /**
   * Objects up to this length, in bytes of plaintext, are held in memory until they are verified. 16 to 2^36 - 32.
   * Default: 64 MiB. Excludes `enableDelayedAuthenticationMode`.
   */
  bufferSize?: number | undefined
  /**
   * What GetObject does with longer ones, which are verified before it answers all the same. Memory does not grow with them.
   *
   * - `two-pass`, the default: get them twice, first to verify, then to decrypt. Another object in the second pass is an error,
   *   `ERR_OBJECT_CHANGED`, and so are bytes that are not those that were verified; what was read until then is authentic.
   * - `temporary-file`: get them once, into a file of ciphertext without a name, in the folder that `TMPDIR` names.
   * - `refuse`: throw `ERR_LIMIT_EXCEEDED`, as for objects in AES-CBC, which nothing authenticates.
   *
   * Excludes `enableDelayedAuthenticationMode`.
   */
  largeObjects?: LargeObjects | undefined
  /**
   * Give plaintext out **before it is verified**. Where it turns out to be wrong, the body is destroyed with an error and
   * never ends: act on nothing before it has ended. Default: `false`.
   */
  enableDelayedAuthenticationMode?: boolean | undefined
  /**
   * What becomes of objects that no S3 Encryption Client wrote. `error`, the default: `ERR_UNSUPPORTED_FORMAT`. `passthrough`:
   * they are given as they are, for buckets that hold both; **whoever can write to the bucket can then have you read
   * anything.**
   */
  onPlaintextObject?: 'error' | 'passthrough' | undefined
  /** How the store encrypts the ciphertext once more: see {@link serverSideEncryption}. Default: as the bucket says. */
  serverSide?: ServerSideEncryption | undefined
}

export interface CheckedSettings extends CheckedDecryptOptions {
  readonly keyring: S3Keyring
  readonly commitmentPolicy: CommitmentPolicy
  readonly encryptionAlgorithm: S3EncryptionAlgorithm | undefined
  readonly putInstructionFiles: boolean
  readonly bufferSize: number
  readonly largeObjects: LargeObjects
  readonly enableDelayedAuthenticationMode: boolean
  readonly onPlaintextObject: 'error' | 'passthrough'
  readonly serverSide: ServerSidePlugin | undefined
}

const OPTIONS = [
  'keyring',
  'commitmentPolicy',
  'encryptionAlgorithm',
  'enableLegacyWrappingAlgorithms',
  'enableLegacyUnauthenticatedModes',
  'enableDelayedAuthenticationMode',
  'bufferSize',
  'largeObjects',
  'putInstructionFiles',
  'onPlaintextObject',
  'serverSide',
] as const
const LARGE_OBJECTS = ['two-pass', 'temporary-file', 'refuse'] as const
const DEFAULT_BUFFER_SIZE = 64 * 1024 * 1024
const MAX_BUFFER_SIZE = 2 ** 36 - 32

export function checkSettings(settings: S3EncryptionSettings): CheckedSettings {
  const checked = checkOptions(settings, OPTIONS, 'the S3 encryption client')
  const {
    keyring,
    encryptionAlgorithm,
    bufferSize,
    largeObjects,
    enableDelayedAuthenticationMode = false,
    putInstructionFiles = false,
    onPlaintextObject = 'error',
    serverSide,
  } = checked
  const decryptOptions = checkDecryptOptions(checked)
  versionToWrite(decryptOptions.commitmentPolicy, encryptionAlgorithm)
  if (checkBoolean(enableDelayedAuthenticationMode, 'enableDelayedAuthenticationMode')) {
    const held = bufferSize !== undefined ? 'bufferSize' : largeObjects !== undefined ? 'largeObjects' : undefined
    if (held) throw new RangeError(`"${held}" has no meaning where "enableDelayedAuthenticationMode" is true`)
  }
  return {
    ...decryptOptions,
    keyring: checkS3Keyring(keyring, 'keyring'),
    encryptionAlgorithm,
    putInstructionFiles: checkBoolean(putInstructionFiles, 'putInstructionFiles'),
    bufferSize: checkInteger(bufferSize ?? DEFAULT_BUFFER_SIZE, 'bufferSize', 16, MAX_BUFFER_SIZE),
    largeObjects: checkOneOf(largeObjects ?? 'two-pass', 'largeObjects', LARGE_OBJECTS),
    enableDelayedAuthenticationMode,
    onPlaintextObject: checkOneOf(onPlaintextObject, 'onPlaintextObject', ['error', 'passthrough'] as const),
    serverSide: serverSide === undefined ? undefined : serverSideEncryption(serverSide),
  }
}
