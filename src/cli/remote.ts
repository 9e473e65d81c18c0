import { PassThrough } from 'node:stream'
import type { S3Client } from '@aws-sdk/client-s3'
import { SealwaxError } from '../index'
import { quote, UsageError } from './errors'
import { type Source, transfer, transformFile, type Work } from './io'
import { checkUsed } from './keys'
import { type CommonOptions, contextOf, type LegacyOptions, policyOf } from './options'
import { isS3Url, openS3, openS3Sink, openS3Source } from './s3'
import { refuseContextFor, toS3Keyring } from './s3-keys'

/** From where to where; one of them at least is `s3://…`. */
export interface Route {
  readonly input: string
  readonly path: string
  /** The one of the two that is, or will be, encrypted. */
  readonly cipherSide: string
}

interface RemoteOptions extends CommonOptions, LegacyOptions {
  suite?: unknown
  frameLength?: unknown
  releasePlaintextBeforeSignatureIsVerified?: unknown
}

/** Encrypts or decrypts where an object of S3 is input or output: as the S3 client does it, or with `workOf` as a message. */
export async function transformRemote(
  { input, path, cipherSide }: Route,
  options: RemoteOptions,
  workOf: () => Promise<Work>,
  signal: AbortSignal,
): Promise<void> {
  if (input === path) throw new UsageError(`${quote(path)} is the input itself`)
  // Most tools would show such an object as a folder, and put into it what is meant to be in it.
  if (isS3Url(path) && path.endsWith('/')) throw new UsageError(`${quote(path)} names a folder: name the object`)
  const format = options.format ?? (isS3Url(cipherSide) ? 's3' : 'message')
  if (format === 's3' && !isS3Url(cipherSide)) throw new UsageError('--format s3 is for objects at s3://')
  if (!isS3Url(path) && (options.sse ?? options.sseKmsKeyId) !== undefined) {
    throw new UsageError('--sse and --sse-kms-key-id are for objects that are written: the output is none')
  }
  const encrypts = cipherSide === path
  const clients: S3Client[] = []
  const clientFor = async (url: string, encryption?: S3Client) => {
    const client = url === cipherSide && encryption ? encryption : await openS3(options)
    clients.push(client)
    return client
  }
  try {
    const encryption = format === 's3' ? await encryptionClient(options, encrypts) : undefined
    const work = encryption ? passing(encrypts) : await workOf()
    const context = encryption && contextOf(options)
    const force = options.force === true
    await transformFile(
      input,
      { path, force },
      {
        ...work,
        ...(isS3Url(input) && {
          openSource: async () =>
            openS3Source(await clientFor(input, encryption), input, encrypts ? undefined : context, signal),
        }),
        ...(isS3Url(path) && {
          openSink: async () => {
            const isSealed = encrypts && encryption !== undefined
            const own = { equalParts: isSealed, encryptionContext: isSealed ? context : undefined }
            return openS3Sink(await clientFor(path, encryption), path, { force, signal, ...own })
          },
        }),
      },
      signal,
    )
  } finally {
    for (const client of clients) client.destroy()
  }
}

async function encryptionClient(options: RemoteOptions, encrypts: boolean): Promise<S3Client> {
  const { suite, frameLength, maxEncryptedDataKeys, oaepHash, encryptionContext } = options
  if (suite !== undefined || frameLength !== undefined || maxEncryptedDataKeys !== undefined) {
    throw new UsageError('suites, frames and numbers of data keys are of messages: use --format message')
  }
  if (options.releasePlaintextBeforeSignatureIsVerified !== undefined) {
    throw new UsageError('S3 objects are not signed: --release-plaintext-before-signature-is-verified is for messages')
  }
  if (oaepHash !== undefined)
    throw new UsageError('--oaep-hash is for messages: RSA OAEP of S3 objects has SHA-1, by their format')
  if (encrypts && encryptionContext) refuseContextFor(options, '--encryption-context')
  checkUsed(options)
  const keyring = await toS3Keyring(options, encrypts ? 'encrypt' : 'decrypt')
  const { enableLegacyWrappingAlgorithms, enableLegacyUnauthenticatedModes } = options
  const legacy = { enableLegacyWrappingAlgorithms, enableLegacyUnauthenticatedModes }
  return await openS3(options, { keyring, commitmentPolicy: policyOf(options), ...legacy })
}

/** The client encrypts and decrypts by itself. */
function passing(encrypts: boolean): Work {
  return {
    label: encrypts ? 'encrypting' : 'decrypting',
    secret: !encrypts,
    async run(source, sink, io) {
      if (encrypts) checkLength(source)
      await transfer(source, new PassThrough(), sink.write, io)
    },
  }
}

/** The client would say so once so much has gone up. */
function checkLength({ name, length = 0 }: Source): void {
  if (length <= MAX_OBJECT_LENGTH) return
  const problem = `${name} has ${length} bytes, and an S3 object takes ${MAX_OBJECT_LENGTH}: use --format message`
  throw new SealwaxError('ERR_LIMIT_EXCEEDED', problem)
}

/** What AES-GCM encrypts under one IV. */
const MAX_OBJECT_LENGTH = 2 ** 36 - 32
