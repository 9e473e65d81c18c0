import type { PutObjectCommandInput, PutObjectCommandOutput } from '@aws-sdk/client-s3'
import { INSTRUCTION_FILE_METADATA, INSTRUCTION_FILE_SUFFIX } from '../format/s3-instruction-file'
import { checkMetadataLength, isS3EncryptionField } from '../format/s3-metadata'
import { readBody } from './body'
import { type Call, type EncryptionInput, s3Sdk } from './call'
import { sealObject } from './seal-object'

/** Everything is encrypted before the SDK sees it: its checksums, its retries and its log know the ciphertext only. */
export async function putObject(
  call: Call<PutObjectCommandInput & EncryptionInput, PutObjectCommandOutput>,
): Promise<PutObjectCommandOutput> {
  const { EncryptionContext, ...input } = call.input
  const { commitmentPolicy, encryptionAlgorithm, putInstructionFiles, keyring } = call.settings
  refusePlaintextChecksums(input)
  // The file is written first: where the object then stays as it was, its old key would be gone.
  if (putInstructionFiles && input.IfMatch !== undefined) {
    throw new TypeError('"IfMatch" cannot be kept for an object with an instruction file')
  }
  const plaintext = await readBody(input.Body, Number.MAX_SAFE_INTEGER)
  if (input.ContentLength !== undefined && input.ContentLength !== plaintext.length) {
    throw new RangeError(`"ContentLength" is ${input.ContentLength}, but "Body" has ${plaintext.length} bytes`)
  }
  const sealed = await sealObject(plaintext, keyring, {
    commitmentPolicy,
    encryptionAlgorithm,
    encryptionContext: EncryptionContext,
    instructionFile: putInstructionFiles,
  })
  // An object that was read and is written again may bring the envelope of its old ciphertext along.
  const own = Object.entries(input.Metadata ?? {}).filter(([name]) => !isS3EncryptionField(name))
  const Metadata = { ...Object.fromEntries(own), ...sealed.metadata }
  checkMetadataLength(Metadata)
  if (sealed.instructionFile) {
    const { PutObjectCommand } = s3Sdk()
    await call.send(
      new PutObjectCommand({
        ...sameStorage(input),
        Key: `${input.Key}${INSTRUCTION_FILE_SUFFIX}`,
        Body: sealed.instructionFile,
        Metadata: { ...INSTRUCTION_FILE_METADATA },
      }),
    )
  }
  return await call.next({ ...input, Body: sealed.body, ContentLength: sealed.body.length, Metadata })
}

/** A checksum that the caller made is of the plaintext: it would not fit, and it would tell what is encrypted. */
function refusePlaintextChecksums(input: PutObjectCommandInput): void {
  const given = Object.keys(input).find(
    (name) =>
      (name === 'ContentMD5' || /^Checksum(?!Algorithm$)/.test(name)) && input[name as 'ContentMD5'] !== undefined,
  )
  if (given) throw new TypeError(`"${given}" describes the plaintext, which is not what is stored: leave it out`)
}

/** Where and how the object is stored, for its instruction file. */
function sameStorage(input: PutObjectCommandInput): PutObjectCommandInput {
  return Object.fromEntries(STORAGE_FIELDS.map((name) => [name, input[name]])) as unknown as PutObjectCommandInput
}

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
