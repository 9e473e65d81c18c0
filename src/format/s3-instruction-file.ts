/**
 * Instruction files: the envelope of an object as one JSON object, in an object of its own beside it. For versions 1 and
 * 2 all of the envelope is there; for version 3 all but the commitment and the message ID, which stay on the encrypted
 * object: otherwise whoever can write the file could give the object another key, and so another plaintext.
 */
import { fromUtf8, utf8 } from '../bytes'
import { malformed, SealwaxError } from '../errors'
import {
  COMMITMENT_FIELDS,
  ENCRYPTED_DATA_KEYS,
  parseEnvelopeV1V2,
  parseEnvelopeV3,
  type S3Commitment,
  type S3Envelope,
  S3Fields,
  type S3Metadata,
  serializeCommitment,
  serializeEnvelopeV1V2,
  serializeEnvelopeV3,
} from './s3-metadata'
import { parseFlatJson } from './s3-text'

/** What the key of an instruction file ends with, after the key of the encrypted object. */
export const INSTRUCTION_FILE_SUFFIX = '.instruction'

/** The metadata of the instruction file itself. */
export const INSTRUCTION_FILE_METADATA: S3Metadata = Object.freeze({ 'x-amz-crypto-instr-file': '' })

/** The longest instruction file that is read. */
export const MAX_INSTRUCTION_FILE_LENGTH = 0x1_0000

/**
 * Reads the envelope in an instruction file. `commitment` is what the metadata of the encrypted object gave.
 * Throws as `parseS3Metadata` does, and `ERR_LIMIT_EXCEEDED` past 64 KiB.
 */
export function parseInstructionFile(file: Uint8Array, commitment: S3Commitment | undefined): S3Envelope {
  if (file.length > MAX_INSTRUCTION_FILE_LENGTH) {
    throw new SealwaxError('ERR_LIMIT_EXCEEDED', `the instruction file takes ${file.length} bytes`)
  }
  const text = fromUtf8(file)
  if (text === undefined) throw malformed('the instruction file is not UTF-8')
  const fields = new S3Fields(pairsOf(text), 'the instruction file')
  const foreign = fields.firstOf(commitment ? NOT_BESIDE_A_COMMITMENT : NOT_WITHOUT_COMMITMENT)
  if (foreign) throw malformed(`the instruction file must not have ${foreign} for this object`)
  if (commitment) return parseEnvelopeV3(fields, commitment)
  if (fields.has('x-amz-key') && fields.has('x-amz-key-v2')) {
    throw malformed('the instruction file has both x-amz-key and x-amz-key-v2')
  }
  return parseEnvelopeV1V2(fields)
}

/** The metadata of an object, and its instruction file. */
export function serializeWithInstructionFile(envelope: S3Envelope): {
  metadata: S3Metadata
  instructionFile: Uint8Array
} {
  const [metadata, fields] =
    envelope.formatVersion === 3
      ? [serializeCommitment(envelope), serializeEnvelopeV3(envelope)]
      : [{}, serializeEnvelopeV1V2(envelope)]
  return { metadata, instructionFile: utf8(JSON.stringify(fields)) }
}

function* pairsOf(text: string): Generator<[string, string]> {
  for (const [name, value] of parseFlatJson(text, 'the instruction file')) {
    // Java and .NET write `null` for what is absent, and numbers for lengths.
    if (value === null) continue
    const isNumber = typeof value === 'number' && NUMBERS.has(name.toLowerCase())
    if (typeof value !== 'string' && !isNumber) {
      throw malformed('the instruction file holds a value that is not a string')
    }
    yield [name, String(value)]
  }
}

const NUMBERS: ReadonlySet<string> = new Set(['x-amz-tag-len', 'x-amz-unencrypted-content-length'])
const [KEY_V1, KEY_V2, KEY_V3] = ENCRYPTED_DATA_KEYS
const NOT_WITHOUT_COMMITMENT = [...COMMITMENT_FIELDS, KEY_V3, 'x-amz-w']
const NOT_BESIDE_A_COMMITMENT = [...COMMITMENT_FIELDS, KEY_V1, KEY_V2, 'x-amz-iv', 'x-amz-cek-alg', 'x-amz-wrap-alg']
