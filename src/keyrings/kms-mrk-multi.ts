import { checkOptions } from '../options'
import { hedgeDelay } from './attempts'
import { checkKeyId, multiRegionId, regionOf } from './kms-arn'
import { getKmsClient, type KmsNodeClientSupplier } from './kms-clients'
import { AwsKmsMrkAwareSymmetricDiscoveryKeyringNode, AwsKmsMrkAwareSymmetricKeyringNode } from './kms-mrk'
import { checkStrings, type DiscoveryFilter, type KmsCaller, type KmsCallInput, shareTimeout } from './kms-options'
import { MultiKeyringNode, type MultiKeyringNodeInput } from './multi'

export interface AwsKmsMrkAwareStrictMultiKeyringNodeInput extends KmsCallInput {
  /** The key that makes data keys, and wraps them too. */
  generatorKeyId?: string | undefined
  /** Keys that wrap the same data key. No two of all these may be related multi-Region keys. Default: none. */
  keyIds?: string[] | undefined
  /** Gives the client for the Region of a key. Default: {@link getKmsClient}. */
  clientProvider?: KmsNodeClientSupplier | undefined
}

/**
 * Several multi-Region aware keys as one keyring: encrypting needs all of them, decrypting any one; half a second after
 * one, the next is asked too. `timeout` is for all of them together.
 *
 * @example
 * const keyring = buildAwsKmsMrkAwareStrictMultiKeyringNode({
 *   generatorKeyId: 'arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab',
 * })
 */
export function buildAwsKmsMrkAwareStrictMultiKeyringNode(
  input?: AwsKmsMrkAwareStrictMultiKeyringNodeInput,
): MultiKeyringNode {
  const {
    generatorKeyId,
    keyIds = [],
    clientProvider = getKmsClient,
    grantTokens,
    timeout,
  } = checkOptions(
    input,
    ['generatorKeyId', 'keyIds', 'clientProvider', 'grantTokens', 'timeout'],
    'buildAwsKmsMrkAwareStrictMultiKeyringNode',
  )
  const noop = 'Noop keyring is not allowed: Set a generatorKeyId or at least one keyId.'
  const all = [
    ...(generatorKeyId ? [generatorKeyId] : []),
    ...checkStrings(keyIds, `${noop} "keyIds" must be an array of strings`),
  ]
  if (all.length === 0) throw new TypeError(noop)
  checkUnrelated(all)
  const keyrings = all.map((keyId, i) => {
    const option = i === 0 && generatorKeyId ? 'generatorKeyId' : 'keyIds'
    const client = clientProvider(regionOf(checkKeyId(keyId, option)))
    if (client) return new AwsKmsMrkAwareSymmetricKeyringNode({ client, keyId, grantTokens, timeout })
    throw new TypeError(`Configured clientProvider is unable to create a client for configured ${keyId}.`)
  })
  const [first, ...others] = keyrings
  return together(keyrings, generatorKeyId ? { generator: first!, children: others } : { children: keyrings })
}

export interface AwsKmsMrkAwareDiscoveryMultiKeyringNodeInput extends KmsCallInput {
  /** The Regions to decrypt in, tried in this order. */
  regions: string[]
  /** Bounds discovery to keys of these accounts; recommended. Default: every key that the credentials can use. */
  discoveryFilter?: DiscoveryFilter | undefined
  /** Gives the client for a Region. Default: {@link getKmsClient}. */
  clientProvider?: KmsNodeClientSupplier | undefined
}

/**
 * Multi-Region aware discovery in several Regions: decrypts where the first of them can; half a second after one, the
 * next is asked too. Cannot encrypt. `timeout` is for all Regions together.
 *
 * @example
 * const keyring = buildAwsKmsMrkAwareDiscoveryMultiKeyringNode({
 *   regions: ['eu-west-1', 'us-east-1'], discoveryFilter: { accountIDs: ['111122223333'], partition: 'aws' },
 * })
 */
export function buildAwsKmsMrkAwareDiscoveryMultiKeyringNode(
  input: AwsKmsMrkAwareDiscoveryMultiKeyringNodeInput,
): MultiKeyringNode {
  const {
    regions = [],
    clientProvider = getKmsClient,
    discoveryFilter,
    grantTokens,
    timeout,
  } = checkOptions(
    input,
    ['regions', 'clientProvider', 'discoveryFilter', 'grantTokens', 'timeout'],
    'buildAwsKmsMrkAwareDiscoveryMultiKeyringNode',
  )
  const noRegion = 'Configured regions must not contain a null or empty string as a region.'
  checkStrings(regions, `${noRegion} "regions" must be an array of strings`)
  if (regions.length === 0) throw new RangeError('Configured regions must contain at least one region.')
  const children = regions.map((region) => {
    const client = clientProvider(region)
    if (!client) {
      throw new TypeError('Configured clientProvider is unable to create a client for a configured region.')
    }
    return new AwsKmsMrkAwareSymmetricDiscoveryKeyringNode({ client, discoveryFilter, grantTokens, timeout })
  })
  return together(children, { children })
}

/** One keyring of all of them, whose calls for a message have one deadline. */
function together(keyrings: readonly KmsCaller[], input: MultiKeyringNodeInput): MultiKeyringNode {
  shareTimeout(keyrings)
  return new MultiKeyringNode({ ...input, hedgeDelay: Math.ceil(hedgeDelay(keyrings[0]!.timeout, keyrings.length)) })
}

/** Related keys are one key: wrapping twice with it would promise an independence that is not there. */
function checkUnrelated(keyIds: readonly string[]): void {
  const ids = keyIds.map(multiRegionId)
  const related = keyIds.filter((_, i) => ids[i] !== undefined && ids.indexOf(ids[i]) !== ids.lastIndexOf(ids[i]))
  if (related.length > 0) throw new RangeError(`Related multi-Region keys: ${related.join(',')} are not allowed.`)
}
