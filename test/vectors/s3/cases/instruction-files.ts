import { base64, random } from '../build'
import { bad, drop, type Extra, inFile, type Vector } from './case'
import { MALFORMED, UNSUPPORTED, v3, v2 } from './objects'

/** Instruction files that break a rule. */
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

/** A field of the commitment, moved or copied into the file under some case. */
function withCommitment(name: string, field: string): Extra {
  return {
    ...inFile(),
    file: (metadata) => JSON.stringify({ ...drop('x-amz-c', 'x-amz-d', 'x-amz-i')(metadata), [name]: metadata[field] }),
  }
}
