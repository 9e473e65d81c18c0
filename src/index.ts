// What is declared here speaks of Buffer and of streams: programs get Node's types along, as with client-node.
/// <reference types="node" preserve="true" />
export {
  frozenClass,
  immutableBaseClass,
  immutableClass,
  type Newable,
  NotSupported,
  needs,
  readOnlyProperty,
} from './class-guards'
export { EncryptedDataKey } from './encrypted-data-key'
export type { EncryptionContext } from './encryption-context'
export { SealwaxError, type SealwaxErrorCode } from './errors'
export type { ContentType, MessageHeader, MessageHeaderV1, MessageHeaderV2 } from './format/message-header'
export {
  BranchKeyStoreNode,
  BranchKeyStoreNode as BranchKeyStore,
  type BranchKeyStoreNodeInput,
  type CreateKeyInput,
  type CreateKeyOutput,
  type DynamoDBTable,
  isIBranchKeyStoreNode,
  type KeyStoreInfoOutput,
  type VersionKeyInput,
} from './keyrings/branch-key-store'
export {
  type Discovery,
  type KMSMultiRegionKey,
  type KMSSingleRegionKey,
  type KmsConfig,
  KmsKeyConfig,
  type MrDiscovery,
  type RegionalKmsConfig,
} from './keyrings/branch-key-store-config'
export type { IBranchKeyStorage, WritableBranchKeyStorage } from './keyrings/branch-key-store-dynamodb'
export type { EncryptedHierarchicalKey } from './keyrings/branch-key-store-record'
export {
  KmsKeyringNode,
  KmsKeyringNode as KmsKeyring,
  type KmsKeyringNodeInput,
} from './keyrings/kms'
export {
  cacheClients,
  cacheKmsClients,
  excludeRegions,
  getClient,
  getKmsClient,
  KMS,
  type KMSNodeConstructible,
  type KmsAnswer,
  type KmsCallOptions,
  type KmsClient,
  type KmsClientSupplier,
  type KmsConstructible,
  type KmsNodeClientSupplier,
  type KmsReply,
  type KmsRequest,
  limitRegions,
} from './keyrings/kms-clients'
export {
  type BranchKeyIdSupplier,
  type IKmsHierarchicalKeyRingNode,
  KmsHierarchicalKeyRingNode,
  KmsHierarchicalKeyRingNode as KmsHierarchicalKeyring,
  type KmsHierarchicalKeyRingNodeInput,
} from './keyrings/kms-hierarchical'
export {
  AwsKmsMrkAwareSymmetricDiscoveryKeyringNode,
  AwsKmsMrkAwareSymmetricDiscoveryKeyringNode as AwsKmsMrkAwareSymmetricDiscoveryKeyring,
  type AwsKmsMrkAwareSymmetricDiscoveryKeyringNodeInput,
  AwsKmsMrkAwareSymmetricKeyringNode,
  AwsKmsMrkAwareSymmetricKeyringNode as AwsKmsMrkAwareSymmetricKeyring,
  type AwsKmsMrkAwareSymmetricKeyringNodeInput,
} from './keyrings/kms-mrk'
export {
  type AwsKmsMrkAwareDiscoveryMultiKeyringNodeInput,
  type AwsKmsMrkAwareStrictMultiKeyringNodeInput,
  buildAwsKmsMrkAwareDiscoveryMultiKeyringNode,
  buildAwsKmsMrkAwareDiscoveryMultiKeyringNode as buildAwsKmsMrkAwareDiscoveryMultiKeyring,
  buildAwsKmsMrkAwareStrictMultiKeyringNode,
  buildAwsKmsMrkAwareStrictMultiKeyringNode as buildAwsKmsMrkAwareStrictMultiKeyring,
} from './keyrings/kms-mrk-multi'
export type { DiscoveryFilter } from './keyrings/kms-options'
export { MultiKeyringNode, MultiKeyringNode as MultiKeyring, type MultiKeyringNodeInput } from './keyrings/multi'
export {
  RawAesKeyringNode,
  RawAesKeyringNode as RawAesKeyring,
  type RawAesKeyringNodeInput,
  RawAesWrappingSuiteIdentifier,
  type WrappingSuiteIdentifier,
} from './keyrings/raw-aes'
export {
  type OaepHash,
  oaepHashSupported,
  RawRsaKeyringNode,
  RawRsaKeyringNode as RawRsaKeyring,
  type RawRsaKeyringNodeInput,
} from './keyrings/raw-rsa'
export type { NodeBranchKeyMaterial } from './materials/branch-key-material'
export {
  type CachingMaterialsManagerInput,
  NodeCachingMaterialsManager,
  NodeCachingMaterialsManager as CachingMaterialsManager,
} from './materials/caching-cmm'
export {
  type NodeDecryptionRequest,
  NodeDefaultCryptographicMaterialsManager,
  NodeDefaultCryptographicMaterialsManager as DefaultMaterialsManager,
  type NodeEncryptionRequest,
  type NodeGetDecryptMaterials,
  type NodeGetEncryptionMaterials,
  type NodeMaterialsManager,
  type NodeMaterialsManager as MaterialsManager,
} from './materials/cmm'
export { KeyringNode, KeyringNode as Keyring } from './materials/keyring'
export {
  type AwsEsdkJsCipherGCM,
  type AwsEsdkJsDecipherGCM,
  type GetCipher,
  type GetDecipher,
  type GetSigner,
  type GetVerify,
  getDecryptionHelper,
  getEncryptHelper,
  type NodeDecryptionMaterialHelper,
  type NodeEncryptionMaterialHelper,
} from './materials/material-helpers'
export {
  type AwsEsdkKeyObject,
  type KeyringTrace,
  KeyringTraceFlag,
  NodeDecryptionMaterial,
  NodeDecryptionMaterial as DecryptionMaterials,
  NodeEncryptionMaterial,
  NodeEncryptionMaterial as EncryptionMaterials,
  unwrapDataKey,
} from './materials/materials'
export {
  type BranchKeyMaterialEntry,
  type CryptographicMaterialsCache,
  type DecryptionMaterialEntry,
  type EncryptionMaterialEntry,
  getLocalCryptographicMaterialsCache,
} from './materials/materials-cache'
export { RequiredEncryptionContextCmm, type RequiredEncryptionContextCmmInput } from './materials/required-context-cmm'
export type { SignatureKey, VerificationKey } from './materials/signature'
export {
  buildClient,
  buildDecrypt,
  buildEncrypt,
  type ClientOptions,
  type DecryptClient,
  type EncryptClient,
} from './message/client'
export type { DecryptInput, DecryptOutput } from './message/decrypt'
export type { EncryptInput, EncryptOutput } from './message/encrypt'
export type { DecryptManyInput, EncryptManyInput } from './message/many'
export { type BodyOutline, type MessageOutline, outlineMessage } from './message/outline'
export type { OutputMemory } from './message/output'
export type {
  FileHandleLike,
  OpenedMessage,
  OpenMessageInput,
  RandomAccessSource,
  RangeReader,
} from './message/random-access'
export type { MessageSource } from './message/source'
export type { DecryptStreamInput, EncryptStreamInput } from './message/streams'
export {
  CommitmentPolicy,
  CommitmentPolicySuites,
  getCompatibleCommitmentPolicy,
  SignaturePolicy,
  SignaturePolicySuites,
} from './policies'
export {
  AlgorithmSuiteIdentifier,
  MessageFormat,
  NodeAlgorithmSuite,
  NodeAlgorithmSuite as AlgorithmSuite,
} from './suites'
