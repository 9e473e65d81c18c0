import { SealwaxError, type SealwaxErrorCode } from '../errors'
import type { HostFailure } from './pkcs11-wire'

/** A PKCS#11 module answered with something other than CKR_OK, or did not answer. */
export class TokenError extends SealwaxError {
  /** The return value, such as `CKR_DEVICE_REMOVED`; empty where the problem is none of the module's telling. */
  readonly ckr: string
  /** The function that answered, such as `C_Decrypt`. */
  readonly call: string

  constructor(code: SealwaxErrorCode, message: string, ckr = '', call = '') {
    super(code, message)
    this.ckr = ckr
    this.call = call
  }

  /** Whether the sessions, the login or the handles are gone: a module started anew may help. */
  get lost(): boolean {
    return LOST.has(this.ckr)
  }

  /** Whether what was asked for may have been done all the same. */
  get unanswered(): boolean {
    return this.ckr === HOST_ENDED || this.ckr === NO_ANSWER || (this.call === 'C_Login' && this.lost)
  }

  /** Whether the PIN is not the right one, or is of no more use: no other try without being told. */
  get pinRefused(): boolean {
    return this.call === 'C_Login' && PIN.has(this.ckr)
  }

  /** Whether another ciphertext may still open: the token, the login and the key are there. */
  get isOfOneCiphertext(): boolean {
    return (this.call === 'C_Decrypt' || this.call === 'C_DecryptInit') && !this.lost
  }

  /** Whether this is how the token says that a ciphertext is not one of its key's. */
  refuses({ refusals }: TokenTraits): boolean {
    return (this.call === 'C_Decrypt' || this.call === 'C_UnwrapKey') && refusals.has(this.ckr)
  }
}

export function tokenError(failure: HostFailure): TokenError {
  if ('late' in failure) return new TokenError('ERR_KEY_SERVICE', 'no session of the PKCS#11 token was free in time')
  if ('problem' in failure) return new TokenError('ERR_WRAPPING_KEY', failure.problem)
  const { ckr, value, call } = failure
  const name = ckr === 'CKR_VENDOR_DEFINED' ? `${ckr} (0x${value.toString(16)})` : ckr
  const code = KEY.has(ckr) || PIN.has(ckr) ? 'ERR_WRAPPING_KEY' : 'ERR_KEY_SERVICE'
  return new TokenError(code, `the PKCS#11 token answered ${call} with ${name}`, ckr, call)
}

/** The error of one ciphertext, after which the next is tried; any other is thrown. */
export function ofOneCiphertext(error: unknown): TokenError {
  if (error instanceof TokenError && error.isOfOneCiphertext) return error
  throw error
}

/** The host process ended, or could not be started. */
export function hostEnded(how: string): TokenError {
  return new TokenError('ERR_KEY_SERVICE', `the process of the PKCS#11 module ${how}`, HOST_ENDED)
}

/** Bundlers take the code that starts the host along, and not its file. */
export function noHost(file: string): TokenError {
  const problem = `the program of the PKCS#11 module is not there: "${file}". Leave sealwax outside of bundles`
  return new TokenError('ERR_FILE', problem)
}

export function noAnswer(timeout: number): TokenError {
  return new TokenError(
    'ERR_KEY_SERVICE',
    `the PKCS#11 token gave no answer within ${Math.ceil(timeout)} ms`,
    NO_ANSWER,
  )
}

/**
 * Where tokens differ, by the start of their manufacturer's name. `refusals` are the answers by which a token says that
 * a ciphertext is not one of its key's: they all become the same error.
 */
export function traitsOf(manufacturer: string): TokenTraits {
  return TOKENS.find(([name]) => manufacturer.startsWith(name))?.[1] ?? USUAL
}

export interface TokenTraits {
  readonly refusals: ReadonlySet<string>
  readonly oaepHashes: readonly string[]
}

const HOST_ENDED = 'host ended'
const NO_ANSWER = 'no answer'

const LOST: ReadonlySet<string> = new Set([
  HOST_ENDED,
  'CKR_CRYPTOKI_NOT_INITIALIZED',
  'CKR_DEVICE_ERROR',
  'CKR_DEVICE_REMOVED',
  'CKR_KEY_HANDLE_INVALID',
  'CKR_OBJECT_HANDLE_INVALID',
  'CKR_OPERATION_ACTIVE',
  'CKR_SESSION_CLOSED',
  'CKR_SESSION_HANDLE_INVALID',
  'CKR_SLOT_ID_INVALID',
  'CKR_TOKEN_NOT_PRESENT',
  'CKR_UNWRAPPING_KEY_HANDLE_INVALID',
  'CKR_USER_NOT_LOGGED_IN',
])

const PIN: ReadonlySet<string> = new Set([
  'CKR_PIN_EXPIRED',
  'CKR_PIN_INCORRECT',
  'CKR_PIN_INVALID',
  'CKR_PIN_LEN_RANGE',
  'CKR_PIN_LOCKED',
  'CKR_USER_PIN_NOT_INITIALIZED',
])

const KEY: ReadonlySet<string> = new Set([
  'CKR_KEY_FUNCTION_NOT_PERMITTED',
  'CKR_KEY_SIZE_RANGE',
  'CKR_KEY_TYPE_INCONSISTENT',
  'CKR_MECHANISM_INVALID',
  'CKR_MECHANISM_PARAM_INVALID',
])

const STANDARD_REFUSALS = [
  'CKR_AEAD_DECRYPT_FAILED',
  'CKR_DATA_INVALID',
  'CKR_DATA_LEN_RANGE',
  'CKR_ENCRYPTED_DATA_INVALID',
  'CKR_ENCRYPTED_DATA_LEN_RANGE',
  'CKR_WRAPPED_KEY_INVALID',
  'CKR_WRAPPED_KEY_LEN_RANGE',
]

const ALL_HASHES = ['sha1', 'sha256', 'sha384', 'sha512']
const USUAL: TokenTraits = { refusals: new Set(STANDARD_REFUSALS), oaepHashes: ALL_HASHES }

const TOKENS: readonly (readonly [manufacturer: string, traits: TokenTraits])[] = [
  // 2.6.1: a wrong tag or padding is a general error; OAEP with other hashes is CKR_ARGUMENTS_BAD.
  ['SoftHSM', { refusals: new Set([...STANDARD_REFUSALS, 'CKR_GENERAL_ERROR']), oaepHashes: ['sha1'] }],
  // NSS 3.87: an RSA ciphertext that is no number below the modulus is a bad argument.
  ['Mozilla', { refusals: new Set([...STANDARD_REFUSALS, 'CKR_ARGUMENTS_BAD']), oaepHashes: ALL_HASHES }],
]
