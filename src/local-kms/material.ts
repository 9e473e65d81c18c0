/**
 * What is done with key material. A ciphertext blob of a symmetric key:
 *
 *     u8 format (1) || u8 key ID length || key ID || u32 key version || u8 algorithm (1: AES-256-GCM)
 *     || 12-byte random IV || ciphertext || 16-byte tag
 *
 * The AAD is everything before the ciphertext, then the serialized encryption context. Random IVs: a version of a key is
 * good for 2^32 encryptions.
 */
import {
  constants,
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
  sign,
  verify,
} from 'node:crypto'
import { ByteReader, ByteWriter, utf8, wipe } from '../bytes'
import { equalSecrets } from '../engine/equal-secrets'
import { hashOf, modulusLength, signDigest, verifyDigest } from './digest-signature'
import { invalidCiphertext, validation } from './errors'
import { ecKey, rsaKey } from './key-pairs'
import {
  type EncryptionAlgorithm,
  isSymmetric,
  type KeySpec,
  type KeyVersion,
  type MacAlgorithm,
  type Material,
  materialId,
  type SigningAlgorithm,
  specOf,
} from './keys'

export const MAX_PLAINTEXT_LENGTH = 4096
export const MAX_BLOB_LENGTH = 6144

/** `signal` fires when nobody waits for it any more. */
export async function generateSecret(spec: KeySpec, signal: AbortSignal): Promise<KeyObject> {
  const { kind } = specOf(spec)
  if (kind.type === 'symmetric') return symmetricSecret(kind.bytes)
  return await (kind.type === 'ec' ? ecKey(kind.curve, signal) : rsaKey(kind.bits, signal))
}

/** Version `number` of a key, counted from 0. */
export function keyVersion(
  keyId: string,
  number: number,
  secret: KeyObject,
  origin: KeyVersion['origin'],
  created: number,
): KeyVersion {
  return { id: materialId(keyId, number), secret, created, origin }
}

/** `material` with one more version, which encrypts from now on. */
export function rotated(material: Material, origin: KeyVersion['origin'], now: number): Material {
  const { keyId, versions } = material
  const version = keyVersion(keyId, versions.length, symmetricSecret(32), origin, now)
  return { ...material, versions: [...versions, version] }
}

function symmetricSecret(length: number): KeyObject {
  const bytes = randomBytes(length)
  try {
    return createSecretKey(bytes)
  } finally {
    wipe(bytes)
  }
}

/** Encrypts under the current version. `context` is serialized, and empty for RSA. */
export function encrypt(
  material: Material,
  algorithm: EncryptionAlgorithm,
  context: Uint8Array,
  plaintext: Uint8Array,
): Buffer {
  const { secret } = material.versions.at(-1)!
  if (isSymmetric(material)) return seal(material, secret, context, plaintext)
  const longest = modulusLength(secret) - 2 * (algorithm === 'RSAES_OAEP_SHA_1' ? 20 : 32) - 2
  if (plaintext.length > longest)
    throw validation(`Algorithm ${algorithm} and key spec ${material.spec} encrypt at most ${longest} bytes.`)
  return publicEncrypt({ key: createPublicKey(secret), ...oaep(algorithm) }, plaintext)
}

/** Decrypts what {@link encrypt} made under any version. */
export function decrypt(
  material: Material,
  algorithm: EncryptionAlgorithm,
  context: Uint8Array,
  blob: Uint8Array,
): Buffer {
  if (isSymmetric(material)) return open(material, context, blob)
  const { secret } = material.versions[0]!
  if (!hasItsLength(secret, blob)) throw invalidCiphertext()
  try {
    return privateDecrypt({ key: secret, ...oaep(algorithm) }, blob)
  } catch {
    throw invalidCiphertext()
  }
}

/** The key ID that a blob names, not authenticated. */
export function blobKeyId(blob: Uint8Array): string {
  return parseBlob(blob).keyId
}

/** The ID of the version of a symmetric key that a blob was encrypted under, once that is known to be genuine. */
export function blobMaterialId(material: Material, blob: Uint8Array): string | undefined {
  return isSymmetric(material) ? material.versions[parseBlob(blob).version]!.id : undefined
}

/** Signs a whole message, or a digest the caller made and {@link checkDigest} has passed. */
export function signMessage(
  material: Material,
  algorithm: SigningAlgorithm,
  type: MessageType,
  message: Uint8Array,
): Buffer {
  const { secret } = material.versions[0]!
  if (type === 'DIGEST') return signDigest(secret, algorithm, message)
  return sign(hashOf(algorithm), message, { key: secret, ...signaturePadding(secret, algorithm) })
}

export function verifyMessage(
  material: Material,
  algorithm: SigningAlgorithm,
  type: MessageType,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  const { secret } = material.versions[0]!
  if (type === 'DIGEST') return verifyDigest(secret, algorithm, message, signature)
  if (!hasItsLength(secret, signature)) return false
  const key = createPublicKey(secret)
  return verify(hashOf(algorithm), message, { key, ...signaturePadding(secret, algorithm) }, signature)
}

export type MessageType = 'RAW' | 'DIGEST'

export function mac(material: Material, algorithm: MacAlgorithm, message: Uint8Array): Buffer {
  return createHmac(hashOf(algorithm), material.versions[0]!.secret).update(message).digest()
}

export function verifyMac(material: Material, algorithm: MacAlgorithm, message: Uint8Array, tag: Uint8Array): boolean {
  return equalSecrets(mac(material, algorithm, message), tag)
}

/** The raw ECDH secret with a peer's public key (DER, SubjectPublicKeyInfo) on the same curve. */
export function sharedSecret(material: Material, peer: Uint8Array): Buffer {
  try {
    const publicKey = createPublicKey({ key: Buffer.from(peer), format: 'der', type: 'spki' })
    return diffieHellman({ privateKey: material.versions[0]!.secret, publicKey })
  } catch {
    throw validation(`The public key is not a DER public key on the curve of ${material.spec}.`)
  }
}

/** DER, SubjectPublicKeyInfo. */
export function publicKeyOf(secret: KeyObject): Buffer {
  return createPublicKey(secret).export({ format: 'der', type: 'spki' })
}

function seal(material: Material, secret: KeyObject, context: Uint8Array, plaintext: Uint8Array): Buffer {
  const keyId = utf8(material.keyId)
  const iv = randomBytes(IV_LENGTH)
  const header = new ByteWriter(keyId.length + 7 + IV_LENGTH)
    .u8(FORMAT)
    .u8(keyId.length)
    .put(keyId)
    .u32(material.versions.length - 1)
    .u8(AES_256_GCM)
    .put(iv).bytes
  const cipher = createCipheriv('aes-256-gcm', secret, iv).setAAD(header).setAAD(context)
  return Buffer.concat([header, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

function open(material: Material, context: Uint8Array, blob: Uint8Array): Buffer {
  const { version, header, iv, ciphertext, tag } = parseBlob(blob)
  const { secret } = material.versions[version] ?? throwInvalid()
  const decipher = createDecipheriv('aes-256-gcm', secret, iv, { authTagLength: TAG_LENGTH })
  decipher.setAAD(header).setAAD(context).setAuthTag(tag)
  const plaintext = decipher.update(ciphertext)
  try {
    decipher.final()
    return plaintext
  } catch {
    wipe(plaintext)
    throw invalidCiphertext()
  }
}

function parseBlob(blob: Uint8Array) {
  try {
    const reader = new ByteReader(blob, 'ciphertext blob')
    const format = reader.u8()
    const keyId = reader.text(reader.u8())
    const version = reader.u32()
    const algorithm = reader.u8()
    const iv = reader.take(IV_LENGTH)
    const header = blob.subarray(0, reader.offset)
    const ciphertext = reader.take(reader.remaining - TAG_LENGTH)
    if (format !== FORMAT || algorithm !== AES_256_GCM) throwInvalid()
    return { keyId, version, header, iv, ciphertext, tag: reader.take(TAG_LENGTH) }
  } catch {
    throw invalidCiphertext()
  }
}

function throwInvalid(): never {
  throw invalidCiphertext()
}

function oaep(algorithm: EncryptionAlgorithm) {
  return { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: algorithm === 'RSAES_OAEP_SHA_1' ? 'sha1' : 'sha256' }
}

function signaturePadding(secret: KeyObject, algorithm: SigningAlgorithm) {
  if (secret.asymmetricKeyType === 'ec') return { dsaEncoding: 'der' as const }
  if (!algorithm.startsWith('RSASSA_PSS')) return { padding: constants.RSA_PKCS1_PADDING }
  return { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
}

/** Whether it is as long as the modulus: OpenSSL takes RSA ciphertexts and PSS signatures without their leading zeros too. */
function hasItsLength(secret: KeyObject, made: Uint8Array): boolean {
  return secret.asymmetricKeyType !== 'rsa' || made.length === modulusLength(secret)
}

/** Throws for a digest that none of the algorithm's hash can be. */
export function checkDigest(algorithm: SigningAlgorithm, digest: Uint8Array): void {
  const length = Number(algorithm.slice(-3)) / 8
  if (digest.length !== length) throw validation(`Digest is invalid length for algorithm ${algorithm}.`)
}

const FORMAT = 1
const AES_256_GCM = 1
const IV_LENGTH = 12
const TAG_LENGTH = 16
