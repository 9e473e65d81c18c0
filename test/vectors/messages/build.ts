/**
 * Builds AWS Encryption SDK messages, good and bad ones, from the public specification and node:crypto alone, so that
 * the vectors are made by something that is not the code they test. All that is random is derived from labels: the
 * same program gives the same bytes.
 */
import {
  constants,
  createCipheriv,
  createECDH,
  createHash,
  createPublicKey,
  hkdfSync,
  type KeyLike,
  publicEncrypt,
} from 'node:crypto'

type Suite = {
  keyLength: 16 | 24 | 32
  hash?: 'sha256' | 'sha384' | 'sha512'
  curve?: 'prime256v1' | 'secp384r1'
  commits?: true
}

export const SUITES: Readonly<Record<number, Suite>> = {
  20: { keyLength: 16 },
  70: { keyLength: 24 },
  120: { keyLength: 32 },
  276: { keyLength: 16, hash: 'sha256' },
  326: { keyLength: 24, hash: 'sha256' },
  376: { keyLength: 32, hash: 'sha256' },
  532: { keyLength: 16, hash: 'sha256', curve: 'prime256v1' },
  838: { keyLength: 24, hash: 'sha384', curve: 'secp384r1' },
  888: { keyLength: 32, hash: 'sha384', curve: 'secp384r1' },
  1144: { keyLength: 32, hash: 'sha512', commits: true },
  1400: { keyLength: 32, hash: 'sha512', commits: true, curve: 'secp384r1' },
}

export type Bytes = Uint8Array | string
export type Pair = readonly [key: Bytes, value: Bytes]

export interface RawAes {
  namespace: string
  name: string
  key: Buffer
}

export interface Edk {
  id: Bytes
  info: Bytes
  ciphertext: Bytes
}

export interface Frame {
  final: boolean
  sequenceNumber: number
  iv: Buffer
  content: Buffer
  /** What the length field says; default: the truth. */
  claimedLength?: bigint
  aad?: { messageId?: Buffer; part?: string; sequenceNumber?: number; length?: number }
  /** In place of the derived key. */
  key?: Buffer
}

/** A message in the making. Only `suite`, `label` and `wrap` must be given; the rest are defaults to break. */
export interface Recipe {
  /** Seeds everything that is random. */
  label: string
  suite: number
  plaintext?: Buffer
  frameLength?: number
  framed?: boolean
  /** An exact multiple of the frame length ends in a full final frame, not in an extra empty one. */
  fullFinal?: boolean
  /** In order of writing; the public key of signed suites is added in its place. */
  context?: Pair[]
  /** Makes the EDKs, given the data key and the serialized context. */
  wrap: (dataKey: Buffer, context: Buffer) => Edk[]
  publicKey?: ((point: Buffer, uncompressed: Buffer) => string | undefined) | undefined
  dataKey?: Buffer

  version?: number
  type?: number
  suiteField?: number
  contextBytes?: Buffer
  contextLength?: number
  edkBytes?: Buffer
  edkCount?: number
  contentType?: number
  reserved?: number
  ivLength?: number
  headerFrameLength?: number
  commitment?: (right: Buffer) => Buffer
  headerIv?: Buffer
  headerTag?: (right: Buffer) => Buffer
  frames?: (frames: Frame[]) => Frame[]
  signature?: (right: Buffer, sign: (bytes: Buffer) => Buffer) => Buffer
  signatureLength?: number
  footer?: boolean
}

export interface Built {
  message: Buffer
  headerBody: Buffer
  headerAuth: Buffer
  frames: Buffer[]
  footer: Buffer
  plaintext: Buffer
}

export function build(recipe: Recipe): Built {
  const { label, suite, plaintext = Buffer.alloc(0), framed = true } = recipe
  const { keyLength, curve, commits } = SUITES[suite]!
  const dataKey = recipe.dataKey ?? random(`${label} data key`, keyLength)
  const messageId = random(`${label} message id`, commits ? 32 : 16)
  const frameLength = framed ? (recipe.frameLength ?? 32) : 0
  const signer = curve && signingKey(`${label} signature`, curve)
  const publicKey =
    signer && (recipe.publicKey ?? ((point) => point.toString('base64')))(signer.point, signer.uncompressed)
  const pairs = publicKey === undefined ? (recipe.context ?? []) : withPublicKey(recipe.context ?? [], publicKey)
  const context = recipe.contextBytes ?? contextBytes(pairs)
  const edks = recipe.wrap(dataKey, context)
  const { key, commitment } = derive(suite, dataKey, messageId)

  const edkBytes =
    recipe.edkBytes ?? Buffer.concat(edks.flatMap(({ id, info, ciphertext }) => [id, info, ciphertext].map(field)))
  const start = commits ? [u8(recipe.version ?? 2)] : [u8(recipe.version ?? 1), u8(recipe.type ?? 0x80)]
  const contentType = u8(recipe.contentType ?? (framed ? 2 : 1))
  const headerFrameLength = u32(recipe.headerFrameLength ?? frameLength)
  const suiteData = recipe.commitment?.(commitment) ?? commitment
  const end = commits
    ? [contentType, headerFrameLength, suiteData]
    : [contentType, u32(recipe.reserved ?? 0), u8(recipe.ivLength ?? 12), headerFrameLength]
  const headerBody = Buffer.concat([
    ...start,
    u16(recipe.suiteField ?? suite),
    messageId,
    u16(recipe.contextLength ?? context.length),
    context,
    u16(recipe.edkCount ?? edks.length),
    edkBytes,
    ...end,
  ])
  const headerIv = recipe.headerIv ?? Buffer.alloc(12)
  const tag = seal(key, headerIv, headerBody, Buffer.alloc(0))
  const headerTag = recipe.headerTag?.(tag) ?? tag
  const headerAuth = commits ? headerTag : Buffer.concat([headerIv, headerTag])

  const plan = framed ? cut(plaintext, frameLength, recipe.fullFinal) : [wholeBlock(plaintext)]
  const frames = (recipe.frames?.(plan) ?? plan).map((frame) => serializeFrame(frame, key, messageId, framed))
  const signed = Buffer.concat([headerBody, headerAuth, ...frames])
  let footer: Buffer = Buffer.alloc(0)
  if (signer && recipe.footer !== false) {
    const sign = (bytes: Buffer) => signer.sign(bytes, curve === 'prime256v1' ? 'sha256' : 'sha384')
    const right = sign(signed)
    const signature = recipe.signature?.(right, sign) ?? right
    footer = Buffer.concat([u16(recipe.signatureLength ?? signature.length), signature])
  }
  return { message: Buffer.concat([signed, footer]), headerBody, headerAuth, frames, footer, plaintext }
}

/** Bytes that follow from `label` alone. */
export function random(label: string, length: number): Buffer {
  return createHash('shake256', { outputLength: length }).update(`message vectors: ${label}`).digest()
}

/** Serialized in the order given. */
export function contextBytes(pairs: readonly Pair[]): Buffer {
  if (pairs.length === 0) return Buffer.alloc(0)
  return Buffer.concat([u16(pairs.length), ...pairs.flatMap((pair) => pair.map(field))])
}

/** In the order of the keys' UTF-8 bytes, as messages should have it. */
export function sorted(pairs: readonly Pair[]): Pair[] {
  return [...pairs].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
}

export function rawAesEdk(
  label: string,
  { namespace, name, key }: RawAes,
  dataKey: Buffer,
  aad: Buffer,
  {
    tagBits = 128,
    ivLength = 12,
    tagLength = 16,
    info,
  }: { tagBits?: number; ivLength?: number; tagLength?: number; info?: Buffer } = {},
): Edk {
  const iv = random(`${label} wrapping IV`, 12)
  const wrapped = seal(key, iv, aad, dataKey)
  return {
    id: namespace,
    info: info ?? Buffer.concat([Buffer.from(name), u32(tagBits), u32(ivLength), iv]),
    ciphertext: wrapped.subarray(0, dataKey.length + tagLength),
  }
}

/** RSA with padding made here, from `label`, since OpenSSL's is random. `hash` undefined is PKCS #1 v1.5. */
export function rawRsaEdk(
  label: string,
  rsa: { namespace: string; name: string; key: KeyLike; hash?: string },
  dataKey: Buffer,
): Edk {
  const key = createPublicKey(rsa.key)
  const length = (key.asymmetricKeyDetails!.modulusLength! + 7) >> 3
  const padded = rsa.hash ? oaep(label, rsa.hash, dataKey, length) : pkcs1(label, dataKey, length)
  const ciphertext = publicEncrypt({ key, padding: constants.RSA_NO_PADDING }, padded)
  return { id: rsa.namespace, info: rsa.name, ciphertext }
}

export function frameIv(sequenceNumber: number): Buffer {
  return Buffer.concat([Buffer.alloc(8), u32(sequenceNumber)])
}

/** A key pair that follows from `label`, and ECDSA signatures with nonces that follow from key and message. */
export function signingKey(label: string, curve: 'prime256v1' | 'secp384r1') {
  const { length, order } = CURVES[curve]
  const d = scalar(random(label, length + 8), order)
  const pair = createECDH(curve)
  pair.setPrivateKey(toBytes(d, length))
  return {
    point: pair.getPublicKey(null, 'compressed') as Buffer,
    uncompressed: pair.getPublicKey(null, 'uncompressed') as Buffer,
    sign(bytes: Buffer, hash: string): Buffer {
      const digest = createHash(hash).update(bytes).digest()
      const k = scalar(random(`${label} nonce ${digest.toString('hex')}`, length + 8), order)
      const nonce = createECDH(curve)
      nonce.setPrivateKey(toBytes(k, length))
      const r = toInteger(nonce.getPublicKey().subarray(1, 1 + length)) % order
      const s = (inverse(k, order) * ((toInteger(digest) + r * d) % order)) % order
      return derSequence(derInteger(r), derInteger(s))
    },
  }
}

export const CURVES = {
  prime256v1: { length: 32, order: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n },
  secp384r1: {
    length: 48,
    order: 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
  },
} as const

export const derInteger = (value: bigint): Buffer => {
  let hex = value.toString(16)
  if (hex.length % 2) hex = `0${hex}`
  if (Number.parseInt(hex.slice(0, 2), 16) >= 0x80) hex = `00${hex}`
  return Buffer.concat([u8(2), u8(hex.length / 2), Buffer.from(hex, 'hex')])
}
export const derSequence = (...parts: Buffer[]): Buffer => {
  const content = Buffer.concat(parts)
  return Buffer.concat([u8(0x30), u8(content.length), content])
}

export const u8 = (value: number): Buffer => Buffer.of(value)
export const u16 = (value: number): Buffer => Buffer.of(value >> 8, value & 0xff)
export const u32 = (value: number): Buffer => Buffer.from(value.toString(16).padStart(8, '0'), 'hex')
export const u64 = (value: bigint): Buffer => Buffer.from(value.toString(16).padStart(16, '0'), 'hex')
export const field = (bytes: Bytes): Buffer => Buffer.concat([u16(Buffer.from(bytes).length), Buffer.from(bytes)])

function derive(suite: number, dataKey: Buffer, messageId: Buffer): { key: Buffer; commitment: Buffer } {
  const { keyLength, hash, commits } = SUITES[suite]!
  const hkdf = (salt: Buffer, info: Buffer, length: number) => Buffer.from(hkdfSync(hash!, dataKey, salt, info, length))
  if (!hash) return { key: dataKey, commitment: Buffer.alloc(0) }
  if (!commits) {
    const key = hkdf(Buffer.alloc(0), Buffer.concat([u16(suite), messageId]), keyLength)
    return { key, commitment: Buffer.alloc(0) }
  }
  return {
    key: hkdf(messageId, Buffer.concat([u16(suite), Buffer.from('DERIVEKEY')]), keyLength),
    commitment: hkdf(messageId, Buffer.from('COMMITKEY'), 32),
  }
}

function cut(plaintext: Buffer, frameLength: number, fullFinal = false): Frame[] {
  const frames: Frame[] = []
  let rest = plaintext
  const frame = (final: boolean, content: Buffer): Frame => {
    const sequenceNumber = frames.length + 1
    return { final, sequenceNumber, iv: frameIv(sequenceNumber), content }
  }
  while (rest.length > frameLength || (rest.length === frameLength && !fullFinal)) {
    frames.push(frame(false, rest.subarray(0, frameLength)))
    rest = rest.subarray(frameLength)
  }
  frames.push(frame(true, rest))
  return frames
}

function wholeBlock(content: Buffer): Frame {
  return { final: true, sequenceNumber: 1, iv: frameIv(1), content }
}

function serializeFrame(frame: Frame, key: Buffer, messageId: Buffer, framed: boolean): Buffer {
  const { final, sequenceNumber, iv, content, aad = {} } = frame
  const part = aad.part ?? (framed ? (final ? 'Final Frame' : 'Frame') : 'Single Block')
  const length = frame.claimedLength ?? BigInt(content.length)
  const bound = Buffer.concat([
    aad.messageId ?? messageId,
    Buffer.from(`AWSKMSEncryptionClient ${part}`),
    u32(aad.sequenceNumber ?? sequenceNumber),
    u64(BigInt(aad.length ?? content.length)),
  ])
  const sealed = seal(frame.key ?? key, iv, bound, content)
  if (!framed) return Buffer.concat([iv, u64(length), sealed])
  if (!final) return Buffer.concat([u32(sequenceNumber), iv, sealed])
  return Buffer.concat([u32(0xffffffff), u32(sequenceNumber), iv, u32(Number(length)), sealed])
}

function seal(key: Buffer, iv: Buffer, aad: Buffer, plaintext: Buffer): Buffer {
  const cipher = createCipheriv(`aes-${(key.length * 8) as 128 | 192 | 256}-gcm`, key, iv, {
    authTagLength: 16,
  }).setAAD(aad)
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

function withPublicKey(pairs: Pair[], publicKey: string): Pair[] {
  return sorted([...pairs, ['aws-crypto-public-key', publicKey]])
}

// RFC 8017, 7.1.1 and 7.2.1
function oaep(label: string, hash: string, message: Buffer, length: number): Buffer {
  const digest = (bytes: Uint8Array) => createHash(hash).update(bytes).digest()
  const empty = digest(Buffer.alloc(0))
  const block = Buffer.alloc(length - empty.length - 1)
  empty.copy(block)
  block[block.length - message.length - 1] = 1
  message.copy(block, block.length - message.length)
  const mask = (seed: Buffer, size: number) =>
    Buffer.concat(
      Array.from({ length: Math.ceil(size / empty.length) }, (_, i) => digest(Buffer.concat([seed, u32(i)]))),
    ).subarray(0, size)
  const seed = random(`${label} OAEP seed`, empty.length)
  const maskedBlock = xor(block, mask(seed, block.length))
  return Buffer.concat([u8(0), xor(seed, mask(maskedBlock, seed.length)), maskedBlock])
}

function pkcs1(label: string, message: Buffer, length: number): Buffer {
  const padding = random(`${label} PKCS1 padding`, length - message.length - 3).map((byte) => byte || 1)
  return Buffer.concat([u8(0), u8(2), padding, u8(0), message])
}

function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, i) => byte ^ b[i]!))
}

function scalar(bytes: Buffer, order: bigint): bigint {
  return (toInteger(bytes) % (order - 1n)) + 1n
}

function toInteger(bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString('hex')}`)
}

function toBytes(value: bigint, length: number): Buffer {
  return Buffer.from(value.toString(16).padStart(length * 2, '0'), 'hex')
}

/** By Fermat: the order is prime. */
function inverse(value: bigint, order: bigint): bigint {
  let result = 1n
  for (let base = value, exponent = order - 2n; exponent > 0n; exponent >>= 1n, base = (base * base) % order) {
    if (exponent & 1n) result = (result * base) % order
  }
  return result
}
