/**
 * How a branch key is stored (framework/branch-key-store.md "Encryption Context"): 32 bytes wrapped by KMS under an
 * encryption context that says all about it. One branch key is several records:
 *
 *     branch:version:UUID    one for each version, for ever
 *     branch:ACTIVE          the newest version once more; `version` says which one
 *     beacon:ACTIVE          a key of the same owner for searchable encryption, which this library makes and never reads
 */
import { types } from 'node:util'
import type { EncryptionContext } from '../encryption-context'
import { isUuidV4 } from '../materials/branch-key-material'
import { keyServiceError } from './kms-calls'

/** A wrapped branch key as a storage gives it. */
export interface EncryptedHierarchicalKey {
  /** The whole encryption context that KMS wrapped it under, logical key store name included. */
  readonly encryptionContext: Readonly<EncryptionContext>
  readonly ciphertextBlob: Uint8Array
}

/** The same, checked and understood. */
export interface BranchKeyRecord extends EncryptedHierarchicalKey {
  readonly branchKeyId: string
  readonly isActive: boolean
  /** A UUID. */
  readonly version: string
  readonly kmsArn: string
}

export const FIELD = {
  id: 'branch-key-id',
  type: 'type',
  version: 'version',
  createTime: 'create-time',
  tableName: 'tablename',
  kmsArn: 'kms-arn',
  hierarchyVersion: 'hierarchy-version',
  ciphertext: 'enc',
} as const
export const ACTIVE = 'branch:ACTIVE'
export const VERSION_PREFIX = 'branch:version:'
const BEACON = 'beacon:ACTIVE'
const CUSTOM_PREFIX = 'aws-crypto-ec:'

/** Checks what a storage gave for the branch key asked for: its `version`, or without one the active version. */
export function checkRecord(
  key: EncryptedHierarchicalKey,
  branchKeyId: string,
  version: string | undefined,
  logicalKeyStoreName: string,
): BranchKeyRecord {
  const { encryptionContext, ciphertextBlob } = key ?? {}
  if (typeof encryptionContext !== 'object' || encryptionContext === null) throw wrong('it has no encryption context')
  for (const [name, value] of Object.entries(encryptionContext)) {
    if (typeof value !== 'string') throw wrong(`"${name}" is not a string`)
  }
  for (const name of Object.values(FIELD)) {
    const expected = name === FIELD.ciphertext ? false : name !== FIELD.version || version === undefined
    const present = Boolean(Object.hasOwn(encryptionContext, name) && encryptionContext[name])
    if (present !== expected) throw wrong(`"${name}" is ${expected ? 'missing' : 'not expected'}`)
  }
  const context = { ...encryptionContext }
  if (context[FIELD.id] !== branchKeyId) throw wrong('Unexpected branch key id.')
  if (context[FIELD.tableName] !== logicalKeyStoreName) throw wrong('Unexpected logical table name.')
  if (context[FIELD.hierarchyVersion] !== '1') throw wrong('only hierarchy-version 1 is supported')
  const isActive = version === undefined
  if (isActive && context[FIELD.type] !== ACTIVE) throw wrong('Unexpected type. Not an active record.')
  const typed = context[isActive ? FIELD.version : FIELD.type]!
  const found = typed.slice(VERSION_PREFIX.length)
  if (!typed.startsWith(VERSION_PREFIX) || !isUuidV4(found)) throw wrong('Unexpected type. Not a version record.')
  if (!isActive && found !== version) throw wrong('Unexpected branch key version.')
  if (!types.isUint8Array(ciphertextBlob) || ciphertextBlob.length === 0) throw wrong('it has no ciphertext')
  const kmsArn = context[FIELD.kmsArn]!
  return { branchKeyId, isActive, version: found, kmsArn, encryptionContext: Object.freeze(context), ciphertextBlob }

  function wrong(problem: string): Error {
    const which = version === undefined ? 'the active version' : `version ${version}`
    return keyServiceError(
      `the record of ${which} of branch key ${JSON.stringify(branchKeyId)} is not valid: ${problem}`,
    )
  }
}

/** The context of a version that is made now. */
export function versionContext(
  branchKeyId: string,
  version: string,
  kmsArn: string,
  logicalKeyStoreName: string,
  custom: Readonly<EncryptionContext>,
): EncryptionContext {
  return {
    ...Object.fromEntries(Object.entries(custom).map(([name, value]) => [`${CUSTOM_PREFIX}${name}`, value])),
    [FIELD.id]: branchKeyId,
    [FIELD.type]: `${VERSION_PREFIX}${version}`,
    [FIELD.createTime]: timestamp(),
    [FIELD.tableName]: logicalKeyStoreName,
    [FIELD.kmsArn]: kmsArn,
    [FIELD.hierarchyVersion]: '1',
  }
}

/** The context of the version that comes after an active record. */
export function nextVersionContext(active: BranchKeyRecord, version: string): EncryptionContext {
  const { [FIELD.version]: _, ...context } = active.encryptionContext
  return { ...context, [FIELD.type]: `${VERSION_PREFIX}${version}`, [FIELD.createTime]: timestamp() }
}

/** The context under which a version is stored once more, as the active one. */
export function activeContext(version: Readonly<EncryptionContext>): EncryptionContext {
  return { ...version, [FIELD.version]: version[FIELD.type]!, [FIELD.type]: ACTIVE }
}

export function beaconContext(version: Readonly<EncryptionContext>): EncryptionContext {
  return { ...version, [FIELD.type]: BEACON }
}

/** The pairs that were given when the branch key was made. */
export function customContext(context: Readonly<EncryptionContext>): EncryptionContext {
  const custom = Object.entries(context).filter(([name]) => name.startsWith(CUSTOM_PREFIX))
  return Object.fromEntries(custom.map(([name, value]) => [name.slice(CUSTOM_PREFIX.length), value]))
}

/** ISO 8601 to the microsecond, of which the clock tells milliseconds. */
function timestamp(): string {
  return new Date().toISOString().replace('Z', '000Z')
}
