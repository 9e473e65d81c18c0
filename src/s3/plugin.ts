import type { S3Client } from '@aws-sdk/client-s3'
import { describe } from '../options'
import { type Call, OWN, rememberEncryption } from './call'
import { copyObject } from './copy'
import { deleteObject, deleteObjects } from './delete'
import { getObject, headObject } from './get'
import {
  abortMultipartUpload,
  completeMultipartUpload,
  createMultipartUpload,
  uploadPart,
  uploadPartCopy,
} from './multipart'
import { OpenUploads } from './open-uploads'
import { putObject } from './put'
import { checkSettings, type S3EncryptionSettings } from './settings'

/** Sends the requests for instruction files: the client that the plugin is for, or another. */
export type S3Sender = Pick<S3Client, 'send'> & Partial<Pick<S3Client, 'destroy'>>
export type S3Plugin = Parameters<S3Client['middlewareStack']['use']>[0]

type Stack = Parameters<S3Plugin['applyToStack']>[0]
interface Args {
  input: object
}
interface HttpArgs extends Args {
  request: { headers: Record<string, string> }
}
interface Result {
  output: object
}
type HttpHandlerOptions = Parameters<S3Client['send']>[1] & object
type Operation = (call: Call<object, object>) => Promise<object>

/**
 * Makes a client of the AWS SDK encrypt what it puts and decrypt what it gets. `client` is the client it is used on.
 * `PutObject`, `GetObject`, `HeadObject`, `DeleteObject`, `DeleteObjects` and multipart uploads are changed; all else passes
 * as it is. `client.destroy()` then also wipes the keys of uploads that are open. Throws `TypeError` and `RangeError` for wrong
 * settings, and `TypeError` for a client that encrypts already.
 *
 * @example
 * const client = new S3Client({ region: 'us-east-1' })
 * client.middlewareStack.use(s3Encryption(client, { keyring }))
 */
export function s3Encryption(client: S3Sender, settings: S3EncryptionSettings): S3Plugin {
  if (typeof client?.send !== 'function') throw new TypeError(`"client" must be an S3 client, got ${describe(client)}`)
  const checked = checkSettings(settings)
  const { serverSide } = checked
  const uploads = new OpenUploads()
  const send = ((command: Parameters<S3Client['send']>[0], options?: HttpHandlerOptions) => {
    Object.assign(command.input, { [OWN]: true })
    // `client` need not be the one that this plugin is used on.
    if (serverSide) command.middlewareStack.use(serverSide)
    return client.send(command, options)
  }) as S3Client['send']
  const encryption = { settings: checked, send, uploads }
  rememberEncryption(client, encryption)
  let isDestroyed = false
  const { destroy } = client
  if (typeof destroy === 'function') {
    client.destroy = () => {
      isDestroyed = true
      uploads.endAll('ended with its client')
      destroy.call(client)
    }
  }

  const middleware = (next: (args: Args) => Promise<Result>, { commandName = '' }: { commandName?: string }) => {
    const operation = OPERATIONS.get(commandName)
    return async (args: Args) => {
      if (!operation || OWN in args.input) return await next(args)
      let result: Result | undefined
      const passOn = async (input: object) => {
        result = await next({ ...args, input })
        refusePresigned(result.output, commandName)
        return result.output
      }
      const output = await operation({ ...encryption, input: args.input, next: passOn })
      return { ...result, output }
    }
  }
  // Upload of the SDK rejects first and cleans up after: what it still sends would leave its connections to a destroyed client.
  const closing = (next: (args: HttpArgs) => Promise<Result>) => (args: HttpArgs) => {
    if (isDestroyed) args.request.headers.connection = 'close'
    return next(args)
  }
  return {
    applyToStack: (stack: Stack) => {
      const name = 'sealwaxS3Encryption'
      // Its type is one of the SDK's inner packages.
      stack.add(middleware as never, { step: 'initialize', priority: 'low', name, override: true })
      stack.add(closing as never, { step: 'finalizeRequest', priority: 'low', name: `${name}Close`, override: true })
      if (serverSide) stack.use(serverSide)
    },
  }
}

/**
 * What getSignedUrl of @aws-sdk/s3-request-presigner gets in place of an answer. Who uses such a URL sends and gets bytes
 * that nobody encrypts or decrypts, under an envelope that says otherwise.
 */
function refusePresigned(output: object, commandName: string): void {
  if (!('presigned' in output)) return
  throw new TypeError(
    `${commandName} cannot be presigned by a client that encrypts: presign with a plain one, and use sealObject and openObject`,
  )
}

const OPERATIONS: ReadonlyMap<string, Operation> = new Map<string, unknown>([
  ['PutObjectCommand', putObject],
  ['GetObjectCommand', getObject],
  ['HeadObjectCommand', headObject],
  ['DeleteObjectCommand', deleteObject],
  ['DeleteObjectsCommand', deleteObjects],
  ['CopyObjectCommand', copyObject],
  ['CreateMultipartUploadCommand', createMultipartUpload],
  ['UploadPartCommand', uploadPart],
  ['UploadPartCopyCommand', uploadPartCopy],
  ['CompleteMultipartUploadCommand', completeMultipartUpload],
  ['AbortMultipartUploadCommand', abortMultipartUpload],
]) as ReadonlyMap<string, Operation>
