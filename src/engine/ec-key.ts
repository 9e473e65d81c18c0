/** What ECDSA takes from keys of node:crypto. */
import { KeyObject } from 'node:crypto'
import { copySecret, wipe } from '../bytes'
import { describe } from '../options'

/** P-256 and P-384, as node:crypto names them. */
export type Curve = 'prime256v1' | 'secp384r1'

/** The private scalar, a secret of the caller's. */
export function privateScalar(key: KeyObject): { readonly curve: Curve; readonly scalar: Uint8Array } {
  const curve = checkEcKey(key, 'private')
  const der = key.export({ type: 'sec1', format: 'der' })
  // RFC 5915: SEQUENCE { INTEGER 1, OCTET STRING scalar, … }
  const [version] = contentOf(der, 0)
  const scalar = copySecret(der.subarray(...contentOf(der, version + 3)))
  wipe(der)
  return { curve, scalar }
}

/** The point: 04 || x || y, or 02 or 03 || x where the key was read so. */
export function publicPoint(key: KeyObject): { readonly curve: Curve; readonly point: Uint8Array } {
  const curve = checkEcKey(key, 'public')
  // Never as JWK: that export waits for itself, for ever, when the collector frees the job that generated the key meanwhile.
  const der = key.export({ type: 'spki', format: 'der' })
  // RFC 5480: SEQUENCE { SEQUENCE algorithm, BIT STRING point }, where a byte in front counts the bits not used.
  const [algorithm] = contentOf(der, 0)
  const [, end] = contentOf(der, algorithm)
  const [bits] = contentOf(der, end)
  return { curve, point: der.subarray(bits + 1) }
}

/** From where to where the content of a DER element reaches. Keys that spell their curve out have lengths in more than one byte. */
function contentOf(der: Buffer, element: number): [start: number, end: number] {
  const first = der[element + 1]!
  const more = Math.max(0, first - 0x80)
  const start = element + 2 + more
  return [start, start + (more > 0 ? der.readUIntBE(element + 2, more) : first)]
}

/** Throws unless it is a key of that type on one of the curves. */
export function checkEcKey(key: KeyObject, type: 'private' | 'public'): Curve {
  if (!(key instanceof KeyObject)) throw new TypeError(`"${type}Key" must be a KeyObject, got ${describe(key)}`)
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (key.type === type && (curve === 'prime256v1' || curve === 'secp384r1')) return curve
  throw new RangeError(`"${type}Key" must be the ${type} key of P-256 or P-384`)
}
