/**
 * Signatures over a digest that the caller made (`MessageType: DIGEST`), which node:crypto does not offer: it always
 * hashes. Built from its raw RSA and its elliptic-curve points. The arithmetic below is not constant-time: another reason
 * why this server is for development and tests only. Signatures over whole messages never come here.
 */
import {
  constants,
  createECDH,
  createHash,
  createPublicKey,
  type KeyObject,
  privateEncrypt,
  publicDecrypt,
  randomBytes,
} from 'node:crypto'
import { equalBytes } from '../bytes'
import type { SigningAlgorithm } from './keys'

/** The hash of an algorithm named `…_SHA_256`. */
export function hashOf(algorithm: string): string {
  return `sha${algorithm.slice(-3)}`
}

/** Signs `digest`, which is as long as the hash of `algorithm`. */
export function signDigest(key: KeyObject, algorithm: SigningAlgorithm, digest: Uint8Array): Buffer {
  if (algorithm.startsWith('ECDSA')) return signEcdsa(key, digest)
  if (algorithm.startsWith('RSASSA_PKCS1')) {
    return privateEncrypt({ key, padding: constants.RSA_PKCS1_PADDING }, digestInfo(algorithm, digest))
  }
  const encoded = encodePss(hashOf(algorithm), digest, randomBytes(digest.length), modulusLength(key))
  return privateEncrypt({ key, padding: constants.RSA_NO_PADDING }, encoded)
}

export function verifyDigest(
  key: KeyObject,
  algorithm: SigningAlgorithm,
  digest: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (algorithm.startsWith('ECDSA')) return verifyEcdsa(key, digest, signature)
  if (signature.length !== modulusLength(key)) return false
  const pkcs1 = algorithm.startsWith('RSASSA_PKCS1')
  const padding = pkcs1 ? constants.RSA_PKCS1_PADDING : constants.RSA_NO_PADDING
  let encoded: Buffer
  try {
    encoded = publicDecrypt({ key: createPublicKey(key), padding }, signature)
  } catch {
    return false
  }
  return pkcs1 ? equalBytes(encoded, digestInfo(algorithm, digest)) : verifyPss(hashOf(algorithm), digest, encoded)
}

/** RFC 8017, 9.2, note 1. */
function digestInfo(algorithm: SigningAlgorithm, digest: Uint8Array): Buffer {
  const identifier = { sha256: 1, sha384: 2, sha512: 3 }[hashOf(algorithm)]!
  const prefix = [
    0x30,
    17 + digest.length,
    0x30,
    13,
    6,
    9,
    0x60,
    0x86,
    0x48,
    1,
    0x65,
    3,
    4,
    2,
    identifier,
    5,
    0,
    4,
    digest.length,
  ]
  return Buffer.concat([Buffer.from(prefix), digest])
}

/** EMSA-PSS (RFC 8017, 9.1.1) with a salt as long as the hash, for a modulus of whole bytes. */
function encodePss(hash: string, digest: Uint8Array, salt: Uint8Array, length: number): Buffer {
  const h = pssHash(hash, digest, salt)
  const db = Buffer.alloc(length - h.length - 1)
  db[db.length - salt.length - 1] = 1
  db.set(salt, db.length - salt.length)
  return Buffer.concat([maskPss(hash, h, db), h, PSS_TRAILER])
}

/** RFC 8017, 9.1.2: takes the salt out, encodes again and compares. */
function verifyPss(hash: string, digest: Uint8Array, encoded: Buffer): boolean {
  const h = encoded.subarray(-digest.length - 1, -1)
  const db = maskPss(hash, h, encoded.subarray(0, -digest.length - 1))
  return equalBytes(encodePss(hash, digest, db.subarray(-digest.length), encoded.length), encoded)
}

function pssHash(hash: string, digest: Uint8Array, salt: Uint8Array): Buffer {
  return createHash(hash).update(Buffer.alloc(8)).update(digest).update(salt).digest()
}

/** XORs `db` with MGF1(h); the top bit is cleared, as the encoded message is one bit shorter than the modulus. */
function maskPss(hash: string, h: Uint8Array, db: Uint8Array): Buffer {
  const masked = Buffer.from(db)
  let offset = 0
  for (let counter = 0; offset < db.length; counter++) {
    const block = createHash(hash)
      .update(h)
      .update(Buffer.from([0, 0, 0, counter]))
      .digest()
    for (const byte of block.subarray(0, db.length - offset)) masked[offset++]! ^= byte
  }
  masked[0]! &= 0x7f
  return masked
}

const PSS_TRAILER = Buffer.from([0xbc])

/** Bytes of an RSA key's modulus, and so of its signatures. */
export function modulusLength(key: KeyObject): number {
  return key.asymmetricKeyDetails!.modulusLength! / 8
}

/** FIPS 186-5, 6.4.1. A fresh key pair serves as k and k·G. */
function signEcdsa(key: KeyObject, digest: Uint8Array): Buffer {
  const { curve, order, scalar } = ecKey(key)
  const ephemeral = createECDH(curve)
  const r = abscissa(ephemeral.generateKeys()) % order
  const k = toBigint(ephemeral.getPrivateKey())
  const s = (inverse(k, order) * (toBigint(digest) + r * scalar)) % order
  return r === 0n || s === 0n ? signEcdsa(key, digest) : encodeEcdsa(r, s)
}

/** FIPS 186-5, 6.4.2, with the private key at hand: u·G + v·Q is (u + v·d)·G. */
function verifyEcdsa(key: KeyObject, digest: Uint8Array, signature: Uint8Array): boolean {
  const { curve, order, scalar, length } = ecKey(key)
  const pair = decodeEcdsa(signature)
  if (!pair || pair.some((value) => value === 0n || value >= order)) return false
  const [r, s] = pair
  const w = inverse(s, order)
  const multiple = (((toBigint(digest) + r * scalar) % order) * w) % order
  if (multiple === 0n) return false
  const point = createECDH(curve)
  point.setPrivateKey(toBytes(multiple, length))
  return abscissa(point.getPublicKey()) % order === r
}

function ecKey(key: KeyObject): { curve: string; order: bigint; scalar: bigint; length: number } {
  const curve = key.asymmetricKeyDetails!.namedCurve!
  // Not as JWK: on Node.js 20 that export of a fresh key can deadlock with the garbage collector. RFC 5915 begins:
  // SEQUENCE, its length in one byte or two, INTEGER 1 in three bytes, OCTET STRING, its length, the scalar.
  const der = key.export({ type: 'sec1', format: 'der' })
  const start = (der[1]! & 0x80 ? 3 : 2) + 5
  const scalar = der.subarray(start, start + der[start - 1]!)
  return { curve, order: CURVE_ORDERS[curve]!, scalar: toBigint(scalar), length: scalar.length }
}

function abscissa(uncompressed: Buffer): bigint {
  return toBigint(uncompressed.subarray(1, 1 + (uncompressed.length - 1) / 2))
}

function inverse(value: bigint, modulus: bigint): bigint {
  let [a, b, x, y] = [value % modulus, modulus, 1n, 0n]
  while (a > 1n) {
    const quotient = b / a
    ;[a, b, x, y] = [b - quotient * a, a, y - quotient * x, x]
  }
  return ((x % modulus) + modulus) % modulus
}

/** SEQUENCE { INTEGER r, INTEGER s } (RFC 3279, 2.2.3). */
function encodeEcdsa(r: bigint, s: bigint): Buffer {
  const integers = Buffer.concat([r, s].map(encodeInteger))
  return Buffer.concat([
    Buffer.from(integers.length < 0x80 ? [0x30, integers.length] : [0x30, 0x81, integers.length]),
    integers,
  ])
}

function encodeInteger(value: bigint): Buffer {
  const hex = value.toString(16)
  const bytes = Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex')
  const sign = bytes[0]! & 0x80 ? [0] : []
  return Buffer.concat([Buffer.from([2, sign.length + bytes.length, ...sign]), bytes])
}

/** Reads leniently, then accepts only what would be written again. */
function decodeEcdsa(signature: Uint8Array): [bigint, bigint] | undefined {
  const bytes = Buffer.from(signature)
  const first = bytes[1] === 0x81 ? 3 : 2
  const second = first + 2 + (bytes[first + 1] ?? 0)
  const r = toBigint(bytes.subarray(first + 2, second))
  const s = toBigint(bytes.subarray(second + 2))
  return equalBytes(encodeEcdsa(r, s), signature) ? [r, s] : undefined
}

function toBigint(bytes: Uint8Array): bigint {
  return BigInt(`0x0${Buffer.from(bytes).toString('hex')}`)
}

function toBytes(value: bigint, length: number): Buffer {
  return Buffer.from(value.toString(16).padStart(length * 2, '0'), 'hex')
}

/** SEC 2, by the names of OpenSSL. */
const CURVE_ORDERS: Readonly<Record<string, bigint>> = {
  prime256v1: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  secp256k1: 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n,
  secp384r1: 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
  secp521r1:
    0x01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409n,
}
