import { constants, createHash, createHmac, type KeyObject, privateDecrypt } from 'node:crypto'
import { utf8, wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { authenticationFailed, SealwaxError } from '../errors'
import type { S3Keyring, S3UnwrapRequest, S3WrappedDataKey, S3WrapRequest } from '../materials/s3-keyring'
import { checkOptions } from '../options'
import { toRsaKey, wrapByRsa } from './raw-rsa'
import { checkMaterialDescription, dataKeyFor, refuseContext } from './s3-material'
import { dataKeyInMessage, unpadOaepSha256Mgf1Sha1, unpadPkcs1 } from './s3-rsa-padding'

export interface S3RawRsaKeyringInput {
  /** PEM text or bytes, or KeyObjects. The public key encrypts, the private one decrypts. */
  rsaKey: { publicKey?: string | Buffer | KeyObject; privateKey?: string | Buffer | KeyObject }
  /** Stored with each object, in clear, to tell which key it needs. Default: `{}`. */
  materialDescription?: EncryptionContext | undefined
}

const OPTIONS = ['rsaKey', 'materialDescription'] as const
const { RSA_NO_PADDING, RSA_PKCS1_OAEP_PADDING, RSA_PKCS1_PADDING } = constants
const OAEP_SHA1 = { padding: RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha1' }

/**
 * Wraps the data keys of S3 objects with an RSA key in memory: RSA-OAEP (SHA-1) of one byte of length || data key || the
 * name of the content algorithm. Opens the older `RSA/ECB/OAEPWithSHA-256AndMGF1Padding` and `RSA` (PKCS #1 v1.5) too,
 * where the caller allows it.
 *
 * @example
 * const writer = new S3RawRsaKeyring({ rsaKey: { publicKey: pem } })
 */
export class S3RawRsaKeyring implements S3Keyring {
  readonly materialDescription: Readonly<EncryptionContext>
  readonly #publicKey: KeyObject | undefined
  readonly #privateKey: KeyObject | undefined

  constructor(input: S3RawRsaKeyringInput) {
    const { rsaKey, materialDescription } = checkOptions(input, OPTIONS, 'S3RawRsaKeyring')
    const { publicKey, privateKey } = checkOptions(rsaKey, ['publicKey', 'privateKey'], '"rsaKey"')
    if (!publicKey && !privateKey)
      throw new TypeError('No Key provided. "rsaKey" needs a "publicKey" or a "privateKey"')
    this.materialDescription = checkMaterialDescription(materialDescription)
    this.#publicKey = publicKey ? toRsaKey(publicKey, 'public') : undefined
    this.#privateKey = privateKey ? toRsaKey(privateKey, 'private') : undefined
    Object.freeze(this)
  }

  async wrapDataKey(request: S3WrapRequest): Promise<S3WrappedDataKey> {
    const { contentAlgorithm, encryptionContext } = request
    refuseContext(encryptionContext)
    const key = this.#publicKey
    if (!key) throw new SealwaxError('ERR_WRAPPING_KEY', 'this keyring has no public key, and encrypts nothing')
    const { materialDescription } = this
    const dataKey = dataKeyFor(request)
    const message = Buffer.concat([Uint8Array.of(dataKey.length), dataKey, utf8(contentAlgorithm)])
    try {
      if (contentAlgorithm === 'AES/CBC/PKCS5Padding') {
        const encryptedDataKey = wrapByRsa(key, { padding: RSA_PKCS1_PADDING }, dataKey)
        return { dataKey, encryptedDataKey, wrapAlgorithm: 'RSA', materialDescription }
      }
      const encryptedDataKey = wrapByRsa(key, OAEP_SHA1, message, dataKey.length)
      return { dataKey, encryptedDataKey, wrapAlgorithm: 'RSA-OAEP-SHA1', materialDescription }
    } catch (error) {
      wipe(dataKey)
      throw error
    } finally {
      wipe(message)
    }
  }

  async unwrapDataKey(request: S3UnwrapRequest): Promise<Uint8Array | undefined> {
    const open = OPENERS.get(request.wrapAlgorithm)
    if (!open) return undefined
    const key = this.#privateKey
    if (!key) throw new SealwaxError('ERR_WRAPPING_KEY', 'this keyring has no private key, and decrypts nothing')
    const dataKey = open(key, request)
    if (dataKey) return dataKey
    throw authenticationFailed()
  }
}
Object.freeze(S3RawRsaKeyring)
Object.freeze(S3RawRsaKeyring.prototype)

type Open = (key: KeyObject, request: S3UnwrapRequest) => Uint8Array | undefined
const OPENERS: ReadonlyMap<string, Open> = new Map<string, Open>([
  ['RSA-OAEP-SHA1', openOaepSha1],
  ['RSA/ECB/OAEPWithSHA-256AndMGF1Padding', openOaepSha256],
  ['RSA', openPkcs1],
])

function openOaepSha1(key: KeyObject, { encryptedDataKey, contentAlgorithm }: S3UnwrapRequest): Uint8Array | undefined {
  const message = decrypt(key, RSA_PKCS1_OAEP_PADDING, encryptedDataKey)
  return message && dataKeyInMessage(message, contentAlgorithm)
}

function openOaepSha256(key: KeyObject, { encryptedDataKey }: S3UnwrapRequest): Uint8Array | undefined {
  const block = decrypt(key, RSA_NO_PADDING, encryptedDataKey)
  const dataKey = block && unpadOaepSha256Mgf1Sha1(block)
  wipe(block)
  return dataKey
}

/**
 * Never fails, but for a ciphertext that is no number below the modulus: a wrong padding gives a key like any other, the
 * same each time, and what it leads to is a content that cannot be opened. Nobody can tell the one from the other.
 */
function openPkcs1(key: KeyObject, { encryptedDataKey }: S3UnwrapRequest): Uint8Array | undefined {
  const block = decrypt(key, RSA_NO_PADDING, encryptedDataKey)
  if (!block) return undefined
  const substitute = substituteKey(key, encryptedDataKey)
  const dataKey = unpadPkcs1(block, substitute)
  wipe(block, substitute)
  return dataKey
}

function substituteKey(key: KeyObject, encryptedDataKey: Uint8Array): Uint8Array {
  const secret = key.export({ format: 'der', type: 'pkcs8' })
  const seed = createHash('sha256').update('sealwax substitute key').update(secret).digest()
  wipe(secret)
  return createHmac('sha256', seed).update(encryptedDataKey).digest()
}

function decrypt(key: KeyObject, padding: number, encryptedDataKey: Uint8Array): Buffer | undefined {
  if (encryptedDataKey.length !== Math.ceil(key.asymmetricKeyDetails!.modulusLength! / 8)) return undefined
  try {
    return privateDecrypt({ key, padding, oaepHash: 'sha1' }, encryptedDataKey)
  } catch {
    return undefined
  }
}
