import { wipe } from '../bytes'
import { getEngine } from '../engine/engine'
import { equalSecrets } from '../engine/equal-secrets'
import { checkOneOf } from '../options'
import { TokenError } from './pkcs11-errors'
import { checkerOf, checkKeySelector, type KeySelector } from './pkcs11-key'
import { Pkcs11Token, type TokenKey } from './pkcs11-token'
import { WrapCount } from './wrap-count'

/** What keyrings with an AES key of a token have in common. */
export interface TokenAesInput {
  token: Pkcs11Token
  /** An AES key of the token that may encrypt and decrypt. */
  key: KeySelector
  /** Who makes data keys: the `engine` of this library (default), or the `token`, one call more for each. */
  dataKeySource?: 'engine' | 'token'
  /** Who makes the IVs: the `engine` (default), or a `token` that refuses those of others, as AWS CloudHSM does. */
  ivSource?: 'engine' | 'token'
}

export const TOKEN_AES_OPTIONS = ['token', 'key', 'dataKeySource', 'ivSource'] as const

const IV_LENGTH = 12
const TAG_LENGTH = 16

/** Data keys under AES-GCM, with a key of a token. */
export class TokenGcm {
  readonly makesDataKeys: boolean
  readonly #token: Pkcs11Token
  readonly #key: TokenKey
  readonly #makesIvs: boolean
  /** Whether the token has opened what it wrapped. */
  #proven = false
  readonly #wraps = new WrapCount()

  constructor({ token, key, dataKeySource = 'engine', ivSource = 'engine' }: TokenAesInput) {
    if (!(token instanceof Pkcs11Token)) throw new TypeError('"token" must be a Pkcs11Token')
    this.#token = token
    this.#key = { query: checkKeySelector(key, 'aes'), check: checkerOf('CKM_AES_GCM', ['encrypt', 'decrypt']) }
    this.makesDataKeys = checkOneOf(dataKeySource, 'dataKeySource', ['engine', 'token']) === 'token'
    this.#makesIvs = checkOneOf(ivSource, 'ivSource', ['engine', 'token']) === 'token'
  }

  /** A data key from where data keys come from. The caller's to wipe. */
  async dataKey(length: number): Promise<Uint8Array> {
    return this.makesDataKeys ? await this.#token.randomBytes(length) : getEngine().randomBytes(length)
  }

  /** IV || ciphertext || tag. */
  async wrap(dataKey: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
    this.#wraps.add()
    const given = this.#makesIvs ? new Uint8Array(IV_LENGTH) : getEngine().randomBytes(IV_LENGTH)
    const mechanism = { name: 'gcm', aadLength: aad.length } as const
    const wrapped = await this.#token._crypt(this.#key, { op: 'encrypt', mechanism }, given, aad, dataKey)
    if (wrapped?.length !== IV_LENGTH + dataKey.length + TAG_LENGTH)
      throw new TokenError('ERR_KEY_SERVICE', 'the PKCS#11 token gave an encrypted data key of a wrong length')
    if (wrapped.subarray(0, IV_LENGTH).every((byte) => byte === 0))
      throw new TokenError('ERR_KEY_SERVICE', 'the PKCS#11 token made no IV')
    if (!this.#proven) await this.#prove(wrapped, aad, dataKey)
    return wrapped
  }

  /** The data key in IV || ciphertext || tag, the caller's to wipe; `undefined` where it is not authentic. */
  async unwrap(wrapped: Uint8Array, aad: Uint8Array): Promise<Uint8Array | undefined> {
    const length = wrapped.length - IV_LENGTH - TAG_LENGTH
    if (length <= 0) return undefined
    const iv = wrapped.subarray(0, IV_LENGTH)
    const mechanism = { name: 'gcm', aadLength: aad.length } as const
    const head = { op: 'decrypt', mechanism } as const
    const dataKey = await this.#token._crypt(this.#key, head, iv, aad, wrapped.subarray(IV_LENGTH))
    if (dataKey?.length === length) return dataKey
    wipe(dataKey)
    return undefined
  }

  /** A token that silently uses another IV would wrap keys that nobody can open. */
  async #prove(wrapped: Uint8Array, aad: Uint8Array, dataKey: Uint8Array): Promise<void> {
    const opened = await this.unwrap(wrapped, aad)
    this.#proven = opened !== undefined && equalSecrets(opened, dataKey)
    wipe(opened)
    if (!this.#proven) throw new TokenError('ERR_KEY_SERVICE', 'the PKCS#11 token does not open what it has wrapped')
  }
}
