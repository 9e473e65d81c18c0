import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  allocateSecret,
  ByteReader,
  ByteWriter,
  compareBytes,
  copySecret,
  equalBytes,
  fromUtf8,
  lossyUtf8,
  readU16,
  readU32,
  utf8,
  wipe,
} from '../src/bytes'
import { throws } from './support/expect'
import { bytes } from './support/keys'

test('text becomes UTF-8 and comes back, unchanged in any form', () => {
  for (const text of [
    '',
    'a',
    '\0',
    '\ufeff',
    '\ufeffa',
    'é',
    'e\u0301',
    '\uffff',
    '\u{1F600}',
    '\u{10FFFF}',
    'x'.repeat(5000),
  ]) {
    assert.is(fromUtf8(utf8(text)), text)
    assert.is(lossyUtf8(utf8(text)), text)
  }
  assert.equal([...utf8('\u{1F600}é')], [0xf0, 0x9f, 0x98, 0x80, 0xc3, 0xa9])
})

test('lone surrogates have no UTF-8', () => {
  for (const text of ['\ud800', '\udc00', 'a\ud83d', '\ude00\ud83d'])
    throws(() => utf8(text), TypeError, /lone surrogate/)
})

test('bytes that are not UTF-8 are not text', () => {
  for (const wrong of [
    '80',
    'c1',
    'c080',
    'c3',
    'e282',
    'eda080',
    'edbfbf',
    'f4908080',
    'f8888080',
    'ff',
    '6180',
    'c328',
  ]) {
    const invalid = Buffer.from(wrong, 'hex')
    assert.is(fromUtf8(invalid), undefined, wrong)
    assert.ok(lossyUtf8(invalid).includes('\ufffd'))
  }
})

test('bytes compare as unsigned numbers, a prefix first', () => {
  const order = ['', '00', '0000', '01', '7f', '80', '80ff', 'ff', 'ff00'].map((hex) => Buffer.from(hex, 'hex'))
  for (const [i, a] of order.entries()) {
    for (const [j, b] of order.entries()) {
      assert.is(Math.sign(compareBytes(a, b)), Math.sign(i - j))
      assert.is(equalBytes(a, b), i === j)
    }
  }
})

test('UTF-8 order is not the order of strings beyond the BMP', () => {
  const [tilde, emoji] = ['\uff5e', '\u{1f600}']
  assert.ok(emoji < tilde, 'by UTF-16')
  assert.ok(compareBytes(utf8(tilde), utf8(emoji)) < 0, 'by UTF-8')
})

test('secrets have memory of their own, and are wiped', () => {
  const secret = copySecret(bytes(16))
  assert.is(secret.buffer.byteLength, 16)
  assert.equal(secret, bytes(16))
  assert.equal(allocateSecret(3), new Uint8Array(3))
  wipe(secret, undefined)
  assert.equal(secret, new Uint8Array(16))
})

test('what a writer writes a reader reads', () => {
  const writer = new ByteWriter(18)
    .u8(0xfe)
    .u16(0xfedc)
    .u32(0xfedcba98)
    .u64(2 ** 53 - 1)
    .put(Buffer.from('end'))
  assert.is(Buffer.from(writer.bytes).toString('hex'), 'fefedcfedcba98001fffffffffffff656e64')
  const reader = new ByteReader(writer.bytes, 'thing')
  assert.equal([reader.u8(), reader.u16(), reader.u32(), reader.u64()], [0xfe, 0xfedc, 0xfedcba98, 2n ** 53n - 1n])
  assert.equal([reader.offset, reader.remaining], [15, 3])
  throws(() => reader.end(), 'ERR_MESSAGE_MALFORMED', /thing has bytes left over/)
  throws(() => reader.end('too much'), 'ERR_MESSAGE_MALFORMED', /^too much$/)
  assert.is(reader.text(3), 'end')
  reader.end()
})

test('a reader takes nothing that is not there, and stays where it was', () => {
  const reader = new ByteReader(Uint8Array.of(1), 'thing')
  const takes = [
    () => reader.u16(),
    () => reader.u32(),
    () => reader.u64(),
    () => reader.take(2),
    () => reader.text(0xffff),
  ]
  for (const take of takes)
    throws(take, 'ERR_MESSAGE_MALFORMED', /thing ends early: \d+ bytes needed at offset 0, 1 left/)
  assert.is(reader.u8(), 1)
  throws(() => reader.u8(), 'ERR_MESSAGE_MALFORMED')
  assert.is(reader.take(0).length, 0)
})

test('a reader reads views inside larger memory, and the largest numbers', () => {
  const memory = Buffer.alloc(24, 0xff)
  const reader = new ByteReader(memory.subarray(3, 18), 'thing')
  assert.equal([reader.u8(), reader.u16(), reader.u32(), reader.u64()], [0xff, 0xffff, 0xffffffff, 2n ** 64n - 1n])
  assert.equal([readU16(memory, 1), readU32(memory, 5)], [0xffff, 0xffffffff])
  throws(
    () => new ByteReader(Uint8Array.of(0xff), 'thing').text(1),
    'ERR_MESSAGE_MALFORMED',
    /thing holds invalid UTF-8/,
  )
})

test.run()
