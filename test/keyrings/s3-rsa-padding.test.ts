import { createHash } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { dataKeyInMessage, unpadOaepSha256Mgf1Sha1, unpadPkcs1 } from '../../src/keyrings/s3-rsa-padding'
import { bytes } from '../support/keys'

const KEY = bytes(32)
const BLOCK_LENGTH = 256

test('a data key in an OAEP block comes in memory of its own, and what was needed to find it is wiped', () => {
  const [key, others] = allocatedBy(() => unpadOaepSha256Mgf1Sha1(oaepBlock()))
  assert.equal(key, KEY)
  assert.equal(
    others,
    [32, BLOCK_LENGTH - 33].map((length) => new Uint8Array(length)),
  )
})

test('a data key in a PKCS #1 v1.5 block comes in memory of its own, and so does its substitute', () => {
  const block = Buffer.concat([Buffer.of(0, 2), Buffer.alloc(BLOCK_LENGTH - 35, 0xaa), Buffer.of(0), KEY])
  const substitute = bytes(32).reverse()
  assert.equal(
    allocatedBy(() => unpadPkcs1(block, substitute)),
    [KEY, []],
  )
  block[0] = 1
  assert.equal(
    allocatedBy(() => unpadPkcs1(block, substitute)),
    [substitute, []],
  )
})

test('any byte of a padding that is another refuses it', () => {
  assert.equal(unpadOaepSha256Mgf1Sha1(oaepBlock()), KEY)
  for (let at = 0; at < BLOCK_LENGTH - 33 - 32; at++) {
    const block = oaepBlock((data) => (data[at]! ^= 1))
    assert.is(unpadOaepSha256Mgf1Sha1(block), undefined, `byte ${at}`)
  }
  assert.is(unpadOaepSha256Mgf1Sha1(oaepBlock().fill(1, 0, 1)), undefined)

  const substitute = bytes(32).reverse()
  for (let at = 0; at < BLOCK_LENGTH - 32; at++) {
    const block = Buffer.concat([Buffer.of(0, 2), Buffer.alloc(BLOCK_LENGTH - 35, 0xaa), Buffer.of(0), KEY])
    block[at] = block[at] === 0 ? 1 : 0
    assert.equal(unpadPkcs1(block, substitute), substitute, `byte ${at}`)
  }
})

test('a data key in an OAEP message comes in memory of its own, and the message is wiped', () => {
  const message = Buffer.concat([Buffer.of(32), KEY, Buffer.from('115')])
  assert.equal(
    allocatedBy(() => dataKeyInMessage(message, '115')),
    [KEY, []],
  )
  assert.equal(message, Buffer.alloc(message.length))
})

test('an OAEP message that is not a data key and its algorithm gives none, and is wiped', () => {
  const algorithm = Buffer.from('115')
  for (const parts of [
    [],
    [Buffer.of(32)],
    [Buffer.of(31), bytes(31), algorithm],
    [Buffer.of(33), bytes(33), algorithm],
    [Buffer.of(32), KEY],
    [Buffer.of(32), KEY, algorithm, Buffer.of(0)],
    [Buffer.of(32), KEY, Buffer.from('114')],
    [Buffer.of(24), KEY, algorithm],
  ]) {
    const message = Buffer.concat(parts)
    assert.is(dataKeyInMessage(message, '115'), undefined)
    assert.equal(message, Buffer.alloc(message.length))
  }
})

/**
 * What `make` gives, which must lie in a buffer that was allocated for it, and what lies in the others: a small array
 * without one is on the JavaScript heap, where the collector leaves copies that cannot be wiped.
 */
function allocatedBy(make: () => Uint8Array | undefined): [result: Uint8Array, others: Uint8Array[]] {
  const original = globalThis.ArrayBuffer
  const made: ArrayBuffer[] = []
  globalThis.ArrayBuffer = new Proxy(original, {
    construct(target, parameters) {
      const buffer = Reflect.construct(target, parameters)
      made.push(buffer)
      return buffer
    },
  })
  try {
    const result = make()!
    assert.ok(made.includes(result.buffer as ArrayBuffer), 'not on the heap')
    return [result, made.filter((buffer) => buffer !== result.buffer).map((buffer) => new Uint8Array(buffer))]
  } finally {
    globalThis.ArrayBuffer = original
  }
}

/** As clients of S3 wrote it: SHA-256 of an empty label, MGF1 with SHA-1. */
function oaepBlock(change: (data: Buffer) => void = () => {}): Uint8Array {
  const seed = Buffer.from(bytes(32))
  const padding = Buffer.alloc(BLOCK_LENGTH - 33 - 32 - 33)
  const data = Buffer.concat([createHash('sha256').digest(), padding, Buffer.of(1), KEY])
  change(data)
  const maskedData = masked(data, seed)
  return Buffer.concat([Buffer.of(0), masked(seed, maskedData), maskedData])
}

function masked(data: Buffer, seed: Buffer): Buffer {
  const blocks = Array.from({ length: Math.ceil(data.length / 20) }, (_, i) =>
    createHash('sha1')
      .update(seed)
      .update(Buffer.of(0, 0, 0, i))
      .digest(),
  )
  const mask = Buffer.concat(blocks)
  return Buffer.from(data.map((byte, i) => byte ^ mask[i]!))
}

test.run()
