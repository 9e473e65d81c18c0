/**
 * ECDSA keys of signed messages. Each message has a key pair of its own; the public key travels in the encryption
 * context as base64 of the compressed point (02 or 03 || x).
 */
import { createPublicKey, generateKeyPair, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { SealwaxError } from '../errors'
import type { NodeAlgorithmSuite } from '../suites'

type Curve = NonNullable<NodeAlgorithmSuite['signatureCurve']>

// SubjectPublicKeyInfo of a compressed point, up to the point itself (RFC 5480).
const CURVES: Readonly<Record<Curve, { spki: string; pointLength: number }>> = {
  prime256v1: { spki: '3039301306072a8648ce3d020106082a8648ce3d030107032200', pointLength: 33 },
  secp384r1: { spki: '3046301006072a8648ce3d020106052b81040022033200', pointLength: 49 },
}

/** The private half, for one message or for the messages that share cached materials. */
export class SignatureKey {
  readonly signatureCurve: Curve
  readonly privateKey: KeyObject
  /** The public half: 02 or 03 || x. */
  readonly compressPoint: Uint8Array

  constructor(signatureCurve: Curve, privateKey: KeyObject, compressPoint: Uint8Array) {
    this.signatureCurve = signatureCurve
    this.privateKey = privateKey
    this.compressPoint = compressPoint
    Object.freeze(this)
  }

  /** A fresh key, which nobody else gets. */
  static generate(signatureCurve: Curve): SignatureKey {
    return KEYS_AHEAD[signatureCurve].take()
  }
}

/**
 * Key pairs of one curve. To make one takes as long as to sign: from the second message on, the next ones are made
 * ahead, one at a time, on a thread of Node's pool.
 */
class KeysAhead {
  readonly #curve: Curve
  readonly #ready: SignatureKey[] = []
  #taken = 0
  #making = false

  constructor(curve: Curve) {
    this.#curve = curve
  }

  take(): SignatureKey {
    const key = this.#ready.pop() ?? this.#keyOf(generateKeyPairSync('ec', { namedCurve: this.#curve }))
    this.#taken++
    if (this.#taken > 1) this.#makeMore()
    return key
  }

  #makeMore(): void {
    if (this.#making || this.#ready.length >= KEPT_AHEAD) return
    this.#making = true
    generateKeyPair('ec', { namedCurve: this.#curve }, (error, publicKey, privateKey) => {
      this.#making = false
      // Whoever needs a key then makes it, and is told what is wrong.
      if (error) return
      this.#ready.push(this.#keyOf({ publicKey, privateKey }))
      this.#makeMore()
    })
  }

  #keyOf({ publicKey, privateKey }: { publicKey: KeyObject; privateKey: KeyObject }): SignatureKey {
    // Not as JWK: on Node.js 20 that export of a fresh key can deadlock with the garbage collector.
    const der = publicKey.export({ type: 'spki', format: 'der' })
    // It ends in the uncompressed point: 04 || x || y.
    const coordinateLength = CURVES[this.#curve].pointLength - 1
    const x = der.subarray(der.length - 2 * coordinateLength, der.length - coordinateLength)
    const sign = 0x02 | (der[der.length - 1]! & 1)
    return new SignatureKey(this.#curve, privateKey, Buffer.concat([Uint8Array.of(sign), x]))
  }
}

/** Enough for the messages that come while one is made. */
const KEPT_AHEAD = 4
const KEYS_AHEAD: Readonly<Record<Curve, KeysAhead>> = {
  prime256v1: new KeysAhead('prime256v1'),
  secp384r1: new KeysAhead('secp384r1'),
}

export class VerificationKey {
  readonly signatureCurve: Curve
  readonly publicKey: KeyObject

  constructor(signatureCurve: Curve, publicKey: KeyObject) {
    this.signatureCurve = signatureCurve
    this.publicKey = publicKey
    Object.freeze(this)
  }

  /** Reads the value of `aws-crypto-public-key`. Throws `ERR_MESSAGE_MALFORMED` unless it is a point of the curve. */
  static parse(signatureCurve: Curve, base64: string): VerificationKey {
    const { spki, pointLength } = CURVES[signatureCurve]
    const point = Buffer.from(base64, 'base64')
    if (point.toString('base64') !== base64 || point.length !== pointLength || (point[0] !== 2 && point[0] !== 3)) {
      throw notAPoint()
    }
    try {
      const der = Buffer.concat([Buffer.from(spki, 'hex'), point])
      return new VerificationKey(signatureCurve, createPublicKey({ key: der, format: 'der', type: 'spki' }))
    } catch {
      throw notAPoint()
    }
  }
}

function notAPoint(): SealwaxError {
  return new SealwaxError(
    'ERR_MESSAGE_MALFORMED',
    "the message's public key is not a point of its algorithm suite's curve",
  )
}
