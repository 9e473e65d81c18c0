import { base64, gcm, hkdf, random } from '../build'
import { bad, type Draft, drop, type Extra, flip, flipField, good, inFile, plaintextOf, set, type Vector } from './case'

const MALFORMED = 'ERR_MESSAGE_MALFORMED'
const UNSUPPORTED = 'ERR_UNSUPPORTED_FORMAT'
const POLICY = 'ERR_COMMITMENT_POLICY'
const LEGACY = 'ERR_LEGACY_REFUSED'
const CONTEXT = 'ERR_ENCRYPTION_CONTEXT'
const UNAUTHENTIC = 'ERR_AUTHENTICATION_FAILED'

const CBC = 'AES/CBC/PKCS5Padding'
const OAEP_SHA256 = 'RSA/ECB/OAEPWithSHA-256AndMGF1Padding'
const LEGACY_OBJECTS: Record<string, Draft> = {
  'version 1': { version: 1, wrap: 'AES' },
  'version 1, RSA': { version: 1, wrap: 'RSA' },
  AESWrap: { version: 2, wrap: 'AESWrap' },
  'OAEP of SHA-256': { version: 2, wrap: OAEP_SHA256 },
  kms: { version: 2, wrap: 'kms' },
  'kms with AES-CBC': { version: 2, wrap: 'kms', contentAlgorithm: CBC },
}
const v3: Draft = { version: 3, wrap: 'AES/GCM' }
const v2: Draft = { version: 2, wrap: 'AES/GCM' }
const v1: Draft = { version: 1, wrap: 'AES' }
const kms3: Draft = { version: 3, wrap: 'kms+context', description: { a: 'b' } }
const kms2: Draft = { version: 2, wrap: 'kms+context', description: { a: 'b' } }
const VERSIONS = { 'version 1': v1, 'version 2': v2, 'version 3': v3 }

/** A reader's rules: what it must refuse though the object is intact. */
export const policy: Vector[] = [
  bad('version 2 under a policy that requires commitment', POLICY, v2, { options: REQUIRE() }),
  bad('version 2, KMS, under a policy that requires commitment', POLICY, kms2, { options: REQUIRE() }),
  bad('version 2 in an instruction file, under a policy that requires commitment', POLICY, v2, {
    options: REQUIRE(),
    ...inFile(),
  }),
  ...Object.entries(LEGACY_OBJECTS).flatMap(([name, draft]) => [
    bad(`${name} under a policy that requires commitment`, POLICY, draft, { options: REQUIRE() }),
    bad(`${name} without the switch for wrapping`, LEGACY, draft, {
      options: { enableLegacyWrappingAlgorithms: false },
    }),
  ]),
  ...(['version 1', 'version 1, RSA', 'kms with AES-CBC'] as const).map((name) =>
    bad(`${name} without the switch for AES-CBC`, LEGACY, LEGACY_OBJECTS[name]!, {
      options: { enableLegacyUnauthenticatedModes: false },
    }),
  ),
  bad(
    'a bad padding of RSA without the switch for wrapping',
    LEGACY,
    { version: 1, wrap: 'RSA', pkcs1Block: (block) => flip(block, 9) },
    {
      options: { enableLegacyWrappingAlgorithms: false },
    },
  ),
  ...Object.entries({ 'version 3': kms3, 'version 2': kms2 }).flatMap(([name, draft]) => [
    bad(`${name}, no context given`, CONTEXT, draft, { options: { encryptionContext: {} } }),
    bad(`${name}, another value given`, CONTEXT, draft, { options: { encryptionContext: { a: 'c' } } }),
    bad(`${name}, another name given`, CONTEXT, draft, { options: { encryptionContext: { A: 'b' } } }),
    bad(`${name}, a pair more given`, CONTEXT, draft, { options: { encryptionContext: { a: 'b', c: 'd' } } }),
    bad(
      `${name}, a pair fewer given`,
      CONTEXT,
      { ...draft, description: { a: 'b', c: 'd' } },
      { options: { encryptionContext: { a: 'b' } } },
    ),
    bad(`${name}, the reserved pair given`, CONTEXT, draft, {
      options: { encryptionContext: { a: 'b', 'aws:x-amz-cek-alg': '115' } },
    }),
    bad(`${name}, the context stored is another version's`, CONTEXT, {
      ...draft,
      bound: draft.version === 3 ? 'AES/GCM/NoPadding' : '115',
    }),
    bad(`${name}, the context stored is that of AES-CBC`, CONTEXT, { ...draft, bound: CBC }),
  ]),
  bad('version 3, no context stored', CONTEXT, kms3, { metadata: drop('x-amz-t'), options: { encryptionContext: {} } }),
  bad('version 2, no context stored', CONTEXT, kms2, {
    metadata: drop('x-amz-matdesc'),
    options: { encryptionContext: {} },
  }),
  bad('version 3, the context in the place of the materials description', CONTEXT, kms3, {
    metadata: (metadata) => ({ ...drop('x-amz-t')(metadata), 'x-amz-m': metadata['x-amz-t']! }),
  }),
  bad('kms+context relabelled as kms, with a context given', CONTEXT, kms2, {
    metadata: set(['x-amz-wrap-alg', 'kms']),
    options: { enableLegacyWrappingAlgorithms: true },
  }),
  bad('kms+context relabelled as kms, without the switch', LEGACY, kms2, { metadata: set(['x-amz-wrap-alg', 'kms']) }),
  bad('version 3, a context given for a raw key', CONTEXT, v3, { options: { encryptionContext: { a: 'b' } } }),
  bad('version 2, a context given for a raw key', CONTEXT, v2, { options: { encryptionContext: { a: 'b' } } }),
  bad('version 3, a keyring of another kind', 'ERR_NO_DATA_KEY', v3, { keyring: 'rsa' }),
  bad('version 2, a keyring of another kind', 'ERR_NO_DATA_KEY', kms2, { keyring: 'aes-256' }),
  bad('version 1, RSA, an AES key', 'ERR_NO_DATA_KEY', { version: 1, wrap: 'RSA' }, { keyring: 'aes-256' }),
  bad('version 1, AES, an RSA key', 'ERR_NO_DATA_KEY', v1, { keyring: 'rsa' }),
  bad('version 3, a KMS key of another account', 'ERR_WRAPPING_KEY', kms3, {
    keyring: 'kms in discovery mode, another account',
  }),
]

/** Metadata and instruction files that break a rule. */
export const format: Vector[] = [
  bad('no metadata', UNSUPPORTED, v3, { metadata: () => ({}) }),
  bad('metadata of the user only', UNSUPPORTED, v3, { metadata: () => ({ title: 'a' }) }),
  bad('version 3, instruction file missing', UNSUPPORTED, v3, { metadata: inFile().metadata! }),
  bad('version 2, instruction file missing', UNSUPPORTED, v2, { metadata: inFile().metadata! }),
  ...Object.entries(VERSIONS).flatMap(([name, draft]) => {
    const [edk] = { 'version 1': ['x-amz-key'], 'version 2': ['x-amz-key-v2'], 'version 3': ['x-amz-3'] }[name]!
    const iv = draft.version === 3 ? 'x-amz-i' : 'x-amz-iv'
    const others = ['x-amz-key', 'x-amz-key-v2', 'x-amz-3'].filter((other) => other !== edk)
    const commitment = draft.version === 3 ? [] : ['x-amz-c', 'x-amz-d', 'x-amz-i', 'x-amz-w']
    return [
      ...others.map((other) =>
        bad(`${name} with ${other}`, MALFORMED, draft, { metadata: set([other, base64(random('x', 60))]) }),
      ),
      ...commitment.map((other) => bad(`${name} with ${other}`, MALFORMED, draft, { metadata: set([other, '115']) })),
      bad(`${name}, ${edk} twice in another case`, MALFORMED, draft, { metadata: set([edk!.toUpperCase(), 'AAAA']) }),
      bad(`${name}, ${iv} twice in another case`, MALFORMED, draft, { metadata: set([iv.toUpperCase(), 'AAAA']) }),
      bad(`${name} without ${iv}`, MALFORMED, draft, { metadata: drop(iv) }),
      bad(`${name} without ${edk}`, MALFORMED, draft, { metadata: drop(edk!) }),
      bad(`${name}, empty ${edk}`, MALFORMED, draft, { metadata: set([edk!, '']) }),
      bad(`${name}, ${edk} without padding`, MALFORMED, draft, { metadata: set([edk!, 'AAA']) }),
      bad(`${name}, ${edk} in base64 for URLs`, MALFORMED, draft, { metadata: set([edk!, '-_-_']) }),
      bad(`${name}, ${edk} with bits left over`, MALFORMED, draft, { metadata: set([edk!, 'AAB=']) }),
      bad(`${name}, ${edk} with a space`, MALFORMED, draft, { metadata: set([edk!, 'AAAA AAAA']) }),
    ]
  }),
  ...['x-amz-c', 'x-amz-d', 'x-amz-w'].map((name) =>
    bad(`version 3 without ${name}`, MALFORMED, v3, { metadata: drop(name) }),
  ),
  ...['x-amz-c', 'x-amz-d', 'x-amz-i'].map((name) =>
    bad(`version 3, instruction file, object without ${name}`, MALFORMED, v3, {
      ...inFile(),
      metadata: (metadata) => drop(name)(inFile().metadata!(metadata)),
    }),
  ),
  ...['0', '116', '0x73', '115 ', '', '0115'].map((code) =>
    bad(`version 3, content algorithm ${JSON.stringify(code)}`, UNSUPPORTED, v3, { metadata: set(['x-amz-c', code]) }),
  ),
  ...['01', '11', '21', '2', '002', '', 'AES/GCM'].map((code) =>
    bad(`version 3, wrap algorithm ${JSON.stringify(code)}`, UNSUPPORTED, v3, { metadata: set(['x-amz-w', code]) }),
  ),
  ...[0, 27, 29, 32].map((length) =>
    bad(`version 3, commitment of ${length} bytes`, MALFORMED, v3, {
      metadata: set(['x-amz-d', base64(random('d', length))]),
    }),
  ),
  ...[0, 27, 29, 32].map((length) =>
    bad(`version 3, message ID of ${length} bytes`, MALFORMED, v3, {
      metadata: set(['x-amz-i', base64(random('i', length))]),
    }),
  ),
  bad('version 3, message ID of zeros', MALFORMED, { ...v3, messageId: Buffer.alloc(28) }),
  bad('version 2 without x-amz-cek-alg', MALFORMED, v2, { metadata: drop('x-amz-cek-alg') }),
  bad('version 2 without x-amz-wrap-alg', MALFORMED, v2, { metadata: drop('x-amz-wrap-alg') }),
  bad('version 2 without x-amz-tag-len', MALFORMED, v2, { metadata: drop('x-amz-tag-len') }),
  ...['96', '32', '0', '128 ', '0128', ''].map((length) =>
    bad(`version 2, tag length ${JSON.stringify(length)}`, UNSUPPORTED, v2, {
      metadata: set(['x-amz-tag-len', length]),
    }),
  ),
  bad('AES-CBC with a tag length', MALFORMED, LEGACY_OBJECTS['kms with AES-CBC']!, {
    metadata: set(['x-amz-tag-len', '128']),
  }),
  ...['AES/CTR/NoPadding', 'AES/ECB/PKCS5Padding', 'aes/gcm/nopadding', 'AES/GCM', '', '115'].map((name) =>
    bad(`version 2, content algorithm ${JSON.stringify(name)}`, UNSUPPORTED, v2, {
      metadata: set(['x-amz-cek-alg', name]),
    }),
  ),
  ...['AES', 'RSA', 'aes/gcm', 'KMS', '', '02', 'RSA-OAEP-SHA256'].map((name) =>
    bad(`version 2, wrap algorithm ${JSON.stringify(name)}`, UNSUPPORTED, v2, {
      metadata: set(['x-amz-wrap-alg', name]),
    }),
  ),
  ...[0, 8, 11, 13, 16].map((length) =>
    bad(`version 2, IV of ${length} bytes`, MALFORMED, v2, {
      metadata: set(['x-amz-iv', base64(random('iv', length))]),
    }),
  ),
  ...[0, 12, 15, 17].map((length) =>
    bad(`version 1, IV of ${length} bytes`, MALFORMED, v1, {
      metadata: set(['x-amz-iv', base64(random('iv', length))]),
    }),
  ),
  ...['x-amz-cek-alg', 'x-amz-wrap-alg', 'x-amz-tag-len'].map((name) =>
    bad(`version 1 with ${name}`, MALFORMED, v1, { metadata: set([name, '128']) }),
  ),
  ...Object.entries({
    'not JSON': '{"a":"b"',
    'JSON and more': '{"a":"b"}{}',
    'an array': '["a"]',
    'a string': '"a"',
    'a number in it': '{"a":1}',
    'null in it': '{"a":null}',
    nested: '{"a":{"b":"c"}}',
    'a name twice': '{"a":"b","a":"c"}',
    'a name twice, once escaped': '{"a":"b","\\u0061":"c"}',
    'a lone surrogate': '{"a":"\\ud800"}',
    'single quotes': "{'a':'b'}",
    'a comma left over': '{"a":"b",}',
  }).map(([name, text]) =>
    bad(`version 3, materials description: ${name}`, MALFORMED, v3, { metadata: set(['x-amz-m', text]) }),
  ),
  bad('version 2, materials description: not JSON', MALFORMED, v2, { metadata: set(['x-amz-matdesc', 'a=b']) }),
  bad('version 1, materials description: a name twice', MALFORMED, v1, {
    metadata: set(['x-amz-matdesc', '{"a":"b","a":"b"}']),
  }),
]

export const instructionFiles: Vector[] = [
  ...Object.entries({
    empty: () => '',
    'not JSON': () => 'x-amz-3',
    'an array': (fields: object) => [fields],
    'a string': () => '"a"',
    null: () => 'null',
    'JSON and more': (fields: object) => `${JSON.stringify(fields)}{}`,
    'a byte order mark': (fields: object) => `\ufeff${JSON.stringify(fields)}`,
    'a name twice': (fields: object) => JSON.stringify(fields).replace('{', '{"x-amz-3":"AAAA",'),
    'a name twice in another case': (fields: object) => ({ ...fields, 'X-Amz-3': 'AAAA' }),
    nested: (fields: object) => ({ ...fields, other: { a: 'b' } }),
    'a number for the data key': (fields: object) => ({ ...fields, 'x-amz-3': 1234 }),
    'true for a name': (fields: object) => ({ ...fields, other: true }),
    'no data key': (fields: object) => drop('x-amz-3')(fields as Record<string, string>),
    'no wrap algorithm': (fields: object) => drop('x-amz-w')(fields as Record<string, string>),
    'the key of version 1': (fields: object) => ({ ...fields, 'x-amz-key': 'AAAA' }),
    'the key of version 2': (fields: object) => ({ ...fields, 'x-amz-key-v2': 'AAAA' }),
    'the IV of version 2': (fields: object) => ({ ...fields, 'x-amz-iv': 'AAAAAAAAAAAAAAAA' }),
  }).map(([name, change]) => bad(`version 3, instruction file: ${name}`, MALFORMED, v3, inFile(change))),
  ...['x-amz-c', 'x-amz-d', 'x-amz-i', 'X-AMZ-C', 'X-Amz-D', 'x-Amz-I'].map((name) =>
    bad(`version 3, instruction file with ${name}`, MALFORMED, v3, withCommitment(name, name.toLowerCase())),
  ),
  bad('version 3, instruction file with the whole envelope', MALFORMED, v3, {
    ...inFile(),
    file: (metadata) => JSON.stringify(metadata),
  }),
  bad('version 3, the whole envelope in the instruction file only', MALFORMED, v3, {
    metadata: () => ({}),
    file: (metadata) => JSON.stringify(metadata),
  }),
  bad('version 3, instruction file of version 2', MALFORMED, v2, {
    metadata: () => ({ 'x-amz-c': '115', 'x-amz-d': base64(random('d', 28)), 'x-amz-i': base64(random('i', 28)) }),
    file: (metadata) => JSON.stringify(metadata),
  }),
  ...['x-amz-3', 'x-amz-c', 'x-amz-d', 'x-amz-i', 'x-amz-w', 'X-Amz-C'].map((name) =>
    bad(
      `version 2, instruction file with ${name}`,
      MALFORMED,
      v2,
      inFile((fields) => ({ ...fields, [name]: '115' })),
    ),
  ),
  bad(
    'version 2, instruction file with the key of version 1',
    MALFORMED,
    v2,
    inFile((fields) => ({ ...fields, 'x-amz-key': 'AAAA' })),
  ),
  bad(
    'version 2, instruction file with a number for the IV',
    MALFORMED,
    v2,
    inFile((fields) => ({ ...fields, 'x-amz-iv': 1 })),
  ),
  bad(
    'version 2, instruction file with another number for the tag length',
    UNSUPPORTED,
    v2,
    inFile((fields) => ({ ...fields, 'x-amz-tag-len': 96 })),
  ),
  bad('version 2, fields of the key on the object and in the file', MALFORMED, v2, {
    metadata: drop('x-amz-key-v2'),
    file: (metadata) => JSON.stringify(metadata),
  }),
  bad(
    'version 2, instruction file of more than 64 KiB',
    'ERR_LIMIT_EXCEEDED',
    v2,
    inFile((fields) => ({ ...fields, other: 'x'.repeat(65536) })),
  ),
]

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

function REQUIRE() {
  return { commitmentPolicy: 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT' }
}

/** A field of the commitment, moved or copied into the file under some case. */
function withCommitment(name: string, field: string): Extra {
  return {
    ...inFile(),
    file: (metadata) => JSON.stringify({ ...drop('x-amz-c', 'x-amz-d', 'x-amz-i')(metadata), [name]: metadata[field] }),
  }
}

/** A wrapped key of the same wrapping key, whole and valid, but another object's. */
function swappedKey(): Extra {
  const other = good('the object whose key is taken', v3)
  return inFile((fields) => ({ ...fields, 'x-amz-3': other.metadata['x-amz-3'] }))
}
