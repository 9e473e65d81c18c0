import { CURVES, derInteger, derSequence, type Edk, random, rawAesEdk, SUITES } from '../build'
import {
  AES_128,
  AES_192,
  AES_256,
  contextBytes,
  good,
  pairs,
  plaintextOf,
  type Vector,
  withAes,
  withRsa,
} from './case'

const LENGTHS = [0, 1, 31, 32, 33, 64, 65, 100]
const hex = (suite: number) => suite.toString(16).padStart(4, '0')

const CONTEXTS: Record<string, Record<string, string>> = {
  'one pair': { purpose: 'vectors' },
  'mixed case': { a: '1', B: '2', c: '3', A: '4', b: '5' },
  'beyond the BMP': { '\u{1F600}': 'emoji', '\uFF5E': 'tilde', é: 'NFC', 'e\u0301': 'NFD' },
  'empty key and value': { '': '', k: '' },
  'names that objects inherit': { constructor: 'a', hasOwnProperty: 'b', toString: 'c' },
  'control characters and NUL': { '\0': '\0\n\t', '\u007f': '\u0085' },
}

export const valid: Vector[] = [
  ...Object.keys(SUITES).flatMap((id) => {
    const suite = Number(id)
    return [70, 64].map((length) =>
      good(`suite ${hex(suite)}, ${length} bytes`, {
        suite,
        plaintext: plaintextOf(length),
        context: pairs({ purpose: 'vectors' }),
      }),
    )
  }),
  ...LENGTHS.map((length) =>
    good(`${length} bytes in frames of 32`, { suite: 0x0478, plaintext: plaintextOf(length) }),
  ),
  ...[32, 64].map((length) =>
    good(`${length} bytes in frames of 32, the last frame full`, {
      suite: 0x0478,
      plaintext: plaintextOf(length),
      fullFinal: true,
    }),
  ),
  good('64 bytes in frames of 32, the last frame full, signed', {
    suite: 0x0578,
    plaintext: plaintextOf(64),
    fullFinal: true,
  }),
  good('frames of one byte', { suite: 0x0578, plaintext: plaintextOf(20), frameLength: 1 }),
  good('frames of 2^32-1 bytes, of which one short one', { suite: 0x0478, frameLength: 0xffffffff }),
  good('frames of 4096 bytes', { suite: 0x0578, plaintext: plaintextOf(5000), frameLength: 4096 }),

  ...[0x0014, 0x0178, 0x0378, 0x0478, 0x0578].map((suite) =>
    good(`no frames, suite ${hex(suite)}`, { suite, framed: false }),
  ),
  good('no frames and no bytes', { suite: 0x0478, framed: false, plaintext: plaintextOf(0) }),

  ...Object.entries(CONTEXTS).map(([name, context]) =>
    good(`context: ${name}`, { suite: 0x0478, context: pairs(context) }),
  ),
  good('context: __proto__ as a key', { suite: 0x0478, context: [['__proto__', 'polluted']] }),
  good('context: 300 pairs', {
    suite: 0x0478,
    context: pairs(Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`key ${i}`, `${i}`]))),
  }),
  good('context: 65535 bytes, all that fit', { suite: 0x0478, context: [['k', 'v'.repeat(65535 - 2 - 4 - 1)]] }),
  good('context: pairs out of order in the header', {
    suite: 0x0478,
    contextBytes: contextBytes([
      ['b', '2'],
      ['a', '1'],
    ]),
    wrap: (dataKey) => [rawAesEdk('out of order', AES_256, dataKey, contextBytes(pairs({ a: '1', b: '2' })))],
  }),
  good('context: a count of zero in two bytes', {
    suite: 0x0478,
    contextBytes: Buffer.alloc(2),
    wrap: (dataKey) => withAes(AES_256)('zero')(dataKey, Buffer.alloc(0)),
  }),
  good(
    'context: the wrapped key bound to it in the order of localeCompare',
    {
      suite: 0x0478,
      context: pairs({ a: '1', B: '2' }),
      wrap: (dataKey) => [
        rawAesEdk(
          'locale',
          AES_256,
          dataKey,
          contextBytes([
            ['a', '1'],
            ['B', '2'],
          ]),
        ),
      ],
    },
    { keyring: 'aes-256 in locale order' },
  ),
  good(
    'context: the required pair is there',
    { suite: 0x0478, context: pairs({ purpose: 'vectors', more: '' }) },
    { options: { encryptionContext: { purpose: 'vectors' } } },
  ),

  good('raw AES-128', { suite: 0x0578, wrap: withAes(AES_128)('raw AES-128') }, { keyring: 'aes-128' }),
  good('raw AES-192', { suite: 0x0578, wrap: withAes(AES_192)('raw AES-192') }, { keyring: 'aes-192' }),
  ...['sha1', 'sha256', 'sha384', 'sha512'].map((hash) =>
    good(
      `raw RSA, OAEP with ${hash}`,
      { suite: 0x0578, wrap: withRsa(hash)(`OAEP ${hash}`), context: pairs({ a: 'b' }) },
      { keyring: `rsa-oaep-${hash}` },
    ),
  ),
  good('several encrypted data keys, the last one opens', {
    suite: 0x0578,
    wrap: withAes(AES_128, AES_192, AES_256)('last'),
  }),
  good(
    'as many encrypted data keys as allowed',
    { suite: 0x0478, wrap: withAes(AES_128, AES_192, AES_256)('three') },
    { options: { maxEncryptedDataKeys: 3 } },
  ),
  good('an encrypted data key of its own name that does not open, then one that does', {
    suite: 0x0478,
    wrap: (dataKey, context) => [
      rawAesEdk('broken', { ...AES_256, key: random('a key nobody has', 32) }, dataKey, context),
      rawAesEdk('whole', AES_256, dataKey, context),
    ],
  }),
  good('key provider info that is not UTF-8, of another keyring', {
    suite: 0x0478,
    wrap: (dataKey, context) => [
      other({ info: Buffer.of(0xff, 0xfe, 0x80) }),
      rawAesEdk('info', AES_256, dataKey, context),
    ],
  }),
  good('300 encrypted data keys of others', {
    suite: 0x0478,
    wrap: (dataKey, context) => [
      ...Array.from({ length: 300 }, () => other({})),
      rawAesEdk('300', AES_256, dataKey, context),
    ],
  }),
  good(
    'a multi-keyring: the second child opens',
    { suite: 0x0578, wrap: withRsa('sha256')('multi RSA') },
    { keyring: 'multi' },
  ),
  good(
    'a multi-keyring: the third child opens',
    { suite: 0x0578, wrap: withAes(AES_256)('multi AES') },
    { keyring: 'multi' },
  ),

  good('version 1: a header IV that is not zero', { suite: 0x0178, headerIv: random('header IV', 12) }),
  good('a frame exactly as long as maxBodySize', { suite: 0x0478 }, { options: { maxBodySize: 32 } }),
  good('a signature with a high s', { suite: 0x0578, signature: (right) => highS(right) }),
]

function other(fields: Partial<Edk>): Edk {
  return { id: 'someone else', info: 'their key', ciphertext: random('theirs', 48), ...fields }
}

/** (r, s) as (r, n - s): as right as the other. */
function highS(signature: Buffer): Buffer {
  const rLength = signature[3]!
  const r = BigInt(`0x${signature.subarray(4, 4 + rLength).toString('hex')}`)
  const s = BigInt(`0x${signature.subarray(6 + rLength).toString('hex')}`)
  const { order } = CURVES.secp384r1
  return derSequence(derInteger(r), derInteger(s > order / 2n ? s : order - s))
}
