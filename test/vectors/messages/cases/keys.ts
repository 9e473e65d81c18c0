import { type Edk, field, random, rawAesEdk, rawRsaEdk, u16, u32 } from '../build'
import {
  AES_128,
  AES_192,
  AES_256,
  bad,
  contextBytes,
  flip,
  pairs,
  RSA_PEM,
  type Vector,
  withAes,
  withRsa,
} from './case'

const MALFORMED = 'ERR_MESSAGE_MALFORMED'
const NO_KEY = 'ERR_NO_DATA_KEY'
const V2 = 0x0478

const raw = (...parts: (Buffer | string | number[])[]) =>
  Buffer.concat(parts.map((part) => Buffer.from(part as string)))
const twoEdks = (first: Edk) => ({
  suite: V2,
  wrap: (dataKey: Buffer, context: Buffer) => [first, rawAesEdk('second', AES_256, dataKey, context)],
})

/** Contexts that break a rule; the data key is wrapped with the same bytes, so that nothing else is wrong. */
const CONTEXTS: [string, Buffer][] = [
  ['one byte', raw([0])],
  ['a count and nothing else', raw(u16(1))],
  ['a count of zero, then a byte', raw(u16(0), [0])],
  ['a count above the pairs', raw(u16(2), field('a'), field('b'))],
  ['a count below the pairs', raw(u16(1), field('a'), field('b'), field('c'), field('d'))],
  ['a byte after the pairs', raw(u16(1), field('a'), field('b'), [0])],
  ['a key longer than the context', raw(u16(1), u16(4), 'a', field('b'))],
  ['a key of 65535 bytes that is not there', raw(u16(1), u16(0xffff), 'a')],
  ['a value longer than the context', raw(u16(1), field('a'), u16(2), 'b')],
  ['a key without a value', raw(u16(1), field('a'))],
  ['the same key twice', raw(u16(2), field('a'), field('1'), field('a'), field('2'))],
  ['the same key and value twice', raw(u16(2), field('a'), field('1'), field('a'), field('1'))],
  ['the empty key twice', raw(u16(2), field(''), field('1'), field(''), field('2'))],
]

/** client-node decodes these with U+FFFD; only the unwrapping fails then. */
const ILL_FORMED: [string, Buffer][] = [
  ['a continuation byte as a key', raw(u16(1), field(Buffer.of(0x80)), field('v'))],
  ['a truncated sequence as a value', raw(u16(1), field('k'), field(Buffer.of(0xe2, 0x82)))],
  ['an overlong form as a key', raw(u16(1), field(Buffer.of(0xc1, 0x81)), field('v'))],
  ['an encoded surrogate as a value', raw(u16(1), field('k'), field(Buffer.of(0xed, 0xa0, 0x80)))],
  ['a code point above U+10FFFF', raw(u16(1), field('k'), field(Buffer.of(0xf4, 0x90, 0x80, 0x80)))],
]

/** Raw AES key provider info, or wrapped keys, that this key must not take for its own. */
const AES_EDKS: [string, (dataKey: Buffer, context: Buffer) => Edk, string?][] = [
  ['a tag of 96 bits', (key, context) => rawAesEdk('t', AES_256, key, context, { tagBits: 96, tagLength: 12 })],
  ['a tag of 32 bits', (key, context) => rawAesEdk('t', AES_256, key, context, { tagBits: 32, tagLength: 4 })],
  [
    'a tag length that the tag does not have',
    (key, context) => rawAesEdk('t', AES_256, key, context, { tagBits: 120 }),
  ],
  ['an IV length of 16', (key, context) => rawAesEdk('t', AES_256, key, context, { ivLength: 16 })],
  [
    'info without the IV',
    (key, context) => rawAesEdk('t', AES_256, key, context, { info: raw('aes-256', u32(128), u32(12)) }),
  ],
  [
    'info with a byte too many',
    (key, context) =>
      rawAesEdk('t', AES_256, key, context, {
        info: raw('aes-256', u32(128), u32(12), random('t wrapping IV', 12), [0]),
      }),
  ],
  ['info that is the name alone', (key, context) => rawAesEdk('t', AES_256, key, context, { info: raw('aes-256') })],
  ['a cut tag', (key, context) => rawAesEdk('t', AES_256, key, context, { tagLength: 15 })],
  [
    'a wrapped key with one bit flipped',
    (key, context) => ({
      ...rawAesEdk('t', AES_256, key, context),
      ciphertext: flip(wrapped(rawAesEdk('t', AES_256, key, context)), 0),
    }),
  ],
  [
    'a wrapping tag with one bit flipped',
    (key, context) => ({
      ...rawAesEdk('t', AES_256, key, context),
      ciphertext: flip(wrapped(rawAesEdk('t', AES_256, key, context)), -1),
    }),
  ],
  [
    'a wrapped key of 16 bytes for a suite of 32',
    (_, context) => rawAesEdk('t', AES_256, random('short', 16), context),
  ],
  [
    'a wrapped key bound to another context',
    (key) => rawAesEdk('t', AES_256, key, contextBytes(pairs({ other: 'context' }))),
  ],
  ['a wrapped key bound to no context', (key) => rawAesEdk('t', AES_256, key, Buffer.alloc(0))],
]

const RSA_EDKS: [string, (dataKey: Buffer) => Edk][] = [
  ['another hash', (key) => rsaEdk(key, 'sha1')],
  ['PKCS #1 v1.5 padding', (key) => rsaEdk(key)],
  ['a data key of 16 bytes for a suite of 32', () => rsaEdk(random('short', 16), 'sha256')],
  ['one bit flipped', (key) => ({ ...rsaEdk(key, 'sha256'), ciphertext: flip(wrapped(rsaEdk(key, 'sha256')), -1) })],
  ['a byte cut off', (key) => ({ ...rsaEdk(key, 'sha256'), ciphertext: wrapped(rsaEdk(key, 'sha256')).subarray(1) })],
  ['another name', (key) => ({ ...rsaEdk(key, 'sha256'), info: 'rsa-2048x' })],
  ['another namespace', (key) => ({ ...rsaEdk(key, 'sha256'), id: 'others' })],
]

export const keys: Vector[] = [
  ...CONTEXTS.map(([name, contextBytes]) => bad(`context: ${name}`, MALFORMED, { suite: V2, contextBytes })),
  ...ILL_FORMED.map(([name, contextBytes]) => bad(`context: ${name}`, MALFORMED, { suite: V2, contextBytes })),
  bad('context: the same key twice, version 1', MALFORMED, { suite: 0x0178, contextBytes: CONTEXTS[10]![1] }),
  bad(
    'context: a value changed, raw AES',
    NO_KEY,
    { suite: V2, context: pairs({ k: 'value' }) },
    { mutate: ({ message }) => swap(message, 'value', 'other') },
  ),
  bad(
    'context: a value changed, raw RSA',
    'ERR_AUTHENTICATION_FAILED',
    { suite: V2, context: pairs({ k: 'value' }), wrap: withRsa('sha256')('bound') },
    {
      keyring: 'rsa-oaep-sha256',
      mutate: ({ message }) => swap(message, 'value', 'other'),
    },
  ),
  bad(
    'context: a required pair is missing',
    'ERR_ENCRYPTION_CONTEXT',
    { suite: V2, context: pairs({ more: '' }) },
    {
      options: { encryptionContext: { purpose: 'vectors' } },
      clientNode: 'has no such option: callers compare for themselves',
    },
  ),
  bad(
    'context: a required pair has another value',
    'ERR_ENCRYPTION_CONTEXT',
    { suite: V2, context: pairs({ purpose: 'other' }) },
    {
      options: { encryptionContext: { purpose: 'vectors' } },
      clientNode: 'has no such option: callers compare for themselves',
    },
  ),

  bad('no encrypted data keys', MALFORMED, { suite: V2, edkCount: 0, edkBytes: Buffer.alloc(0) }),
  bad('no encrypted data keys, version 1', MALFORMED, { suite: 0x0178, edkCount: 0, edkBytes: Buffer.alloc(0) }),
  bad('a count of zero before an encrypted data key', MALFORMED, { suite: V2, edkCount: 0 }),
  bad('an empty key provider ID', MALFORMED, twoEdks({ id: '', info: 'info', ciphertext: 'c' })),
  bad('empty key provider info', MALFORMED, twoEdks({ id: 'id', info: '', ciphertext: 'c' })),
  bad('an empty wrapped key', MALFORMED, twoEdks({ id: 'id', info: 'info', ciphertext: '' })),
  bad(
    'a key provider ID that is not UTF-8',
    MALFORMED,
    twoEdks({ id: Buffer.of(0xff), info: 'info', ciphertext: 'c' }),
    { clientNode: 'decodes it with U+FFFD' },
  ),
  bad(
    'more encrypted data keys than allowed',
    'ERR_LIMIT_EXCEEDED',
    { suite: V2, wrap: withAes(AES_128, AES_192, AES_256)('three') },
    { options: { maxEncryptedDataKeys: 2 } },
  ),
  bad(
    'a count of 65535 encrypted data keys that are not there, more than allowed',
    'ERR_LIMIT_EXCEEDED',
    { suite: V2, edkCount: 0xffff },
    { options: { maxEncryptedDataKeys: 1 } },
  ),
  bad('an encrypted data key longer than the message', 'ERR_MESSAGE_TRUNCATED', {
    suite: V2,
    edkBytes: Buffer.concat([field('vectors'), field('aes-256'), u16(0xffff), Buffer.alloc(48)]),
  }),

  bad('another key of the same name', NO_KEY, { suite: V2 }, { keyring: 'another key of the same name' }),
  bad('a key of another namespace', NO_KEY, { suite: V2 }, { keyring: 'another namespace' }),
  bad('a key whose name is the start of the right one', NO_KEY, { suite: V2 }, { keyring: 'a name that is a prefix' }),
  bad('a key of another kind', NO_KEY, { suite: V2 }, { keyring: 'rsa-oaep-sha256' }),
  bad(
    'a multi-keyring of which no child opens',
    NO_KEY,
    { suite: V2, wrap: withAes(AES_192)('none') },
    { keyring: 'multi' },
  ),
  ...AES_EDKS.map(([name, edk, clientNode]) =>
    bad(
      `raw AES: ${name}`,
      NO_KEY,
      { suite: V2, context: pairs({ k: 'v' }), wrap: (key, context) => [edk(key, context)] },
      clientNode ? { clientNode } : {},
    ),
  ),
  ...RSA_EDKS.map(([name, edk]) =>
    bad(`raw RSA: ${name}`, NO_KEY, { suite: V2, wrap: (key) => [edk(key)] }, { keyring: 'rsa-oaep-sha256' }),
  ),
]

function rsaEdk(dataKey: Buffer, hash?: string): Edk {
  return rawRsaEdk('rsa', { namespace: 'vectors', name: 'rsa-2048', key: RSA_PEM, ...(hash && { hash }) }, dataKey)
}

function wrapped(edk: Edk): Buffer {
  return Buffer.from(edk.ciphertext as Buffer)
}

function swap(message: Buffer, from: string, to: string): Buffer {
  const at = message.indexOf(from)
  return Buffer.concat([message.subarray(0, at), Buffer.from(to), message.subarray(at + from.length)])
}
