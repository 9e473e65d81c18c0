/** What these functions give while `work` is done: the very arrays, to see what becomes of them. */
export async function givenBy(
  functions: readonly (readonly [of: object, name: string])[],
  work: () => unknown,
): Promise<Uint8Array[]> {
  const given: Uint8Array[] = []
  const own = functions.map(([of, name]) => [of, name, Object.getOwnPropertyDescriptor(of, name)] as const)
  for (const [of, name] of functions) {
    const call = Reflect.get(of, name) as (...args: unknown[]) => Uint8Array
    const value = function (this: unknown, ...args: unknown[]) {
      const bytes = call.apply(this, args)
      given.push(bytes)
      return bytes
    }
    Object.defineProperty(of, name, { value, configurable: true, writable: true })
  }
  try {
    await work()
  } finally {
    for (const [of, name, before] of own) {
      if (before) Object.defineProperty(of, name, before)
      else Reflect.deleteProperty(of, name)
    }
  }
  return given
}

/** The memory of their own that secrets get while `work` is done. */
export async function secretsMadeBy(work: () => unknown): Promise<Uint8Array[]> {
  const original = globalThis.ArrayBuffer
  const made: Uint8Array[] = []
  globalThis.ArrayBuffer = new Proxy(original, {
    construct(target, parameters) {
      const memory = Reflect.construct(target, parameters) as ArrayBuffer
      made.push(new Uint8Array(memory))
      return memory
    },
  })
  try {
    await work()
  } finally {
    globalThis.ArrayBuffer = original
  }
  return made
}
