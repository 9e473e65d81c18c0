import { types } from 'node:util'
import { copySecret } from '../bytes'
import { EncryptedDataKey } from '../encrypted-data-key'
import { SealwaxError } from '../errors'
import {
  dataKeyOf,
  doneSignal,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '../materials/materials'
import { attemptInTurn, hedgeDelay } from './attempts'
import { isNamedBy, type KmsArn, parseKeyArn, regionOf } from './kms-arn'
import { callKms, keyServiceError, wipePlaintext } from './kms-calls'
import type { KmsAnswer, KmsClient, KmsRequest } from './kms-clients'

/** The key provider ID of every KMS keyring; the key provider info is the key ARN. */
const KMS_PROVIDER_ID = 'aws-kms'

/** Gives the client for a Region, or `false` where keys of that Region are excluded. */
type ClientFor = (region: string) => KmsClient | false

/** What all calls for one data key share. */
export interface DataKeyRequest {
  readonly grantTokens: readonly string[] | undefined
  /** When the last call must have answered, on the clock of `performance.now()`. */
  readonly deadline: number
}

const WRAPPED = KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_SIGNED_ENC_CTX
const GENERATED = KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY | WRAPPED
const UNWRAPPED = KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_VERIFIED_ENC_CTX

/** Has KMS make the data key of the materials, and adds its wrapped form. */
export async function generateDataKey(
  keyId: string,
  clientFor: ClientFor,
  material: NodeEncryptionMaterial,
  request: DataKeyRequest,
): Promise<void> {
  const client = clientFor(regionOf(keyId))
  if (!client) throw noClient('Generator KMS key did not generate a data key: ', keyId)
  const { keyLengthBytes } = material.suite
  const input = { ...fields(keyId, material, request), NumberOfBytes: keyLengthBytes }
  const answer = await callKms(client, 'generateDataKey', input, timeLeft(request), doneSignal(material))
  try {
    const edk = toEncryptedDataKey(answer, keyId)
    const dataKey = toPlaintext(answer, keyId, keyLengthBytes)
    material
      .setUnencryptedDataKey(dataKey, { keyNamespace: KMS_PROVIDER_ID, keyName: edk.providerInfo, flags: GENERATED })
      .addEncryptedDataKey(edk, WRAPPED)
  } finally {
    wipePlaintext(answer)
  }
}

/** Wraps the data key of the materials with each key, at the same time, and adds all of the wrapped forms or none. */
export async function wrapDataKey(
  keyIds: readonly string[],
  clientFor: ClientFor,
  material: NodeEncryptionMaterial,
  request: DataKeyRequest,
): Promise<void> {
  const dataKey = dataKeyOf(material)
  const edks = await Promise.all(
    keyIds.map(async (keyId) => {
      const client = clientFor(regionOf(keyId))
      if (!client) throw noClient('', keyId)
      const input = { ...fields(keyId, material, request), Plaintext: copySecret(dataKey) }
      const answer = await callKms(client, 'encrypt', input, timeLeft(request), doneSignal(material))
      return toEncryptedDataKey(answer, keyId)
    }),
  )
  for (const edk of edks) material.addEncryptedDataKey(edk, WRAPPED)
}

/**
 * Opens the first encrypted data key that can be, in order, of those for which `keyFor` gives the ARN of a key to ask.
 * Each attempt may take all the time that is left; the next one does not wait that long, though, but begins after
 * {@link hedgeDelay}, and the first to succeed ends the others.
 * Returns the errors of the attempts that failed; if there are none and the materials have no data key, nothing was tried.
 */
export async function unwrapDataKey(
  encryptedDataKeys: readonly EncryptedDataKey[],
  keyFor: (arn: KmsArn, keyArn: string) => string | undefined,
  clientFor: ClientFor,
  material: NodeDecryptionMaterial,
  request: DataKeyRequest,
): Promise<Error[]> {
  const attempts: [keyArn: string, edk: EncryptedDataKey][] = []
  for (const edk of encryptedDataKeys) {
    if (edk.providerId !== KMS_PROVIDER_ID) continue
    const arn = parseKeyArn(edk.providerInfo)
    if (!arn) material.addFailure(new SealwaxError('ERR_MESSAGE_MALFORMED', 'Malformed arn in provider info.'))
    const keyArn = arn && keyFor(arn, edk.providerInfo)
    if (keyArn !== undefined) attempts.push([keyArn, edk])
  }
  const errors = await attemptInTurn(
    attempts.map(([keyArn, edk]) => async () => {
      const client = clientFor(regionOf(keyArn))
      if (!client) return void material.addFailure(noClient('', keyArn))
      return await unwrap(client, keyArn, edk, material, request)
    }),
    () => material.hasValidKey(),
    hedgeDelay(timeLeft(request), attempts.length),
  )
  for (const error of errors) material.addFailure(error)
  return errors
}

/** The error of a keyring that could open nothing. */
export function notOpened(problem: string, errors: readonly Error[]): SealwaxError {
  const list = errors.map((error, i) => ` Error #${i + 1}: ${error.message}`).join(';')
  return new SealwaxError('ERR_NO_DATA_KEY', `${problem}${list}`, { errors })
}

async function unwrap(
  client: KmsClient,
  keyArn: string,
  { encryptedDataKey }: EncryptedDataKey,
  material: NodeDecryptionMaterial,
  request: DataKeyRequest,
): Promise<void> {
  const input = { ...fields(keyArn, material, request), CiphertextBlob: encryptedDataKey }
  const answer = await callKms(client, 'decrypt', input, timeLeft(request), doneSignal(material))
  try {
    checkKey(answer, keyArn, 'KMS Decryption key does not match the requested key id. ')
    const dataKey = toPlaintext(answer, keyArn, material.suite.keyLengthBytes)
    material.setUnencryptedDataKey(dataKey, { keyNamespace: KMS_PROVIDER_ID, keyName: keyArn, flags: UNWRAPPED })
  } finally {
    wipePlaintext(answer)
  }
}

function fields(
  KeyId: string,
  { encryptionContext }: NodeEncryptionMaterial | NodeDecryptionMaterial,
  { grantTokens }: DataKeyRequest,
): KmsRequest {
  return { KeyId, EncryptionContext: { ...encryptionContext }, ...(grantTokens && { GrantTokens: [...grantTokens] }) }
}

/** Milliseconds to the deadline; past it, no call is made. */
function timeLeft({ deadline }: DataKeyRequest): number {
  return Math.max(0, deadline - performance.now())
}

function toEncryptedDataKey(answer: KmsAnswer, keyId: string): EncryptedDataKey {
  const providerInfo = checkKey(answer, keyId, '')
  const { CiphertextBlob } = answer
  if (!types.isUint8Array(CiphertextBlob) || CiphertextBlob.length === 0) {
    throw malformed('it holds no CiphertextBlob', keyId)
  }
  return new EncryptedDataKey({ providerId: KMS_PROVIDER_ID, providerInfo, encryptedDataKey: CiphertextBlob })
}

/** The plaintext in an answer: the client's bytes, which the caller wipes. */
function toPlaintext({ Plaintext }: KmsAnswer, keyId: string, length: number): Uint8Array {
  if (!types.isUint8Array(Plaintext)) throw malformed('it holds no Plaintext', keyId)
  if (Plaintext.length !== length) {
    const problem = `Key length does not agree with the algorithm specification: ${length} bytes are needed, got ${Plaintext.length}`
    throw malformed(problem, keyId)
  }
  // A client that answers twice with the same bytes: they were wiped after the first time.
  if (Plaintext.every((byte) => byte === 0)) throw malformed('the data key is all zeros', keyId)
  return Plaintext
}

/** The key ARN in an answer, which must be of the key that was asked for. */
function checkKey(answer: KmsAnswer | undefined, keyId: string, prefix: string): string {
  const KeyId = answer?.KeyId
  if (typeof KeyId !== 'string') throw malformed('it holds no KeyId', keyId)
  if (!isNamedBy(KeyId, keyId))
    throw keyServiceError(`${prefix}KMS was asked for ${keyId} and answered for another key`)
  return KeyId
}

function malformed(problem: string, keyId: string): SealwaxError {
  return keyServiceError(`Malformed KMS response. The answer for ${keyId} cannot be used: ${problem}`)
}

function noClient(prefix: string, keyId: string): SealwaxError {
  return new SealwaxError('ERR_WRAPPING_KEY', `${prefix}the client provider gave no client for KMS key ${keyId}`)
}
