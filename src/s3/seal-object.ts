import { wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { getEngine } from '../engine/engine'
import { sealCbc } from '../engine/legacy'
import { SealwaxError } from '../errors'
import { TAG_LENGTH } from '../format/frame'
import { serializeWithInstructionFile } from '../format/s3-instruction-file'
import {
  checkMetadataLength,
  MESSAGE_ID_LENGTH,
  type S3Envelope,
  type S3Metadata,
  type S3WrapAlgorithm,
  serializeS3Metadata,
} from '../format/s3-metadata'
import { deriveObjectKey } from '../materials/s3-derive'
import { checkS3Keyring, type S3Keyring, type S3WrappedDataKey } from '../materials/s3-keyring'
import { checkBoolean, checkBytes, checkOptions } from '../options'
import { CommitmentPolicy } from '../policies'
import { COMMITTED_AAD, COMMITTED_IV } from './content-key'
import { checkObjectContext, checkPolicy, ENCRYPT_OPTIONS, type S3EncryptOptions, versionToWrite } from './options'

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
const COMMITMENT_WRAPS: ReadonlySet<S3WrapAlgorithm> = new Set(['AES/GCM', 'RSA-OAEP-SHA1', 'kms+context'])
const VERSION_1_WRAPS: ReadonlySet<S3WrapAlgorithm> = new Set(['AES', 'RSA'])

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

  const wrapped = await wrap(keyring, version, encryptionContext)
  const { envelope, body } = sealContent(version, wrapped, plaintext)
  if (instructionFile) return { ...serializeWithInstructionFile(envelope), body }
  const metadata = serializeS3Metadata(envelope)
  checkMetadataLength(metadata)
  return { metadata, body }
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

const CONTENT_ALGORITHMS = { 1: 'AES/CBC/PKCS5Padding', 2: 'AES/GCM/NoPadding', 3: '115' } as const

async function wrap(
  keyring: S3Keyring,
  version: 1 | 2 | 3,
  encryptionContext: Readonly<EncryptionContext>,
): Promise<S3WrappedDataKey> {
  const wrapped = await keyring.wrapDataKey({ contentAlgorithm: CONTENT_ALGORITHMS[version], encryptionContext })
  const { dataKey, encryptedDataKey, wrapAlgorithm } = wrapped
  if (!(dataKey instanceof Uint8Array && dataKey.length === 32 && encryptedDataKey instanceof Uint8Array)) {
    throw new SealwaxError('ERR_INVALID_MATERIALS', 'the keyring gave no data key of 32 bytes in wrapped form')
  }
  if ((version === 1 ? VERSION_1_WRAPS : COMMITMENT_WRAPS).has(wrapAlgorithm)) return wrapped
  wipe(dataKey)
  throw new SealwaxError(
    'ERR_INVALID_MATERIALS',
    `version ${version} does not take data keys wrapped as ${wrapAlgorithm}`,
  )
}

/** Seals under a data key that is used this once, and wiped. */
function sealContent(
  version: 1 | 2 | 3,
  { dataKey, encryptedDataKey, wrapAlgorithm, materialDescription }: S3WrappedDataKey,
  bytes: Uint8Array,
): { envelope: S3Envelope; body: Uint8Array } {
  const engine = getEngine()
  const shared = { wrapAlgorithm, encryptedDataKey, materialDescription }
  // Another thread could change shared memory while it is sealed.
  const plaintext = bytes.buffer instanceof ArrayBuffer ? bytes : Uint8Array.from(bytes)
  try {
    if (version === 1) {
      const iv = engine.randomBytes(16)
      const envelope = { formatVersion: version, contentAlgorithm: CONTENT_ALGORITHMS[version], ...shared, iv }
      return { envelope, body: sealCbc(dataKey, iv, plaintext) }
    }
    const body = new Uint8Array(plaintext.length + TAG_LENGTH)
    if (version === 2) {
      const iv = engine.randomBytes(12)
      engine.seal(dataKey, iv, new Uint8Array(0), plaintext, body)
      return {
        envelope: { formatVersion: version, contentAlgorithm: CONTENT_ALGORITHMS[version], ...shared, iv },
        body,
      }
    }
    const messageId = engine.randomBytes(MESSAGE_ID_LENGTH)
    const { key, commitment } = deriveObjectKey(engine, dataKey, messageId)
    try {
      engine.seal(key, COMMITTED_IV, COMMITTED_AAD, plaintext, body)
    } finally {
      wipe(key)
    }
    const contentAlgorithm = CONTENT_ALGORITHMS[version]
    return { envelope: { formatVersion: version, contentAlgorithm, ...shared, messageId, commitment }, body }
  } finally {
    wipe(dataKey)
  }
}
