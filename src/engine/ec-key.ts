/** What ECDSA takes from keys of node:crypto. */
import { KeyObject } from 'node:crypto'
import { copySecret, wipe } from '../bytes'
import { describe } from '../options'

/** P-256 and P-384, as node:crypto names them. */
export type Curve = 'prime256v1' | 'secp384r1'

const SCALAR_LENGTHS: Readonly<Record<Curve, number>> = { prime256v1: 32, secp384r1: 48 }

/** RFC 5480: what stands before the point. */
const SPKI_HEADER_LENGTHS: Readonly<Record<Curve, number>> = { prime256v1: 26, secp384r1: 23 }

/** The private scalar, a secret of the caller's. */
export function privateScalar(key: KeyObject): { readonly curve: Curve; readonly scalar: Uint8Array } {
  const curve = checkEcKey(key, 'private')
  // RFC 5915: SEQUENCE { INTEGER 1, OCTET STRING scalar, … }. The length of the whole takes one byte or two.
  const der = key.export({ type: 'sec1', format: 'der' })
  const start = der[1] === 0x81 ? 8 : 7
  const scalar = copySecret(der.subarray(start, start + SCALAR_LENGTHS[curve]))
  wipe(der)
  return { curve, scalar }
}

/** The point: 04 || x || y, or 02 or 03 || x where the key was read so. */
export function publicPoint(key: KeyObject): { readonly curve: Curve; readonly point: Uint8Array } {
  const curve = checkEcKey(key, 'public')
  // Never as JWK: that export waits for itself, for ever, when the collector frees the job that generated the key meanwhile.
  const der = key.export({ type: 'spki', format: 'der' })
  return { curve, point: der.subarray(SPKI_HEADER_LENGTHS[curve]) }
}

/** Throws unless it is a key of that type on one of the curves. */
export function checkEcKey(key: KeyObject, type: 'private' | 'public'): Curve {
  if (!(key instanceof KeyObject)) throw new TypeError(`"${type}Key" must be a KeyObject, got ${describe(key)}`)
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (key.type === type && (curve === 'prime256v1' || curve === 'secp384r1')) return curve
  throw new RangeError(`"${type}Key" must be the ${type} key of P-256 or P-384`)
}
