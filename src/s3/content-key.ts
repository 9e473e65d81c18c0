import { types } from 'node:util'
import { wipe } from '../bytes'
import { type EncryptionContext, emptyContext } from '../encryption-context'
import { getEngine } from '../engine/engine'
import { authenticationFailed, SealwaxError } from '../errors'
import { MESSAGE_ID_LENGTH, type S3Envelope, type S3WrapAlgorithm } from '../format/s3-metadata'
import { deriveCommittedObjectKey, deriveObjectKey } from '../materials/s3-derive'
import { CONTENT_ALGORITHM_PAIR, type S3Keyring, type S3WrappedDataKey, samePairs } from '../materials/s3-keyring'
import { CommitmentPolicy } from '../policies'
import { type CheckedDecryptOptions, RESERVED_PAIRS } from './options'

/** What the content of one object is opened with. */
export interface ContentKey {
  readonly mode: 'gcm' | 'cbc'
  /** A secret of the caller's, to be wiped after the object. */
  readonly key: Uint8Array
  readonly iv: Uint8Array
  /** Empty for CBC. */
  readonly aad: Uint8Array
}

// One IV for every object of version 3: its key is never used for another.
const COMMITTED_IV = new Uint8Array(12).fill(1)
const COMMITTED_AAD = Uint8Array.of(0x00, 0x73)
const NO_AAD = new Uint8Array(0)

const CONTENT_ALGORITHMS = { 1: 'AES/CBC/PKCS5Padding', 2: 'AES/GCM/NoPadding', 3: '115' } as const
/** How the data keys of versions 2 and 3 are wrapped today. */
export const COMMITMENT_WRAPS: ReadonlySet<S3WrapAlgorithm> = new Set(['AES/GCM', 'RSA-OAEP-SHA1', 'kms+context'])
const VERSION_1_WRAPS: ReadonlySet<S3WrapAlgorithm> = new Set(['AES', 'RSA'])
/** Ways to wrap a data key that do not bind the content algorithm, or not well. */
export const LEGACY_WRAP_ALGORITHMS: ReadonlySet<S3WrapAlgorithm> = new Set([
  'AES',
  'RSA',
  'AESWrap',
  'RSA/ECB/OAEPWithSHA-256AndMGF1Padding',
  'kms',
])

/**
 * Gets the key of an object's content, if the caller accepts such an object. What costs or touches a secret comes last:
 * policy, legacy switches, encryption context, then the wrapping key, then the commitment.
 */
export async function openContentKey(
  envelope: S3Envelope,
  keyring: S3Keyring,
  options: CheckedDecryptOptions,
): Promise<ContentKey> {
  const dataKey = await openDataKey(envelope, keyring, options)
  if (envelope.formatVersion !== 3) {
    const isGcm = envelope.contentAlgorithm === 'AES/GCM/NoPadding'
    return { mode: isGcm ? 'gcm' : 'cbc', key: dataKey, iv: envelope.iv, aad: NO_AAD }
  }
  try {
    const key = deriveCommittedObjectKey(getEngine(), dataKey, envelope.messageId, envelope.commitment)
    return { mode: 'gcm', key, iv: COMMITTED_IV, aad: COMMITTED_AAD }
  } finally {
    wipe(dataKey)
  }
}

/** The data key itself, after the same checks; for version 3 it is not compared with the commitment. The caller's to wipe. */
export async function openDataKey(
  envelope: S3Envelope,
  keyring: S3Keyring,
  options: CheckedDecryptOptions,
): Promise<Uint8Array> {
  checkAccepted(envelope, options)
  checkContext(envelope, options.encryptionContext)
  return await unwrap(envelope, keyring)
}

/** What a new object is sealed with, and what is stored of it. */
export interface NewContentKey extends ContentKey {
  readonly envelope: S3Envelope
}

/** A key for the content of one new object: it is used for nothing else. */
export async function newContentKey(
  keyring: S3Keyring,
  version: 1 | 2 | 3,
  encryptionContext: Readonly<EncryptionContext>,
): Promise<NewContentKey> {
  const engine = getEngine()
  const { dataKey: key, ...wrapped } = await wrap(keyring, version, encryptionContext)
  if (version === 1) {
    const iv = engine.randomBytes(16)
    const envelope = { formatVersion: version, contentAlgorithm: CONTENT_ALGORITHMS[version], ...wrapped, iv }
    return { mode: 'cbc', key, iv, aad: NO_AAD, envelope }
  }
  if (version === 2) {
    const iv = engine.randomBytes(12)
    const envelope = { formatVersion: version, contentAlgorithm: CONTENT_ALGORITHMS[version], ...wrapped, iv }
    return { mode: 'gcm', key, iv, aad: NO_AAD, envelope }
  }
  try {
    const messageId = engine.randomBytes(MESSAGE_ID_LENGTH)
    const { key: derived, commitment } = deriveObjectKey(engine, key, messageId)
    const contentAlgorithm = CONTENT_ALGORITHMS[version]
    const envelope = { formatVersion: version, contentAlgorithm, ...wrapped, messageId, commitment }
    return { mode: 'gcm', key: derived, iv: COMMITTED_IV, aad: COMMITTED_AAD, envelope }
  } finally {
    wipe(key)
  }
}

async function wrap(
  keyring: S3Keyring,
  version: 1 | 2 | 3,
  encryptionContext: Readonly<EncryptionContext>,
): Promise<S3WrappedDataKey> {
  const wrapped = await keyring.wrapDataKey({ contentAlgorithm: CONTENT_ALGORITHMS[version], encryptionContext })
  const { dataKey, encryptedDataKey, wrapAlgorithm, materialDescription } = wrapped
  if (!(types.isUint8Array(dataKey) && dataKey.length === 32 && types.isUint8Array(encryptedDataKey))) {
    if (types.isUint8Array(dataKey)) wipe(dataKey)
    throw new SealwaxError('ERR_INVALID_MATERIALS', 'the keyring gave no data key of 32 bytes in wrapped form')
  }
  const taken = version === 1 ? VERSION_1_WRAPS : COMMITMENT_WRAPS
  if (taken.has(wrapAlgorithm)) return { dataKey, encryptedDataKey, wrapAlgorithm, materialDescription }
  wipe(dataKey)
  throw new SealwaxError(
    'ERR_INVALID_MATERIALS',
    `version ${version} does not take data keys wrapped as ${wrapAlgorithm}`,
  )
}

function checkAccepted({ formatVersion, contentAlgorithm, wrapAlgorithm }: S3Envelope, options: CheckedDecryptOptions) {
  const { commitmentPolicy, enableLegacyWrappingAlgorithms, enableLegacyUnauthenticatedModes } = options
  if (formatVersion !== 3 && commitmentPolicy === CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT) {
    throw new SealwaxError(
      'ERR_COMMITMENT_POLICY',
      `the object has no key commitment, which commitment policy ${commitmentPolicy} requires`,
    )
  }
  if (LEGACY_WRAP_ALGORITHMS.has(wrapAlgorithm) && !enableLegacyWrappingAlgorithms) {
    throw legacyRefused(`its data key is wrapped as ${wrapAlgorithm}`, 'enableLegacyWrappingAlgorithms')
  }
  if (contentAlgorithm === 'AES/CBC/PKCS5Padding' && !enableLegacyUnauthenticatedModes) {
    throw legacyRefused('its content is in AES-CBC, unauthenticated', 'enableLegacyUnauthenticatedModes')
  }
}

function checkContext(
  { wrapAlgorithm, contentAlgorithm, materialDescription: stored }: S3Envelope,
  given: Readonly<EncryptionContext>,
): void {
  if (wrapAlgorithm !== 'kms+context') {
    if (Object.keys(given).length === 0) return
    // Else a `kms+context` object, renamed to `kms`, would be taken for one that has the caller's pairs.
    throw contextError(`an object whose data key is wrapped as ${wrapAlgorithm} cannot be checked for any pairs`)
  }
  if (stored[CONTENT_ALGORITHM_PAIR] !== contentAlgorithm) {
    throw contextError(`the encryption context names another content algorithm than the object, ${contentAlgorithm}`)
  }
  if (!samePairs(withoutReserved(stored), given)) {
    throw contextError('the object was encrypted with another encryption context than the one given')
  }
}

/** The caller's own pairs of a stored context. */
export function withoutReserved(stored: Readonly<EncryptionContext>): Readonly<EncryptionContext> {
  const context = emptyContext()
  for (const name of Object.keys(stored)) {
    if (!(RESERVED_PAIRS as readonly string[]).includes(name)) context[name] = stored[name]!
  }
  return Object.freeze(context)
}

async function unwrap(envelope: S3Envelope, keyring: S3Keyring): Promise<Uint8Array> {
  const { contentAlgorithm, wrapAlgorithm, encryptedDataKey, materialDescription } = envelope
  const dataKey = await keyring.unwrapDataKey({
    contentAlgorithm,
    wrapAlgorithm,
    encryptedDataKey,
    materialDescription,
  })
  if (dataKey === undefined) {
    throw new SealwaxError('ERR_NO_DATA_KEY', `the keyring opens no data keys wrapped as ${wrapAlgorithm}`)
  }
  if (!types.isUint8Array(dataKey)) {
    throw new SealwaxError('ERR_INVALID_MATERIALS', 'the keyring gave something else than a data key')
  }
  const { length } = dataKey
  if (length === 32 || (envelope.formatVersion !== 3 && (length === 16 || length === 24))) return dataKey
  wipe(dataKey)
  throw authenticationFailed()
}

function legacyRefused(why: string, option: string): SealwaxError {
  return new SealwaxError('ERR_LEGACY_REFUSED', `the object is a legacy one: ${why}, and "${option}" is not set`)
}

function contextError(message: string): SealwaxError {
  return new SealwaxError('ERR_ENCRYPTION_CONTEXT', message)
}
