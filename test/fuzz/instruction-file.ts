import { openS3Vector, s3Vectors } from '../support/s3-vectors'
import type { Target } from './fuzzer'

const vectors = s3Vectors('instruction-files').filter(({ instructionFile }) => instructionFile !== undefined)

/** The first byte chooses the object that the file stands beside. */
export const instructionFile: Target = {
  seeds: vectors.map(({ instructionFile }, i) =>
    Buffer.concat([Uint8Array.of(i), Buffer.from(instructionFile!, 'base64')]),
  ),
  words: ['"x-amz-key-v2":"', '"x-amz-3":"', '__proto__', '\\u0000', '"x-amz-w":"02"', '{"', '":', '\\ud800', '1e999'],
  async run(input) {
    const file = Buffer.from(input.subarray(1)).toString('base64')
    await openS3Vector({ ...vectors[(input[0] ?? 0) % vectors.length]!, instructionFile: file })
  },
}
