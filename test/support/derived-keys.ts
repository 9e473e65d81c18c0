import type { Engine } from '../../src/engine/engine'

/** An engine, and the keys that it will have derived together with a commitment, in the memory that it gave. */
export function watchDerivedKeys(engine: Engine): { watched: Engine; derived: Uint8Array[] } {
  const derived: Uint8Array[] = []
  const hkdfPair: Engine['hkdfPair'] = (...args) => {
    const pair = engine.hkdfPair(...args)
    derived.push(pair[0])
    return pair
  }
  const watched = new Proxy(engine, {
    get: (target, name) => (name === 'hkdfPair' ? hkdfPair : Reflect.get(target, name)),
  })
  return { watched, derived }
}
