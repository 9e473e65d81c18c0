import type {
  CopyObjectCommandInput,
  CopyObjectCommandOutput,
  GetObjectCommandInput,
  HeadObjectCommandOutput,
} from '@aws-sdk/client-s3'
import { SealwaxError } from '../errors'
import { parseInstructionFile } from '../format/s3-instruction-file'
import { isS3EncryptionField, parseS3Metadata, type S3Metadata } from '../format/s3-metadata'
import { type StoringCall, s3Sdk } from './call'
import { ownerOf, readInstructionFile, replaceInstructionFile } from './instruction-file'
import { isRefused } from './lost-answer'
import { needsInstructionFile } from './open-object'
import { withEnvelope } from './put'

type Copy = StoringCall<CopyObjectCommandInput, CopyObjectCommandOutput>
type Source = Pick<GetObjectCommandInput, 'Bucket' | 'Key' | 'VersionId'>

/** Copies the ciphertext, and with it what opens it: the envelope, also where the metadata are new, and the instruction file. */
export async function copyObject(call: Copy): Promise<CopyObjectCommandOutput> {
  const { input, next } = call
  const source = parseCopySource(input.CopySource)
  // Also where the caller's metadata have an envelope: what it read may be another object's by now.
  const isReplaced = input.MetadataDirective === 'REPLACE'
  const isMoved = source?.Bucket !== input.Bucket || source?.Key !== input.Key
  // What is no source, the store refuses.
  if (!source || !(isReplaced || isMoved)) return await next(input)

  const request = { ...source, ...readingOf(input) }
  const { Metadata = {}, ETag } = await headSource(call, request)
  const file = isMoved && needsInstructionFile(Metadata) ? await readFile(call, request, Metadata) : undefined
  call.checkAborted()
  const putBack = file && (await replaceInstructionFile(call, input, file))
  // An envelope is that of one content: of no other.
  const isPinned = file !== undefined || (isReplaced && Object.keys(envelopeOf(Metadata)).length > 0)
  const pinned = isPinned ? { ...input, CopySourceIfMatch: input.CopySourceIfMatch ?? ETag } : input
  try {
    return await next(isReplaced ? withEnvelopeOf(Metadata, pinned) : pinned)
  } catch (error) {
    if (isRefused(error, call)) await putBack?.()
    const isOurs = !(input.CopySourceIfMatch || input.IfMatch || input.IfNoneMatch)
    throw isPinned && (error as Error).name === 'PreconditionFailed' && isOurs ? changed(error) : error
  }
}

/** S3 heeds no CopySourceIfUnmodifiedSince beside a CopySourceIfMatch, which may be ours: the condition is put here. */
async function headSource({ input, sendToSource }: Copy, request: Source): Promise<HeadObjectCommandOutput> {
  const { HeadObjectCommand } = s3Sdk()
  const { CopySourceIfMatch, CopySourceIfUnmodifiedSince } = input
  const condition = CopySourceIfMatch === undefined ? { IfUnmodifiedSince: CopySourceIfUnmodifiedSince } : {}
  try {
    return await sendToSource(new HeadObjectCommand({ ...request, ...condition }))
  } catch (error) {
    // An answer to HeadObject has no body, and so no name for what is wrong.
    const isUnmet = (error as { $metadata?: { httpStatusCode?: number } })?.$metadata?.httpStatusCode === 412
    throw isUnmet ? Object.assign(error as Error, { name: 'PreconditionFailed' }) : error
  }
}

/** Reads `bucket/key?versionId=…` and `arn:…/object/key…`, as CopyObject takes them. */
function parseCopySource(text = ''): Source | undefined {
  const [, Bucket, path, VersionId] =
    /^\/?(arn:.+?)\/object\/(.+?)(?:\?versionId=(.*))?$/s.exec(text) ??
    /^\/?([^/]+)\/(.+?)(?:\?versionId=(.*))?$/s.exec(text) ??
    []
  if (Bucket === undefined || path === undefined) return undefined
  try {
    const Key = decodeURIComponent(path)
    return VersionId === undefined ? { Bucket, Key } : { Bucket, Key, VersionId }
  } catch {
    return undefined
  }
}

/** How the source is read. */
function readingOf(input: CopyObjectCommandInput) {
  const { CopySourceSSECustomerAlgorithm, CopySourceSSECustomerKey, CopySourceSSECustomerKeyMD5 } = input
  return {
    ...ownerOf({ ExpectedBucketOwner: input.ExpectedSourceBucketOwner, RequestPayer: input.RequestPayer }),
    SSECustomerAlgorithm: CopySourceSSECustomerAlgorithm,
    SSECustomerKey: CopySourceSSECustomerKey,
    SSECustomerKeyMD5: CopySourceSSECustomerKeyMD5,
  }
}

/** The instruction file, if what has its name is one. */
async function readFile(call: Copy, source: Source, metadata: S3Metadata): Promise<Uint8Array | undefined> {
  try {
    const file = await readInstructionFile({ send: call.sendToSource }, source)
    const parsed = parseS3Metadata(metadata)
    if (!file || (parsed && 'encryptedDataKey' in parsed)) return undefined
    parseInstructionFile(file, parsed)
    return file
  } catch (error) {
    if (error instanceof SealwaxError) return undefined
    throw error
  }
}

function withEnvelopeOf(metadata: S3Metadata, input: CopyObjectCommandInput): CopyObjectCommandInput {
  const envelope = envelopeOf(metadata)
  if (Object.keys(envelope).length === 0) return input
  return { ...input, Metadata: withEnvelope(input.Metadata, envelope) }
}

function envelopeOf(metadata: S3Metadata): S3Metadata {
  return Object.fromEntries(Object.entries(metadata).filter(([name]) => isS3EncryptionField(name)))
}

function changed(cause: unknown): SealwaxError {
  return new SealwaxError('ERR_OBJECT_CHANGED', 'the object was replaced while it was copied', { cause })
}
