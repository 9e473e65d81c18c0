import { createECDH, createPublicKey, verify } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { signBytes, verifyBytes } from '../../src/engine/ecdsa'
import { getEngine } from '../../src/engine/engine'
import { SignatureKey, VerificationKey } from '../../src/materials/signature'
import { throws } from '../support/expect'

const CURVES = [
  { curve: 'prime256v1', length: 33, hash: 'sha256', longest: 72 },
  { curve: 'secp384r1', length: 49, hash: 'sha384', longest: 104 },
] as const

for (const { curve, length, hash, longest } of CURVES) {
  test(`${curve}: a public key travels as its compressed point`, async () => {
    const signs = new Set<number>()
    for (let i = 0; i < 40; i++) {
      const key = await SignatureKey.generate(curve)
      signs.add(key.compressPoint[0]!)
      assert.is(key.compressPoint.length, length)
      const parsed = VerificationKey.parse(curve, Buffer.from(key.compressPoint).toString('base64'))
      assert.ok(parsed.publicKey.equals(createPublicKey(key.privateKey.export({ format: 'pem', type: 'pkcs8' }))))
    }
    assert.equal([...signs].sort(), [2, 3])
  })

  test(`${curve}: keys that were made ahead are given out once, and are pairs`, async () => {
    const points = new Set<string>()
    for (let i = 0; i < 60; i++) {
      // Some at once, some after a while in which others are made.
      if (i % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      const key = await SignatureKey.generate(curve)
      const point = Buffer.from(key.compressPoint).toString('base64')
      points.add(point)
      const { publicKey } = VerificationKey.parse(curve, point)
      assert.ok(publicKey.equals(createPublicKey(key.privateKey.export({ format: 'pem', type: 'pkcs8' }))))
    }
    // And many at once, of which one finds the key that is being made.
    const keys = await Promise.all(Array.from({ length: 20 }, () => SignatureKey.generate(curve)))
    for (const { compressPoint } of keys) points.add(Buffer.from(compressPoint).toString('base64'))
    assert.is(points.size, 80)
  })

  test(`${curve}: signs and verifies bytes that change right after the call`, async () => {
    const key = await SignatureKey.generate(curve)
    const { publicKey } = VerificationKey.parse(curve, Buffer.from(key.compressPoint).toString('base64'))
    const text = Buffer.from('as it was')
    const signing = signBytes(hash, key.privateKey, text)
    text.fill(0)
    const signature = await signing
    assert.ok(verify(hash, Buffer.from('as it was'), publicKey, signature))

    const good = Buffer.from('as it was')
    const copy = Buffer.from(signature)
    const verifying = verifyBytes(hash, publicKey, good, copy)
    good.fill(0)
    copy.fill(0)
    assert.ok(await verifying)
    assert.not.ok(await verifyBytes(hash, publicKey, Buffer.from('as it is'), signature))
    for (const wrong of [new Uint8Array(0), Buffer.from('no DER'), signature.subarray(1), Buffer.alloc(200, 1)]) {
      assert.not.ok(await verifyBytes(hash, publicKey, Buffer.from('as it was'), wrong))
    }
    throws(() => signBytes(hash, publicKey, text), RangeError, /"privateKey"/)
    throws(() => verifyBytes(hash, key.privateKey, text, signature), RangeError, /"publicKey"/)
  })

  test(`${curve}: signs and verifies in pieces, as anybody does in one`, async () => {
    for (let i = 0; i < 40; i++) {
      const key = await SignatureKey.generate(curve)
      const signer = getEngine().createSigner(hash, key.privateKey)
      for (const piece of ['one ', 'two']) signer.update(Buffer.from(piece))
      const signature = signer.sign()
      assert.ok(signature.length <= longest)
      const verification = VerificationKey.parse(curve, Buffer.from(key.compressPoint).toString('base64'))
      assert.ok(verify(hash, Buffer.from('one two'), verification.publicKey, signature))
      const attempt = (text: string, bytes = signature) => {
        const verifier = getEngine().createVerifier(hash, verification.publicKey)
        verifier.update(Buffer.from(text))
        return verifier.verify(bytes)
      }
      assert.ok(attempt('one two'))
      assert.not.ok(attempt('one twp'))
      for (const wrong of [new Uint8Array(0), Uint8Array.of(0x30), signature.subarray(1), new Uint8Array(200)]) {
        assert.not.ok(attempt('one two', wrong))
      }
    }
  })

  test(`${curve}: anything but a compressed point of the curve is refused`, () => {
    const pair = createECDH(curve)
    pair.generateKeys()
    const point = pair.getPublicKey(null, 'compressed') as unknown as Buffer
    const other = createECDH(curve === 'prime256v1' ? 'secp384r1' : 'prime256v1')
    other.generateKeys()
    const wrong: Buffer[] = [
      pair.getPublicKey(),
      pair.getPublicKey(null, 'hybrid') as unknown as Buffer,
      other.getPublicKey(null, 'compressed') as unknown as Buffer,
      point.subarray(1),
      Buffer.concat([point, Buffer.of(0)]),
      ...[0, 1, 4, 5, 6, 7, 0xff].map((prefix) => Buffer.concat([Buffer.of(prefix), point.subarray(1)])),
      Buffer.concat([Buffer.of(2), Buffer.alloc(length - 1, 0xff)]),
      Buffer.alloc(length),
      Buffer.alloc(1),
      Buffer.alloc(0),
      Buffer.alloc(100_000, 2),
    ]
    const texts = wrong.map((bytes) => bytes.toString('base64'))
    const base64 = point.toString('base64')
    for (const text of [
      ...texts,
      ` ${base64}`,
      `${base64}\n`,
      `${base64}=`,
      point.toString('hex'),
      'ä',
      '\0',
      '__proto__',
    ]) {
      throws(() => VerificationKey.parse(curve, text), 'ERR_MESSAGE_MALFORMED', /public key is not a point/)
    }
  })

  test(`${curve}: half of all x have no point`, () => {
    let refused = 0
    for (let x = 1; x <= 60; x++) {
      const point = Buffer.alloc(length)
      point[0] = 2
      point[length - 1] = x
      try {
        VerificationKey.parse(curve, point.toString('base64'))
      } catch {
        refused++
      }
    }
    assert.ok(refused > 10 && refused < 50, `${refused} of 60`)
  })
}

/** aws-encryption-sdk-c, tests/unit/t_signature.c: public key, signature of "Hello, world!". */
const SIGNED_BY_C = [
  [
    CURVES[0],
    'AsPvc4yRhLSzEbcIMQFT5aAG8naQl8y/0IdFNn6fvVtL',
    'MEUCIQDcsouTt0S3LyrtSb2m/zNHaq1ftxBrsvtQ/coYVW3gEwIgYMkVF/0VR7Ld6daZBRIv2ElRvTIEtRFcg5vNYT3yH38=',
  ],
  [
    CURVES[1],
    'AoZ0mPKrKqcCyWlF47FYUrk4as696N4WUmv+54kp58hBiGJ22Fm+g4esiICWcOrgfQ==',
    'MGUCMBR4nYG2FBx1RLAPbCdCueFIPVTzmLvr+8OQktUtwDEEsKYQfwvyWe+Kq75QalfYBAIxALpk21eyDgo5xD7nUr6fxsOCYICBd11nLavbdjrQDlDIKZQXIpNHI+/omcZ/y1NGPw==',
  ],
] as const

for (const [{ curve, hash }, point, signature] of SIGNED_BY_C) {
  test(`${curve}: a signature by the AWS Encryption SDK for C verifies`, () => {
    const verifier = getEngine().createVerifier(hash, VerificationKey.parse(curve, point).publicKey)
    verifier.update(Buffer.from('Hello, world!'))
    assert.ok(verifier.verify(Buffer.from(signature, 'base64')))
  })
}

test.run()
