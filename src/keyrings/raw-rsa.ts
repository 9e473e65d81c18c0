import { constants, createPrivateKey, createPublicKey, KeyObject, privateDecrypt, publicEncrypt } from 'node:crypto'
import { equalBytes, utf8, wipe } from '../bytes'
import { bytesOf, EncryptedDataKey } from '../encrypted-data-key'
import { SealwaxError } from '../errors'
import { KeyringNode } from '../materials/keyring'
import { KeyringTraceFlag, type NodeDecryptionMaterial, type NodeEncryptionMaterial } from '../materials/materials'
import { checkOneOf, checkOptions, describe, fixFields } from '../options'
import { TURN_LENGTH } from '../turns'
import { mayTryAnother } from './attempts'
import { checkIdentity, toWrap } from './data-key'

/** Hash of OAEP, and of its MGF1; `undefined` is SHA-1, as OpenSSL has it. */
export type OaepHash = 'sha1' | 'sha256' | 'sha384' | 'sha512' | undefined

export interface RawRsaKeyringNodeInput {
  /** Whose key it is; becomes the key provider ID. */
  keyNamespace: string
  /** Which key it is; becomes the key provider info. */
  keyName: string
  /** PEM text or bytes, or KeyObjects. The public key encrypts, the private one decrypts: neither does both. */
  rsaKey: { publicKey?: string | Buffer | KeyObject; privateKey?: string | Buffer | KeyObject }
  /**
   * `crypto.constants.RSA_PKCS1_OAEP_PADDING` (the default) or `RSA_PKCS1_PADDING`. The latter decrypts only on a
   * Node.js whose OpenSSL rejects bad padding implicitly (22.20 and later).
   */
  padding?: number
  oaepHash?: OaepHash
}

/** Whether OAEP hashes other than SHA-1 can be had: always, with every Node.js this package supports. */
export const oaepHashSupported = true

interface RsaPadding {
  readonly padding: number
  readonly oaepHash?: string
}

const OPTIONS = ['keyNamespace', 'keyName', 'rsaKey', 'padding', 'oaepHash'] as const
const OAEP_HASHES = ['sha1', 'sha256', 'sha384', 'sha512']
const { RSA_PKCS1_OAEP_PADDING, RSA_PKCS1_PADDING } = constants

/**
 * Wraps data keys with an RSA key in memory (framework/raw-rsa-keyring.md). RSA does not bind the encryption context to
 * the data key; the message itself still does.
 */
export class RawRsaKeyringNode extends KeyringNode {
  readonly keyNamespace: string
  readonly keyName: string
  readonly #publicKey: KeyObject | undefined
  readonly #privateKey: KeyObject | undefined
  readonly #padding: RsaPadding

  constructor(input: RawRsaKeyringNodeInput) {
    super()
    const {
      keyNamespace,
      keyName,
      rsaKey,
      padding = RSA_PKCS1_OAEP_PADDING,
      oaepHash,
    } = checkOptions(input, OPTIONS, 'RawRsaKeyringNode')
    this.keyNamespace = checkIdentity(keyNamespace, 'keyNamespace')
    this.keyName = checkIdentity(keyName, 'keyName')
    const { publicKey, privateKey } = checkOptions(rsaKey, ['publicKey', 'privateKey'], '"rsaKey"')
    if (!publicKey && !privateKey)
      throw new TypeError('No Key provided. "rsaKey" needs a "publicKey" or a "privateKey"')
    checkOneOf(padding, 'padding', [RSA_PKCS1_OAEP_PADDING, RSA_PKCS1_PADDING])
    if (oaepHash !== undefined) {
      if (padding !== RSA_PKCS1_OAEP_PADDING) throw new TypeError('"oaepHash" goes with OAEP padding only')
      if (!OAEP_HASHES.includes(oaepHash)) {
        throw new RangeError(
          `Unsupported oaepHash. "oaepHash" must be one of ${OAEP_HASHES.join(', ')}, got ${describe(oaepHash)}`,
        )
      }
    }
    this.#padding = padding === RSA_PKCS1_OAEP_PADDING ? { padding, oaepHash: oaepHash ?? 'sha1' } : { padding }
    this.#publicKey = publicKey ? toRsaKey(publicKey, 'public') : undefined
    this.#privateKey = privateKey ? toRsaKey(privateKey, 'private') : undefined
    fixFields(this)
  }

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    const { keyNamespace, keyName } = this
    const key = this.#publicKey
    if (!key) throw new SealwaxError('ERR_WRAPPING_KEY', 'No public key defined in constructor.  Encrypt disabled.')
    const encryptedDataKey = wrapByRsa(key, this.#padding, toWrap(material, keyNamespace, keyName))
    return material.addEncryptedDataKey(
      new EncryptedDataKey({ providerId: keyNamespace, providerInfo: keyName, encryptedDataKey }),
      KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY,
    )
  }

  async _onDecrypt(
    material: NodeDecryptionMaterial,
    encryptedDataKeys: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const { keyNamespace, keyName } = this
    const key = this.#privateKey
    const name = utf8(keyName)
    let tried = 0
    for (const edk of encryptedDataKeys) {
      // By bytes: as text, all that is not UTF-8 looks alike.
      const { rawInfo, encryptedDataKey } = bytesOf(edk)
      if (edk.providerId !== keyNamespace || !equalBytes(rawInfo, name)) continue
      if (!key) {
        const problem = 'No private key defined in constructor.  Decrypt disabled.'
        material.addFailure(new SealwaxError('ERR_WRAPPING_KEY', problem))
        break
      }
      if (tried++ > 0 && !(await mayTryAnother(material, TURN_LENGTH))) break
      const dataKey = this.#unwrap(key, encryptedDataKey, material.suite.keyLengthBytes)
      if (dataKey instanceof Error) {
        material.addFailure(dataKey)
        continue
      }
      const flags = KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY
      material.setUnencryptedDataKey(dataKey, { keyNamespace, keyName, flags })
      wipe(dataKey)
      break
    }
    return material
  }

  /** One error for every way to fail, so that padding and length cannot be told apart. */
  #unwrap(key: KeyObject, wrapped: Uint8Array, length: number): Uint8Array | Error {
    try {
      const dataKey = privateDecrypt({ key, ...this.#padding }, wrapped)
      if (dataKey.length === length) return dataKey
      wipe(dataKey)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_INVALID_ARG_VALUE') {
        return new SealwaxError(
          'ERR_WRAPPING_KEY',
          'this Node.js does not decrypt RSA PKCS #1 v1.5 padding safely, and so not at all',
        )
      }
    }
    return new SealwaxError(
      'ERR_AUTHENTICATION_FAILED',
      `raw RSA key "${this.keyNamespace}/${this.keyName}" could not open its encrypted data key`,
    )
  }
}
Object.freeze(RawRsaKeyringNode)
Object.freeze(RawRsaKeyringNode.prototype)

/** Encrypts a data key of `length` bytes, or what holds one. Throws `ERR_WRAPPING_KEY` where the key is too short for that. */
export function wrapByRsa(key: KeyObject, padding: RsaPadding, bytes: Uint8Array, length = bytes.length): Uint8Array {
  try {
    return publicEncrypt({ key, ...padding }, bytes)
  } catch (cause) {
    const { oaepHash } = padding
    throw new SealwaxError(
      'ERR_WRAPPING_KEY',
      `an RSA key of ${key.asymmetricKeyDetails?.modulusLength} bits cannot wrap a data key of ${length} bytes${oaepHash ? ` under OAEP with ${oaepHash}` : ''}`,
      { cause },
    )
  }
}

export function toRsaKey(key: string | Buffer | KeyObject, kind: 'public' | 'private'): KeyObject {
  const option = `rsaKey.${kind}Key`
  const given = key instanceof KeyObject ? key : parseKey(key, kind, option)
  // As in PEM: a private key tells its public one.
  const object = kind === 'public' && given.type === 'private' ? createPublicKey(given) : given
  if (object.type !== kind || object.asymmetricKeyType !== 'rsa')
    throw new TypeError(`"${option}" must be an RSA ${kind} key`)
  return object
}

function parseKey(key: string | Buffer, kind: 'public' | 'private', option: string): KeyObject {
  try {
    return kind === 'public' ? createPublicKey(key) : createPrivateKey(key)
  } catch (error) {
    // OpenSSL's error may quote its input; the input may be the private key.
    const { code = '' } = error as NodeJS.ErrnoException
    if (NO_PASSPHRASE.includes(code))
      throw new TypeError(`"${option}" has a passphrase: give the key without one, or a KeyObject`)
    throw new TypeError(`"${option}" is not a ${kind} key in PEM`)
  }
}

/** What the releases of Node.js say of an encrypted key without its passphrase. */
const NO_PASSPHRASE = ['ERR_MISSING_PASSPHRASE', 'ERR_OSSL_CRYPTO_INTERRUPTED_OR_CANCELLED']
