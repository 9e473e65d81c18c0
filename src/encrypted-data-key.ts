import { types } from 'node:util'
import { utf8 } from './bytes'
import { malformed } from './errors'

/** What {@link EncryptedDataKey} is made of. */
export interface EncryptedDataKeyInput {
  /** Key provider ID: who can open it, such as `aws-kms` or a raw keyring's key namespace. */
  readonly providerId: string
  /** Key provider info as text: which key opens it. */
  readonly providerInfo: string
  /** The data key, wrapped. */
  readonly encryptedDataKey: Uint8Array
  /** Key provider info as the bytes on the wire; default, also where it is empty: `providerInfo` in UTF-8. */
  readonly rawInfo?: Uint8Array
}

/**
 * The bytes an encrypted data key holds, not copies: read them, never write to them.
 * For this library's own use; others have the properties of {@link EncryptedDataKey}.
 */
export let bytesOf: (edk: EncryptedDataKey) => { readonly rawInfo: Uint8Array; readonly encryptedDataKey: Uint8Array }

/** A wrapped data key as it stands in a message header. Immutable: byte properties are copies. */
export class EncryptedDataKey {
  readonly providerId: string
  readonly providerInfo: string
  readonly #encryptedDataKey: Uint8Array
  readonly #rawInfo: Uint8Array

  static {
    bytesOf = (edk) => ({ rawInfo: edk.#rawInfo, encryptedDataKey: edk.#encryptedDataKey })
  }

  constructor({ providerId, providerInfo, encryptedDataKey, rawInfo }: EncryptedDataKeyInput) {
    const valid =
      typeof providerId === 'string' &&
      providerId !== '' &&
      typeof providerInfo === 'string' &&
      providerInfo !== '' &&
      types.isUint8Array(encryptedDataKey) &&
      encryptedDataKey.length > 0 &&
      (rawInfo === undefined || types.isUint8Array(rawInfo))
    if (!valid) throw malformed('Malformed encrypted data key')
    this.providerId = providerId
    this.providerInfo = providerInfo
    this.#encryptedDataKey = Buffer.from(encryptedDataKey)
    this.#rawInfo = rawInfo?.length ? Buffer.from(rawInfo) : utf8(providerInfo)
    Object.freeze(this)
  }

  get encryptedDataKey(): Uint8Array {
    return new Uint8Array(this.#encryptedDataKey)
  }

  get rawInfo(): Uint8Array {
    return new Uint8Array(this.#rawInfo)
  }
}
Object.freeze(EncryptedDataKey)
Object.freeze(EncryptedDataKey.prototype)
