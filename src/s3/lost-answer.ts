/** What became of a request that failed: where its answer was lost, it may have been carried out all the same. */
import type { HeadObjectCommandOutput } from '@aws-sdk/client-s3'
import { equalBytes } from '../bytes'
import { parseS3Metadata, type S3Commitment, type S3Envelope, type S3Metadata } from '../format/s3-metadata'
import { type Call, type ObjectInput, type StoringCall, s3Sdk } from './call'
import { type CustomerKeyInput, customerKeyOf, ownerOf } from './instruction-file'

/** An object as it was to be stored. */
export interface Stored {
  /** What its metadata have, or are to have. */
  readonly envelope: S3Envelope | S3Commitment | undefined
  readonly instructionFile: Uint8Array | undefined
  /** Bytes of ciphertext. */
  readonly length: number
}

/** The object, where it was stored; whether it was not; or that nobody can tell. */
export type Outcome = HeadObjectCommandOutput | 'not stored' | 'unknown'

type Sender = Pick<Call<unknown, unknown>, 'send'>
type Input = ObjectInput & CustomerKeyInput

/** From the error of the request that was to store an object. */
export async function outcomeOf(
  error: unknown,
  call: Sender & Pick<StoringCall<unknown, unknown>, 'wasSent'>,
  input: Input,
  stored: Stored,
): Promise<Outcome> {
  if (!call.wasSent()) return 'not stored'
  const { name, code = '', $metadata: { attempts, httpStatusCode = 0 } = {} } = (error ?? {}) as Failure
  // The SDK asks again where it gets no answer. The store then refuses because of what is there, or no longer is.
  const isPerhapsDone = name === 'NoSuchUpload' || (name === 'PreconditionFailed' && attempts !== 1)
  // A store that is overloaded has stored nothing, one that fails may have.
  if (isPerhapsDone || httpStatusCode >= 500) return await lookUp(call, input, stored)
  // After a second attempt, the first may have succeeded. A redirect is to another Region, as a request of its own.
  const isRefused = attempts === 1 && (UNWRITABLE.includes(code) || httpStatusCode >= 300)
  return isRefused ? 'not stored' : 'unknown'
}

/** What Node.js says of a header or path that it does not write. */
const UNWRITABLE = [
  'ERR_HTTP_INVALID_HEADER_VALUE',
  'ERR_INVALID_CHAR',
  'ERR_INVALID_HTTP_TOKEN',
  'ERR_UNESCAPED_CHARACTERS',
]

/** From what is stored under its key now. */
export async function lookUp({ send }: Sender, input: Input, stored: Stored): Promise<Outcome> {
  // Beside an instruction file, the metadata of version 2 have nothing.
  const { envelope } = stored
  if (!envelope || (stored.instructionFile && envelope.formatVersion !== 3)) return 'unknown'
  const { HeadObjectCommand } = s3Sdk()
  const { Bucket, Key } = input
  try {
    const head = await send(new HeadObjectCommand({ Bucket, Key, ...ownerOf(input), ...customerKeyOf(input) }))
    return head.ContentLength === stored.length && isOf(envelope, head.Metadata ?? {}) ? head : 'not stored'
  } catch (error) {
    return (error as Error).name === 'NotFound' ? 'not stored' : 'unknown'
  }
}

/** Nobody else has the same. */
function isOf(envelope: S3Envelope | S3Commitment, metadata: S3Metadata): boolean {
  const unique = (of: S3Envelope | S3Commitment) => ('messageId' in of ? of.messageId : of.iv)
  try {
    const stored = parseS3Metadata(metadata)
    return stored !== undefined && equalBytes(unique(stored), unique(envelope))
  } catch {
    return false
  }
}

interface Failure {
  readonly name?: string
  readonly code?: string
  readonly $metadata?: { readonly attempts?: number; readonly httpStatusCode?: number }
}
