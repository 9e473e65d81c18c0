/**
 * What the S3 Encryption Client keeps about an object, in its user metadata or in an instruction file. On the wire every
 * name begins with `x-amz-meta-`; names compare without regard to case, bytes are in base64.
 *
 *     version 1: x-amz-key (EDK), x-amz-iv, x-amz-matdesc
 *     version 2: x-amz-key-v2 (EDK), x-amz-iv, x-amz-cek-alg, x-amz-wrap-alg, x-amz-matdesc, x-amz-tag-len
 *     version 3: x-amz-c (content algorithm), x-amz-d (key commitment), x-amz-i (message ID), always on the object;
 *                x-amz-3 (EDK), x-amz-w (wrap algorithm), x-amz-m (materials description) or x-amz-t (encryption context)
 */
import { toBase64, utf8 } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { malformed, SealwaxError } from '../errors'
import { checkString, describe } from '../options'
import { decodeHeaderText, parseStringMap, serializeStringMap } from './s3-text'

/** User metadata of an object: names without `x-amz-meta-`, and texts. */
export type S3Metadata = Readonly<Record<string, string>>

/** What the content is encrypted with, under the name that is bound to the data key where it is wrapped. */
export type S3ContentAlgorithm = 'AES/CBC/PKCS5Padding' | 'AES/GCM/NoPadding' | '115'

/** How the data key is wrapped: the names of version 2, and for version 1 the names of the ciphers. */
export type S3WrapAlgorithm =
  | 'AES/GCM'
  | 'RSA-OAEP-SHA1'
  | 'kms+context'
  | 'AES'
  | 'RSA'
  | 'AESWrap'
  | 'RSA/ECB/OAEPWithSHA-256AndMGF1Padding'
  | 'kms'

interface S3EnvelopeFields {
  readonly contentAlgorithm: S3ContentAlgorithm
  readonly wrapAlgorithm: S3WrapAlgorithm
  readonly encryptedDataKey: Uint8Array
  /** Which wrapping key it is; for KMS, the encryption context as it was sent to KMS. */
  readonly materialDescription: Readonly<EncryptionContext>
}

/** An object without key commitment. */
export interface S3EnvelopeV1V2 extends S3EnvelopeFields {
  readonly formatVersion: 1 | 2
  readonly contentAlgorithm: 'AES/CBC/PKCS5Padding' | 'AES/GCM/NoPadding'
  /** 12 bytes for GCM, 16 for CBC. */
  readonly iv: Uint8Array
}

/** What an object of version 3 carries itself, even where the rest is in an instruction file. */
export interface S3Commitment {
  readonly formatVersion: 3
  readonly contentAlgorithm: '115'
  /** 28 bytes. */
  readonly messageId: Uint8Array
  /** 28 bytes. */
  readonly commitment: Uint8Array
}

/** All that is stored about an encrypted object, except its ciphertext. */
export type S3Envelope = S3EnvelopeV1V2 | (S3EnvelopeFields & S3Commitment)

/** Without `x-amz-meta-`, which is not counted, and values: what S3 takes for all user metadata together. */
const MAX_METADATA_LENGTH = 2048

export const COMMITMENT_LENGTH = 28
export const MESSAGE_ID_LENGTH = 28

/**
 * Reads what the metadata of an object holds: an envelope, a commitment whose envelope is in the instruction file, or
 * `undefined` where there is neither. Throws `ERR_MESSAGE_MALFORMED` where a rule is broken or formats are mixed,
 * `ERR_UNSUPPORTED_FORMAT` for algorithms that are unknown.
 */
export function parseS3Metadata(metadata: S3Metadata): S3Envelope | S3Commitment | undefined {
  const fields = toFields(metadata)
  checkOneFormat(fields)
  if (fields.has('x-amz-key') || fields.has('x-amz-key-v2')) return parseEnvelopeV1V2(fields)
  const commitment = parseCommitment(fields)
  if (commitment && fields.has('x-amz-3')) return parseEnvelopeV3(fields, commitment)
  const stray = fields.firstOf(KEY_FIELDS)
  if (stray) throw malformed(`the object metadata has ${stray}, but no encrypted data key`)
  return commitment
}

/** Lower-case names, each once, and decoded texts. */
export class S3Fields {
  readonly #fields: ReadonlyMap<string, string>
  readonly #where: string

  /** `where` names the place in errors. */
  constructor(pairs: Iterable<readonly [name: string, value: string]>, where: string) {
    const fields = new Map<string, string>()
    for (const [name, value] of pairs) {
      const lower = name.toLowerCase()
      if (fields.has(lower)) throw malformed(`${where} has ${describe(lower)} twice`)
      fields.set(lower, value)
    }
    this.#fields = fields
    this.#where = where
  }

  has(name: string): boolean {
    return this.#fields.has(name)
  }

  firstOf(names: readonly string[]): string | undefined {
    return names.find((name) => this.#fields.has(name))
  }

  text(name: string): string {
    const value = this.#fields.get(name)
    if (value === undefined) throw malformed(`${this.#where} lacks ${name}`)
    return value
  }

  /** Canonical base64 of `lengths` bytes; of any number but none where that is not given. */
  bytes(name: string, ...lengths: number[]): Uint8Array {
    const value = this.text(name)
    const bytes = Buffer.from(value, 'base64')
    if (bytes.length === 0 || bytes.toString('base64') !== value) throw malformed(`${name} is not base64`)
    if (lengths.length > 0 && !lengths.includes(bytes.length)) {
      throw malformed(`${name} must be ${lengths.join(' or ')} bytes, got ${bytes.length}`)
    }
    return bytes
  }

  map(name: string): Readonly<EncryptionContext> {
    return parseStringMap(this.#fields.get(name), name)
  }
}

/** The rest of an envelope of version 1 or 2. */
export function parseEnvelopeV1V2(fields: S3Fields): S3EnvelopeV1V2 {
  return fields.has('x-amz-key') ? parseEnvelopeV1(fields) : parseEnvelopeV2(fields)
}

/** The rest of an envelope of version 3. */
export function parseEnvelopeV3(fields: S3Fields, commitment: S3Commitment): S3Envelope {
  const code = fields.text('x-amz-w')
  const wrapAlgorithm = WRAP_CODES.get(code)
  if (!wrapAlgorithm) throw unsupported('x-amz-w', code)
  return {
    ...commitment,
    wrapAlgorithm,
    encryptedDataKey: fields.bytes('x-amz-3'),
    materialDescription: fields.map(wrapAlgorithm === 'kms+context' ? 'x-amz-t' : 'x-amz-m'),
  }
}

/** The metadata of an object that carries its whole envelope. Pure ASCII. */
export function serializeS3Metadata(envelope: S3Envelope): S3Metadata {
  if (envelope.formatVersion === 3) return { ...serializeCommitment(envelope), ...serializeEnvelopeV3(envelope) }
  return serializeEnvelopeV1V2(envelope)
}

/** What an object of version 3 carries itself. */
export function serializeCommitment({ messageId, commitment }: S3Commitment): S3Metadata {
  return { 'x-amz-c': '115', 'x-amz-d': toBase64(commitment), 'x-amz-i': toBase64(messageId) }
}

export function serializeEnvelopeV3({ wrapAlgorithm, encryptedDataKey, materialDescription }: S3Envelope): S3Metadata {
  const [code] = [...WRAP_CODES].find(([, name]) => name === wrapAlgorithm)!
  const described = Object.keys(materialDescription).length > 0
  return {
    'x-amz-3': toBase64(encryptedDataKey),
    'x-amz-w': code,
    ...(described && { [code === '12' ? 'x-amz-t' : 'x-amz-m']: serializeStringMap(materialDescription) }),
  }
}

export function serializeEnvelopeV1V2(envelope: S3EnvelopeV1V2): S3Metadata {
  const { contentAlgorithm, wrapAlgorithm, encryptedDataKey, materialDescription, iv } = envelope
  const shared = { 'x-amz-iv': toBase64(iv), 'x-amz-matdesc': serializeStringMap(materialDescription) }
  if (envelope.formatVersion === 1) return { 'x-amz-key': toBase64(encryptedDataKey), ...shared }
  return {
    'x-amz-key-v2': toBase64(encryptedDataKey),
    ...shared,
    'x-amz-cek-alg': contentAlgorithm,
    'x-amz-wrap-alg': wrapAlgorithm,
    ...(contentAlgorithm === 'AES/GCM/NoPadding' && { 'x-amz-tag-len': '128' }),
  }
}

/** Whether a name of metadata is one that this format uses. */
export function isS3EncryptionField(name: string): boolean {
  return ALL_FIELDS.has(name.toLowerCase())
}

/** Throws `ERR_LIMIT_EXCEEDED` where S3 would refuse this user metadata for its length. */
export function checkMetadataLength(metadata: S3Metadata): void {
  let length = 0
  for (const [name, value] of Object.entries(metadata)) length += utf8(name).length + utf8(value).length
  if (length <= MAX_METADATA_LENGTH) return
  throw new SealwaxError(
    'ERR_LIMIT_EXCEEDED',
    `the metadata of the object takes ${length} bytes, S3 takes ${MAX_METADATA_LENGTH}: store less of your own, or use an instruction file`,
  )
}

function toFields(metadata: S3Metadata): S3Fields {
  if (typeof metadata !== 'object' || metadata === null) {
    throw new TypeError(`"metadata" must be an object of strings, got ${describe(metadata)}`)
  }
  // Such as Headers and Map, which would look like no metadata at all.
  if (Symbol.iterator in metadata) {
    throw new TypeError('"metadata" must be an object of strings: Object.fromEntries makes one of pairs')
  }
  const pairs = Object.entries(metadata).map(([name, value]) => {
    const text = checkString(value, `metadata.${name}`, { allowEmpty: true })
    return [name, MAP_FIELDS.has(name.toLowerCase()) ? decodeHeaderText(text) : text] as const
  })
  return new S3Fields(pairs, 'the object metadata')
}

/** Whoever could add a field of another format could choose which reader sees which key. */
function checkOneFormat(fields: S3Fields): void {
  const keys = ENCRYPTED_DATA_KEYS.filter((name) => fields.has(name))
  if (keys.length > 1) throw malformed(`the object metadata has both ${keys[0]} and ${keys[1]}`)
  const foreign = keys[0] === 'x-amz-3' ? undefined : fields.firstOf([...COMMITMENT_FIELDS, 'x-amz-w'])
  if (keys[0] && foreign) throw malformed(`the object metadata has both ${keys[0]} and ${foreign}`)
}

/** The fields of the commitment: all of them, or none. */
function parseCommitment(fields: S3Fields): S3Commitment | undefined {
  if (!fields.has('x-amz-3') && !fields.firstOf(COMMITMENT_FIELDS)) return undefined
  const algorithm = fields.text('x-amz-c')
  if (algorithm !== '115') throw unsupported('x-amz-c', algorithm)
  const commitment = fields.bytes('x-amz-d', COMMITMENT_LENGTH)
  const messageId = fields.bytes('x-amz-i', MESSAGE_ID_LENGTH)
  if (messageId.every((byte) => byte === 0)) throw malformed('x-amz-i is all zeros')
  return { formatVersion: 3, contentAlgorithm: '115', messageId, commitment }
}

function parseEnvelopeV1(fields: S3Fields): S3EnvelopeV1V2 {
  const foreign = fields.firstOf(['x-amz-cek-alg', 'x-amz-wrap-alg', 'x-amz-tag-len'])
  if (foreign) throw malformed(`x-amz-key and ${foreign} belong to different versions`)
  const encryptedDataKey = fields.bytes('x-amz-key')
  return {
    formatVersion: 1,
    contentAlgorithm: 'AES/CBC/PKCS5Padding',
    // The version has no field for it. AES gives 48 bytes at most, the shortest RSA key in use 128.
    wrapAlgorithm: encryptedDataKey.length > 48 ? 'RSA' : 'AES',
    encryptedDataKey,
    materialDescription: fields.map('x-amz-matdesc'),
    iv: fields.bytes('x-amz-iv', 16),
  }
}

function parseEnvelopeV2(fields: S3Fields): S3EnvelopeV1V2 {
  const contentAlgorithm = CONTENT_ALGORITHMS.get(fields.text('x-amz-cek-alg'))
  const wrapAlgorithm = fields.text('x-amz-wrap-alg') as S3WrapAlgorithm
  if (!contentAlgorithm) throw unsupported('x-amz-cek-alg', fields.text('x-amz-cek-alg'))
  if (!WRAP_ALGORITHMS_V2.has(wrapAlgorithm)) throw unsupported('x-amz-wrap-alg', wrapAlgorithm)
  const isGcm = contentAlgorithm === 'AES/GCM/NoPadding'
  // CBC under another wrap is hardly ever found. Whoever names a GCM object so wants its ciphertext decrypted without its tag.
  if (!isGcm && wrapAlgorithm !== 'kms') throw unsupported('x-amz-wrap-alg beside AES-CBC', wrapAlgorithm)
  if (isGcm && fields.text('x-amz-tag-len') !== '128') throw unsupported('x-amz-tag-len', fields.text('x-amz-tag-len'))
  // The AWS SDK for Go writes an empty one into instruction files, that for C++ writes 0 everywhere.
  if (!isGcm && fields.has('x-amz-tag-len') && !['', '0'].includes(fields.text('x-amz-tag-len'))) {
    throw malformed('x-amz-tag-len goes with AES-GCM only')
  }
  return {
    formatVersion: 2,
    contentAlgorithm,
    wrapAlgorithm,
    encryptedDataKey: fields.bytes('x-amz-key-v2'),
    materialDescription: fields.map('x-amz-matdesc'),
    iv: fields.bytes('x-amz-iv', isGcm ? 12 : 16),
  }
}

function unsupported(name: string, value: string): SealwaxError {
  return new SealwaxError('ERR_UNSUPPORTED_FORMAT', `${name} has an unknown value, ${describe(value)}`)
}

export const ENCRYPTED_DATA_KEYS = ['x-amz-key', 'x-amz-key-v2', 'x-amz-3'] as const
export const COMMITMENT_FIELDS = ['x-amz-c', 'x-amz-d', 'x-amz-i'] as const
/** What goes beside an encrypted data key, and has no meaning without one. */
const KEY_FIELDS = [
  'x-amz-iv',
  'x-amz-cek-alg',
  'x-amz-wrap-alg',
  'x-amz-tag-len',
  'x-amz-matdesc',
  'x-amz-w',
  'x-amz-m',
  'x-amz-t',
] as const
const MAP_FIELDS: ReadonlySet<string> = new Set(['x-amz-matdesc', 'x-amz-m', 'x-amz-t'])
const ALL_FIELDS: ReadonlySet<string> = new Set([
  ...ENCRYPTED_DATA_KEYS,
  ...COMMITMENT_FIELDS,
  ...KEY_FIELDS,
  'x-amz-unencrypted-content-length',
  'x-amz-unencrypted-content-md5',
  'x-amz-crypto-instr-file',
])

const CONTENT_ALGORITHMS: ReadonlyMap<string, S3EnvelopeV1V2['contentAlgorithm']> = new Map([
  ['AES/GCM/NoPadding', 'AES/GCM/NoPadding'],
  ['AES/CBC/PKCS5Padding', 'AES/CBC/PKCS5Padding'],
  ['AES/CBC/PKCS7Padding', 'AES/CBC/PKCS5Padding'],
])
const WRAP_ALGORITHMS_V2: ReadonlySet<S3WrapAlgorithm> = new Set([
  'AES/GCM',
  'RSA-OAEP-SHA1',
  'kms+context',
  'AESWrap',
  'RSA/ECB/OAEPWithSHA-256AndMGF1Padding',
  'kms',
])
const WRAP_CODES: ReadonlyMap<string, S3WrapAlgorithm> = new Map([
  ['02', 'AES/GCM'],
  ['12', 'kms+context'],
  ['22', 'RSA-OAEP-SHA1'],
])
