import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Engine, FrameRun, HashName } from '../../src/engine/engine'
import { loadNative, NativeEngine } from '../../src/engine/native'
import { nodeEngine } from '../../src/engine/node'
import { framesLength } from '../../src/format/frame'
import { throws } from '../support/expect'

const native = loadNative().engine!
const backends: [string, Engine][] = [
  ['native', native],
  ['node', nodeEngine],
]
const HASH_NAMES: HashName[] = ['sha256', 'sha384', 'sha512']
const CURVES = ['prime256v1', 'secp384r1'] as const
const RUN_KEY = bytes(32)
const FORCED: [threads: number, grain: number][] = [1, 2, 3, 8].flatMap((threads) =>
  [0, 1, 5000].map((grain): [number, number] => [threads, grain]),
)
/** The generators (SEC 2): the public keys of the scalar 1. */
const SMALL = (
  [
    [
      'P-256',
      '6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296',
      '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
    ],
    [
      'P-384',
      'aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7',
      '3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f',
    ],
  ] as const
).map(([crv, ...point]) => [crv, ...point.map((hex) => Buffer.from(hex, 'hex').toString('base64url'))]) as [
  string,
  string,
  string,
][]
const keys = CURVES.map((namedCurve) => generateKeyPairSync('ec', { namedCurve }))

for (const [name, engine] of backends) {
  test(`${name}: hashes pieces as node:crypto hashes the whole`, () => {
    for (const hashName of HASH_NAMES) {
      const data = bytes(5000)
      const hash = engine.createHash(hashName)
      for (let start = 0; start < data.length; start += 77) hash.update(data.subarray(start, start + 77))
      hash.update(new Uint8Array(0))
      assert.equal(hash.digest(), new Uint8Array(createHash(hashName).update(data).digest()))
    }
  })

  test(`${name}: nothing follows a digest, a signature or a verification`, () => {
    const [{ privateKey, publicKey }] = keys as [{ privateKey: KeyObject; publicKey: KeyObject }]
    const hash = engine.createHash('sha384')
    const signer = engine.createSigner('sha256', privateKey)
    const verifier = engine.createVerifier('sha256', publicKey)
    hash.digest()
    verifier.verify(signer.sign())
    assert.throws(() => hash.digest())
    assert.throws(() => signer.sign())
    assert.throws(() => verifier.verify(bytes(70)))
    for (const ended of [hash, signer, verifier]) assert.throws(() => ended.update(bytes(1)))
  })

  test(`${name}: signs what node:crypto verifies, and verifies what it signs`, () => {
    for (const { privateKey, publicKey } of keys) {
      for (const hashName of HASH_NAMES) {
        for (let round = 0; round < 10; round++) {
          const data = bytes(round * 100)
          const signer = engine.createSigner(hashName, privateKey)
          signer.update(data)
          assert.ok(verify(hashName, data, publicKey, signer.sign()))
          const verifier = engine.createVerifier(hashName, publicKey)
          verifier.update(data)
          assert.ok(verifier.verify(sign(hashName, data, privateKey)))
        }
      }
    }
  })

  test(`${name}: takes public keys that were read as compressed points`, () => {
    for (const { privateKey, publicKey } of keys) {
      const der = publicKey.export({ type: 'spki', format: 'der' })
      const half = (der.length - (der.length > 100 ? 24 : 27)) / 2
      const compressed = Buffer.concat([
        der.subarray(0, -2 * half - 1),
        Uint8Array.of(2 + (der.at(-1)! & 1)),
        der.subarray(-2 * half, -half),
      ])
      compressed[1]! -= half
      compressed[compressed.length - half - 3]! -= half
      const verifier = engine.createVerifier(
        'sha384',
        createPublicKey({ key: compressed, type: 'spki', format: 'der' }),
      )
      assert.ok(verifier.verify(sign('sha384', bytes(0), privateKey)))
    }
  })

  test(`${name}: takes keys that spell their curve out`, () => {
    for (const namedCurve of CURVES) {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve, paramEncoding: 'explicit' })
      const signature = engine.createSigner('sha384', privateKey).sign()
      assert.ok(verify('sha384', bytes(0), publicKey, signature))
      assert.ok(engine.createVerifier('sha384', publicKey).verify(signature))
    }
  })

  test(`${name}: refuses every changed signature, other bytes, other keys, and forms that are not DER`, () => {
    const data = bytes(100)
    for (const [i, { privateKey, publicKey }] of keys.entries()) {
      const check = (signature: Uint8Array, signed = data, key = publicKey) => {
        const verifier = engine.createVerifier('sha384', key)
        verifier.update(signed)
        return verifier.verify(signature)
      }
      const signature = sign('sha384', data, privateKey)
      assert.ok(check(signature))
      for (let at = 0; at < signature.length; at++) {
        const changed = Uint8Array.from(signature)
        changed[at]! ^= 1 << (at % 8)
        assert.not.ok(check(changed))
      }
      assert.not.ok(check(signature.subarray(0, -1)))
      assert.not.ok(check(new Uint8Array(0)))
      assert.not.ok(check(Buffer.concat([signature, Uint8Array.of(0)])))
      assert.not.ok(check(Buffer.concat([Uint8Array.of(0x30, 0x81), signature.subarray(1)])))
      assert.not.ok(check(sign('sha384', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })))
      assert.not.ok(check(signature, data.subarray(1)))
      assert.not.ok(check(signature, data, keys[1 - i]!.publicKey))
    }
  })

  test(`${name}: takes keys of P-256 and P-384 only, of the right half`, () => {
    const [{ privateKey, publicKey }] = keys as [{ privateKey: KeyObject; publicKey: KeyObject }]
    const rsa = generateKeyPairSync('rsa', { modulusLength: 1024 })
    const p521 = generateKeyPairSync('ec', { namedCurve: 'secp521r1' })
    for (const key of [publicKey, rsa.privateKey, p521.privateKey]) {
      assert.throws(() => engine.createSigner('sha384', key), /"privateKey" must be the private key of P-256 or P-384/)
    }
    for (const key of [privateKey, rsa.publicKey, p521.publicKey]) {
      assert.throws(() => engine.createVerifier('sha384', key), /"publicKey" must be the public key of P-256 or P-384/)
    }
    const pem = privateKey.export({ format: 'pem', type: 'pkcs8' }) as unknown as KeyObject
    assert.throws(() => engine.createSigner('sha384', pem), /must be a KeyObject/)
    const md5 = 'md5' as 'sha256'
    for (const make of [
      () => engine.createHash(md5),
      () => engine.createSigner(md5, privateKey),
      () => engine.createVerifier(md5, publicKey),
    ]) {
      assert.throws(make, /"hash" must be one of/)
    }
    throws(() => engine.createHash('sha256').update('text' as unknown as Uint8Array), TypeError)
  })

  test(`${name}: scalars with leading zeros sign too`, () => {
    for (const [crv, x, y] of SMALL) {
      const d = Buffer.alloc(crv === 'P-256' ? 32 : 48)
      d[d.length - 1] = 1
      const key = createPrivateKey({ key: { kty: 'EC', crv, x, y, d: d.toString('base64url') }, format: 'jwk' })
      const signer = engine.createSigner('sha384', key)
      signer.update(bytes(0))
      assert.ok(verify('sha384', bytes(0), key, signer.sign()))
    }
  })

  test(`${name}: a hash follows the frames as they are sealed and opened, in any number of runs`, () => {
    for (const [frameLength, length] of [
      [1, 300],
      [16, 1000],
      [4096, 300_000],
      [65_536, 700_001],
    ] as const) {
      const plaintext = bytes(length)
      const sealed = new Uint8Array(framesLength(length, frameLength, true))
      const run = frameRun(frameLength)
      for (const [threads, grain] of name === 'native' ? FORCED : [[0, 0] as const]) {
        native.binding.force(threads, grain)
        const hash = engine.createHash('sha384')
        hash.update(plaintext)
        engine.sealFrames(run, plaintext, true, sealed, hash)
        const expected = new Uint8Array(createHash('sha384').update(plaintext).update(sealed).digest())
        assert.equal(hash.digest(), expected, `${length} in ${frameLength}, ${threads} threads, grain ${grain}`)

        const opening = engine.createHash('sha384')
        opening.update(plaintext)
        const opened = new Uint8Array(length)
        const { count, status } = engine.openFrames(run, sealed, opened, opening)
        assert.is(status, 'final')
        opening.update(sealed.subarray(count * (frameLength + 32)))
        assert.equal(opening.digest(), expected)
        assert.is(
          Buffer.compare(opened.subarray(0, count * frameLength), plaintext.subarray(0, count * frameLength)),
          0,
        )
      }
    }
    native.binding.force(0, 0)
  })

  test(`${name}: a hash follows up to the first frame that does not open`, () => {
    const run = frameRun(100)
    const plaintext = bytes(4000)
    const sealed = new Uint8Array(framesLength(4000, 100, false))
    engine.sealFrames(run, plaintext, false, sealed)
    for (const broken of [0, 1, 17, 39]) {
      const body = Uint8Array.from(sealed)
      body[broken * 132 + 50]! ^= 1
      for (const [threads, grain] of name === 'native' ? FORCED : [[0, 0] as const]) {
        native.binding.force(threads, grain)
        const hash = engine.createHash('sha256')
        const { count } = engine.openFrames(run, body, new Uint8Array(4000), hash)
        assert.is(count, broken)
        const expected = createHash('sha256')
          .update(body.subarray(0, broken * 132))
          .digest()
        assert.equal(hash.digest(), new Uint8Array(expected))
      }
    }
    native.binding.force(0, 0)
  })
}

test('native: a signer leaves neither the scalar nor what it was read from, and reads it once', () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const secrets: Uint8Array[] = []
  const der = privateKey.export.bind(privateKey) as (options: unknown) => Buffer
  const watched = (options: unknown) => {
    secrets.push(der(options))
    return secrets.at(-1)
  }
  Object.assign(privateKey, { export: watched })
  const { binding } = native
  const signDigest: typeof binding.signDigest = (curve, scalar, ...rest) => {
    assert.ok(scalar.some(Boolean))
    secrets.push(scalar)
    return binding.signDigest(curve, scalar, ...rest)
  }
  const signer = new NativeEngine({ ...binding, signDigest }).createSigner('sha384', privateKey)
  signer.sign()
  assert.throws(() => signer.sign(), /finished/)
  assert.equal(
    secrets.map((secret) => secret.some(Boolean)),
    [false, false],
  )
})

for (const [name, engine, other] of [
  ['native', native, nodeEngine],
  ['node', nodeEngine, native],
] as const) {
  test(`${name}: frames feed hashes of the same engine that go on, and are not worked on for others`, () => {
    const run = frameRun(10)
    const sealed = new Uint8Array(framesLength(10, 10, false))
    const plaintext = new Uint8Array(10)
    engine.sealFrames(run, bytes(10), false, sealed)
    const untouched = Uint8Array.from(sealed)
    const finished = engine.createHash('sha256')
    finished.digest()
    for (const [hash, error] of [
      [other.createHash('sha256'), /"hash" must be a hash, signer or verifier of this engine/],
      [{ update: () => {} }, /"hash" must be a hash, signer or verifier of this engine/],
      [finished, /the hash is finished/],
    ] as const) {
      assert.throws(() => engine.sealFrames(run, bytes(10), false, sealed, hash), error)
      assert.throws(() => engine.openFrames(run, sealed, plaintext, hash), error)
    }
    assert.equal([sealed, plaintext], [untouched, new Uint8Array(10)])
  })

  test(`${name}: nothing follows a digest, a signature or its check`, () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const [hash, signer, verifier] = [
      engine.createHash('sha256'),
      engine.createSigner('sha256', privateKey),
      engine.createVerifier('sha256', publicKey),
    ]
    hash.digest()
    assert.ok(verifier.verify(signer.sign()))
    for (const more of [
      () => hash.digest(),
      () => signer.sign(),
      () => verifier.verify(new Uint8Array(70)),
      ...[hash, signer, verifier].map((running) => () => running.update(bytes(1))),
    ]) {
      assert.throws(more, (error: { code?: string }) => error.code === 'ERR_INTERNAL')
    }
  })
}

test('the addon refuses what is no hash', () => {
  const out = new Uint8Array(0)
  const { binding } = native
  const invalid = 5
  for (const fake of [{}, [], new Uint8Array(8), native, null, 5]) {
    assert.is(binding.updateHash(fake as object, out), invalid)
    assert.is(binding.finishHash(fake as object, bytes(48)), invalid)
    assert.is(binding.sealFrames(bytes(32), bytes(32), 10, 1, out, 0, out, fake as object), invalid)
  }
  assert.is(binding.finishHash(binding.createHash(1)!, bytes(47)), invalid)
  assert.is(binding.createHash(3), undefined)
  assert.is(binding.signDigest(2, bytes(32), bytes(32), bytes(104)), invalid)
  assert.is(binding.signDigest(0, bytes(32), bytes(32), bytes(103)), invalid)
  assert.is(binding.verifyDigest(0, bytes(64), bytes(32), bytes(70)), invalid)
})

test.run()

function frameRun(frameLength: number): FrameRun {
  return { key: RUN_KEY, messageId: RUN_KEY, frameLength, firstSequenceNumber: 1 }
}

function bytes(length: number): Uint8Array {
  return new Uint8Array(randomBytes(length))
}
