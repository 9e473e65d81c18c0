import { random } from '../build'
import { type Draft, drop, good, inFile, plaintextOf, set, type Vector } from './case'

const CONTEXT = { department: 'sales', 'caf\u00e9': '\u6771\u4eac \ud83d\ude00', path: 'a/b' }
const v3 = (wrap = 'AES/GCM', draft: Partial<Draft> = {}): Draft => ({ version: 3, wrap, ...draft })
const v2 = (wrap = 'AES/GCM', draft: Partial<Draft> = {}): Draft => ({ version: 2, wrap, ...draft })
const v1 = (wrap = 'AES', draft: Partial<Draft> = {}): Draft => ({ version: 1, wrap, ...draft })
const key = (length: number) => random(`data key of ${length}`, length)
const OAEP_SHA256 = 'RSA/ECB/OAEPWithSHA-256AndMGF1Padding'

const current: Vector[] = [3, 2].flatMap((version) => {
  const of = version === 3 ? v3 : v2
  const name = `version ${version}`
  return [
    ...[0, 1, 15, 16, 17, 1000].map((length) =>
      good(`${name}, ${length} bytes`, of('AES/GCM', { plaintext: plaintextOf(length) })),
    ),
    good(`${name}, 128-bit wrapping key`, of('AES/GCM', { key: 'aes-128' })),
    good(`${name}, 192-bit wrapping key`, of('AES/GCM', { key: 'aes-192' })),
    good(`${name}, materials description`, of('AES/GCM', { description: { version: '1', note: '\u00fc/"\\' } })),
    good(`${name}, RSA`, of('RSA-OAEP-SHA1')),
    good(`${name}, RSA, materials description`, of('RSA-OAEP-SHA1', { description: { version: '1' } })),
    good(`${name}, KMS`, of('kms+context')),
    good(`${name}, KMS, encryption context`, of('kms+context', { description: CONTEXT })),
    good(`${name}, KMS in discovery mode`, of('kms+context'), { keyring: 'kms in discovery mode' }),
    good(`${name}, context given in another order`, of('kms+context', { description: { a: '1', b: '2' } }), {
      options: { encryptionContext: { b: '2', a: '1' } },
    }),
    ...['AES/GCM', 'RSA-OAEP-SHA1', 'kms+context'].map((wrap) =>
      good(`${name}, ${wrap}, instruction file`, of(wrap, { description: { version: '1' } }), inFile()),
    ),
    good(`${name}, instruction file without description`, of(), inFile()),
    good(`${name}, instruction file with upper-case names`, of(), inFile(upperCase)),
    good(
      `${name}, instruction file with unknown names and nulls`,
      of(),
      inFile((fields) => ({ ...fields, other: 'x', nothing: null })),
    ),
    good(`${name}, names in upper case`, of(), { metadata: upperCase }),
    good(`${name}, metadata of the user`, of(), { metadata: set(['title', 'a'], ['x-amz-other', 'b']) }),
    good(`${name}, plaintext length`, of(), { metadata: set(['x-amz-unencrypted-content-length', '999']) }),
    good(
      `${name}, key chosen by its description`,
      of('AES/GCM', { key: 'aes-128', description: { site: 'a', version: '2' } }),
      {
        keyring: 'aes by materials description',
      },
    ),
    good(
      `${name}, key chosen for want of a description`,
      of('AES/GCM', { key: 'another aes-256', description: { version: '3' } }),
      {
        keyring: 'aes by materials description',
      },
    ),
    good(`${name}, policy of the other writers`, of(), {
      options: { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' },
    }),
  ]
})

const descriptions: Vector[] = [
  good('version 3, empty materials description beside the context', v3('kms+context'), {
    metadata: set(['x-amz-m', '']),
  }),
  good(
    'version 3, a description with the name __proto__',
    v3('AES/GCM', { description: Object.fromEntries([['__proto__', 'x']]) }),
  ),
  good('version 3, null for a materials description', v3(), { metadata: set(['x-amz-m', 'null']) }),
  good('version 3, empty materials description', v3(), { metadata: set(['x-amz-m', '']) }),
  good('version 2, without materials description', v2(), { metadata: drop('x-amz-matdesc') }),
  good('version 2, empty materials description', v2(), { metadata: set(['x-amz-matdesc', '']) }),
  good('version 2, slashes escaped as PHP does', v2('AES/GCM', { description: { a: 'b/c' } }), {
    metadata: set(['x-amz-matdesc', '{"a":"b\\/c"}']),
  }),
  good('version 2, spaces as Python writes them', v2('AES/GCM', { description: { a: 'b', c: 'd' } }), {
    metadata: set(['x-amz-matdesc', '{"a": "b", "c": "d"}']),
  }),
  good('version 2, escaped non-ASCII', v2('kms+context', { description: { a: '\u00fc' } }), {
    metadata: set(['x-amz-matdesc', '{"a":"\\u00fc","aws:x-amz-cek-alg":"AES/GCM/NoPadding"}']),
  }),
  ...Object.entries({
    'UTF-8 read as Latin-1': latin1,
    'RFC 2047 words in base64': (text: string) => word('B', Buffer.from(latin1(text)).toString('base64')),
    'RFC 2047 words in base64, once encoded': (text: string) => word('B', Buffer.from(text).toString('base64')),
    'RFC 2047 words in quoted form': (text: string) => word('Q', quoted(latin1(text))),
    'RFC 2047 words, cut within a character': (text: string) => {
      const bytes = Buffer.from(latin1(text))
      const cut = bytes.findIndex((byte) => byte > 127) + 1
      return [bytes.subarray(0, cut), bytes.subarray(cut)].map((part) => word('B', part.toString('base64'))).join(' ')
    },
  }).map(([name, encode]) =>
    good(`version 2, non-ASCII context: ${name}`, v2('kms+context', { description: { 'caf\u00e9': '\u6771' } }), {
      metadata: (metadata) => ({ ...metadata, 'x-amz-matdesc': encode(metadata['x-amz-matdesc']!) }),
    }),
  ),
  good('version 3, non-ASCII context: RFC 2047 words', v3('kms+context', { description: { 'caf\u00e9': '\u6771' } }), {
    metadata: (metadata) => ({
      ...metadata,
      'x-amz-t': word('Q', quoted(latin1(metadata['x-amz-t']!))),
    }),
  }),
  good(
    'version 2, numbers in the instruction file',
    v2(),
    inFile((fields) => ({ ...fields, 'x-amz-tag-len': 128, 'x-amz-unencrypted-content-length': 70 })),
  ),
  good(
    'version 2, null for a materials description in the instruction file',
    v2(),
    inFile((fields) => ({ ...fields, 'x-amz-matdesc': null })),
  ),
  good(
    'version 2, kms_cmk_id in the stored context is not asked for',
    v2('kms+context', { description: { kms_cmk_id: 'x', a: 'b' } }),
    {
      options: { encryptionContext: { a: 'b' } },
    },
  ),
]

const legacy: Vector[] = [
  ...[16, 24].map((length) => good(`version 2, data key of ${length} bytes`, v2('AES/GCM', { dataKey: key(length) }))),
  ...[16, 24].map((length) =>
    good(`version 2, RSA, data key of ${length} bytes`, v2('RSA-OAEP-SHA1', { dataKey: key(length) })),
  ),
  ...[16, 24, 32].map((length) =>
    good(`AESWrap, data key of ${length} bytes`, v2('AESWrap', { dataKey: key(length) })),
  ),
  good('AESWrap, 128-bit wrapping key', v2('AESWrap', { key: 'aes-128' })),
  ...[16, 24, 32].map((length) =>
    good(`OAEP of SHA-256 with MGF1 of SHA-1, data key of ${length} bytes`, v2(OAEP_SHA256, { dataKey: key(length) })),
  ),
  good('kms, AES-GCM', v2('kms', { description: { kms_cmk_id: 'alias/a' } })),
  good('kms, AES-CBC', v2('kms', { contentAlgorithm: 'AES/CBC/PKCS5Padding', description: { kms_cmk_id: 'alias/a' } })),
  good('kms, AES-CBC under its other name', v2('kms', { contentAlgorithm: 'AES/CBC/PKCS7Padding' })),
  good('kms, AES-CBC, instruction file', v2('kms', { contentAlgorithm: 'AES/CBC/PKCS5Padding' }), inFile()),
  good(
    'kms, AES-CBC, an empty tag length in the instruction file',
    v2('kms', { contentAlgorithm: 'AES/CBC/PKCS5Padding' }),
    inFile((fields) => ({ ...fields, 'x-amz-tag-len': '' })),
  ),
  good('kms, AES-CBC, a tag length of 0', v2('kms', { contentAlgorithm: 'AES/CBC/PKCS5Padding' }), {
    metadata: set(['x-amz-tag-len', '0']),
  }),
  good(
    'kms, AES-CBC, a tag length of 0 in the instruction file',
    v2('kms', { contentAlgorithm: 'AES/CBC/PKCS5Padding' }),
    inFile((fields) => ({ ...fields, 'x-amz-tag-len': '0' })),
  ),
  good(
    'a message of Amazon SES',
    v2('kms', {
      description: {
        'aws:ses:message-id': 'o3vrnil0e2ic28trm7dfhrc2v0clambda4nbp0g1',
        'aws:ses:rule-name': 'rule',
        'aws:ses:source-account': '111122223333',
        kms_cmk_id: 'arn:aws:kms:us-east-1:111122223333:alias/aws/ses',
      },
    }),
    { metadata: set(['x-amz-unencrypted-content-length', '70']) },
  ),
  ...[0, 1, 15, 16, 17, 31, 32, 1000].map((length) =>
    good(`version 1, ${length} bytes`, v1('AES', { plaintext: plaintextOf(length) })),
  ),
  ...(['aes-128', 'aes-192'] as const).map((name) => good(`version 1, wrapping key ${name}`, v1('AES', { key: name }))),
  ...[16, 24].map((length) => good(`version 1, data key of ${length} bytes`, v1('AES', { dataKey: key(length) }))),
  ...[16, 24, 32].map((length) =>
    good(`version 1, RSA, data key of ${length} bytes`, v1('RSA', { dataKey: key(length) })),
  ),
  good('version 1, instruction file', v1(), inFile()),
  good('version 1, RSA, instruction file', v1('RSA'), inFile()),
  good(
    'version 1, a stage of Snowflake',
    v1('AES', {
      key: 'aes-128',
      dataKey: key(16),
      description: { queryId: '01b2c3d4-0000-0000-0000-000000000000', smkId: '12345', keySize: '128' },
    }),
  ),
]

export const valid: Vector[] = [...current, ...descriptions, ...legacy]

function upperCase(fields: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name.toUpperCase(), value]))
}

function latin1(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

function word(encoding: string, content: string): string {
  return `=?UTF-8?${encoding}?${content}?=`
}

function quoted(text: string): string {
  const bytes = [...Buffer.from(text)]
  return bytes
    .map((byte) =>
      /[A-Za-z0-9]/.test(String.fromCharCode(byte))
        ? String.fromCharCode(byte)
        : byte === 32
          ? '_'
          : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`,
    )
    .join('')
}
