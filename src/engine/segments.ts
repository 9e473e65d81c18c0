/**
 * One AES-GCM message in segments, over node:crypto: AES in counter mode, and the hash of each segment by a GMAC over it. The
 * method is told in docs/engine.md; `native/segments.cc` is the fast path.
 */
import { createCipheriv } from 'node:crypto'
import { TAG_LENGTH } from '../format/frame'
import { BLOCK_LENGTH } from './arguments'
import type { SegmentHash } from './engine'
import { add, type Element, inverse, multiply, parse, power, serialize, zero } from './field'
import { gcmOf, MAX_UPDATE, updateInto } from './node-cipher'

/** Encrypts, or decrypts, the bytes from block `blockOffset` on: the same in counter mode. */
export function cryptSegment(
  key: Uint8Array,
  iv: Uint8Array,
  blockOffset: number,
  input: Uint8Array,
  out: Uint8Array,
): void {
  const cipher = createCipheriv(`aes-${key.length * 8}-ctr`, key, counterBlock(iv, 2 + blockOffset))
  updateInto(cipher, input, out)
}

/** GHASH of the bytes alone, padded to whole blocks. */
export function hashBytes(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  const h = hashKey(key)
  const backwards = inverse(h)
  let hash = zero()
  for (let start = 0; start < bytes.length; start += MAX_UPDATE) {
    const part = bytes.subarray(start, start + MAX_UPDATE)
    // Under any IV: the mask of the tag goes out again.
    const tag = multiply(add(parse(gmac(key, part)), parse(gmac(key, new Uint8Array(0)))), backwards)
    const partHash = add(tag, lengths(part.length, 0))
    hash = add(multiply(hash, power(h, blocksOf(part.length))), partHash)
  }
  for (const secret of [h, backwards]) secret.fill(0)
  return serialize(hash)
}

/** The tag from all segments, in order. */
export function combine(
  key: Uint8Array,
  iv: Uint8Array,
  aad: Uint8Array,
  segments: readonly SegmentHash[],
): Uint8Array {
  const h = hashKey(key)
  const all: SegmentHash[] = [{ blockOffset: 0, length: aad.length, hash: hashBytes(key, aad) }, ...segments]
  const total = segments.reduce((sum, { length }) => sum + length, 0)
  const hash = all.reduce(
    (before, { length, hash }) => add(multiply(before, power(h, blocksOf(length))), parse(hash)),
    zero(),
  )
  const tag = add(multiply(add(hash, lengths(aad.length, total)), h), encryptBlock(key, counterBlock(iv, 1)))
  for (const secret of [h, hash]) secret.fill(0)
  return serialize(tag)
}

/** AES(K, 0) */
function hashKey(key: Uint8Array): Element {
  return encryptBlock(key, new Uint8Array(BLOCK_LENGTH))
}

function encryptBlock(key: Uint8Array, block: Uint8Array): Element {
  return parse(createCipheriv(`aes-${key.length * 8}-ecb`, key, null).update(block))
}

function gmac(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  const cipher = createCipheriv(gcmOf(key), key, new Uint8Array(12), { authTagLength: TAG_LENGTH })
  cipher.setAAD(bytes).final()
  return cipher.getAuthTag()
}

function counterBlock(iv: Uint8Array, counter: number): Uint8Array {
  const block = new Uint8Array(BLOCK_LENGTH)
  block.set(iv)
  new DataView(block.buffer).setUint32(12, counter)
  return block
}

/** len(aad, ciphertext) in bits, as a block. */
function lengths(aad: number, ciphertext: number): Element {
  return Uint32Array.of(aad / 2 ** 29, aad * 8, ciphertext / 2 ** 29, ciphertext * 8)
}

function blocksOf(length: number): number {
  return Math.ceil(length / BLOCK_LENGTH)
}
