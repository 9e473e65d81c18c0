import * as assert from 'uvu/assert'
import { parseS3Metadata, serializeCommitment, serializeS3Metadata } from '../../src/format/s3-metadata'
import type { S3Metadata } from '../../src/s3'
import { openS3Vector, S3_VECTOR_FILES, s3Vectors } from '../support/s3-vectors'
import type { Target } from './fuzzer'

const { metadata: _, ...object } = s3Vectors('valid')[0]!

/** User metadata as header lines. */
export const s3Metadata: Target = {
  seeds: S3_VECTOR_FILES.flatMap(s3Vectors).map(({ metadata }) =>
    Buffer.from(
      Object.entries(metadata)
        .map((pair) => pair.join(': '))
        .join('\n'),
    ),
  ),
  words: [
    'x-amz-key-v2: ',
    'x-amz-c: 115',
    'x-amz-w: 12',
    'X-AMZ-I',
    '=?UTF-8?Q?=20?=',
    '{"a":',
    '__proto__',
    '\\ud800',
  ],
  async run(input) {
    const lines = Buffer.from(input).toString('latin1').split('\n')
    const metadata: S3Metadata = Object.fromEntries(lines.map((line) => line.split(/: (.*)/s, 2).concat('')))
    const parsed = parseS3Metadata(metadata)
    if (parsed) {
      const again = 'wrapAlgorithm' in parsed ? serializeS3Metadata(parsed) : serializeCommitment(parsed)
      assert.equal(parseS3Metadata(again), parsed)
    }
    await openS3Vector({ ...object, metadata: { ...metadata } })
  },
}
