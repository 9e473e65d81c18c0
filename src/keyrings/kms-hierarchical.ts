import { createHash, createHmac, randomBytes } from 'node:crypto'
import { allocateSecret, ByteReader, ByteWriter, equalBytes, utf8, wipe } from '../bytes'
import { EncryptedDataKey } from '../encrypted-data-key'
import { type ContextOrder, type EncryptionContext, serializeContext } from '../encryption-context'
import { getEngine } from '../engine/engine'
import { malformed, SealwaxError } from '../errors'
import { isUuidV4, NodeBranchKeyMaterial } from '../materials/branch-key-material'
import { KeyringNode } from '../materials/keyring'
import {
  adoptDataKey,
  doneSignal,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '../materials/materials'
import {
  ageOf,
  type BranchKeyMaterialEntry,
  type CryptographicMaterialsCache,
  checkCache,
  getLocalCryptographicMaterialsCache,
} from '../materials/materials-cache'
import { SingleFlight } from '../materials/single-flight'
import { checkBoolean, checkInteger, checkOptions, checkString, describe } from '../options'
import { mayTryAnother, toError } from './attempts'
import { type BranchKeyStoreNode, isIBranchKeyStoreNode } from './branch-key-store'
import { ContextAad } from './context-aad'
import { toWrap } from './data-key'
import { DEFAULT_TIMEOUT, keyServiceError } from './kms-calls'

/** Chooses the branch key of a message by its encryption context, such as one for each tenant. */
export interface BranchKeyIdSupplier {
  getBranchKeyId(encryptionContext: EncryptionContext): string
}

export interface KmsHierarchicalKeyRingNodeInput {
  /** The branch key of all messages; either this or `branchKeyIdSupplier`. */
  branchKeyId?: string | undefined
  /** Chooses the branch key for each message. Must answer at once, and the same on decryption. */
  branchKeyIdSupplier?: BranchKeyIdSupplier | undefined
  keyStore: BranchKeyStoreNode
  /** How long a branch key is used before it is asked for again, in seconds. 0 asks each time. */
  cacheLimitTtl: number
  /** A cache to share with other keyrings. Default: one of this keyring's own. */
  cache?: CryptographicMaterialsCache | undefined
  /** Entries of this keyring's own cache. Default: 1000. */
  maxCacheSize?: number | undefined
  /** Keyrings with the same partition, cache and logical key store name share branch keys. Default: random, none do. */
  partitionId?: string | undefined
  /**
   * How the encryption context is sorted where it authenticates the data key. `false`, the default, is the order that
   * `@aws-crypto/client-node` writes by default; `true` is the specification's. Reading tries both.
   */
  utf8Sorting?: boolean | undefined
}

/** What the keyring shows of itself. */
export interface IKmsHierarchicalKeyRingNode extends KeyringNode {
  readonly branchKeyId: string | undefined
  readonly branchKeyIdSupplier: BranchKeyIdSupplier | undefined
  readonly keyStore: BranchKeyStoreNode
  /** Milliseconds. */
  readonly cacheLimitTtl: number
  cacheEntryHasExceededLimits(entry: BranchKeyMaterialEntry): boolean
}

const PROVIDER_ID = 'aws-kms-hierarchy'
const PROVIDER_ID_BYTES = utf8(PROVIDER_ID)
const SALT_LENGTH = 16
const IV_LENGTH = 12
const VERSION_LENGTH = 16
const TAG_LENGTH = 16
const OPTIONS = [
  'branchKeyId',
  'branchKeyIdSupplier',
  'keyStore',
  'cacheLimitTtl',
  'cache',
  'maxCacheSize',
  'partitionId',
  'utf8Sorting',
] as const

/**
 * Wraps data keys with a key derived from a branch key, which KMS wraps and a table keeps: one call to each for many
 * messages (framework/aws-kms/aws-kms-hierarchical-keyring.md). Ciphertext on the wire:
 *
 *     salt (16) || IV (12) || branch key version (16) || AES-256-GCM of the data key || tag (16)
 *
 * Branch keys are kept for `cacheLimitTtl` and wiped when they leave the cache; any number of simultaneous messages make
 * one call for each, also those of several keyrings that share them.
 *
 * @example
 * const keyring = new KmsHierarchicalKeyRingNode({ branchKeyId, keyStore, cacheLimitTtl: 600 })
 */
export class KmsHierarchicalKeyRingNode extends KeyringNode implements IKmsHierarchicalKeyRingNode {
  readonly branchKeyId: string | undefined
  readonly branchKeyIdSupplier: BranchKeyIdSupplier | undefined
  readonly keyStore: BranchKeyStoreNode
  readonly cacheLimitTtl: number
  readonly maxCacheSize: number | undefined
  readonly #cache: CryptographicMaterialsCache
  readonly #partition: Uint8Array
  readonly #orders: readonly [ContextOrder, ContextOrder]
  readonly #flights: SingleFlight

  constructor(input: KmsHierarchicalKeyRingNodeInput) {
    super()
    const { branchKeyId, branchKeyIdSupplier, keyStore, cacheLimitTtl, cache, maxCacheSize, partitionId, utf8Sorting } =
      checkOptions(input, OPTIONS, 'KmsHierarchicalKeyRingNode')
    if (Boolean(branchKeyId) === Boolean(branchKeyIdSupplier)) {
      throw new TypeError('Must provide a branch key identifier or supplier, and not both')
    }
    if (branchKeyId) checkString(branchKeyId, 'branchKeyId')
    else if (typeof branchKeyIdSupplier?.getBranchKeyId !== 'function') {
      throw new TypeError('The branch key id supplier must be a BranchKeyIdSupplier')
    }
    if (!isIBranchKeyStoreNode(keyStore)) throw new TypeError('The keystore must be a BranchKeyStore')
    this.branchKeyId = branchKeyId || undefined
    this.branchKeyIdSupplier = branchKeyIdSupplier || undefined
    this.keyStore = keyStore
    this.cacheLimitTtl = checkTtl(cacheLimitTtl) * 1000
    if (cache && maxCacheSize) throw new TypeError('Max cache size not supported when passing a cache.')
    this.maxCacheSize = cache ? undefined : checkInteger(maxCacheSize ?? 1000, 'maxCacheSize', 1, MAX_CACHE_SIZE)
    this.#cache = cache
      ? checkCache(cache, ['putBranchKeyMaterial', 'getBranchKeyMaterial'])
      : getLocalCryptographicMaterialsCache(this.maxCacheSize!)
    this.#flights = SingleFlight.of(this.#cache)
    this.#partition = partitionId === undefined ? randomBytes(64) : utf8(checkString(partitionId, 'partitionId'))
    this.#orders = checkBoolean(utf8Sorting ?? false, 'utf8Sorting') ? ['utf8', 'locale'] : ['locale', 'utf8']
    Object.freeze(this)
  }

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    const branchKeyId = this.#branchKeyIdOf(material.encryptionContext)
    const branchKey = await this.#getBranchKey(branchKeyId, material)
    try {
      const dataKey = toWrap(material, PROVIDER_ID, branchKeyId)
      const wrapped = wrapDataKey(branchKey, dataKey, serializeContext(material.encryptionContext, this.#orders[0]))
      return material.addEncryptedDataKey(
        new EncryptedDataKey({ providerId: PROVIDER_ID, providerInfo: branchKeyId, encryptedDataKey: wrapped }),
        KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_SIGNED_ENC_CTX,
      )
    } finally {
      branchKey.zeroUnencryptedDataKey()
    }
  }

  async _onDecrypt(
    material: NodeDecryptionMaterial,
    encryptedDataKeys: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const branchKeyId = this.#branchKeyIdOf(material.encryptionContext)
    const info = utf8(branchKeyId)
    const own = encryptedDataKeys.filter((edk) => edk.providerId === PROVIDER_ID && equalBytes(edk.rawInfo, info))
    if (own.length === 0) {
      const problem = "There must be an encrypted data key that matches this keyring's configuration"
      material.addFailure(new SealwaxError('ERR_NO_DATA_KEY', problem))
    }
    const aad = new ContextAad(material.encryptionContext, this.#orders)
    const end = performance.now() + DEFAULT_TIMEOUT
    for (const [i, edk] of own.entries()) {
      if (i > 0 && !(await mayTryAnother(material, aad.length))) break
      if (performance.now() > end) {
        const problem = `${own.length - i} encrypted data keys were not tried: the others took more than ${DEFAULT_TIMEOUT} ms`
        material.addFailure(keyServiceError(problem))
        break
      }
      try {
        const dataKey = await this.#unwrap(branchKeyId, edk.encryptedDataKey, aad, material)
        const flags = KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_VERIFIED_ENC_CTX
        adoptDataKey(material, dataKey, { keyNamespace: PROVIDER_ID, keyName: branchKeyId, flags })
        break
      } catch (error) {
        material.addFailure(toError(error))
      }
    }
    return material
  }

  /** Whether an entry is too old for this keyring, which may share its cache with more patient ones. */
  cacheEntryHasExceededLimits(entry: BranchKeyMaterialEntry): boolean {
    return ageOf(entry) > this.cacheLimitTtl
  }

  #branchKeyIdOf(encryptionContext: Readonly<EncryptionContext>): string {
    if (this.branchKeyId) return this.branchKeyId
    const id = this.branchKeyIdSupplier!.getBranchKeyId(encryptionContext)
    if (typeof id === 'string' && id !== '') return id
    // Of a supplier that is asynchronous: nobody else looks at what becomes of it.
    Promise.resolve(id as unknown).catch(() => {})
    throw new TypeError(`The branch key id supplier must return a branch key id, got ${describe(id)}`)
  }

  async #unwrap(
    branchKeyId: string,
    wrapped: Uint8Array,
    aad: ContextAad,
    material: NodeDecryptionMaterial,
  ): Promise<Uint8Array> {
    const { keyLengthBytes } = material.suite
    const parts = parseWrapped(wrapped, keyLengthBytes)
    const branchKey = await this.#getBranchKey(branchKeyId, material, parts.version)
    try {
      const dataKey = allocateSecret(keyLengthBytes)
      for (const context of aad) if (unwrapDataKey(branchKey, parts, context, dataKey)) return dataKey
      throw new SealwaxError(
        'ERR_AUTHENTICATION_FAILED',
        `branch key "${branchKeyId}" version ${parts.version} could not open its encrypted data key`,
      )
    } finally {
      branchKey.zeroUnencryptedDataKey()
    }
  }

  /** A copy of a version of the branch key, without one of the active version; the caller wipes it. */
  async #getBranchKey(
    branchKeyId: string,
    material: NodeEncryptionMaterial | NodeDecryptionMaterial,
    version?: string,
  ): Promise<NodeBranchKeyMaterial> {
    const { keyStore } = this
    const ask = async () =>
      version === undefined
        ? await keyStore.getActiveBranchKey(branchKeyId)
        : await keyStore.getBranchKeyVersion(branchKeyId, version)
    // It keeps nothing that those who share its cache could wait for.
    if (this.cacheLimitTtl === 0) return await ask()
    const id = branchKeyCacheId(this.#partition, keyStore.logicalKeyStoreName, branchKeyId, version)
    const find = () => {
      const entry = this.#cache.getBranchKeyMaterial(id)
      return entry && !this.cacheEntryHasExceededLimits(entry) ? copy(entry.response) : undefined
    }
    const fetch = async () => {
      const fetched = await ask()
      const value = copy(fetched)
      try {
        this.#cache.putBranchKeyMaterial(id, fetched, this.cacheLimitTtl)
      } catch (error) {
        fetched.zeroUnencryptedDataKey()
        value.zeroUnencryptedDataKey()
        throw error
      }
      return { value, kept: true }
    }
    const search = {
      find,
      fetch,
      // Made where there is something to wait for.
      get signal() {
        return doneSignal(material)
      },
    }
    return await this.#flights.get(id, search)
  }
}
Object.freeze(KmsHierarchicalKeyRingNode)
Object.freeze(KmsHierarchicalKeyRingNode.prototype)

/** Under which id a branch key is cached (aws-kms-hierarchical-keyring.md "Appendix A"), in base64. */
export function branchKeyCacheId(
  partition: Uint8Array,
  logicalKeyStoreName: string,
  branchKeyId: string,
  version?: string,
): string {
  const hash = createHash('sha384').update(Uint8Array.of(2, 0, version === undefined ? 1 : 2))
  const parts = [partition, utf8(logicalKeyStoreName), utf8(branchKeyId)]
  if (version !== undefined) parts.push(utf8(version))
  for (const part of parts) hash.update(Uint8Array.of(0)).update(part)
  return hash.digest('base64')
}

interface WrappedDataKey {
  readonly salt: Uint8Array
  readonly iv: Uint8Array
  readonly versionBytes: Uint8Array
  readonly version: string
  /** Ciphertext and tag. */
  readonly sealed: Uint8Array
}

function wrapDataKey(branchKey: NodeBranchKeyMaterial, dataKey: Uint8Array, context: Uint8Array): Uint8Array {
  const salt = getEngine().randomBytes(SALT_LENGTH)
  const iv = getEngine().randomBytes(IV_LENGTH)
  const versionBytes = uuidBytes(branchKey.branchKeyVersion.toString())
  const sealed = new Uint8Array(dataKey.length + TAG_LENGTH)
  const key = deriveWrappingKey(branchKey, salt)
  getEngine().seal(key, iv, wrappingAad(branchKey, versionBytes, context), dataKey, sealed)
  wipe(key)
  return Buffer.concat([salt, iv, versionBytes, sealed])
}

function unwrapDataKey(
  branchKey: NodeBranchKeyMaterial,
  { salt, iv, versionBytes, sealed }: WrappedDataKey,
  context: Uint8Array,
  dataKey: Uint8Array,
): boolean {
  const key = deriveWrappingKey(branchKey, salt)
  const opened = getEngine().open(key, iv, wrappingAad(branchKey, versionBytes, context), sealed, dataKey)
  wipe(key)
  return opened
}

function parseWrapped(wrapped: Uint8Array, keyLength: number): WrappedDataKey {
  const expected = SALT_LENGTH + IV_LENGTH + VERSION_LENGTH + keyLength + TAG_LENGTH
  if (wrapped.length !== expected) throw malformed(`The encrypted data key ciphertext must be ${expected} bytes long`)
  const reader = new ByteReader(wrapped, 'encrypted data key')
  const salt = reader.take(SALT_LENGTH)
  const iv = reader.take(IV_LENGTH)
  const versionBytes = reader.take(VERSION_LENGTH)
  const version = uuidText(versionBytes)
  if (!isUuidV4(version)) throw malformed('The branch key version in the encrypted data key is no version 4 UUID')
  return { salt, iv, versionBytes, version, sealed: reader.take(reader.remaining) }
}

/** SP 800-108r1 in counter mode with HMAC-SHA256: one block, so that there is one counter value. */
function deriveWrappingKey(branchKey: NodeBranchKeyMaterial, salt: Uint8Array): Uint8Array {
  const input = new ByteWriter(4 + PROVIDER_ID_BYTES.length + 1 + SALT_LENGTH + 4)
    .u32(1)
    .put(PROVIDER_ID_BYTES)
    .u8(0)
    .put(salt)
    .u32(256).bytes
  return createHmac('sha256', branchKey.branchKey()).update(input).digest()
}

function wrappingAad(branchKey: NodeBranchKeyMaterial, versionBytes: Uint8Array, context: Uint8Array): Uint8Array {
  return Buffer.concat([PROVIDER_ID_BYTES, utf8(branchKey.branchKeyIdentifier), versionBytes, context])
}

function copy(material: NodeBranchKeyMaterial): NodeBranchKeyMaterial {
  const { branchKeyIdentifier, branchKeyVersion, encryptionContext } = material
  const version = branchKeyVersion.toString()
  return new NodeBranchKeyMaterial(material.branchKey(), branchKeyIdentifier, version, encryptionContext)
}

function uuidBytes(uuid: string): Uint8Array {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex')
}

function uuidText(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

function checkTtl(seconds: unknown): number {
  if (typeof seconds !== 'number') {
    throw new TypeError(`The cache limit TTL must be a number. "cacheLimitTtl" is ${describe(seconds)}`)
  }
  if (seconds >= 0 && seconds * 1000 <= Number.MAX_SAFE_INTEGER) return seconds
  throw new RangeError(
    `Cache limit TTL must be non-negative and less than or equal to (Number.MAX_SAFE_INTEGER / 1000) seconds, got ${seconds}`,
  )
}

const MAX_CACHE_SIZE = Number.MAX_SAFE_INTEGER
