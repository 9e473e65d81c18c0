import type { AttributeValue, DynamoDBClient, TransactWriteItem } from '@aws-sdk/client-dynamodb'
import type { EncryptionContext } from '../encryption-context'
import { checkString, describe } from '../options'
import { ACTIVE, type EncryptedHierarchicalKey, FIELD, VERSION_PREFIX } from './branch-key-store-record'
import { callClient, keyServiceError } from './kms-calls'

/** Where wrapped branch keys are kept. What it gives is checked; it need not be trusted with anything but to be there. */
export interface IBranchKeyStorage {
  getEncryptedActiveBranchKey(branchKeyId: string): Promise<EncryptedHierarchicalKey>
  getEncryptedBranchKeyVersion(branchKeyId: string, branchKeyVersion: string): Promise<EncryptedHierarchicalKey>
  getKeyStorageInfo(): { name: string; logicalName: string }
}

/** A storage that can write too. */
export interface WritableBranchKeyStorage extends IBranchKeyStorage {
  /** Writes all records of a new branch key, or none. Must fail where there is one of that ID. */
  writeNewBranchKey(records: readonly EncryptedHierarchicalKey[]): Promise<void>
  /** Writes a new version and makes it the active one, or neither. Must fail unless `oldActive` still is. */
  writeNewVersion(
    version: EncryptedHierarchicalKey,
    active: EncryptedHierarchicalKey,
    oldActive: EncryptedHierarchicalKey,
  ): Promise<void>
}

/**
 * Branch keys in a DynamoDB table (framework/key-store/dynamodb-key-storage.md) whose partition key is `branch-key-id` and
 * whose sort key is `type`, both strings. Each name of the encryption context is an attribute, except the logical key
 * store name, which is not stored; `enc` is the ciphertext.
 */
export class DynamoDBKeyStorage implements WritableBranchKeyStorage {
  readonly ddbTableName: string
  readonly logicalKeyStoreName: string
  readonly #client: () => DynamoDBClient

  /** Without a client, one for `region` is made when it is first needed. */
  constructor(
    ddbTableName: string,
    logicalKeyStoreName: string,
    client: DynamoDBClient | undefined,
    region: string | undefined,
  ) {
    this.ddbTableName = checkString(ddbTableName, 'ddbTableName')
    this.logicalKeyStoreName = logicalKeyStoreName
    if (client !== undefined && typeof client?.send !== 'function') {
      throw new TypeError(`DDB client must be a DynamoDBClient, got ${describe(client)}`)
    }
    let made = client
    this.#client = () => {
      made ??= new (dynamoDBSdk().DynamoDBClient)(region === undefined ? {} : { region })
      return made
    }
    Object.freeze(this)
  }

  get ddbClient(): DynamoDBClient {
    return this.#client()
  }

  getKeyStorageInfo(): { name: string; logicalName: string } {
    return { name: this.ddbTableName, logicalName: this.logicalKeyStoreName }
  }

  async getEncryptedActiveBranchKey(branchKeyId: string): Promise<EncryptedHierarchicalKey> {
    return await this.#get(branchKeyId, ACTIVE)
  }

  async getEncryptedBranchKeyVersion(branchKeyId: string, branchKeyVersion: string): Promise<EncryptedHierarchicalKey> {
    return await this.#get(branchKeyId, `${VERSION_PREFIX}${branchKeyVersion}`)
  }

  async writeNewBranchKey(records: readonly EncryptedHierarchicalKey[]): Promise<void> {
    await this.#write(records.map((record) => this.#put(record)))
  }

  async writeNewVersion(
    version: EncryptedHierarchicalKey,
    active: EncryptedHierarchicalKey,
    oldActive: EncryptedHierarchicalKey,
  ): Promise<void> {
    const { Put } = this.#put(active)
    const replaceActive = {
      Put: {
        ...Put,
        ConditionExpression: 'attribute_exists(#bkid) AND #enc = :encOld',
        ExpressionAttributeNames: { '#bkid': FIELD.id, '#enc': FIELD.ciphertext },
        ExpressionAttributeValues: { ':encOld': { B: oldActive.ciphertextBlob } },
      },
    }
    await this.#write([this.#put(version), replaceActive])
  }

  async #get(branchKeyId: string, type: string): Promise<EncryptedHierarchicalKey> {
    const { ddbTableName: TableName, ddbClient } = this
    const Key = { [FIELD.id]: { S: branchKeyId }, [FIELD.type]: { S: type } }
    const { Item } = await callClient(
      `DynamoDB GetItem in table ${TableName}`,
      () => ddbClient,
      (client, options) => client.send(new (dynamoDBSdk().GetItemCommand)({ TableName, Key }), options),
    )
    if (Item) return this.#toKey(Item)
    throw keyServiceError(
      `A branch key record with ${FIELD.id}=${branchKeyId} and ${FIELD.type}=${type} was not found in the DynamoDB table ${TableName}.`,
    )
  }

  async #write(TransactItems: TransactWriteItem[]): Promise<void> {
    const { ddbTableName, ddbClient } = this
    await callClient(
      `DynamoDB TransactWriteItems in table ${ddbTableName}`,
      () => ddbClient,
      (client, options) => client.send(new (dynamoDBSdk().TransactWriteItemsCommand)({ TransactItems }), options),
    )
  }

  #put({ encryptionContext, ciphertextBlob }: EncryptedHierarchicalKey) {
    const { [FIELD.tableName]: _, [FIELD.hierarchyVersion]: N, ...rest } = encryptionContext
    const Item: Record<string, AttributeValue> = {}
    for (const [name, S] of Object.entries(rest)) Item[name] = { S }
    Item[FIELD.hierarchyVersion] = { N: N! }
    Item[FIELD.ciphertext] = { B: ciphertextBlob }
    return {
      Put: {
        TableName: this.ddbTableName,
        Item,
        ConditionExpression: 'attribute_not_exists(#bkid)',
        ExpressionAttributeNames: { '#bkid': FIELD.id },
      },
    }
  }

  #toKey({ [FIELD.ciphertext]: enc, ...rest }: Record<string, AttributeValue>): EncryptedHierarchicalKey {
    const encryptionContext: EncryptionContext = {}
    for (const [name, { S, N }] of Object.entries(rest)) {
      const text = S ?? N
      if (text === undefined) throw keyServiceError(`attribute "${name}" of a branch key record is no string or number`)
      encryptionContext[name] = text
    }
    encryptionContext[FIELD.tableName] = this.logicalKeyStoreName
    if (!enc?.B) throw keyServiceError(`Branch keystore record does not contain ${FIELD.ciphertext} as bytes`)
    return { encryptionContext, ciphertextBlob: enc.B }
  }
}

/** The one place that loads the SDK's DynamoDB client, when it is first used. */
function dynamoDBSdk(): typeof import('@aws-sdk/client-dynamodb') {
  return require('@aws-sdk/client-dynamodb') as typeof import('@aws-sdk/client-dynamodb')
}
