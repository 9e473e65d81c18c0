import { type Built, type Frame, frameIv, random } from '../build'
import { bad, type Draft, type Extra, flip, plaintextOf, type Vector } from './case'

const MALFORMED = 'ERR_MESSAGE_MALFORMED'
const UNAUTHENTIC = 'ERR_AUTHENTICATION_FAILED'
const TRUNCATED = 'ERR_MESSAGE_TRUNCATED'
const V2 = 0x0478

/** Three frames: 32, 32 and 6 bytes. */
const frames = (change: (frames: Frame[]) => Frame[]): Draft => ({ suite: V2, frames: change })
const patch = (at: number, fields: Partial<Frame>) =>
  frames((list) => list.map((frame, i) => (i === at ? { ...frame, ...fields } : frame)))
const renumbered = (at: number, sequenceNumber: number) => patch(at, { sequenceNumber, iv: frameIv(sequenceNumber) })
const block = (fields: Partial<Frame>, suite = V2): Draft => ({
  suite,
  framed: false,
  frames: ([whole]) => [{ ...whole!, ...fields }],
})
const cutAt = (length: (built: Built) => number): Extra => ({
  mutate: (built) => built.message.subarray(0, length(built)),
})
const appended = (...bytes: number[]): Extra => ({
  mutate: ({ message }) => Buffer.concat([message, Buffer.from(bytes)]),
})
const headerLength = ({ headerBody, headerAuth }: Built) => headerBody.length + headerAuth.length
const FRAME = 32 + 32
const ignored = 'ignores what follows an unsigned message'
const anyIv = 'uses whatever IV the message has'

export const body: Vector[] = [
  ...[0, 1, 2].flatMap((at) => [
    bad(
      `frame ${at + 1}: a bit of its tag`,
      UNAUTHENTIC,
      { suite: V2 },
      { mutate: (built) => flipInFrame(built, at, -1) },
    ),
    bad(
      `frame ${at + 1}: a bit of its content`,
      UNAUTHENTIC,
      { suite: V2 },
      { mutate: (built) => flipInFrame(built, at, -8 * 17) },
    ),
    bad(`frame ${at + 1}: sealed under another key`, UNAUTHENTIC, patch(at, { key: random('another key', 32) })),
    bad(
      `frame ${at + 1}: sealed for another message`,
      UNAUTHENTIC,
      patch(at, { aad: { messageId: random('another message', 32) } }),
    ),
    bad(`frame ${at + 1}: sealed for another place`, UNAUTHENTIC, patch(at, { aad: { sequenceNumber: 7 } })),
    bad(`frame ${at + 1}: sealed for another length`, UNAUTHENTIC, patch(at, { aad: { length: 7 } })),
    bad(
      `frame ${at + 1}: sealed as a part of another kind`,
      UNAUTHENTIC,
      patch(at, { aad: { part: at === 2 ? 'Frame' : 'Final Frame' } }),
    ),
    bad(`frame ${at + 1}: an IV that is not its number`, MALFORMED, patch(at, { iv: random('an IV', 12) }), {
      clientNode: anyIv,
    }),
    bad(`frame ${at + 1}: number 0`, MALFORMED, renumbered(at, 0)),
    bad(`frame ${at + 1}: the number of the one before`, MALFORMED, renumbered(at, at)),
    bad(`frame ${at + 1}: the number of the one after`, MALFORMED, renumbered(at, at + 2)),
  ]),
  bad('the final frame is number 2^32-1', MALFORMED, renumbered(2, 0xffffffff)),
  bad(
    "two frames in each other's place",
    MALFORMED,
    frames(([a, b, c]) => [b!, a!, c!]),
  ),
  bad(
    "two frames in each other's place, renumbered",
    UNAUTHENTIC,
    frames(([a, b, c]) => [
      { ...a!, content: b!.content, aad: { sequenceNumber: 2 } },
      { ...b!, content: a!.content, aad: { sequenceNumber: 1 } },
      c!,
    ]),
  ),
  bad(
    'a frame twice',
    MALFORMED,
    frames(([a, b, c]) => [a!, a!, b!, c!]),
  ),
  bad(
    'a frame left out',
    MALFORMED,
    frames(([a, , c]) => [a!, c!]),
  ),
  bad(
    'the final frame first',
    MALFORMED,
    frames(([a, b, c]) => [c!, a!, b!]),
  ),
  bad(
    'a second final frame',
    'ERR_TRAILING_DATA',
    frames((list) => [...list, finalFrame(4)]),
    { clientNode: ignored },
  ),
  bad(
    'a regular frame after the final one',
    'ERR_TRAILING_DATA',
    frames((list) => [...list, { ...list[0]!, sequenceNumber: 4, iv: frameIv(4) }]),
    { clientNode: ignored },
  ),
  bad('a second final frame, signed', MALFORMED, { suite: 0x0578, frames: (list) => [...list, finalFrame(4)] }),
  bad(
    'no final frame',
    TRUNCATED,
    frames(([a, b]) => [a!, b!]),
  ),
  bad(
    'no frames at all',
    TRUNCATED,
    frames(() => []),
  ),
  bad('no frames at all, signed', MALFORMED, { suite: 0x0578, frames: () => [] }),
  bad('the final frame one byte longer than frames may be', MALFORMED, {
    suite: V2,
    plaintext: plaintextOf(97),
    frames: ([a, b, , d]) => [a!, b!, { ...finalFrame(3), content: Buffer.concat([plaintextOf(32), d!.content]) }],
  }),
  bad('the final frame claims 2^32-1 bytes', MALFORMED, patch(2, { claimedLength: 0xffffffffn })),
  bad('the final frame claims a byte less', UNAUTHENTIC, patch(2, { claimedLength: 5n })),
  bad('the final frame claims a byte more', TRUNCATED, patch(2, { claimedLength: 7n })),
  bad('frames of 2^32-1 bytes, of which the message has none', TRUNCATED, {
    suite: V2,
    frameLength: 0xffffffff,
    frames: ([a]) => [{ ...a!, final: false }],
  }),
  bad('frames longer than maxBodySize', 'ERR_LIMIT_EXCEEDED', { suite: V2 }, { options: { maxBodySize: 31 } }),
  bad(
    'a final frame longer than maxBodySize',
    'ERR_LIMIT_EXCEEDED',
    { suite: V2, plaintext: plaintextOf(20) },
    { options: { maxBodySize: 19 } },
  ),

  bad('the body ends before it begins', TRUNCATED, { suite: V2 }, cutAt(headerLength)),
  ...[1, 3, 4, 15, 16, FRAME - 1].map((length) =>
    bad(
      `the body ends ${length} bytes into a frame`,
      TRUNCATED,
      { suite: V2 },
      cutAt((built) => headerLength(built) + length),
    ),
  ),
  bad(
    'the body ends between frames',
    TRUNCATED,
    { suite: V2 },
    cutAt((built) => headerLength(built) + FRAME),
  ),
  ...[1, 4, 7, 8, 20, 23, 24, 29, 45].map((length) =>
    bad(
      `the body ends ${length} bytes into the final frame`,
      TRUNCATED,
      { suite: V2 },
      cutAt((built) => headerLength(built) + 2 * FRAME + length),
    ),
  ),
  bad(
    'the body ends inside an empty final frame',
    TRUNCATED,
    { suite: V2, plaintext: plaintextOf(64) },
    cutAt(({ message }) => message.length - 1),
  ),
  bad(
    'the body ends before an empty final frame',
    TRUNCATED,
    { suite: V2, plaintext: plaintextOf(64) },
    cutAt(({ message }) => message.length - 40),
  ),
  bad('one byte after the message', 'ERR_TRAILING_DATA', { suite: V2 }, { ...appended(0), clientNode: ignored }),
  bad(
    'one byte after the message, version 1',
    'ERR_TRAILING_DATA',
    { suite: 0x0178 },
    { ...appended(0x0a), clientNode: ignored },
  ),
  bad(
    'a second message after the message',
    'ERR_TRAILING_DATA',
    { suite: V2 },
    { mutate: ({ message }) => Buffer.concat([message, message]), clientNode: ignored },
  ),
  bad(
    'one byte after a message without frames',
    'ERR_TRAILING_DATA',
    { suite: V2, framed: false },
    { ...appended(0), clientNode: ignored },
  ),

  ...[0x0178, V2].flatMap((suite) => {
    const name = `no frames, suite ${suite.toString(16)}`
    return [
      bad(
        `${name}: a bit of the tag`,
        UNAUTHENTIC,
        { suite, framed: false },
        { mutate: (built) => flipInFrame(built, 0, -1) },
      ),
      bad(
        `${name}: a bit of the content`,
        UNAUTHENTIC,
        { suite, framed: false },
        { mutate: (built) => flipInFrame(built, 0, -8 * 17) },
      ),
      bad(`${name}: sealed as a final frame`, UNAUTHENTIC, block({ aad: { part: 'Final Frame' } }, suite)),
      bad(`${name}: sealed for another place`, UNAUTHENTIC, block({ aad: { sequenceNumber: 2 } }, suite)),
      bad(`${name}: an IV that is not 1`, MALFORMED, block({ iv: random('an IV', 12) }, suite), { clientNode: anyIv }),
      bad(`${name}: claims a byte less`, UNAUTHENTIC, block({ claimedLength: 69n }, suite)),
      bad(`${name}: claims a byte more`, TRUNCATED, block({ claimedLength: 71n }, suite)),
    ]
  }),
  bad('no frames: more bytes than AES-GCM can seal', MALFORMED, block({ claimedLength: 2n ** 36n - 31n })),
  bad('no frames: 2^64-1 bytes', MALFORMED, block({ claimedLength: 2n ** 64n - 1n })),
  bad(
    'no frames: as many bytes as AES-GCM can seal, which are not there',
    TRUNCATED,
    block({ claimedLength: 2n ** 36n - 32n }),
  ),
  bad(
    'no frames: longer than maxBodySize',
    'ERR_LIMIT_EXCEEDED',
    { suite: V2, framed: false },
    { options: { maxBodySize: 69 } },
  ),
  ...[0, 11, 12, 19, 20, 89, 105].map((length) =>
    bad(
      `no frames: ends after ${length} bytes`,
      TRUNCATED,
      { suite: V2, framed: false },
      cutAt((built) => headerLength(built) + length),
    ),
  ),
]

function finalFrame(sequenceNumber: number): Frame {
  return { final: true, sequenceNumber, iv: frameIv(sequenceNumber), content: plaintextOf(5) }
}

/** Bits count from the end of the frame. */
function flipInFrame({ headerBody, headerAuth, frames, footer }: Built, at: number, bit: number): Buffer {
  return Buffer.concat([
    headerBody,
    headerAuth,
    ...frames.map((frame, i) => (i === at ? flip(frame, bit) : frame)),
    footer,
  ])
}
