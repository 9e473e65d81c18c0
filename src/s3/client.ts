import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3'
import { type EncryptionInput, s3Sdk } from './call'
import type { GetObjectInput } from './get'
import type { UploadPartInput } from './multipart'
import { s3Encryption } from './plugin'
import type { S3EncryptionSettings } from './settings'

/**
 * The client of the AWS SDK, with {@link s3Encryption} in it. Everything else is the SDK's own, but for one default: a connection on
 * which nothing moves for 60 seconds ends with a `TimeoutError`; `requestHandler: { socketTimeout }` is another time, in ms.
 *
 * @example
 * const client = new S3EncryptionClient({ region: 'us-east-1' }, { keyring })
 * await client.send(new PutObjectCommand({ Bucket, Key, Body: 'secret' }))
 * const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }))
 */
export interface S3EncryptionClient extends S3Client {}

interface S3EncryptionClientConstructor {
  /** Throws `TypeError` and `RangeError` for wrong settings. */
  new (config: S3ClientConfig, settings: S3EncryptionSettings): S3EncryptionClient
  prototype: S3EncryptionClient
}

// A class of the SDK's, made when it is first used: importing this package loads no SDK.
export const S3EncryptionClient: S3EncryptionClientConstructor = new Proxy(
  function S3EncryptionClient() {} as unknown as S3EncryptionClientConstructor,
  {
    get: (_, property) => Reflect.get(theClass(), property),
    has: (_, property) => Reflect.has(theClass(), property),
    apply: (_, target, args) => Reflect.apply(theClass() as never, target, args),
    construct: (_, args, target) =>
      Reflect.construct(theClass(), args, target === S3EncryptionClient ? theClass() : target),
  },
)

let made: S3EncryptionClientConstructor | undefined

function theClass(): S3EncryptionClientConstructor {
  made ??= class S3EncryptionClient extends s3Sdk().S3Client {
    constructor(config: S3ClientConfig, settings: S3EncryptionSettings) {
      super({ ...config, requestHandler: withTimeout(config?.requestHandler) })
      this.middlewareStack.use(s3Encryption(this, settings))
    }
  }
  return made
}

/** The SDK would wait for ever. A handler that is made already has what it was made with. */
function withTimeout(handler: S3ClientConfig['requestHandler']): NonNullable<S3ClientConfig['requestHandler']> {
  if (handler && 'handle' in handler) return handler
  return { socketTimeout: NO_PROGRESS_TIMEOUT, ...handler }
}

const NO_PROGRESS_TIMEOUT = 60_000

declare module '@aws-sdk/client-s3' {
  interface PutObjectCommandInput extends EncryptionInput {}
  interface GetObjectCommandInput extends GetObjectInput {}
  interface HeadObjectCommandInput extends EncryptionInput {}
  interface CreateMultipartUploadCommandInput extends EncryptionInput {}
  interface UploadPartCommandInput extends UploadPartInput {}
}
