import { random, u16, u32 } from '../build'
import { AES_128, AES_256, bad, flip, type Vector, withAes } from './case'

const MALFORMED = 'ERR_MESSAGE_MALFORMED'
const UNSUPPORTED = 'ERR_UNSUPPORTED_FORMAT'
const UNAUTHENTIC = 'ERR_AUTHENTICATION_FAILED'
const POLICY = 'ERR_COMMITMENT_POLICY'
const V1 = 0x0178
const V2 = 0x0478
const unchecked = 'does not compare content type and frame length'

const v2Commitment = (change: (right: Buffer) => Buffer) => ({ suite: V2, commitment: change })

export const header: Vector[] = [
  ...[0, 3, 0x80, 0xff].map((version) => bad(`version ${version}`, UNSUPPORTED, { suite: V2, version })),
  bad('version 1 said of a version 2 message', MALFORMED, { suite: V2, version: 1 }),
  bad('version 2 said of a version 1 message', UNSUPPORTED, { suite: V1, version: 2 }),
  ...[V1, V2].map((suite) =>
    bad(
      `base64 text of a message of suite ${suite.toString(16)}`,
      UNSUPPORTED,
      { suite },
      { mutate: ({ message }) => Buffer.from(message.toString('base64')) },
    ),
  ),
  ...[0, 0x7f, 0x81].map((type) => bad(`type ${type}`, MALFORMED, { suite: V1, type })),

  ...[0x0000, 0x0115, 0x0070, 0x0073, 0x0074, 0x6700, 0x6701, 0xffff].map((suiteField) =>
    bad(`version 2, suite ${suiteField.toString(16)}`, UNSUPPORTED, { suite: V2, suiteField }),
  ),
  ...[0x0578, 0x0478].map((suiteField) =>
    bad(`version 1, suite ${suiteField.toString(16)}`, UNSUPPORTED, { suite: V1, suiteField }),
  ),
  ...[0x0014, 0x0178, 0x0378].map((suiteField) =>
    bad(`version 2, suite ${suiteField.toString(16)} of version 1`, UNSUPPORTED, { suite: V2, suiteField }),
  ),
  bad(
    'a suite without key derivation in place of one with',
    UNAUTHENTIC,
    { suite: 0x0178 },
    { mutate: ({ message }) => replace(message, 2, u16(0x0078)) },
  ),
  bad(
    'a suite with a shorter key',
    'ERR_NO_DATA_KEY',
    { suite: 0x0178 },
    { mutate: ({ message }) => replace(message, 2, u16(0x0114)) },
  ),
  bad(
    'a signed suite made unsigned, version 1',
    MALFORMED,
    { suite: 0x0378 },
    { mutate: ({ message }) => replace(message, 2, u16(0x0178)) },
  ),
  bad(
    'a signed suite made unsigned, version 2',
    MALFORMED,
    { suite: 0x0578 },
    { mutate: ({ message }) => replace(message, 1, u16(0x0478)) },
  ),
  bad(
    'an unsigned suite made signed',
    MALFORMED,
    { suite: V2 },
    { mutate: ({ message }) => replace(message, 1, u16(0x0578)) },
  ),

  ...[0, 3, 0xff].map((contentType) =>
    bad(`content type ${contentType}, version 2`, MALFORMED, { suite: V2, contentType }),
  ),
  bad('content type 0, version 1', MALFORMED, { suite: V1, contentType: 0 }),
  ...[1, 0x80000000].map((reserved) =>
    bad(`reserved bytes ${reserved.toString(16)}`, MALFORMED, { suite: V1, reserved }),
  ),
  ...[0, 11, 13, 16].map((ivLength) => bad(`IV length ${ivLength}`, MALFORMED, { suite: V1, ivLength })),
  ...[V1, V2].flatMap((suite) => [
    bad(`frames of 0 bytes, suite ${suite.toString(16)}`, MALFORMED, { suite, headerFrameLength: 0 }),
    bad(
      `no frames, but a frame length, suite ${suite.toString(16)}`,
      MALFORMED,
      { suite, framed: false, headerFrameLength: 4096 },
      { clientNode: unchecked },
    ),
  ]),
  bad(
    'frames of 0 bytes, empty final frame',
    MALFORMED,
    { suite: V2, headerFrameLength: 0, plaintext: Buffer.alloc(0) },
    { clientNode: unchecked },
  ),

  bad(
    'commitment: first bit',
    UNAUTHENTIC,
    v2Commitment((right) => flip(right, 7)),
  ),
  bad(
    'commitment: last bit',
    UNAUTHENTIC,
    v2Commitment((right) => flip(right, -8)),
  ),
  bad(
    'commitment: zeros',
    UNAUTHENTIC,
    v2Commitment((right) => Buffer.alloc(right.length)),
  ),
  bad(
    "commitment: another message's",
    UNAUTHENTIC,
    v2Commitment((right) => random('another commitment', right.length)),
  ),
  bad('commitment: a data key other than the one committed to', UNAUTHENTIC, {
    suite: V2,
    wrap: (_, context) => withAes(AES_256)('not committed')(random('another data key', 32), context),
  }),
  bad('commitment: signed, first bit', UNAUTHENTIC, { suite: 0x0578, commitment: (right) => flip(right, 0) }),

  ...[V1, V2, 0x0378, 0x0578].flatMap((suite) => [
    bad(`header tag: first bit, suite ${suite.toString(16)}`, UNAUTHENTIC, {
      suite,
      headerTag: (right) => flip(right, 7),
    }),
    bad(`header tag: last bit, suite ${suite.toString(16)}`, UNAUTHENTIC, {
      suite,
      headerTag: (right) => flip(right, -8),
    }),
  ]),
  bad('header tag: zeros', UNAUTHENTIC, { suite: V2, headerTag: () => Buffer.alloc(16) }),
  bad(
    'header IV: another than the tag was made with',
    UNAUTHENTIC,
    { suite: V1 },
    { mutate: ({ message, headerBody }) => replace(message, headerBody.length, Buffer.of(1)) },
  ),
  bad('message ID: one bit, version 1', UNAUTHENTIC, { suite: V1 }, { mutate: ({ message }) => flip(message, 8 * 4) }),
  bad('message ID: one bit, version 2', UNAUTHENTIC, { suite: V2 }, { mutate: ({ message }) => flip(message, 8 * 3) }),
  bad(
    'message ID: one bit, no key derivation',
    UNAUTHENTIC,
    { suite: 0x0078 },
    { mutate: ({ message }) => flip(message, 8 * 4) },
  ),
  bad(
    'frame length: another than was authenticated',
    UNAUTHENTIC,
    { suite: V1 },
    {
      mutate: ({ message, headerBody }) => replace(message, headerBody.length - 4, u32(33)),
    },
  ),
  bad(
    'content type: another than was authenticated',
    UNAUTHENTIC,
    { suite: V2, framed: false },
    {
      mutate: ({ message, headerBody }) => replace(message, headerBody.length - 37, Buffer.of(2, 0, 0, 0, 70)),
    },
  ),

  ...[0x0014, 0x0178, 0x0378].map((suite) =>
    bad(
      `suite ${suite.toString(16)}, where the policy requires commitment`,
      POLICY,
      { suite },
      { policy: 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT' },
    ),
  ),
  bad(
    'the policy comes before the keyring',
    POLICY,
    { suite: V1, wrap: withAes(AES_128)('policy first') },
    { policy: 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT' },
  ),

  ...[0, 1, 2, 3, 10, 34, 35, 36].map((length) => truncated(`the header ends after ${length} bytes`, V2, () => length)),
  ...[1, 3, 4, 19, 20].map((length) => truncated(`the header ends after ${length} bytes, version 1`, V1, () => length)),
  truncated('the header ends inside the encrypted data keys', V2, () => 60),
  truncated('the header ends inside the commitment', V2, (headerBody) => headerBody - 1),
  truncated('the header ends before its tag', V2, (headerBody) => headerBody),
  truncated('the header ends inside its tag', V2, (headerBody) => headerBody + 15),
  truncated('the header ends inside its IV', V1, (headerBody) => headerBody + 11),
]

function truncated(description: string, suite: number, length: (headerBody: number) => number): Vector {
  return bad(
    description,
    'ERR_MESSAGE_TRUNCATED',
    { suite },
    { mutate: ({ message, headerBody }) => message.subarray(0, length(headerBody.length)) },
  )
}

function replace(message: Buffer, at: number, bytes: Buffer): Buffer {
  return Buffer.concat([message.subarray(0, at), bytes, message.subarray(at + bytes.length)])
}
