import { createHash } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { md5 } from '../../src/engine/md5'
import { bytes } from '../support/keys'

test('agrees with OpenSSL at every length around its blocks', () => {
  for (let length = 0; length <= 200; length++) {
    const input = bytes(length)
    assert.equal(Buffer.from(md5(input)), createHash('md5').update(input).digest(), `${length} bytes`)
  }
})

test.run()
