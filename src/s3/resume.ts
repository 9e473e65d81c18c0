/**
 * A multipart upload that goes on in another process. Its token is base64url of
 *
 *     version (1), length of the envelope (2), envelope (JSON, as metadata have it), salt (32), state (JSON, sealed), tag (16)
 *
 * The key of the state is derived from the key of the object's content, which only the keyring gives; what is before the
 * state is authenticated with it.
 */
import { ByteReader, ByteWriter, fromUtf8, toBase64, utf8, wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { getEngine } from '../engine/engine'
import { authenticationFailed, malformed } from '../errors'
import { TAG_LENGTH } from '../format/frame'
import { type S3Metadata, serializeS3Metadata } from '../format/s3-metadata'
import { checkOptions, checkString, isRecord } from '../options'
import { encryptionOf } from './call'
import { openContentKey } from './content-key'
import { MultipartUpload, type PartState, type StoredPart } from './multipart-upload'
import { parseEnvelope } from './open-object'
import { checkObjectContext } from './options'
import { storeEnvelope } from './seal-object'

/** An upload that goes on here. */
export interface ResumedUpload {
  readonly Bucket: string
  readonly Key: string
  readonly UploadId: string
  /** Bytes of plaintext in every part but the last, once that is known. */
  readonly PartLength: number | undefined
  /** The parts that the store has, as CompleteMultipartUpload takes them. */
  readonly Parts: StoredPart[]
}

export interface ResumeOptions {
  /** The pairs that the upload was begun with, all of them. Default: `{}`. */
  EncryptionContext?: EncryptionContext | undefined
}

const VERSION = 1
const SALT_LENGTH = 32
const INFO = utf8('sealwax S3 multipart upload, resume token 1')
// The key is of a fresh salt, and seals this once.
const IV = new Uint8Array(12)

/**
 * Hands an open multipart upload over to {@link resumeUpload}, in this process or another: waits for the parts under way, and
 * gives a token for it. From then on `client` does not hold the upload's key, and refuses its parts.
 *
 * The token is encrypted, and useless without the keyring. Use it once: if two processes sealed different bytes for the same
 * part, they would give both away. Throws `TypeError` for a client that does not encrypt, `ERR_MULTIPART_UPLOAD` for an
 * upload that it does not hold.
 *
 * @example
 * const token = await resumeToken(client, UploadId)
 */
export async function resumeToken(client: object, uploadId: string): Promise<string> {
  const { uploads } = encryptionOf(client)
  const upload = uploads.get(checkString(uploadId, 'uploadId'))
  const why = 'was handed over by resumeToken()'
  await upload.stop(why)
  try {
    return sealToken(uploadId, upload)
  } finally {
    uploads.end(uploadId, why)
  }
}

/**
 * Goes on with an upload that {@link resumeToken} handed over: `client` holds its key from now on. Parts that were sealed
 * before are known by their digests, and can be sent again only as they were.
 *
 * Throws as {@link openObject} does where the keyring does not open the token, `ERR_AUTHENTICATION_FAILED` where it was
 * changed, `ERR_MESSAGE_MALFORMED` where it is none.
 *
 * @example
 * const { Bucket, Key, UploadId, PartLength, Parts } = await resumeUpload(client, token)
 */
export async function resumeUpload(client: object, token: string, options?: ResumeOptions): Promise<ResumedUpload> {
  const { uploads, settings } = encryptionOf(client)
  const { EncryptionContext } = checkOptions(options, ['EncryptionContext'], 'resumeUpload')
  const bytes = Buffer.from(checkString(token, 'token'), 'base64url')
  const reader = new ByteReader(bytes, 'the token')
  if (reader.u8() !== VERSION) throw malformed('this is no resume token')
  const envelope = parseEnvelope(parseMetadata(reader.take(reader.u16())), undefined)
  const salt = reader.take(SALT_LENGTH)
  const header = bytes.subarray(0, reader.offset)
  const sealed = reader.take(reader.remaining)
  const encryptionContext = checkObjectContext(EncryptionContext)
  const content = await openContentKey(envelope, settings.keyring, { ...settings, encryptionContext })
  try {
    const state = openState(content.key, salt, header, sealed)
    const { uploadId, bucket, key, storage, partLength, last, parts, hasInstructionFile } = state
    const { instructionFile } = storeEnvelope(envelope, state.usesInstructionFile)
    const known = parts.map(readPart)
    const start = { bucket, key, content, envelope, storage, instructionFile }
    const upload = new MultipartUpload(start, { partLength, last, parts: known })
    upload.hasInstructionFile = hasInstructionFile
    uploads.add(uploadId, upload)
    const Parts = known.flatMap(({ stored }) => (stored ? [stored] : []))
    return { Bucket: bucket, Key: key, UploadId: uploadId, PartLength: partLength, Parts }
  } catch (error) {
    wipe(content.key)
    throw error
  }
}

/** Nobody has authenticated it yet. */
function parseMetadata(bytes: Uint8Array): S3Metadata {
  const metadata = parseJson<unknown>(bytes)
  if (isRecord(metadata) && Object.values(metadata).every((value) => typeof value === 'string'))
    return metadata as S3Metadata
  throw malformed('this is no resume token')
}

type WrittenPart = Pick<PartState, 'number' | 'length' | 'stored' | 'isTagged'> & {
  readonly segments: readonly [blockOffset: number, length: number, hash: string][]
  readonly fragments: readonly [offset: number, bytes: string][]
}

interface State {
  readonly uploadId: string
  readonly bucket: string
  readonly key: string
  readonly storage: object
  readonly usesInstructionFile: boolean
  readonly hasInstructionFile: boolean
  readonly partLength: number | undefined
  readonly last: number | undefined
  readonly parts: readonly WrittenPart[]
}

function sealToken(uploadId: string, upload: MultipartUpload): string {
  const { bucket, key, content, envelope, storage, instructionFile } = upload.start
  const { partLength, last, parts } = upload.state
  // A customer's key does not travel.
  const fields = Object.entries(storage).filter(([name]) => !name.startsWith('SSECustomer'))
  const state: State = {
    uploadId,
    bucket,
    key,
    storage: Object.fromEntries(fields),
    usesInstructionFile: instructionFile !== undefined,
    hasInstructionFile: upload.hasInstructionFile,
    partLength,
    last,
    parts: parts.map(writePart),
  }
  const metadata = utf8(JSON.stringify(serializeS3Metadata(envelope)))
  const salt = getEngine().randomBytes(SALT_LENGTH)
  const length = 3 + metadata.length + SALT_LENGTH
  const header = new ByteWriter(length).u8(VERSION).u16(metadata.length).put(metadata).put(salt).bytes
  const plaintext = utf8(JSON.stringify(state))
  const sealed = new Uint8Array(plaintext.length + TAG_LENGTH)
  const tokenKey = keyFor(content.key, salt)
  try {
    getEngine().seal(tokenKey, IV, header, plaintext, sealed)
  } finally {
    wipe(tokenKey, plaintext)
  }
  return Buffer.concat([header, sealed]).toString('base64url')
}

function openState(contentKey: Uint8Array, salt: Uint8Array, header: Uint8Array, sealed: Uint8Array): State {
  if (sealed.length < TAG_LENGTH) throw authenticationFailed()
  const plaintext = new Uint8Array(sealed.length - TAG_LENGTH)
  const tokenKey = keyFor(contentKey, salt)
  try {
    if (!getEngine().open(tokenKey, IV, header, sealed, plaintext)) throw authenticationFailed()
    return parseJson<State>(plaintext)
  } finally {
    wipe(tokenKey, plaintext)
  }
}

function keyFor(contentKey: Uint8Array, salt: Uint8Array): Uint8Array {
  return getEngine().hkdf('sha512', contentKey, salt, INFO, 32)
}

function writePart({ number, length, stored, isTagged, hash }: PartState): WrittenPart {
  return {
    number,
    length,
    stored,
    isTagged,
    segments: hash.segments.map(({ blockOffset, length, hash }) => [blockOffset, length, toBase64(hash)]),
    fragments: hash.fragments.map(({ offset, bytes }) => [offset, toBase64(bytes)]),
  }
}

function readPart({ number, length, stored, isTagged, segments, fragments }: WrittenPart): PartState {
  const hash = {
    segments: segments.map(([blockOffset, length, hash]) => ({ blockOffset, length, hash: fromBase64(hash) })),
    fragments: fragments.map(([offset, bytes]) => ({ offset, bytes: fromBase64(bytes) })),
  }
  return { number, length, stored, isTagged, hash }
}

function parseJson<T>(bytes: Uint8Array): T {
  try {
    return JSON.parse(fromUtf8(bytes) ?? '') as T
  } catch {
    throw malformed('this is no resume token')
  }
}

function fromBase64(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'base64'))
}
