/** Ciphers of old S3 objects, none of which authenticates its content. Nothing else may use them. */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { allocateSecret, wipe } from '../bytes'
import { BLOCK_LENGTH } from './arguments'
import { updateInto } from './node-cipher'

const IV_LENGTH = 12

/** The plaintext of AES-CBC with PKCS #7 padding, or `undefined`: for a wrong length and a wrong padding alike. */
export function openCbc(key: Uint8Array, iv: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined {
  return openBlocks('cbc', key, iv, ciphertext)
}

/** Whole blocks of AES-CBC from the middle of a ciphertext, after `blockBefore`; `undefined` for a wrong length. */
export function openCbcPart(key: Uint8Array, blockBefore: Uint8Array, blocks: Uint8Array): Uint8Array | undefined {
  return decryptBlocks('cbc', key, blockBefore, blocks)
}

/** The same as {@link openCbc} for AES-ECB, with which data keys were wrapped. */
export function openEcb(key: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined {
  return openBlocks('ecb', key, null, ciphertext)
}

/** AES-CBC with PKCS #7 padding. */
export function sealCbc(key: Uint8Array, iv: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const out = Buffer.allocUnsafe(plaintext.length - (plaintext.length % BLOCK_LENGTH) + BLOCK_LENGTH)
  const cipher = createCipheriv(`aes-${key.length * 8}-cbc`, key, iv)
  const written = updateInto(cipher, plaintext, out)
  out.set(cipher.final(), written)
  return out
}

/** AES-ECB with PKCS #7 padding, of a data key. */
export function sealEcb(key: Uint8Array, dataKey: Uint8Array): Uint8Array {
  const cipher = createCipheriv(`aes-${key.length * 8}-ecb`, key, null)
  return Buffer.concat([cipher.update(dataKey), cipher.final()])
}

/** What is before the PKCS #7 padding of whole blocks, in their memory; `undefined`, and wiped, where it is wrong. */
export function withoutPadding(padded: Uint8Array): Uint8Array | undefined {
  const padding = padded.length < BLOCK_LENGTH ? 0 : paddingLength(padded.subarray(-BLOCK_LENGTH))
  if (padding > 0) return padded.subarray(0, padded.length - padding)
  wipe(padded)
  return undefined
}

/** AES key wrap (RFC 3394) undone, or `undefined` where it does not verify. */
export function unwrapAesKey(key: Uint8Array, wrapped: Uint8Array): Uint8Array | undefined {
  if (wrapped.length < 24) return undefined
  try {
    return createDecipheriv(`id-aes${key.length * 8}-wrap`, key, KEY_WRAP_IV).update(wrapped)
  } catch {
    return undefined
  }
}

const KEY_WRAP_IV = Buffer.alloc(8, 0xa6)

/**
 * Decrypts a part of an AES-GCM ciphertext, which begins with the block of number `firstBlock`. The result is
 * **unauthenticated**: whoever can change the ciphertext can flip any bit of it.
 */
export function openGcmPart(key: Uint8Array, iv: Uint8Array, firstBlock: number, ciphertext: Uint8Array): Uint8Array {
  const counter = Buffer.alloc(BLOCK_LENGTH)
  counter.set(iv)
  // Counter 1 is for the tag.
  counter.writeUInt32BE(firstBlock + 2, IV_LENGTH)
  const out = allocateSecret(ciphertext.length)
  updateInto(createDecipheriv(`aes-${key.length * 8}-ctr`, key, counter), ciphertext, out)
  return out
}

/** Opens AES-CBC, which nothing authenticates, piece by piece. The key is copied. */
export class UnverifiedCbc {
  readonly #decipher

  constructor(key: Uint8Array, iv: Uint8Array) {
    this.#decipher = createDecipheriv(`aes-${key.length * 8}-cbc`, key, iv)
  }

  update(ciphertext: Uint8Array): Uint8Array {
    return this.#decipher.update(ciphertext)
  }

  /** The rest of the plaintext; `undefined` for a wrong length and a wrong padding alike. */
  final(): Uint8Array | undefined {
    try {
      return this.#decipher.final()
    } catch {
      return undefined
    }
  }
}

function openBlocks(
  mode: 'cbc' | 'ecb',
  key: Uint8Array,
  iv: Uint8Array | null,
  ciphertext: Uint8Array,
): Uint8Array | undefined {
  const padded = decryptBlocks(mode, key, iv, ciphertext)
  return padded && withoutPadding(padded)
}

function decryptBlocks(
  mode: 'cbc' | 'ecb',
  key: Uint8Array,
  iv: Uint8Array | null,
  ciphertext: Uint8Array,
): Uint8Array | undefined {
  if (ciphertext.length % BLOCK_LENGTH !== 0) return undefined
  const out = allocateSecret(ciphertext.length)
  updateInto(createDecipheriv(`aes-${key.length * 8}-${mode}`, key, iv).setAutoPadding(false), ciphertext, out)
  return out
}

/** The length of PKCS #7 padding, 0 where it is wrong. The same steps for every block: time must not tell what is wrong. */
function paddingLength(block: Uint8Array): number {
  const length = block[BLOCK_LENGTH - 1]!
  // Negative, and so all ones after the shift, where the length is not 1 to 16.
  let wrong = ((length - 1) | (BLOCK_LENGTH - length)) >> 31
  for (let i = 0; i < BLOCK_LENGTH; i++) {
    const inPadding = (BLOCK_LENGTH - 1 - i - length) >> 31
    wrong |= inPadding & (block[i]! ^ length)
  }
  return wrong === 0 ? length : 0
}
