/**
 * PKCS#11 URIs (RFC 7512): `pkcs11:token=t1;object=key-2026?module-path=/usr/lib/softhsm/libsofthsm2.so`. They name a
 * token, or a key of one. `pin-value` is refused: URIs end up in logs and in lists of processes.
 */
import { fromUtf8 } from '../bytes'
import type { TokenQuery } from './pkcs11-wire'

export interface Pkcs11Uri {
  /** Path attributes; binary where the RFC has them so. */
  readonly token?: string
  readonly serial?: string
  readonly manufacturer?: string
  readonly model?: string
  readonly 'slot-id'?: string
  readonly object?: string
  readonly id?: Uint8Array
  readonly type?: string
  /** Query attributes. */
  readonly 'module-path'?: string
  readonly 'pin-source'?: string
}

const PATH = ['token', 'serial', 'manufacturer', 'model', 'slot-id', 'object', 'id', 'type']
const QUERY = ['module-path', 'pin-source']

/** Throws `RangeError`, never quoting a value: it may be a PIN in the wrong place. */
export function parsePkcs11Uri(text: string): Pkcs11Uri {
  if (!text.startsWith('pkcs11:')) throw new RangeError('a PKCS#11 URI must begin with "pkcs11:"')
  const [path = '', query = '', ...more] = text.slice('pkcs11:'.length).split('?')
  if (more.length > 0) throw new RangeError('a PKCS#11 URI has one "?" at most')
  const uri: Record<string, string | Uint8Array> = {}
  const pairs = [...split(path, ';', PATH), ...split(query, '&', QUERY)]
  for (const [name, value] of pairs) {
    if (name in uri) throw new RangeError(`"${name}" stands twice in the PKCS#11 URI`)
    const bytes = percentDecode(value, name)
    const decoded = name === 'id' ? bytes : fromUtf8(bytes)
    if (decoded === undefined) throw new RangeError(`"${name}" in the PKCS#11 URI is not UTF-8`)
    uri[name] = decoded
  }
  return Object.freeze(uri) as Pkcs11Uri
}

/** What the URI says of the token. */
export function tokenQueryOf({ token, serial, manufacturer, model, 'slot-id': slot }: Pkcs11Uri): TokenQuery {
  if (slot !== undefined && !/^\d{1,15}$/.test(slot))
    throw new RangeError('"slot-id" in the PKCS#11 URI must be a number')
  return {
    ...(token !== undefined && { label: token }),
    ...(serial !== undefined && { serial }),
    ...(manufacturer !== undefined && { manufacturer }),
    ...(model !== undefined && { model }),
    ...(slot !== undefined && { slot: Number(slot) }),
  }
}

function split(part: string, separator: string, known: readonly string[]): [name: string, value: string][] {
  return part
    .split(separator)
    .filter((pair) => pair !== '')
    .map((pair) => {
      const at = pair.indexOf('=')
      const name = at < 0 ? '' : pair.slice(0, at)
      if (name === 'pin-value') throw new RangeError('"pin-value" is refused in PKCS#11 URIs: give the PIN another way')
      // What is not known would narrow the choice, and must not be overlooked.
      if (!known.includes(name)) throw new RangeError('the PKCS#11 URI has an attribute that is not known here')
      return [name, pair.slice(at + 1)]
    })
}

function percentDecode(value: string, name: string): Uint8Array {
  if (/%(?![0-9A-Fa-f]{2})/.test(value))
    throw new RangeError(`"${name}" in the PKCS#11 URI has a "%" without two digits`)
  const pieces = value.split(/%([0-9A-Fa-f]{2})/)
  return Buffer.concat(pieces.map((piece, i) => Buffer.from(piece, i % 2 === 0 ? 'utf8' : 'hex')))
}
