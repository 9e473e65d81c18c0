import { SealwaxError } from '../errors'
import { checkBytes, checkOptions, checkString } from '../options'
import type { TokenKey } from './pkcs11-token'
import { parsePkcs11Uri } from './pkcs11-uri'
import type { KeyDescription, KeyKind, KeyQuery, TokenDescription } from './pkcs11-wire'

/** A key of a token: by its label, its CKA_ID or both, or the `object` and `id` of a `pkcs11:` URI. It must be one only. */
export type KeySelector = string | { label?: string; id?: Uint8Array }

export function checkKeySelector(key: KeySelector, kind: KeyKind): KeyQuery {
  const { label, id } = typeof key === 'string' ? selectorOf(key) : checkOptions(key, ['label', 'id'], '"key"')
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

function selectorOf(text: string): { label?: string; id?: Uint8Array } {
  if (!text.startsWith('pkcs11:')) return { label: text }
  const { object, id } = parsePkcs11Uri(text)
  return { ...(object !== undefined && { label: object }), ...(id !== undefined && { id }) }
}
