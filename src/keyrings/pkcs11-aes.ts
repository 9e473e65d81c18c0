import { types } from 'node:util'
import { utf8 } from '../bytes'
import { bytesOf, EncryptedDataKey } from '../encrypted-data-key'
import { type ContextOrder, serializeContext } from '../encryption-context'
import { SealwaxError } from '../errors'
import { KeyringNode } from '../materials/keyring'
import {
  adoptDataKey,
  dataKeyOf,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '../materials/materials'
import { checkBoolean, checkOptions, checkString } from '../options'
import { mayTryAnother } from './attempts'
import { ContextAad } from './context-aad'
import { toWrap } from './data-key'
import { ofOneCiphertext, type TokenError } from './pkcs11-errors'
import { TOKEN_AES_OPTIONS, type TokenAesInput, TokenGcm } from './pkcs11-gcm'
import { IV_LENGTH, ivOf, serializeInfo, TAG_LENGTH } from './raw-aes'

export interface Pkcs11AesKeyringInput extends TokenAesInput {
  /** Whose key it is; becomes the key provider ID. */
  keyNamespace: string
  /** Which key it is; becomes the start of the key provider info. Need not be its label. */
  keyName: string
  /** As of a raw AES keyring: `false`, the default, is the order of `@aws-crypto/client-node`; reading tries both. */
  utf8Sorting?: boolean
}

const OPTIONS = [...TOKEN_AES_OPTIONS, 'keyNamespace', 'keyName', 'utf8Sorting'] as const

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
  readonly #gcm: TokenGcm
  readonly #nameBytes: Uint8Array
  readonly #orders: readonly [ContextOrder, ContextOrder]

  constructor(input: Pkcs11AesKeyringInput) {
    super()
    const { keyNamespace, keyName, utf8Sorting = false, ...rest } = checkOptions(input, OPTIONS, 'Pkcs11AesKeyring')
    this.#gcm = new TokenGcm(rest)
    this.keyNamespace = checkString(keyNamespace, 'keyNamespace')
    this.keyName = checkString(keyName, 'keyName')
    this.#nameBytes = utf8(keyName)
    this.#orders = checkBoolean(utf8Sorting, 'utf8Sorting') ? ['utf8', 'locale'] : ['locale', 'utf8']
    Object.freeze(this)
  }

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    const { keyNamespace, keyName } = this
    const dataKey = await this.#dataKey(material)
    const wrapped = await this.#gcm.wrap(dataKey, serializeContext(material.encryptionContext, this.#orders[0]))
    const rawInfo = serializeInfo(this.#nameBytes)
    rawInfo.set(wrapped.subarray(0, IV_LENGTH), rawInfo.length - IV_LENGTH)
    const encryptedDataKey = wrapped.subarray(IV_LENGTH)
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
    const aad = new ContextAad(material.encryptionContext, this.#orders)
    let tried = 0
    for (const edk of encryptedDataKeys) {
      if (edk.providerId !== keyNamespace) continue
      const { rawInfo, encryptedDataKey } = bytesOf(edk)
      const iv = ivOf(rawInfo, this.#nameBytes)
      if (!iv) continue
      if (tried++ > 0 && !(await mayTryAnother(material, aad.length))) break
      const dataKey = await this.#unwrap(iv, encryptedDataKey, aad, material).catch(ofOneCiphertext)
      if (!types.isUint8Array(dataKey)) {
        const problem = `PKCS#11 AES key "${keyNamespace}/${keyName}" could not open its encrypted data key`
        material.addFailure(dataKey ?? new SealwaxError('ERR_AUTHENTICATION_FAILED', problem))
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
    if (material.hasUnencryptedDataKey || !this.#gcm.makesDataKeys) return toWrap(material, keyNamespace, keyName)
    const dataKey = await this.#gcm.dataKey(material.suite.keyLengthBytes)
    const flags = KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY
    adoptDataKey(material, dataKey, { keyNamespace, keyName, flags })
    return dataKeyOf(material)
  }

  async #unwrap(
    iv: Uint8Array,
    wrapped: Uint8Array,
    aad: ContextAad,
    { suite }: NodeDecryptionMaterial,
  ): Promise<Uint8Array | TokenError | undefined> {
    if (wrapped.length !== suite.keyLengthBytes + TAG_LENGTH) return undefined
    const sealed = Buffer.concat([iv, wrapped])
    let failure: TokenError | undefined
    for (const context of aad) {
      const opened = await this.#gcm.unwrap(sealed, context).catch(ofOneCiphertext)
      if (types.isUint8Array(opened)) return opened
      failure ??= opened
    }
    return failure
  }
}
Object.freeze(Pkcs11AesKeyring)
Object.freeze(Pkcs11AesKeyring.prototype)
