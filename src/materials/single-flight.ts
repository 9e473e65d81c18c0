/** What a call for something cacheable brought, and whether the cache has it now. */
export interface Fetched<T> {
  readonly value: T
  readonly kept: boolean
}

/** How one message gets what is cacheable. */
interface Search<T> {
  /** What a cache gives now. */
  readonly find: () => T | undefined
  /** Makes the call. */
  readonly fetch: () => Promise<Fetched<T>>
  /** Fires where the message was given up: then it takes nothing, and makes no call for itself. */
  readonly signal?: AbortSignal | undefined
}

interface Waiting extends Search<unknown> {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** Those who wait for the same, in the order in which they came, and the number of the call they wait for. */
interface Line {
  call: number
  readonly waiting: Set<Waiting>
}

/** After how many milliseconds those who wait for a call make another: more than any call of this library's own takes. */
const LOST = 90_000

/**
 * Lets any number of simultaneous misses of one id share one call. Everyone else waits in line, and looks again when the call
 * has ended, so that a cache which counts uses counts each of them; the first for whom nothing is left makes the next call. A call that
 * fails fails all who wait for it, and is forgotten; one that never ends costs those in line {@link LOST} milliseconds.
 */
export class SingleFlight {
  static readonly #ofCaches = new WeakMap<object, SingleFlight>()

  /** The one for a cache: who shares that, and an id in it, shares calls too, but finds by limits of its own. */
  static of(cache: object): SingleFlight {
    const known = SingleFlight.#ofCaches.get(cache)
    if (known) return known
    const flights = new SingleFlight()
    SingleFlight.#ofCaches.set(cache, flights)
    return flights
  }

  readonly #lines = new Map<string, Line>()

  /** What `find` gives now or after a call of `fetch`, this one's or another's. */
  async get<T>(id: string, search: Search<T>): Promise<T> {
    const found = search.find()
    if (found !== undefined) return found
    const line = this.#lines.get(id)
    if (!line) return await this.#lead(id, { call: 0, waiting: new Set() }, search)
    return await new Promise<T>((resolve, reject) => line.waiting.add({ ...search, resolve, reject } as Waiting))
  }

  async #lead<T>(id: string, line: Line, { fetch }: Search<T>): Promise<T> {
    this.#lines.set(id, line)
    const call = ++line.call
    const lost = setTimeout(() => this.#goOn(id, line), LOST).unref()
    try {
      const { value, kept } = await fetch()
      if (call !== line.call) return value
      if (kept) this.#goOn(id, line)
      // What a cache may not hold cannot be shared, and to wait in line for it would be slower than no cache.
      else for (const one of this.#disband(id, line)) one.fetch().then((own) => one.resolve(own.value), one.reject)
      return value
    } catch (error) {
      if (call === line.call) for (const one of this.#disband(id, line)) one.reject(error)
      throw error
    } finally {
      clearTimeout(lost)
    }
  }

  /** Everyone in line looks again, up to the first that finds nothing. */
  #goOn(id: string, line: Line): void {
    for (const one of line.waiting) {
      line.waiting.delete(one)
      if (isGone(one)) continue
      try {
        const found = one.find()
        if (found === undefined) return void this.#lead(id, line, one).then(one.resolve, one.reject)
        one.resolve(found)
      } catch (error) {
        one.reject(error)
      }
    }
    this.#disband(id, line)
  }

  /** Those still in line, who are in none any more. */
  #disband(id: string, line: Line): Waiting[] {
    this.#lines.delete(id)
    line.call++
    return [...line.waiting].filter((one) => !isGone(one))
  }
}

/** Whether nobody waits for the outcome any more. */
function isGone({ signal, reject }: Waiting): boolean {
  if (!signal?.aborted) return false
  reject(signal.reason)
  return true
}
