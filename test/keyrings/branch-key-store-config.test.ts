import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type KmsConfig, KmsKeyConfig } from '../../src/index'
import { throws } from '../support/expect'

const ARN = 'arn:aws:kms:us-east-1:111122223333:key/12345678-1234-4234-8234-123456789012'
const OTHER = ARN.replace('us-east-1', 'eu-west-1')
const MRK = 'arn:aws:kms:us-east-1:111122223333:key/mrk-12345678123442348234123456789012'
const OTHER_MRK = MRK.replace('us-east-1', 'eu-west-1')
const ALIAS = 'arn:aws:kms:us-east-1:111122223333:alias/test'

const configs: KmsConfig[] = [
  'discovery',
  { identifier: ARN },
  { identifier: MRK },
  { mrkIdentifier: ARN },
  { mrkIdentifier: MRK },
  { region: 'eu-west-1' },
  { region: 'us-east-1' },
]

for (const config of configs) {
  test(`decides as client-node does: ${JSON.stringify(config)}`, () => {
    const [ours, theirs] = [new KmsKeyConfig(config), new peer.KmsKeyConfig(config)]
    assert.is(ours.getRegion(), theirs.getRegion())
    assert.equal(ours.config, config)
    for (const arn of [ARN, OTHER, MRK, OTHER_MRK, ALIAS, 'x']) {
      const [compatible, same] = [
        attempt(() => ours.isCompatibleWithArn(arn)),
        attempt(() => theirs.isCompatibleWithArn(arn)),
      ]
      assert.is(compatible, same, arn)
      assert.is(
        attempt(() => ours.getCompatibleArnArn(arn)),
        attempt(() => theirs.getCompatibleArnArn(arn)),
        arn,
      )
    }
  })
}

test('takes key ARNs only, and exactly one way to say which', () => {
  const make = (config: unknown) => () => new KmsKeyConfig(config as KmsConfig)
  for (const config of [undefined, null, 0])
    throws(make(config), TypeError, /Config must be a `discovery` or an object/)
  throws(make('other'), RangeError, /Unexpected config shape/)
  throws(make({}), TypeError, /Unexpected config shape/)
  throws(make({ identifier: ARN, region: 'x' }), TypeError, /Unexpected config shape/)
  throws(make({ arn: ARN }), TypeError, /unknown option "arn"/)
  throws(make({ identifier: 5 }), TypeError, /ARN must be a string/)
  for (const identifier of [ALIAS, 'alias/x', '', ARN.replace('kms', 's3')]) {
    throws(make({ identifier }), RangeError, /must be a well-formed AWS KMS non-alias resource arn/)
    throws(make({ mrkIdentifier: identifier }), RangeError, /must be a well-formed AWS KMS non-alias resource arn/)
  }
  throws(make({ region: '' }), RangeError, /"region"/)
})

test('cannot be changed through what it was made of', () => {
  const config = { identifier: ARN }
  const kept = new KmsKeyConfig(config)
  config.identifier = OTHER
  assert.is(config.identifier, OTHER, 'it belongs to the caller still')
  Object.assign(kept.config as object, { identifier: OTHER })
  assert.equal(kept.config, { identifier: ARN })
})

function attempt<T>(call: () => T): T | 'refused' {
  try {
    return call()
  } catch {
    return 'refused'
  }
}

test.run()
