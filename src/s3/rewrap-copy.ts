import type {
  CompletedPart,
  CopyObjectCommandInput,
  CreateMultipartUploadCommandInput,
  HeadObjectCommandOutput,
  Tag,
} from '@aws-sdk/client-s3'
import { SealwaxError } from '../errors'
import type { S3Metadata } from '../format/s3-metadata'
import { s3Sdk } from './call'
import { MAX_PART_NUMBER } from './part-geometry'
import type { RewrapSession } from './rewrap-session'

const GiB = 2 ** 30
/** What one CopyObject, and one UploadPartCopy, takes. */
export const MAX_COPY_LENGTH = 5 * GiB
const CONCURRENCY = 4

/**
 * Copies an object onto itself with other metadata; its content does not leave the store. Everything that CopyObject would
 * forget and HeadObject tells is stated again. Gives the tags that it had. Throws `ERR_OBJECT_CHANGED` where it is no longer what `head` was about.
 */
export async function copyOntoItself(
  session: RewrapSession,
  head: HeadObjectCommandOutput,
  metadata: S3Metadata,
): Promise<Tag[]> {
  const { partSize, sourcePath } = session
  const { ETag, ContentLength = 0, TagCount = 0 } = head
  const condition = { CopySource: sourcePath, CopySourceIfMatch: ETag, ...session.sourceOwner }
  const isLong = ContentLength > partSize
  // Nothing copies the tags of a long object, and not every HEAD tells of them: older SDKs, and callers who may not read them.
  const tags = isLong || TagCount > 0 ? await tagsOf(session, TagCount === 0) : []
  const kept = { ...session.target, ...keptFields(head), Metadata: { ...metadata } }
  const tagging = tags.length > 0 && { Tagging: toText(tags) }
  if (isLong) {
    await copyInParts(session, head, { ...kept, ...tagging }, condition)
    return tags
  }
  const { CopyObjectCommand } = s3Sdk()
  const input = { ...kept, ...condition, ...ifMatch(ETag), MetadataDirective: 'REPLACE' } as const
  // Stated with the copy: some stores forget them, and who is interrupted would not put them back.
  const stated = tagging && ({ ...tagging, TaggingDirective: 'REPLACE' } as const)
  await session.copy(new CopyObjectCommand({ ...input, ...stated }))
  return tags
}

/** Some stores take the tag without its quotes only, and S3 takes it either way. */
export function ifMatch(tag: string | undefined): { IfMatch?: string } {
  return tag === undefined ? {} : { IfMatch: tag.replaceAll('"', '') }
}

/** What HeadObject tells and a copy forgets. The list of those who have access is not among it. */
function keptFields(head: HeadObjectCommandOutput): Partial<CopyObjectCommandInput> {
  if (head.MissingMeta || (head.ExpiresString !== undefined && head.Expires === undefined)) {
    throw new SealwaxError(
      'ERR_UNSUPPORTED_FORMAT',
      'the object has metadata that no header can carry, and would lose them',
    )
  }
  // S3 refuses a date that is past, and a mode without a date.
  const isRetained = (head.ObjectLockRetainUntilDate?.getTime() ?? 0) > Date.now()
  const names = isRetained ? [...KEPT, ...RETENTION] : KEPT
  return Object.fromEntries(
    names.flatMap((name) => (head[name] === undefined ? [] : [[name, head[name]]])),
  ) as Partial<CopyObjectCommandInput>
}

const KEPT = [
  'CacheControl',
  'ContentDisposition',
  'ContentEncoding',
  'ContentLanguage',
  'ContentType',
  'Expires',
  'WebsiteRedirectLocation',
  'StorageClass',
  'ServerSideEncryption',
  'SSEKMSKeyId',
  'BucketKeyEnabled',
  'ObjectLockLegalHoldStatus',
] as const
const RETENTION = ['ObjectLockMode', 'ObjectLockRetainUntilDate'] as const

async function copyInParts(
  session: RewrapSession,
  { ETag, ContentLength = 0 }: HeadObjectCommandOutput,
  kept: CreateMultipartUploadCommandInput,
  condition: { CopySource: string; CopySourceIfMatch: string | undefined },
): Promise<void> {
  const { AbortMultipartUploadCommand, CompleteMultipartUploadCommand, CreateMultipartUploadCommand } = s3Sdk()
  const { UploadId } = await session.begin(new CreateMultipartUploadCommand(kept))
  const upload = { ...session.target, UploadId }
  try {
    const Parts = await copyParts(session, ContentLength, { ...upload, ...condition })
    const MultipartUpload = { Parts }
    await session.copy(new CompleteMultipartUploadCommand({ ...upload, ...ifMatch(ETag), MultipartUpload }))
  } catch (error) {
    // Also where the signal has ended the rest.
    await session.cleanUp(new AbortMultipartUploadCommand(upload)).catch(() => {})
    throw error
  }
}

async function copyParts(
  session: RewrapSession,
  length: number,
  input: { Bucket: string; Key: string; UploadId: string | undefined; CopySource: string },
): Promise<CompletedPart[]> {
  const { UploadPartCopyCommand } = s3Sdk()
  const partLength = Math.max(session.partSize, Math.ceil(length / MAX_PART_NUMBER))
  const offsets = Array.from({ length: Math.ceil(length / partLength) }, (_, i) => i * partLength)
  const parts: CompletedPart[] = []
  const queue = offsets.entries()
  let failed = false
  const worker = async () => {
    for (const [i, offset] of queue) {
      if (failed) return
      const last = Math.min(offset + partLength, length) - 1
      const part = { PartNumber: i + 1, CopySourceRange: `bytes=${offset}-${last}` }
      try {
        const { CopyPartResult } = await session.copy(new UploadPartCopyCommand({ ...input, ...part }))
        parts[i] = { PartNumber: i + 1, ...CopyPartResult }
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  const ends = await Promise.allSettled(Array.from({ length: CONCURRENCY }, worker))
  for (const end of ends) if (end.status === 'rejected') throw end.reason
  return parts
}

/** Some stores forget the tags of what is copied with new metadata. */
export async function restoreTags(session: RewrapSession, TagSet: Tag[]): Promise<void> {
  const { PutObjectTaggingCommand } = s3Sdk()
  await session.readBack(new PutObjectTaggingCommand({ ...session.target, Tagging: { TagSet } }))
}

/** `mayLack`: a store that knows no tags has none. */
async function tagsOf(session: RewrapSession, mayLack: boolean): Promise<Tag[]> {
  const { GetObjectTaggingCommand } = s3Sdk()
  try {
    const { TagSet = [] } = await session.read(new GetObjectTaggingCommand(session.target))
    return TagSet
  } catch (error) {
    if (mayLack && ['NotImplemented', 'MethodNotAllowed'].includes((error as Error).name)) return []
    throw error
  }
}

function toText(tags: readonly Tag[]): string {
  return new URLSearchParams(tags.map(({ Key = '', Value = '' }) => [Key, Value] as [string, string])).toString()
}
