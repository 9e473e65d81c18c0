import type { GetObjectCommandOutput, HeadObjectCommandOutput } from '@aws-sdk/client-s3'
import { equalBytes } from '../bytes'
import { SealwaxError } from '../errors'
import {
  INSTRUCTION_FILE_METADATA,
  INSTRUCTION_FILE_SUFFIX,
  MAX_INSTRUCTION_FILE_LENGTH,
  parseInstructionFile,
  serializeWithInstructionFile,
} from '../format/s3-instruction-file'
import {
  checkMetadataLength,
  isS3EncryptionField,
  parseS3Metadata,
  type S3Commitment,
  type S3Envelope,
  serializeS3Metadata,
} from '../format/s3-metadata'
import { checkBoolean, checkOptions, checkString } from '../options'
import { readBody } from './body'
import { s3Sdk } from './call'
import { instructionFileKey } from './instruction-file'
import type { S3Sender } from './plugin'
import { copyOntoItself, ifMatch, restoreTags } from './rewrap-copy'
import { type CheckedRewrapKeys, checkRewrapKeys, REWRAP_KEYS, type RewrapKeys, rewrapEnvelope } from './rewrap-key'
import { changed, REWRAP_TARGET, RewrapSession, type RewrapTarget } from './rewrap-session'

export interface RewrapObjectInput extends RewrapTarget, RewrapKeys {
  /** `true`: do all but write, and say what would be. Default: `false`. */
  dryRun?: boolean | undefined
}

export interface RewrapInstructionFileInput extends RewrapObjectInput {
  /** What the key of the instruction file has after the key of the object. Default: `.instruction`. */
  suffix?: string | undefined
  /** Write a second file, for the holder of another key, and leave the first as it is. Default: replace the first. */
  newSuffix?: string | undefined
}

export interface RewrapResult {
  /** `current`: `to` opens it already and `from` does not, and nothing was written; nor was it with `dryRun`. */
  readonly status: 'rewrapped' | 'current'
  /** Where the wrapped data key is. */
  readonly location: 'metadata' | 'instruction file'
  /** Of the object afterwards. */
  readonly ETag?: string | undefined
  readonly LastModified?: Date | undefined
  readonly VersionId?: string | undefined
}

/**
 * Gives an encrypted object another wrapping key, in its place: the wrapped data key is replaced, the content stays where
 * it is and as it is. Objects of version 2 and 3, whose data key is in their metadata or in an instruction file.
 *
 * Before anything is written, the data key is unwrapped, compared with the commitment (version 3), wrapped, and unwrapped again
 * and compared, where `to` can. Afterwards the metadata are read back. Where two write the same object, one of them fails.
 *
 * A copy keeps headers, user metadata, tags, storage class, locks and server-side encryption; **not** the access control list, nor
 * the encryption context of SSE-KMS. In a versioned bucket the former version stays, and opens with the former key.
 *
 * Throws `TypeError` and `RangeError` for wrong options, what the SDK throws, and: what `openObject` throws of metadata, policies and
 * keys; `ERR_WRAPPING_KEY` where the new key is the old one; `ERR_LEGACY_REFUSED` for AES-CBC; `ERR_OBJECT_CHANGED` where the object
 * was replaced meanwhile; `ERR_LIMIT_EXCEEDED` where the metadata would be longer than S3 takes.
 *
 * @example
 * await rewrapObject(client, { Bucket, Key, from: oldKeyring, to: newKeyring })
 */
export async function rewrapObject(client: S3Sender, input: RewrapObjectInput): Promise<RewrapResult> {
  const { session, keys, dryRun } = checkInput(client, input, OBJECT_OPTIONS)
  const result = await rewrapStored(session, keys, dryRun)
  if (result) return result
  throw notEncrypted()
}

/** `undefined` for what no S3 Encryption Client wrote. */
export async function rewrapStored(
  session: RewrapSession,
  keys: CheckedRewrapKeys,
  dryRun: boolean,
): Promise<RewrapResult | undefined> {
  const head = await headObject(session)
  const stored = parseS3Metadata(head.Metadata ?? {})
  if (!stored || !('encryptedDataKey' in stored)) {
    const files = { suffix: INSTRUCTION_FILE_SUFFIX, newSuffix: INSTRUCTION_FILE_SUFFIX }
    return await rewrapFile(session, keys, head, stored, { ...files, dryRun })
  }
  const envelope = await rewrapEnvelope(stored, keys)
  if (!envelope) return resultOf(envelope, 'metadata', head)
  const own = Object.entries(head.Metadata ?? {}).filter(([name]) => !isReplaced(name))
  const metadata = { ...Object.fromEntries(own), ...serializeS3Metadata(envelope) }
  checkMetadataLength(metadata)
  if (dryRun) return resultOf(envelope, 'metadata', head)
  const tags = await copyOntoItself(session, head, metadata)
  const after = await headObject(session, session.readBack)
  checkWritten(after, head, envelope)
  if ((after.TagCount ?? 0) !== tags.length) await restoreTags(session, tags)
  return resultOf(envelope, 'metadata', after)
}

/**
 * The same for an object whose data key is in an instruction file; the object itself is not written. The file is replaced
 * only if it is still the one that was read. Key commitment and message ID are the object's, never the file's.
 *
 * @example
 * await rewrapInstructionFile(client, { Bucket, Key, from: ours, to: partners, newSuffix: '.partner' })
 */
export async function rewrapInstructionFile(
  client: S3Sender,
  input: RewrapInstructionFileInput,
): Promise<RewrapResult> {
  const { session, keys, dryRun } = checkInput(client, input, FILE_OPTIONS)
  const { suffix = INSTRUCTION_FILE_SUFFIX, newSuffix = suffix } = input
  const files = { suffix: checkString(suffix, 'suffix'), newSuffix: checkString(newSuffix, 'newSuffix'), dryRun }
  const head = await headObject(session)
  const stored = parseS3Metadata(head.Metadata ?? {})
  if (stored && 'encryptedDataKey' in stored) {
    throw new SealwaxError('ERR_UNSUPPORTED_FORMAT', 'the object carries its data key itself: use rewrapObject')
  }
  const result = await rewrapFile(session, keys, head, stored, files)
  if (result) return result
  throw notEncrypted()
}

const OBJECT_OPTIONS = [...REWRAP_TARGET, ...REWRAP_KEYS, 'dryRun'] as const
const FILE_OPTIONS = [...OBJECT_OPTIONS, 'suffix', 'newSuffix'] as const
function checkInput(client: S3Sender, input: RewrapObjectInput, known: readonly (keyof RewrapInstructionFileInput)[]) {
  const checked = checkOptions<RewrapInstructionFileInput>(input, known, 'a rewrap')
  const { dryRun = false } = checked
  const session = new RewrapSession(client, checked)
  return { session, keys: checkRewrapKeys(checked), dryRun: checkBoolean(dryRun, 'dryRun') }
}

async function headObject(session: RewrapSession, send = session.read): Promise<HeadObjectCommandOutput> {
  const { HeadObjectCommand } = s3Sdk()
  return await send(new HeadObjectCommand(session.target))
}

async function rewrapFile(
  session: RewrapSession,
  keys: CheckedRewrapKeys,
  head: HeadObjectCommandOutput,
  commitment: S3Commitment | undefined,
  { suffix, newSuffix, dryRun }: { suffix: string; newSuffix: string; dryRun: boolean },
): Promise<RewrapResult | undefined> {
  const file = await readFile(session, suffix, commitment)
  if (!file && commitment) throw notEncrypted()
  if (!file) return undefined
  const envelope = await rewrapEnvelope(file.stored, keys)
  if (!envelope || dryRun) return resultOf(envelope, 'instruction file', head)
  const { PutObjectCommand } = s3Sdk()
  const { ServerSideEncryption, SSEKMSKeyId, BucketKeyEnabled, ContentType, StorageClass } = file.answer
  const { instructionFile } = serializeWithInstructionFile(envelope)
  const Key = `${session.target.Key}${newSuffix}`
  const stored = session.copy(
    new PutObjectCommand({
      ...session.target,
      Key,
      Body: instructionFile,
      Metadata: { ...INSTRUCTION_FILE_METADATA },
      ...{ ServerSideEncryption, SSEKMSKeyId, BucketKeyEnabled, ContentType, StorageClass },
      ...(newSuffix === suffix ? ifMatch(file.answer.ETag) : { IfNoneMatch: '*' }),
    }),
  )
  await stored.catch(async (error) => {
    // The SDK asks again where an answer is lost, and the store then refuses because of what is there: this file.
    const isChanged = error instanceof SealwaxError && error.code === 'ERR_OBJECT_CHANGED'
    if (!isChanged || !(await hasContent(session, Key, instructionFile))) throw error
  })
  return resultOf(envelope, 'instruction file', head)
}

/** `undefined` where there is none: beside an object that says nothing of one, what has its name may be anything. */
async function readFile(
  session: RewrapSession,
  suffix: string,
  commitment: S3Commitment | undefined,
): Promise<{ answer: GetObjectCommandOutput; stored: S3Envelope } | undefined> {
  const { GetObjectCommand } = s3Sdk()
  const Key = instructionFileKey(session.target.Key, suffix)
  if (!Key) return undefined
  let answer: GetObjectCommandOutput | undefined
  try {
    answer = await session.read(new GetObjectCommand({ ...session.target, Key }))
    const bytes = await readBody(answer.Body, MAX_INSTRUCTION_FILE_LENGTH)
    return { answer, stored: parseInstructionFile(bytes, commitment) }
  } catch (error) {
    const isOther = answer && !commitment && !isMarked(answer) && isUnreadable(error)
    if (isOther || (error as Error).name === 'NoSuchKey') return undefined
    throw error
  }
}

async function hasContent(session: RewrapSession, Key: string, content: Uint8Array): Promise<boolean> {
  const { GetObjectCommand } = s3Sdk()
  try {
    const { Body } = await session.readBack(new GetObjectCommand({ ...session.target, Key }))
    return equalBytes(await readBody(Body, MAX_INSTRUCTION_FILE_LENGTH), content)
  } catch {
    return false
  }
}

/** Not all stores keep the mark, whose value is empty. */
function isMarked({ Metadata = {} }: GetObjectCommandOutput): boolean {
  return Object.keys(INSTRUCTION_FILE_METADATA).every((name) => name in Metadata)
}

function isUnreadable(error: unknown): boolean {
  return (
    error instanceof SealwaxError && (error.code === 'ERR_MESSAGE_MALFORMED' || error.code === 'ERR_LIMIT_EXCEEDED')
  )
}

function notEncrypted(): SealwaxError {
  return new SealwaxError(
    'ERR_UNSUPPORTED_FORMAT',
    'the object was not encrypted by an S3 Encryption Client, or its instruction file is missing',
  )
}

/** The lengths that some clients note stay true. */
function isReplaced(name: string): boolean {
  return isS3EncryptionField(name) && !name.toLowerCase().startsWith('x-amz-unencrypted-')
}

/** What the store has now must be what it was to have. */
function checkWritten(after: HeadObjectCommandOutput, before: HeadObjectCommandOutput, envelope: S3Envelope): void {
  const isSame = Object.entries(serializeS3Metadata(envelope)).every(
    ([name, value]) => after.Metadata?.[name] === value,
  )
  if (!isSame || after.ContentLength !== before.ContentLength) throw changed()
}

function resultOf(
  envelope: S3Envelope | undefined,
  location: RewrapResult['location'],
  { ETag, LastModified, VersionId }: HeadObjectCommandOutput,
): RewrapResult {
  return { status: envelope ? 'rewrapped' : 'current', location, ETag, LastModified, VersionId }
}
