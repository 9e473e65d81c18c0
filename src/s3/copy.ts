import type {
  CopyObjectCommandInput,
  CopyObjectCommandOutput,
  GetObjectCommandInput,
  HeadObjectCommandOutput,
} from '@aws-sdk/client-s3'
import { SealwaxError } from '../errors'
import { parseInstructionFile } from '../format/s3-instruction-file'
import { isS3EncryptionField, parseS3Metadata, type S3Metadata } from '../format/s3-metadata'
import type { StoringCall } from './call'
import { headObject } from './head'
import { ownerOf, readInstructionFile, replaceInstructionFile } from './instruction-file'
import { outcomeOf } from './lost-answer'
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
  const { Metadata = {}, ETag, ContentLength = 0 } = await headSource(call, request)
  const file = isMoved ? await readFile(call, request, Metadata) : undefined
  const putBack = file && (await replaceInstructionFile(call, input, file))
  // An envelope is that of one content: of no other.
  const isPinned = file !== undefined || (isReplaced && Object.keys(envelopeOf(Metadata)).length > 0)
  const pinned = isPinned ? { ...input, CopySourceIfMatch: input.CopySourceIfMatch ?? ETag } : input
  try {
    return await next(isReplaced ? withEnvelopeOf(Metadata, pinned) : pinned)
  } catch (error) {
    const stored = file && { envelope: parseS3Metadata(Metadata), instructionFile: file, length: ContentLength }
    const outcome = stored && (await outcomeOf(error, call, input, stored))
    if (typeof outcome === 'object') return toCopied(outcome)
    if (outcome === 'not stored') await putBack?.()
    const isOurs = !CALLERS_CONDITIONS.some((name) => input[name])
    throw isPinned && (error as Error).name === 'PreconditionFailed' && isOurs ? changed(error) : error
  }
}

/** What there is of the answer that was lost. */
function toCopied({ $metadata, ETag, LastModified, VersionId }: HeadObjectCommandOutput): CopyObjectCommandOutput {
  return { $metadata, CopyObjectResult: { ETag, LastModified }, VersionId }
}

/** S3 heeds no CopySourceIfUnmodifiedSince beside a CopySourceIfMatch, which may be ours: the condition is put here. */
async function headSource({ input, sendToSource }: Copy, request: Source): Promise<HeadObjectCommandOutput> {
  const { CopySourceIfMatch, CopySourceIfUnmodifiedSince } = input
  const condition = CopySourceIfMatch === undefined ? { IfUnmodifiedSince: CopySourceIfUnmodifiedSince } : {}
  return await headObject({ send: sendToSource }, { ...request, ...condition } as GetObjectCommandInput)
}

/** Reads `bucket/key?versionId=…` and `arn:…/object/key…` as S3 does: decoded as a whole, slashes too. */
function parseCopySource(text = ''): Source | undefined {
  const [, encoded = '', VersionId] = /^(.*?)(?:\?versionId=(.*))?$/s.exec(text) ?? []
  try {
    const path = decodeURIComponent(encoded)
    const [, Bucket, Key] = /^\/?(arn:.+?)\/object\/(.+)$/s.exec(path) ?? /^\/?([^/]+)\/(.+)$/s.exec(path) ?? []
    if (Bucket === undefined || Key === undefined) return undefined
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

/** The instruction file, if there is to be one and what has its name is one. What breaks a rule is copied as it is. */
async function readFile(call: Copy, source: Source, metadata: S3Metadata): Promise<Uint8Array | undefined> {
  try {
    const parsed = parseS3Metadata(metadata)
    if (parsed && 'encryptedDataKey' in parsed) return undefined
    const file = await readInstructionFile({ send: call.sendToSource }, source)
    if (file) parseInstructionFile(file, parsed)
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

/** What a store may refuse a copy for beside what is asked here. */
const CALLERS_CONDITIONS = [
  'CopySourceIfMatch',
  'CopySourceIfNoneMatch',
  'CopySourceIfModifiedSince',
  'IfMatch',
  'IfNoneMatch',
] as const
