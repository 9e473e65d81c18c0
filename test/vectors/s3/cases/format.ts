import { base64, random } from '../build'
import { bad, drop, inFile, set, type Vector } from './case'
import { MALFORMED, UNSUPPORTED, LEGACY_OBJECTS, v3, v2, v1, VERSIONS } from './objects'

/** Metadata that breaks a rule. */
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
