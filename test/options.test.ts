import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  checkBoolean,
  checkBytes,
  checkInteger,
  checkOneOf,
  checkOptions,
  checkString,
  describe,
  isRecord,
} from '../src/options'
import { throws } from './support/expect'

test('options are an object of known keys, or nothing', () => {
  const check = (options: unknown) => checkOptions<{ a?: number; b?: number }>(options as never, ['a', 'b'], 'thing')
  assert.equal(check(undefined), {})
  for (const good of [{}, { a: 1 }, { b: undefined }, Object.create(null)]) assert.is(check(good), good)
  for (const wrong of [null, 0, 'a', true, [], () => {}, new Map(), Promise.resolve(), new Date()]) {
    throws(() => check(wrong), TypeError, /the options of thing must be an object, got /)
  }
  throws(() => check({ a: 1, c: 1 }), TypeError, /unknown option "c" of thing: it takes "a", "b"/)
  throws(() => check({ A: 1 }), TypeError, /unknown option "A"/)
  throws(() => check(JSON.parse('{"__proto__":1}')), TypeError, /unknown option "__proto__"/)
})

test('what was put into every object is no option', () => {
  const check = (options: unknown) => ({ ...checkOptions<{ a?: number }>(options as never, ['a'], 'thing') })
  class Inherits {
    own = 1
    get a() {
      return 2
    }
  }
  Object.defineProperty(Object.prototype, 'a', { value: 5, configurable: true, enumerable: true })
  try {
    for (const none of [undefined, {}]) {
      assert.is(checkOptions<{ a?: number }>(none, ['a'], 'thing').a, undefined)
    }
    for (const a of [1, 5]) assert.equal(check({ a }), { a })
    assert.is(checkOptions<Inherits>(new Inherits(), ['own', 'a'], 'thing').a, 2)
  } finally {
    delete (Object.prototype as { a?: number }).a
  }
})

test('a record is read by its own keys', () => {
  class Fields {
    a = 1
  }
  class Getters {
    get a() {
      return 1
    }
  }
  for (const good of [{}, { a: 1 }, Object.create(null), new Fields()]) assert.ok(isRecord(good))
  for (const wrong of [null, [], new Getters(), new Map([['a', 1]]), new Set(), Promise.resolve({})])
    assert.not.ok(isRecord(wrong))
})

test('integers', () => {
  for (const good of [1, 2, 5]) assert.is(checkInteger(good, 'n', 1, 5), good)
  for (const wrong of [0, 6, -1, 1.5, Number.NaN, Infinity]) {
    throws(() => checkInteger(wrong, 'n', 1, 5), RangeError, /"n" must be an integer from 1 to 5, got /)
  }
  for (const wrong of ['1', 1n, null, undefined, true, {}, [1], Symbol('1'), new Number(1)]) {
    throws(() => checkInteger(wrong, 'n', 1, 5), TypeError, /"n" must be a number, got /)
  }
})

test('strings, booleans, choices', () => {
  assert.is(checkString('a', 's'), 'a')
  assert.is(checkString('', 's', { allowEmpty: true }), '')
  throws(() => checkString('', 's'), RangeError, /"s" must not be empty/)
  for (const wrong of [5, null, undefined, new String('a'), ['a']])
    throws(() => checkString(wrong, 's'), TypeError, /"s"/)
  assert.is(checkBoolean(false, 'b'), false)
  for (const wrong of [0, 1, 'true', null, undefined])
    throws(() => checkBoolean(wrong, 'b'), TypeError, /"b" must be true or false/)
  assert.is(checkOneOf('x', 'o', ['x', 'y']), 'x')
  for (const wrong of ['z', 'X', null, undefined, 5, ['x']])
    throws(() => checkOneOf(wrong, 'o', ['x', 'y']), RangeError, /"o" must be one of x, y/)
})

test('bytes are told by what they are, not by how they look', () => {
  for (const good of [new Uint8Array(0), Buffer.of(1), new Uint8Array(new SharedArrayBuffer(1))])
    assert.is(checkBytes(good, 'b'), good)
  const wrong = [
    new ArrayBuffer(1),
    new DataView(new ArrayBuffer(1)),
    new Uint16Array(1),
    new Uint8ClampedArray(1),
    [1],
  ]
  for (const each of [
    ...wrong,
    'text',
    null,
    undefined,
    { length: 1 },
    Object.create(Uint8Array.prototype),
    new Proxy(Buffer.of(1), {}),
  ]) {
    throws(() => checkBytes(each, 'b'), TypeError, /"b" must be a Buffer or Uint8Array, got /)
  }
})

test('a value is spoken of without being told', () => {
  const said: [unknown, string][] = [
    [null, 'null'],
    [undefined, 'undefined'],
    [5, '5'],
    [Number.NaN, 'NaN'],
    [true, 'true'],
    ['short', '"short"'],
    ['x'.repeat(21), 'a string of 21 characters'],
    [() => 'secret', 'a function'],
    [[1, 2], 'an array'],
    [Buffer.from('secret'), 'a Buffer of 6 bytes'],
    [new Uint16Array(3), 'a Uint16Array of 6 bytes'],
    [{ key: 'secret' }, 'a value of type Object'],
    [Object.create(null), 'a value of type object'],
    [new (class {})(), 'a value of type object'],
    [new Map(), 'a value of type Map'],
    [5n, 'a bigint'],
    [Symbol('secret'), 'a symbol'],
  ]
  for (const [value, text] of said) assert.is(describe(value), text)
})

test.run()
