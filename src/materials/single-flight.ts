/** What a call for something cacheable brought, and whether the cache has it now. */
export interface Fetched<T> {
  readonly value: T
  readonly kept: boolean
}

/**
 * Lets any number of simultaneous misses of one id share one call. Everyone else waits and then looks again, so that a
 * cache which counts uses counts each of them; where the uses run out, the next in line makes the next call. A call that
 * fails fails all who wait for it, and is forgotten.
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

  readonly #flights = new Map<string, Promise<Fetched<unknown>>>()

  /** What `find` gives now or after a call of `fetch`, this one's or another's. */
  async get<T>(id: string, find: () => T | undefined, fetch: () => Promise<Fetched<T>>): Promise<T> {
    for (;;) {
      const found = find()
      if (found !== undefined) return found
      const flight = this.#flights.get(id)
      if (!flight) return await this.#lead(id, fetch)
      const { kept } = await flight
      // What a cache may not hold cannot be shared, and to wait in line for it would be slower than no cache.
      if (!kept) return (await fetch()).value
    }
  }

  async #lead<T>(id: string, fetch: () => Promise<Fetched<T>>): Promise<T> {
    const flight = fetch().finally(() => this.#flights.delete(id))
    this.#flights.set(id, flight)
    return (await flight).value
  }
}
