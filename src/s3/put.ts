import type { HeadObjectCommandOutput, PutObjectCommandInput, PutObjectCommandOutput } from '@aws-sdk/client-s3'
import { wipe } from '../bytes'
import { SealwaxError } from '../errors'
import { TAG_LENGTH } from '../format/frame'
import { checkMetadataLength, isS3EncryptionField, type S3Metadata } from '../format/s3-metadata'
import { checkString } from '../options'
import { orDiscard, type PartBody, toPartBody } from './body'
import type { EncryptionInput, StoringCall } from './call'
import { sealContent } from './content'
import { type NewContentKey, newContentKey } from './content-key'
import { replaceInstructionFile } from './instruction-file'
import { outcomeOf } from './lost-answer'
import { checkObjectContext, versionToWrite } from './options'
import { MAX_PART_LENGTH } from './part-geometry'
import { storeEnvelope } from './seal-object'

type Put = StoringCall<PutObjectCommandInput & EncryptionInput, PutObjectCommandOutput>
type NewInput = Pick<PutObjectCommandInput, 'Metadata'> & EncryptionInput

/** Everything is encrypted before the SDK sees it: its checksums, its retries and its log know the ciphertext only. */
export function putObject(call: Put): Promise<PutObjectCommandOutput> {
  return orDiscard(call.input.Body, () => put(call))
}

async function put(call: Put): Promise<PutObjectCommandOutput> {
  const { EncryptionContext: _, ...input } = call.input
  refusePlaintextChecksums(input)
  if (input.WriteOffsetBytes !== undefined) {
    throw new TypeError('"WriteOffsetBytes" appends to an object, and an encrypted one is sealed as a whole')
  }
  // The file is written first: where the object then stays as it was, its old key would be gone.
  if (call.settings.putInstructionFiles && input.IfMatch !== undefined) {
    throw new TypeError('"IfMatch" cannot be kept for an object with an instruction file')
  }
  if ((input.ContentLength ?? 0) > MAX_PUT_LENGTH) throw tooLongToPut(MAX_PUT_LENGTH)
  const plaintext = await toPartBody(input.Body, input.ContentLength, MAX_PUT_LENGTH, tooLongToPut)
  const sealed = await seal(call, plaintext)
  const { Body, Metadata, instructionFile } = sealed
  if (instructionFile) for (const name of ['Bucket', 'Key'] as const) checkString(input[name], name)
  const putBack = instructionFile && (await replaceInstructionFile(call, input, instructionFile))
  try {
    return await call.next({ ...input, Body, ContentLength: Body.length, Metadata })
  } catch (error) {
    const outcome = await outcomeOf(error, call, input, { ...sealed, length: Body.length })
    if (typeof outcome === 'object') return toPutOutput(outcome)
    if (outcome === 'not stored') await putBack?.()
    throw error
  }
}

/** What there is of the answer that was lost. */
function toPutOutput({ $metadata, ETag, VersionId }: HeadObjectCommandOutput): PutObjectCommandOutput {
  return { $metadata, ETag, VersionId }
}

async function seal(call: Put, plaintext: PartBody) {
  const { content, ...stored } = await newObject(call)
  try {
    return { ...stored, envelope: content.envelope, Body: await sealContent(content, plaintext) }
  } finally {
    wipe(content.key)
  }
}

/** What a new object is begun with. */
interface NewObject {
  /** The caller's to wipe. */
  readonly content: NewContentKey
  readonly Metadata: Record<string, string>
  readonly instructionFile: Uint8Array | undefined
}

/** A key for a new object, and what is stored about it. What is wrong with the request is said before any key is asked for. */
export async function newObject({ input, settings }: Pick<Put, 'settings'> & { input: NewInput }): Promise<NewObject> {
  const { commitmentPolicy, encryptionAlgorithm, putInstructionFiles, keyring } = settings
  const version = versionToWrite(commitmentPolicy, encryptionAlgorithm)
  const context = checkObjectContext(input.EncryptionContext)
  withEnvelope(input.Metadata, {})
  const content = await newContentKey(keyring, version, context)
  try {
    const { metadata, instructionFile } = storeEnvelope(content.envelope, putInstructionFiles)
    return { content, Metadata: withEnvelope(input.Metadata, metadata), instructionFile }
  } catch (error) {
    wipe(content.key)
    throw error
  }
}

/** The caller's metadata and ours. Throws `ERR_LIMIT_EXCEEDED` where S3 would not take so much. */
export function withEnvelope(metadata: S3Metadata | null | undefined, envelope: S3Metadata): Record<string, string> {
  // An object that was read and is written again may bring the envelope of its old ciphertext along.
  const own = Object.entries(metadata ?? {}).filter(([name]) => !isS3EncryptionField(name))
  for (const [name, value] of own) checkString(value, `Metadata[${JSON.stringify(name)}]`, { allowEmpty: true })
  const all = { ...Object.fromEntries(own), ...envelope }
  checkMetadataLength(all)
  return all
}

/** A checksum that the caller made is of the plaintext: it would not fit, and it would tell what is encrypted. */
export function refusePlaintextChecksums(input: object): void {
  const given = Object.entries(input).find(
    ([name, value]) => /^(?:ContentMD5$|Checksum(?!(?:Algorithm|Type)$))/.test(name) && value !== undefined,
  )?.[0]
  if (given) throw new TypeError(`"${given}" describes the plaintext, which is not what is stored: leave it out`)
}

function tooLongToPut(limit: number): SealwaxError {
  return new SealwaxError(
    'ERR_LIMIT_EXCEEDED',
    `PutObject takes at most ${limit} bytes of plaintext: send more in parts, as Upload of @aws-sdk/lib-storage does`,
  )
}

const MAX_PUT_LENGTH = MAX_PART_LENGTH - TAG_LENGTH
