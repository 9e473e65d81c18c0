import { copySecret, utf8, wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { withoutPadding } from '../engine/legacy'
import { authenticationFailed, SealwaxError } from '../errors'
import type { S3Keyring, S3UnwrapRequest, S3WrappedDataKey, S3WrapRequest } from '../materials/s3-keyring'
import { checkOptions } from '../options'
import { TOKEN_AES_OPTIONS, type TokenAesInput, TokenGcm } from './pkcs11-gcm'
import { checkerOf, checkKeySelector } from './pkcs11-key'
import type { Pkcs11Token, TokenKey } from './pkcs11-token'
import type { WireMechanism } from './pkcs11-wire'
import { checkMaterialDescription, refuseContext } from './s3-material'

export interface S3Pkcs11AesKeyringInput extends TokenAesInput {
  /** Stored with each object, in clear, to tell which key it needs. Default: `{}`. */
  materialDescription?: EncryptionContext | undefined
}

const OPTIONS = [...TOKEN_AES_OPTIONS, 'materialDescription'] as const

/**
 * Wraps the data keys of S3 objects with an AES key that stays in a PKCS#11 token. Objects are those of
 * `S3RawAesKeyring`: one that holds the same key opens them, and the reverse. Opens the older `AESWrap` (RFC 3394) and
 * `AES` (ECB) too, where the caller allows it and the token can.
 *
 * @example
 * const keyring = new S3Pkcs11AesKeyring({ token, key: 'key-2026', materialDescription: { version: '2026' } })
 */
export class S3Pkcs11AesKeyring implements S3Keyring {
  readonly materialDescription: Readonly<EncryptionContext>
  readonly #gcm: TokenGcm
  readonly #token: Pkcs11Token
  readonly #ecb: TokenKey
  readonly #keyWrap: TokenKey

  constructor(input: S3Pkcs11AesKeyringInput) {
    const { materialDescription, ...rest } = checkOptions(input, OPTIONS, 'S3Pkcs11AesKeyring')
    this.#gcm = new TokenGcm(rest)
    this.#token = rest.token
    const query = checkKeySelector(rest.key, 'aes')
    this.#ecb = { query, check: checkerOf('CKM_AES_ECB', ['decrypt']) }
    this.#keyWrap = { query, check: checkKeyWrap }
    this.materialDescription = checkMaterialDescription(materialDescription)
    Object.freeze(this)
  }

  async wrapDataKey({ contentAlgorithm, encryptionContext, dataKey: given }: S3WrapRequest): Promise<S3WrappedDataKey> {
    refuseContext(encryptionContext)
    if (contentAlgorithm === 'AES/CBC/PKCS5Padding')
      throw new SealwaxError('ERR_WRAPPING_KEY', 'a PKCS#11 AES key writes no objects of version 1, only reads them')
    const { materialDescription } = this
    const dataKey = given ? copySecret(given) : await this.#gcm.dataKey(32)
    try {
      const encryptedDataKey = await this.#gcm.wrap(dataKey, utf8(contentAlgorithm))
      return { dataKey, encryptedDataKey, wrapAlgorithm: 'AES/GCM', materialDescription }
    } catch (error) {
      wipe(dataKey)
      throw error
    }
  }

  async unwrapDataKey(request: S3UnwrapRequest): Promise<Uint8Array | undefined> {
    const unwrapped = this.#unwrap(request)
    if (!unwrapped) return undefined
    const dataKey = await unwrapped
    if (dataKey && [16, 24, 32].includes(dataKey.length)) return dataKey
    wipe(dataKey)
    throw authenticationFailed()
  }

  #unwrap(request: S3UnwrapRequest): Promise<Uint8Array | undefined> | undefined {
    const { wrapAlgorithm, encryptedDataKey, contentAlgorithm } = request
    switch (wrapAlgorithm) {
      case 'AES/GCM':
        return this.#gcm.unwrap(encryptedDataKey, utf8(contentAlgorithm))
      case 'AESWrap':
        return this.#decrypt(this.#keyWrap, { name: 'key-wrap' }, encryptedDataKey)
      case 'AES':
        return this.#decrypt(this.#ecb, { name: 'ecb' }, encryptedDataKey).then(
          (padded) => padded && withoutPadding(padded),
        )
      default:
        return undefined
    }
  }

  async #decrypt(key: TokenKey, mechanism: WireMechanism, wrapped: Uint8Array): Promise<Uint8Array | undefined> {
    return await this.#token._crypt(key, { op: 'decrypt', mechanism }, wrapped)
  }
}
Object.freeze(S3Pkcs11AesKeyring)
Object.freeze(S3Pkcs11AesKeyring.prototype)

/** C_Decrypt where the token has it for this, which leaves no data key in the token, else C_UnwrapKey. */
const checkKeyWrap: TokenKey['check'] = (key, token) => {
  const use = token.mechanisms.CKM_AES_KEY_WRAP?.includes('decrypt') ? 'decrypt' : 'unwrap'
  checkerOf('CKM_AES_KEY_WRAP', [use])(key, token)
}
