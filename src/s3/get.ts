import { pipeline, Readable } from 'node:stream'
import type {
  GetObjectCommandInput,
  GetObjectCommandOutput,
  HeadObjectCommandInput,
  HeadObjectCommandOutput,
} from '@aws-sdk/client-s3'
import { wipe } from '../bytes'
import { SealwaxError } from '../errors'
import { TAG_LENGTH } from '../format/frame'
import { parseS3Metadata, type S3Envelope, type S3Metadata } from '../format/s3-metadata'
import { discardBody, isIterable, readBody, tooLong, toReadable, toSdkBody } from './body'
import type { Call, EncryptionInput } from './call'
import { openContent } from './content'
import { type ContentKey, openContentKey } from './content-key'
import { openDelayed } from './delayed'
import { headObject as headFirst } from './head'
import { readInstructionFile } from './instruction-file'
import { openLarge } from './large'
import { needsInstructionFile, parseEnvelope } from './open-object'
import { checkObjectContext } from './options'
import { requestSame } from './pin'
import { openRange, parseRange, type WantedRange } from './range'

export interface GetObjectInput extends EncryptionInput {
  /** What the key of the instruction file has after the key of the object. Default: `.instruction`. */
  InstructionFileSuffix?: string | undefined
}

/** Which object, as every request for one says it. */
export const GET_FIELDS = [
  'Bucket',
  'Key',
  'VersionId',
  'ExpectedBucketOwner',
  'RequestPayer',
  'SSECustomerAlgorithm',
  'SSECustomerKey',
  'SSECustomerKeyMD5',
] as const

/** What the envelope of an object is read with. */
export type Reading = Pick<Get, 'input' | 'send'>
type Get = Call<GetObjectCommandInput & GetObjectInput, GetObjectCommandOutput>

export async function getObject(call: Get): Promise<GetObjectCommandOutput> {
  const { EncryptionContext, InstructionFileSuffix, ...input } = call.input
  const context = checkObjectContext(EncryptionContext)
  if (input.PartNumber !== undefined) throw new TypeError('"PartNumber" asks for a part of the ciphertext')
  const { Range, ...whole } = input
  if (Range !== undefined && call.settings.onPlaintextObject === 'passthrough') {
    const head = await headFirst(call, whole)
    const isPlain = !(await findEnvelope(call, head.Metadata ?? {}, InstructionFileSuffix))
    if (isPlain) return await requestSame(head, (condition) => call.next({ ...input, ...condition }))
  }
  const range = Range === undefined ? undefined : unauthenticatedRange(call, Range)
  const output = await call.next({ ...input, ...(range && { Range: range.header }) })
  try {
    if (!range) checkWhole(output)
    const envelope = await readEnvelope(call, output.Metadata ?? {}, InstructionFileSuffix)
    if (!envelope && range) throw new SealwaxError('ERR_UNSUPPORTED_FORMAT', 'ranges are of encrypted objects only')
    if (!envelope) return output
    const contentKey = await openContentKey(envelope, call.settings.keyring, {
      ...call.settings,
      encryptionContext: context,
    })
    try {
      return range
        ? await openRange(contentKey, output, range, call.settings.bufferSize)
        : await open(call, contentKey, output)
    } finally {
      wipe(contentKey.key)
    }
  } catch (error) {
    discardBody(output.Body)
    throw error
  }
}

/** The length of the plaintext in place of that of the ciphertext, where the metadata tell it exactly: for AES-GCM. */
export async function headObject(
  call: Call<HeadObjectCommandInput & EncryptionInput, HeadObjectCommandOutput>,
): Promise<HeadObjectCommandOutput> {
  const { EncryptionContext: _, ...input } = call.input
  const output = await call.next(input)
  const isWhole = input.Range === undefined && input.PartNumber === undefined
  const { ContentLength = 0, Metadata = {} } = output
  return isWhole && ContentLength >= TAG_LENGTH && (await isGcm({ ...call, input }, Metadata))
    ? { ...output, ContentLength: ContentLength - TAG_LENGTH }
    : output
}

/** Metadata and files that break a rule are for GetObject to refuse; so are files that must not be read. */
async function isGcm(call: Reading, metadata: S3Metadata): Promise<boolean> {
  try {
    const stored = parseS3Metadata(metadata) ?? (await findEnvelope(call, metadata, undefined))
    return stored !== undefined && stored.contentAlgorithm !== 'AES/CBC/PKCS5Padding'
  } catch (error) {
    const isUnreadable = error instanceof SealwaxError || UNREADABLE.has((error as Error).name)
    if (isUnreadable) return false
    throw error
  }
}

/** What S3 says of files that must not be read, and of those in an archive. */
const UNREADABLE: ReadonlySet<string> = new Set(['AccessDenied', 'InvalidObjectState'])

async function open(
  call: Get,
  contentKey: ContentKey,
  output: GetObjectCommandOutput,
): Promise<GetObjectCommandOutput> {
  const { bufferSize, enableDelayedAuthenticationMode, largeObjects } = call.settings
  // A tag, or a padding, which is as long at most.
  const limit = bufferSize + TAG_LENGTH
  if (enableDelayedAuthenticationMode && isIterable(output.Body)) {
    const plaintext = openDelayed(contentKey)
    // Whichever of the two ends badly ends the other; the consumer of the plaintext hears of it there.
    pipeline(toReadable(output.Body as AsyncIterable<Uint8Array>), plaintext, () => {})
    const { ContentLength: _, ...rest } = output
    return { ...rest, Body: toSdkBody(plaintext) }
  }
  if ((output.ContentLength ?? 0) > limit) {
    if (contentKey.mode === 'cbc' || largeObjects === 'refuse') throw tooLong(bufferSize)
    const again = largeObjects === 'two-pass' ? () => getAgain(call, output) : undefined
    return await openLarge(contentKey, output, again)
  }
  const body = await readBody(output.Body, limit)
  const plaintext = await openContent(contentKey, body)
  return {
    ...output,
    Body: toSdkBody(Readable.from([plaintext], { objectMode: false })),
    ContentLength: plaintext.length,
  }
}

async function getAgain(call: Get, first: GetObjectCommandOutput): Promise<GetObjectCommandOutput> {
  const { EncryptionContext: _, InstructionFileSuffix: __, ...input } = call.input
  const second = await requestSame(first, (condition) => call.next({ ...input, ...condition }))
  try {
    checkWhole(second)
    return second
  } catch (error) {
    discardBody(second.Body)
    throw error
  }
}

function checkWhole({ ContentRange }: GetObjectCommandOutput): void {
  if (ContentRange === undefined) return
  throw new SealwaxError('ERR_MESSAGE_TRUNCATED', 'the answer is a part of the object, and the whole was asked for')
}

/** `undefined` for an object that is not encrypted, where the caller accepts such. */
export async function readEnvelope(
  call: Reading & Pick<Get, 'settings'>,
  metadata: S3Metadata,
  suffix: unknown,
): Promise<S3Envelope | undefined> {
  const envelope = await findEnvelope(call, metadata, suffix)
  if (envelope || call.settings.onPlaintextObject === 'passthrough') return envelope
  return parseEnvelope(metadata, undefined)
}

/** `undefined` for an object that is not encrypted. */
export async function findEnvelope(
  call: Reading,
  metadata: S3Metadata,
  suffix: unknown,
): Promise<S3Envelope | undefined> {
  const file = needsInstructionFile(metadata) ? await readInstructionFile(call, call.input, suffix) : undefined
  const isPlain = file === undefined && parseS3Metadata(metadata) === undefined
  return isPlain ? undefined : parseEnvelope(metadata, file)
}

function unauthenticatedRange({ settings }: Get, range: string): WantedRange {
  if (settings.enableLegacyUnauthenticatedModes) return parseRange(range)
  throw new SealwaxError(
    'ERR_LEGACY_REFUSED',
    'a range of an object cannot be authenticated, and "enableLegacyUnauthenticatedModes" is not set',
  )
}
