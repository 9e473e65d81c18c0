import type {
  AbortMultipartUploadCommandInput,
  AbortMultipartUploadCommandOutput,
  CompletedPart,
  CompleteMultipartUploadCommandInput,
  CompleteMultipartUploadCommandOutput,
  CreateMultipartUploadCommandInput,
  CreateMultipartUploadCommandOutput,
  HeadObjectCommandOutput,
  UploadPartCommandInput,
  UploadPartCommandOutput,
} from '@aws-sdk/client-s3'
import { wipe } from '../bytes'
import { MAX_GCM_LENGTH, TAG_LENGTH } from '../format/frame'
import { checkBoolean, checkInteger } from '../options'
import { orDiscard, toPartBody } from './body'
import { type Call, type EncryptionInput, type StoringCall, s3Sdk } from './call'
import { customerKeyOf, ownerOf, replaceInstructionFile, sameStorage } from './instruction-file'
import { lookUp, outcomeOf } from './lost-answer'
import { MultipartUpload, type PartToSend } from './multipart-upload'
import { MAX_PART_LENGTH, MAX_PART_NUMBER, partError, tooLong } from './part-geometry'
import { newObject, refusePlaintextChecksums } from './put'

export interface UploadPartInput {
  /**
   * Whether no part follows. Need not be said: a part that is shorter than the others is the last, and where all are
   * equal, the tag is added as a part of its own. With `true`, this part can be longer than the others.
   */
  IsLastPart?: boolean | undefined
}

type Create = Call<CreateMultipartUploadCommandInput & EncryptionInput, CreateMultipartUploadCommandOutput>
type UploadPart = Call<UploadPartCommandInput & UploadPartInput & EncryptionInput, UploadPartCommandOutput>
type Complete = StoringCall<CompleteMultipartUploadCommandInput & EncryptionInput, CompleteMultipartUploadCommandOutput>
type Abort = Call<AbortMultipartUploadCommandInput, AbortMultipartUploadCommandOutput>

/** Makes the key of the object; its envelope goes with the metadata, which S3 takes now and not later. */
export async function createMultipartUpload(call: Create): Promise<CreateMultipartUploadCommandOutput> {
  const { EncryptionContext: _, ...input } = call.input
  refusePlaintextChecksums(input)
  // What Upload of the SDK knows of the whole, it passes on to each of its requests.
  const { ContentLength = 0 } = input as { ContentLength?: number }
  if (ContentLength > MAX_GCM_LENGTH) throw tooLong()
  const { content, Metadata, instructionFile } = await newObject(call)
  try {
    const output = await call.next({ ...input, Metadata })
    const { Bucket: bucket = '', Key: key = '' } = input
    const storage = { ...sameStorage(input), ChecksumAlgorithm: input.ChecksumAlgorithm }
    const start = { bucket, key, content, envelope: content.envelope, storage, instructionFile }
    call.uploads.add(output.UploadId ?? '', new MultipartUpload(start))
    return output
  } catch (error) {
    wipe(content.key)
    throw error
  }
}

/** Seals the part as its bytes come. The SDK, which retries, knows the ciphertext only. */
export function uploadPart(call: UploadPart): Promise<UploadPartCommandOutput> {
  return orDiscard(call.input.Body, () => sealAndSend(call))
}

async function sealAndSend(call: UploadPart): Promise<UploadPartCommandOutput> {
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
    const output = await upload.send({ number, body }, false, () =>
      call.next({ ...input, Body: body, ContentLength: body.length }),
    )
    // An attempt that failed may still be on its way.
    if (output.$metadata.attempts === 1) upload.sent({ number, body })
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
    // Before the file: an upload that is aborted meanwhile must still put it back.
    const Parts = upload.list<CompletedPart>(given) as CompletedPart[]
    const stored = upload.object
    const size = MpuObjectSize === undefined ? {} : { MpuObjectSize: stored.length }
    if (instructionFile && !upload.hasInstructionFile) {
      const request = { ...upload.start.storage, ...upload.request, ...input }
      upload.putBack = await replaceInstructionFile(call, request, instructionFile)
      upload.hasInstructionFile = true
    }
    try {
      return await call.next({ ...input, ...size, MultipartUpload: { Parts } })
    } catch (error) {
      const outcome = await outcomeOf(error, call, input, stored)
      if (typeof outcome === 'object') return toCompleted(input, outcome)
      if (outcome === 'not stored') await putBackFile(upload)
      throw error
    }
  })
  call.uploads.end(UploadId, 'is complete')
  return output
}

/** Whatever S3 answers: whoever aborts does not go on. */
export async function abortMultipartUpload(call: Abort): Promise<AbortMultipartUploadCommandOutput> {
  const { uploads, input } = call
  const upload = uploads.find(input.UploadId)
  const stored = upload?.putBack && upload.object
  uploads.end(input.UploadId, 'was aborted')
  const output = await call.next(input)
  // A CompleteMultipartUpload that seemed to fail may have succeeded: then the file belongs to what is there.
  if (stored && (await lookUp(call, { ...upload.request, ...input }, stored)) === 'not stored')
    await putBackFile(upload)
  return output
}

function toCompleted(
  { Bucket, Key }: CompleteMultipartUploadCommandInput,
  { $metadata, ETag, VersionId }: HeadObjectCommandOutput,
): CompleteMultipartUploadCommandOutput {
  return { $metadata, Bucket, Key, ETag, VersionId }
}

async function putBackFile(upload: MultipartUpload): Promise<void> {
  const { putBack } = upload
  upload.putBack = undefined
  upload.hasInstructionFile = false
  await putBack?.()
}

export async function uploadPartCopy(): Promise<never> {
  throw partError(
    'the bytes of another object cannot be a part of an encrypted one: it is sealed as a whole, under a key of its own. ' +
      'Read it with GetObject, and upload what you read',
  )
}

async function sendPart(call: Complete, upload: MultipartUpload, part: PartToSend): Promise<void> {
  const { UploadPartCommand } = s3Sdk()
  const { Bucket, Key, UploadId } = call.input
  const command = new UploadPartCommand({
    ...ownerOf(call.input),
    ...customerKeyOf(call.input),
    ChecksumAlgorithm: upload.start.storage.ChecksumAlgorithm,
    ...upload.request,
    Bucket,
    Key,
    UploadId,
    PartNumber: part.number,
    Body: part.body,
  })
  await upload.send(part, true, () => call.send(command))
}
