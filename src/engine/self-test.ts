import { equalBytes } from '../bytes'
import type { Engine } from './engine'

/**
 * Checks a backend against known answers, before it touches a caller's data. Returns what it got wrong, or `undefined`.
 * Takes well under a millisecond.
 */
export function selfTest(engine: Engine): string | undefined {
  const sealed = new Uint8Array(PLAINTEXT.length + 16)
  const opened = new Uint8Array(PLAINTEXT.length)
  engine.seal(KEY, IV, AAD, PLAINTEXT, sealed)
  if (!equalBytes(sealed, SEALED)) return 'AES-GCM seals wrongly'
  if (!engine.open(KEY, IV, AAD, SEALED, opened) || !equalBytes(opened, PLAINTEXT)) return 'AES-GCM opens wrongly'
  sealed[0]! ^= 1
  if (engine.open(KEY, IV, AAD, sealed, opened) || opened.some(Boolean)) return 'AES-GCM opens what is not authentic'

  const ciphertext = SEALED.subarray(0, PLAINTEXT.length)
  const segments = [
    engine.sealSegment(KEY, IV, 2, PLAINTEXT.subarray(32), sealed.subarray(32, PLAINTEXT.length)),
    engine.openSegment(KEY, IV, 0, ciphertext.subarray(0, 32), opened.subarray(0, 32)),
  ]
  sealed.set(engine.combineSegments(KEY, IV, AAD, segments), PLAINTEXT.length)
  if (!equalBytes(sealed.subarray(32), SEALED.subarray(32))) return 'segments are sealed wrongly'
  if (!equalBytes(opened.subarray(0, 32), PLAINTEXT.subarray(0, 32))) return 'segments are opened wrongly'

  const run = { key: KEY, messageId: KEY, frameLength: 24, firstSequenceNumber: 1 }
  const frames = new Uint8Array(FRAMES.length)
  engine.sealFrames(run, PLAINTEXT, true, frames)
  if (!equalBytes(frames, FRAMES)) return 'frames are sealed wrongly'
  const { count, status } = engine.openFrames(run, FRAMES, opened)
  if (count !== 2 || status !== 'final' || !equalBytes(opened.subarray(0, 48), PLAINTEXT.subarray(0, 48))) {
    return 'frames are opened wrongly'
  }
  frames[60 + 16]! ^= 1
  const tampered = engine.openFrames(run, frames, opened)
  if (tampered.count !== 1 || tampered.status !== 'unauthentic') return 'frames are opened that are not authentic'

  if (!equalBytes(engine.hkdf('sha256', IKM, SALT, INFO, OKM.length), OKM)) return 'HKDF derives wrongly'
  if (equalBytes(engine.randomBytes(32), engine.randomBytes(32))) return 'random bytes repeat'
  return undefined
}

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))

// The GCM specification (McGrew and Viega), test case 16.
const KEY = bytes('feffe9928665731c6d6a8f9467308308'.repeat(2))
const IV = bytes('cafebabefacedbaddecaf888')
const AAD = bytes('feedfacedeadbeeffeedfacedeadbeefabaddad2')
const PLAINTEXT = bytes(
  'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
)
const SEALED = bytes(
  '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662' +
    '76fc6ece0f4e1768cddf8853bb2d551b',
)

// The same plaintext in two regular frames and a final one, by src/format/frame.ts and node:crypto.
const FRAMES = bytes(
  '00000001000000000000000000000001d657926629fdf8b0c9fb6019c1f8888cf1bf71f2a958bc0afc603a2f819b8713c519142db625f9f0' +
    '00000002000000000000000000000002fb9d3f5693a36a580954dce1ed432def69ab217565092a9a16832a08bc92c449632d185091f83644' +
    'ffffffff000000030000000000000000000000030000000cfe8d5fd59f777c7a445ee3b65286f5a9be03d0a43cc0740865070f70',
)

// RFC 5869, A.1.
const IKM = bytes('0b'.repeat(22))
const SALT = bytes('000102030405060708090a0b0c')
const INFO = bytes('f0f1f2f3f4f5f6f7f8f9')
const OKM = bytes('3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865')
