import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeHeaderText, parseFlatJson, parseStringMap, serializeStringMap } from '../../src/format/s3-text'
import { throws } from '../support/expect'

const name = fc.string({ unit: 'binary', maxLength: 8 })
const parts = ['{', '"', ',', '\\', ':', '","', '\\"', '=?UTF-8?Q?a?=', '=?utf-8?b?YQ==?=']
const value = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(...parts))
const maps = fc.dictionary(name, value, { maxKeys: 6 })

test('what was written is read again, through ASCII', () => {
  fc.assert(
    fc.property(maps, (map) => {
      const text = serializeStringMap(map)
      assert.match(text, /^[ -~]*$/)
      assert.is(decodeHeaderText(text), text)
      assert.equal(Object.entries(parseStringMap(text, 'map')), Object.entries(JSON.parse(text)))
      assert.equal(Object.entries(parseStringMap(text, 'map')).sort(), Object.entries(map).sort())
    }),
  )
})

test('flat JSON in whatever form reads as JSON.parse reads it', () => {
  fc.assert(
    fc.property(maps, fc.constantFrom(0, 2, '\t'), (map, space) => {
      const text = JSON.stringify(map, null, space)
      assert.equal(parseFlatJson(text, 'map'), Object.entries(JSON.parse(text)))
    }),
  )
})

test('a name that is there twice is refused, however it is written', () => {
  fc.assert(
    fc.property(maps, name, value, value, (map, twice, first, second) => {
      const pairs = [...Object.entries(map), [twice, first], [twice, second]]
      const text = `{${pairs.map(([key, text]) => `${JSON.stringify(key)} : ${JSON.stringify(text)}`).join(' , ')}}`
      throws(() => parseFlatJson(text, 'map'), 'ERR_MESSAGE_MALFORMED', /twice/)
    }),
  )
  throws(() => parseFlatJson('{"a":1,"\\u0061":1}', 'map'), 'ERR_MESSAGE_MALFORMED', /twice/)
})

test('names of Object.prototype are names like any other', () => {
  const map = parseStringMap('{"__proto__":"a","constructor":"b"}', 'map')
  assert.equal(Object.entries(map), [
    ['__proto__', 'a'],
    ['constructor', 'b'],
  ])
  assert.is(Object.getPrototypeOf(map), null)
  throws(() => parseFlatJson('{"__proto__":"a","__proto__":"b"}', 'map'), 'ERR_MESSAGE_MALFORMED')
})

test('half a character is refused, in names and in values', () => {
  for (const text of ['{"\\ud800":"a"}', '{"a":"\\udc00"}'])
    throws(() => parseStringMap(text, 'map'), 'ERR_MESSAGE_MALFORMED', /lone surrogate/)
  assert.equal(Object.entries(parseStringMap('{"\\ud83d\\ude00":"a"}', 'map')), [['\u{1f600}', 'a']])
})

test('a header that S3 encoded gives the text that was sent', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const latin1 = Buffer.from(text, 'utf8').toString('latin1')
      const encoded = Buffer.from(latin1, 'utf8').toString('base64')
      const expected = text.includes('=?') ? decodeHeaderText(text) : text
      if (text !== '') assert.is(decodeHeaderText(`=?UTF-8?B?${encoded}?=`), /[^\0-\x7f]/.test(text) ? text : expected)
      assert.is(decodeHeaderText(latin1), expected)
    }),
  )
})

test('text that is not an encoded word stays as it is', () => {
  for (const text of [
    '',
    'a',
    '=?',
    '=?UTF-8?X?YQ==?=',
    '=?ISO-8859-1?Q?a?=',
    '=?UTF-8?B?YQ==',
    'a=?b?=',
    '=?UTF-8?B?/w==?=',
  ]) {
    assert.is(decodeHeaderText(text), text)
  }
  assert.is(decodeHeaderText('x =?utf-8?q?=41_b?= \r\n =?UTF-8?B?Yw==?= y'), 'x A bc y')
  assert.is(decodeHeaderText('caf\u00e9'), 'caf\u00e9', 'Latin-1 that is no UTF-8')
})

/** What S3 made of metadata that was sent: aws-sdk-ruby, gems/aws-sdk-s3/spec/encryptionv3/s3_rfc2047_spec.rb. */
const ENCODED_BY_S3: [sent: string, received: string][] = [
  ['Hello World', 'Hello World'],
  ['caf\u00e9', '=?UTF-8?Q?caf=C3=83=C2=A9?='],
  ['\u65e5\u672c\u8a9e', '=?UTF-8?B?w6bCl8Klw6bCnMKsw6jCqsKe?='],
  ['\u{1d573}', '=?UTF-8?B?w7DCncKVwrM=?='],
  ['\x80', '=?UTF-8?B?w4LCgA==?='],
  ['\uffff', '=?UTF-8?B?w6/Cv8K/?='],
  ['Hello caf\u00e9 \u4e2d\u6587 \u{1f600}', '=?UTF-8?B?SGVsbG8gY2Fmw4PCqSDDpMK4wq3DpsKWwocgw7DCn8KYwoA=?='],
  ['{"key":"\u00e5\u00e4\u00f6"}', '=?UTF-8?Q?{"key":"=C3=83=C2=A5=C3=83=C2=A4=C3=83=C2=B6"}?='],
  ['hello', '=?UTF-8?B?aGVs?= =?UTF-8?Q?lo?='],
  [
    '{"aws:x-amz-cek-alg":"AES/GCM/NoPadding","Some Data":"Some Data","l1Key":"\u00e5\u00e5\u00e5"}',
    '=?UTF-8?Q?{"aws:x-amz-cek-alg":"AES/GCM/NoPadding",?= =?UTF-8?Q?"Some_Data":"Some_Da?= =?UTF-8?Q?ta","l1Key":"=C3=83=C2=A5=C3=83=C2=A5=C3=83=C2=A5"}?=',
  ],
]

test('headers that were received from S3 give the text that was sent', () => {
  for (const [sent, received] of ENCODED_BY_S3) assert.is(decodeHeaderText(received), sent)
})

test('decoding takes time in proportion to the text', () => {
  for (const part of ['=?UTF-8?B?', '=?UTF-8?Q?a?= ', '=?UTF-8?B?YQ==?=', '"\\', '{"a":']) {
    decodeHeaderText(part.repeat(20_000))
    throws(() => parseFlatJson(part.repeat(10_000), 'map'), 'ERR_MESSAGE_MALFORMED')
  }
})

test.run()
