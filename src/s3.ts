/** The public list of `sealwax/s3`: objects of the Amazon S3 Encryption Client. */
/// <reference types="node" preserve="true" />

export type { EncryptionContext } from './encryption-context'
export { SealwaxError, type SealwaxErrorCode } from './errors'
export { INSTRUCTION_FILE_METADATA, INSTRUCTION_FILE_SUFFIX } from './format/s3-instruction-file'
export type { S3ContentAlgorithm, S3Metadata, S3WrapAlgorithm } from './format/s3-metadata'
export type { DiscoveryFilter } from './keyrings/kms-options'
export { S3KmsKeyring, type S3KmsKeyringInput } from './keyrings/s3-kms'
export { S3MultiKeyring, type S3MultiKeyringInput } from './keyrings/s3-multi'
export { S3RawAesKeyring, type S3RawAesKeyringInput } from './keyrings/s3-raw-aes'
export { S3RawRsaKeyring, type S3RawRsaKeyringInput } from './keyrings/s3-raw-rsa'
export type { S3Keyring, S3UnwrapRequest, S3WrappedDataKey, S3WrapRequest } from './materials/s3-keyring'
export { CommitmentPolicy } from './policies'
export type { EncryptionInput } from './s3/call'
export { S3EncryptionClient } from './s3/client'
export {
  type ClientSideProtection,
  type DescribeObjectInput,
  describeObject,
  type ObjectProtection,
  type ServerSideProtection,
  type ThreatAnswer,
} from './s3/describe'
export { type DownloadObjectInput, type DownloadProgress, downloadObject } from './s3/download'
export type { GetObjectInput } from './s3/get'
export type { UploadPartInput } from './s3/multipart'
export {
  needsInstructionFile,
  type ObjectDescription,
  type OpenedObject,
  type OpenStreamOptions,
  openObject,
  type StoredObject,
} from './s3/open-object'
export type {
  BufferOptions,
  LargeObjects,
  S3DecryptOptions,
  S3EncryptionAlgorithm,
  S3EncryptOptions,
} from './s3/options'
export { type S3Plugin, type S3Sender, s3Encryption } from './s3/plugin'
export { type ResumedUpload, type ResumeOptions, resumeToken, resumeUpload } from './s3/resume'
export {
  type RewrapInstructionFileInput,
  type RewrapObjectInput,
  type RewrapResult,
  rewrapInstructionFile,
  rewrapObject,
} from './s3/rewrap'
export type { RewrapKeys } from './s3/rewrap-key'
export {
  type RewrapObjectsInput,
  type RewrapProgress,
  type RewrapStatus,
  type RewrapSummary,
  rewrapObjects,
} from './s3/rewrap-objects'
export type { RewrapTarget } from './s3/rewrap-session'
export { type SealedObject, type SealObjectOptions, sealObject } from './s3/seal-object'
export {
  type CustomerKey,
  type ServerSideEncryption,
  type ServerSideOptions,
  type ServerSidePlugin,
  serverSideEncryption,
} from './s3/server-side'
export type { S3EncryptionSettings } from './s3/settings'
