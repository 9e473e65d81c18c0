import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { headerAuthLength } from '../../src/format/header-layout'
import {
  HeaderParser,
  MAX_HEADER_LENGTH,
  type MessageHeader,
  parseHeader,
  peekIsSigned,
  peekKeyCount,
  peekPairCount,
  serializeHeaderBody,
} from '../../src/format/message-header'
import { EncryptedDataKey } from '../../src/index'
import { getSuite } from '../../src/suites'
import { throws } from '../support/expect'
import { bytes } from '../support/keys'
import { cutAt } from '../support/pieces'
import { vectors } from '../support/vectors'

const EDK = new EncryptedDataKey({ providerId: 'id', providerInfo: 'info', encryptedDataKey: bytes(5) })
const COMMON = {
  encryptionContext: { a: '1', b: '2' },
  encryptedDataKeys: [EDK, EDK],
  contentType: 2,
  frameLength: 4096,
} as const
const V1: MessageHeader = {
  version: 1,
  type: 0x80,
  suiteId: 0x0178,
  messageId: Buffer.from(bytes(16)),
  ...COMMON,
  headerIvLength: 12,
}
const V2: MessageHeader = {
  version: 2,
  suiteId: 0x0478,
  messageId: Buffer.from(bytes(32)),
  ...COMMON,
  suiteData: Buffer.from(bytes(32, 9)),
}
const hex = (value: Uint8Array) => Buffer.from(value).toString('hex')
const CONTEXT = '0002000161000131000162000132'
const EDKS = `0002${`00026964 0004696e666f 0005${hex(bytes(5))}`.replaceAll(' ', '').repeat(2)}`

test('headers, byte for byte', () => {
  const length = (CONTEXT.length / 2).toString(16).padStart(4, '0')
  assert.is(hex(serializeHeaderBody(V1)), `01800178${hex(bytes(16))}${length}${CONTEXT}${EDKS}02000000000c00001000`)
  assert.is(
    hex(serializeHeaderBody(V2)),
    `020478${hex(bytes(32))}${length}${CONTEXT}${EDKS}0200001000${hex(bytes(32, 9))}`,
  )
})

for (const header of [V1, V2]) {
  const body = serializeHeaderBody(header)
  const whole = Buffer.concat([body, bytes(headerAuthLength(getSuite(header.suiteId)), 100)])

  test(`version ${header.version}: the ID of a key provider is UTF-8`, () => {
    const changed = Buffer.from(whole)
    changed[changed.indexOf(Buffer.from('00026964', 'hex')) + 3] = 0xff
    throws(() => parseHeader(changed), 'ERR_MESSAGE_MALFORMED', /provider ID is not valid UTF-8/)
  })

  test(`version ${header.version}: what was serialized is read`, () => {
    const parsed = parseHeader(Buffer.concat([whole, bytes(50)]))
    const { encryptedDataKeys, encryptionContext, ...fields } = parsed.messageHeader
    const { encryptedDataKeys: _, encryptionContext: __, ...expected } = header
    assert.equal(fields, expected)
    assert.equal({ ...encryptionContext }, { a: '1', b: '2' })
    assert.equal(
      encryptedDataKeys.map((edk) => [edk.providerId, edk.providerInfo, hex(edk.encryptedDataKey)]),
      Array(2).fill(['id', 'info', hex(bytes(5))]),
    )
    assert.equal(
      [hex(parsed.body), hex(parsed.bytes), hex(parsed.tag)],
      [hex(body), hex(whole), hex(whole.subarray(-16))],
    )
    assert.is(hex(parsed.iv), header.version === 1 ? hex(whole.subarray(-28, -16)) : '00'.repeat(12))
    assert.ok(Object.isFrozen(parsed.messageHeader) && Object.isFrozen(encryptedDataKeys))
    const { messageId, suiteData } = { suiteData: undefined, ...parsed.messageHeader }
    for (const value of [messageId, suiteData, encryptedDataKeys[0]!.encryptedDataKey]) value?.fill(0)
    assert.is(hex(parsed.bytes), hex(whole), "a caller's writes do not reach the header")
  })

  test(`version ${header.version}: reads pieces of any size, takes no byte too many, and asks for more until the end`, () => {
    const input = Buffer.concat([whole, bytes(50)])
    for (let size = 1; size <= input.length; size++) {
      const parser = new HeaderParser()
      let taken = 0
      for (let at = 0; at < input.length && !parser.header; at += size)
        taken += parser.push(input.subarray(at, at + size))
      assert.is(taken, whole.length)
      assert.is(hex(parser.header!.bytes), hex(whole))
      assert.is(parser.push(input), 0)
    }
    for (let length = 0; length < whole.length; length++) {
      throws(() => parseHeader(whole.subarray(0, length)), 'ERR_MESSAGE_TRUNCATED', new RegExp(`after ${length} bytes`))
    }
  })
}

test('refuses on the first byte that breaks a rule, without waiting for more', () => {
  for (const [at, value] of [
    [0, 3],
    [2, 0xff],
  ] as const) {
    const whole = Buffer.from(serializeHeaderBody(V2))
    whole[at] = value
    const parser = new HeaderParser()
    throws(() => parser.push(whole), 'ERR_UNSUPPORTED_FORMAT')
    throws(() => parser.push(whole), 'ERR_INTERNAL', /refused before/)
  }
  const parser = new HeaderParser({ maxEncryptedDataKeys: 1 })
  const upToCount = serializeHeaderBody(V2).subarray(0, 37 + CONTEXT.length / 2 + 2)
  throws(() => parser.push(upToCount), 'ERR_LIMIT_EXCEEDED', /2 > 1/)
})

test('a field of an encrypted data key that is empty is refused as soon as its length is there', () => {
  const upToCount = serializeHeaderBody(V2).subarray(0, 37 + CONTEXT.length / 2 + 2)
  for (const fields of ['0000', '0001780000', '0001780001780000']) {
    const input = Buffer.concat([upToCount, Buffer.from(fields, 'hex')])
    throws(() => new HeaderParser().push(input), 'ERR_MESSAGE_MALFORMED', /Malformed encrypted data key/)
  }
})

test('how much work a header is can be seen before anything of it is checked, from as little as has come', () => {
  for (const header of [V1, V2]) {
    const seen = (bytes: Uint8Array) => [peekPairCount(bytes), peekKeyCount(bytes)]
    const whole = serializeHeaderBody(header)
    assert.equal(seen(whole), [2, 2])
    assert.equal(seen(serializeHeaderBody({ ...header, encryptionContext: {} })), [0, 2])
    const keysAt = (header.version === 1 ? 20 : 35) + 2 + CONTEXT.length / 2
    assert.equal(seen(whole.subarray(0, keysAt + 2)), [2, 2])
    assert.equal(seen(whole.subarray(0, keysAt + 1)), [2, 0])
    assert.equal(seen(new Uint8Array(0)), [0, 0])
    const suiteEnd = header.version === 1 ? 4 : 3
    const signed = serializeHeaderBody({ ...header, suiteId: header.version === 1 ? 0x0378 : 0x0578 } as MessageHeader)
    assert.ok(peekIsSigned(signed.subarray(0, suiteEnd)))
    assert.not.ok(peekIsSigned(signed.subarray(0, suiteEnd - 1)))
    assert.not.ok(peekIsSigned(whole))
  }
})

test('fields longer than their length can say are refused', () => {
  const long = new EncryptedDataKey({
    providerId: 'id',
    providerInfo: 'info',
    encryptedDataKey: new Uint8Array(65536).fill(1),
  })
  throws(() => serializeHeaderBody({ ...V2, encryptedDataKeys: [long] }), 'ERR_LIMIT_EXCEEDED', /65536, at most 65535/)
  throws(
    () => serializeHeaderBody({ ...V2, encryptedDataKeys: Array(65536).fill(EDK) }),
    'ERR_LIMIT_EXCEEDED',
    /number of/,
  )
  const fits = new EncryptedDataKey({
    providerId: 'x'.repeat(65535),
    providerInfo: 'i',
    encryptedDataKey: new Uint8Array(65535),
  })
  parseHeader(Buffer.concat([serializeHeaderBody({ ...V2, encryptedDataKeys: [fits] }), bytes(16)]))
})

test('a header longer than 16 MiB is not written: what is written can be read', () => {
  for (const header of [V1, V2]) {
    const auth = new Uint8Array(headerAuthLength(getSuite(header.suiteId)))
    const key = (length: number) =>
      new EncryptedDataKey({ providerId: 'id', providerInfo: 'info', encryptedDataKey: new Uint8Array(length) })
    const many = Array<EncryptedDataKey>(279).fill(key(60_000))
    const rest = MAX_HEADER_LENGTH - serializeHeaderBody({ ...header, encryptedDataKeys: [...many, key(1)] }).length + 1
    const longest = { ...header, encryptedDataKeys: [...many, key(rest - auth.length)] }
    const whole = Buffer.concat([serializeHeaderBody(longest), auth])
    assert.is(whole.length, MAX_HEADER_LENGTH)
    assert.is(parseHeader(whole).messageHeader.encryptedDataKeys.length, 280)
    const longer = { ...header, encryptedDataKeys: [...many, key(rest - auth.length + 1)] }
    throws(() => serializeHeaderBody(longer), 'ERR_LIMIT_EXCEEDED', /longer than 16777216 bytes/)
  }
})

test('key provider info that is empty is as not given: no header may hold it', () => {
  const rawInfo = new Uint8Array(0)
  const edk = new EncryptedDataKey({ providerId: 'id', providerInfo: 'info', encryptedDataKey: bytes(5), rawInfo })
  assert.equal(edk.rawInfo, EDK.rawInfo)
  assert.equal(serializeHeaderBody({ ...V2, encryptedDataKeys: [edk, edk] }), serializeHeaderBody(V2))
})

test('a header longer than 16 MiB is refused before it is there', () => {
  const edk = Buffer.concat([
    Buffer.of(0xff, 0xff),
    Buffer.alloc(65535, 1),
    Buffer.of(0xff, 0xff),
    Buffer.alloc(65535, 1),
    Buffer.of(0, 1, 1),
  ])
  const start = serializeHeaderBody({ ...V2, encryptionContext: {} }).subarray(0, 37)
  const parser = new HeaderParser()
  parser.push(start)
  parser.push(Buffer.of(0xff, 0xff))
  let length = 39
  const feed = () => {
    for (; length <= MAX_HEADER_LENGTH + edk.length; length += edk.length) parser.push(edk)
  }
  throws(feed, 'ERR_LIMIT_EXCEEDED', /longer than 16777216 bytes/)
  assert.ok(length <= MAX_HEADER_LENGTH)
})

test('every vector has the same header in pieces, or the same error', () => {
  for (const { description, message } of vectors()) {
    const input = Buffer.from(message, 'base64')
    const outcome = (pieces: Uint8Array[]) => {
      const parser = new HeaderParser()
      try {
        for (const piece of pieces) parser.push(piece)
        return parser.header ? hex(parser.header.bytes) : parser.truncated().code
      } catch (error) {
        return String(error)
      }
    }
    assert.is(outcome(cutAt(input, [1, 2, 5, 20, 38, 60, 61, 130])), outcome([input]), description)
  }
})

test.run()
