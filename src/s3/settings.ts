import { checkS3Keyring, type S3Keyring } from '../materials/s3-keyring'
import { checkBoolean, checkOneOf, checkOptions } from '../options'
import type { CommitmentPolicy } from '../policies'
import {
  BUFFER_OPTIONS,
  type BufferOptions,
  type CheckedBuffering,
  type CheckedDecryptOptions,
  checkBuffering,
  checkDecryptOptions,
  type LargeObjects,
  type S3DecryptOptions,
  type S3EncryptionAlgorithm,
  versionToWrite,
} from './options'
import { type ServerSideEncryption, type ServerSidePlugin, serverSideEncryption } from './server-side'

/** How a client encrypts and decrypts. */
export interface S3EncryptionSettings extends Omit<S3DecryptOptions, 'encryptionContext'>, BufferOptions {
  /** Wraps and unwraps the data key of each object. */
  keyring: S3Keyring
  /** Must be what the policy writes. Default: that. */
  encryptionAlgorithm?: S3EncryptionAlgorithm | undefined
  /** `true`: PutObject stores the wrapped data key in an instruction file. Default: `false`. */
  putInstructionFiles?: boolean | undefined
  /**
   * What GetObject does with objects longer than `bufferSize`, which are verified before it answers all the same. Memory does not grow with them.
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
   * What becomes of objects that no S3 Encryption Client wrote. `error`, the default: `ERR_UNSUPPORTED_FORMAT`. `passthrough`:
   * they are given as they are, for buckets that hold both; **whoever can write to the bucket can then have you read
   * anything.**
   */
  onPlaintextObject?: 'error' | 'passthrough' | undefined
  /** How the store encrypts the ciphertext once more: see {@link serverSideEncryption}. Default: as the bucket says. */
  serverSide?: ServerSideEncryption | undefined
}

export interface CheckedSettings extends CheckedDecryptOptions, CheckedBuffering {
  readonly keyring: S3Keyring
  readonly commitmentPolicy: CommitmentPolicy
  readonly encryptionAlgorithm: S3EncryptionAlgorithm | undefined
  readonly putInstructionFiles: boolean
  readonly onPlaintextObject: 'error' | 'passthrough'
  readonly serverSide: ServerSidePlugin | undefined
}

const OPTIONS = [
  'keyring',
  'commitmentPolicy',
  'encryptionAlgorithm',
  'enableLegacyWrappingAlgorithms',
  'enableLegacyUnauthenticatedModes',
  ...BUFFER_OPTIONS,
  'putInstructionFiles',
  'onPlaintextObject',
  'serverSide',
] as const

export function checkSettings(settings: S3EncryptionSettings): CheckedSettings {
  const checked = checkOptions(settings, OPTIONS, 'the S3 encryption client')
  const { keyring, encryptionAlgorithm, putInstructionFiles = false, onPlaintextObject = 'error', serverSide } = checked
  const decryptOptions = checkDecryptOptions(checked)
  versionToWrite(decryptOptions.commitmentPolicy, encryptionAlgorithm)
  return {
    ...decryptOptions,
    ...checkBuffering(checked, ['two-pass', 'temporary-file', 'refuse']),
    keyring: checkS3Keyring(keyring, 'keyring'),
    encryptionAlgorithm,
    putInstructionFiles: checkBoolean(putInstructionFiles, 'putInstructionFiles'),
    onPlaintextObject: checkOneOf(onPlaintextObject, 'onPlaintextObject', ['error', 'passthrough'] as const),
    serverSide: serverSide === undefined ? undefined : serverSideEncryption(serverSide),
  }
}
