import { createHash, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hashOf, signDigest, verifyDigest } from '../../src/local-kms/digest-signature'
import type { SigningAlgorithm } from '../../src/local-kms/keys'

const PSS = { padding: 6, saltLength: -1 }
const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = (namedCurve: string) => () => generateKeyPairSync('ec', { namedCurve })

const cases: [SigningAlgorithm, () => { publicKey: KeyObject; privateKey: KeyObject }, object, number][] = [
  ['RSASSA_PKCS1_V1_5_SHA_256', rsa, {}, 10],
  ['RSASSA_PKCS1_V1_5_SHA_384', rsa, {}, 10],
  ['RSASSA_PKCS1_V1_5_SHA_512', rsa, {}, 10],
  ['RSASSA_PSS_SHA_256', rsa, PSS, 10],
  ['RSASSA_PSS_SHA_384', rsa, PSS, 10],
  ['RSASSA_PSS_SHA_512', rsa, PSS, 10],
  // Many, so that integers of every length and sign bit come up.
  ['ECDSA_SHA_256', ec('prime256v1'), {}, 300],
  ['ECDSA_SHA_256', ec('secp256k1'), {}, 300],
  ['ECDSA_SHA_384', ec('secp384r1'), {}, 100],
  ['ECDSA_SHA_512', ec('secp521r1'), {}, 100],
]

for (const [algorithm, generate, padding, rounds] of cases) {
  const { publicKey, privateKey } = generate()
  const hash = hashOf(algorithm)
  const name = `${algorithm} with ${privateKey.asymmetricKeyDetails!.namedCurve ?? 'rsa'}`

  test(`${name}: agrees with OpenSSL, both ways`, () => {
    for (let i = 0; i < rounds; i++) {
      const message = Buffer.from(`message ${i}`)
      const digest = createHash(hash).update(message).digest()
      const signature = signDigest(privateKey, algorithm, digest)
      assert.ok(verify(hash, message, { key: publicKey, ...padding }, signature))
      assert.ok(verifyDigest(privateKey, algorithm, digest, signature))
      assert.ok(verifyDigest(privateKey, algorithm, digest, sign(hash, message, { key: privateKey, ...padding })))
    }
  })

  test(`${name}: refuses every changed bit, and other lengths`, () => {
    const digest = createHash(hash).update('message').digest()
    const signature = signDigest(privateKey, algorithm, digest)
    for (let i = 0; i < signature.length; i++) {
      const changed = Uint8Array.from(signature)
      changed[i]! ^= 1 << (i % 8)
      assert.not(verifyDigest(privateKey, algorithm, digest, changed))
    }
    for (const wrong of [
      new Uint8Array(0),
      new Uint8Array(signature.length),
      new Uint8Array(6144).fill(0xff),
      signature.subarray(1),
      signature.subarray(0, -1),
      Buffer.concat([signature, Buffer.alloc(1)]),
    ]) {
      assert.not(verifyDigest(privateKey, algorithm, digest, wrong))
    }
    const other = createHash(hash).update('another').digest()
    assert.not(verifyDigest(privateKey, algorithm, other, signature))
  })
}

test('refuses DER that is valid in BER only', () => {
  const { privateKey } = ec('prime256v1')()
  const digest = createHash('sha256').update('message').digest()
  const signature = signDigest(privateKey, 'ECDSA_SHA_256', digest)
  const longLength = Buffer.concat([Buffer.from([0x30, 0x81]), signature.subarray(1)])
  assert.not(verifyDigest(privateKey, 'ECDSA_SHA_256', digest, longLength))
})

test('refuses an RSA signature without its leading zero', () => {
  const { privateKey } = rsa()
  const algorithm = 'RSASSA_PKCS1_V1_5_SHA_256'
  let digest: Buffer
  let signature: Buffer
  let count = 0
  do {
    digest = createHash('sha256').update(`message ${count++}`).digest()
    signature = signDigest(privateKey, algorithm, digest)
  } while (signature[0] !== 0)
  assert.ok(verifyDigest(privateKey, algorithm, digest, signature))
  assert.not(verifyDigest(privateKey, algorithm, digest, signature.subarray(1)))
})

test('refuses an ECDSA signature whose number is not below the order of the curve', () => {
  const { privateKey } = ec('prime256v1')()
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const digest = createHash('sha256').update('message').digest()
  const pair = sign('sha256', Buffer.from('message'), { key: privateKey, dsaEncoding: 'ieee-p1363' })
  const [r, s] = [pair.subarray(0, 32), pair.subarray(32)].map((bytes) => BigInt(`0x${bytes.toString('hex')}`))
  const signature = (integers: bigint[]) => {
    const body = Buffer.concat(integers.map(derInteger))
    return Buffer.concat([Buffer.from([0x30, body.length]), body])
  }
  assert.ok(verifyDigest(privateKey, 'ECDSA_SHA_256', digest, signature([r!, s!])))
  assert.not(verifyDigest(privateKey, 'ECDSA_SHA_256', digest, signature([r!, s! + order])))
})

test.run()

function derInteger(value: bigint): Buffer {
  const hex = value.toString(16)
  const bytes = Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex')
  const positive = bytes[0]! < 0x80 ? bytes : Buffer.concat([Buffer.alloc(1), bytes])
  return Buffer.concat([Buffer.from([2, positive.length]), positive])
}
