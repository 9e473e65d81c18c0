import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  checkEncryptionContext,
  copyContext,
  emptyContext,
  parseContext,
  serializeContext,
  withPair,
} from '../src/encryption-context'
import { throws } from './support/expect'

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1')

test('serialized as count and pairs, sorted by bytes; nothing when empty', () => {
  assert.is(serializeContext({}).length, 0)
  assert.is(latin1(serializeContext({ b: '', a: '12', '': 'x' })), '\0\x03\0\0\0\x01x\0\x01a\0\x0212\0\x01b\0\0')
})

test('sorted by the bytes of UTF-8: U+FF5E before U+1F600', () => {
  const keys = ['\u{1F600}', '\uFF5E', 'z', 'é', 'Z', 'a', '10', '9']
  const context = Object.fromEntries(keys.map((key) => [key, '']))
  assert.equal(Object.keys(parseContext(serializeContext(context))).slice(2), [
    'Z',
    'a',
    'z',
    'é',
    '\uFF5E',
    '\u{1F600}',
  ])
})

test('sorted by localeCompare on demand, with what it finds equal sorted by bytes', () => {
  const sorted = (context: Record<string, string>) =>
    latin1(serializeContext(context, 'locale')).replace(/[^aAbB1-9]/g, '')
  assert.is(sorted({ B: '2', a: '1', A: '3', b: '4' }), 'a1A3b4B2')
  for (const keys of [
    ['é', 'e\u0301'],
    ['a', 'a\0'],
    ['1', '\u00011'],
  ]) {
    const [one, two] = [keys, [...keys].reverse()].map((names) => Object.fromEntries(names.map((name) => [name, ''])))
    assert.equal(serializeContext(one!, 'locale'), serializeContext(two!, 'locale'))
  }
})

test('65535 bytes fit, one more does not', () => {
  assert.is(serializeContext({ k: 'v'.repeat(65535 - 7) }).length, 65535)
  throws(() => serializeContext({ k: 'v'.repeat(65535 - 6) }), 'ERR_LIMIT_EXCEEDED', /65536 bytes, at most 65535/)
  throws(() => serializeContext({ k: 'é'.repeat(33000) }), 'ERR_LIMIT_EXCEEDED')
})

test('what objects inherit is a key like any other', () => {
  const given = JSON.parse('{"__proto__":"a","constructor":"b","toString":"c"}') as Record<string, string>
  const checked = checkEncryptionContext(given)
  const read = parseContext(serializeContext(checked))
  for (const context of [checked, read, copyContext(read), withPair(read, 'constructor', 'b')]) {
    assert.equal(Object.entries(context).sort(), [
      ['__proto__', 'a'],
      ['constructor', 'b'],
      ['toString', 'c'],
    ])
    // As with client-node: what was read has no methods, what programs make or look at does.
    assert.is(Object.getPrototypeOf(context), context === read ? null : Object.prototype)
    assert.ok(Object.isFrozen(context))
  }
  assert.not.ok('toString' in parseContext(new Uint8Array(0)))
  const more = withPair(checkEncryptionContext(given), '__proto__x', 'd')
  assert.is(Object.keys(more).length, 4)
  assert.not.ok('a' in emptyContext())
})

test('text is neither normalized nor trimmed', () => {
  const given = { é: '1', 'e\u0301': '2', ' a ': ' ', '\0': '\0', '\ufeff': '\ufeff' }
  assert.equal({ ...parseContext(serializeContext(given)) }, given)
})

test('lone surrogates are refused', () => {
  for (const context of [{ '\ud800': '' }, { a: '\udfff' }])
    throws(() => serializeContext(context), TypeError, /lone surrogate/)
})

test('a caller passes strings, and not the reserved key', () => {
  for (const wrong of [null, 'a', 5, [], new Map([['a', 'b']]), Promise.resolve({})]) {
    throws(() => checkEncryptionContext(wrong), TypeError, /"encryptionContext" must be an object of strings/)
  }
  for (const value of [5, null, undefined, {}, ['a'], true]) {
    throws(() => checkEncryptionContext({ a: value }), TypeError, /must hold strings, got .* for key "a"/)
  }
  throws(() => checkEncryptionContext({ 'aws-crypto-public-key': '' }), 'ERR_ENCRYPTION_CONTEXT', /not allowed/)
  class Own {
    a = '1'
  }
  assert.equal({ ...checkEncryptionContext(new Own()) }, { a: '1' })
  const given = { a: '1' }
  const copy = checkEncryptionContext(given)
  given.a = '2'
  assert.is(copy.a, '1')
})

test('order is not checked when reading, all else is', () => {
  assert.equal({ ...parseContext(Buffer.from('\0\x02\0\x01b\0\0\0\x01a\0\0', 'latin1')) }, { a: '', b: '' })
  assert.equal({ ...parseContext(Buffer.of(0, 0)) }, {})
  const wrong: [string, RegExp][] = [
    ['\0', /ends early/],
    ['\0\x01', /ends early/],
    ['\0\0\0', /Overflow, too much data/],
    ['\0\x01\0\x01a\0\0\0', /Overflow, too much data/],
    ['\0\x02\0\x01a\0\0', /ends early/],
    ['\0\x01\0\x05a\0\0', /ends early/],
    ['\0\x02\0\x01a\0\0\0\x01a\0\x01b', /Duplicate/],
    ['\0\x01\0\x01\xff\0\0', /invalid UTF-8/],
    ['\0\x01\0\x01a\0\x01\x80', /invalid UTF-8/],
  ]
  for (const [bytes, message] of wrong)
    throws(() => parseContext(Buffer.from(bytes, 'latin1')), 'ERR_MESSAGE_MALFORMED', message)
})

test.run()
