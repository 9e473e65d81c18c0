import { CURVES, derInteger, derSequence, random, SUITES, signingKey, u16 } from '../build'
import { bad, type Draft, flip, pairs, type Vector } from './case'

const MALFORMED = 'ERR_MESSAGE_MALFORMED'
const UNAUTHENTIC = 'ERR_AUTHENTICATION_FAILED'
const TRUNCATED = 'ERR_MESSAGE_TRUNCATED'
const SIGNED = [0x0214, 0x0378, 0x0578]

const key = (publicKey: Draft['publicKey'], suite = 0x0578): Draft => ({ suite, publicKey })
const signature = (change: NonNullable<Draft['signature']>): Draft => ({ suite: 0x0578, signature: change })
const lenient = 'takes any base64 that Buffer takes'
const { order } = CURVES.secp384r1

export const signatures: Vector[] = [
  ...SIGNED.flatMap((suite) => {
    const name = `suite ${suite.toString(16).padStart(4, '0')}`
    const another = signingKey('another', SUITES[suite]!.curve!)
    return [
      bad(`${name}: one bit of the signature`, UNAUTHENTIC, { suite, signature: (right) => flip(right, -1) }),
      bad(`${name}: a signature by another key`, UNAUTHENTIC, {
        suite,
        signature: () => another.sign(Buffer.from('x'), 'sha384'),
      }),
      bad(
        `${name}: the public key of another pair`,
        UNAUTHENTIC,
        key(() => another.point.toString('base64'), suite),
      ),
      bad(`${name}: a signature of other bytes`, UNAUTHENTIC, {
        suite,
        signature: (_, sign) => sign(Buffer.from('other bytes')),
      }),
      bad(`${name}: no footer`, TRUNCATED, { suite, footer: false }),
      bad(
        `${name}: half of the footer's length`,
        TRUNCATED,
        { suite },
        { mutate: ({ message, footer }) => message.subarray(0, message.length - footer.length + 1) },
      ),
      bad(
        `${name}: the last byte is missing`,
        TRUNCATED,
        { suite },
        { mutate: ({ message }) => message.subarray(0, -1) },
      ),
      bad(
        `${name}: no public key`,
        MALFORMED,
        key(() => undefined, suite),
      ),
      bad(
        `${name}: an uncompressed public key`,
        MALFORMED,
        key((_, uncompressed) => uncompressed.toString('base64'), suite),
      ),
    ]
  }),
  bad(
    'the other point of the same x',
    UNAUTHENTIC,
    key((point) => Buffer.concat([Buffer.of(point[0]! ^ 1), point.subarray(1)]).toString('base64')),
  ),
  bad(
    'a public key that is not on the curve',
    MALFORMED,
    key(() => Buffer.concat([Buffer.of(2), notOnP384()]).toString('base64')),
  ),
  bad(
    'a public key with x above the field',
    MALFORMED,
    key(() => Buffer.concat([Buffer.of(2), Buffer.alloc(48, 0xff)]).toString('base64')),
  ),
  bad(
    'the point at infinity',
    MALFORMED,
    key(() => Buffer.alloc(1).toString('base64')),
  ),
  bad(
    'a public key of zeros',
    MALFORMED,
    key(() => Buffer.alloc(49).toString('base64')),
  ),
  bad(
    'a public key with prefix 04',
    MALFORMED,
    key((point) => Buffer.concat([Buffer.of(4), point.subarray(1)]).toString('base64')),
  ),
  bad(
    'a public key with prefix 00',
    MALFORMED,
    key((point) => Buffer.concat([Buffer.of(0), point.subarray(1)]).toString('base64')),
  ),
  bad(
    'a public key with a byte too many',
    MALFORMED,
    key((point) => Buffer.concat([point, Buffer.of(0)]).toString('base64')),
  ),
  bad(
    'a public key with a byte too few',
    MALFORMED,
    key((point) => point.subarray(0, -1).toString('base64')),
  ),
  bad(
    'a public key of another curve',
    MALFORMED,
    key(() => signingKey('p256', 'prime256v1').point.toString('base64')),
  ),
  bad(
    'an empty public key',
    MALFORMED,
    key(() => ''),
  ),
  bad(
    'a public key in hexadecimal',
    MALFORMED,
    key((point) => point.toString('hex')),
  ),
  bad(
    'a public key in base64url',
    MALFORMED,
    key(() => base64urlPoint()),
  ),
  bad(
    'a public key with a line end',
    MALFORMED,
    key((point) => `${point.toString('base64')}\n`),
    { clientNode: lenient },
  ),
  bad(
    'a public key without padding',
    MALFORMED,
    key((point) => point.toString('base64').replace(/=+$/, '')),
    { clientNode: lenient },
  ),
  bad('a public key in the context of an unsigned suite', MALFORMED, {
    suite: 0x0478,
    context: pairs({ 'aws-crypto-public-key': signingKey('unsigned', 'secp384r1').point.toString('base64') }),
  }),
  bad('a public key in the context of an unsigned suite, version 1', MALFORMED, {
    suite: 0x0178,
    context: pairs({ 'aws-crypto-public-key': '' }),
  }),

  bad('a signature of 0 bytes', MALFORMED, { suite: 0x0578, signature: () => Buffer.alloc(0) }),
  bad('a signature of 513 bytes', MALFORMED, { suite: 0x0578, signature: () => random('long', 513) }),
  bad('a signature of 65535 bytes that are not there', MALFORMED, { suite: 0x0578, signatureLength: 0xffff }),
  bad('a signature of one byte', UNAUTHENTIC, { suite: 0x0578, signature: () => Buffer.of(0x30) }),
  bad(
    'a footer a byte longer than said',
    UNAUTHENTIC,
    signature((right) => right),
    { mutate: ({ message, footer }) => resized(message, footer, -1) },
  ),
  bad(
    'a footer a byte shorter than said',
    TRUNCATED,
    signature((right) => right),
    { mutate: ({ message, footer }) => resized(message, footer, 1) },
  ),
  bad(
    'a byte after the signature, inside the footer',
    UNAUTHENTIC,
    signature((right) => Buffer.concat([right, Buffer.of(0)])),
  ),
  bad(
    'a byte after the footer',
    'ERR_TRAILING_DATA',
    { suite: 0x0578 },
    { mutate: ({ message }) => Buffer.concat([message, Buffer.of(0)]) },
  ),
  bad(
    'a second footer',
    'ERR_TRAILING_DATA',
    { suite: 0x0378 },
    { mutate: ({ message, footer }) => Buffer.concat([message, footer]) },
  ),
  bad(
    'r and s side by side, not in DER',
    UNAUTHENTIC,
    signature((right) => Buffer.concat([numbers(right)[0].value, numbers(right)[1].value])),
  ),
  bad(
    'r is 0',
    UNAUTHENTIC,
    signature((right) => derSequence(derInteger(0n), derInteger(numbers(right)[1].integer))),
  ),
  bad(
    's is 0',
    UNAUTHENTIC,
    signature((right) => derSequence(derInteger(numbers(right)[0].integer), derInteger(0n))),
  ),
  bad(
    'r and s are 0',
    UNAUTHENTIC,
    signature(() => derSequence(derInteger(0n), derInteger(0n))),
  ),
  bad(
    'r is the order',
    UNAUTHENTIC,
    signature((right) => derSequence(derInteger(order), derInteger(numbers(right)[1].integer))),
  ),
  bad(
    's is larger by the order',
    UNAUTHENTIC,
    signature((right) =>
      derSequence(derInteger(numbers(right)[0].integer), derInteger(numbers(right)[1].integer + order)),
    ),
  ),
  bad(
    "r and s in each other's place",
    UNAUTHENTIC,
    signature((right) => derSequence(derInteger(numbers(right)[1].integer), derInteger(numbers(right)[0].integer))),
  ),
  bad(
    'an integer with a needless zero',
    UNAUTHENTIC,
    signature((right) => {
      const [r, s] = numbers(right)
      return derSequence(Buffer.concat([Buffer.of(2, r.value.length + 1, 0), r.value]), derInteger(s.integer))
    }),
  ),
  bad(
    'the length in the long form of BER',
    UNAUTHENTIC,
    signature((right) => Buffer.concat([Buffer.of(0x30, 0x81), right.subarray(1)])),
  ),
  bad(
    'the body changed, with the signature of the right one',
    UNAUTHENTIC,
    { suite: 0x0378 },
    {
      mutate: ({ headerBody, headerAuth, frames, footer }) =>
        Buffer.concat([headerBody, headerAuth, flip(frames[0]!, 8 * 20), ...frames.slice(1), footer]),
    },
  ),
]

function numbers(signature: Buffer): [{ value: Buffer; integer: bigint }, { value: Buffer; integer: bigint }] {
  const rEnd = 4 + signature[3]!
  const parts = [signature.subarray(4, rEnd), signature.subarray(rEnd + 2)]
  return parts.map((value) => ({ value, integer: BigInt(`0x${value.toString('hex')}`) })) as ReturnType<typeof numbers>
}

/** The footer's length field off by some bytes; the bytes stay. */
function resized(message: Buffer, footer: Buffer, by: number): Buffer {
  const start = message.length - footer.length
  return Buffer.concat([message.subarray(0, start), u16(footer.length - 2 + by), footer.subarray(2)])
}

/** A point whose base64 has a character that base64url writes otherwise. */
function base64urlPoint(): string {
  for (let i = 0; ; i++) {
    const { point } = signingKey(`base64url ${i}`, 'secp384r1')
    if (/[+/]/.test(point.toString('base64'))) return point.toString('base64url')
  }
}

/** An x for which x^3 - 3x + b is no square modulo p. */
function notOnP384(): Buffer {
  const p = 2n ** 384n - 2n ** 128n - 2n ** 96n + 2n ** 32n - 1n
  const b = 0xb3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aefn
  const power = (base: bigint, exponent: bigint): bigint => {
    let result = 1n
    for (let square = base % p, rest = exponent; rest > 0n; rest >>= 1n, square = (square * square) % p) {
      if (rest & 1n) result = (result * square) % p
    }
    return result
  }
  for (let x = 5n; ; x++) {
    if (power(x ** 3n - 3n * x + b, (p - 1n) / 2n) === p - 1n)
      return Buffer.from(x.toString(16).padStart(96, '0'), 'hex')
  }
}
