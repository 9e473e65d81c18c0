import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AlgorithmSuiteIdentifier, MessageFormat, NodeAlgorithmSuite } from '../src/index'
import { getSuite } from '../src/suites'
import { throws } from './support/expect'
import { SUITES } from './vectors/messages/build'

const IDS = Object.values(AlgorithmSuiteIdentifier).filter((id) => typeof id === 'number')

test('the suites are those of the specification, with the names and ids of client-node', () => {
  assert.equal({ ...AlgorithmSuiteIdentifier }, { ...peer.AlgorithmSuiteIdentifier })
  assert.equal({ ...MessageFormat }, { ...peer.MessageFormat })
  assert.equal(IDS, Object.keys(SUITES).map(Number))
})

for (const id of IDS) {
  test(`${AlgorithmSuiteIdentifier[id]} has client-node's properties`, () => {
    const theirs = new peer.NodeAlgorithmSuite(id as number as peer.AlgorithmSuiteIdentifier)
    assert.equal({ ...getSuite(id) }, JSON.parse(JSON.stringify(theirs)))
    assert.is(getSuite(id), getSuite(id))
    const { keyLength, hash, curve, commits } = SUITES[id]!
    const { keyLengthBytes, kdfHash, signatureCurve, commitment } = getSuite(id)
    assert.equal(
      [keyLengthBytes, kdfHash, signatureCurve, commitment],
      [keyLength, hash, curve, commits ? 'KEY' : 'NONE'],
    )
  })
}

test('other ids are refused', () => {
  for (const id of [0, 0x0070, 0x0073, 0x0115, 0x6700, -1, 0.5, Number.NaN, '1400', null, undefined, {}]) {
    throws(() => getSuite(id as never), 'ERR_UNSUPPORTED_FORMAT', /^Unsupported algorithm suite\./)
    throws(() => new NodeAlgorithmSuite(id as never), 'ERR_UNSUPPORTED_FORMAT')
  }
})

test('suites are frozen, with their class', () => {
  const suite = getSuite(0x0578)
  for (const value of [suite, NodeAlgorithmSuite, NodeAlgorithmSuite.prototype, AlgorithmSuiteIdentifier])
    assert.ok(Object.isFrozen(value))
  throws(() => Object.assign(suite, { commitment: 'NONE' }), TypeError)
})

test.run()
