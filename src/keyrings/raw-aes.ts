import { allocateSecret, ByteReader, ByteWriter, copySecret, equalBytes, utf8, wipe } from '../bytes'
import { bytesOf, EncryptedDataKey } from '../encrypted-data-key'
import { type ContextOrder, serializeContext } from '../encryption-context'
import { getEngine } from '../engine/engine'
import { SealwaxError } from '../errors'
import { KeyringNode } from '../materials/keyring'
import {
  adoptDataKey,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '../materials/materials'
import { checkBoolean, checkOptions, checkView, describe, fixFields } from '../options'
import type { AlgorithmSuiteIdentifier } from '../suites'
import { mayTryAnother } from './attempts'
import { ContextAad } from './context-aad'
import { checkIdentity, toWrap } from './data-key'
import { WrapCount } from './wrap-count'

/** The algorithm a raw AES keyring wraps with: AES-GCM, 12-byte IV, 16-byte tag, by key length. */
export enum RawAesWrappingSuiteIdentifier {
  AES128_GCM_IV12_TAG16_NO_PADDING = 0x0014,
  AES192_GCM_IV12_TAG16_NO_PADDING = 0x0046,
  AES256_GCM_IV12_TAG16_NO_PADDING = 0x0078,
}
Object.freeze(RawAesWrappingSuiteIdentifier)

/** The same, also by the names of the suites that use these algorithms for content. */
export type WrappingSuiteIdentifier =
  | RawAesWrappingSuiteIdentifier
  | AlgorithmSuiteIdentifier.ALG_AES128_GCM_IV12_TAG16
  | AlgorithmSuiteIdentifier.ALG_AES192_GCM_IV12_TAG16
  | AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16

export interface RawAesKeyringNodeInput {
  /** Whose key it is; becomes the key provider ID. */
  keyNamespace: string
  /** Which key it is; becomes the start of the key provider info. */
  keyName: string
  /** The wrapping key: 16, 24 or 32 bytes. Copied, never written to; the caller may wipe it afterwards. */
  unencryptedMasterKey: Uint8Array
  wrappingSuite: WrappingSuiteIdentifier
  /**
   * How the encryption context is sorted where it authenticates the data key. `false`, the default, is the order that
   * `@aws-crypto/client-node` writes by default; `true` is the specification's, which every other language uses. They
   * differ for mixed-case and non-ASCII keys only. Reading tries both.
   */
  utf8Sorting?: boolean
}

export const IV_LENGTH = 12
export const TAG_LENGTH = 16
const KEY_LENGTHS: ReadonlyMap<number, number> = new Map([
  [0x0014, 16],
  [0x0046, 24],
  [0x0078, 32],
])
const OPTIONS = ['keyNamespace', 'keyName', 'unencryptedMasterKey', 'wrappingSuite', 'utf8Sorting'] as const

/**
 * Wraps data keys with an AES key in memory (framework/raw-aes-keyring.md). Key provider info on the wire:
 * key name || u32 128 (tag bits) || u32 12 (IV bytes) || IV.
 *
 * @example
 * const keyring = new RawAesKeyringNode({
 *   keyNamespace: 'my-app', keyName: 'key-2026', unencryptedMasterKey: key,
 *   wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
 * })
 */
export class RawAesKeyringNode extends KeyringNode {
  readonly keyNamespace: string
  readonly keyName: string
  readonly #key: Uint8Array
  readonly #nameBytes: Uint8Array
  readonly #orders: readonly [ContextOrder, ContextOrder]
  readonly #wraps = new WrapCount()

  constructor(input: RawAesKeyringNodeInput) {
    super()
    const {
      keyNamespace,
      keyName,
      unencryptedMasterKey,
      wrappingSuite,
      utf8Sorting = false,
    } = checkOptions(input, OPTIONS, 'RawAesKeyringNode')
    this.keyNamespace = checkIdentity(keyNamespace, 'keyNamespace')
    this.keyName = checkIdentity(keyName, 'keyName')
    this.#nameBytes = utf8(keyName)
    const key = checkView(unencryptedMasterKey, 'unencryptedMasterKey')
    const keyLength = KEY_LENGTHS.get(wrappingSuite)
    if (keyLength === undefined) {
      const suites = [...KEY_LENGTHS].map(([id, length]) => `0x${id.toString(16)} (AES-${8 * length})`)
      throw new RangeError(
        `suiteId not supported. "wrappingSuite" must be one of ${suites.join(', ')}, got ${describe(wrappingSuite)}`,
      )
    }
    if (key.length !== keyLength) {
      throw new RangeError(
        `Key length does not agree with the algorithm specification. "unencryptedMasterKey" must be ${keyLength} bytes, got ${key.length}`,
      )
    }
    // A key array that another library has wiped is the usual way to come here.
    if (key.every((byte) => byte === 0)) throw new RangeError('"unencryptedMasterKey" is all zeros')
    this.#orders = checkBoolean(utf8Sorting, 'utf8Sorting') ? ['utf8', 'locale'] : ['locale', 'utf8']
    this.#key = copySecret(key)
    fixFields(this)
  }

  /** Wipes the wrapping key. The keyring cannot be used afterwards. */
  dispose(): void {
    wipe(this.#key)
  }

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    const { keyNamespace, keyName } = this
    const key = this.#usableKey()
    const rawInfo = serializeInfo(this.#nameBytes)
    const iv = rawInfo.subarray(rawInfo.length - IV_LENGTH)
    this.#wraps.add()
    const dataKey = toWrap(material, keyNamespace, keyName, iv)
    const wrapped = Buffer.allocUnsafe(dataKey.length + TAG_LENGTH)
    getEngine().seal(key, iv, serializeContext(material.encryptionContext, this.#orders[0]), dataKey, wrapped)
    return material.addEncryptedDataKey(
      new EncryptedDataKey({ providerId: keyNamespace, providerInfo: keyName, rawInfo, encryptedDataKey: wrapped }),
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
      // Asked for anew each time: others had their turn, and may have disposed of this keyring.
      const dataKey = this.#unwrap(this.#usableKey(), iv, encryptedDataKey, aad, material.suite.keyLengthBytes)
      if (!dataKey) {
        material.addFailure(
          new SealwaxError(
            'ERR_AUTHENTICATION_FAILED',
            `raw AES key "${keyNamespace}/${keyName}" could not open its encrypted data key`,
          ),
        )
        continue
      }
      const flags = KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_VERIFIED_ENC_CTX
      adoptDataKey(material, dataKey, { keyNamespace, keyName, flags })
      break
    }
    return material
  }

  #unwrap(
    key: Uint8Array,
    iv: Uint8Array,
    wrapped: Uint8Array,
    aad: ContextAad,
    length: number,
  ): Uint8Array | undefined {
    if (wrapped.length !== length + TAG_LENGTH) return undefined
    const dataKey = allocateSecret(length)
    for (const context of aad) if (getEngine().open(key, iv, context, wrapped, dataKey)) return dataKey
    return undefined
  }

  /** The key itself, for use before anything is awaited: a wiped key is a key like any other, and everybody knows it. */
  #usableKey(): Uint8Array {
    if (this.#key.every((byte) => byte === 0))
      throw new SealwaxError('ERR_WRAPPING_KEY', 'this keyring has been disposed of')
    return this.#key
  }
}
Object.freeze(RawAesKeyringNode)
Object.freeze(RawAesKeyringNode.prototype)

/** The provider info of the key of this name; its last {@link IV_LENGTH} bytes are the IV's place. */
export function serializeInfo(name: Uint8Array): Uint8Array {
  return new ByteWriter(name.length + 8 + IV_LENGTH)
    .put(name)
    .u32(TAG_LENGTH * 8)
    .u32(IV_LENGTH).bytes
}

/** The IV in the provider info of the key of this name; undefined where the info is another key's. */
export function ivOf(info: Uint8Array, name: Uint8Array): Uint8Array | undefined {
  if (info.length !== name.length + 8 + IV_LENGTH || !equalBytes(info.subarray(0, name.length), name)) return undefined
  const reader = new ByteReader(info.subarray(name.length), 'key provider info')
  // A shorter tag would be easier to forge: only the full one is ours.
  if (reader.u32() !== TAG_LENGTH * 8 || reader.u32() !== IV_LENGTH) return undefined
  return reader.take(IV_LENGTH)
}
