import type { S3Client } from '@aws-sdk/client-s3'
import { SealwaxError } from '../errors'
import { checkInteger, checkString, describe } from '../options'
import { aborted } from '../signals'
import { KEPT_MODE, OWN } from './call'
import { MIN_PART_LENGTH } from './part-geometry'
import type { S3Sender } from './plugin'
import { MAX_COPY_LENGTH } from './rewrap-copy'
import { type ServerSideEncryption, serverSideEncryption } from './server-side'

/** Where an object is, and how it is stored. */
export interface RewrapTarget {
  Bucket: string
  Key: string
  ExpectedBucketOwner?: string | undefined
  RequestPayer?: 'requester' | undefined
  /** How the store encrypts the rewritten object. Default: as the client states, else as the object is stored. */
  serverSide?: ServerSideEncryption | undefined
  /** How it is stored now, where that is with a customer's key that the client does not have. */
  copySource?: ServerSideEncryption | undefined
  /** Longer objects are copied in parts of this length, several at a time: 5 MiB to 5 GiB. Default: 5 GiB. */
  partSize?: number | undefined
  /** Ends it early, with `ERR_ABORTED`. The object is then as it was, or rewritten as a whole. */
  signal?: AbortSignal | undefined
}

export const REWRAP_TARGET = [
  'Bucket',
  'Key',
  'ExpectedBucketOwner',
  'RequestPayer',
  'serverSide',
  'copySource',
  'partSize',
  'signal',
] as const

/** The requests that rewrite one object. */
export class RewrapSession {
  readonly target: Pick<RewrapTarget, 'Bucket' | 'Key' | 'ExpectedBucketOwner' | 'RequestPayer'>
  readonly sourceOwner: { ExpectedSourceBucketOwner?: string }
  readonly partSize: number
  readonly #client: S3Sender
  readonly #serverSide: ServerSideEncryption | undefined
  readonly #copySource: ServerSideEncryption | undefined
  readonly #signal: AbortSignal | undefined

  constructor(client: S3Sender, input: RewrapTarget) {
    if (typeof client?.send !== 'function')
      throw new TypeError(`"client" must be an S3 client, got ${describe(client)}`)
    const { Bucket, Key, ExpectedBucketOwner, RequestPayer, serverSide, copySource, partSize, signal } = input
    checkString(Bucket, 'Bucket')
    checkString(Key, 'Key')
    this.target = { Bucket, Key, ExpectedBucketOwner, RequestPayer }
    this.sourceOwner = ExpectedBucketOwner === undefined ? {} : { ExpectedSourceBucketOwner: ExpectedBucketOwner }
    this.partSize = checkInteger(partSize ?? MAX_COPY_LENGTH, 'partSize', MIN_PART_LENGTH, MAX_COPY_LENGTH)
    if (copySource !== undefined && serverSide === undefined)
      throw new TypeError('"copySource" goes with "serverSide" only')
    // Checked here: what a command throws would come after the first request.
    if (serverSide !== undefined) serverSideEncryption(serverSide, { copySource })
    this.#client = client
    this.#serverSide = serverSide
    this.#copySource = copySource
    this.#signal = signal
  }

  /** Of the object, as CopyObject wants it. */
  get sourcePath(): string {
    const { Bucket, Key } = this.target
    const path = Key.split('/').map(encodeURIComponent).join('/')
    return Bucket.startsWith('arn:') ? `${Bucket}/object/${path}` : `${Bucket}/${path}`
  }

  /** Reads what is there now. */
  readonly read: S3Client['send'] = this.#sender(() => this.#copySource)
  /** Tells what there is. */
  readonly list: S3Client['send'] = this.#sender(() => undefined)
  /** Reads what was written. */
  readonly readBack: S3Client['send'] = this.#sender(() => this.#serverSide)
  /** Writes, from what is there. */
  readonly copy: S3Client['send'] = this.#sender(
    () => this.#serverSide,
    () => this.#copySource,
  )
  /** Begins an upload: one that is aborted on its way may be there, and nobody knows its name. */
  readonly begin: S3Client['send'] = this.#sender(
    () => this.#serverSide,
    () => this.#copySource,
    false,
  )
  /** What must be done although the signal has ended the rest. */
  readonly cleanUp: S3Client['send'] = this.#sender(
    () => undefined,
    () => undefined,
    false,
  )

  #sender(
    modeOf: () => ServerSideEncryption | undefined,
    sourceOf: () => ServerSideEncryption | undefined = () => undefined,
    isAbortable = true,
  ): S3Client['send'] {
    return (async (command: Parameters<S3Client['send']>[0]) => {
      Object.assign(command.input, { [OWN]: true, [KEPT_MODE]: true })
      sayConditions(command)
      const mode = modeOf()
      if (mode) command.middlewareStack.use(serverSideEncryption(mode, { copySource: sourceOf() }))
      const signal = isAbortable ? this.#signal : undefined
      if (signal?.aborted) throw aborted(signal)
      try {
        return await this.#client.send(command, signal ? { abortSignal: signal } : {})
      } catch (error) {
        throw signal?.aborted ? aborted(signal) : isChanged(error) ? changed(error) : error
      }
    }) as S3Client['send']
  }
}

/** Releases of the SDK before 2025 drop these fields without a word, and would write over what another has written. */
function sayConditions(command: Parameters<S3Client['send']>[0]): void {
  const { IfMatch, IfNoneMatch } = command.input as { IfMatch?: string; IfNoneMatch?: string }
  const headers = { ...(IfMatch && { 'if-match': IfMatch }), ...(IfNoneMatch && { 'if-none-match': IfNoneMatch }) }
  const stating = (next: (args: Args) => Promise<never>) => (args: Args) => {
    Object.assign(args.request.headers, headers)
    return next(args)
  }
  command.middlewareStack.add(stating as never, { step: 'build', name: 'sealwaxConditions', override: true })
}

interface Args {
  request: { headers: Record<string, string> }
}

function isChanged(error: unknown): boolean {
  return CONDITION_ERRORS.has((error as Error | undefined)?.name)
}

const CONDITION_ERRORS: ReadonlySet<string | undefined> = new Set(['PreconditionFailed', 'ConditionalRequestConflict'])

export function changed(cause?: unknown): SealwaxError {
  const message = 'the object was replaced meanwhile: begin again'
  return new SealwaxError('ERR_OBJECT_CHANGED', message, cause === undefined ? {} : { cause })
}
