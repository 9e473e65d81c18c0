import { setImmediate } from 'node:timers/promises'
import { wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { getEngine, type SegmentHash } from '../engine/engine'
import { openCbc } from '../engine/legacy'
import { authenticationFailed, SealwaxError } from '../errors'
import { TAG_LENGTH } from '../format/frame'
import { parseInstructionFile } from '../format/s3-instruction-file'
import {
  parseS3Metadata,
  type S3ContentAlgorithm,
  type S3Envelope,
  type S3Metadata,
  type S3WrapAlgorithm,
} from '../format/s3-metadata'
import { checkS3Keyring, type S3Keyring } from '../materials/s3-keyring'
import { checkBytes, checkOptions } from '../options'
import { BLOCK_LENGTH } from './chunks'
import { type ContentKey, openContentKey } from './content-key'
import { checkDecryptOptions, DECRYPT_OPTIONS, type S3DecryptOptions } from './options'
import { SEGMENT_LENGTH } from './part'

/** An object as it is stored. */
export interface StoredObject {
  /** Its user metadata, as the SDK has it: names without `x-amz-meta-`. */
  metadata: S3Metadata
  /** Its content. */
  body: Uint8Array
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

export interface OpenedObject extends ObjectDescription {
  readonly plaintext: Uint8Array
}

/**
 * Decrypts an object of the S3 Encryption Client, of any version the options allow. `body` is not written to; the
 * plaintext is the caller's.
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
): Promise<OpenedObject> {
  const { metadata, body, instructionFile } = checkOptions(object, ['metadata', 'body', 'instructionFile'], 'an object')
  checkBytes(body, 'body')
  if (instructionFile !== undefined) checkBytes(instructionFile, 'instructionFile')
  checkS3Keyring(keyring, 'keyring')
  const checked = checkDecryptOptions(checkOptions(options, DECRYPT_OPTIONS, 'openObject'))

  const envelope = parseEnvelope(metadata, instructionFile)
  const contentKey = await openContentKey(envelope, keyring, checked)
  try {
    return { plaintext: await openContent(contentKey, body), ...describeEnvelope(envelope) }
  } finally {
    wipe(contentKey.key)
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

/** The plaintext of a whole body, once it is verified. */
export async function openContent(content: ContentKey, body: Uint8Array): Promise<Uint8Array> {
  // Another thread could change shared memory between what is checked and what is used.
  const ciphertext = body.buffer instanceof ArrayBuffer ? body : Uint8Array.from(body)
  const plaintext =
    content.mode === 'cbc' ? openCbc(content.key, content.iv, ciphertext) : await openGcm(content, ciphertext)
  if (plaintext) return plaintext
  throw authenticationFailed()
}

async function openGcm({ key, iv, aad }: ContentKey, ciphertext: Uint8Array): Promise<Uint8Array | undefined> {
  const engine = getEngine()
  const length = ciphertext.length - TAG_LENGTH
  if (length < 0) return undefined
  const plaintext = new Uint8Array(length)
  if (length <= SEGMENT_LENGTH) return engine.open(key, iv, aad, ciphertext, plaintext) ? plaintext : undefined
  // In turns: others have theirs in between. What the caller changes meanwhile does not change what was opened.
  const segments: SegmentHash[] = []
  try {
    for (let start = 0; start < length; start += SEGMENT_LENGTH) {
      if (start > 0) await setImmediate()
      const end = Math.min(start + SEGMENT_LENGTH, length)
      const out = plaintext.subarray(start, end)
      segments.push(engine.openSegment(key, iv, start / BLOCK_LENGTH, ciphertext.subarray(start, end), out))
    }
    if (engine.verifySegments(key, iv, aad, segments, ciphertext.subarray(length))) return plaintext
  } finally {
    for (const { hash } of segments) wipe(hash)
  }
  wipe(plaintext)
  return undefined
}
