import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  MAX_INSTRUCTION_FILE_LENGTH,
  parseInstructionFile,
  serializeWithInstructionFile,
} from '../../src/format/s3-instruction-file'
import {
  checkMetadataLength,
  isS3EncryptionField,
  parseS3Metadata,
  type S3Commitment,
  type S3Envelope,
  serializeS3Metadata,
} from '../../src/format/s3-metadata'
import { throws } from '../support/expect'
import { bytes } from '../support/keys'

const shared = { encryptedDataKey: Buffer.from(bytes(60)), materialDescription: pairs({ a: 'b', '\u00fc': '"' }) }
const ENVELOPES: Record<string, S3Envelope> = {
  'version 1': {
    ...shared,
    formatVersion: 1,
    contentAlgorithm: 'AES/CBC/PKCS5Padding',
    wrapAlgorithm: 'RSA',
    iv: Buffer.from(bytes(16)),
  },
  'version 2': {
    ...shared,
    formatVersion: 2,
    contentAlgorithm: 'AES/GCM/NoPadding',
    wrapAlgorithm: 'kms',
    iv: Buffer.from(bytes(12)),
  },
  'version 2 with AES-CBC': {
    ...shared,
    formatVersion: 2,
    contentAlgorithm: 'AES/CBC/PKCS5Padding',
    wrapAlgorithm: 'kms',
    iv: Buffer.from(bytes(16)),
  },
  'version 3': {
    ...shared,
    formatVersion: 3,
    contentAlgorithm: '115',
    wrapAlgorithm: 'RSA-OAEP-SHA1',
    messageId: Buffer.from(bytes(28)),
    commitment: Buffer.from(bytes(28, 9)),
  },
  'version 3 with KMS': {
    ...shared,
    formatVersion: 3,
    contentAlgorithm: '115',
    wrapAlgorithm: 'kms+context',
    messageId: Buffer.from(bytes(28)),
    commitment: Buffer.from(bytes(28, 9)),
  },
}

for (const [name, envelope] of Object.entries(ENVELOPES)) {
  test(`${name}: what was written is read again`, () => {
    assert.equal(parseS3Metadata(serializeS3Metadata(envelope)), envelope)
    const { metadata, instructionFile } = serializeWithInstructionFile(envelope)
    const commitment = parseS3Metadata(metadata)
    assert.is(commitment !== undefined, envelope.formatVersion === 3)
    assert.equal(parseInstructionFile(instructionFile, commitment as S3Commitment | undefined), envelope)
  })
}

test('all that is written is known as a field of the format, in any case', () => {
  for (const envelope of Object.values(ENVELOPES)) {
    for (const name of Object.keys(serializeS3Metadata(envelope))) {
      assert.ok(isS3EncryptionField(name))
      assert.ok(isS3EncryptionField(name.toUpperCase()))
    }
  }
  assert.not(isS3EncryptionField('title'))
  assert.not(isS3EncryptionField('x-amz-meta-x-amz-key'))
})

test('an empty description is not stored in version 3, and is `{}` in the others', () => {
  const without = (envelope: S3Envelope) => serializeS3Metadata({ ...envelope, materialDescription: pairs({}) })
  assert.not('x-amz-m' in without(ENVELOPES['version 3']!))
  assert.is(without(ENVELOPES['version 2']!)['x-amz-matdesc'], '{}')
  assert.is(without(ENVELOPES['version 1']!)['x-amz-matdesc'], '{}')
})

test('metadata count in bytes of UTF-8, names and values together', () => {
  checkMetadataLength({ a: 'x'.repeat(2047) })
  throws(() => checkMetadataLength({ a: 'x'.repeat(2048) }), 'ERR_LIMIT_EXCEEDED', /2049 bytes/)
  throws(() => checkMetadataLength({ a: '\u00fc'.repeat(1024) }), 'ERR_LIMIT_EXCEEDED')
})

test('the longest instruction file is 64 KiB', () => {
  const { instructionFile } = serializeWithInstructionFile(ENVELOPES['version 2']!)
  const file = Buffer.alloc(MAX_INSTRUCTION_FILE_LENGTH, ' ')
  file.set(instructionFile)
  assert.equal(parseInstructionFile(file, undefined), ENVELOPES['version 2'])
  throws(() => parseInstructionFile(Buffer.concat([file, Buffer.from(' ')]), undefined), 'ERR_LIMIT_EXCEEDED')
  throws(() => parseInstructionFile(Buffer.from([0x7b, 0xff, 0x7d]), undefined), 'ERR_MESSAGE_MALFORMED', /UTF-8/)
})

test('version 2 with AES-CBC is read under the wrap that it was written with only', () => {
  const cbc = ENVELOPES['version 2 with AES-CBC']!
  const others = [
    'AES/GCM',
    'RSA-OAEP-SHA1',
    'kms+context',
    'AESWrap',
    'RSA/ECB/OAEPWithSHA-256AndMGF1Padding',
  ] as const
  for (const wrapAlgorithm of others) {
    const metadata = serializeS3Metadata({ ...cbc, wrapAlgorithm })
    throws(() => parseS3Metadata(metadata), 'ERR_UNSUPPORTED_FORMAT', /x-amz-wrap-alg beside AES-CBC/)
  }
})

test('an instruction file has nothing of another version, whatever its value', () => {
  const refused = (version: keyof typeof ENVELOPES, more: Record<string, string>) => {
    const { metadata, instructionFile } = serializeWithInstructionFile(ENVELOPES[version]!)
    const file = Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(instructionFile).toString()), ...more }))
    const commitment = parseS3Metadata(metadata) as S3Commitment | undefined
    throws(() => parseInstructionFile(file, commitment), 'ERR_MESSAGE_MALFORMED', /must not have|has both/)
  }
  for (const name of [
    'x-amz-c',
    'x-amz-d',
    'x-amz-i',
    'x-amz-key',
    'x-amz-key-v2',
    'x-amz-iv',
    'x-amz-cek-alg',
    'x-amz-wrap-alg',
  ])
    refused('version 3', { [name]: 'AA==' })
  for (const name of ['x-amz-c', 'x-amz-d', 'x-amz-i', 'x-amz-3', 'x-amz-w', 'x-amz-key'])
    refused('version 2', { [name]: 'AA==' })
})

test('in an instruction file lengths may be numbers, whatever the case of their names, and nothing else', () => {
  const { instructionFile } = serializeWithInstructionFile(ENVELOPES['version 2']!)
  const { 'x-amz-tag-len': _, ...fields } = JSON.parse(Buffer.from(instructionFile).toString())
  const read = (more: object) => parseInstructionFile(Buffer.from(JSON.stringify({ ...fields, ...more })), undefined)
  assert.equal(read({ 'X-Amz-Tag-Len': 128 }), ENVELOPES['version 2'])
  for (const more of [{ 'x-amz-iv': 1 }, { 'x-amz-tag-len': true }])
    throws(() => read(more), 'ERR_MESSAGE_MALFORMED', /not a string/)
})

test('metadata must be an object of strings', () => {
  throws(() => parseS3Metadata(undefined as never), TypeError, /"metadata" must be/)
  for (const pairs of [new Headers({ 'x-amz-v': '02' }), new Map([['x-amz-v', '02']])])
    throws(() => parseS3Metadata(pairs as never), TypeError, /Object\.fromEntries/)
  throws(() => parseS3Metadata({ a: 1 } as never), TypeError, /"metadata.a" must be a string/)
})

function pairs(object: Record<string, string>): Readonly<Record<string, string>> {
  return Object.freeze(Object.assign(Object.create(null) as Record<string, string>, object))
}

test.run()
