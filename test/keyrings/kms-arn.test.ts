import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  checkKeyId,
  inRegion,
  isMultiRegion,
  isNamedBy,
  isSameKey,
  multiRegionId,
  parseArn,
  parseKeyArn,
  regionOf,
} from '../../src/keyrings/kms-arn'
import { throws } from '../support/expect'

const KEY = 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'
const MRK = 'arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab'
const ALIAS = 'arn:aws:kms:us-east-1:111122223333:alias/some/name'

const MALFORMED_ARNS = [
  'arn:aws:kms:us-east-1:111122223333:key',
  'arn:aws:kms:us-east-1:111122223333:key/',
  'arn:aws:kms:us-east-1:111122223333:key:1234',
  'arn:aws:kms:us-east-1:111122223333:key/1234:5678',
  'arn:aws:kms:us-east-1:111122223333:grant/1234',
  'arn:aws:kms:us-east-1::key/1234',
  'arn:aws:kms::111122223333:key/1234',
  'arn:aws:dynamodb:us-east-1:111122223333:key/1234',
  'arn::kms:us-east-1:111122223333:key/1234',
  'ARN:aws:kms:us-east-1:111122223333:key/1234',
  'arn:aws:kms:evil.example/#:111122223333:key/1234',
  'arn:aws:kms:us-east-1.evil.example:111122223333:key/1234',
  `arn:aws:kms:${'a'.repeat(64)}:111122223333:key/1234`,
  ':::::',
]
const MALFORMED_NAMES = ['', 'key/1234', 'a/b', 'alias', 'alias/', '/']

test('splits key and alias ARNs', () => {
  assert.equal(parseArn(ALIAS), {
    partition: 'aws',
    region: 'us-east-1',
    accountId: '111122223333',
    resourceType: 'alias',
    resourceId: 'some/name',
  })
  assert.is(parseKeyArn(KEY)?.resourceId, '1234abcd-12ab-34cd-56ef-1234567890ab')
  assert.is(parseKeyArn('arn:aws-cn:kms:cn-north-1:1:key/x')?.partition, 'aws-cn')
  assert.is(parseKeyArn(ALIAS), undefined)
  for (const text of [...MALFORMED_ARNS, ...MALFORMED_NAMES, '1234', 'alias/name'])
    assert.is(parseArn(text), undefined, text)
})

test('accepts every way to name a key', () => {
  for (const id of [KEY, MRK, ALIAS, '1234abcd-12ab', 'mrk-1234', 'alias/a', 'alias/some/name', 'aliasing']) {
    assert.is(checkKeyId(id, 'keyIds'), id)
  }
})

test('refuses everything else with the option and the value', () => {
  for (const text of MALFORMED_ARNS)
    throws(() => checkKeyId(text, 'keyIds'), RangeError, /^Malformed arn\. "keyIds" .* got /)
  for (const text of MALFORMED_NAMES)
    throws(() => checkKeyId(text, 'keyIds'), RangeError, /^Malformed resource\. "keyIds" /)
  for (const value of [undefined, null, 5, {}, [KEY]]) throws(() => checkKeyId(value, 'keyIds'), TypeError, /"keyIds"/)
})

test('finds the Region, which names without an ARN do not have', () => {
  assert.is(regionOf(KEY), 'us-east-1')
  assert.is(regionOf(ALIAS), 'us-east-1')
  for (const name of ['1234', 'alias/a', 'mrk-1']) assert.is(regionOf(name), '')
})

test('knows which key an identifier can mean', () => {
  assert.ok(isNamedBy(KEY, KEY))
  assert.ok(isNamedBy(KEY, '1234abcd-12ab-34cd-56ef-1234567890ab'))
  assert.ok(isNamedBy(KEY, 'alias/anything'))
  assert.ok(isNamedBy(KEY, ALIAS))
  assert.not(isNamedBy(KEY, MRK))
  assert.not(isNamedBy(KEY, '1234abcd'))
  assert.not(isNamedBy(KEY, ALIAS.replace('us-east-1', 'us-east-2')))
  assert.not(isNamedBy(KEY, ALIAS.replace('1111', '4444')))
  assert.not(isNamedBy(KEY, ALIAS.replace('aws', 'aws-cn')))
  assert.not(isNamedBy(MRK, MRK.replace('us-east-1', 'us-east-2')))
  for (const answer of [ALIAS, 'alias/anything', '1234abcd', '', 'arn:aws:kms:us-east-1:1:key/']) {
    assert.not(isNamedBy(answer, answer), answer)
    assert.not(isNamedBy(answer, 'alias/anything'), answer)
  }
})

test('knows multi-Region keys, and takes only their Region for a detail', () => {
  assert.ok(isMultiRegion(parseArn(MRK)!))
  assert.not(isMultiRegion(parseArn(KEY)!))
  assert.not(isMultiRegion(parseArn(ALIAS.replace('some/name', 'mrk-1'))!))
  assert.is(multiRegionId(MRK), 'mrk-1234abcd12ab34cd56ef1234567890ab')
  assert.is(multiRegionId('mrk-1'), 'mrk-1')
  for (const id of [KEY, ALIAS, '1234', 'alias/mrk-1']) assert.is(multiRegionId(id), undefined)

  const elsewhere = MRK.replace('us-east-1', 'eu-west-1')
  assert.is(inRegion(parseArn(MRK)!, 'eu-west-1'), elsewhere)
  assert.ok(isSameKey(MRK, elsewhere))
  assert.ok(isSameKey(KEY, KEY))
  assert.ok(isSameKey('1234', '1234'))
  assert.not(isSameKey(KEY, KEY.replace('us-east-1', 'eu-west-1')))
  assert.not(isSameKey('mrk-1234abcd12ab34cd56ef1234567890ab', MRK))
  for (const [part, other] of [
    ['1111', '4444'],
    ['aws', 'aws-cn'],
    ['90ab', '90ac'],
    ['key/', 'alias/'],
  ] as const) {
    assert.not(isSameKey(MRK, elsewhere.replace(part, other)), other)
  }
})

test.run()
