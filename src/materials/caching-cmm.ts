import { randomBytes } from 'node:crypto'
import { copyContext } from '../encryption-context'
import { checkOptions, describe } from '../options'
import { CacheIds } from './cache-ids'
import {
  checkReproduced,
  type NodeDecryptionRequest,
  type NodeEncryptionRequest,
  type NodeMaterialsManager,
  toMaterialsManager,
} from './cmm'
import type { KeyringNode } from './keyring'
import { dataKeyOf, KeyringTraceFlag, NodeDecryptionMaterial, NodeEncryptionMaterial } from './materials'
import { ageOf, type CacheEntry, type CryptographicMaterialsCache, checkCache } from './materials-cache'
import { type Fetched, SingleFlight } from './single-flight'

export interface CachingMaterialsManagerInput {
  /** Where materials come from when the cache has none: a keyring or a materials manager. */
  backingMaterials: KeyringNode | NodeMaterialsManager
  /** See {@link getLocalCryptographicMaterialsCache}. Several managers may share one. */
  cache: CryptographicMaterialsCache
  /** How long materials are used, in milliseconds; more than 0. */
  maxAge: number
  /** How many plaintext bytes one data key encrypts at most. Default: 2^53 - 1. */
  maxBytesEncrypted?: number
  /** How many messages one data key encrypts at most. Default, and the most that is allowed: 2^32. */
  maxMessagesEncrypted?: number
  /**
   * Managers with the same partition and the same cache share materials. Default: random, so that none are shared.
   * Give the same one only to managers whose backing materials are the same.
   */
  partition?: string
}

/**
 * Reuses the materials of another manager within limits of age, messages and bytes (framework/caching-cmm.md), so that a
 * key service is called less often. Messages that share materials share a data key, and a signature key where the suite
 * signs; each still has a derived key of its own.
 *
 * Encryption materials are cached where the length of the plaintext is known beforehand; suites without key derivation
 * are never cached. Limits hold exactly, whatever runs in parallel, and simultaneous misses of the same materials make
 * one call, also of several managers with one cache and partition.
 *
 * @example
 * const cmm = new NodeCachingMaterialsManager({
 *   backingMaterials: keyring, cache: getLocalCryptographicMaterialsCache(100),
 *   maxAge: 60_000, maxMessagesEncrypted: 1000,
 * })
 */
export class NodeCachingMaterialsManager implements NodeMaterialsManager {
  readonly #backing: NodeMaterialsManager
  readonly #cache: CryptographicMaterialsCache
  readonly #maxAge: number
  readonly #maxBytes: number
  readonly #maxMessages: number
  readonly #ids: CacheIds
  readonly #flights: SingleFlight

  constructor(input: CachingMaterialsManagerInput) {
    const {
      backingMaterials,
      cache,
      maxAge,
      maxBytesEncrypted = MAX_BYTES,
      maxMessagesEncrypted = MAX_MESSAGES,
      partition = randomBytes(64).toString('base64'),
    } = checkOptions(input, OPTIONS, 'NodeCachingMaterialsManager')
    if (!backingMaterials) throw new TypeError('You must provide a backing material source.')
    this.#backing = toMaterialsManager(backingMaterials)
    this.#cache = checkCache(cache, CACHE_METHODS)
    this.#flights = SingleFlight.of(cache)
    this.#maxAge = checkLimit(maxAge, Number.MAX_VALUE, 'You must configure a maxAge.')
    this.#maxBytes = checkLimit(maxBytesEncrypted, MAX_BYTES, 'maxBytesEncrypted is outside of bounds.')
    this.#maxMessages = checkLimit(maxMessagesEncrypted, MAX_MESSAGES, 'maxMessagesEncrypted is outside of bounds.')
    if (typeof partition !== 'string' || partition === '') {
      throw new TypeError(`partition must be a string. It must not be empty, got ${describe(partition)}`)
    }
    this.#ids = new CacheIds(partition)
  }

  get requiredEncryptionContextKeys(): readonly string[] {
    return this.#backing.requiredEncryptionContextKeys ?? []
  }

  async getEncryptionMaterials(request: NodeEncryptionRequest): Promise<NodeEncryptionMaterial> {
    const { plaintextLength } = request
    const cacheable = request.suite?.cacheSafe !== false && plaintextLength !== undefined && plaintextLength >= 0
    // A message past the limit by itself uses no cached key, and leaves the others theirs.
    if (!cacheable || plaintextLength > this.#maxBytes) return await this.#backing.getEncryptionMaterials(request)

    const id = this.#ids.ofEncryption(request)
    const find = () => {
      const entry = this.#cache.getEncryptionMaterial(id, plaintextLength)
      if (!entry) return undefined
      const { messagesEncrypted, bytesEncrypted } = entry
      const usedUp = messagesEncrypted > this.#maxMessages || bytesEncrypted > this.#maxBytes
      return this.#take(id, entry, usedUp, cloneEncryptionMaterial)
    }
    const found = find()
    if (found) return found
    // Other messages wait for these materials too: the length of this one, and its end, are not for whoever makes them.
    const { plaintextLength: _, signal, ...rest } = request
    // The ID is for the pairs of now, whatever becomes of the caller's object meanwhile.
    const shared = { ...rest, encryptionContext: copyContext(rest.encryptionContext) }
    const fetch = async () => {
      const material = await this.#backing.getEncryptionMaterials(shared)
      return keep(material, NodeEncryptionMaterial, cloneEncryptionMaterial, () =>
        this.#cache.putEncryptionMaterial(id, material, plaintextLength, this.#maxAge),
      )
    }
    return await this.#flights.get(id, { find, fetch, signal })
  }

  async decryptMaterials(request: NodeDecryptionRequest): Promise<NodeDecryptionMaterial> {
    // Whoever does not name what the backing manager requires gets its refusal, and nothing that others named.
    const isIncomplete = this.#backing.requiredEncryptionContextKeys?.some(
      (key) => !Object.hasOwn(request.reproducedEncryptionContext ?? {}, key),
    )
    if (!request.suite.cacheSafe || isIncomplete) return await this.#backing.decryptMaterials(request)
    // Those pairs are not in the ID.
    checkReproduced(request.encryptionContext, request.reproducedEncryptionContext ?? {})
    const asked = this.#ids.ofDecryption(request)
    const id = typeof asked === 'string' ? asked : await asked
    const find = () => {
      const entry = this.#cache.getDecryptionMaterial(id)
      return entry ? this.#take(id, entry, false, cloneDecryptionMaterial) : undefined
    }
    const fetch = async () => {
      const { signal: _, ...shared } = request
      const material = await this.#backing.decryptMaterials(shared)
      return keep(material, NodeDecryptionMaterial, cloneDecryptionMaterial, () =>
        this.#cache.putDecryptionMaterial(id, material, this.#maxAge),
      )
    }
    return await this.#flights.get(id, { find, fetch, signal: request.signal })
  }

  /** A copy of what an entry holds; an entry past a limit is deleted instead. */
  #take<M>(id: string, entry: CacheEntry<M>, usedUp: boolean, clone: (material: M) => M): M | undefined {
    if (!usedUp && ageOf(entry) <= this.#maxAge) return clone(entry.response)
    this.#cache.del(id)
    return undefined
  }
}
Object.freeze(NodeCachingMaterialsManager)
Object.freeze(NodeCachingMaterialsManager.prototype)

/** Caches materials that may be cached; what the caller gets is its own to wipe either way. */
function keep<M extends NodeEncryptionMaterial | NodeDecryptionMaterial>(
  material: M,
  kind: abstract new (...args: never[]) => M,
  clone: (material: M) => M,
  put: () => void,
): Fetched<M> {
  // Materials that break the contract are for the caller to refuse.
  const complete = material instanceof kind && material.hasValidKey() && !lacksEncryptedDataKeys(material)
  if (!complete || !material.suite.cacheSafe) return { value: material, kept: false }
  let value: M | undefined
  try {
    value = clone(material)
    put()
    return { value, kept: true }
  } catch (error) {
    // A cache that throws has not taken the materials over.
    material.zeroUnencryptedDataKey()
    value?.zeroUnencryptedDataKey()
    throw error
  }
}

/** One bad answer would be given again until it is too old. */
function lacksEncryptedDataKeys(material: NodeEncryptionMaterial | NodeDecryptionMaterial): boolean {
  return material instanceof NodeEncryptionMaterial && material.encryptedDataKeys.length === 0
}

function cloneEncryptionMaterial(source: NodeEncryptionMaterial): NodeEncryptionMaterial {
  // Throws where a signed suite lacks it: before there is a second data key to wipe.
  const { signatureKey } = source
  const clone = new NodeEncryptionMaterial(source.suite, source.encryptionContext, source.requiredEncryptionContextKeys)
  clone.setUnencryptedDataKey(dataKeyOf(source), source.keyringTrace[0]!)
  for (const edk of source.encryptedDataKeys) {
    clone.addEncryptedDataKey(edk, KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY)
  }
  if (signatureKey) clone.setSignatureKey(signatureKey)
  copyTrace(source, clone)
  return clone
}

function cloneDecryptionMaterial(source: NodeDecryptionMaterial): NodeDecryptionMaterial {
  const { verificationKey } = source
  const clone = new NodeDecryptionMaterial(source.suite, source.encryptionContext, source.requiredEncryptionContextKeys)
  clone.setUnencryptedDataKey(dataKeyOf(source), source.keyringTrace[0]!)
  if (verificationKey) clone.setVerificationKey(verificationKey)
  copyTrace(source, clone)
  return clone
}

function copyTrace<M extends NodeEncryptionMaterial | NodeDecryptionMaterial>(source: M, clone: M): void {
  clone.keyringTrace.splice(0, Infinity, ...source.keyringTrace.map((trace) => ({ ...trace })))
}

function checkLimit(value: unknown, max: number, problem: string): number {
  if (typeof value !== 'number') throw new TypeError(`${problem} It must be a number, got ${describe(value)}`)
  if (value > 0 && value <= max) return value
  const most = max === Number.MAX_VALUE ? 'finite' : `at most ${max}`
  throw new RangeError(`${problem} It must be more than 0 and ${most}, got ${value}`)
}

const MAX_BYTES = Number.MAX_SAFE_INTEGER
const MAX_MESSAGES = 2 ** 32
const CACHE_METHODS = [
  'putEncryptionMaterial',
  'putDecryptionMaterial',
  'getEncryptionMaterial',
  'getDecryptionMaterial',
  'del',
] as const
const OPTIONS = [
  'backingMaterials',
  'cache',
  'maxAge',
  'maxBytesEncrypted',
  'maxMessagesEncrypted',
  'partition',
] as const
