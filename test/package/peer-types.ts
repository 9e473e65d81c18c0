/**
 * Programs with the types of `@aws-crypto/client-node`. types.test.ts compiles this file with that library, and with this
 * one in its place under every module resolution.
 */
import { createReadStream } from 'node:fs'
import type { Duplex } from 'node:stream'
import {
  AlgorithmSuiteIdentifier,
  type AwsEsdkJsCipherGCM,
  type AwsEsdkJsDecipherGCM,
  type AwsEsdkKeyObject,
  type AwsKmsMrkAwareDiscoveryMultiKeyringNodeInput,
  type AwsKmsMrkAwareStrictMultiKeyringNodeInput,
  AwsKmsMrkAwareSymmetricDiscoveryKeyringNode,
  type AwsKmsMrkAwareSymmetricDiscoveryKeyringNodeInput,
  AwsKmsMrkAwareSymmetricKeyringNode,
  type AwsKmsMrkAwareSymmetricKeyringNodeInput,
  type BranchKeyIdSupplier,
  BranchKeyStoreNode,
  buildAwsKmsMrkAwareDiscoveryMultiKeyringNode,
  buildAwsKmsMrkAwareStrictMultiKeyringNode,
  buildClient,
  buildDecrypt,
  buildEncrypt,
  type ClientOptions,
  CommitmentPolicy,
  type CreateKeyInput,
  type CreateKeyOutput,
  cacheClients,
  type DecryptOutput,
  type Discovery,
  EncryptedDataKey,
  type EncryptionContext,
  excludeRegions,
  type GetCipher,
  type GetDecipher,
  type GetSigner,
  type GetVerify,
  getClient,
  getDecryptionHelper,
  getEncryptHelper,
  getKmsClient,
  getLocalCryptographicMaterialsCache,
  type IKmsHierarchicalKeyRingNode,
  KeyringNode,
  type KeyringTrace,
  KeyringTraceFlag,
  type KeyStoreInfoOutput,
  KMS,
  type KMSMultiRegionKey,
  type KMSNodeConstructible,
  type KMSSingleRegionKey,
  type KmsConfig,
  KmsHierarchicalKeyRingNode,
  type KmsHierarchicalKeyRingNodeInput,
  KmsKeyConfig,
  KmsKeyringNode,
  type KmsKeyringNodeInput,
  type KmsNodeClientSupplier,
  limitRegions,
  MessageFormat,
  type MessageHeader,
  type MrDiscovery,
  MultiKeyringNode,
  type Newable,
  NodeAlgorithmSuite,
  NodeCachingMaterialsManager,
  type NodeDecryptionMaterial,
  type NodeDecryptionRequest,
  NodeDefaultCryptographicMaterialsManager,
  type NodeEncryptionMaterial,
  type NodeEncryptionRequest,
  type NodeGetDecryptMaterials,
  type NodeGetEncryptionMaterials,
  type NodeMaterialsManager,
  needs,
  type OaepHash,
  RawAesKeyringNode,
  type RawAesKeyringNodeInput,
  RawAesWrappingSuiteIdentifier,
  RawRsaKeyringNode,
  type RawRsaKeyringNodeInput,
  type RegionalKmsConfig,
  unwrapDataKey,
  type VersionKeyInput,
  type WrappingSuiteIdentifier,
} from '@aws-crypto/client-node'

/** The names that are types only, so that none can go unused. */
export type Names = [
  ...[AwsEsdkJsCipherGCM, AwsEsdkJsDecipherGCM, AwsEsdkKeyObject, GetCipher, GetDecipher, GetSigner, GetVerify],
  ...[AwsKmsMrkAwareDiscoveryMultiKeyringNodeInput, AwsKmsMrkAwareStrictMultiKeyringNodeInput],
  ...[AwsKmsMrkAwareSymmetricDiscoveryKeyringNodeInput, AwsKmsMrkAwareSymmetricKeyringNodeInput],
  ...[CreateKeyInput, CreateKeyOutput, Discovery, IKmsHierarchicalKeyRingNode, KeyStoreInfoOutput, VersionKeyInput],
  ...[KMSMultiRegionKey, KMSNodeConstructible, KMSSingleRegionKey, MrDiscovery, RegionalKmsConfig, Newable<Date>],
  ...[NodeGetDecryptMaterials, NodeGetEncryptionMaterials, KeyringTrace],
]

export const options: ClientOptions = {
  commitmentPolicy: CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT,
  maxEncryptedDataKeys: 3,
}
const { encrypt, encryptStream, decrypt, decryptStream, decryptUnsignedMessageStream } = buildClient(options)

export async function roundTrip(keyring: KeyringNode | NodeMaterialsManager): Promise<string> {
  const context: EncryptionContext = { purpose: 'test' }
  const { result, messageHeader } = await encrypt(keyring, 'plaintext', {
    suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
    encryptionContext: context,
    frameLength: 1024,
    plaintextLength: 9,
    encoding: 'utf8',
  })
  const header: MessageHeader = messageHeader
  const length: number = header.version === 2 ? header.suiteData.length : header.headerIvLength
  const output: DecryptOutput = await decrypt(keyring, result.toString('base64'), {
    encoding: 'base64',
    maxBodySize: 9,
  })
  for (const [key, value] of Object.entries(context)) {
    if (output.messageHeader.encryptionContext[key] !== value) throw new Error('Encryption Context does not match')
  }
  await encrypt(keyring, createReadStream(__filename))
  await decrypt(keyring, new Uint8Array(result))
  return output.plaintext.toString('utf8', 0, length)
}

export function streams(keyring: KeyringNode): Duplex {
  const sealing: Duplex = encryptStream(keyring, { encryptionContext: {}, frameLength: 10 })
  sealing.once('MessageHeader', (header: MessageHeader) => header.messageId.length)
  decryptUnsignedMessageStream(keyring)
  return sealing.pipe(decryptStream(keyring, { maxBodySize: 100 }))
}

export const halves = [
  buildEncrypt(CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT),
  buildDecrypt(options),
  buildClient(),
]

export class OwnKeyring extends KeyringNode {
  readonly name: string
  constructor(name: string) {
    super()
    this.name = name
  }
  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    needs(material.suite.keyLengthBytes === 32, 'another suite')
    const trace: KeyringTrace = {
      keyNamespace: 'own',
      keyName: this.name,
      flags: KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY,
    }
    material.setUnencryptedDataKey(new Uint8Array(32), trace)
    const encryptedDataKey = unwrapDataKey(material.getUnencryptedDataKey())
    const edk = new EncryptedDataKey({ providerId: 'own', providerInfo: this.name, encryptedDataKey })
    return material.addEncryptedDataKey(
      edk,
      KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_SIGNED_ENC_CTX,
    )
  }
  async _onDecrypt(
    material: NodeDecryptionMaterial,
    encryptedDataKeys: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const edk = encryptedDataKeys.find(({ providerId }) => providerId === 'own')
    if (!edk || material.hasValidKey()) return material
    const flags = KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY
    return material.setUnencryptedDataKey(edk.encryptedDataKey, { keyNamespace: 'own', keyName: this.name, flags })
  }
}

export class OwnManager implements NodeMaterialsManager {
  readonly #inner = new NodeDefaultCryptographicMaterialsManager(new OwnKeyring('managed'))
  getEncryptionMaterials = async (request: NodeEncryptionRequest): Promise<NodeEncryptionMaterial> =>
    await this.#inner.getEncryptionMaterials({
      ...request,
      encryptionContext: { ...request.encryptionContext, a: 'b' },
    })
  decryptMaterials = async (request: NodeDecryptionRequest): Promise<NodeDecryptionMaterial> => {
    const { suite, encryptionContext, encryptedDataKeys } = request
    return await this.#inner.decryptMaterials({
      suite,
      encryptionContext,
      encryptedDataKeys: encryptedDataKeys.slice(),
    })
  }
}

const keyId = 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'
const supplier: KmsNodeClientSupplier = limitRegions(['us-east-1'], excludeRegions(['eu-west-1'], getKmsClient))
const kmsInput: KmsKeyringNodeInput = { generatorKeyId: keyId, keyIds: [keyId], clientProvider: supplier }
const aesInput: RawAesKeyringNodeInput = {
  keyName: 'aes-name',
  keyNamespace: 'aes-namespace',
  unencryptedMasterKey: new Uint8Array(32).fill(1),
  wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  utf8Sorting: true,
}
export const suite: WrappingSuiteIdentifier = RawAesWrappingSuiteIdentifier.AES128_GCM_IV12_TAG16_NO_PADDING
export const oaepHash: OaepHash = 'sha512'

export function keyrings(rsa: { publicKey: string; privateKey: Buffer }): KeyringNode[] {
  const rsaInput: RawRsaKeyringNodeInput = { keyName: 'rsa', keyNamespace: 'n', rsaKey: rsa, oaepHash }
  const kms = new KmsKeyringNode(kmsInput)
  const discoveryFilter = { accountIDs: ['111122223333'], partition: 'aws' }
  const clientProvider = cacheClients(getClient(KMS, { maxAttempts: 2 }))
  const client: KMS = new KMS({ region: 'us-east-1' })
  const raw = new RawAesKeyringNode(aesInput)
  return [
    kms,
    raw,
    new KmsKeyringNode({ discovery: true, discoveryFilter, clientProvider, grantTokens: ['grant'] }),
    new RawRsaKeyringNode(rsaInput),
    new MultiKeyringNode({ generator: kms, children: [raw] }),
    buildAwsKmsMrkAwareStrictMultiKeyringNode({ generatorKeyId: keyId, clientProvider }),
    buildAwsKmsMrkAwareDiscoveryMultiKeyringNode({ regions: ['us-east-1'], discoveryFilter, clientProvider }),
    new AwsKmsMrkAwareSymmetricKeyringNode({ client, keyId }),
    new AwsKmsMrkAwareSymmetricDiscoveryKeyringNode({ client, discoveryFilter }),
  ]
}

export const caching = (backingMaterials: KeyringNode): NodeMaterialsManager =>
  new NodeCachingMaterialsManager({
    backingMaterials,
    cache: getLocalCryptographicMaterialsCache<NodeAlgorithmSuite>(100, 1000),
    maxAge: 60_000,
    maxBytesEncrypted: 1e6,
    maxMessagesEncrypted: 10,
    partition: 'partition',
  })

export async function hierarchical(): Promise<KeyringNode> {
  const config: KmsConfig = { identifier: keyId }
  const keyStore = new BranchKeyStoreNode({
    logicalKeyStoreName: 'branch-keys',
    storage: { ddbTableName: 'branch-keys' },
    kmsConfiguration: config,
    keyManagement: { grantTokens: [] },
  })
  const { branchKeyIdentifier }: CreateKeyOutput = await keyStore.createKey({ encryptionContext: { tenant: 'a' } })
  await keyStore.versionKey({ branchKeyIdentifier })
  const compatible: boolean = new KmsKeyConfig(config).isCompatibleWithArn(keyId)
  const branchKeyIdSupplier: BranchKeyIdSupplier = {
    getBranchKeyId: (context: EncryptionContext) => (context.tenant && compatible ? branchKeyIdentifier : ''),
  }
  const input: KmsHierarchicalKeyRingNodeInput = { branchKeyIdSupplier, keyStore, cacheLimitTtl: 600, maxCacheSize: 10 }
  return new KmsHierarchicalKeyRingNode(input)
}

export function parts(
  sealing: NodeEncryptionMaterial,
  opening: NodeDecryptionMaterial,
  messageId: Uint8Array,
): boolean {
  const { getCipherInfo, getSigner, dispose } = getEncryptHelper(sealing)
  const { getCipher, keyCommitment } = getCipherInfo(messageId)
  const cipher: AwsEsdkJsCipherGCM = getCipher(new Uint8Array(12))
  const sealed = Buffer.concat([cipher.setAAD(Buffer.from('aad')).update(Buffer.from('part')), cipher.final()])
  const helper = getDecryptionHelper(opening)
  const decipher: AwsEsdkJsDecipherGCM = helper.getDecipherInfo(messageId, keyCommitment)(new Uint8Array(12))
  decipher.setAuthTag(cipher.getAuthTag()).update(sealed)
  const signature = getSigner?.().awsCryptoSign()
  dispose()
  const id: AlgorithmSuiteIdentifier = new NodeAlgorithmSuite(0x0578).id
  return id === 0x0578 && signature !== undefined && helper.getVerify?.().awsCryptoVerify(signature) === true
}

export function byName({ name }: NodeAlgorithmSuite): AlgorithmSuiteIdentifier {
  const same: keyof typeof AlgorithmSuiteIdentifier = name
  return AlgorithmSuiteIdentifier[same]
}

export const format: MessageFormat.V1 = MessageFormat.V1

export function made<T>(type: Newable<T>, name: string): T {
  return new type(name, 5)
}
