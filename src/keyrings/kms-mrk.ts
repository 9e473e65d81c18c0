import type { EncryptedDataKey } from '../encrypted-data-key'
import { SealwaxError } from '../errors'
import { KeyringNode } from '../materials/keyring'
import { doneSignal, type NodeDecryptionMaterial, type NodeEncryptionMaterial } from '../materials/materials'
import { checkOptions, describe, fixFields } from '../options'
import { checkKeyId, inRegion, isMultiRegion, isSameKey } from './kms-arn'
import { callService } from './kms-calls'
import { checkKmsClient, type KmsClient } from './kms-clients'
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

export interface AwsKmsMrkAwareSymmetricKeyringNodeInput extends KmsCallInput {
  /** Key ARN, alias ARN, key ID or alias name; only a key ARN decrypts. */
  keyId: string
  /** The KMS client for the Region of the key. */
  client: KmsClient
}

/**
 * One AWS KMS key (framework/aws-kms/aws-kms-mrk-keyring.md). A multi-Region key also opens what related keys in other
 * Regions have wrapped.
 *
 * @example
 * const keyring = new AwsKmsMrkAwareSymmetricKeyringNode({
 *   client: new KMS({ region: 'eu-west-1' }),
 *   keyId: 'arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab',
 * })
 */
export class AwsKmsMrkAwareSymmetricKeyringNode extends KeyringNode {
  readonly keyId: string
  readonly client: KmsClient
  readonly grantTokens: string[] | undefined
  readonly timeout: number

  constructor(input: AwsKmsMrkAwareSymmetricKeyringNodeInput) {
    super()
    const { keyId, client, grantTokens, timeout } = checkOptions(
      input,
      ['keyId', 'client', 'grantTokens', 'timeout'],
      'AwsKmsMrkAwareSymmetricKeyringNode',
    )
    if (!keyId) throw new TypeError(`An AWS KMS key identifier is required. "keyId" is ${describe(keyId)}`)
    this.keyId = checkKeyId(keyId, 'keyId')
    this.client = checkKmsClient(client)
    this.grantTokens = checkGrantTokens(grantTokens)
    this.timeout = checkTimeout(timeout)
    fixFields(this)
  }

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    const { client, keyId } = this
    const request = beginRequest(this, material)
    if (material.hasUnencryptedDataKey) await wrapDataKey([keyId], () => client, material, request)
    else await generateDataKey(keyId, () => client, material, request)
    return material
  }

  async _onDecrypt(
    material: NodeDecryptionMaterial,
    encryptedDataKeys: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const { client, keyId } = this
    const errors = await unwrapDataKey(
      encryptedDataKeys,
      (_, keyArn) => (isSameKey(keyId, keyArn) ? keyId : undefined),
      () => client,
      material,
      beginRequest(this, material),
    )
    return requireDataKey(material, errors)
  }
}
Object.freeze(AwsKmsMrkAwareSymmetricKeyringNode)
Object.freeze(AwsKmsMrkAwareSymmetricKeyringNode.prototype)

export interface AwsKmsMrkAwareSymmetricDiscoveryKeyringNodeInput extends KmsCallInput {
  /** The KMS client; its `config.region` is the Region of the keyring. */
  client: KmsClient
  /** Bounds discovery to keys of these accounts; recommended. Default: every key that the credentials can use. */
  discoveryFilter?: DiscoveryFilter | undefined
}

/**
 * Decrypts with whatever key of one Region the message names (framework/aws-kms/aws-kms-mrk-discovery-keyring.md); a
 * multi-Region key of another Region is replaced by its related key in this one. Cannot encrypt.
 *
 * @example
 * const keyring = new AwsKmsMrkAwareSymmetricDiscoveryKeyringNode({
 *   client: new KMS({ region: 'eu-west-1' }), discoveryFilter: { accountIDs: ['111122223333'], partition: 'aws' },
 * })
 */
export class AwsKmsMrkAwareSymmetricDiscoveryKeyringNode extends KeyringNode {
  readonly client: KmsClient
  /** The client's Region. Clients of version 3 of the SDK have to find it: a promise of it, until they have. */
  declare readonly clientRegion: string | Promise<string>
  readonly discoveryFilter: DiscoveryFilter | undefined
  readonly grantTokens: string[] | undefined
  readonly timeout: number

  constructor(input: AwsKmsMrkAwareSymmetricDiscoveryKeyringNodeInput) {
    super()
    const { client, discoveryFilter, grantTokens, timeout } = checkOptions(
      input,
      ['client', 'discoveryFilter', 'grantTokens', 'timeout'],
      'AwsKmsMrkAwareSymmetricDiscoveryKeyringNode',
    )
    this.client = checkKmsClient(client)
    const configured = configuredRegion(client)
    if (!configured) throw new TypeError('Client must be configured to a region.')
    this.discoveryFilter = checkDiscoveryFilter(discoveryFilter)
    this.grantTokens = checkGrantTokens(grantTokens)
    this.timeout = checkTimeout(timeout)
    fixFields(this)
    const show = (value: string | Promise<string>, configurable: boolean) =>
      Reflect.defineProperty(this, 'clientRegion', { value, enumerable: true, configurable })
    if (typeof configured === 'string') {
      show(configured, false)
    } else {
      const found = regionOfClient(client, this.timeout)
      show(found, true)
      // Where there is none, who decrypts or waits for it is told.
      found.then(
        (region) => show(region, false),
        () => {},
      )
    }
  }

  async _onEncrypt(): Promise<NodeEncryptionMaterial> {
    throw new SealwaxError('ERR_WRAPPING_KEY', 'AwsKmsMrkAwareSymmetricDiscoveryKeyring cannot be used to encrypt')
  }

  async _onDecrypt(
    material: NodeDecryptionMaterial,
    encryptedDataKeys: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const { client, discoveryFilter } = this
    const request = beginRequest(this, material)
    const region = await regionOfClient(client, this.timeout, doneSignal(material))
    const errors = await unwrapDataKey(
      encryptedDataKeys,
      (arn, keyArn) => {
        if (!passes(arn, discoveryFilter)) return undefined
        if (isMultiRegion(arn)) return inRegion(arn, region)
        return arn.region === region ? keyArn : undefined
      },
      () => client,
      material,
      request,
    )
    return requireDataKey(material, errors)
  }
}
Object.freeze(AwsKmsMrkAwareSymmetricDiscoveryKeyringNode)
Object.freeze(AwsKmsMrkAwareSymmetricDiscoveryKeyringNode.prototype)

/** The specification has these keyrings fail where others say nothing: also when no encrypted data key is theirs. */
function requireDataKey(material: NodeDecryptionMaterial, errors: readonly Error[]): NodeDecryptionMaterial {
  if (material.hasValidKey()) return material
  throw notOpened(`Unable to decrypt data key${errors.length === 0 ? ': No EDKs supplied' : ''}.`, errors)
}

/** A string, or in version 3 of the SDK a function that finds it. */
function configuredRegion(client: KmsClient): unknown {
  return (client as { config?: { region?: unknown } }).config?.region
}

/** A function may ask a file or another host: that is a call like those to KMS. */
async function regionOfClient(client: KmsClient, timeout: number, signal?: AbortSignal): Promise<string> {
  const configured = configuredRegion(client)
  const { region } =
    typeof configured === 'function'
      ? await callService(
          "Finding the KMS client's Region",
          async () => ({ region: await configured() }),
          timeout,
          signal,
        )
      : { region: configured }
  if (typeof region === 'string') return region
  throw new SealwaxError('ERR_KEY_SERVICE', 'clientRegion MUST be a string. The KMS client has no Region')
}
