import { checkS3Keyring, type S3Keyring } from '../materials/s3-keyring'
import { checkBoolean, checkInteger, checkOptions } from '../options'
import type { CommitmentPolicy } from '../policies'
import {
  type CheckedDecryptOptions,
  checkDecryptOptions,
  type S3DecryptOptions,
  type S3EncryptionAlgorithm,
  versionToWrite,
} from './options'
import { type ServerSideEncryption, type ServerSidePlugin, serverSideEncryption } from './server-side'

/** How a client encrypts and decrypts. */
export interface S3EncryptionSettings extends Omit<S3DecryptOptions, 'encryptionContext'> {
  /** Wraps and unwraps the data key of each object. */
  keyring: S3Keyring
  /** Must be what the policy writes. Default: that. */
  encryptionAlgorithm?: S3EncryptionAlgorithm | undefined
  /** `true`: PutObject stores the wrapped data key in an instruction file. Default: `false`. */
  putInstructionFiles?: boolean | undefined
  /**
   * Objects up to this length, in bytes of plaintext, are held in memory until they are verified; longer ones are refused.
   * 16 to 2^36 - 32. Default: 64 MiB. Excludes `enableDelayedAuthenticationMode`.
   */
  bufferSize?: number | undefined
  /**
   * Give plaintext out **before it is verified**. Where it turns out to be wrong, the body is destroyed with an error and
   * never ends: act on nothing before it has ended. Default: `false`.
   */
  enableDelayedAuthenticationMode?: boolean | undefined
  /**
   * Give objects that no S3 Encryption Client wrote as they are. **Whoever can write to the bucket can then have you read
   * anything.** Default: `false`.
   */
  readUnencryptedObjects?: boolean | undefined
  /** How the store encrypts the ciphertext once more: see {@link serverSideEncryption}. Default: as the bucket says. */
  serverSide?: ServerSideEncryption | undefined
}

export interface CheckedSettings extends CheckedDecryptOptions {
  readonly keyring: S3Keyring
  readonly commitmentPolicy: CommitmentPolicy
  readonly encryptionAlgorithm: S3EncryptionAlgorithm | undefined
  readonly putInstructionFiles: boolean
  readonly bufferSize: number
  readonly enableDelayedAuthenticationMode: boolean
  readonly readUnencryptedObjects: boolean
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
  'putInstructionFiles',
  'readUnencryptedObjects',
  'serverSide',
] as const
const DEFAULT_BUFFER_SIZE = 64 * 1024 * 1024
const MAX_BUFFER_SIZE = 2 ** 36 - 32

export function checkSettings(settings: S3EncryptionSettings): CheckedSettings {
  const checked = checkOptions(settings, OPTIONS, 'the S3 encryption client')
  const {
    keyring,
    encryptionAlgorithm,
    bufferSize,
    enableDelayedAuthenticationMode = false,
    putInstructionFiles = false,
    readUnencryptedObjects = false,
    serverSide,
  } = checked
  const decryptOptions = checkDecryptOptions(checked)
  versionToWrite(decryptOptions.commitmentPolicy, encryptionAlgorithm)
  if (checkBoolean(enableDelayedAuthenticationMode, 'enableDelayedAuthenticationMode') && bufferSize !== undefined) {
    throw new RangeError('"bufferSize" has no meaning where "enableDelayedAuthenticationMode" is true')
  }
  return {
    ...decryptOptions,
    keyring: checkS3Keyring(keyring, 'keyring'),
    encryptionAlgorithm,
    putInstructionFiles: checkBoolean(putInstructionFiles, 'putInstructionFiles'),
    bufferSize: checkInteger(bufferSize ?? DEFAULT_BUFFER_SIZE, 'bufferSize', 16, MAX_BUFFER_SIZE),
    enableDelayedAuthenticationMode,
    readUnencryptedObjects: checkBoolean(readUnencryptedObjects, 'readUnencryptedObjects'),
    serverSide: serverSide === undefined ? undefined : serverSideEncryption(serverSide),
  }
}
