import { createHmac } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { deriveCommittedKey, deriveMessageKeys } from '../../src/engine/derive'
import { loadNative } from '../../src/engine/native'
import { nodeEngine } from '../../src/engine/node'
import { AlgorithmSuiteIdentifier } from '../../src/index'
import { getSuite } from '../../src/suites'
import { watchDerivedKeys } from '../support/derived-keys'
import { throws } from '../support/expect'
import { bytes } from '../support/keys'

const SUITES = Object.values(AlgorithmSuiteIdentifier).filter((id) => typeof id === 'number')

for (const engine of [loadNative().engine!, nodeEngine]) {
  for (const id of SUITES) {
    const suite = getSuite(id)
    const dataKey = bytes(suite.keyLengthBytes, 5)
    const messageId = bytes(suite.messageFormat === 1 ? 16 : 32, 77)

    test(`${engine.info().backend}: suite ${id.toString(16)} derives what RFC 5869 says`, () => {
      const { key, commitment } = deriveMessageKeys(engine, suite, dataKey, messageId)
      assert.equal(Buffer.from(key), expectedKey(id, dataKey, messageId))
      const committed = suite.commitment === 'KEY'
      const expected = committed ? hkdf('sha512', dataKey, messageId, Buffer.from('COMMITKEY'), 32) : undefined
      assert.equal(commitment && Buffer.from(commitment), expected)
      assert.is.not(key.buffer, dataKey.buffer, 'a key of its own, to be wiped on its own')
    })

    test(`${engine.info().backend}: suite ${id.toString(16)} leaves no key behind that was not committed to`, () => {
      if (suite.commitment === 'NONE') return
      const { watched, derived } = watchDerivedKeys(engine)
      throws(
        () => deriveCommittedKey(watched, suite, dataKey, messageId, new Uint8Array(32)),
        'ERR_AUTHENTICATION_FAILED',
      )
      assert.equal([...derived[0]!], new Array(suite.keyLengthBytes).fill(0))
    })

    test(`${engine.info().backend}: suite ${id.toString(16)} refuses another commitment`, () => {
      const { key, commitment = new Uint8Array(0) } = deriveMessageKeys(engine, suite, dataKey, messageId)
      assert.equal(deriveCommittedKey(engine, suite, dataKey, messageId, commitment), key)
      if (suite.commitment === 'NONE') return
      for (const wrong of [
        commitment.map((byte, i) => (i === 31 ? byte ^ 1 : byte)),
        commitment.subarray(1),
        new Uint8Array(0),
      ]) {
        throws(() => deriveCommittedKey(engine, suite, dataKey, messageId, wrong), 'ERR_AUTHENTICATION_FAILED')
      }
    })
  }
}

function expectedKey(id: number, dataKey: Uint8Array, messageId: Uint8Array): Buffer {
  const { kdfHash, commitment, keyLengthBytes } = getSuite(id)
  const suiteId = Buffer.of(id >> 8, id & 0xff)
  if (!kdfHash) return Buffer.from(dataKey)
  if (commitment === 'KEY')
    return hkdf(kdfHash, dataKey, messageId, Buffer.concat([suiteId, Buffer.from('DERIVEKEY')]), 32)
  return hkdf(kdfHash, dataKey, Buffer.alloc(0), Buffer.concat([suiteId, messageId]), keyLengthBytes)
}

/** RFC 5869 over HMAC; one block is enough here. */
function hkdf(hash: string, key: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Buffer {
  const hmac = (secret: Uint8Array, ...parts: Uint8Array[]) =>
    createHmac(hash, secret).update(Buffer.concat(parts)).digest()
  return hmac(hmac(salt, key), info, Buffer.of(1)).subarray(0, length)
}

test.run()
