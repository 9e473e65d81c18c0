import * as peer from '@aws-crypto/client-node'
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms'
import { BranchKeyStoreNode, type BranchKeyStoreNodeInput, type KmsConfig } from '../../src/index'
import { type LocalKms, startLocalKms } from '../../src/local-kms'
import { LocalDynamoDB } from './dynamodb'

export const TABLE = 'branch-keys'
export const LOGICAL_NAME = 'logical name ü'

/** A KMS with a key of one Region, one of several, and a table of branch keys: everything on loopback. */
export class BranchKeyWorld {
  readonly kms: LocalKms
  readonly dynamodb: LocalDynamoDB
  readonly kmsClient: KMSClient
  /** Of a key in us-east-1. */
  keyArn = ''
  /** Of a multi-Region key, the one in us-east-1. */
  multiRegionArn = ''
  /** How many requests of each operation KMS got from {@link kmsClient}. */
  readonly kmsCalls = new Map<string, number>()

  static async start(): Promise<BranchKeyWorld> {
    const world = new BranchKeyWorld(await startLocalKms(), await LocalDynamoDB.start(TABLE))
    world.keyArn = await world.#createKey(false)
    world.multiRegionArn = await world.#createKey(true)
    world.kmsCalls.clear()
    return world
  }

  private constructor(kms: LocalKms, dynamodb: LocalDynamoDB) {
    this.kms = kms
    this.dynamodb = dynamodb
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' }
    this.kmsClient = new KMSClient({ endpoint: kms.endpoint, region: 'us-east-1', credentials, maxAttempts: 1 })
    this.kmsClient.middlewareStack.add((next, { commandName }) => {
      this.kmsCalls.set(commandName!, (this.kmsCalls.get(commandName!) ?? 0) + 1)
      return next
    })
  }

  async close(): Promise<void> {
    this.kmsClient.destroy()
    await Promise.all([this.kms.close(), this.dynamodb.close()])
  }

  store(change: Partial<BranchKeyStoreNodeInput> = {}): BranchKeyStoreNode {
    return new BranchKeyStoreNode({ ...this.#storeInput(), ...change })
  }

  /** The same of client-node. */
  peerStore(kmsConfiguration?: KmsConfig): peer.BranchKeyStoreNode {
    const input = { ...this.#storeInput(), ...(kmsConfiguration && { kmsConfiguration }) }
    return new peer.BranchKeyStoreNode(input)
  }

  #storeInput() {
    return {
      logicalKeyStoreName: LOGICAL_NAME,
      storage: { ddbTableName: TABLE, ddbClient: this.dynamodb.client },
      keyManagement: { kmsClient: this.kmsClient },
      kmsConfiguration: { identifier: this.keyArn },
    }
  }

  async #createKey(MultiRegion: boolean): Promise<string> {
    const { KeyMetadata } = await this.kmsClient.send(new CreateKeyCommand({ MultiRegion }))
    return KeyMetadata!.Arn!
  }
}
