import { constants, createDecipheriv, createPrivateKey, createPublicKey, privateDecrypt, verify } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Engine, HashName } from '../../src/engine/engine'
import { loadNative } from '../../src/engine/native'
import { nodeEngine } from '../../src/engine/node'
import gcmCases from '../vectors/primitives/aes-gcm.json'
import keyWrapCases from '../vectors/primitives/aes-key-wrap.json'
import ecdsaCases from '../vectors/primitives/ecdsa.json'
import hkdfCases from '../vectors/primitives/hkdf.json'
import oaepCases from '../vectors/primitives/rsa-oaep.json'

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))

for (const [name, engine] of [
  ['native', loadNative().engine!],
  ['node', nodeEngine],
] as [string, Engine][]) {
  test(`${name}: AES-GCM, NIST CAVP`, () => {
    for (const { from, key, iv, aad, ciphertext, tag, plaintext } of gcmCases) {
      const sealed = bytes(ciphertext + tag)
      const opened = new Uint8Array(sealed.length - 16).fill(1)
      assert.is(engine.open(bytes(key), bytes(iv), bytes(aad), sealed, opened), plaintext !== undefined, from)
      assert.equal(opened, plaintext === undefined ? new Uint8Array(opened.length) : bytes(plaintext), from)
      if (plaintext === undefined) continue
      const out = new Uint8Array(sealed.length)
      engine.seal(bytes(key), bytes(iv), bytes(aad), bytes(plaintext), out)
      assert.equal(out, sealed, from)
    }
  })

  test(`${name}: HKDF, RFC 5869`, () => {
    for (const { from, hash, key, salt, info, okm } of hkdfCases) {
      const expected = bytes(okm)
      assert.equal(engine.hkdf(hash as HashName, bytes(key), bytes(salt), bytes(info), expected.length), expected, from)
    }
  })
}

// Primitives that keyrings and signatures take from node:crypto: what it must do for them.

test('node:crypto: AES key wrap, NIST CAVP', () => {
  for (const { from, key, wrapped, plaintext } of keyWrapCases) {
    const unwrap = () => {
      const decipher = createDecipheriv(`id-aes${key.length * 4}-wrap`, bytes(key), bytes('a6a6a6a6a6a6a6a6'))
      return Buffer.concat([decipher.update(bytes(wrapped)), decipher.final()]).toString('hex')
    }
    if (plaintext === undefined) assert.throws(unwrap, from)
    else assert.is(unwrap(), plaintext, from)
  }
})

test('node:crypto: RSA-OAEP with SHA-1 and SHA-2', () => {
  const base64 = (hex: string) =>
    Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex').toString('base64url')
  for (const { from, hash, cases, ...numbers } of oaepCases) {
    const jwk = Object.fromEntries(Object.entries(numbers).map(([name, hex]) => [name, base64(hex)]))
    const key = createPrivateKey({ key: { kty: 'RSA', ...jwk }, format: 'jwk' })
    for (const { plaintext, ciphertext } of cases) {
      const options = { key, oaepHash: hash, padding: constants.RSA_PKCS1_OAEP_PADDING }
      assert.is(privateDecrypt(options, bytes(ciphertext)).toString('hex'), plaintext, from)
    }
  }
})

test('node:crypto: ECDSA on P-256 and P-384, NIST CAVP', () => {
  for (const { from, curve, hash, message, x, y, r, s, valid } of ecdsaCases) {
    const base64 = (hex: string) => Buffer.from(hex, 'hex').toString('base64url')
    // A changed Q may be no point of the curve: refused as a key, before any signature.
    const check = () => {
      const key = createPublicKey({ key: { kty: 'EC', crv: curve, x: base64(x), y: base64(y) }, format: 'jwk' })
      return verify(hash, bytes(message), { key, dsaEncoding: 'ieee-p1363' }, bytes(r + s))
    }
    if (valid) assert.ok(check(), from)
    else assert.not.ok(attempt(check), from)
  }
})

test.run()

function attempt(check: () => boolean): boolean {
  try {
    return check()
  } catch {
    return false
  }
}
