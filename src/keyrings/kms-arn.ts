import { describe } from '../options'

/**
 * AWS KMS identifiers (framework/aws-kms/aws-kms-key-arn.md). A key is named by any of
 *
 *     arn:aws:kms:us-east-1:111122223333:key/1234abcd-…      key ARN
 *     arn:aws:kms:us-east-1:111122223333:alias/example       alias ARN
 *     1234abcd-…   mrk-1234abcd…   alias/example             in the Region of the client
 *
 * and appears in messages by its key ARN only.
 */
export interface KmsArn {
  readonly partition: string
  readonly region: string
  readonly accountId: string
  readonly resourceType: 'key' | 'alias'
  readonly resourceId: string
}

// The Region becomes part of a host name, and ARNs come out of messages: a host label, nothing else.
const ARN = /^arn:([^:]+):kms:([A-Za-z0-9-]{1,63}):([^:]+):(key|alias)\/([^:]+)$/
const BARE = /^(?:alias\/[^:]+|(?!alias$)[^:/]+)$/
const MULTI_REGION = 'mrk-'

/** The parts of a key or alias ARN; `undefined` for any other text. */
export function parseArn(text: string): KmsArn | undefined {
  const [, partition, region, accountId, resourceType, resourceId] = ARN.exec(text) ?? []
  if (resourceType === undefined) return undefined
  return {
    partition: partition!,
    region: region!,
    accountId: accountId!,
    resourceType: resourceType as KmsArn['resourceType'],
    resourceId: resourceId!,
  }
}

/** The parts of a key ARN; `undefined` for any other text, aliases too. */
export function parseKeyArn(text: string): KmsArn | undefined {
  const arn = parseArn(text)
  return arn?.resourceType === 'key' ? arn : undefined
}

/** Checks an identifier that a caller passed. Throws `TypeError` for no string, `RangeError` for a malformed one. */
export function checkKeyId(value: unknown, name: string): string {
  if (typeof value !== 'string') throw new TypeError(`"${name}" must be a KMS key identifier, got ${describe(value)}`)
  if (parseArn(value) || BARE.test(value)) return value
  const problem = value.includes(':') ? 'Malformed arn.' : 'Malformed resource.'
  throw new RangeError(
    `${problem} "${name}" must be the ARN of a KMS key or alias, a key ID or an alias name, got ${describe(value)}`,
  )
}

/** The Region of an ARN; empty for identifiers that live in the client's own Region. */
export function regionOf(keyId: string): string {
  return parseArn(keyId)?.region ?? ''
}

/** Whether `keyArn`, which KMS answered with, can be the key that `keyId` asked for. */
export function isNamedBy(keyArn: string, keyId: string): boolean {
  const key = parseKeyArn(keyArn)
  if (!key) return false
  const asked = parseArn(keyId)
  if (!asked) return keyId.startsWith('alias/') || key.resourceId === keyId
  if (asked.resourceType === 'key') return keyArn === keyId
  return key.partition === asked.partition && key.region === asked.region && key.accountId === asked.accountId
}

/** Whether the key is a multi-Region key: the same key material under the same ID in several Regions. */
export function isMultiRegion({ resourceType, resourceId }: KmsArn): boolean {
  return resourceType === 'key' && resourceId.startsWith(MULTI_REGION)
}

/** The ID that related multi-Region keys share; `undefined` for other identifiers. */
export function multiRegionId(keyId: string): string | undefined {
  const arn = parseArn(keyId)
  if (arn) return isMultiRegion(arn) ? arn.resourceId : undefined
  return keyId.startsWith(MULTI_REGION) ? keyId : undefined
}

/** Whether two ARNs name one key: they are equal, or differ only in the Region of a multi-Region key. */
export function isSameKey(a: string, b: string): boolean {
  if (a === b) return true
  const [first, second] = [parseArn(a), parseArn(b)]
  return first !== undefined && second !== undefined && isMultiRegion(first) && inRegion(first, second.region) === b
}

/** The ARN of the related multi-Region key in `region`. */
export function inRegion({ partition, accountId, resourceType, resourceId }: KmsArn, region: string): string {
  return `arn:${partition}:kms:${region}:${accountId}:${resourceType}/${resourceId}`
}
