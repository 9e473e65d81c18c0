/**
 * GCM's field, GF(2^128) (NIST SP 800-38D, 6.3), for the engine over node:crypto; `native/field.h` is the same. An element
 * is a block as four big-endian words: coefficients from the left, so multiplying by x shifts right. No branch and no
 * index depends on an element.
 */
export type Element = Uint32Array

export const zero = (): Element => new Uint32Array(4)

export function parse(block: Uint8Array): Element {
  const view = new DataView(block.buffer, block.byteOffset, 16)
  return Uint32Array.from({ length: 4 }, (_, i) => view.getUint32(4 * i))
}

export function serialize(element: Element): Uint8Array {
  const block = new Uint8Array(new ArrayBuffer(16))
  const view = new DataView(block.buffer)
  element.forEach((word, i) => void view.setUint32(4 * i, word))
  return block
}

export function add(a: Element, b: Element): Element {
  return a.map((word, i) => word ^ b[i]!)
}

export function multiply(a: Element, b: Element): Element {
  let [b0, b1, b2, b3] = b as unknown as [number, number, number, number]
  let [z0, z1, z2, z3] = [0, 0, 0, 0]
  for (let i = 0; i < 128; i++) {
    const taken = -((a[i >> 5]! >>> (31 - (i & 31))) & 1)
    z0 ^= b0 & taken
    z1 ^= b1 & taken
    z2 ^= b2 & taken
    z3 ^= b3 & taken
    const carry = -(b3 & 1)
    b3 = (b3 >>> 1) | (b2 << 31)
    b2 = (b2 >>> 1) | (b1 << 31)
    b1 = (b1 >>> 1) | (b0 << 31)
    b0 = (b0 >>> 1) ^ (0xe1000000 & carry)
  }
  return Uint32Array.of(z0, z1, z2, z3)
}

/** a^-1 = a^(2^128 - 2), by Itoh and Tsujii's chain; 0 for 0. */
export function inverse(a: Element): Element {
  let chain = a // a^(2^n - 1)
  for (let n = 1; n < 127; n = 2 * n + 1) {
    let shifted = chain
    for (let i = 0; i < n; i++) shifted = multiply(shifted, shifted)
    shifted = multiply(shifted, chain)
    chain = multiply(multiply(shifted, shifted), a)
  }
  return multiply(chain, chain)
}

/** The exponent, at most 2^32, is public. */
export function power(a: Element, exponent: number): Element {
  let result: Element = Uint32Array.of(0x8000_0000, 0, 0, 0)
  for (const bit of exponent.toString(2)) {
    result = multiply(result, result)
    if (bit === '1') result = multiply(result, a)
  }
  return result
}
