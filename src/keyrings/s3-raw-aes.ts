import { allocateSecret, copySecret, utf8, wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { getEngine } from '../engine/engine'
import { openEcb, sealEcb, unwrapAesKey } from '../engine/legacy'
import { authenticationFailed, SealwaxError } from '../errors'
import type { S3Keyring, S3UnwrapRequest, S3WrappedDataKey, S3WrapRequest } from '../materials/s3-keyring'
import { checkOptions, checkView } from '../options'
import { checkMaterialDescription, dataKeyFor, refuseContext } from './s3-material'
import { WrapCount } from './wrap-count'

export interface S3RawAesKeyringInput {
  /** The wrapping key: 16, 24 or 32 bytes. Copied, never written to; the caller may wipe it afterwards. */
  wrappingKey: Uint8Array
  /** Stored with each object, in clear, to tell which key it needs. Default: `{}`. */
  materialDescription?: EncryptionContext | undefined
}

const OPTIONS = ['wrappingKey', 'materialDescription'] as const
const IV_LENGTH = 12
const TAG_LENGTH = 16

/**
 * Wraps the data keys of S3 objects with an AES key in memory: 12-byte IV || AES-GCM(data key) || 16-byte tag, the name of
 * the content algorithm as AAD. Opens the older `AESWrap` (RFC 3394) and `AES` (ECB) too, where the caller allows it.
 *
 * @example
 * const keyring = new S3RawAesKeyring({ wrappingKey: key, materialDescription: { version: '2026' } })
 */
export class S3RawAesKeyring implements S3Keyring {
  readonly materialDescription: Readonly<EncryptionContext>
  readonly #key: Uint8Array
  readonly #wraps = new WrapCount()

  constructor(input: S3RawAesKeyringInput) {
    const { wrappingKey, materialDescription } = checkOptions(input, OPTIONS, 'S3RawAesKeyring')
    const key = checkView(wrappingKey, 'wrappingKey')
    const { length } = key
    if (length !== 16 && length !== 24 && length !== 32) {
      throw new RangeError(`"wrappingKey" must be 16, 24 or 32 bytes, got ${length}`)
    }
    // A key array that another library has wiped is the usual way to come here.
    if (key.every((byte) => byte === 0)) throw new RangeError('"wrappingKey" is all zeros')
    this.materialDescription = checkMaterialDescription(materialDescription)
    this.#key = copySecret(key)
    Object.freeze(this)
  }

  /** Wipes the wrapping key. The keyring cannot be used afterwards. */
  dispose(): void {
    wipe(this.#key)
  }

  async wrapDataKey(request: S3WrapRequest): Promise<S3WrappedDataKey> {
    const { contentAlgorithm, encryptionContext } = request
    refuseContext(encryptionContext)
    const key = this.#usableKey()
    this.#wraps.add()
    const { materialDescription } = this
    const dataKey = dataKeyFor(request)
    if (contentAlgorithm === 'AES/CBC/PKCS5Padding') {
      return { dataKey, encryptedDataKey: sealEcb(key, dataKey), wrapAlgorithm: 'AES', materialDescription }
    }
    const encryptedDataKey = Buffer.alloc(IV_LENGTH + dataKey.length + TAG_LENGTH)
    const iv = encryptedDataKey.subarray(0, IV_LENGTH)
    getEngine().randomFill(iv)
    // The engine refuses an output in the memory of its input.
    const sealed = new Uint8Array(dataKey.length + TAG_LENGTH)
    getEngine().seal(key, iv, utf8(contentAlgorithm), dataKey, sealed)
    encryptedDataKey.set(sealed, IV_LENGTH)
    return { dataKey, encryptedDataKey, wrapAlgorithm: 'AES/GCM', materialDescription }
  }

  async unwrapDataKey(request: S3UnwrapRequest): Promise<Uint8Array | undefined> {
    const open = OPENERS.get(request.wrapAlgorithm)
    if (!open) return undefined
    const dataKey = open(this.#usableKey(), request)
    if (dataKey && [16, 24, 32].includes(dataKey.length)) return dataKey
    wipe(dataKey)
    throw authenticationFailed()
  }

  #usableKey(): Uint8Array {
    if (this.#key.every((byte) => byte === 0))
      throw new SealwaxError('ERR_WRAPPING_KEY', 'this keyring has been disposed of')
    return this.#key
  }
}
Object.freeze(S3RawAesKeyring)
Object.freeze(S3RawAesKeyring.prototype)

type Open = (key: Uint8Array, request: S3UnwrapRequest) => Uint8Array | undefined
const OPENERS: ReadonlyMap<string, Open> = new Map<string, Open>([
  ['AES/GCM', openGcm],
  ['AESWrap', (key, { encryptedDataKey }) => unwrapAesKey(key, encryptedDataKey)],
  ['AES', (key, { encryptedDataKey }) => openEcb(key, encryptedDataKey)],
])

function openGcm(key: Uint8Array, { encryptedDataKey, contentAlgorithm }: S3UnwrapRequest): Uint8Array | undefined {
  if (encryptedDataKey.length <= IV_LENGTH + TAG_LENGTH) return undefined
  const iv = encryptedDataKey.subarray(0, IV_LENGTH)
  const dataKey = allocateSecret(encryptedDataKey.length - IV_LENGTH - TAG_LENGTH)
  const opened = getEngine().open(key, iv, utf8(contentAlgorithm), encryptedDataKey.subarray(IV_LENGTH), dataKey)
  return opened ? dataKey : undefined
}
