import { createHmac, type KeyObject } from 'node:crypto'
import { allocateSecret, wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { getEngine } from '../engine/engine'
import { authenticationFailed } from '../errors'
import type { S3Keyring, S3UnwrapRequest, S3WrappedDataKey, S3WrapRequest } from '../materials/s3-keyring'
import { checkOptions } from '../options'
import { checkerOf, checkKeySelector, type KeySelector } from './pkcs11-key'
import { publicKeyOf } from './pkcs11-rsa'
import { Pkcs11Token, type TokenKey } from './pkcs11-token'
import type { WireMechanism } from './pkcs11-wire'
import { toRsaKey } from './raw-rsa'
import { checkMaterialDescription, refuseContext } from './s3-material'
import { S3RawRsaKeyring } from './s3-raw-rsa'
import { dataKeyInMessage, unpadOaepSha256Mgf1Sha1, unpadPkcs1 } from './s3-rsa-padding'

export interface S3Pkcs11RsaKeyringInput {
  token: Pkcs11Token
  /** An RSA private key of the token that may decrypt. */
  key: KeySelector
  /** The public half, PEM or KeyObject: then encrypting does not touch the token. Default: read from the token once. */
  publicKey?: string | Buffer | KeyObject
  /** Stored with each object, in clear, to tell which key it needs. Default: `{}`. */
  materialDescription?: EncryptionContext | undefined
}

const OPTIONS = ['token', 'key', 'publicKey', 'materialDescription'] as const

/**
 * Wraps the data keys of S3 objects with an RSA key whose private half stays in a PKCS#11 token. Objects are those of
 * `S3RawRsaKeyring`: one that holds the same key opens them, and the reverse. Encrypting needs the public half only, and
 * happens here. Opens the older `RSA` and `RSA/ECB/OAEPWithSHA-256AndMGF1Padding` too, where the caller allows it and the
 * token has `CKM_RSA_X_509`.
 *
 * @example
 * const keyring = new S3Pkcs11RsaKeyring({ token, key: 'rsa-2026', materialDescription: { version: '2026' } })
 */
export class S3Pkcs11RsaKeyring implements S3Keyring {
  readonly materialDescription: Readonly<EncryptionContext>
  readonly #token: Pkcs11Token
  readonly #oaep: TokenKey
  readonly #bare: TokenKey
  /** Of what `publicKey` gives, or the token. */
  #encrypting: S3RawRsaKeyring | undefined
  readonly #seed = getEngine().randomBytes(32)

  constructor(input: S3Pkcs11RsaKeyringInput) {
    const { token, key, publicKey, materialDescription } = checkOptions(input, OPTIONS, 'S3Pkcs11RsaKeyring')
    if (!(token instanceof Pkcs11Token)) throw new TypeError('"token" must be a Pkcs11Token')
    this.#token = token
    const query = checkKeySelector(key, 'rsa-private')
    this.#oaep = { query, check: checkerOf('CKM_RSA_PKCS_OAEP', ['decrypt']) }
    this.#bare = { query, check: checkerOf('CKM_RSA_X_509', ['decrypt']) }
    this.materialDescription = checkMaterialDescription(materialDescription)
    if (publicKey !== undefined) this.#encrypting = this.#rawKeyring(toRsaKey(publicKey, 'public'))
    Object.freeze(this)
  }

  async wrapDataKey(request: S3WrapRequest): Promise<S3WrappedDataKey> {
    refuseContext(request.encryptionContext)
    this.#encrypting ??= this.#rawKeyring(publicKeyOf(await this.#token._find(this.#oaep)))
    return await this.#encrypting.wrapDataKey(request)
  }

  async unwrapDataKey(request: S3UnwrapRequest): Promise<Uint8Array | undefined> {
    const { wrapAlgorithm, encryptedDataKey, contentAlgorithm } = request
    let dataKey: Uint8Array | undefined
    if (wrapAlgorithm === 'RSA-OAEP-SHA1') {
      const message = await this.#decrypt(this.#oaep, { name: 'oaep', hash: 'sha1' }, encryptedDataKey)
      dataKey = message && dataKeyInMessage(message, contentAlgorithm)
    } else if (wrapAlgorithm === 'RSA/ECB/OAEPWithSHA-256AndMGF1Padding') {
      const block = await this.#block(encryptedDataKey)
      dataKey = block && unpadOaepSha256Mgf1Sha1(block)
      wipe(block)
    } else if (wrapAlgorithm === 'RSA') {
      dataKey = await this.#openPkcs1(encryptedDataKey)
    } else {
      return undefined
    }
    if (dataKey) return dataKey
    throw authenticationFailed()
  }

  /** Never fails for its padding: a wrong one gives a key like any other, always the same, which opens no content. */
  async #openPkcs1(encryptedDataKey: Uint8Array): Promise<Uint8Array | undefined> {
    const block = await this.#block(encryptedDataKey)
    if (!block) return undefined
    const substitute = createHmac('sha256', this.#seed).update(encryptedDataKey).digest()
    const dataKey = unpadPkcs1(block, substitute)
    wipe(block, substitute)
    return dataKey
  }

  /** What was encrypted, with its padding: as long as the ciphertext, though there are tokens that leave out leading zeros. */
  async #block(encryptedDataKey: Uint8Array): Promise<Uint8Array | undefined> {
    const opened = await this.#decrypt(this.#bare, { name: 'rsa' }, encryptedDataKey)
    if (!opened || opened.length > encryptedDataKey.length) return undefined
    const block = allocateSecret(encryptedDataKey.length)
    block.set(opened, block.length - opened.length)
    wipe(opened)
    return block
  }

  async #decrypt(key: TokenKey, mechanism: WireMechanism, wrapped: Uint8Array): Promise<Uint8Array | undefined> {
    return await this.#token._crypt(key, { op: 'decrypt', mechanism }, wrapped)
  }

  #rawKeyring(publicKey: KeyObject): S3RawRsaKeyring {
    return new S3RawRsaKeyring({ rsaKey: { publicKey }, materialDescription: this.materialDescription })
  }
}
Object.freeze(S3Pkcs11RsaKeyring)
Object.freeze(S3Pkcs11RsaKeyring.prototype)
