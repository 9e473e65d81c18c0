/**
 * ECDSA keys of signed messages. Each message has a key pair of its own; the public key travels in the encryption
 * context as base64 of the compressed point (02 or 03 || x).
 */
import { createPrivateKey, createPublicKey, type ECKeyPairOptions, generateKeyPair, type KeyObject } from 'node:crypto'
import { wipe } from '../bytes'
import { malformed, type SealwaxError } from '../errors'
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
  static async generate(signatureCurve: Curve): Promise<SignatureKey> {
    return await KEYS_AHEAD[signatureCurve].take()
  }
}

/**
 * Key pairs of one curve. To make one takes as long as to sign, on a thread of Node's pool: from the second message on,
 * the next ones are made ahead, one at a time.
 */
class KeysAhead {
  readonly #curve: Curve
  readonly #ready: SignatureKey[] = []
  /** The next one, while it is made, if nobody waits for it. */
  #coming: Promise<SignatureKey> | undefined
  #taken = 0

  constructor(curve: Curve) {
    this.#curve = curve
  }

  async take(): Promise<SignatureKey> {
    const key = this.#ready.pop() ?? this.#coming ?? make(this.#curve)
    if (key === this.#coming) this.#coming = undefined
    this.#taken++
    if (this.#taken > 1) this.#makeMore()
    return await key
  }

  #makeMore(): void {
    if (this.#coming || this.#ready.length >= KEPT_AHEAD) return
    const coming = make(this.#curve)
    this.#coming = coming
    const end = (key?: SignatureKey) => {
      if (this.#coming !== coming) return
      this.#coming = undefined
      // Where that failed, whoever needs a key makes it, and is told what is wrong.
      if (!key) return
      this.#ready.push(key)
      this.#makeMore()
    }
    coming.then(end, () => end())
  }
}

function make(curve: Curve): Promise<SignatureKey> {
  return new Promise((resolve, reject) => {
    // As bytes: where its thread is being terminated, Node.js ends the process as it makes objects of fresh keys.
    generateKeyPair('ec', { namedCurve: curve, ...AS_DER } as ECKeyPairOptions<'der', 'der'>, (error, der, secret) => {
      if (error) return reject(error)
      try {
        resolve(
          new SignatureKey(
            curve,
            createPrivateKey({ key: secret, ...AS_DER.privateKeyEncoding }),
            compress(curve, der),
          ),
        )
      } catch (cause) {
        // Here, nobody else would catch it.
        reject(cause)
      } finally {
        wipe(secret)
      }
    })
  })
}

/** From a SubjectPublicKeyInfo that ends in the uncompressed point: 04 || x || y. */
function compress(curve: Curve, der: Uint8Array): Uint8Array {
  const coordinateLength = CURVES[curve].pointLength - 1
  const x = der.subarray(der.length - 2 * coordinateLength, der.length - coordinateLength)
  return Buffer.concat([Uint8Array.of(0x02 | (der[der.length - 1]! & 1)), x])
}

const AS_DER = {
  publicKeyEncoding: { type: 'spki', format: 'der' },
  privateKeyEncoding: { type: 'sec1', format: 'der' },
} as const

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
  return malformed("the message's public key is not a point of its algorithm suite's curve")
}
