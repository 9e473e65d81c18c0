import { checkInteger, describe } from '../options'
import { NodeBranchKeyMaterial } from './branch-key-material'
import { NodeDecryptionMaterial, NodeEncryptionMaterial } from './materials'

/** What a cache holds under an id, and since when. */
export interface CacheEntry<Material> {
  readonly response: Material
  /** When it was put there, in milliseconds of `Date.now()`. */
  readonly now: number
  /** The same in milliseconds of `performance.now()`. Where it is present ages do not depend on the wall clock. */
  readonly createdAt?: number
}

/** An entry that counts its uses. */
export interface EncryptionMaterialEntry extends CacheEntry<NodeEncryptionMaterial> {
  /** Plaintext bytes of all messages so far. */
  bytesEncrypted: number
  messagesEncrypted: number
}

export type DecryptionMaterialEntry = CacheEntry<NodeDecryptionMaterial>
export type BranchKeyMaterialEntry = CacheEntry<NodeBranchKeyMaterial>

/**
 * Where materials are kept by id. All of it is synchronous: looking up and counting a use are one step, so that no two
 * messages can both take the last use. What is put belongs to the cache, which wipes it when it lets go of it; whoever
 * gets an entry copies what it needs at once.
 */
export interface CryptographicMaterialsCache {
  /** Keeps materials that this message of `plaintextLength` bytes is the first to use. `maxAge` in milliseconds. */
  putEncryptionMaterial(key: string, response: NodeEncryptionMaterial, plaintextLength: number, maxAge?: number): void
  putDecryptionMaterial(key: string, response: NodeDecryptionMaterial, maxAge?: number): void
  putBranchKeyMaterial(key: string, response: NodeBranchKeyMaterial, maxAge?: number): void
  /** Counts one more message of `plaintextLength` bytes, and gives the entry with that counted; `false` without one. */
  getEncryptionMaterial(key: string, plaintextLength: number): EncryptionMaterialEntry | false
  getDecryptionMaterial(key: string): DecryptionMaterialEntry | false
  getBranchKeyMaterial(key: string): BranchKeyMaterialEntry | false
  del(key: string): void
}

/**
 * A cache in this process's memory, least recently used first out. Keys are wiped when an entry is evicted, expires, is
 * replaced or deleted.
 *
 * @param capacity how many entries at most
 * @param proactiveFrequency how often expired entries are looked for, in milliseconds. Default: one minute. The timer
 *   does not keep the process alive, and runs only while there is something in the cache.
 *
 * @example
 * const cache = getLocalCryptographicMaterialsCache(100)
 */
export function getLocalCryptographicMaterialsCache<_Suite = unknown>(
  capacity: number,
  proactiveFrequency: number = ONE_MINUTE,
): CryptographicMaterialsCache {
  return new LocalCache(
    checkInteger(capacity, 'capacity', 1, Number.MAX_SAFE_INTEGER),
    checkInteger(proactiveFrequency, 'proactiveFrequency', 1, MAX_TIMEOUT),
  )
}

/** Milliseconds since an entry was made; never less than it says, whatever the wall clock does. */
export function ageOf({ now, createdAt }: Pick<CacheEntry<unknown>, 'now' | 'createdAt'>): number {
  if (createdAt !== undefined) return performance.now() - createdAt
  const age = Date.now() - now
  return age >= 0 ? age : Infinity
}

/** Checks a cache that a caller passed: that it has what is called of it. */
export function checkCache(
  cache: CryptographicMaterialsCache,
  methods: readonly (keyof CryptographicMaterialsCache)[],
): CryptographicMaterialsCache {
  if (typeof cache !== 'object' || cache === null) {
    throw new TypeError(`You must provide a cache. "cache" must be an object, got ${describe(cache)}`)
  }
  for (const method of methods) {
    if (typeof cache[method] !== 'function') throw new TypeError(`You must provide a cache. It lacks ${method}`)
  }
  return cache
}

type Material = NodeEncryptionMaterial | NodeDecryptionMaterial | NodeBranchKeyMaterial

interface LocalEntry<M extends Material = Material> extends CacheEntry<M> {
  readonly createdAt: number
  readonly maxAge: number
  bytesEncrypted: number
  messagesEncrypted: number
}

type Methods = CryptographicMaterialsCache

class LocalCache implements CryptographicMaterialsCache {
  readonly #capacity: number
  readonly #frequency: number
  /** A Map iterates in the order of insertion: the least recently used entry comes first. */
  readonly #entries = new Map<string, LocalEntry>()
  #timer: NodeJS.Timeout | undefined

  constructor(capacity: number, frequency: number) {
    this.#capacity = capacity
    this.#frequency = frequency
  }

  // Functions of their own, which work alone and in a copy of the cache: as with client-node.
  readonly putEncryptionMaterial: Methods['putEncryptionMaterial'] = (key, response, plaintextLength, maxAge) => {
    checkLength(plaintextLength)
    this.#put(key, checkCacheSafe(response, NodeEncryptionMaterial), maxAge, plaintextLength)
  }

  readonly putDecryptionMaterial: Methods['putDecryptionMaterial'] = (key, response, maxAge) => {
    this.#put(key, checkCacheSafe(response, NodeDecryptionMaterial), maxAge)
  }

  readonly putBranchKeyMaterial: Methods['putBranchKeyMaterial'] = (key, response, maxAge) => {
    this.#put(key, checkKind(response, NodeBranchKeyMaterial), maxAge)
  }

  readonly getEncryptionMaterial: Methods['getEncryptionMaterial'] = (key, plaintextLength) => {
    checkLength(plaintextLength)
    const entry = this.#get(key, NodeEncryptionMaterial)
    if (!entry) return false
    entry.bytesEncrypted += plaintextLength
    entry.messagesEncrypted += 1
    return entry
  }

  readonly getDecryptionMaterial: Methods['getDecryptionMaterial'] = (key) => {
    return this.#get(key, NodeDecryptionMaterial) ?? false
  }

  readonly getBranchKeyMaterial: Methods['getBranchKeyMaterial'] = (key) => {
    return this.#get(key, NodeBranchKeyMaterial) ?? false
  }

  readonly del: Methods['del'] = (key) => this.#delete(key)

  #delete(key: string): void {
    this.#entries.get(key)?.response.zeroUnencryptedDataKey()
    this.#entries.delete(key)
  }

  #put(key: string, response: Material, maxAge = Infinity, bytesEncrypted = 0): void {
    if (this.#entries.get(key)?.response === response) this.#entries.delete(key)
    this.#delete(key)
    const times = { now: Date.now(), createdAt: performance.now(), maxAge }
    this.#entries.set(key, { response, ...times, bytesEncrypted, messagesEncrypted: 1 })
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#capacity) break
      this.#delete(oldest)
    }
    this.#timer ??= setInterval(() => this.#sweep(), this.#frequency).unref()
  }

  #get<M extends Material>(key: string, kind: Kind<M>): LocalEntry<M> | undefined {
    const entry = this.#entries.get(key)
    if (!entry) return undefined
    if (isExpired(entry)) {
      this.#delete(key)
      return undefined
    }
    checkKind(entry.response, kind)
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    return entry as LocalEntry<M>
  }

  #sweep(): void {
    for (const [key, entry] of this.#entries) {
      if (isExpired(entry)) this.#delete(key)
    }
    if (this.#entries.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

type Kind<M> = abstract new (...args: never[]) => M

function isExpired(entry: LocalEntry): boolean {
  return ageOf(entry) > entry.maxAge
}

function checkLength(plaintextLength: number): void {
  if (plaintextLength >= 0) return
  throw new RangeError(`Malformed plaintextLength. It must not be negative, got ${describe(plaintextLength)}`)
}

function checkKind<M>(response: unknown, kind: Kind<M>): M {
  if (response instanceof kind) return response
  throw new TypeError(`Malformed response. Expected ${kind.name}, got ${describe(response)}`)
}

function checkCacheSafe<M extends NodeEncryptionMaterial | NodeDecryptionMaterial>(response: M, kind: Kind<M>): M {
  if (checkKind(response, kind).suite.cacheSafe) return response
  throw new TypeError('Can not cache non-cache safe material')
}

const ONE_MINUTE = 60_000
const MAX_TIMEOUT = 2 ** 31 - 1
