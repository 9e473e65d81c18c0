import { types } from 'node:util'
import { copySecret } from '../bytes'
import { type EncryptionContext, withPair } from '../encryption-context'
import { authenticationFailed, SealwaxError } from '../errors'
import {
  CONTENT_ALGORITHM_PAIR,
  type S3Keyring,
  type S3UnwrapRequest,
  type S3WrappedDataKey,
  type S3WrapRequest,
} from '../materials/s3-keyring'
import { checkBoolean, checkOptions, describe } from '../options'
import { checkKeyId, isNamedBy, parseKeyArn, regionOf } from './kms-arn'
import { callKms, keyServiceError, wipePlaintext } from './kms-calls'
import { cacheKmsClients, type KmsAnswer, type KmsClient, type KmsNodeClientSupplier } from './kms-clients'
import {
  checkDiscoveryFilter,
  checkGrantTokens,
  checkTimeout,
  type DiscoveryFilter,
  type KmsCallInput,
  passes,
} from './kms-options'

export interface S3KmsKeyringInput extends KmsCallInput {
  /** The key that makes, wraps and unwraps data keys: key ARN, alias ARN, key ID or alias name. */
  keyId?: string | undefined
  /** `true`: decrypt with whatever key KMS finds the data key to be wrapped with. Excludes `keyId`; does not encrypt. */
  discovery?: boolean | undefined
  /** Bounds discovery to keys of these accounts; recommended. Default: every key that the credentials can use. */
  discoveryFilter?: DiscoveryFilter | undefined
  /** Gives the client for the Region of the key; an empty Region is the default one. Default: {@link cacheKmsClients}. */
  clientProvider?: KmsNodeClientSupplier | undefined
}

const OPTIONS = ['keyId', 'discovery', 'discoveryFilter', 'clientProvider', 'grantTokens', 'timeout'] as const

/**
 * Wraps the data keys of S3 objects with an AWS KMS key, under the caller's encryption context and one pair more that
 * names the content algorithm. Opens the older `kms`, which has no such pair, too, where the caller allows it.
 *
 * @example
 * const keyring = new S3KmsKeyring({ keyId: 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab' })
 */
export class S3KmsKeyring implements S3Keyring {
  readonly keyId: string | undefined
  readonly isDiscovery: boolean
  readonly discoveryFilter: DiscoveryFilter | undefined
  readonly grantTokens: readonly string[] | undefined
  readonly clientProvider: KmsNodeClientSupplier
  readonly timeout: number

  constructor(input: S3KmsKeyringInput) {
    const {
      keyId,
      discovery = false,
      discoveryFilter,
      clientProvider = cacheKmsClients,
      grantTokens,
      timeout,
    } = checkOptions(input, OPTIONS, 'S3KmsKeyring')
    if (checkBoolean(discovery, 'discovery') === (keyId !== undefined)) {
      throw new TypeError('a KMS keyring needs either a "keyId", or "discovery" to be true')
    }
    if (!discovery && discoveryFilter) throw new TypeError('"discoveryFilter" goes with "discovery" only')
    if (typeof clientProvider !== 'function') {
      throw new TypeError(`"clientProvider" must be a function, got ${describe(clientProvider)}`)
    }
    this.keyId = keyId === undefined ? undefined : checkKeyId(keyId, 'keyId')
    this.isDiscovery = discovery
    this.discoveryFilter = checkDiscoveryFilter(discoveryFilter)
    this.grantTokens = checkGrantTokens(grantTokens)
    this.clientProvider = clientProvider
    this.timeout = checkTimeout(timeout)
    Object.freeze(this)
  }

  async wrapDataKey({ contentAlgorithm, encryptionContext, dataKey: given }: S3WrapRequest): Promise<S3WrappedDataKey> {
    const { keyId } = this
    if (keyId === undefined) throw new SealwaxError('ERR_WRAPPING_KEY', 'a discovery keyring encrypts nothing')
    const materialDescription = withPair(encryptionContext, CONTENT_ALGORITHM_PAIR, contentAlgorithm)
    const input = { ...this.#fields(materialDescription), KeyId: keyId }
    const answer = given
      ? await callKms(this.#client(), 'encrypt', { ...input, Plaintext: copySecret(given) }, this.timeout)
      : await callKms(this.#client(), 'generateDataKey', { ...input, NumberOfBytes: 32 }, this.timeout)
    try {
      this.#checkKey(answer)
      const { CiphertextBlob } = answer
      if (!types.isUint8Array(CiphertextBlob) || CiphertextBlob.length === 0) {
        throw keyServiceError('Malformed KMS response. It holds no CiphertextBlob')
      }
      const dataKey = given ? copySecret(given) : toDataKey(answer, [32])
      return { dataKey, encryptedDataKey: CiphertextBlob, wrapAlgorithm: 'kms+context', materialDescription }
    } finally {
      wipePlaintext(answer)
    }
  }

  async unwrapDataKey(request: S3UnwrapRequest): Promise<Uint8Array | undefined> {
    const { wrapAlgorithm, encryptedDataKey, materialDescription } = request
    if (wrapAlgorithm !== 'kms+context' && wrapAlgorithm !== 'kms') return undefined
    const input = {
      ...this.#fields(materialDescription),
      ...(this.keyId !== undefined && { KeyId: this.keyId }),
      CiphertextBlob: encryptedDataKey,
    }
    const answer = await this.#decrypt(input as Parameters<KmsClient['decrypt']>[0])
    try {
      this.#checkKey(answer)
      return toDataKey(answer, [16, 24, 32])
    } finally {
      wipePlaintext(answer)
    }
  }

  async #decrypt(input: Parameters<KmsClient['decrypt']>[0]): Promise<KmsAnswer> {
    try {
      return await callKms(this.#client(), 'decrypt', input, this.timeout)
    } catch (error) {
      // KMS says so of a changed blob and of a changed context: the tag of the wrapped key is wrong.
      const { name } = ((error as Error).cause ?? {}) as { name?: string }
      throw name === 'InvalidCiphertextException' ? authenticationFailed() : error
    }
  }

  #fields(context: Readonly<EncryptionContext>) {
    const { grantTokens } = this
    return { EncryptionContext: { ...context }, ...(grantTokens && { GrantTokens: [...grantTokens] }) }
  }

  #client(): KmsClient {
    const client = this.clientProvider(this.keyId === undefined ? '' : regionOf(this.keyId))
    if (client) return client
    throw new SealwaxError('ERR_WRAPPING_KEY', 'the client provider gave no client for the KMS key of this keyring')
  }

  /** The key that KMS used must be the one asked for. */
  #checkKey({ KeyId }: KmsAnswer): void {
    if (typeof KeyId !== 'string') throw keyServiceError('Malformed KMS response. It holds no KeyId')
    if (this.keyId !== undefined) {
      if (!isNamedBy(KeyId, this.keyId)) throw keyServiceError('KMS answered for another key than it was asked for')
      return
    }
    const arn = parseKeyArn(KeyId)
    if (!arn || !passes(arn, this.discoveryFilter)) {
      throw new SealwaxError(
        'ERR_WRAPPING_KEY',
        'the data key is wrapped with a KMS key that "discoveryFilter" excludes',
      )
    }
  }
}
Object.freeze(S3KmsKeyring)
Object.freeze(S3KmsKeyring.prototype)

function toDataKey({ Plaintext }: KmsAnswer, lengths: readonly number[]): Uint8Array {
  if (!types.isUint8Array(Plaintext)) throw keyServiceError('Malformed KMS response. It holds no Plaintext')
  if (!lengths.includes(Plaintext.length)) {
    throw keyServiceError(`Malformed KMS response. The data key is ${Plaintext.length} bytes long`)
  }
  // A client that answers twice with the same bytes: they were wiped after the first time.
  if (Plaintext.every((byte) => byte === 0)) throw keyServiceError('Malformed KMS response. The data key is all zeros')
  return copySecret(Plaintext)
}
