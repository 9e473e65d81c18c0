/** Which of a module's tokens is meant. */
import { checkInteger, checkOptions, checkString } from '../options'
import { TokenError, tokenError } from './pkcs11-errors'
import type { TokenDescription, TokenList, TokenQuery } from './pkcs11-wire'

export interface TokenSelector {
  label?: string
  serial?: string
  slot?: number
}

export function checkTokenSelector(token: string | TokenSelector | undefined): TokenQuery {
  if (typeof token === 'string') return { label: checkString(token, 'token') }
  const { label, serial, slot } = checkOptions(token, ['label', 'serial', 'slot'], '"token"')
  return {
    ...(label !== undefined && { label: checkString(label, 'token.label') }),
    ...(serial !== undefined && { serial: checkString(serial, 'token.serial') }),
    ...(slot !== undefined && { slot: checkInteger(slot, 'token.slot', 0, Number.MAX_SAFE_INTEGER) }),
  }
}

export function fits(token: TokenDescription, query: TokenQuery): boolean {
  const wanted = Object.entries(query) as [keyof TokenQuery, string | number][]
  return wanted.every(([name, value]) => token[name] === value)
}

export function theOne({ tokens, failure }: TokenList, query: TokenQuery): TokenDescription {
  const fitting = tokens.filter((token) => token.initialized && fits(token, query))
  const [token] = fitting
  if (token && fitting.length === 1) return token
  // It may be the one.
  if (!token && failure) throw tokenError(failure)
  const wanted = Object.entries(query).map(([name, value]) => `${name} ${JSON.stringify(value)}`)
  const which = wanted.join(', ') || 'any name'
  const problem = fitting.length === 0 ? 'no token' : `${fitting.length} tokens`
  const all = tokens.map(({ label, serial, slot }) => `${JSON.stringify(label)} (serial ${serial}, slot ${slot})`)
  throw new TokenError(
    'ERR_WRAPPING_KEY',
    `the module has ${problem} with ${which}; it has ${all.join(', ') || 'none at all'}`,
  )
}
