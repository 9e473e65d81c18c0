import { wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { sealCbc } from '../engine/legacy'
import { serializeWithInstructionFile } from '../format/s3-instruction-file'
import { checkMetadataLength, type S3Envelope, type S3Metadata, serializeS3Metadata } from '../format/s3-metadata'
import { checkS3Keyring, type S3Keyring } from '../materials/s3-keyring'
import { checkBoolean, checkBytes, checkOptions } from '../options'
import { CommitmentPolicy } from '../policies'
import { bodyOf, type PartBody, readExactly } from './body'
import { type ContentKey, newContentKey } from './content-key'
import { checkObjectContext, checkPolicy, ENCRYPT_OPTIONS, type S3EncryptOptions, versionToWrite } from './options'
import { sealWhole } from './part'

export interface SealObjectOptions extends S3EncryptOptions {
  /** `true`: give the wrapped data key in a file to be stored beside the object, not in its metadata. Default: `false`. */
  instructionFile?: boolean | undefined
  /**
   * Write version 1: AES-CBC, where **any change of the ciphertext goes unnoticed**. For readers that know nothing else,
   * under the policy `FORBID_ENCRYPT_ALLOW_DECRYPT` and with raw keys only. Default: `false`.
   */
  writeVersion1WithoutIntegrity?: boolean | undefined
}

/** An encrypted object, to be stored as it is. */
export interface SealedObject {
  /** User metadata for the object, pure ASCII: names without `x-amz-meta-`. */
  readonly metadata: S3Metadata
  readonly body: Uint8Array
  /** To be stored under the key of the object with `.instruction` after it; there where it was asked for. */
  readonly instructionFile?: Uint8Array
}

const OPTIONS = [...ENCRYPT_OPTIONS, 'instructionFile', 'writeVersion1WithoutIntegrity'] as const

/**
 * Encrypts an object as the S3 Encryption Client does: version 3 with key commitment, or version 2 if the policy says so,
 * with a fresh data key. `plaintext` is neither kept nor written to.
 *
 * Throws `TypeError` and `RangeError` for wrong options, `ERR_ENCRYPTION_CONTEXT` for pairs that cannot be bound,
 * `ERR_LIMIT_EXCEEDED` where the metadata would be longer than S3 takes, and what the keyring throws.
 *
 * @example
 * const { metadata, body } = await sealObject(plaintext, keyring)
 * await s3.putObject({ Bucket, Key, Body: body, Metadata: metadata })
 */
export async function sealObject(
  plaintext: Uint8Array,
  keyring: S3Keyring,
  options?: SealObjectOptions,
): Promise<SealedObject> {
  checkBytes(plaintext, 'plaintext')
  checkS3Keyring(keyring, 'keyring')
  const { version, encryptionContext, instructionFile } = checkSealOptions(options)

  const content = await newContentKey(keyring, version, encryptionContext)
  try {
    const stored = storeEnvelope(content.envelope, instructionFile)
    return { ...stored, body: await sealContent(content, bodyOf(plaintext)) }
  } finally {
    wipe(content.key)
  }
}

/** What is stored of an object beside its content. */
export function storeEnvelope(envelope: S3Envelope, instructionFile: boolean): Omit<SealedObject, 'body'> {
  if (instructionFile) return serializeWithInstructionFile(envelope)
  const metadata = serializeS3Metadata(envelope)
  checkMetadataLength(metadata)
  return { metadata }
}

/** Checks what a caller passed, before anything is asked of a keyring. */
export function checkSealOptions(options: SealObjectOptions | undefined): {
  readonly version: 1 | 2 | 3
  readonly encryptionContext: Readonly<EncryptionContext>
  readonly instructionFile: boolean
} {
  const {
    commitmentPolicy,
    encryptionAlgorithm,
    encryptionContext,
    instructionFile = false,
    writeVersion1WithoutIntegrity = false,
  } = checkOptions(options, OPTIONS, 'sealObject')
  const policy = checkPolicy(commitmentPolicy)
  const version = versionToWrite(policy, encryptionAlgorithm)
  if (
    checkBoolean(writeVersion1WithoutIntegrity, 'writeVersion1WithoutIntegrity') &&
    (policy !== CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT || encryptionAlgorithm !== undefined)
  ) {
    throw new RangeError(
      '"writeVersion1WithoutIntegrity" needs the policy FORBID_ENCRYPT_ALLOW_DECRYPT and no "encryptionAlgorithm"',
    )
  }
  return {
    version: writeVersion1WithoutIntegrity ? 1 : version,
    encryptionContext: checkObjectContext(encryptionContext),
    instructionFile: checkBoolean(instructionFile, 'instructionFile'),
  }
}

/** The ciphertext of a whole body, sealed as its bytes come. */
export async function sealContent(content: ContentKey, body: PartBody): Promise<Uint8Array> {
  if (content.mode === 'gcm') return await sealWhole(content, body)
  return sealCbc(content.key, content.iv, await readExactly(body))
}
