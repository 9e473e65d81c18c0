import { createHmac, createPublicKey, type KeyObject } from 'node:crypto'
import { types } from 'node:util'
import { copySecret, equalBytes, utf8, wipe } from '../bytes'
import { bytesOf, type EncryptedDataKey } from '../encrypted-data-key'
import { getEngine } from '../engine/engine'
import { SealwaxError } from '../errors'
import { KeyringNode } from '../materials/keyring'
import {
  adoptDataKey,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '../materials/materials'
import { checkOneOf, checkOptions, checkString } from '../options'
import { mayTryAnother } from './attempts'
import { ofOneCiphertext, TokenError, traitsOf } from './pkcs11-errors'
import { checkerOf, checkKeySelector, type KeySelector } from './pkcs11-key'
import { Pkcs11Token, type TokenKey } from './pkcs11-token'
import type { KeyDescription, OaepHashName, TokenDescription, WireMechanism } from './pkcs11-wire'
import { RawRsaKeyringNode, toRsaKey } from './raw-rsa'

export interface Pkcs11RsaKeyringInput {
  token: Pkcs11Token
  /** An RSA private key of the token that may decrypt. */
  key: KeySelector
  /** Whose key it is; becomes the key provider ID. */
  keyNamespace: string
  /** Which key it is; becomes the key provider info. Need not be its label. */
  keyName: string
  /** Hash of OAEP and of its MGF1. Default: `sha1`, as of raw RSA keyrings; not every token has the others. */
  oaepHash?: OaepHashName
  /**
   * `pkcs1v15` is RSA PKCS #1 v1.5, for old messages: whoever can have many messages decrypted, and sees which fail how
   * fast, may learn a data key. Default: `oaep`.
   */
  padding?: 'oaep' | 'pkcs1v15'
  /** The public half, PEM or KeyObject: then encrypting does not touch the token. Default: read from the token once. */
  publicKey?: string | Buffer | KeyObject
}

const OPTIONS = ['token', 'key', 'keyNamespace', 'keyName', 'oaepHash', 'padding', 'publicKey'] as const
const HASHES = ['sha1', 'sha256', 'sha384', 'sha512'] as const
const RSA_PKCS1_PADDING = 1

/**
 * Wraps data keys with an RSA key whose private half stays in a PKCS#11 token. Encrypted data keys are those of a raw RSA
 * keyring: one that holds the same key under the same names opens them, and the reverse. Encrypting needs the public half
 * only, and happens here.
 *
 * @example
 * const keyring = new Pkcs11RsaKeyring({ token, key: 'rsa-2026', keyNamespace: 'my-app', keyName: 'rsa-2026' })
 */
export class Pkcs11RsaKeyring extends KeyringNode {
  readonly keyNamespace: string
  readonly keyName: string
  readonly #token: Pkcs11Token
  readonly #key: TokenKey
  readonly #mechanism: WireMechanism
  /** Of what `publicKey` gives, or the token. */
  #encrypting: RawRsaKeyringNode | undefined
  readonly #seed = getEngine().randomBytes(32)

  constructor(input: Pkcs11RsaKeyringInput) {
    super()
    const {
      token,
      key,
      keyNamespace,
      keyName,
      oaepHash,
      padding = 'oaep',
      publicKey,
    } = checkOptions(input, OPTIONS, 'Pkcs11RsaKeyring')
    if (!(token instanceof Pkcs11Token)) throw new TypeError('"token" must be a Pkcs11Token')
    this.keyNamespace = checkString(keyNamespace, 'keyNamespace')
    this.keyName = checkString(keyName, 'keyName')
    checkOneOf(padding, 'padding', ['oaep', 'pkcs1v15'])
    if (padding === 'pkcs1v15' && oaepHash !== undefined) throw new TypeError('"oaepHash" goes with OAEP padding only')
    const hash = checkOneOf(oaepHash ?? 'sha1', 'oaepHash', HASHES)
    this.#mechanism = padding === 'oaep' ? { name: 'oaep', hash } : { name: 'pkcs1' }
    this.#token = token
    const checks =
      padding === 'oaep'
        ? checkerOf('CKM_RSA_PKCS_OAEP', ['decrypt'], hasHash(hash))
        : checkerOf('CKM_RSA_PKCS', ['decrypt'])
    this.#key = { query: checkKeySelector(key, 'rsa-private'), check: checks }
    if (publicKey !== undefined) this.#encrypting = this.#rawKeyring(toRsaKey(publicKey, 'public'))
    Object.freeze(this)
  }

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    this.#encrypting ??= this.#rawKeyring(publicKeyOf(await this.#token._find(this.#key)))
    return await this.#encrypting.onEncrypt(material)
  }

  async _onDecrypt(
    material: NodeDecryptionMaterial,
    encryptedDataKeys: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const { keyNamespace, keyName } = this
    const name = utf8(keyName)
    let tried = 0
    for (const edk of encryptedDataKeys) {
      const { rawInfo, encryptedDataKey } = bytesOf(edk)
      if (edk.providerId !== keyNamespace || !equalBytes(rawInfo, name)) continue
      if (tried++ > 0 && !(await mayTryAnother(material))) break
      const dataKey = await this.#unwrap(encryptedDataKey, material.suite.keyLengthBytes)
      if (!types.isUint8Array(dataKey)) {
        const problem = `PKCS#11 RSA key "${keyNamespace}/${keyName}" could not open its encrypted data key`
        material.addFailure(dataKey ?? new SealwaxError('ERR_AUTHENTICATION_FAILED', problem))
        continue
      }
      adoptDataKey(material, dataKey, {
        keyNamespace,
        keyName,
        flags: KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY,
      })
      break
    }
    return material
  }

  /** One answer for every way not to open, so that padding and length cannot be told apart. */
  async #unwrap(wrapped: Uint8Array, length: number): Promise<Uint8Array | TokenError | undefined> {
    const mechanism = this.#mechanism
    const isPkcs1 = mechanism.name === 'pkcs1'
    const opened = await this.#token._crypt(this.#key, { op: 'decrypt', mechanism }, wrapped).catch(ofOneCiphertext)
    // C_Decrypt may mean the padding, whatever it answers.
    if (opened instanceof TokenError && !(isPkcs1 && opened.call === 'C_Decrypt')) return opened
    if (types.isUint8Array(opened)) {
      if (opened.length === length) return opened
      wipe(opened)
    }
    // A wrong v1.5 padding gives a key like any other, always the same, which opens no message.
    return isPkcs1 ? this.#substitute(wrapped, length) : undefined
  }

  #substitute(wrapped: Uint8Array, length: number): Uint8Array {
    const key = createHmac('sha256', this.#seed).update(wrapped).digest()
    const own = copySecret(key.subarray(0, length))
    wipe(key)
    return own
  }

  #rawKeyring(publicKey: KeyObject): RawRsaKeyringNode {
    const { keyNamespace, keyName } = this
    const mechanism = this.#mechanism
    const padding = mechanism.name === 'oaep' ? { oaepHash: mechanism.hash } : { padding: RSA_PKCS1_PADDING }
    return new RawRsaKeyringNode({ keyNamespace, keyName, rsaKey: { publicKey }, ...padding })
  }
}
Object.freeze(Pkcs11RsaKeyring)
Object.freeze(Pkcs11RsaKeyring.prototype)

function hasHash(hash: OaepHashName): (key: KeyDescription, token: TokenDescription) => void {
  return (_key, { label, manufacturer }) => {
    const { oaepHashes } = traitsOf(manufacturer)
    if (oaepHashes.includes(hash)) return
    const has = `only OAEP with ${oaepHashes.join(', ')}, not ${hash}`
    throw new SealwaxError('ERR_WRAPPING_KEY', `the PKCS#11 token ${JSON.stringify(label)} has ${has}`)
  }
}

/** The public half, as the token tells it with the private one. */
export function publicKeyOf({ modulus, publicExponent, label }: KeyDescription): KeyObject {
  if (modulus === undefined || publicExponent === undefined)
    throw new SealwaxError(
      'ERR_WRAPPING_KEY',
      `the token does not tell the public half of ${JSON.stringify(label)}: give "publicKey"`,
    )
  const [n, e] = [modulus, publicExponent].map((hex) => Buffer.from(hex, 'hex').toString('base64url')) as [
    string,
    string,
  ]
  return createPublicKey({ key: { kty: 'RSA', n, e }, format: 'jwk' })
}
