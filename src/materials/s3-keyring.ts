import type { EncryptionContext } from '../encryption-context'
import type { S3WrapAlgorithm } from '../format/s3-metadata'
import { describe } from '../options'

/** Where KMS binds the name of the content algorithm. */
export const CONTENT_ALGORITHM_PAIR = 'aws:x-amz-cek-alg'

/**
 * Wraps and unwraps the data keys of S3 objects. Two methods; anything that has them is a keyring.
 *
 * Not the keyrings of messages: an object has one encrypted data key, and each way to wrap it binds the name of the
 * content algorithm in a manner of its own.
 */
export interface S3Keyring {
  /** Makes a data key of 32 bytes, unless one is given, and wraps it. Both byte strings become the caller's, who wipes the data key. */
  wrapDataKey(request: S3WrapRequest): Promise<S3WrappedDataKey>

  /**
   * The data key of an object: 16, 24 or 32 bytes, the caller's to wipe. `undefined` where the wrapping key is of another
   * kind; throws `ERR_AUTHENTICATION_FAILED` where it should open and does not, whatever the reason.
   */
  unwrapDataKey(request: S3UnwrapRequest): Promise<Uint8Array | undefined>
}

export interface S3WrapRequest {
  /** The name to bind: `AES/GCM/NoPadding`, `115`, or for objects of version 1 `AES/CBC/PKCS5Padding`. */
  readonly contentAlgorithm: string
  /** Pairs to bind, if the keyring can; where it cannot, it throws `ERR_ENCRYPTION_CONTEXT` for any. */
  readonly encryptionContext: Readonly<EncryptionContext>
  /** The data key to wrap, 16, 24 or 32 bytes, never written to: of an object that gets another wrapping key. Default: a new one. */
  readonly dataKey?: Uint8Array | undefined
}

export interface S3WrappedDataKey {
  /** The new one, or a copy of the one that was given. */
  readonly dataKey: Uint8Array
  readonly encryptedDataKey: Uint8Array
  readonly wrapAlgorithm: S3WrapAlgorithm
  /** What is stored beside it, for the reader; for KMS, the encryption context as it was sent. */
  readonly materialDescription: Readonly<EncryptionContext>
}

/** As in the metadata of the object, and so from anyone. */
export interface S3UnwrapRequest {
  readonly contentAlgorithm: string
  readonly encryptedDataKey: Uint8Array
  readonly wrapAlgorithm: S3WrapAlgorithm
  readonly materialDescription: Readonly<EncryptionContext>
}

/** Checks a keyring that a caller passed. */
export function checkS3Keyring(value: unknown, name: string): S3Keyring {
  const { wrapDataKey, unwrapDataKey } = (value ?? {}) as Partial<S3Keyring>
  if (typeof wrapDataKey === 'function' && typeof unwrapDataKey === 'function') return value as S3Keyring
  throw new TypeError(
    `"${name}" must have the methods wrapDataKey and unwrapDataKey, as keyrings for S3 objects do, got ${describe(value)}`,
  )
}

/** Whether two sets of pairs are equal, in whatever order. Not constant-time: for public pairs only. */
export function samePairs(a: Readonly<EncryptionContext>, b: Readonly<EncryptionContext>): boolean {
  const names = Object.keys(a)
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && a[name] === b[name])
}
