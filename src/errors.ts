/**
 * Every code a {@link SealwaxError} can carry. Codes are API: branch on them, never on a message.
 *
 * The caller's own mistakes (a wrong type, an option out of range) are `TypeError` and `RangeError` instead.
 */
export type SealwaxErrorCode =
  /** A tag, signature, commitment or length check failed: the bytes are not what was sealed with this key. */
  | 'ERR_AUTHENTICATION_FAILED'
  /** The input ended before the message did. */
  | 'ERR_MESSAGE_TRUNCATED'
  /** The input breaks a rule of its format. */
  | 'ERR_MESSAGE_MALFORMED'
  /** Bytes follow the end of the message. */
  | 'ERR_TRAILING_DATA'
  /** Not a message of a known version, or an algorithm suite that this library does not know. */
  | 'ERR_UNSUPPORTED_FORMAT'
  /** The algorithm suite is not allowed under the client's commitment policy. */
  | 'ERR_COMMITMENT_POLICY'
  /** An object of a legacy algorithm, whose switch is off. */
  | 'ERR_LEGACY_REFUSED'
  /** A signed message, where the caller accepts unsigned ones only. */
  | 'ERR_SIGNATURE_POLICY'
  /** A limit the caller set, or a limit of the format, is exceeded. */
  | 'ERR_LIMIT_EXCEEDED'
  /** The encryption context lacks a required pair or holds a reserved one. */
  | 'ERR_ENCRYPTION_CONTEXT'
  /** No keyring gave a plaintext data key; `errors` says what each attempt said: `ERR_KEY_SERVICE` where a service failed. */
  | 'ERR_NO_DATA_KEY'
  /** A keyring or materials manager failed or broke its contract. */
  | 'ERR_INVALID_MATERIALS'
  /** A wrapping key could not be used: missing half, wrong kind, refused by its owner. */
  | 'ERR_WRAPPING_KEY'
  /** A key service (KMS, HSM, key store) did not answer as it must. */
  | 'ERR_KEY_SERVICE'
  /** A store would not, or did not, encrypt on its side as it was asked to. */
  | 'ERR_SERVER_SIDE_ENCRYPTION'
  /** An object was replaced in its store while it was read: read it again. */
  | 'ERR_OBJECT_CHANGED'
  /** A part does not fit its multipart upload: other bytes than before, a wrong length; or the upload is not this client's. */
  | 'ERR_MULTIPART_UPLOAD'
  /** The caller aborted the operation. */
  | 'ERR_ABORTED'
  /** A file could not be read or written as asked. */
  | 'ERR_FILE'
  /** A state that cannot occur: please report it. */
  | 'ERR_INTERNAL'

export interface SealwaxErrorOptions {
  /** What caused this error. */
  cause?: unknown
  /** One error per attempt, where several were made. */
  errors?: readonly Error[]
}

/**
 * An operation failed for a reason in its data or its environment.
 *
 * Neither the message nor any property holds key material, plaintext or credentials.
 *
 * @example
 * try { await client.decrypt(keyring, message) } catch (error) {
 *   if (error instanceof SealwaxError && error.code === 'ERR_AUTHENTICATION_FAILED') reject()
 *   else throw error
 * }
 */
export class SealwaxError extends Error {
  override readonly name: string = 'SealwaxError'
  readonly code: SealwaxErrorCode
  /** One error per attempt (per encrypted data key, keyring or region tried), where several were made. */
  declare readonly errors?: readonly Error[]

  constructor(code: SealwaxErrorCode, message: string, options: SealwaxErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    if (options.errors) this.errors = Object.freeze([...options.errors])
  }
}

/** The error for input that breaks a rule of its format. */
export function malformed(message: string): SealwaxError {
  return new SealwaxError('ERR_MESSAGE_MALFORMED', message)
}

/** The error for a keyring or materials manager that breaks its contract. */
export function invalidMaterials(message: string): SealwaxError {
  return new SealwaxError('ERR_INVALID_MATERIALS', message)
}

/** The one error for every failed tag, signature and commitment: it does not tell which. */
export function authenticationFailed(): SealwaxError {
  return new SealwaxError('ERR_AUTHENTICATION_FAILED', 'Unsupported state or unable to authenticate data')
}
