import { createSecretKey, KeyObject } from 'node:crypto'
import { types } from 'node:util'
import { copySecret, viewOf, wipe } from '../bytes'
import { EncryptedDataKey } from '../encrypted-data-key'
import { copyContext, type EncryptionContext, PUBLIC_KEY_FIELD } from '../encryption-context'
import { invalidMaterials } from '../errors'
import { describe, kindOf } from '../options'
import { allowManyListeners } from '../signals'
import { NodeAlgorithmSuite } from '../suites'
import { SignatureKey, VerificationKey } from './signature'

/** A plaintext data key as `getUnencryptedDataKey` gives it, by the name that `@aws-crypto/client-node` has for it. */
export type AwsEsdkKeyObject = KeyObject

/** What a keyring did with a wrapping key; flags add up. */
export enum KeyringTraceFlag {
  WRAPPING_KEY_GENERATED_DATA_KEY = 1,
  WRAPPING_KEY_ENCRYPTED_DATA_KEY = 2,
  WRAPPING_KEY_DECRYPTED_DATA_KEY = 4,
  WRAPPING_KEY_SIGNED_ENC_CTX = 8,
  WRAPPING_KEY_VERIFIED_ENC_CTX = 16,
  ENCRYPT_FLAGS = 2 | 8,
  SET_FLAGS = 1 | 4,
  DECRYPT_FLAGS = 4 | 16,
}

/** Which wrapping key a keyring used, and for what. */
export interface KeyringTrace {
  readonly keyNamespace: string
  readonly keyName: string
  flags: KeyringTraceFlag
}

/**
 * The plaintext data key of materials, as the bytes they hold: not a copy, wiped by `zeroUnencryptedDataKey`.
 * For this library's own use; keyrings of others call `getUnencryptedDataKey`.
 */
export let dataKeyOf: (material: CryptographicMaterial) => Uint8Array

/**
 * As `setUnencryptedDataKey`, without the copy: the materials own `dataKey` from here on, and wipe it. It must lie in
 * memory of its own (`allocateSecret`). For this library's own keyrings.
 */
export let adoptDataKey: (material: CryptographicMaterial, dataKey: Uint8Array, trace: KeyringTrace) => void

/**
 * Fires once nothing more is wanted of keyrings for these materials: they were abandoned or wiped or, for decryption, have
 * their data key. This library's own keyrings then end what they still ask of key services.
 */
export let doneSignal: (material: CryptographicMaterial) => AbortSignal

/** Says that the message which the materials are for was given up. What they hold stays until it is wiped. */
export let abandon: (material: CryptographicMaterial) => void

const MAX_FAILURES = 1000
const NO_KEYS: readonly string[] = Object.freeze([])

/** What encryption and decryption materials share. The data key is set once, copied in, and wiped at the end. */
abstract class CryptographicMaterial {
  readonly suite: NodeAlgorithmSuite
  readonly encryptionContext: Readonly<EncryptionContext>
  /** Keys of the encryption context whose pairs are authenticated, but not stored in the message. */
  readonly requiredEncryptionContextKeys: readonly string[]
  readonly keyringTrace: KeyringTrace[] = []
  #dataKey: Uint8Array | undefined
  #zeroed = false
  #isDone = false
  #done: AbortController | undefined

  static {
    doneSignal = (material) => {
      if (!material.#done) {
        material.#done = new AbortController()
        // One for each key that is asked: Node.js 20 would take more than ten for a leak.
        allowManyListeners(material.#done.signal)
      }
      if (material.#isDone) material.#done.abort()
      return material.#done.signal
    }
    abandon = (material) => material.#finish()
    dataKeyOf = (material) => {
      if (!material.#dataKey) throw invalidMaterials('unencryptedDataKey has not been set')
      if (material.#zeroed) throw invalidMaterials('unencryptedDataKey has been zeroed.')
      return material.#dataKey
    }
    adoptDataKey = (material, dataKey, trace) => {
      try {
        material.#checkSettable(dataKey, trace)
      } catch (error) {
        wipe(dataKey)
        throw error
      }
      material.#accept(dataKey, trace)
    }
  }

  constructor(
    suite: NodeAlgorithmSuite,
    encryptionContext: EncryptionContext,
    requiredEncryptionContextKeys: readonly string[],
  ) {
    if (!(suite instanceof NodeAlgorithmSuite)) throw new TypeError('Suite must be a NodeAlgorithmSuite')
    if (typeof encryptionContext !== 'object' || encryptionContext === null) {
      throw new TypeError(`Encryption context must be set, got ${describe(encryptionContext)}`)
    }
    this.suite = suite
    this.encryptionContext = copyContext(encryptionContext)
    for (const key of requiredEncryptionContextKeys) {
      if (Object.hasOwn(this.encryptionContext, key) && key !== PUBLIC_KEY_FIELD) continue
      throw invalidMaterials(`the encryption context has no required pair ${JSON.stringify(key)}`)
    }
    this.requiredEncryptionContextKeys =
      requiredEncryptionContextKeys.length === 0 ? NO_KEYS : Object.freeze([...requiredEncryptionContextKeys])
  }

  get hasUnencryptedDataKey(): boolean {
    return this.#dataKey !== undefined && !this.#zeroed
  }

  hasValidKey(): boolean {
    return this.hasUnencryptedDataKey
  }

  /**
   * Sets the plaintext data key, once. The bytes are copied; the caller still owns, and should wipe, its own.
   * Throws `ERR_INVALID_MATERIALS` when one is set already or the length is not the suite's.
   */
  setUnencryptedDataKey(dataKey: Uint8Array | KeyObject, trace: KeyringTrace): this {
    if (!types.isUint8Array(dataKey) && !(dataKey instanceof KeyObject)) {
      throw new TypeError(`Unsupported dataKey type: it must be a Uint8Array or KeyObject, got ${kindOf(dataKey)}`)
    }
    const bytes = viewOf(dataKey) ?? unwrapDataKey(dataKey)
    try {
      this.#checkSettable(bytes, trace)
      this.#accept(copySecret(bytes), trace)
    } finally {
      if (dataKey instanceof KeyObject) wipe(bytes)
    }
    return this
  }

  /** The plaintext data key as a KeyObject of its own. Throws `ERR_INVALID_MATERIALS` where there is none. */
  getUnencryptedDataKey(): KeyObject {
    return createSecretKey(dataKeyOf(this))
  }

  /** Wipes the data key. Afterwards it can neither be read nor set again. */
  zeroUnencryptedDataKey(): this {
    this.#zeroed = true
    wipe(this.#dataKey)
    this.#finish()
    return this
  }

  #accept(dataKey: Uint8Array, trace: KeyringTrace): void {
    this.#dataKey = dataKey
    this.keyringTrace.push(trace)
    if (this._setFlag === KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY) this.#finish()
  }

  #finish(): void {
    this.#isDone = true
    this.#done?.abort()
  }

  #checkSettable(dataKey: Uint8Array, trace: KeyringTrace): void {
    if (this.#dataKey || this.#zeroed) throw invalidMaterials('unencryptedDataKey has already been set')
    checkTrace(trace, this._setFlag)
    if (dataKey.length !== this.suite.keyLengthBytes) {
      throw invalidMaterials('Key length does not agree with the algorithm specification.')
    }
  }

  /** What a keyring that sets the data key must have done. @internal */
  protected abstract get _setFlag(): KeyringTraceFlag
}

/** What one message is encrypted with: a data key, its wrapped forms, the encryption context, a signature key. */
export class NodeEncryptionMaterial extends CryptographicMaterial {
  readonly #encryptedDataKeys: EncryptedDataKey[] = []
  #signatureKey: SignatureKey | undefined

  constructor(
    suite: NodeAlgorithmSuite,
    encryptionContext: EncryptionContext,
    requiredEncryptionContextKeys: readonly string[] = [],
  ) {
    super(suite, encryptionContext, requiredEncryptionContextKeys)
    Object.freeze(this)
  }

  /** A new array each time; add with {@link addEncryptedDataKey}. */
  get encryptedDataKeys(): EncryptedDataKey[] {
    return [...this.#encryptedDataKeys]
  }

  /** Adds a wrapped form of the data key, which must have been set. `flags` must say that a key encrypted it. */
  addEncryptedDataKey(edk: EncryptedDataKey, flags: KeyringTraceFlag): this {
    if (!this.hasUnencryptedDataKey) throw invalidMaterials('Unencrypted data key not set.')
    if (!(edk instanceof EncryptedDataKey)) throw new TypeError('Unsupported instance of encryptedDataKey')
    if (!(flags & KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY)) {
      throw invalidMaterials('Encrypted data key flag must be set.')
    }
    if (flags & (KeyringTraceFlag.SET_FLAGS | KeyringTraceFlag.DECRYPT_FLAGS)) {
      throw invalidMaterials('Invalid flag for EncryptedDataKey.')
    }
    this.keyringTrace.push({ keyName: edk.providerInfo, keyNamespace: edk.providerId, flags })
    this.#encryptedDataKeys.push(edk)
    return this
  }

  /** Present exactly for signed suites. */
  get signatureKey(): SignatureKey | undefined {
    if (Boolean(this.suite.signatureCurve) !== Boolean(this.#signatureKey)) {
      throw invalidMaterials('Algorithm specification not satisfied. The signature key is missing')
    }
    return this.#signatureKey
  }

  setSignatureKey(key: SignatureKey): this {
    checkSigningKey(key, SignatureKey, this.suite, this.#signatureKey)
    this.#signatureKey = key
    return this
  }

  protected override get _setFlag(): KeyringTraceFlag {
    return KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY
  }
}
Object.freeze(NodeEncryptionMaterial)
Object.freeze(NodeEncryptionMaterial.prototype)

/** What one message is decrypted with. */
export class NodeDecryptionMaterial extends CryptographicMaterial {
  readonly #failures: Error[] = []
  #verificationKey: VerificationKey | undefined

  constructor(
    suite: NodeAlgorithmSuite,
    encryptionContext: EncryptionContext,
    requiredEncryptionContextKeys: readonly string[] = [],
  ) {
    super(suite, encryptionContext, requiredEncryptionContextKeys)
    Object.freeze(this)
  }

  /** Present exactly for signed suites. */
  get verificationKey(): VerificationKey | undefined {
    if (Boolean(this.suite.signatureCurve) !== Boolean(this.#verificationKey)) {
      throw invalidMaterials('Algorithm specification not satisfied. The verification key is missing')
    }
    return this.#verificationKey
  }

  setVerificationKey(key: VerificationKey): this {
    checkSigningKey(key, VerificationKey, this.suite, this.#verificationKey)
    this.#verificationKey = key
    return this
  }

  /** Why keyrings could not open encrypted data keys that looked like theirs. */
  get failures(): readonly Error[] {
    return [...this.#failures]
  }

  /**
   * For keyrings: an encrypted data key looked like this keyring's own and did not open. The next one is tried. A message may
   * name thousands of keys: past 1000 failures the others are not kept.
   */
  addFailure(error: Error): this {
    if (this.#failures.length < MAX_FAILURES) this.#failures.push(error)
    return this
  }

  protected override get _setFlag(): KeyringTraceFlag {
    return KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY
  }
}
Object.freeze(NodeDecryptionMaterial)
Object.freeze(NodeDecryptionMaterial.prototype)

/** The bytes of a data key; for a KeyObject a copy, which the caller should wipe. */
export function unwrapDataKey(dataKey: Uint8Array | KeyObject): Uint8Array {
  if (types.isUint8Array(dataKey)) return dataKey
  if (dataKey instanceof KeyObject && dataKey.type === 'secret') return dataKey.export()
  throw new TypeError(`Unsupported dataKey type, got ${kindOf(dataKey)}`)
}

function checkTrace(trace: KeyringTrace, setFlag: KeyringTraceFlag): void {
  if (!trace?.keyName || !trace.keyNamespace) throw invalidMaterials('Malformed KeyringTrace')
  if (!(trace.flags & setFlag)) throw invalidMaterials('Required KeyringTraceFlag not set')
  const foreign =
    setFlag === KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY
      ? KeyringTraceFlag.DECRYPT_FLAGS
      : KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY | KeyringTraceFlag.ENCRYPT_FLAGS
  if (trace.flags & foreign) throw invalidMaterials('Invalid KeyringTraceFlags set.')
}

function checkSigningKey<K extends SignatureKey | VerificationKey>(
  key: K,
  kind: abstract new (...args: never[]) => K,
  suite: NodeAlgorithmSuite,
  current: K | undefined,
): void {
  if (!suite.signatureCurve) throw invalidMaterials('Algorithm specification does not support signatures.')
  if (current) throw invalidMaterials('The signing key has already been set.')
  if (!(key instanceof kind)) throw new TypeError('Unsupported instance of key')
  if (key.signatureCurve !== suite.signatureCurve)
    throw invalidMaterials('The key is not on the curve of the algorithm suite.')
}
