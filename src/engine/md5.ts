/**
 * MD5 (RFC 1321) of short public fingerprints, where a protocol wants one: no security rests on it. Written out, because
 * an OpenSSL in FIPS mode has none.
 */
export function md5(bytes: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil((bytes.length + 9) / 64) * 64)
  padded.set(bytes)
  padded[bytes.length] = 0x80
  const words = new DataView(padded.buffer)
  words.setUint32(padded.length - 8, bytes.length << 3, true)
  const state = Uint32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476)
  for (let block = 0; block < padded.length; block += 64) {
    let [a, b, c, d] = state as unknown as [number, number, number, number]
    for (let i = 0; i < 64; i++) {
      const round = i >> 4
      const mixed = [(b & c) | (~b & d), (b & d) | (c & ~d), b ^ c ^ d, c ^ (b | ~d)][round]!
      const index = ([1, 5, 3, 7][round]! * i + [0, 1, 5, 0][round]!) % 16
      const sum = (a + mixed + SINES[i]! + words.getUint32(block + 4 * index, true)) | 0
      const shift = SHIFTS[round]![i % 4]!
      ;[a, d, c, b] = [d, c, b, (b + ((sum << shift) | (sum >>> (32 - shift)))) | 0]
    }
    for (const [i, word] of [a, b, c, d].entries()) state[i]! += word
  }
  padded.fill(0)
  const digest = new DataView(new ArrayBuffer(16))
  for (const [i, word] of state.entries()) digest.setUint32(4 * i, word, true)
  return new Uint8Array(digest.buffer)
}

const SHIFTS = [
  [7, 12, 17, 22],
  [5, 9, 14, 20],
  [4, 11, 16, 23],
  [6, 10, 15, 21],
]
const SINES = Array.from({ length: 64 }, (_, i) => Math.floor(Math.abs(Math.sin(i + 1)) * 2 ** 32))
