import { createCipheriv } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openCbc, openCbcPart, sealCbc, unwrapAesKey, withoutPadding } from '../../src/engine/legacy'
import { bytes } from '../support/keys'

const [KEY, IV] = [bytes(32), bytes(16, 9)]

/** Blocks in AES-CBC, whatever their padding is. */
function sealed(blocks: Uint8Array): Uint8Array {
  const cipher = createCipheriv('aes-256-cbc', KEY, IV).setAutoPadding(false)
  return Buffer.concat([cipher.update(blocks), cipher.final()])
}

test('every right padding is taken off, and every other is refused', () => {
  for (let length = 0; length <= 48; length++) {
    const plaintext = bytes(length)
    assert.equal(Buffer.from(openCbc(KEY, IV, sealCbc(KEY, IV, plaintext))!), Buffer.from(plaintext))
  }
  for (let last = 0; last < 256; last++) {
    const block = new Uint8Array(16).fill(last)
    assert.is(openCbc(KEY, IV, sealed(block))?.length, last >= 1 && last <= 16 ? 16 - last : undefined)
    // One byte of the padding is another.
    for (let at = 16 - last; last >= 2 && last <= 16 && at < 15; at++) {
      assert.is(openCbc(KEY, IV, sealed(block.with(at, last ^ 1))), undefined)
    }
  }
  for (const length of [0, 1, 15, 17, 31]) assert.is(openCbc(KEY, IV, new Uint8Array(length)), undefined)
  for (const length of [1, 15, 17, 31]) assert.is(openCbcPart(KEY, IV, new Uint8Array(length)), undefined)
})

test('what has no right padding is wiped', () => {
  for (const length of [8, 16, 32]) {
    const padded = new Uint8Array(length).fill(0x55)
    assert.is(withoutPadding(padded), undefined)
    assert.equal(padded, new Uint8Array(length))
  }
})

test('a wrapped key of a length that none has is refused', () => {
  for (const length of [0, 8, 16, 23, 25, 47]) assert.is(unwrapAesKey(KEY, new Uint8Array(length)), undefined)
})

test.run()
