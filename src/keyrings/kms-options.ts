import { checkInteger, checkOptions, describe } from '../options'
import type { KmsArn } from './kms-arn'
import { DEFAULT_TIMEOUT } from './kms-calls'
import type { DataKeyRequest } from './kms-data-key'

/** Which keys a discovery keyring may ask KMS to decrypt with. */
export interface DiscoveryFilter {
  /** AWS account IDs; one at least. */
  readonly accountIDs: readonly string[]
  /** Such as `aws`, `aws-cn`, `aws-us-gov`. */
  readonly partition: string
}

/** What every KMS keyring takes. */
export interface KmsCallInput {
  /** Sent along with every request to KMS. */
  grantTokens?: string[] | undefined
  /** How long the KMS calls for one message may take together, in milliseconds: 1 to 2^31-1. Default: 30000. */
  timeout?: number | undefined
}

const MAX_TIMEOUT = 0x7fffffff

export function checkTimeout(timeout: unknown = DEFAULT_TIMEOUT): number {
  return checkInteger(timeout, 'timeout', 1, MAX_TIMEOUT)
}

export function checkGrantTokens(tokens: unknown): string[] | undefined {
  return tokens === undefined ? undefined : [...checkStrings(tokens, '"grantTokens" must be an array of strings')]
}

export function checkDiscoveryFilter(filter: DiscoveryFilter | undefined): DiscoveryFilter | undefined {
  if (filter === undefined) return undefined
  const { accountIDs, partition } = checkOptions(filter, ['accountIDs', 'partition'], '"discoveryFilter"')
  const problem = 'A discovery filter must be able to match something.'
  if (typeof partition !== 'string' || partition === '') throw new RangeError(`${problem} "partition" is missing`)
  if (!Array.isArray(accountIDs) || accountIDs.length === 0) throw new RangeError(`${problem} "accountIDs" is empty`)
  return Object.freeze({ partition, accountIDs: checkStrings(accountIDs, `${problem} "accountIDs" must be strings`) })
}

/** Whether a filter, if there is one, lets the key pass. */
export function passes({ partition, accountId }: KmsArn, filter: DiscoveryFilter | undefined): boolean {
  return !filter || (filter.partition === partition && filter.accountIDs.includes(accountId))
}

/** The calls for one data key, which begin now. */
export function beginRequest(grantTokens: readonly string[] | undefined, timeout: number): DataKeyRequest {
  return { grantTokens, deadline: performance.now() + timeout }
}

export function checkStrings(value: unknown, problem: string): readonly string[] {
  if (!Array.isArray(value)) throw new TypeError(`${problem}, got ${describe(value)}`)
  const wrong = value.findIndex((item) => typeof item !== 'string' || item === '')
  if (wrong >= 0) throw new TypeError(`${problem}, got ${describe(value[wrong])}`)
  return Object.freeze([...value])
}
