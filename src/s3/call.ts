import type { S3Client } from '@aws-sdk/client-s3'
import type { EncryptionContext } from '../encryption-context'
import { SealwaxError } from '../errors'
import { describe } from '../options'
import type { OpenUploads } from './open-uploads'
import type { CheckedSettings } from './settings'

type Sdk = typeof import('@aws-sdk/client-s3')

/** What an encrypting client understands in an input beyond what the SDK does. */
export interface EncryptionInput {
  /** Public pairs that KMS binds to the data key, and reading must give again. */
  EncryptionContext?: EncryptionContext | undefined
}

/** What the requests for one object share with the request for its instruction file. */
export interface ObjectInput {
  Bucket?: string | undefined
  Key?: string | undefined
  ExpectedBucketOwner?: string | undefined
  RequestPayer?: string | undefined
}

/** One operation that a caller sent, on its way through. */
export interface Call<Input, Output> {
  readonly input: Input
  readonly settings: CheckedSettings
  /** Hands it to the SDK, with this input. */
  readonly next: (input: Input) => Promise<Output>
  /** Sends another operation, which is neither encrypted nor decrypted. */
  readonly send: S3Client['send']
  /** The multipart uploads that are open. */
  readonly uploads: OpenUploads
}

/** One that stores something. */
export interface StoringCall<Input, Output> extends Call<Input, Output> {
  /** Throws the error of the SDK where the caller has given up. */
  readonly checkAborted: () => void
  /**
   * To be called before anything else than the object is stored. Throws the same; from then on, whoever gives up waits until that is
   * put back: what came later would be written over.
   */
  readonly beginStoring: () => void
  /** Whether a request of it was on its way to the store: a presigned one never is, nor one that cannot be written. */
  readonly wasSent: () => boolean
  /** As `send`, for the source of a copy, whose mode of server-side encryption may be another. */
  readonly sendToSource: S3Client['send']
}

/** What an encrypting client works with. */
export type Encryption = Pick<Call<unknown, unknown>, 'settings' | 'send' | 'uploads'>

const encryptions = new WeakMap<object, Encryption>()

/** Throws `TypeError` for a client that encrypts already (s3-encryption/client.md "Wrapped S3 Client(s)"). */
export function rememberEncryption(client: object, encryption: Encryption): void {
  if (encryptions.has(client)) throw new TypeError('"client" encrypts already: objects would be encrypted twice')
  encryptions.set(client, encryption)
}

/** Throws `TypeError` for a client that does not encrypt. */
export function encryptionOf(client: unknown): Encryption {
  const encryption = typeof client === 'object' && client !== null ? encryptions.get(client) : undefined
  if (encryption) return encryption
  throw new TypeError(`"client" must be an S3EncryptionClient, or have s3Encryption in it, got ${describe(client)}`)
}

/** Loaded when it is first used: importing this package loads no SDK. Bundlers leave out what is not installed, as it is tried. */
export function s3Sdk(): Sdk {
  try {
    return require('@aws-sdk/client-s3') as Sdk
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error
    const problem = 'clients of S3 need the package @aws-sdk/client-s3: install it beside sealwax'
    throw new SealwaxError('ERR_FILE', problem, { cause: error })
  }
}

/** Marks the inputs of requests that the plugin leaves as they are; a property, because middleware of the SDK copies inputs. */
export const OWN = Symbol('sealwax')

/** Marks inputs whose fields of server-side encryption are what an object had, and give way to what a client states. */
export const KEPT_MODE = Symbol('sealwax kept mode')
