import type { Readable } from 'node:stream'
import { wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { SealwaxError } from '../errors'
import { parseInstructionFile } from '../format/s3-instruction-file'
import {
  parseS3Metadata,
  type S3ContentAlgorithm,
  type S3Envelope,
  type S3Metadata,
  type S3WrapAlgorithm,
} from '../format/s3-metadata'
import { checkS3Keyring, type S3Keyring } from '../materials/s3-keyring'
import { checkBytes, checkOptions, checkView } from '../options'
import { checkBody, discardBody, isIterable } from './body'
import { openContent } from './content'
import { type ContentKey, openContentKey } from './content-key'
import { openStream } from './open-stream'
import {
  BUFFER_OPTIONS,
  type BufferOptions,
  checkBuffering,
  checkDecryptOptions,
  DECRYPT_OPTIONS,
  type S3DecryptOptions,
} from './options'

/** An object as it is stored. */
export interface StoredObject<Body = Uint8Array> {
  /** Its user metadata, as the SDK has it: names without `x-amz-meta-`. */
  metadata: S3Metadata
  /** Its content. */
  body: Body
  /** The content of its instruction file, where {@link needsInstructionFile} says so. */
  instructionFile?: Uint8Array | undefined
}

/** What kind of encrypted object it was. Of public fields, authenticated along with the content. */
export interface ObjectDescription {
  readonly formatVersion: 1 | 2 | 3
  readonly contentAlgorithm: S3ContentAlgorithm
  readonly wrapAlgorithm: S3WrapAlgorithm
  /** As it is stored. For KMS, the whole encryption context with the pairs that clients add; else not authenticated. */
  readonly materialDescription: Readonly<EncryptionContext>
}

export interface OpenedObject<Body = Buffer> extends ObjectDescription {
  readonly plaintext: Body
}

export interface OpenStreamOptions extends S3DecryptOptions, BufferOptions {
  /**
   * Objects longer than `bufferSize` are verified before any plaintext is given out all the same. `temporary-file`, the default:
   * their ciphertext is kept in a file without a name, in the folder that `TMPDIR` names. `refuse`: `ERR_LIMIT_EXCEEDED`, as for
   * objects in AES-CBC, which nothing authenticates. Excludes `enableDelayedAuthenticationMode`.
   */
  largeObjects?: 'temporary-file' | 'refuse' | undefined
}

/**
 * Decrypts an object of the S3 Encryption Client, of any version the options allow. `body` is not written to; the
 * plaintext is the caller's. Of a stream it is a stream too, which ends with `ERR_AUTHENTICATION_FAILED` if the authentication
 * is delayed and fails. A stream is ended where this throws.
 *
 * Throws `TypeError` and `RangeError` for wrong options. Throws, with codes and in this order, where the metadata is
 * malformed (`ERR_MESSAGE_MALFORMED`) or not of such an object (`ERR_UNSUPPORTED_FORMAT`); where the policy
 * (`ERR_COMMITMENT_POLICY`), a legacy switch (`ERR_LEGACY_REFUSED`) or the encryption context (`ERR_ENCRYPTION_CONTEXT`)
 * forbids it; where the keyring has no such key (`ERR_NO_DATA_KEY`, `ERR_WRAPPING_KEY`, `ERR_KEY_SERVICE`); and with one
 * error for everything that fails cryptographically (`ERR_AUTHENTICATION_FAILED`).
 *
 * @example
 * const { plaintext } = await openObject({ metadata, body }, keyring)
 */
export async function openObject(
  object: StoredObject,
  keyring: S3Keyring,
  options?: S3DecryptOptions,
): Promise<OpenedObject>
export async function openObject(
  object: StoredObject<AsyncIterable<Uint8Array>>,
  keyring: S3Keyring,
  options?: OpenStreamOptions,
): Promise<OpenedObject<Readable>>
export async function openObject(
  object: StoredObject<Uint8Array | AsyncIterable<Uint8Array>>,
  keyring: S3Keyring,
  options?: OpenStreamOptions,
): Promise<OpenedObject<Buffer | Readable>> {
  const { metadata, body, instructionFile } = checkOptions(object, ['metadata', 'body', 'instructionFile'], 'an object')
  const isStream = isIterable(body)
  const bytes = isStream ? undefined : checkView(body, 'body')
  if (isStream) checkBody(body, 'body')
  if (instructionFile !== undefined) checkBytes(instructionFile, 'instructionFile')
  checkS3Keyring(keyring, 'keyring')
  const known = isStream ? [...DECRYPT_OPTIONS, ...BUFFER_OPTIONS] : DECRYPT_OPTIONS
  const given = checkOptions(options, known, isStream ? 'openObject of a stream' : 'openObject of bytes')
  const checked = checkDecryptOptions(given)
  const buffering = checkBuffering(given, ['temporary-file', 'refuse'])

  let contentKey: ContentKey | undefined
  try {
    const envelope = parseEnvelope(metadata, instructionFile)
    contentKey = await openContentKey(envelope, keyring, checked)
    const plaintext = isStream ? await openStream(contentKey, body, buffering) : await openContent(contentKey, bytes!)
    return { plaintext, ...describeEnvelope(envelope) }
  } catch (error) {
    discardBody(body)
    throw error
  } finally {
    wipe(contentKey?.key)
  }
}

/**
 * Whether the envelope of an object is not in its metadata, so that its instruction file must be read. An object that has
 * no such file either was not encrypted by an S3 Encryption Client.
 */
export function needsInstructionFile(metadata: S3Metadata): boolean {
  const parsed = parseS3Metadata(metadata)
  return parsed === undefined || !('encryptedDataKey' in parsed)
}

/** The envelope, from wherever it is stored. */
export function parseEnvelope(metadata: S3Metadata, instructionFile: Uint8Array | undefined): S3Envelope {
  const parsed = parseS3Metadata(metadata)
  if (parsed && 'encryptedDataKey' in parsed) return parsed
  if (instructionFile) return parseInstructionFile(instructionFile, parsed)
  const problem = parsed
    ? 'the data key of the object is in an instruction file, which was not given'
    : 'the object was not encrypted by an S3 Encryption Client, or its instruction file is missing'
  throw new SealwaxError('ERR_UNSUPPORTED_FORMAT', problem)
}

export function describeEnvelope(envelope: S3Envelope): ObjectDescription {
  const { formatVersion, contentAlgorithm, wrapAlgorithm, materialDescription } = envelope
  return { formatVersion, contentAlgorithm, wrapAlgorithm, materialDescription }
}
