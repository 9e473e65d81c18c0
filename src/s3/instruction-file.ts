/** The instruction file of an object: an object of its own beside it, under its key and a suffix. */
import type { GetObjectCommandInput, PutObjectCommandInput, S3ServiceException } from '@aws-sdk/client-s3'
import { equalBytes, utf8 } from '../bytes'
import {
  INSTRUCTION_FILE_METADATA,
  INSTRUCTION_FILE_SUFFIX,
  MAX_INSTRUCTION_FILE_LENGTH,
} from '../format/s3-instruction-file'
import { readBody } from './body'
import { type Call, type ObjectInput, type StoringCall, s3Sdk } from './call'

type Sender = Pick<Call<unknown, unknown>, 'send'>

/** The file of the object that `input` is for, or `undefined` where there is none. */
export async function readInstructionFile(
  { send }: Sender,
  input: ObjectInput & CustomerKeyInput,
  suffix: unknown = INSTRUCTION_FILE_SUFFIX,
): Promise<Uint8Array | undefined> {
  if (typeof suffix !== 'string' || suffix === '')
    throw new TypeError('"InstructionFileSuffix" must be a string, not empty')
  const Key = instructionFileKey(input.Key, suffix)
  if (!Key) return undefined
  const { GetObjectCommand } = s3Sdk()
  const { Bucket } = input
  try {
    const { Body } = await send(new GetObjectCommand({ ...ownerOf(input), ...customerKeyOf(input), Bucket, Key }))
    return await readBody(Body, MAX_INSTRUCTION_FILE_LENGTH)
  } catch (error) {
    if ((error as Error).name === 'NoSuchKey') return undefined
    throw withHint(error, Key)
  }
}

/** It is another object that S3 speaks of than the one that was asked for. */
function withHint(error: unknown, key: string): unknown {
  if (!(error instanceof Error && error.name === 'AccessDenied')) return error
  error.message += ` (to the instruction file ${JSON.stringify(key)}; without s3:ListBucket, S3 says so also where there is none)`
  return error
}

/**
 * Stores the file of the object that `input` stores, where and as that. Gives what puts the former state back, as far as it
 * could be read: an object that was there, and stays because the new one is refused, needs its own file.
 */
export async function replaceInstructionFile(
  call: Pick<StoringCall<unknown, unknown>, 'send' | 'checkAborted' | 'beginStoring'>,
  input: PutObjectCommandInput,
  file: Uint8Array,
): Promise<() => Promise<void>> {
  const { DeleteObjectCommand, PutObjectCommand } = s3Sdk()
  const { Bucket } = input
  const Key = instructionFileKey(input.Key)
  if (!Key)
    throw new RangeError('"Key" leaves no room for that of an instruction file, which is longer by ".instruction"')
  const storage = { ...sameStorage(input), Bucket, Key, Metadata: { ...INSTRUCTION_FILE_METADATA } }
  // Where the name must be free, nothing was there. Where the file cannot be read, nothing can be put back.
  const isNew = input.IfNoneMatch !== undefined
  call.checkAborted()
  const before = isNew ? undefined : await readInstructionFile(call, input).catch(() => null)
  const putBack = async () => {
    if (before === null) return
    const restored = before
      ? call.send(new PutObjectCommand({ ...storage, Body: before }))
      : call.send(new DeleteObjectCommand({ ...ownerOf(input), Bucket, Key }))
    // What the caller is to hear is why the object was refused.
    await restored.catch(() => {})
  }
  call.beginStoring()
  try {
    await call.send(new PutObjectCommand({ ...storage, Body: file }))
  } catch (error) {
    const { name, $metadata: { attempts, httpStatusCode = 0 } = {} } = error as Partial<S3ServiceException>
    const isRefused = attempts === 1 && httpStatusCode >= 300 && httpStatusCode < 500
    const there = isRefused ? undefined : await readInstructionFile(call, input).catch(() => undefined)
    if (!there || !equalBytes(there, file)) throw error
    // The SDK asks again where it gets no answer, and the store then refuses because of what is there: the file.
    if (name === 'PreconditionFailed') return putBack
    // It was stored all the same, and the object will not be.
    await putBack()
    throw error
  }
  return putBack
}

/** Where and how the object is stored. */
export function sameStorage(input: PutObjectCommandInput): PutObjectCommandInput {
  return Object.fromEntries(STORAGE_FIELDS.map((name) => [name, input[name]])) as unknown as PutObjectCommandInput
}

export type CustomerKeyInput = Pick<
  GetObjectCommandInput,
  'SSECustomerAlgorithm' | 'SSECustomerKey' | 'SSECustomerKeyMD5'
>

/** What a request for an object that SSE-C protects must state. */
export function customerKeyOf({ SSECustomerAlgorithm, SSECustomerKey, SSECustomerKeyMD5 }: CustomerKeyInput) {
  return { SSECustomerAlgorithm, SSECustomerKey, SSECustomerKeyMD5 }
}

/** Who must own the bucket, and who pays. */
export function ownerOf({ ExpectedBucketOwner, RequestPayer }: ObjectInput) {
  return { ExpectedBucketOwner, RequestPayer } as Pick<GetObjectCommandInput, 'ExpectedBucketOwner' | 'RequestPayer'>
}

/** Under which key the file of an object is; `undefined` where S3 takes no key of that length: then there is no file. */
export function instructionFileKey(key: string | undefined, suffix = INSTRUCTION_FILE_SUFFIX): string | undefined {
  const file = `${key}${suffix}`
  return utf8(file).length <= MAX_KEY_LENGTH ? file : undefined
}

const MAX_KEY_LENGTH = 1024

const STORAGE_FIELDS = [
  'Bucket',
  'ExpectedBucketOwner',
  'RequestPayer',
  'IfNoneMatch',
  'ACL',
  'GrantFullControl',
  'GrantRead',
  'GrantReadACP',
  'GrantWriteACP',
  'ServerSideEncryption',
  'SSEKMSKeyId',
  'SSEKMSEncryptionContext',
  'BucketKeyEnabled',
  'SSECustomerAlgorithm',
  'SSECustomerKey',
  'SSECustomerKeyMD5',
] as const
