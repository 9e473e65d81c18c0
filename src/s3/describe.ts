import type { GetObjectCommandInput, HeadObjectCommandOutput, S3Client } from '@aws-sdk/client-s3'
import type { S3Envelope } from '../format/s3-metadata'
import { checkOptions, checkString, describe } from '../options'
import { OWN, s3Sdk } from './call'
import { LEGACY_WRAP_ALGORITHMS } from './content-key'
import { findEnvelope, GET_FIELDS } from './get'
import { describeEnvelope, needsInstructionFile, type ObjectDescription } from './open-object'

/** Which object, as for GetObject. */
export interface DescribeObjectInput extends Pick<GetObjectCommandInput, (typeof GET_FIELDS)[number]> {
  Bucket: string
  Key: string
  /** What the key of the instruction file has after the key of the object. Default: `.instruction`. */
  InstructionFileSuffix?: string | undefined
}

/** What protects an object. */
export interface ObjectProtection {
  /** `undefined`: no S3 Encryption Client encrypted it. */
  readonly clientSide: ClientSideProtection | undefined
  readonly serverSide: ServerSideProtection
  /** What that protects against, and what it does not: in words, for people. */
  readonly threats: readonly ThreatAnswer[]
}

/** As the metadata say, which anyone who can write to the bucket can change: opening the object is the proof. */
export interface ClientSideProtection extends ObjectDescription {
  /** Whether the wrapped data key is in an instruction file. */
  readonly instructionFile: boolean
  /** Whether a changed content is noticed: AES-GCM. */
  readonly authenticated: boolean
  /** Whether it opens with no more than one key: version 3. */
  readonly keyCommitment: boolean
  /** Whether reading it needs `enableLegacyWrappingAlgorithms`. */
  readonly legacyWrap: boolean
  /** The KMS key, where the object names it: old ones do; of others only KMS knows. */
  readonly keyId?: string
}

export interface ServerSideProtection {
  /** SSE-S3, SSE-KMS, DSSE-KMS, SSE-C; `none` where the store says nothing; else what it says. */
  readonly mode: 's3' | 'kms' | 'dsse' | 'customer' | 'none' | (string & {})
  /** The KMS key. */
  readonly keyId?: string
  /** Whether one KMS data key is used for many objects. */
  readonly bucketKey?: boolean
}

export interface ThreatAnswer {
  readonly threat: string
  readonly answer: 'yes' | 'partly' | 'no'
  readonly why: string
}

/**
 * Says what protects an object, from its metadata and its instruction file, without opening it: no key is asked for. `client`
 * may encrypt or not. Throws `TypeError` and `RangeError` for wrong options, `ERR_MESSAGE_MALFORMED` and
 * `ERR_UNSUPPORTED_FORMAT` where what is stored breaks the format, and what the SDK throws.
 *
 * @example
 * const { clientSide, serverSide } = await describeObject(client, { Bucket, Key })
 * console.log(clientSide?.formatVersion, clientSide?.wrapAlgorithm, serverSide.mode)
 */
export async function describeObject(
  client: Pick<S3Client, 'send'>,
  input: DescribeObjectInput,
): Promise<ObjectProtection> {
  if (typeof client?.send !== 'function') throw new TypeError(`"client" must be an S3 client, got ${describe(client)}`)
  const { InstructionFileSuffix, ...fields } = checkOptions(
    input,
    [...GET_FIELDS, 'InstructionFileSuffix'],
    'describeObject',
  )
  checkString(fields.Bucket, 'Bucket')
  checkString(fields.Key, 'Key')
  // As it is stored, where the client decrypts.
  const send = ((command: { input: object }) => {
    Object.assign(command.input, { [OWN]: true })
    return client.send(command as never)
  }) as S3Client['send']
  const { HeadObjectCommand } = s3Sdk()
  const head = await send(new HeadObjectCommand(fields))
  const metadata = head.Metadata ?? {}
  const envelope = await findEnvelope({ input: fields, send }, metadata, InstructionFileSuffix)
  const clientSide = envelope && describeClientSide(envelope, needsInstructionFile(metadata))
  const serverSide = describeServerSide(head)
  return { clientSide, serverSide, threats: THREATS.map((answer) => answer(clientSide, serverSide)) }
}

function describeClientSide(envelope: S3Envelope, instructionFile: boolean): ClientSideProtection {
  const { kms_cmk_id: keyId } = envelope.materialDescription
  return {
    ...describeEnvelope(envelope),
    instructionFile,
    authenticated: envelope.contentAlgorithm !== 'AES/CBC/PKCS5Padding',
    keyCommitment: envelope.formatVersion === 3,
    legacyWrap: LEGACY_WRAP_ALGORITHMS.has(envelope.wrapAlgorithm),
    ...(keyId !== undefined && { keyId }),
  }
}

function describeServerSide(head: HeadObjectCommandOutput): ServerSideProtection {
  const { ServerSideEncryption, SSECustomerAlgorithm, SSEKMSKeyId, BucketKeyEnabled } = head
  if (SSECustomerAlgorithm !== undefined) return { mode: 'customer' }
  if (ServerSideEncryption === undefined) return { mode: 'none' }
  return {
    mode: MODES.get(ServerSideEncryption) ?? ServerSideEncryption,
    ...(SSEKMSKeyId !== undefined && { keyId: SSEKMSKeyId }),
    ...(BucketKeyEnabled !== undefined && { bucketKey: BucketKeyEnabled }),
  }
}

const MODES: ReadonlyMap<string, string> = new Map([
  ['AES256', 's3'],
  ['aws:kms', 'kms'],
  ['aws:kms:dsse', 'dsse'],
])

type Answer = (clientSide: ClientSideProtection | undefined, serverSide: ServerSideProtection) => ThreatAnswer

const THREATS: readonly Answer[] = [
  (clientSide, { mode }) => {
    const threat = 'someone gets at the disks of the store'
    if (clientSide) return { threat, answer: 'yes', why: 'the content was encrypted before it was sent' }
    if (mode === 'none') return { threat, answer: 'no', why: 'the store does not say that it encrypts' }
    return { threat, answer: 'yes', why: 'the store encrypts what it writes' }
  },
  (clientSide, { mode }) => {
    const threat = 'someone may read the bucket: by stolen credentials, or a policy that is too wide'
    if (clientSide) return { threat, answer: 'yes', why: 'the store gives out ciphertext only' }
    if (mode === 'customer') return { threat, answer: 'yes', why: "the store asks for the customer's key" }
    if (mode === 'kms' || mode === 'dsse')
      return { threat, answer: 'partly', why: 'only whoever may also use the KMS key can read' }
    return { threat, answer: 'no', why: 'the store decrypts for everyone who may read' }
  },
  (clientSide) => {
    const threat = 'the store itself, or someone in it, reads the content'
    if (clientSide) return { threat, answer: 'yes', why: 'the store has neither the content nor the key to it' }
    return { threat, answer: 'no', why: 'the store has the content before it encrypts and after it decrypts' }
  },
  (clientSide) => {
    const threat = 'someone who may write to the bucket changes the content'
    if (!clientSide) return { threat, answer: 'no', why: 'what is written in its place is read as if it were it' }
    if (!clientSide.authenticated)
      return { threat, answer: 'no', why: 'nothing authenticates AES-CBC: put the object anew' }
    if (!clientSide.keyCommitment)
      return {
        threat,
        answer: 'partly',
        why: 'a change is noticed, but without key commitment it may open with two keys',
      }
    return { threat, answer: 'yes', why: 'a change is noticed before any plaintext is given out' }
  },
  (clientSide) => ({
    threat: 'someone who may write to the bucket puts back an older or another object, or deletes it',
    answer: 'no',
    why: clientSide
      ? 'such an object is as good as this one to the same keys: see versioning and object lock, and bind the name in an encryption context'
      : 'see versioning and object lock',
  }),
  () => ({
    threat: 'someone sees that there is an object',
    answer: 'no',
    why: 'its name, length, times and metadata are not encrypted',
  }),
]
