import { pipeline, type Readable } from 'node:stream'
import { wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { serializeWithInstructionFile } from '../format/s3-instruction-file'
import { checkMetadataLength, type S3Envelope, type S3Metadata, serializeS3Metadata } from '../format/s3-metadata'
import { checkS3Keyring, type S3Keyring } from '../materials/s3-keyring'
import { checkBoolean, checkOptions, checkView } from '../options'
import { CommitmentPolicy } from '../policies'
import { bodyOf, checkBody, discardBody, isIterable, toReadable } from './body'
import { sealContent } from './content'
import { type NewContentKey, newContentKey } from './content-key'
import { checkObjectContext, checkPolicy, ENCRYPT_OPTIONS, type S3EncryptOptions, versionToWrite } from './options'
import { sealStream } from './seal-stream'

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
export interface SealedObject<Body = Uint8Array> {
  /** User metadata for the object, pure ASCII: names without `x-amz-meta-`. */
  readonly metadata: S3Metadata
  /** 16 bytes longer than the plaintext; for version 1, up to 16. */
  readonly body: Body
  /** To be stored under the key of the object with `.instruction` after it; there where it was asked for. */
  readonly instructionFile?: Uint8Array
}

const OPTIONS = [...ENCRYPT_OPTIONS, 'instructionFile', 'writeVersion1WithoutIntegrity'] as const

/**
 * Encrypts an object as the S3 Encryption Client does: version 3 with key commitment, or version 2 if the policy says so,
 * with a fresh data key. `plaintext` is neither kept nor written to. The body of a stream is a stream, sealed as it is read; where
 * the one fails, so does the other, and what is destroyed ends both.
 *
 * Throws `TypeError` and `RangeError` for wrong options, `ERR_ENCRYPTION_CONTEXT` for pairs that cannot be bound,
 * `ERR_LIMIT_EXCEEDED` where the metadata would be longer than S3 takes, and what the keyring throws. A stream ends with
 * `ERR_LIMIT_EXCEEDED` past 2^36 - 32 bytes.
 *
 * @example
 * const { metadata, body } = await sealObject(plaintext, keyring)
 * await s3.putObject({ Bucket, Key, Body: body, Metadata: metadata })
 */
export async function sealObject(
  plaintext: Uint8Array,
  keyring: S3Keyring,
  options?: SealObjectOptions,
): Promise<SealedObject>
export async function sealObject(
  plaintext: AsyncIterable<Uint8Array>,
  keyring: S3Keyring,
  options?: SealObjectOptions,
): Promise<SealedObject<Readable>>
export async function sealObject(
  plaintext: Uint8Array | AsyncIterable<Uint8Array>,
  keyring: S3Keyring,
  options?: SealObjectOptions,
): Promise<SealedObject<Uint8Array | Readable>> {
  const bytes = isIterable(plaintext) ? undefined : checkView(plaintext, 'plaintext')
  if (!bytes) checkBody(plaintext, 'plaintext')
  checkS3Keyring(keyring, 'keyring')
  const { version, encryptionContext, instructionFile } = checkSealOptions(options)
  if (!bytes && version === 1) throw new RangeError('"writeVersion1WithoutIntegrity" takes bytes, not a stream')

  let content: NewContentKey | undefined
  try {
    content = await newContentKey(keyring, version, encryptionContext)
    const stored = storeEnvelope(content.envelope, instructionFile)
    if (bytes) return { ...stored, body: await sealContent(content, bodyOf(bytes)) }
    const source = toReadable(plaintext as AsyncIterable<Uint8Array>)
    // Whichever of the two ends badly ends the other; whoever reads hears of it there.
    return { ...stored, body: pipeline(source, sealStream(content), () => {}) }
  } catch (error) {
    discardBody(plaintext)
    throw error
  } finally {
    wipe(content?.key)
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
function checkSealOptions(options: SealObjectOptions | undefined): {
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
