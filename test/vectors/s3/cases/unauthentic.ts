import { base64, gcm, hkdf, random } from '../build'
import { bad, type Draft, drop, type Extra, flip, flipField, good, inFile, plaintextOf, set, type Vector } from './case'
import { UNSUPPORTED, UNAUTHENTIC, CBC, OAEP_SHA256, LEGACY_OBJECTS, v3, v2, v1, kms3, kms2, VERSIONS } from './objects'

/** What only cryptography can tell. */
export const unauthentic: Vector[] = [
  ...Object.entries(VERSIONS).flatMap(([name, draft]) => {
    const edk = { 'version 1': 'x-amz-key', 'version 2': 'x-amz-key-v2', 'version 3': 'x-amz-3' }[name]!
    return [
      bad(`${name}, another wrapping key`, UNAUTHENTIC, draft, { keyring: 'another aes-256' }),
      bad(`${name}, a bit of the wrapped key changed`, UNAUTHENTIC, draft, { metadata: flipField(edk, 200) }),
      bad(`${name}, wrapped key of 28 bytes`, UNAUTHENTIC, draft, {
        metadata: set([edk, base64(random('short', 28))]),
      }),
      bad(`${name}, wrapped key of 1 byte`, UNAUTHENTIC, draft, { metadata: set([edk, 'AA==']) }),
      bad(`${name}, empty body`, UNAUTHENTIC, draft, { body: () => Buffer.alloc(0) }),
      bad(`${name}, body of 15 bytes`, UNAUTHENTIC, draft, { body: (body) => body.subarray(0, 15) }),
    ]
  }),
  ...Object.entries({ 'version 3': v3, 'version 2': v2 }).flatMap(([name, draft]) => {
    const edk = draft.version === 3 ? 'x-amz-3' : 'x-amz-key-v2'
    const empty = { ...draft, plaintext: Buffer.alloc(0) }
    const rsa: Draft = { ...draft, wrap: 'RSA-OAEP-SHA1' }
    const label = draft.version === 3 ? '115' : 'AES/GCM/NoPadding'
    return [
      bad(`${name}, first bit of the body changed`, UNAUTHENTIC, draft, { body: (body) => flip(body, 0) }),
      bad(`${name}, last bit of the tag changed`, UNAUTHENTIC, draft, { body: (body) => flip(body, -1) }),
      bad(`${name}, last byte missing`, UNAUTHENTIC, draft, { body: (body) => body.subarray(0, -1) }),
      bad(`${name}, a byte more`, UNAUTHENTIC, draft, { body: (body) => Buffer.concat([body, Buffer.alloc(1)]) }),
      bad(`${name}, tag missing`, UNAUTHENTIC, draft, { body: (body) => body.subarray(0, -16) }),
      ...[1, 4, 8, 12, 15].map((length) =>
        bad(`${name}, nothing but ${length} bytes of a tag`, UNAUTHENTIC, empty, {
          body: (body) => body.subarray(0, length),
        }),
      ),
      bad(`${name}, wrapped for another version`, UNAUTHENTIC, {
        ...draft,
        bound: draft.version === 3 ? 'AES/GCM/NoPadding' : '115',
      }),
      bad(`${name}, wrapped for AES-CBC`, UNAUTHENTIC, { ...draft, bound: CBC }),
      bad(`${name}, wrapped for nothing`, UNAUTHENTIC, { ...draft, bound: '' }),
      bad(`${name}, wrapped for the algorithm in binary`, UNAUTHENTIC, { ...draft, bound: '\0s' }),
      bad(`${name}, RSA, wrapped for another version`, UNAUTHENTIC, {
        ...rsa,
        bound: draft.version === 3 ? 'AES/GCM/NoPadding' : '115',
      }),
      bad(`${name}, RSA, wrapped for nothing`, UNAUTHENTIC, { ...rsa, bound: '' }),
      bad(`${name}, RSA, a byte after the algorithm`, UNAUTHENTIC, { ...rsa, bound: `${label}x` }),
      bad(`${name}, RSA, wrapped for a name that differs in its last letter`, UNAUTHENTIC, {
        ...rsa,
        bound: `${label.slice(0, -1)}6`,
      }),
      bad(`${name}, RSA, data key of 20 bytes`, UNAUTHENTIC, {
        ...rsa,
        oaepMessage: () => Buffer.concat([Buffer.from([20]), random('k', 20), Buffer.from(label)]),
      }),
      ...[0, 16, 31, 33].map((length) =>
        bad(`${name}, RSA, ${length} for the length of the data key`, UNAUTHENTIC, {
          ...rsa,
          oaepMessage: (dataKey) => Buffer.concat([Buffer.from([length]), dataKey, Buffer.from(label)]),
        }),
      ),
      bad(`${name}, RSA, the data key alone`, UNAUTHENTIC, { ...rsa, oaepMessage: (dataKey) => dataKey }),
      bad(`${name}, RSA, nothing wrapped`, UNAUTHENTIC, { ...rsa, oaepMessage: () => Buffer.alloc(0) }),
      bad(`${name}, RSA, a bit of the wrapped key changed`, UNAUTHENTIC, rsa, { metadata: flipField(edk, 1000) }),
      bad(`${name}, RSA, a byte of the wrapped key missing`, UNAUTHENTIC, rsa, {
        metadata: set([edk, base64(random('short', 255))]),
      }),
      bad(`${name}, RSA, wrapped key above the modulus`, UNAUTHENTIC, rsa, {
        metadata: set([edk, base64(Buffer.alloc(256, 255))]),
      }),
      bad(
        `${name}, KMS, a bit of the wrapped key changed`,
        UNAUTHENTIC,
        { ...draft, wrap: 'kms+context' },
        { metadata: flipField(edk, 200) },
      ),
      bad(`${name}, KMS, the context changed for reader and object`, UNAUTHENTIC, draft.version === 3 ? kms3 : kms2, {
        metadata: (metadata) =>
          Object.fromEntries(
            Object.entries(metadata).map(([key, value]) => [key, value.replace('"a":"b"', '"a":"c"')]),
          ),
        options: { encryptionContext: { a: 'c' } },
      }),
      bad(
        `${name}, the description leads to the wrong key`,
        UNAUTHENTIC,
        { ...draft, description: { version: '2', site: 'a' } },
        {
          keyring: 'aes by materials description',
        },
      ),
    ]
  }),
  ...[16, 24].map((length) =>
    bad(`version 3, data key of ${length} bytes`, UNAUTHENTIC, { ...v3, dataKey: random('short key', length) }),
  ),
  bad('version 3, first bit of the commitment changed', UNAUTHENTIC, v3, { metadata: flipField('x-amz-d', 0) }),
  bad('version 3, last bit of the commitment changed', UNAUTHENTIC, v3, { metadata: flipField('x-amz-d', -1) }),
  bad('version 3, message ID changed', UNAUTHENTIC, v3, { metadata: flipField('x-amz-i', 100) }),
  bad('version 3, commitment to another data key', UNAUTHENTIC, {
    ...v3,
    commitment: (_, messageId) => hkdf(random('other', 32), messageId, Buffer.from('\0sCOMMITKEY'), 28),
  }),
  bad('version 3, commitment as in messages', UNAUTHENTIC, {
    ...v3,
    commitment: (dataKey, messageId) => hkdf(dataKey, messageId, Buffer.from('COMMITKEY'), 28),
  }),
  bad('version 3, content key as in messages', UNAUTHENTIC, {
    ...v3,
    contentKey: (dataKey, messageId) => hkdf(dataKey, messageId, Buffer.from('\u0004xDERIVEKEY'), 32),
  }),
  bad('version 3, content key of the ranged algorithm', UNAUTHENTIC, {
    ...v3,
    contentKey: (dataKey, messageId) => hkdf(dataKey, messageId, Buffer.from('\0tDERIVEKEY'), 32),
  }),
  bad('version 3, content under the data key', UNAUTHENTIC, { ...v3, contentKey: (dataKey) => dataKey }),
  bad('version 3, IV of zeros', UNAUTHENTIC, { ...v3, contentIv: Buffer.alloc(12) }),
  bad('version 3, no AAD', UNAUTHENTIC, { ...v3, contentAad: Buffer.alloc(0) }),
  bad('version 3, AAD in text', UNAUTHENTIC, { ...v3, contentAad: Buffer.from('115') }),
  bad('version 3, another key in the instruction file', UNAUTHENTIC, v3, swappedKey()),
  bad('version 3, body of another object', UNAUTHENTIC, v3, {
    body: () => gcm(random('k', 32), Buffer.alloc(12, 1), Buffer.from('\0s'), plaintextOf(70)),
  }),
  bad(
    'kms, AES-GCM relabelled as AES-CBC',
    UNAUTHENTIC,
    { version: 2, wrap: 'kms' },
    {
      metadata: (metadata) => ({
        ...drop('x-amz-tag-len')(metadata),
        'x-amz-cek-alg': CBC,
        'x-amz-iv': base64(random('iv of the attacker', 16)),
      }),
      body: (body) => body.subarray(0, 80),
      options: { enableLegacyUnauthenticatedModes: true },
    },
  ),
  bad('AES/GCM wrap, AES-GCM relabelled as AES-CBC', UNSUPPORTED, v2, {
    metadata: (metadata) => ({
      ...drop('x-amz-tag-len')(metadata),
      'x-amz-cek-alg': CBC,
      'x-amz-iv': base64(random('iv of the attacker', 16)),
    }),
    options: { enableLegacyUnauthenticatedModes: true, enableLegacyWrappingAlgorithms: true },
  }),
  bad('AESWrap, a bit of the wrapped key changed', UNAUTHENTIC, LEGACY_OBJECTS['AESWrap']!, {
    metadata: flipField('x-amz-key-v2', 3),
  }),
  bad('AESWrap, wrapped key of 25 bytes', UNAUTHENTIC, LEGACY_OBJECTS['AESWrap']!, {
    metadata: set(['x-amz-key-v2', base64(random('x', 25))]),
  }),
  bad(
    'AESWrap, data key of 40 bytes',
    UNAUTHENTIC,
    { version: 2, wrap: 'AESWrap', dataKey: random('k', 32) },
    {
      metadata: set(['x-amz-key-v2', base64(random('x', 48))]),
    },
  ),
  bad('OAEP of SHA-256, a bit of the wrapped key changed', UNAUTHENTIC, LEGACY_OBJECTS['OAEP of SHA-256']!, {
    metadata: flipField('x-amz-key-v2', 1000),
  }),
  ...Object.entries<Partial<Draft>>({
    'first byte': { oaepFirst: 1 },
    'hash of the label': { oaepData: (data) => flip(data, 0) },
    padding: { oaepData: (data) => flip(data, 400) },
    separator: { oaepData: (data) => flip(data, (data.length - 33) * 8) },
  }).map(([name, part]) =>
    bad(`OAEP of SHA-256, ${name} changed`, UNAUTHENTIC, { version: 2, wrap: OAEP_SHA256, ...part }),
  ),
  bad(
    'OAEP of SHA-1 relabelled as SHA-256',
    UNAUTHENTIC,
    { version: 2, wrap: 'RSA-OAEP-SHA1' },
    {
      metadata: set(['x-amz-wrap-alg', OAEP_SHA256]),
      options: { enableLegacyWrappingAlgorithms: true },
    },
  ),
  ...Object.entries({ 'the first byte': 7, 'the block type': 15, 'the separator': (256 - 33) * 8 + 7 }).map(
    ([name, bit]) =>
      bad(`version 1, RSA, ${name} of the padding changed`, UNAUTHENTIC, {
        version: 1,
        wrap: 'RSA',
        pkcs1Block: (block) => flip(block, bit),
      }),
  ),
  bad('version 1, RSA, a zero in the padding', UNAUTHENTIC, {
    version: 1,
    wrap: 'RSA',
    pkcs1Block: (block) => Buffer.from(block.map((byte, i) => (i === 100 ? 0 : byte))),
  }),
  bad('version 1, RSA, data key of 20 bytes', UNAUTHENTIC, {
    version: 1,
    wrap: 'RSA',
    pkcs1Block: (block) => Buffer.from(block.map((byte, i) => (i === 256 - 33 ? 1 : i === 256 - 21 ? 0 : byte || 1))),
  }),
  bad(
    'version 1, RSA, a bit of the wrapped key changed',
    UNAUTHENTIC,
    { version: 1, wrap: 'RSA' },
    { metadata: flipField('x-amz-key', 1000) },
  ),
  ...[16, 17, 31].map((missing) =>
    bad(`version 1, ${missing} bytes missing`, UNAUTHENTIC, v1, { body: (body) => body.subarray(0, -missing) }),
  ),
  ...Object.entries({
    'of zeros': Buffer.alloc(16),
    'of 17': Buffer.alloc(16, 17),
    'of 255': Buffer.alloc(16, 255),
    'that differs in its first byte': Buffer.concat([Buffer.alloc(1, 15), Buffer.alloc(15, 16)]),
    'that differs in its middle': Buffer.concat([Buffer.alloc(12), Buffer.from([4, 4, 5, 4])]),
  }).map(([name, lastBlock]) =>
    bad(`version 1, padding ${name}`, UNAUTHENTIC, { ...v1, plaintext: plaintextOf(64), lastBlock }),
  ),
]

/** A wrapped key of the same wrapping key, whole and valid, but another object's. */
function swappedKey(): Extra {
  const other = good('the object whose key is taken', v3)
  return inFile((fields) => ({ ...fields, 'x-amz-3': other.metadata['x-amz-3'] }))
}
