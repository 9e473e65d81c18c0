import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  bodyAad,
  frameIv,
  framesLength,
  MAX_GCM_LENGTH,
  maxPlaintextLength,
  parseFinalFrameHeader,
  parseSingleBlockHeader,
  serializeFinalFrameHeader,
  serializeRegularFrameHeader,
} from '../../src/format/frame'
import { parseFooterHeader, serializeFooter } from '../../src/format/message-footer'
import { throws } from '../support/expect'
import { bytes } from '../support/keys'
import { u64 } from '../vectors/messages/build'

const hex = (value: Uint8Array) => Buffer.from(value).toString('hex')

const LENGTHS: [plaintext: number, frame: number, frames: number][] = [
  [0, 1, 40],
  [1, 1, 1 + 32 + 40],
  [3, 4, 3 + 40],
  [4, 4, 4 + 32 + 40],
  [5, 4, 5 + 32 + 40],
  [8, 4, 8 + 64 + 40],
  [0, 2 ** 32 - 1, 40],
  [2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1 + 72],
  [2 ** 53 - 2 ** 30, 2 ** 32 - 1, 2 ** 53 - 2 ** 30 + Math.floor((2 ** 53 - 2 ** 30) / (2 ** 32 - 1)) * 32 + 40],
]

test('the length of frames follows from that of the plaintext', () => {
  for (const [plaintext, frame, frames] of LENGTHS) {
    assert.is(framesLength(plaintext, frame, true), frames)
    assert.is(framesLength(plaintext, frame, false), frames - 40)
  }
})

test('the plaintext of a body is never longer than was thought, and as long without a footer', () => {
  for (let frame = 1; frame < 40; frame++) {
    for (let plaintext = 0; plaintext < 200; plaintext++) {
      const extraEmpty = framesLength(plaintext, frame, true)
      const fullFinal = plaintext > 0 && plaintext % frame === 0 ? extraEmpty - 32 : extraEmpty
      for (const length of [extraEmpty, fullFinal]) assert.ok(maxPlaintextLength(length, frame, true) >= plaintext)
      assert.is(maxPlaintextLength(36 + plaintext, frame, false), plaintext)
    }
  }
  for (const length of [0, 1, 39, 40]) assert.is(maxPlaintextLength(length, 4096, true), 0)
  for (const length of [0, 35, 36]) assert.is(maxPlaintextLength(length, 0, false), 0)
  assert.is(maxPlaintextLength(100, 2 ** 32 - 1, true), 60, 'by what there is, not by what the header says')
})

test('frame headers, byte for byte', () => {
  assert.is(hex(frameIv(1)), '000000000000000000000001')
  assert.is(hex(frameIv(2 ** 32 - 1)), '0000000000000000ffffffff')
  assert.is(hex(serializeRegularFrameHeader(0x01020304)), '01020304000000000000000001020304')
  assert.is(hex(serializeFinalFrameHeader(2, 0xfffffffe)), 'ffffffff00000002000000000000000000000002fffffffe')
})

test('AAD, byte for byte', () => {
  const text = (part: string) => Buffer.from(`AWSKMSEncryptionClient ${part}`).toString('hex')
  assert.is(hex(bodyAad(bytes(16), 'frame', 7, 4096)), `${hex(bytes(16))}${text('Frame')}000000070000000000001000`)
  assert.is(
    hex(bodyAad(bytes(32), 'final frame', 2 ** 32 - 1, 0)),
    `${hex(bytes(32))}${text('Final Frame')}ffffffff0000000000000000`,
  )
  assert.is(
    hex(bodyAad(bytes(16), 'single block', 1, MAX_GCM_LENGTH)),
    `${hex(bytes(16))}${text('Single Block')}000000010000000fffffffe0`,
  )
})

test('the header of a final frame is read with every rule', () => {
  const header = serializeFinalFrameHeader(3, 10)
  assert.is(parseFinalFrameHeader(header, 3, 10), 10)
  throws(() => parseFinalFrameHeader(header, 2, 10), 'ERR_MESSAGE_MALFORMED', /out of order/)
  throws(() => parseFinalFrameHeader(header, 3, 9), 'ERR_MESSAGE_MALFORMED', /exceeds frame length. 10 > 9/)
  header[8] = 1
  throws(() => parseFinalFrameHeader(header, 3, 10), 'ERR_MESSAGE_MALFORMED', /IV of frame 3/)
})

test('the header of a single block is read with every rule', () => {
  const header = (length: bigint) => Buffer.concat([frameIv(1), u64(length)])
  for (const length of [0n, 1n, BigInt(MAX_GCM_LENGTH)])
    assert.is(parseSingleBlockHeader(header(length)), Number(length))
  for (const length of [BigInt(MAX_GCM_LENGTH) + 1n, 2n ** 53n, 2n ** 64n - 1n]) {
    throws(() => parseSingleBlockHeader(header(length)), 'ERR_MESSAGE_MALFORMED', /out of bounds/)
  }
  throws(() => parseSingleBlockHeader(Buffer.concat([frameIv(2), u64(1n)])), 'ERR_MESSAGE_MALFORMED', /IV/)
})

test('footers', () => {
  assert.is(hex(serializeFooter(bytes(3))), `0003${hex(bytes(3))}`)
  for (const length of [1, 104, 512]) assert.is(parseFooterHeader(Buffer.of(length >> 8, length & 255)), length)
  for (const length of [0, 513, 65535]) {
    throws(() => parseFooterHeader(Buffer.of(length >> 8, length & 255)), 'ERR_MESSAGE_MALFORMED', /Invalid Signature/)
  }
})

test.run()
