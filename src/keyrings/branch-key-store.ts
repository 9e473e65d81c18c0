import { randomUUID } from 'node:crypto'
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import type { KMSClient } from '@aws-sdk/client-kms'
import { wipe } from '../bytes'
import { checkEncryptionContext, type EncryptionContext } from '../encryption-context'
import { NodeBranchKeyMaterial } from '../materials/branch-key-material'
import { checkOptions, checkString, describe } from '../options'
import { type KmsConfig, KmsKeyConfig } from './branch-key-store-config'
import { DynamoDBKeyStorage, type IBranchKeyStorage, type WritableBranchKeyStorage } from './branch-key-store-dynamodb'
import { BranchKeyWrapping } from './branch-key-store-kms'
import {
  activeContext,
  type BranchKeyRecord,
  beaconContext,
  checkRecord,
  customContext,
  nextVersionContext,
  versionContext,
} from './branch-key-store-record'
import { keyServiceError } from './kms-calls'
import { KMS } from './kms-clients'
import { checkGrantTokens } from './kms-options'

export interface DynamoDBTable {
  ddbTableName: string
  /** Default: one with the SDK's own credentials, for the Region of the configured KMS key. */
  ddbClient?: DynamoDBClient | undefined
}

export interface BranchKeyStoreNodeInput {
  /** Bound to every branch key; usually the name of the table when it was made. Reading needs the same one for ever. */
  logicalKeyStoreName: string
  storage: DynamoDBTable | IBranchKeyStorage
  keyManagement?: { kmsClient?: KMSClient | undefined; grantTokens?: string[] | undefined } | undefined
  kmsConfiguration: KmsConfig
  /** Default: a random UUID. */
  keyStoreId?: string | undefined
}

export interface KeyStoreInfoOutput {
  keystoreId: string
  keystoreTableName: string
  logicalKeyStoreName: string
  grantTokens: string[]
  kmsConfiguration: KmsConfig
}

export interface CreateKeyInput {
  /** Default: a random UUID. One of the caller's own needs an encryption context with it. */
  branchKeyIdentifier?: string | undefined
  /** Public pairs to bind to the branch key, beyond what is always bound. */
  encryptionContext?: EncryptionContext | undefined
}

export interface CreateKeyOutput {
  branchKeyIdentifier: string
}

export interface VersionKeyInput {
  branchKeyIdentifier: string
}

const OPTIONS = ['logicalKeyStoreName', 'storage', 'keyManagement', 'kmsConfiguration', 'keyStoreId'] as const

/**
 * Branch keys: keys that KMS wraps and a table keeps, for hierarchical keyrings (framework/branch-key-store.md). Whatever
 * the table and KMS answer is checked before it is used, or fails with `ERR_KEY_SERVICE`.
 *
 * @example
 * const keyStore = new BranchKeyStoreNode({
 *   logicalKeyStoreName: 'branch-keys', storage: { ddbTableName: 'branch-keys' },
 *   kmsConfiguration: { identifier: 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab' },
 * })
 * const { branchKeyIdentifier } = await keyStore.createKey()
 */
export class BranchKeyStoreNode {
  readonly logicalKeyStoreName: string
  readonly kmsConfiguration: KmsKeyConfig
  readonly keyStoreId: string
  readonly grantTokens: readonly string[] | undefined
  readonly storage: IBranchKeyStorage
  readonly #kmsClient: () => KMSClient
  readonly #wrapping: BranchKeyWrapping

  constructor(input: BranchKeyStoreNodeInput) {
    const { logicalKeyStoreName, storage, keyManagement, kmsConfiguration, keyStoreId } = checkOptions(
      input,
      OPTIONS,
      'BranchKeyStoreNode',
    )
    if (typeof logicalKeyStoreName !== 'string') {
      throw new TypeError(`Logical keystore name must be a string, got ${describe(logicalKeyStoreName)}`)
    }
    this.logicalKeyStoreName = checkString(logicalKeyStoreName, 'logicalKeyStoreName')
    this.kmsConfiguration = new KmsKeyConfig(kmsConfiguration)
    this.storage = toStorage(storage, logicalKeyStoreName, this.kmsConfiguration.getRegion())
    if (this.storage.getKeyStorageInfo().logicalName !== logicalKeyStoreName) {
      throw new RangeError('Configured logicalKeyStoreName does not match configured storage interface.')
    }
    const { kmsClient, grantTokens } = checkOptions(keyManagement, ['kmsClient', 'grantTokens'], '"keyManagement"')
    if (kmsClient !== undefined && typeof kmsClient?.send !== 'function') {
      throw new TypeError(`KMS client must be a KMSClient, got ${describe(kmsClient)}`)
    }
    this.grantTokens = checkGrantTokens(grantTokens)
    this.keyStoreId = keyStoreId === undefined ? randomUUID() : checkString(keyStoreId, 'keyStoreId')
    let client = kmsClient
    this.#kmsClient = () => {
      const region = this.kmsConfiguration.getRegion()
      client ??= new KMS({ ...(region !== undefined && { region }), customUserAgent: 'aws-kms-hierarchy' })
      return client
    }
    this.#wrapping = new BranchKeyWrapping(this.#kmsClient, this.grantTokens)
    Object.freeze(this)
  }

  get kmsClient(): KMSClient {
    return this.#kmsClient()
  }

  /** The version of a branch key to encrypt with. The caller wipes it. */
  async getActiveBranchKey(branchKeyId: string): Promise<NodeBranchKeyMaterial> {
    checkId(branchKeyId, 'MUST supply a string branch key id')
    return await this.#unwrap(await this.#getActive(branchKeyId))
  }

  /** One version of a branch key, to decrypt with. The caller wipes it. */
  async getBranchKeyVersion(branchKeyId: string, branchKeyVersion: string): Promise<NodeBranchKeyMaterial> {
    checkId(branchKeyId, 'MUST supply a string branch key id')
    checkId(branchKeyVersion, 'MUST supply a string branch key version')
    const stored = await this.storage.getEncryptedBranchKeyVersion(branchKeyId, branchKeyVersion)
    return await this.#unwrap(checkRecord(stored, branchKeyId, branchKeyVersion, this.logicalKeyStoreName))
  }

  /** Makes a branch key, and a beacon key beside it. Fails where there is one of that ID. */
  async createKey(input?: CreateKeyInput): Promise<CreateKeyOutput> {
    const { branchKeyIdentifier, encryptionContext = {} } = checkOptions(
      input,
      ['branchKeyIdentifier', 'encryptionContext'],
      'createKey',
    )
    const [keyArn, storage] = this.#toWrite('CreateKey')
    const custom = checkEncryptionContext(encryptionContext)
    if (branchKeyIdentifier !== undefined) {
      checkId(branchKeyIdentifier, 'the branch key identifier must be a string')
      if (Object.keys(custom).length === 0) {
        throw new TypeError('If branch key identifier is provided, encryption context must also be provided')
      }
    }
    const id = branchKeyIdentifier ?? randomUUID()
    const context = versionContext(id, randomUUID(), keyArn, this.logicalKeyStoreName, custom)
    const [version, active] = await this.#wrapNew(keyArn, context)
    const beacon = beaconContext(context)
    const wrappedBeacon = await this.#wrapping.generate(keyArn, beacon)
    await storage.writeNewBranchKey([version, active, { encryptionContext: beacon, ciphertextBlob: wrappedBeacon }])
    return { branchKeyIdentifier: id }
  }

  /** Makes a new version of a branch key, and the active one of it. Older versions stay, to decrypt with. */
  async versionKey(input: VersionKeyInput): Promise<void> {
    const { branchKeyIdentifier } = checkOptions(input, ['branchKeyIdentifier'], 'versionKey')
    checkId(branchKeyIdentifier, 'MUST supply a branch-key-id')
    const [keyArn, storage] = this.#toWrite('VersionKey')
    const old = await this.#getActive(branchKeyIdentifier)
    this.#keyFor(old)
    // Only KMS can tell that the old record is genuine: it would not re-encrypt another.
    await this.#wrapping.reEncrypt(keyArn, old.ciphertextBlob, old.encryptionContext, old.encryptionContext)
    const [version, active] = await this.#wrapNew(keyArn, nextVersionContext(old, randomUUID()))
    await storage.writeNewVersion(version, active, old)
  }

  getKeyStoreInfo(): KeyStoreInfoOutput {
    return {
      keystoreId: this.keyStoreId,
      keystoreTableName: this.storage.getKeyStorageInfo().name,
      logicalKeyStoreName: this.logicalKeyStoreName,
      grantTokens: [...(this.grantTokens ?? [])],
      kmsConfiguration: this.kmsConfiguration.config,
    }
  }

  async #getActive(branchKeyId: string): Promise<BranchKeyRecord> {
    const stored = await this.storage.getEncryptedActiveBranchKey(branchKeyId)
    return checkRecord(stored, branchKeyId, undefined, this.logicalKeyStoreName)
  }

  async #unwrap(record: BranchKeyRecord): Promise<NodeBranchKeyMaterial> {
    const { branchKeyId, version, ciphertextBlob, encryptionContext } = record
    const branchKey = await this.#wrapping.unwrap(this.#keyFor(record), ciphertextBlob, encryptionContext)
    const material = new NodeBranchKeyMaterial(branchKey, branchKeyId, version, customContext(encryptionContext))
    wipe(branchKey)
    return material
  }

  /** A new branch key, wrapped as its version and as the active one. */
  async #wrapNew(keyArn: string, context: EncryptionContext) {
    const ciphertextBlob = await this.#wrapping.generate(keyArn, context)
    const active = activeContext(context)
    const wrappedActive = await this.#wrapping.reEncrypt(keyArn, ciphertextBlob, context, active)
    return [
      { encryptionContext: context, ciphertextBlob },
      { encryptionContext: active, ciphertextBlob: wrappedActive },
    ] as const
  }

  #keyFor({ kmsArn }: BranchKeyRecord): string {
    try {
      return this.kmsConfiguration.getCompatibleArnArn(kmsArn)
    } catch (error) {
      throw keyServiceError((error as Error).message)
    }
  }

  #toWrite(operation: string): [keyArn: string, storage: WritableBranchKeyStorage] {
    const { keyArn } = this.kmsConfiguration
    if (!keyArn) {
      throw new TypeError(`${operation} is not supported with Discovery or MRDiscovery KMS Configuration`)
    }
    const storage = this.storage as Partial<WritableBranchKeyStorage>
    if (typeof storage.writeNewBranchKey === 'function' && typeof storage.writeNewVersion === 'function') {
      return [keyArn, storage as WritableBranchKeyStorage]
    }
    throw new TypeError(`${operation} needs a storage that can write`)
  }
}
Object.freeze(BranchKeyStoreNode)
Object.freeze(BranchKeyStoreNode.prototype)

/** Whether it is a {@link BranchKeyStoreNode} of this copy of the package. */
export function isIBranchKeyStoreNode(keyStore: unknown): keyStore is BranchKeyStoreNode {
  return keyStore instanceof BranchKeyStoreNode
}

function toStorage(
  storage: DynamoDBTable | IBranchKeyStorage,
  logicalKeyStoreName: string,
  region: string | undefined,
): IBranchKeyStorage {
  if (typeof storage !== 'object' || storage === null) {
    throw new TypeError(`"storage" must be a table or a storage, got ${describe(storage)}`)
  }
  if ('getEncryptedActiveBranchKey' in storage && 'getEncryptedBranchKeyVersion' in storage) return storage
  const { ddbTableName, ddbClient } = checkOptions<DynamoDBTable>(storage, ['ddbTableName', 'ddbClient'], '"storage"')
  return new DynamoDBKeyStorage(ddbTableName, logicalKeyStoreName, ddbClient, region)
}

function checkId(value: unknown, problem: string): void {
  if (typeof value !== 'string' || value === '') throw new TypeError(`${problem}, got ${describe(value)}`)
}
