import { types } from 'node:util'
import { wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { getEngine } from '../engine/engine'
import { equalSecrets } from '../engine/equal-secrets'
import { SealwaxError, type SealwaxErrorCode } from '../errors'
import type { S3Envelope } from '../format/s3-metadata'
import { deriveCommittedObjectKey } from '../materials/s3-derive'
import { checkS3Keyring, type S3Keyring, type S3UnwrapRequest } from '../materials/s3-keyring'
import { checkBoolean } from '../options'
import { COMMITMENT_WRAPS, openDataKey, withoutReserved } from './content-key'
import { type CheckedDecryptOptions, checkDecryptOptions, checkObjectContext, type S3DecryptOptions } from './options'

/** Which wrapping key takes the place of which. */
export interface RewrapKeys
  extends Pick<S3DecryptOptions, 'commitmentPolicy' | 'encryptionContext' | 'enableLegacyWrappingAlgorithms'> {
  /** Unwraps the data key as it is stored. */
  from: S3Keyring
  /** Wraps it again. */
  to: S3Keyring
  /** The pairs that the object has now. Default: whatever it has; the key service tells whether they are right. */
  encryptionContext?: EncryptionContext | undefined
  /** The pairs that it has afterwards. Default: the same. Raw keys bind none: `{}` gives them up. */
  newEncryptionContext?: EncryptionContext | undefined
  /**
   * Refuse to write what `from` opens too: then nothing was rotated. `false` for a `from` that opens anything, such as a
   * discovery keyring. Default: `true`.
   */
  enforceRotation?: boolean | undefined
}

export interface CheckedRewrapKeys {
  readonly from: S3Keyring
  readonly to: S3Keyring
  readonly encryptionContext: Readonly<EncryptionContext> | undefined
  readonly newEncryptionContext: Readonly<EncryptionContext> | undefined
  readonly enforceRotation: boolean
  readonly accepted: CheckedDecryptOptions
}

export const REWRAP_KEYS = [
  'from',
  'to',
  'encryptionContext',
  'newEncryptionContext',
  'enforceRotation',
  'commitmentPolicy',
  'enableLegacyWrappingAlgorithms',
] as const

export function checkRewrapKeys(keys: RewrapKeys): CheckedRewrapKeys {
  const { from, to, encryptionContext, newEncryptionContext, enforceRotation = true } = keys
  const { commitmentPolicy, enableLegacyWrappingAlgorithms } = keys
  return {
    from: checkS3Keyring(from, 'from'),
    to: checkS3Keyring(to, 'to'),
    encryptionContext: encryptionContext && checkObjectContext(encryptionContext),
    newEncryptionContext: newEncryptionContext && checkObjectContext(newEncryptionContext),
    enforceRotation: checkBoolean(enforceRotation, 'enforceRotation'),
    accepted: checkDecryptOptions({ commitmentPolicy, enableLegacyWrappingAlgorithms }),
  }
}

/**
 * The same envelope with the same data key, wrapped anew; `undefined` where `to` opens it as it is, and `from` does not.
 * The content, its IV or message ID and its commitment stay. The new wrapping is opened and compared, where `to` can.
 */
export async function rewrapEnvelope(envelope: S3Envelope, keys: CheckedRewrapKeys): Promise<S3Envelope | undefined> {
  if (envelope.contentAlgorithm === 'AES/CBC/PKCS5Padding') {
    throw new SealwaxError(
      'ERR_LEGACY_REFUSED',
      'the object is in AES-CBC, which no new key makes authentic: read it, and write it again',
    )
  }
  const dataKey = await openOld(envelope, keys)
  if (!dataKey) return undefined
  try {
    const wrapped = await wrapNew(envelope, keys, dataKey)
    if (keys.enforceRotation) await refuseOldKey(envelope, wrapped, keys.from)
    return { ...envelope, ...wrapped }
  } finally {
    wipe(dataKey)
  }
}

async function openOld(envelope: S3Envelope, keys: CheckedRewrapKeys): Promise<Uint8Array | undefined> {
  const { from, to, encryptionContext, newEncryptionContext = encryptionContext } = keys
  try {
    return await openCommitted(envelope, keys, from, encryptionContext)
  } catch (error) {
    if (!isNotOpened(error)) throw error
    // A run that was interrupted, and began again.
    const dataKey = await openCommitted(envelope, keys, to, newEncryptionContext).catch(() => undefined)
    if (!dataKey) throw error
    wipe(dataKey)
    return undefined
  }
}

async function openCommitted(
  envelope: S3Envelope,
  { accepted }: CheckedRewrapKeys,
  keyring: S3Keyring,
  encryptionContext = pairsOf(envelope),
): Promise<Uint8Array> {
  const dataKey = await openDataKey(envelope, keyring, { ...accepted, encryptionContext })
  if (envelope.formatVersion !== 3) return dataKey
  try {
    wipe(deriveCommittedObjectKey(getEngine(), dataKey, envelope.messageId, envelope.commitment))
    return dataKey
  } catch (error) {
    wipe(dataKey)
    throw error
  }
}

/** The caller's pairs, where KMS has bound any. */
function pairsOf({ wrapAlgorithm, materialDescription }: S3Envelope): Readonly<EncryptionContext> {
  return wrapAlgorithm === 'kms+context' ? withoutReserved(materialDescription) : {}
}

async function wrapNew(envelope: S3Envelope, keys: CheckedRewrapKeys, dataKey: Uint8Array) {
  const { contentAlgorithm } = envelope
  const encryptionContext = keys.newEncryptionContext ?? pairsOf(envelope)
  const wrapped = await keys.to.wrapDataKey({ contentAlgorithm, encryptionContext, dataKey })
  const { encryptedDataKey, wrapAlgorithm, materialDescription } = wrapped
  const isSame = types.isUint8Array(wrapped.dataKey) && equalSecrets(wrapped.dataKey, dataKey)
  if (wrapped.dataKey !== dataKey) wipe(wrapped.dataKey)
  if (!isSame) throw new SealwaxError('ERR_INVALID_MATERIALS', 'the keyring "to" wraps new data keys only')
  if (!types.isUint8Array(encryptedDataKey) || !COMMITMENT_WRAPS.has(wrapAlgorithm)) {
    throw new SealwaxError('ERR_INVALID_MATERIALS', 'the keyring "to" gave no data key in a known wrapping')
  }
  const anew = { encryptedDataKey, wrapAlgorithm, materialDescription }
  const opened = await openAgain(keys.to, { contentAlgorithm, ...anew })
  const isOther = opened && !equalSecrets(opened, dataKey)
  wipe(opened)
  if (isOther) throw new SealwaxError('ERR_INVALID_MATERIALS', 'the keyring "to" does not open what it wrapped')
  return anew
}

/** `undefined` for a keyring that may only encrypt. */
async function openAgain(to: S3Keyring, request: S3UnwrapRequest): Promise<Uint8Array | undefined> {
  try {
    return await to.unwrapDataKey(request)
  } catch (error) {
    if (codeOf(error) === 'ERR_WRAPPING_KEY' || causeOf(error) === 'AccessDeniedException') return undefined
    throw error
  }
}

/** With the old materials description: by it a keyring of several keys chooses the old one. */
async function refuseOldKey(
  { contentAlgorithm, materialDescription: old, wrapAlgorithm: oldAlgorithm }: S3Envelope,
  wrapped: Pick<S3Envelope, 'encryptedDataKey' | 'wrapAlgorithm' | 'materialDescription'>,
  from: S3Keyring,
): Promise<void> {
  // For KMS the description is the encryption context.
  const areKms = oldAlgorithm.startsWith('kms') && wrapped.wrapAlgorithm === 'kms+context'
  const materialDescription = areKms ? wrapped.materialDescription : old
  try {
    const dataKey = await from.unwrapDataKey({ contentAlgorithm, ...wrapped, materialDescription })
    if (!dataKey) return
    wipe(dataKey)
  } catch (error) {
    if (isNotOpened(error)) return
    throw error
  }
  throw new SealwaxError(
    'ERR_WRAPPING_KEY',
    '"from" opens what "to" has wrapped: it is the old key again, or "from" opens with any key, and "enforceRotation" must be false',
  )
}

/** Whether an error says that this key does not open it; not that nobody could be asked. */
function isNotOpened(error: unknown): boolean {
  return NOT_OPENED.has(codeOf(error)) || causeOf(error) === 'IncorrectKeyException'
}

function codeOf(error: unknown): SealwaxErrorCode | undefined {
  return error instanceof SealwaxError ? error.code : undefined
}

function causeOf(error: unknown): unknown {
  return ((error as Error | undefined)?.cause as Error | undefined)?.name
}

const NOT_OPENED: ReadonlySet<SealwaxErrorCode | undefined> = new Set([
  'ERR_AUTHENTICATION_FAILED',
  'ERR_ENCRYPTION_CONTEXT',
  'ERR_NO_DATA_KEY',
  'ERR_WRAPPING_KEY',
])
