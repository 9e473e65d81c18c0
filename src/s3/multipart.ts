import type {
  AbortMultipartUploadCommandInput,
  AbortMultipartUploadCommandOutput,
  CompletedPart,
  CompleteMultipartUploadCommandInput,
  CompleteMultipartUploadCommandOutput,
  CreateMultipartUploadCommandInput,
  CreateMultipartUploadCommandOutput,
  UploadPartCommandInput,
  UploadPartCommandOutput,
} from '@aws-sdk/client-s3'
import { equalBytes, wipe } from '../bytes'
import { MAX_GCM_LENGTH, TAG_LENGTH } from '../format/frame'
import { parseS3Metadata, type S3Commitment, type S3Envelope, type S3Metadata } from '../format/s3-metadata'
import { checkBoolean, checkInteger } from '../options'
import { toPartBody } from './body'
import { type Call, type EncryptionInput, s3Sdk } from './call'
import { newContentKey } from './content-key'
import { MultipartUpload, type PartToSend, type StoredPart } from './multipart-upload'
import { checkObjectContext, versionToWrite } from './options'
import { MAX_PART_LENGTH, MAX_PART_NUMBER, partError, tooLong } from './part-geometry'
import { putInstructionFile, refusePlaintextChecksums, sameStorage, withEnvelope } from './put'
import { storeEnvelope } from './seal-object'

export interface UploadPartInput {
  /**
   * Whether no part follows. Need not be said: a part that is shorter than the others is the last, and where all are
   * equal, the tag is added as a part of its own. With `true`, this part can be longer than the others.
   */
  IsLastPart?: boolean | undefined
}

type Create = Call<CreateMultipartUploadCommandInput & EncryptionInput, CreateMultipartUploadCommandOutput>
type UploadPart = Call<UploadPartCommandInput & UploadPartInput & EncryptionInput, UploadPartCommandOutput>
type Complete = Call<CompleteMultipartUploadCommandInput & EncryptionInput, CompleteMultipartUploadCommandOutput>
type Abort = Call<AbortMultipartUploadCommandInput, AbortMultipartUploadCommandOutput>

/** Makes the key of the object; its envelope goes with the metadata, which S3 takes now and not later. */
export async function createMultipartUpload(call: Create): Promise<CreateMultipartUploadCommandOutput> {
  const { EncryptionContext, ...input } = call.input
  const { keyring, commitmentPolicy, encryptionAlgorithm, putInstructionFiles } = call.settings
  refusePlaintextChecksums(input)
  // What Upload of the SDK knows of the whole, it passes on to each of its requests.
  const { ContentLength = 0 } = input as { ContentLength?: number }
  if (ContentLength > MAX_GCM_LENGTH) throw tooLong()
  const version = versionToWrite(commitmentPolicy, encryptionAlgorithm)
  const content = await newContentKey(keyring, version, checkObjectContext(EncryptionContext))
  try {
    const { metadata, instructionFile } = storeEnvelope(content.envelope, putInstructionFiles)
    const output = await call.next({ ...input, Metadata: withEnvelope(input.Metadata, metadata) })
    const { Bucket: bucket = '', Key: key = '' } = input
    const start = { bucket, key, content, envelope: content.envelope, storage: sameStorage(input), instructionFile }
    call.uploads.add(output.UploadId ?? '', new MultipartUpload(start))
    return output
  } catch (error) {
    wipe(content.key)
    throw error
  }
}

/** Seals the part as its bytes come. The SDK, which retries, knows the ciphertext only. */
export async function uploadPart(call: UploadPart): Promise<UploadPartCommandOutput> {
  const { EncryptionContext: _, IsLastPart, ...input } = call.input
  refusePlaintextChecksums(input)
  const number = checkInteger(input.PartNumber, 'PartNumber', 1, MAX_PART_NUMBER)
  if (IsLastPart !== undefined) checkBoolean(IsLastPart, 'IsLastPart')
  const upload = call.uploads.get(input.UploadId)
  return await upload.run(async () => {
    const { Body, ContentLength, ContentMD5: __, PartNumber: ___, ...request } = input
    upload.request = request
    const part = await toPartBody(Body, ContentLength, MAX_PART_LENGTH)
    const body = await upload.seal(number, part, IsLastPart)
    const output = await call.next({ ...input, Body: body, ContentLength: body.length })
    upload.stored({ number, body }, storedPart(number, output), false)
    return output
  })
}

/** Sends what of the object is not there yet, the tag if nothing else, and has S3 put it together. */
export async function completeMultipartUpload(call: Complete): Promise<CompleteMultipartUploadCommandOutput> {
  const { EncryptionContext: _, MpuObjectSize, ...input } = call.input
  refusePlaintextChecksums(input)
  const { UploadId, MultipartUpload: { Parts: given = [] } = {} } = input
  const upload = call.uploads.get(UploadId)
  const { instructionFile } = upload.start
  // The file is written first: where the object then stays as it was, its old key would be gone.
  if (instructionFile && input.IfMatch !== undefined) {
    throw new TypeError('"IfMatch" cannot be kept for an object with an instruction file')
  }
  const output = await upload.run(async () => {
    for (const part of upload.finish(given.map(({ PartNumber }) => PartNumber ?? 0))) await sendPart(call, upload, part)
    if (MpuObjectSize !== undefined && MpuObjectSize !== upload.storedLength - TAG_LENGTH) {
      throw new RangeError(
        `"MpuObjectSize" is ${MpuObjectSize}, but the parts have ${upload.storedLength - TAG_LENGTH} bytes`,
      )
    }
    if (instructionFile && !upload.hasInstructionFile) {
      await putInstructionFile(call, { ...upload.start.storage, ...upload.request, ...input }, instructionFile)
      upload.hasInstructionFile = true
    }
    const Parts = upload.list<CompletedPart>(given) as CompletedPart[]
    const size = MpuObjectSize === undefined ? {} : { MpuObjectSize: upload.storedLength }
    try {
      return await call.next({ ...input, ...size, MultipartUpload: { Parts } })
    } catch (error) {
      return await completedBefore(call, upload, error)
    }
  })
  call.uploads.end(UploadId, 'is complete')
  return output
}

/** Whatever S3 answers: whoever aborts does not go on. */
export async function abortMultipartUpload(call: Abort): Promise<AbortMultipartUploadCommandOutput> {
  call.uploads.end(call.input.UploadId, 'was aborted')
  return await call.next(call.input)
}

export async function uploadPartCopy(): Promise<never> {
  throw partError(
    'the bytes of another object cannot be a part of an encrypted one: it is sealed as a whole, under a key of its own. ' +
      'Read it with GetObject, and upload what you read',
  )
}

async function sendPart(call: Complete, upload: MultipartUpload, part: PartToSend): Promise<void> {
  const { UploadPartCommand } = s3Sdk()
  const { Bucket, Key, UploadId, ExpectedBucketOwner, RequestPayer } = call.input
  const { SSECustomerAlgorithm, SSECustomerKey, SSECustomerKeyMD5 } = call.input
  const given = { SSECustomerAlgorithm, SSECustomerKey, SSECustomerKeyMD5, ExpectedBucketOwner, RequestPayer }
  const output = await call.send(
    new UploadPartCommand({
      ...given,
      ...upload.request,
      Bucket,
      Key,
      UploadId,
      PartNumber: part.number,
      Body: part.body,
    }),
  )
  upload.stored(part, storedPart(part.number, output), true)
}

/** What CompleteMultipartUpload takes: an `ETag`, and the checksums there are. */
function storedPart(number: number, output: UploadPartCommandOutput): StoredPart {
  const checksums = Object.entries(output).filter(
    ([name, value]) => /^Checksum/.test(name) && typeof value === 'string',
  )
  return { ...Object.fromEntries(checksums), ETag: output.ETag, PartNumber: number }
}

/**
 * Where an answer is lost, the SDK asks again, and S3 knows of no such upload any more. Whether the object is there, its
 * metadata say: nobody else has the same.
 */
async function completedBefore(
  call: Complete,
  upload: MultipartUpload,
  error: unknown,
): Promise<CompleteMultipartUploadCommandOutput> {
  const { envelope, instructionFile } = upload.start
  const isTold = envelope.formatVersion === 3 || !instructionFile
  if ((error as Error).name !== 'NoSuchUpload' || !isTold) throw error
  const { HeadObjectCommand } = s3Sdk()
  const { Bucket, Key, ExpectedBucketOwner, RequestPayer } = call.input
  const { SSECustomerAlgorithm, SSECustomerKey, SSECustomerKeyMD5 } = call.input
  const sse = { SSECustomerAlgorithm, SSECustomerKey, SSECustomerKeyMD5 }
  const input = { Bucket, Key, ExpectedBucketOwner, RequestPayer, ...sse }
  const head = await call.send(new HeadObjectCommand(input)).catch(() => undefined)
  if (head?.ContentLength !== upload.storedLength || !isOf(envelope, head.Metadata ?? {})) throw error
  const { $metadata, ETag, VersionId } = head
  return { $metadata, Bucket, Key, ETag, VersionId }
}

function isOf(envelope: S3Envelope, metadata: S3Metadata): boolean {
  const unique = (of: S3Envelope | S3Commitment) => ('messageId' in of ? of.messageId : of.iv)
  try {
    const stored = parseS3Metadata(metadata)
    return stored !== undefined && equalBytes(unique(stored), unique(envelope))
  } catch {
    return false
  }
}
