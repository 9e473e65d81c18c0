import { utf8 } from './bytes'
import { SealwaxError } from './errors'

/** What {@link EncryptedDataKey} is made of. */
export interface EncryptedDataKeyInput {
  /** Key provider ID: who can open it, such as `aws-kms` or a raw keyring's key namespace. */
  readonly providerId: string
  /** Key provider info as text: which key opens it. */
  readonly providerInfo: string
  /** The data key, wrapped. */
  readonly encryptedDataKey: Uint8Array
  /** Key provider info as the bytes on the wire; default: `providerInfo` in UTF-8. */
  readonly rawInfo?: Uint8Array
}

/** A wrapped data key as it stands in a message header. Immutable: byte properties are copies. */
export class EncryptedDataKey {
  readonly providerId: string
  readonly providerInfo: string
  readonly #encryptedDataKey: Uint8Array
  readonly #rawInfo: Uint8Array

  constructor({ providerId, providerInfo, encryptedDataKey, rawInfo }: EncryptedDataKeyInput) {
    const valid =
      typeof providerId === 'string' &&
      providerId !== '' &&
      typeof providerInfo === 'string' &&
      providerInfo !== '' &&
      encryptedDataKey instanceof Uint8Array &&
      encryptedDataKey.length > 0 &&
      (rawInfo === undefined || rawInfo instanceof Uint8Array)
    if (!valid) throw new SealwaxError('ERR_MESSAGE_MALFORMED', 'Malformed encrypted data key')
    this.providerId = providerId
    this.providerInfo = providerInfo
    this.#encryptedDataKey = Uint8Array.from(encryptedDataKey)
    this.#rawInfo = rawInfo ? Uint8Array.from(rawInfo) : utf8(providerInfo)
    Object.freeze(this)
  }

  get encryptedDataKey(): Uint8Array {
    return this.#encryptedDataKey.slice()
  }

  get rawInfo(): Uint8Array {
    return this.#rawInfo.slice()
  }

  /** Bytes it takes in a header. */
  get serializedLength(): number {
    return 6 + utf8(this.providerId).length + this.#rawInfo.length + this.#encryptedDataKey.length
  }
}
Object.freeze(EncryptedDataKey)
Object.freeze(EncryptedDataKey.prototype)
