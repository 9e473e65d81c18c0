/** Objects of S3 as input and output: `s3://bucket/key`. Region, credentials and retries are the business of the AWS SDK. */
import type { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3'
import { type Command, Option } from 'commander'
import type { S3EncryptionSettings, ServerSideEncryption } from '../s3'
import { quote, UsageError } from './errors'
import type { Source } from './io'
import { badKey, readSecret } from './keys'
import { namedBody, sparePauses } from './s3-body'
import { naming } from './s3-errors'
import { alreadyThere, type Sink } from './sink'

export interface S3Options {
  endpointUrl?: string
  sse?: 'AES256' | 'aws:kms' | 'aws:kms:dsse'
  sseKmsKeyId?: string
  sseCKey?: string
}

/** One object, or for some commands all whose keys begin so. */
export interface S3Url {
  readonly Bucket: string
  readonly Key: string
}

export function isS3Url(path: string | undefined): path is string {
  return path?.startsWith('s3://') === true
}

export function parseS3Url(url: string, { keyRequired = true } = {}): S3Url {
  const [, Bucket, Key = ''] = S3_URL.exec(url) ?? []
  if (Bucket !== undefined && (Key !== '' || !keyRequired)) return { Bucket, Key }
  throw new UsageError(`an object is named s3://bucket/key, not ${quote(url)}`)
}

/** In place of the bucket may be the ARN of an access point, which has slashes. */
const S3_URL = /^s3:\/\/(arn(?::[^:/]*){4}:(?:outpost[:/][^:/]+[:/])?accesspoint[:/][^:/]+|[^/]+)(?:\/(.*))?$/s

export function addS3Options(command: Command): Command {
  return addS3ReadOptions(command)
    .addOption(
      new Option('--sse <mode>', 'how S3 encrypts once more what it stores; as the bucket says by default')
        .choices(['AES256', 'aws:kms', 'aws:kms:dsse'])
        .conflicts('sseCKey'),
    )
    .option('--sse-kms-key-id <key>', 'AWS KMS key for that; the one of S3 in the account by default')
}

export function addS3ReadOptions(command: Command): Command {
  return command
    .option('--endpoint-url <url>', 'where S3 answers; AWS by default')
    .option('--sse-c-key <file>', 'file of 32 bytes, the key that S3 encrypts once more with and does not keep')
}

/** Throws for options that say something of objects, where none is there. */
export function refuseS3Options({
  endpointUrl,
  sse,
  sseKmsKeyId,
  sseCKey,
  format,
}: S3Options & { format?: string }): void {
  const options = {
    '--endpoint-url': endpointUrl,
    '--sse': sse,
    '--sse-kms-key-id': sseKmsKeyId,
    '--sse-c-key': sseCKey,
    '--format s3': format === 's3' ? format : undefined,
  }
  for (const [option, value] of Object.entries(options)) {
    if (value !== undefined) throw new UsageError(`${option} is for objects at s3://`)
  }
}

/** A client, with encryption if there are settings for it. */
export async function openS3(options: S3Options, settings?: S3EncryptionSettings): Promise<S3Client> {
  const { endpointUrl: endpoint } = options
  if (endpoint !== undefined && !/^https?:$/.test(URL.canParse(endpoint) ? new URL(endpoint).protocol : '')) {
    throw new UsageError(`--endpoint-url must be a URL such as https://s3.example, not ${quote(endpoint)}`)
  }
  // Stores other than S3 seldom have a name for each bucket.
  const place = endpoint === undefined ? {} : { endpoint, forcePathStyle: true }
  const config: S3ClientConfig = { ...place, requestHandler: { socketTimeout: SOCKET_TIMEOUT } }
  const { S3Client } = s3Sdk()
  const { S3EncryptionClient, serverSideEncryption } = require('../s3') as typeof import('../s3')
  const { sseCKey } = options
  const key = sseCKey === undefined ? undefined : await readSecret(sseCKey)
  try {
    if (key && key.length !== 32) throw badKey(sseCKey!, `it must have 32 bytes, and has ${key.length}`)
    const serverSide = key ? { mode: 'customer' as const, key } : serverSideOf(options)
    const client = settings ? new S3EncryptionClient(config, { ...settings, serverSide }) : new S3Client(config)
    if (serverSide && !settings) client.middlewareStack.use(serverSideEncryption(serverSide))
    sparePauses(client, SOCKET_TIMEOUT)
    return client
  } finally {
    key?.fill(0)
  }
}

/** Milliseconds in which nothing moves on a connection; the SDK would wait for ever. */
const SOCKET_TIMEOUT = 60_000

function serverSideOf({ sse, sseKmsKeyId: keyId }: S3Options): ServerSideEncryption | undefined {
  if (sse === undefined || sse === 'AES256') {
    if (keyId !== undefined) throw new UsageError('--sse-kms-key-id is for --sse aws:kms or aws:kms:dsse')
    return sse && { mode: 's3' }
  }
  return { mode: sse === 'aws:kms' ? 'kms' : 'dsse', keyId }
}

/** Loaded for these commands only; it is installed beside this package by those who need it. */
export function s3Sdk(): typeof import('@aws-sdk/client-s3') {
  try {
    return require('@aws-sdk/client-s3')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error
    throw new UsageError('s3:// needs the package @aws-sdk/client-s3: install it beside sealwax')
  }
}

/** The object as it is, or as the client decrypts it. */
export async function openS3Source(
  client: S3Client,
  url: string,
  encryptionContext: Record<string, string> | undefined,
  signal: AbortSignal,
): Promise<Source> {
  const name = quote(url)
  const { GetObjectCommand } = s3Sdk()
  const input = { ...parseS3Url(url), ...(encryptionContext && { EncryptionContext: encryptionContext }) }
  const { Body, ContentLength } = await naming(name, 'read', () =>
    client.send(new GetObjectCommand(input), { abortSignal: signal }),
  )
  const body = namedBody(Body as Readable, name)
  return {
    name,
    path: url,
    id: undefined,
    fd: undefined,
    length: ContentLength,
    read: () => body,
    checkUnchanged: () => {},
    close: () => void body.destroy(),
  }
}

/** An object that is there once it is complete: in one piece, or in parts that are put together at the end. */
export async function openS3Sink(client: S3Client, url: string, options: SinkOptions): Promise<Sink> {
  const { force, equalParts, encryptionContext } = options
  const target = parseS3Url(url)
  const name = quote(url)
  if (!force && (await exists(client, target, name))) throw alreadyThere(name)
  const condition = force ? {} : { IfNoneMatch: '*' }
  const context = encryptionContext && { EncryptionContext: encryptionContext }
  const sdk = s3Sdk()
  const stop = new AbortController()
  const abortSignal = AbortSignal.any([options.signal, stop.signal])
  const parts: { PartNumber: number; ETag: string | undefined }[] = []
  // Those that failed stay, and fail whoever waits next.
  const underWay = new Set<Promise<void>>()
  let upload: Promise<{ UploadId?: string | undefined }> | undefined
  let held: Uint8Array[] = []
  let length = 0
  let aborting: Promise<void> | undefined
  const abortOnce = async (begun: NonNullable<typeof upload>) => {
    try {
      const { UploadId } = await begun
      // A part that arrives later would stay.
      stop.abort()
      await Promise.allSettled(underWay)
      await client.send(new sdk.AbortMultipartUploadCommand({ ...target, UploadId }))
    } catch {
      // It never began, or the store is gone: what failed before is what is told.
    }
  }
  // A signal and the failure that it leads to both come here, and both wait.
  const abort = async () => {
    if (upload) aborting ??= abortOnce(upload)
    await aborting
  }
  const take = () => {
    const all = Buffer.concat(held)
    const Body = equalParts ? all.subarray(0, PART_LENGTH) : all
    const rest = all.subarray(Body.length)
    held = rest.length > 0 ? [rest] : []
    length = rest.length
    return Body
  }
  const sendPart = async () => {
    if (!upload) {
      // Not to be aborted on its way: the upload would be there, and nobody would know its name.
      upload = client.send(new sdk.CreateMultipartUploadCommand({ ...target, ...context }))
      openUploads.add(abort)
    }
    const { UploadId } = await upload
    const PartNumber = parts.length + 1
    const listed: (typeof parts)[number] = { PartNumber, ETag: undefined }
    parts.push(listed)
    const part = new sdk.UploadPartCommand({ ...target, UploadId, PartNumber, Body: take() })
    const sent = client.send(part, { abortSignal }).then(({ ETag }) => {
      listed.ETag = ETag
      underWay.delete(sent)
    })
    sent.catch(() => {})
    underWay.add(sent)
    if (underWay.size === CONCURRENCY) await Promise.race(underWay)
  }
  const commit = async () => {
    if (!upload) {
      await client.send(new sdk.PutObjectCommand({ ...target, ...context, ...condition, Body: take() }), {
        abortSignal,
      })
      return
    }
    while (length > 0) await sendPart()
    await Promise.all(underWay)
    const { UploadId } = await upload
    const input = { ...target, UploadId, ...condition, MultipartUpload: { Parts: parts } }
    await client.send(new sdk.CompleteMultipartUploadCommand(input))
    upload = undefined
  }
  return {
    immediate: false,
    write: (bytes) =>
      naming(name, 'write', async () => {
        held.push(Uint8Array.from(bytes))
        length += bytes.length
        while (length >= (equalParts ? PART_LENGTH : partLength(parts.length))) await sendPart()
      }),
    commit: () => naming(name, 'write', commit),
    async discard() {
      await abort()
      openUploads.delete(abort)
    },
  }
}

export interface SinkOptions {
  /** Whether an object that is there already is replaced. */
  readonly force: boolean
  /** Whether all parts but the last must have one length, as those of encrypted objects. */
  readonly equalParts: boolean
  readonly encryptionContext?: Record<string, string> | undefined
  readonly signal: AbortSignal
}

/** Aborts what is not complete, as far as the store answers: for signals. */
export async function abortUploads(): Promise<void> {
  const aborted = Promise.all([...openUploads].map((abort) => abort()))
  await Promise.race([aborted, setTimeout(MAX_ABORT_TIME)])
}

/** The result of `work`, which aborts its own uploads when a signal comes: that is waited for. */
export async function abortingUploads<T>(work: Promise<T>): Promise<T> {
  const settled = async () => void (await Promise.allSettled([work]))
  openUploads.add(settled)
  try {
    return await work
  } finally {
    openUploads.delete(settled)
  }
}

const openUploads = new Set<() => Promise<void>>()
/** Milliseconds; who does not want to wait sends a second signal. */
const MAX_ABORT_TIME = 30_000

/** Longer and longer: the 10,000 parts that S3 takes then reach beyond 64 GiB, and short objects take little memory. */
function partLength(number: number): number {
  return PART_LENGTH * (1 + Math.floor(number / 1000))
}

const PART_LENGTH = 8 * 2 ** 20
/** Parts under way. */
const CONCURRENCY = 4

async function exists(client: S3Client, target: S3Url, name: string): Promise<boolean> {
  const { HeadObjectCommand } = s3Sdk()
  return await naming(name, 'write', async () => {
    try {
      await client.send(new HeadObjectCommand(target))
      return true
    } catch (error) {
      if ((error as Error).name === 'NotFound') return false
      throw error
    }
  })
}
