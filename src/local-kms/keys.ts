import { createHash, type KeyObject, randomUUID } from 'node:crypto'
import { KmsError, notFound } from './errors'

/**
 * What the server knows. Records are never changed, only replaced, so a copy of the four maps is a copy of everything.
 *
 * A key of one Region and its key material are apart: the replicas of a multi-Region key share an ID and the material.
 */
export interface State {
  /** By key ID. */
  readonly materials: Map<string, Material>
  /** By key ARN. */
  readonly keys: Map<string, Key>
  /** By alias ARN. */
  readonly aliases: Map<string, Alias>
  /** By grant ID. */
  readonly grants: Map<string, Grant>
}

export interface Material {
  readonly keyId: string
  readonly spec: KeySpec
  readonly usage: KeyUsage
  readonly multiRegion: boolean
  readonly primaryRegion: string
  /** Oldest first. The last one encrypts, all decrypt. */
  readonly versions: readonly KeyVersion[]
  /** Automatic rotation, where it is on. */
  readonly rotation?: { readonly periodInDays: number; readonly next: number }
}

export interface KeyVersion {
  readonly id: string
  readonly secret: KeyObject
  readonly created: number
  readonly origin: 'INITIAL' | 'AUTOMATIC' | 'ON_DEMAND'
}

/** Times are milliseconds since 1970. */
export interface Key {
  readonly arn: string
  readonly keyId: string
  readonly region: string
  readonly account: string
  readonly created: number
  readonly description: string
  readonly policy: string
  /** Not while it waits for its deletion. */
  readonly enabled: boolean
  readonly tags: readonly Tag[]
  /** Without a date while replicas of a multi-Region primary key remain. */
  readonly deletion?: { readonly windowInDays: number; readonly date?: number }
}

export interface Tag {
  readonly TagKey: string
  readonly TagValue: string
}

export interface Alias {
  readonly arn: string
  readonly name: string
  readonly region: string
  readonly targetKeyId: string
  readonly created: number
  readonly updated: number
}

export interface Grant {
  readonly id: string
  readonly keyArn: string
  readonly created: number
  readonly entry: Readonly<Record<string, unknown>>
}

/** Where a request is at home: the Region it was signed for and the account of the server. */
export interface Scope {
  readonly region: string
  readonly account: string
}

export const KEY_USAGES = ['ENCRYPT_DECRYPT', 'SIGN_VERIFY', 'GENERATE_VERIFY_MAC', 'KEY_AGREEMENT'] as const
export type KeyUsage = (typeof KEY_USAGES)[number]

export const ENCRYPTION_ALGORITHMS = ['SYMMETRIC_DEFAULT', 'RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256'] as const
export type EncryptionAlgorithm = (typeof ENCRYPTION_ALGORITHMS)[number]

const RSA_SIGNING = [
  'RSASSA_PKCS1_V1_5_SHA_256',
  'RSASSA_PKCS1_V1_5_SHA_384',
  'RSASSA_PKCS1_V1_5_SHA_512',
  'RSASSA_PSS_SHA_256',
  'RSASSA_PSS_SHA_384',
  'RSASSA_PSS_SHA_512',
] as const
export const SIGNING_ALGORITHMS = [...RSA_SIGNING, 'ECDSA_SHA_256', 'ECDSA_SHA_384', 'ECDSA_SHA_512'] as const
export type SigningAlgorithm = (typeof SIGNING_ALGORITHMS)[number]

export const MAC_ALGORITHMS = ['HMAC_SHA_224', 'HMAC_SHA_256', 'HMAC_SHA_384', 'HMAC_SHA_512'] as const
export type MacAlgorithm = (typeof MAC_ALGORITHMS)[number]

export type Algorithm = EncryptionAlgorithm | SigningAlgorithm | MacAlgorithm | 'ECDH'

interface Spec {
  readonly kind: { type: 'symmetric'; bytes: number } | { type: 'rsa'; bits: number } | { type: 'ec'; curve: string }
  /** What each usage that a key of this spec can have allows. */
  readonly usages: { readonly [usage in KeyUsage]?: readonly Algorithm[] }
}

const rsa = (bits: number): Spec => ({
  kind: { type: 'rsa', bits },
  usages: { ENCRYPT_DECRYPT: ['RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256'], SIGN_VERIFY: RSA_SIGNING },
})
const nist = (curve: string, algorithm: SigningAlgorithm): Spec => ({
  kind: { type: 'ec', curve },
  usages: { SIGN_VERIFY: [algorithm], KEY_AGREEMENT: ['ECDH'] },
})
const hmac = (bytes: number, algorithm: MacAlgorithm): Spec => ({
  kind: { type: 'symmetric', bytes },
  usages: { GENERATE_VERIFY_MAC: [algorithm] },
})

/** Every key spec, with what its keys may do. */
export const KEY_SPECS = {
  SYMMETRIC_DEFAULT: { kind: { type: 'symmetric', bytes: 32 }, usages: { ENCRYPT_DECRYPT: ['SYMMETRIC_DEFAULT'] } },
  RSA_2048: rsa(2048),
  RSA_3072: rsa(3072),
  RSA_4096: rsa(4096),
  ECC_NIST_P256: nist('prime256v1', 'ECDSA_SHA_256'),
  ECC_NIST_P384: nist('secp384r1', 'ECDSA_SHA_384'),
  ECC_NIST_P521: nist('secp521r1', 'ECDSA_SHA_512'),
  ECC_SECG_P256K1: { kind: { type: 'ec', curve: 'secp256k1' }, usages: { SIGN_VERIFY: ['ECDSA_SHA_256'] } },
  HMAC_224: hmac(28, 'HMAC_SHA_224'),
  HMAC_256: hmac(32, 'HMAC_SHA_256'),
  HMAC_384: hmac(48, 'HMAC_SHA_384'),
  HMAC_512: hmac(64, 'HMAC_SHA_512'),
} as const satisfies Record<string, Spec>
export type KeySpec = keyof typeof KEY_SPECS

export function specOf(name: KeySpec): Spec {
  return KEY_SPECS[name]
}

export function isSymmetric(material: Material): boolean {
  return material.spec === 'SYMMETRIC_DEFAULT'
}

/** What keys of this material may be used with. */
export function algorithmsOf(material: Material): readonly Algorithm[] {
  return specOf(material.spec).usages[material.usage]!
}

export function newKeyId(multiRegion: boolean): string {
  return multiRegion ? `mrk-${randomUUID().replaceAll('-', '')}` : randomUUID()
}

/** The ARN of `key/…` or `alias/…` in the Region and account of `scope`. */
export function arnOf(resource: string, { region, account }: Scope): string {
  return `arn:${partitionOf(region)}:kms:${region}:${account}:${resource}`
}

/** The ARN of the account itself. */
export function rootArn({ region, account }: Scope): string {
  return `arn:${partitionOf(region)}:iam::${account}:root`
}

/** What a Region belongs to. Nothing is shared between partitions. */
export function partitionOf(region: string): string {
  for (const [prefix, partition] of PARTITIONS) if (region.startsWith(prefix)) return partition
  return 'aws'
}

const PARTITIONS = [
  ['cn-', 'aws-cn'],
  ['us-gov-', 'aws-us-gov'],
  ['us-iso-', 'aws-iso'],
  ['us-isob-', 'aws-iso-b'],
  ['eu-isoe-', 'aws-iso-e'],
  ['us-isof-', 'aws-iso-f'],
  ['eusc-', 'aws-eusc'],
] as const

/**
 * The key that a request names by ID or ARN and, where `aliases` allows it, by alias name or alias ARN.
 * A replica is another key: an ARN of another Region is not found.
 */
export function findKey(state: State, scope: Scope, id: string, aliases: 'aliases' | 'no aliases' = 'no aliases'): Key {
  const arn = resolve(scope, id)
  if (!arn.includes(':alias/')) return state.keys.get(arn) ?? throwNotFound(`Key '${arn}' does not exist`)
  if (aliases === 'no aliases') throw notFound(`Invalid keyId '${id}'`)
  const alias = state.aliases.get(arn) ?? throwNotFound(`Alias ${arn} is not found.`)
  return state.keys.get(arnOf(`key/${alias.targetKeyId}`, scope)) ?? throwNotFound(`Alias ${arn} points to no key.`)
}

/** The material that the key shares with its replicas. */
export function materialOf(state: State, key: Key): Material {
  return state.materials.get(key.keyId)!
}

/** The primary key and its replicas, or the single-Region key alone. */
export function siblings(state: State, keyId: string): readonly Key[] {
  return [...state.keys.values()].filter((key) => key.keyId === keyId)
}

export function isPrimary(material: Material, key: Key): boolean {
  return key.region === material.primaryRegion
}

/** Refuses a key that waits for its deletion. */
export function refusePending(key: Key): Key {
  if (key.deletion) throw new KmsError('KMSInvalidStateException', `${key.arn} is pending deletion.`)
  return key
}

/** Refuses a key that is not enabled. */
export function requireEnabled(key: Key): Key {
  refusePending(key)
  if (!key.enabled) throw new KmsError('DisabledException', `${key.arn} is disabled.`)
  return key
}

export function keyState(key: Key): string {
  if (key.deletion) return key.deletion.date === undefined ? 'PendingReplicaDeletion' : 'PendingDeletion'
  return key.enabled ? 'Enabled' : 'Disabled'
}

/** The `KeyMetadata` structure of AWS. */
export function keyMetadata(state: State, key: Key): Record<string, unknown> {
  const material = materialOf(state, key)
  return {
    AWSAccountId: key.account,
    KeyId: key.keyId,
    Arn: key.arn,
    CreationDate: seconds(key.created),
    Enabled: key.enabled,
    Description: key.description,
    KeyState: keyState(key),
    KeyManager: 'CUSTOMER',
    Origin: 'AWS_KMS',
    DeletionDate: key.deletion?.date === undefined ? undefined : seconds(key.deletion.date),
    PendingDeletionWindowInDays: key.deletion && !key.deletion.date ? key.deletion.windowInDays : undefined,
    ...keyShape(material),
    MultiRegion: material.multiRegion,
    MultiRegionConfiguration: material.multiRegion ? multiRegionConfiguration(state, key, material) : undefined,
    CurrentKeyMaterialId: isSymmetric(material) ? material.versions.at(-1)!.id : undefined,
  }
}

/** What the metadata of a key and the answer to GetPublicKey both tell. */
export function keyShape(material: Material): Record<string, unknown> {
  return {
    KeySpec: material.spec,
    CustomerMasterKeySpec: material.spec,
    KeyUsage: material.usage,
    [ALGORITHM_FIELDS[material.usage]]: algorithmsOf(material),
  }
}

/** How AWS writes times. */
export function seconds(milliseconds: number): number {
  return milliseconds / 1000
}

export const DAY = 86_400_000

/** A name for a version of key material, as AWS shapes it. */
export function materialId(keyId: string, version: number): string {
  return createHash('sha256').update(`${keyId}/${version}`).digest('hex')
}

function multiRegionConfiguration(state: State, key: Key, material: Material): Record<string, unknown> {
  const [primaries, replicas] = [true, false].map((primary) =>
    siblings(state, key.keyId)
      .filter((sibling) => isPrimary(material, sibling) === primary)
      .map(({ arn, region }) => ({ Arn: arn, Region: region })),
  )
  return {
    MultiRegionKeyType: isPrimary(material, key) ? 'PRIMARY' : 'REPLICA',
    PrimaryKey: primaries![0],
    ReplicaKeys: replicas,
  }
}

/** An ARN from any way to name a key or alias. */
function resolve(scope: Scope, id: string): string {
  if (id.startsWith('alias/')) return arnOf(id, scope)
  if (!id.startsWith('arn:')) {
    if (!/^[a-zA-Z0-9-]+$/.test(id)) throw notFound(`Invalid keyId '${id}'`)
    return arnOf(`key/${id}`, scope)
  }
  const [, partition, region, account, resource] =
    /^arn:([a-z-]+):kms:([a-z0-9-]+):(\d{12}):((?:key|alias)\/.+)$/.exec(id) ?? []
  if (!region || !resource) throw new KmsError('InvalidArnException', `Invalid arn '${id}'`)
  if (region !== scope.region) throw notFound(`Invalid arn ${region}`)
  if (partition !== partitionOf(region)) throw notFound(`Invalid arn ${partition}`)
  if (account !== scope.account) throw notFound(`Key '${id}' does not exist`)
  return arnOf(resource, scope)
}

function throwNotFound(message: string): never {
  throw notFound(message)
}

const ALGORITHM_FIELDS: Readonly<Record<KeyUsage, string>> = {
  ENCRYPT_DECRYPT: 'EncryptionAlgorithms',
  SIGN_VERIFY: 'SigningAlgorithms',
  GENERATE_VERIFY_MAC: 'MacAlgorithms',
  KEY_AGREEMENT: 'KeyAgreementAlgorithms',
}
