import { timingSafeEqual } from 'node:crypto'
import { equalBytes, utf8, wipe } from '../bytes'
import { bytesOf, EncryptedDataKey } from '../encrypted-data-key'
import { type ContextOrder, serializeContext } from '../encryption-context'
import { getEngine } from '../engine/engine'
import { SealwaxError } from '../errors'
import { KeyringNode } from '../materials/keyring'
import {
  adoptDataKey,
  dataKeyOf,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '../materials/materials'
import { checkBoolean, checkOneOf, checkOptions, checkString } from '../options'
import { toWrap } from './data-key'
import { TokenError } from './pkcs11-errors'
import { checkerOf, checkKeySelector, type KeySelector } from './pkcs11-key'
import { Pkcs11Token, type TokenKey } from './pkcs11-token'
import { IV_LENGTH, ivOf, serializeInfo, TAG_LENGTH } from './raw-aes'

export interface Pkcs11AesKeyringInput {
  token: Pkcs11Token
  /** An AES key of the token that may encrypt and decrypt. */
  key: KeySelector
  /** Whose key it is; becomes the key provider ID. */
  keyNamespace: string
  /** Which key it is; becomes the start of the key provider info. Need not be its label. */
  keyName: string
  /** Who makes data keys: the `engine` of this library (default), or the `token`, one call more for each message. */
  dataKeySource?: 'engine' | 'token'
  /** Who makes the IVs: the `engine` (default), or a `token` that refuses those of others, as AWS CloudHSM does. */
  ivSource?: 'engine' | 'token'
  /** As of a raw AES keyring: `false`, the default, is the order of `@aws-crypto/client-node`; reading tries both. */
  utf8Sorting?: boolean
}

const OPTIONS = ['token', 'key', 'keyNamespace', 'keyName', 'dataKeySource', 'ivSource', 'utf8Sorting'] as const

/**
 * Wraps data keys with an AES key that stays in a PKCS#11 token. Encrypted data keys are those of a raw AES keyring: one
 * that holds the same key under the same names opens them, and the reverse.
 *
 * @example
 * const keyring = new Pkcs11AesKeyring({ token, key: 'key-2026', keyNamespace: 'my-app', keyName: 'key-2026' })
 */
export class Pkcs11AesKeyring extends KeyringNode {
  readonly keyNamespace: string
  readonly keyName: string
  readonly #token: Pkcs11Token
  readonly #key: TokenKey
  readonly #nameBytes: Uint8Array
  readonly #tokenMakesKeys: boolean
  readonly #tokenMakesIvs: boolean
  /** Whether the token has opened what it wrapped. */
  #proven = false
  readonly #orders: readonly [ContextOrder, ContextOrder]

  constructor(input: Pkcs11AesKeyringInput) {
    super()
    const {
      token,
      key,
      keyNamespace,
      keyName,
      dataKeySource = 'engine',
      ivSource = 'engine',
      utf8Sorting = false,
    } = checkOptions(input, OPTIONS, 'Pkcs11AesKeyring')
    if (!(token instanceof Pkcs11Token)) throw new TypeError('"token" must be a Pkcs11Token')
    this.keyNamespace = checkString(keyNamespace, 'keyNamespace')
    this.keyName = checkString(keyName, 'keyName')
    this.#token = token
    this.#key = { query: checkKeySelector(key, 'aes'), check: checkerOf('CKM_AES_GCM', ['encrypt', 'decrypt']) }
    this.#nameBytes = utf8(keyName)
    this.#tokenMakesKeys = checkOneOf(dataKeySource, 'dataKeySource', ['engine', 'token']) === 'token'
    this.#tokenMakesIvs = checkOneOf(ivSource, 'ivSource', ['engine', 'token']) === 'token'
    this.#orders = checkBoolean(utf8Sorting, 'utf8Sorting') ? ['utf8', 'locale'] : ['locale', 'utf8']
    Object.freeze(this)
  }

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    const { keyNamespace, keyName } = this
    const dataKey = await this.#dataKey(material)
    const rawInfo = serializeInfo(this.#nameBytes)
    const encryptedDataKey = await this.#wrap(dataKey, material, rawInfo.subarray(rawInfo.length - IV_LENGTH))
    return material.addEncryptedDataKey(
      new EncryptedDataKey({ providerId: keyNamespace, providerInfo: keyName, rawInfo, encryptedDataKey }),
      KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_SIGNED_ENC_CTX,
    )
  }

  async _onDecrypt(
    material: NodeDecryptionMaterial,
    encryptedDataKeys: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const { keyNamespace, keyName } = this
    for (const edk of encryptedDataKeys) {
      if (edk.providerId !== keyNamespace) continue
      const { rawInfo, encryptedDataKey } = bytesOf(edk)
      const iv = ivOf(rawInfo, this.#nameBytes)
      if (!iv) continue
      const dataKey = await this.#unwrap(iv, encryptedDataKey, material)
      if (!dataKey) {
        const problem = `PKCS#11 AES key "${keyNamespace}/${keyName}" could not open its encrypted data key`
        material.addFailure(new SealwaxError('ERR_AUTHENTICATION_FAILED', problem))
        continue
      }
      const flags = KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_VERIFIED_ENC_CTX
      adoptDataKey(material, dataKey, { keyNamespace, keyName, flags })
      break
    }
    return material
  }

  async #dataKey(material: NodeEncryptionMaterial): Promise<Uint8Array> {
    const { keyNamespace, keyName } = this
    if (material.hasUnencryptedDataKey || !this.#tokenMakesKeys) return toWrap(material, keyNamespace, keyName)
    const dataKey = await this.#token.randomBytes(material.suite.keyLengthBytes)
    const flags = KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY
    adoptDataKey(material, dataKey, { keyNamespace, keyName, flags })
    return dataKeyOf(material)
  }

  /** Wraps the data key, and leaves in `iv` the IV that was used. */
  async #wrap(dataKey: Uint8Array, material: NodeEncryptionMaterial, iv: Uint8Array): Promise<Uint8Array> {
    if (this.#tokenMakesIvs) iv.fill(0)
    else getEngine().randomFill(iv)
    const aad = serializeContext(material.encryptionContext, this.#orders[0])
    const mechanism = { name: 'gcm', aadLength: aad.length } as const
    const sealed = await this.#token._crypt(this.#key, { op: 'encrypt', mechanism }, iv, aad, dataKey)
    if (sealed?.length !== IV_LENGTH + dataKey.length + TAG_LENGTH)
      throw new TokenError('ERR_KEY_SERVICE', 'the PKCS#11 token gave an encrypted data key of a wrong length')
    iv.set(sealed.subarray(0, IV_LENGTH))
    const wrapped = sealed.subarray(IV_LENGTH)
    if (iv.every((byte) => byte === 0)) throw new TokenError('ERR_KEY_SERVICE', 'the PKCS#11 token made no IV')
    if (!this.#proven) {
      // A token that silently uses another IV would wrap keys that nobody can open.
      const opened = await this.#token._crypt(this.#key, { op: 'decrypt', mechanism }, iv, aad, wrapped)
      this.#proven = opened?.length === dataKey.length && timingSafeEqual(opened, dataKey)
      wipe(opened)
      if (!this.#proven) throw new TokenError('ERR_KEY_SERVICE', 'the PKCS#11 token does not open what it has wrapped')
    }
    return wrapped
  }

  async #unwrap(
    iv: Uint8Array,
    wrapped: Uint8Array,
    { suite, encryptionContext }: NodeDecryptionMaterial,
  ): Promise<Uint8Array | undefined> {
    if (wrapped.length !== suite.keyLengthBytes + TAG_LENGTH) return undefined
    let tried: Uint8Array | undefined
    for (const order of this.#orders) {
      const aad = serializeContext(encryptionContext, order)
      if (tried && equalBytes(aad, tried)) break
      const mechanism = { name: 'gcm', aadLength: aad.length } as const
      const dataKey = await this.#token._crypt(this.#key, { op: 'decrypt', mechanism }, iv, aad, wrapped)
      if (dataKey?.length === suite.keyLengthBytes) return dataKey
      wipe(dataKey)
      tried = aad
    }
    return undefined
  }
}
Object.freeze(Pkcs11AesKeyring)
Object.freeze(Pkcs11AesKeyring.prototype)
