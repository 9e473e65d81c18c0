/**
 * How RSA-wrapped data keys are laid out. Two old paddings node:crypto does not undo: OAEP whose MGF1 has another hash than
 * the label, and PKCS #1 v1.5. Both work on a decrypted block and take the same steps for every block of a length: what
 * differs is read only at the end, and only whether all was right.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { copySecret, utf8, wipe } from '../bytes'

const DATA_KEY_LENGTHS = [16, 24, 32] as const

/** Data key in what RSA-OAEP-SHA1 has wrapped: one byte of length || data key || content algorithm. `message` is wiped. */
export function dataKeyInMessage(message: Uint8Array, contentAlgorithm: string): Uint8Array | undefined {
  try {
    const length = message[0] ?? 0
    const suffix = utf8(contentAlgorithm)
    if (!(DATA_KEY_LENGTHS as readonly number[]).includes(length)) return undefined
    if (message.length !== 1 + length + suffix.length) return undefined
    if (!timingSafeEqual(message.subarray(1 + length), suffix)) return undefined
    return copySecret(message.subarray(1, 1 + length))
  } finally {
    wipe(message)
  }
}

/** Data key in a block of EME-OAEP (RFC 8017, section 7.1.2) with SHA-256, MGF1 with SHA-1 and no label. */
export function unpadOaepSha256Mgf1Sha1(block: Uint8Array): Uint8Array | undefined {
  const hashLength = EMPTY_LABEL_HASH.length
  if (block.length < 2 * hashLength + 2 + 32) return undefined
  const maskedSeed = block.subarray(1, 1 + hashLength)
  const maskedData = block.subarray(1 + hashLength)
  const seed = unmask(maskedSeed, maskedData)
  const data = unmask(maskedData, seed)
  try {
    let wrong = block[0]!
    for (let i = 0; i < hashLength; i++) wrong |= data[i]! ^ EMPTY_LABEL_HASH[i]!
    const length = dataKeyLength((length) => {
      const separator = data.length - length - 1
      let problem = wrong | (data[separator]! ^ 1)
      for (let i = hashLength; i < separator; i++) problem |= data[i]!
      return problem
    })
    return length === undefined ? undefined : copySecret(data.subarray(-length))
  } finally {
    wipe(seed, data)
  }
}

/** Data key in a block of EME-PKCS1-v1_5 (RFC 8017, section 7.2.2), or a copy of `substitute` where the padding is wrong. */
export function unpadPkcs1(block: Uint8Array, substitute: Uint8Array): Uint8Array {
  const wrong = block[0]! | (block[1]! ^ 2)
  const length = dataKeyLength((length) => {
    const separator = block.length - length - 1
    let problem = wrong | block[separator]!
    // A zero byte, and no other, gives 1 here.
    for (let i = 2; i < separator; i++) problem |= (block[i]! - 1) >>> 31
    return problem
  })
  return copySecret(length === undefined ? substitute : block.subarray(-length))
}

/** The one length for which nothing is wrong, after all have been tried. */
function dataKeyLength(problemOf: (length: number) => number): number | undefined {
  const problems = DATA_KEY_LENGTHS.map(problemOf)
  return DATA_KEY_LENGTHS.find((_, i) => problems[i] === 0)
}

/** What is under the mask that MGF1 with SHA-1 makes of `seed` (RFC 8017, section B.2.1). */
function unmask(masked: Uint8Array, seed: Uint8Array): Uint8Array {
  const out = copySecret(masked)
  const counter = Buffer.alloc(4)
  for (let start = 0, i = 0; start < out.length; i++) {
    counter.writeUInt32BE(i)
    const mask = createHash('sha1').update(seed).update(counter).digest()
    for (let j = 0; j < mask.length && start < out.length; j++) out[start++]! ^= mask[j]!
    wipe(mask)
  }
  return out
}

const EMPTY_LABEL_HASH = createHash('sha256').digest()
