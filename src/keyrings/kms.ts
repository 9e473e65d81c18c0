import type { EncryptedDataKey } from '../encrypted-data-key'
import { KeyringNode } from '../materials/keyring'
import type { NodeDecryptionMaterial, NodeEncryptionMaterial } from '../materials/materials'
import { checkBoolean, checkOptions, describe, fixFields } from '../options'
import { checkKeyId } from './kms-arn'
import { cacheKmsClients, type KmsNodeClientSupplier } from './kms-clients'
import { generateDataKey, notOpened, unwrapDataKey, wrapDataKey } from './kms-data-key'
import {
  beginRequest,
  checkDiscoveryFilter,
  checkGrantTokens,
  checkTimeout,
  type DiscoveryFilter,
  type KmsCallInput,
  passes,
} from './kms-options'

export interface KmsKeyringNodeInput extends KmsCallInput {
  /** The key that makes data keys, and wraps them too: key ARN, alias ARN, key ID or alias name. */
  generatorKeyId?: string | undefined
  /** Keys that wrap the same data key. Any one of all these opens the message, if given by its key ARN. Default: none. */
  keyIds?: string[] | undefined
  /** `true`: decrypt with whatever key the message names. Excludes the two above; such a keyring does not encrypt. */
  discovery?: boolean | undefined
  /** Bounds discovery to keys of these accounts; recommended. Default: every key that the credentials can use. */
  discoveryFilter?: DiscoveryFilter | undefined
  /** Gives the client for the Region of a key. Default: {@link cacheKmsClients}. */
  clientProvider?: KmsNodeClientSupplier | undefined
}

const OPTIONS = [
  'generatorKeyId',
  'keyIds',
  'grantTokens',
  'discovery',
  'discoveryFilter',
  'clientProvider',
  'timeout',
] as const

/**
 * Wraps data keys with AWS KMS keys (framework/aws-kms/aws-kms-keyring.md).
 *
 * Encrypting makes one encrypted data key for each configured key, in the order of configuration, or fails. Decrypting
 * tries those of the message that name a configured key by its key ARN, in message order; in discovery mode, all that
 * pass the filter. An attempt that fails leads to the next; when all have failed, `ERR_NO_DATA_KEY` has their `errors`.
 *
 * @example
 * const keyring = new KmsKeyringNode({
 *   generatorKeyId: 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab',
 * })
 * const reader = new KmsKeyringNode({
 *   discovery: true, discoveryFilter: { accountIDs: ['111122223333'], partition: 'aws' },
 * })
 */
export class KmsKeyringNode extends KeyringNode {
  readonly generatorKeyId: string | undefined
  readonly keyIds: readonly string[]
  readonly grantTokens: string[] | undefined
  readonly isDiscovery: boolean
  readonly discoveryFilter: DiscoveryFilter | undefined
  readonly clientProvider: KmsNodeClientSupplier
  readonly timeout: number

  constructor(input?: KmsKeyringNodeInput) {
    super()
    const {
      generatorKeyId,
      keyIds = [],
      grantTokens,
      discovery = false,
      discoveryFilter,
      clientProvider = cacheKmsClients,
      timeout,
    } = checkOptions(input, OPTIONS, 'KmsKeyringNode')
    if (!Array.isArray(keyIds)) throw new TypeError(`"keyIds" must be an array, got ${describe(keyIds)}`)
    const hasKeys = Boolean(generatorKeyId) || keyIds.length > 0
    if (!checkBoolean(discovery, 'discovery') && !hasKeys) {
      throw new TypeError('Noop keyring is not allowed: Set a keyId or discovery')
    }
    if (discovery && hasKeys) {
      throw new TypeError('A keyring can be either a Discovery or have keyIds configured.')
    }
    if (!discovery && discoveryFilter) {
      throw new TypeError('Account and partition decrypt filtering are only supported when discovery === true')
    }
    if (typeof clientProvider !== 'function') {
      throw new TypeError(`Missing clientProvider. It must be a function, got ${describe(clientProvider)}`)
    }
    this.generatorKeyId = generatorKeyId ? checkKeyId(generatorKeyId, 'generatorKeyId') : undefined
    this.keyIds = Object.freeze(keyIds.map((keyId) => checkKeyId(keyId, 'keyIds')))
    this.grantTokens = checkGrantTokens(grantTokens)
    this.isDiscovery = discovery
    this.discoveryFilter = checkDiscoveryFilter(discoveryFilter)
    this.clientProvider = clientProvider
    this.timeout = checkTimeout(timeout)
    fixFields(this)
  }

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    if (this.isDiscovery) return material
    const { generatorKeyId, clientProvider } = this
    const request = beginRequest(this, material)
    let keyIds = this.#configured()
    if (generatorKeyId !== undefined && !material.hasUnencryptedDataKey) {
      await generateDataKey(generatorKeyId, clientProvider, material, request)
      keyIds = this.keyIds
    }
    await wrapDataKey(keyIds, clientProvider, material, request)
    return material
  }

  async _onDecrypt(
    material: NodeDecryptionMaterial,
    encryptedDataKeys: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const keyIds = this.#configured()
    const errors = await unwrapDataKey(
      encryptedDataKeys,
      (arn, keyArn) => {
        const allowed = this.isDiscovery ? passes(arn, this.discoveryFilter) : keyIds.includes(keyArn)
        return allowed ? keyArn : undefined
      },
      this.clientProvider,
      material,
      beginRequest(this, material),
    )
    if (material.hasValidKey() || errors.length === 0) return material
    throw notOpened('Unable to decrypt data key and one or more KMS CMKs had an error.', errors)
  }

  #configured(): readonly string[] {
    return this.generatorKeyId === undefined ? this.keyIds : [this.generatorKeyId, ...this.keyIds]
  }
}
Object.freeze(KmsKeyringNode)
Object.freeze(KmsKeyringNode.prototype)
