import { SealwaxError } from '../errors'
import { checkBytes, checkOptions, checkString } from '../options'
import type { TokenKey } from './pkcs11-token'
import { type Pkcs11Uri, parsePkcs11Uri, tokenQueryOf } from './pkcs11-uri'
import type { KeyDescription, KeyKind, KeyQuery, TokenDescription, TokenQuery } from './pkcs11-wire'

/** A key of a token: by its label, its CKA_ID or both, or by a `pkcs11:` URI with them. It must be one only. */
export type KeySelector = string | { label?: string; id?: Uint8Array }

/** A key, and what its token must be. */
export interface KeyChoice extends KeyQuery {
  token?: TokenQuery
}

export function checkKeySelector(key: KeySelector, kind: KeyKind): KeyChoice {
  if (typeof key === 'string' && key.startsWith('pkcs11:')) return choiceOf(parsePkcs11Uri(key), kind)
  const { label, id } = typeof key === 'string' ? { label: key } : checkOptions(key, ['label', 'id'], '"key"')
  return queryOf(kind, label, id)
}

function choiceOf({ object, id, type, ...of }: Pkcs11Uri, kind: KeyKind): KeyChoice {
  if (type !== undefined && type !== TYPES[kind])
    throw new RangeError(`"type" in the PKCS#11 URI of the key must be ${TYPES[kind]} here`)
  return { ...queryOf(kind, object, id), token: tokenQueryOf(of) }
}

const TYPES: Readonly<Record<KeyKind, string>> = {
  aes: 'secret-key',
  'rsa-private': 'private',
  'rsa-public': 'public',
}

function queryOf(kind: KeyKind, label: string | undefined, id: Uint8Array | undefined): KeyQuery {
  if (label === undefined && id === undefined) throw new TypeError('"key" needs a "label" or an "id"')
  return {
    kind,
    ...(label !== undefined && { label: checkString(label, 'key') }),
    ...(id !== undefined && { id: Buffer.from(checkBytes(id, 'key.id')).toString('hex') }),
  }
}

/** A check that the token and the key can do what `mechanism` needs, and that the key does not leave the token in clear. */
export function checkerOf(
  mechanism: string,
  uses: readonly ('encrypt' | 'decrypt' | 'unwrap')[],
  more: (key: KeyDescription, token: TokenDescription) => void = () => {},
): TokenKey['check'] {
  return (key, token) => {
    const name = `the key ${JSON.stringify(key.label || key.id)} of the PKCS#11 token ${JSON.stringify(token.label)}`
    for (const use of uses) {
      if (!token.mechanisms[mechanism]?.includes(use))
        throw new SealwaxError(
          'ERR_WRAPPING_KEY',
          `the PKCS#11 token ${JSON.stringify(token.label)} does not ${use} with ${mechanism}`,
        )
      if (!key[use]) throw new SealwaxError('ERR_WRAPPING_KEY', `${name} is not allowed to ${use}`)
    }
    if (!key.sensitive && key.extractable)
      throw new SealwaxError('ERR_WRAPPING_KEY', `${name} can be read in clear: it is extractable and not sensitive`)
    more(key, token)
  }
}
