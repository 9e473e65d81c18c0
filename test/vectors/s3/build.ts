/**
 * Builds objects of the S3 Encryption Client, good and bad ones, from the public specification and node:crypto alone, so
 * that the vectors are made by something that is not the code they test. All that is random is derived from labels: the
 * same program gives the same bytes.
 */
import { constants, createCipheriv, createHash, hkdfSync, type KeyLike, publicEncrypt } from 'node:crypto'

export type Texts = Record<string, string>

/** A wrapping key. The KMS key is a stand-in: README.md says what its blobs are. */
export type WrappingKey = { aes: Buffer } | { rsa: KeyLike } | { kms: Buffer; keyId: string }

/** An object in the making. Only `label`, `version`, `wrap` and `key` must be given; the rest are defaults to break. */
export interface Recipe {
  /** Seeds everything that is random. */
  label: string
  version: 1 | 2 | 3
  wrap: string
  key: WrappingKey
  plaintext?: Buffer
  dataKey?: Buffer
  /** Version 2: what the metadata says. */
  contentAlgorithm?: string
  /** What the wrap binds; default: what is bound by rule. */
  bound?: string
  /** Materials description, or encryption context for KMS as the caller gives it. */
  description?: Texts
  /** Version 3. */
  contentIv?: Buffer
  contentAad?: Buffer
  contentKey?: (dataKey: Buffer, messageId: Buffer) => Buffer
  commitment?: (dataKey: Buffer, messageId: Buffer) => Buffer
  messageId?: Buffer
  /** Version 1 and 2. */
  iv?: Buffer
  /** In place of the padding of AES-CBC: a last block. */
  lastBlock?: Buffer
  /** In place of the message in RSA-OAEP-SHA1. */
  oaepMessage?: (dataKey: Buffer) => Buffer
  /** What becomes of the data block of OAEP before it is masked. */
  oaepData?: (data: Buffer) => Buffer
  /** What the block of OAEP begins with; default: 0. */
  oaepFirst?: number
  /** In place of the block of PKCS #1 v1.5. */
  pkcs1Block?: (block: Buffer) => Buffer
}

export interface Built {
  metadata: Texts
  body: Buffer
  plaintext: Buffer
  dataKey: Buffer
  /** What is stored. */
  description: Texts
}

/** `length` bytes, from a label. */
export function random(label: string, length: number): Buffer {
  const parts = Array.from({ length: Math.ceil(length / 32) }, (_, i) => hash('sha256', Buffer.from(`${label}/${i}`)))
  return Buffer.concat(parts).subarray(0, length)
}

export function build(recipe: Recipe): Built {
  const { label, version, description = {} } = recipe
  const plaintext = recipe.plaintext ?? random('plaintext', 70)
  const dataKey = recipe.dataKey ?? random(`${label} data key`, 32)
  const made = version === 3 ? buildV3(recipe, plaintext, dataKey) : buildV1V2(recipe, plaintext, dataKey)
  return { ...made, plaintext, dataKey, description: stored(recipe, description) }
}

export function base64(bytes: Buffer): string {
  return bytes.toString('base64')
}

export function hkdfInfo(text: string): Buffer {
  return Buffer.concat([Buffer.from([0x00, 0x73]), Buffer.from(text)])
}

export function hkdf(dataKey: Buffer, salt: Buffer, info: Buffer, length: number): Buffer {
  return Buffer.from(hkdfSync('sha512', dataKey, salt, info, length))
}

export function gcm(key: Buffer, iv: Buffer, aad: Buffer, plaintext: Buffer): Buffer {
  const cipher = createCipheriv(`aes-${key.length * 8}-gcm` as 'aes-256-gcm', key, iv).setAAD(aad)
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

export function cbc(key: Buffer, iv: Buffer, plaintext: Buffer, lastBlock?: Buffer): Buffer {
  const cipher = createCipheriv(`aes-${key.length * 8}-cbc`, key, iv).setAutoPadding(lastBlock === undefined)
  return Buffer.concat([cipher.update(plaintext), cipher.update(lastBlock ?? Buffer.alloc(0)), cipher.final()])
}

/** The stand-in for KMS: IV || AES-256-GCM, its AAD the pairs of the context as sorted JSON. */
export function kmsBlob(label: string, key: Buffer, context: Texts, dataKey: Buffer): Buffer {
  const iv = random(`${label} kms`, 12)
  const sorted = JSON.stringify(Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1)))
  return Buffer.concat([iv, gcm(key, iv, Buffer.from(sorted), dataKey)])
}

function buildV3(recipe: Recipe, plaintext: Buffer, dataKey: Buffer) {
  const { label, wrap, description = {} } = recipe
  const messageId = recipe.messageId ?? random(`${label} message ID`, 28)
  const contentKey = recipe.contentKey?.(dataKey, messageId) ?? hkdf(dataKey, messageId, hkdfInfo('DERIVEKEY'), 32)
  const commitment = recipe.commitment?.(dataKey, messageId) ?? hkdf(dataKey, messageId, hkdfInfo('COMMITKEY'), 28)
  const iv = recipe.contentIv ?? Buffer.alloc(12, 1)
  const pairs = JSON.stringify(stored(recipe, description))
  const code = { 'AES/GCM': '02', 'kms+context': '12', 'RSA-OAEP-SHA1': '22' }[wrap]!
  const metadata: Texts = {
    'x-amz-c': '115',
    'x-amz-3': base64(wrapDataKey(recipe, dataKey, '115')),
    'x-amz-w': code,
    'x-amz-d': base64(commitment),
    'x-amz-i': base64(messageId),
    ...(pairs !== '{}' && { [code === '12' ? 'x-amz-t' : 'x-amz-m']: pairs }),
  }
  return { metadata, body: gcm(contentKey, iv, recipe.contentAad ?? Buffer.from([0x00, 0x73]), plaintext) }
}

function buildV1V2(recipe: Recipe, plaintext: Buffer, dataKey: Buffer) {
  const { label, version, wrap, description = {}, lastBlock } = recipe
  const algorithm = recipe.contentAlgorithm ?? (version === 1 ? 'AES/CBC/PKCS5Padding' : 'AES/GCM/NoPadding')
  const isGcm = algorithm === 'AES/GCM/NoPadding'
  const iv = recipe.iv ?? random(`${label} iv`, isGcm ? 12 : 16)
  const edk = base64(wrapDataKey(recipe, dataKey, algorithm))
  const shared = { 'x-amz-iv': base64(iv), 'x-amz-matdesc': JSON.stringify(stored(recipe, description)) }
  const metadata: Texts =
    version === 1
      ? { 'x-amz-key': edk, ...shared }
      : {
          'x-amz-key-v2': edk,
          ...shared,
          'x-amz-cek-alg': algorithm,
          'x-amz-wrap-alg': wrap,
          ...(isGcm && { 'x-amz-tag-len': '128' }),
        }
  return {
    metadata,
    body: isGcm ? gcm(dataKey, iv, Buffer.alloc(0), plaintext) : cbc(dataKey, iv, plaintext, lastBlock),
  }
}

/** KMS has one pair more, except where it is the old wrap. */
function stored({ version, wrap, bound, contentAlgorithm }: Recipe, description: Texts): Texts {
  if (wrap !== 'kms+context') return description
  const algorithm = bound ?? (version === 3 ? '115' : (contentAlgorithm ?? 'AES/GCM/NoPadding'))
  return { ...description, 'aws:x-amz-cek-alg': algorithm }
}

function wrapDataKey(recipe: Recipe, dataKey: Buffer, algorithm: string): Buffer {
  const { label, wrap, key, bound = algorithm, description = {} } = recipe
  if ('kms' in key) return kmsBlob(label, key.kms, stored(recipe, description), dataKey)
  if ('aes' in key) return wrapWithAes(label, wrap, key.aes, dataKey, bound)
  const suffixed = Buffer.concat([Buffer.from([dataKey.length]), dataKey, Buffer.from(bound)])
  if (wrap === 'RSA-OAEP-SHA1') {
    return raw(key.rsa, oaep(recipe, recipe.oaepMessage?.(dataKey) ?? suffixed, 'sha1'))
  }
  if (wrap === 'RSA') return raw(key.rsa, (recipe.pkcs1Block ?? ((block) => block))(pkcs1(label, dataKey)))
  return raw(key.rsa, oaep(recipe, dataKey, 'sha256'))
}

function wrapWithAes(label: string, wrap: string, key: Buffer, dataKey: Buffer, bound: string): Buffer {
  if (wrap === 'AES/GCM') {
    const iv = random(`${label} wrap`, 12)
    return Buffer.concat([iv, gcm(key, iv, Buffer.from(bound), dataKey)])
  }
  const cipher =
    wrap === 'AESWrap'
      ? createCipheriv(`id-aes${key.length * 8}-wrap`, key, Buffer.alloc(8, 0xa6))
      : createCipheriv(`aes-${key.length * 8}-ecb`, key, null)
  return Buffer.concat([cipher.update(dataKey), cipher.final()])
}

const MODULUS_LENGTH = 256

function raw(key: KeyLike, block: Buffer): Buffer {
  return publicEncrypt({ key, padding: constants.RSA_NO_PADDING }, block)
}

/** EME-OAEP with this hash for the empty label, and SHA-1 for MGF1. */
function oaep({ label, oaepData, oaepFirst = 0 }: Recipe, message: Buffer, labelHash: string): Buffer {
  const labelDigest = hash(labelHash, Buffer.alloc(0))
  const length = labelDigest.length
  const padding = Buffer.alloc(MODULUS_LENGTH - message.length - 2 * length - 2)
  const whole = Buffer.concat([labelDigest, padding, Buffer.from([1]), message])
  const data = oaepData?.(whole) ?? whole
  const seed = random(`${label} oaep`, length)
  const maskedData = xor(data, mgf1(seed, data.length))
  return Buffer.concat([Buffer.from([oaepFirst]), xor(seed, mgf1(maskedData, length)), maskedData])
}

function pkcs1(label: string, message: Buffer): Buffer {
  const padding = random(`${label} pkcs1`, MODULUS_LENGTH - message.length - 3).map((byte) => byte || 1)
  return Buffer.concat([Buffer.from([0, 2]), padding, Buffer.alloc(1), message])
}

function mgf1(seed: Buffer, length: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(length / 20) }, (_, i) =>
    hash('sha1', Buffer.concat([seed, Buffer.from([0, 0, 0, i])])),
  )
  return Buffer.concat(blocks).subarray(0, length)
}

function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, i) => byte ^ b[i]!))
}

function hash(name: string, bytes: Buffer): Buffer {
  return createHash(name).update(bytes).digest()
}
