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
  const ids = checkStrings(accountIDs ?? [], `${problem} "accountIDs" must be an array of strings`)
  if (ids.length === 0) throw new RangeError(`${problem} "accountIDs" is empty`)
  return Object.freeze({ partition, accountIDs: ids })
}

/** Whether a filter, if there is one, lets the key pass. */
export function passes({ partition, accountId }: KmsArn, filter: DiscoveryFilter | undefined): boolean {
  return !filter || (filter.partition === partition && filter.accountIDs.includes(accountId))
}

/** A keyring as far as its calls go. */
export interface KmsCaller {
  readonly grantTokens: readonly string[] | undefined
  readonly timeout: number
}

/** The calls of a keyring for one data key. They begin now, or began with those of others: see {@link shareTimeout}. */
export function beginRequest(keyring: KmsCaller, material: object): DataKeyRequest {
  const { grantTokens, timeout } = keyring
  const own = performance.now() + timeout
  const { first, deadlines } = shared.get(keyring) ?? {}
  if (keyring === first) deadlines?.set(material, own)
  return { grantTokens, deadline: deadlines?.get(material) ?? own }
}

/** Makes the calls of these keyrings for the same materials end together, the timeout of the first after it has begun. */
export function shareTimeout(keyrings: readonly KmsCaller[]): void {
  const deadlines = new WeakMap<object, number>()
  for (const keyring of keyrings) shared.set(keyring, { first: keyrings[0]!, deadlines })
}

const shared = new WeakMap<KmsCaller, { first: KmsCaller; deadlines: WeakMap<object, number> }>()

export function checkStrings(value: unknown, problem: string): readonly string[] {
  if (!Array.isArray(value)) throw new TypeError(`${problem}, got ${describe(value)}`)
  const wrong = value.findIndex((item) => typeof item !== 'string' || item === '')
  if (wrong >= 0) throw new TypeError(`${problem}, got ${describe(value[wrong])}`)
  return Object.freeze([...value])
}
