import type { PutObjectCommandInput, PutObjectCommandOutput } from '@aws-sdk/client-s3'
import { SealwaxError } from '../errors'
import { TAG_LENGTH } from '../format/frame'
import { INSTRUCTION_FILE_METADATA, INSTRUCTION_FILE_SUFFIX } from '../format/s3-instruction-file'
import { checkMetadataLength, isS3EncryptionField, type S3Metadata } from '../format/s3-metadata'
import { readBody } from './body'
import { type Call, type EncryptionInput, s3Sdk } from './call'
import { MAX_PART_LENGTH } from './part-geometry'
import { sealObject } from './seal-object'

/** Everything is encrypted before the SDK sees it: its checksums, its retries and its log know the ciphertext only. */
export async function putObject(
  call: Call<PutObjectCommandInput & EncryptionInput, PutObjectCommandOutput>,
): Promise<PutObjectCommandOutput> {
  const { EncryptionContext, ...input } = call.input
  const { commitmentPolicy, encryptionAlgorithm, putInstructionFiles, keyring } = call.settings
  refusePlaintextChecksums(input)
  if (input.WriteOffsetBytes !== undefined) {
    throw new TypeError('"WriteOffsetBytes" appends to an object, and an encrypted one is sealed as a whole')
  }
  // The file is written first: where the object then stays as it was, its old key would be gone.
  if (putInstructionFiles && input.IfMatch !== undefined) {
    throw new TypeError('"IfMatch" cannot be kept for an object with an instruction file')
  }
  if ((input.ContentLength ?? 0) > MAX_PUT_LENGTH) throw tooLongToPut(MAX_PUT_LENGTH)
  const plaintext = await readBody(input.Body, MAX_PUT_LENGTH, tooLongToPut)
  if (input.ContentLength !== undefined && input.ContentLength !== plaintext.length) {
    throw new RangeError(`"ContentLength" is ${input.ContentLength}, but "Body" has ${plaintext.length} bytes`)
  }
  const sealed = await sealObject(plaintext, keyring, {
    commitmentPolicy,
    encryptionAlgorithm,
    encryptionContext: EncryptionContext,
    instructionFile: putInstructionFiles,
  })
  const Metadata = withEnvelope(input.Metadata, sealed.metadata)
  if (sealed.instructionFile) await putInstructionFile(call, input, sealed.instructionFile)
  try {
    return await call.next({ ...input, Body: sealed.body, ContentLength: sealed.body.length, Metadata })
  } catch (error) {
    if (sealed.instructionFile && input.IfNoneMatch !== undefined && isRefused(error)) await deleteFile(call, input)
    throw error
  }
}

/** Whether the store said at the first attempt that it stores nothing. After a second one, the first may have succeeded. */
function isRefused(error: unknown): boolean {
  const { attempts, httpStatusCode = 0 } = (error as { $metadata?: ResponseMetadata } | undefined)?.$metadata ?? {}
  return attempts === 1 && httpStatusCode >= 400 && httpStatusCode < 500
}

/** A file that was there for a new object only must not stay without it: the name could not be written again. */
async function deleteFile({ send }: Pick<Call<never, never>, 'send'>, input: PutObjectCommandInput): Promise<void> {
  const { DeleteObjectCommand } = s3Sdk()
  const { Bucket, ExpectedBucketOwner, RequestPayer } = input
  const Key = `${input.Key}${INSTRUCTION_FILE_SUFFIX}`
  // What the caller is to hear is why the object was refused.
  await send(new DeleteObjectCommand({ Bucket, Key, ExpectedBucketOwner, RequestPayer })).catch(() => {})
}

type ResponseMetadata = PutObjectCommandOutput['$metadata']

/** The caller's metadata and ours. Throws `ERR_LIMIT_EXCEEDED` where S3 would not take so much. */
export function withEnvelope(metadata: S3Metadata = {}, envelope: S3Metadata): Record<string, string> {
  // An object that was read and is written again may bring the envelope of its old ciphertext along.
  const own = Object.entries(metadata).filter(([name]) => !isS3EncryptionField(name))
  const all = { ...Object.fromEntries(own), ...envelope }
  checkMetadataLength(all)
  return all
}

/** Stores the instruction file of the object that `input` is for. */
export async function putInstructionFile(
  { send }: Pick<Call<never, never>, 'send'>,
  input: PutObjectCommandInput,
  file: Uint8Array,
): Promise<void> {
  const { PutObjectCommand } = s3Sdk()
  const Key = `${input.Key}${INSTRUCTION_FILE_SUFFIX}`
  await send(
    new PutObjectCommand({ ...sameStorage(input), Key, Body: file, Metadata: { ...INSTRUCTION_FILE_METADATA } }),
  )
}

/** A checksum that the caller made is of the plaintext: it would not fit, and it would tell what is encrypted. */
export function refusePlaintextChecksums(input: object): void {
  const given = Object.entries(input).find(
    ([name, value]) => /^(?:ContentMD5$|Checksum(?!(?:Algorithm|Type)$))/.test(name) && value !== undefined,
  )?.[0]
  if (given) throw new TypeError(`"${given}" describes the plaintext, which is not what is stored: leave it out`)
}

/** Where and how the object is stored, for its instruction file. */
export function sameStorage(input: PutObjectCommandInput): PutObjectCommandInput {
  return Object.fromEntries(STORAGE_FIELDS.map((name) => [name, input[name]])) as unknown as PutObjectCommandInput
}

function tooLongToPut(limit: number): SealwaxError {
  return new SealwaxError(
    'ERR_LIMIT_EXCEEDED',
    `PutObject takes at most ${limit} bytes of plaintext: send more in parts, as Upload of @aws-sdk/lib-storage does`,
  )
}

const MAX_PUT_LENGTH = MAX_PART_LENGTH - TAG_LENGTH

const STORAGE_FIELDS = [
  'Bucket',
  'ExpectedBucketOwner',
  'RequestPayer',
  'IfNoneMatch',
  'ServerSideEncryption',
  'SSEKMSKeyId',
  'SSEKMSEncryptionContext',
  'BucketKeyEnabled',
  'SSECustomerAlgorithm',
  'SSECustomerKey',
  'SSECustomerKeyMD5',
] as const
