import { copySecret } from '../bytes'
import { checkEncryptionContext, type EncryptionContext, emptyContext } from '../encryption-context'
import { getEngine } from '../engine/engine'
import { SealwaxError } from '../errors'
import type { S3WrapRequest } from '../materials/s3-keyring'

/** Checks a materials description that a caller passed, and copies it. */
export function checkMaterialDescription(value: unknown): Readonly<EncryptionContext> {
  return value === undefined ? Object.freeze(emptyContext()) : checkEncryptionContext(value, 'materialDescription')
}

/** The data key that is to be wrapped: the caller's to wipe. */
export function dataKeyFor({ dataKey }: S3WrapRequest): Uint8Array {
  return dataKey === undefined ? getEngine().randomBytes(32) : copySecret(dataKey)
}

/** Raw keys bind no context: to accept one would be a promise not kept. */
export function refuseContext(context: Readonly<EncryptionContext>): void {
  if (Object.keys(context).length === 0) return
  throw new SealwaxError(
    'ERR_ENCRYPTION_CONTEXT',
    'a raw key binds no encryption context to an S3 object: give the keyring a "materialDescription" instead',
  )
}
