import type { S3Client } from '@aws-sdk/client-s3'
import { describe } from '../options'
import { discardBody } from './body'
import { type ObjectInput, OWN, rememberEncryption, type StoringCall } from './call'
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
import { encryptionOfCommand, type ServerSidePlugin, serverSideEncryption } from './server-side'
import { checkSettings, type S3EncryptionSettings } from './settings'

/** Sends the requests for instruction files: the client that the plugin is for, or another. */
export type S3Sender = Pick<S3Client, 'send'> &
  Partial<Pick<S3Client, 'destroy'>> & { readonly config?: { cacheMiddleware?: boolean | undefined } }
export type S3Plugin = Parameters<S3Client['middlewareStack']['use']>[0]

type Stack = Parameters<S3Plugin['applyToStack']>[0]
interface Args {
  input: object
}
/** One for all steps of an operation. */
interface Context {
  readonly commandName?: string
  /** What the SDK's logger sees of an input. */
  inputFilterSensitiveLog?: (input: object) => object
  /** Older releases of the SDK tell of no signal here. */
  readonly __smithy_context?: { readonly abortSignal?: AbortSignal }
}
interface HttpArgs extends Args {
  request: { headers: Record<string, string> }
}
interface Result {
  output: object
}
type HttpHandlerOptions = Parameters<S3Client['send']>[1] & object
type Operation = (call: StoringCall<object, object>) => Promise<object>

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
  const sendAs = (mode: ServerSidePlugin | undefined, nameOf: NameOf = () => ({})) => {
    return ((command: Parameters<S3Client['send']>[0], options?: HttpHandlerOptions) => {
      Object.assign(command.input, nameOf(command.input as ObjectInput), { [OWN]: true })
      if (mode) command.middlewareStack.use(mode)
      return client.send(command, options ?? {})
    }) as S3Client['send']
  }
  // `client` need not be the one that this plugin is used on.
  const send = sendAs(serverSide)
  const encryption = { settings: checked, send, uploads }
  rememberEncryption(client, encryption)
  // It would have the SDK use what was made for one request for all.
  if (client.config?.cacheMiddleware) client.config.cacheMiddleware = false
  const signals = noteSignals(client)
  let isDestroyed = false
  const { destroy } = client
  if (typeof destroy === 'function') {
    client.destroy = () => {
      isDestroyed = true
      uploads.endAll('ended with its client')
      destroy.call(client)
    }
  }

  const states = new WeakMap<Context, State>()
  const noting = (next: (args: Args) => Promise<Result>, context: Context) => (args: Args) => {
    const { input } = args
    // The same input comes again where the SDK turns to another Region.
    const isShared = (states.get(context)?.input ?? input) !== input
    if (isShared) return Promise.reject(new TypeError('"cacheMiddleware" of the client must be off'))
    const signal = context.__smithy_context?.abortSignal ?? signals.get(input)
    states.set(context, { input, signal, wasSent: false })
    hideBody(input, context)
    return next(args)
  }
  const middleware = (next: (args: Args) => Promise<Result>, context: Context) => {
    const { commandName = '' } = context
    const operation = OPERATIONS.get(commandName)
    const isReading = READING.has(commandName)
    return async (args: Args) => {
      const state: Partial<State> = states.get(context) ?? {}
      // As it was sent: the caller's middleware may have made another input of it.
      if (!operation || OWN in (state.input ?? args.input)) return await next(args)
      const { signal } = state
      let result: Result | undefined
      let isPassedOn = false
      let isStoring = false
      const checkAborted = () => {
        if (signal?.aborted) throw abortError()
      }
      const passOn = async (input: object) => {
        checkAborted()
        isPassedOn = true
        result = await next({ ...args, input })
        refusePresigned(result.output, commandName)
        // What is stored by then has to be finished; what is read need not be.
        isPassedOn = !isReading
        return result.output
      }
      const beginStoring = () => {
        checkAborted()
        isStoring = true
      }
      if (signal?.aborted) {
        discardBody((args.input as { Body?: unknown }).Body)
        throw abortError()
      }
      const call = {
        ...encryption,
        input: args.input,
        next: passOn,
        checkAborted,
        beginStoring,
        wasSent: () => state.wasSent === true,
        send: sendAs(encryptionOfCommand(context, 'target'), asCalled(state.input, args.input)),
        sendToSource: sendAs(sourceMode(args.input, context)),
      }
      if (isReading && signal) {
        const { send } = call
        call.send = ((command: never) => send(command, { abortSignal: signal })) as S3Client['send']
      }
      const running = operation(call)
      const abort = (reject: (error: Error) => void) => {
        // While the SDK has the request, it is the SDK that ends it.
        if (isPassedOn || isStoring) return
        reject(abortError())
        for (const holder of [args.input, result?.output]) discardBody((holder as { Body?: unknown } | undefined)?.Body)
      }
      const output = await (signal ? orAborted(running, signal, abort) : running)
      return { ...result, output }
    }
  }
  // Upload of the SDK rejects first and cleans up after: what it still sends would leave its connections to a destroyed client.
  const closing = (next: (args: HttpArgs) => Promise<Result>, context: Context) => (args: HttpArgs) => {
    const state = states.get(context)
    if (state) state.wasSent = true
    if (isDestroyed) args.request.headers.connection = 'close'
    return next(args)
  }
  return {
    applyToStack: (stack: Stack) => {
      const name = 'sealwaxS3Encryption'
      // Its type is one of the SDK's inner packages.
      stack.add(noting as never, { step: 'initialize', priority: 'high', name: `${name}Note`, override: true })
      stack.add(middleware as never, { step: 'initialize', priority: 'low', name, override: true })
      stack.add(closing as never, { step: 'finalizeRequest', priority: 'low', name: `${name}Close`, override: true })
      if (serverSide) stack.use(serverSide)
    },
  }
}

/** An operation under way. */
interface State {
  readonly input: object
  /** What ends it. */
  readonly signal: AbortSignal | undefined
  /** Whether a request of it was on its way to the store. */
  wasSent: boolean
}

type NameOf = (input: ObjectInput) => ObjectInput

/**
 * Middleware of the caller's may have given the object another name, as by a prefix. It comes to the requests that go along too: they
 * begin with the name that the caller gave.
 */
function asCalled(called: ObjectInput = {}, { Bucket, Key }: ObjectInput): NameOf {
  return (input) =>
    Key !== undefined && input.Bucket === Bucket && input.Key?.startsWith(Key)
      ? { Bucket: called.Bucket, Key: `${called.Key}${input.Key.slice(Key.length)}` }
      : {}
}

/** How requests for the source of a copy are to say that it is stored: not at all where their own fields do. */
function sourceMode(input: object, context: Context): ServerSidePlugin | undefined {
  const { CopySourceSSECustomerKey: own } = input as { CopySourceSSECustomerKey?: unknown }
  return own === undefined ? encryptionOfCommand(context, 'source') : serverSideEncryption({ mode: 's3' })
}

/** The signals of the commands that the client sends, by their inputs. What stands in for a `send`, as in tests, goes on doing so. */
function noteSignals(client: S3Sender): WeakMap<object, AbortSignal> {
  const signals = new WeakMap<object, AbortSignal>()
  const own = Object.hasOwn(client, 'send') ? client.send : undefined
  const noting = (...args: Parameters<S3Client['send']>) => {
    const [{ input }, options] = args
    if (options?.abortSignal) signals.set(input, options.abortSignal as AbortSignal)
    const send: S3Client['send'] = own ?? Object.getPrototypeOf(client).send
    return send.apply(client, args)
  }
  client.send = noting as S3Client['send']
  return signals
}

/** The SDK logs inputs as the caller gave them: before they are encrypted. */
function hideBody(input: object, context: Context): void {
  const { inputFilterSensitiveLog: filter = (same) => same } = context
  if ('Body' in input) context.inputFilterSensitiveLog = (logged) => ({ ...filter(logged), Body: HIDDEN })
}

/** As the SDK has it. */
const HIDDEN = '***SensitiveInformation***'

/** The SDK also takes signals of its own from before Node.js had any, which have no events. */
type AnySignal = Pick<AbortSignal, 'onabort'> & Partial<Pick<AbortSignal, 'addEventListener' | 'removeEventListener'>>

/** What the promise gives, or what `abort` makes of it when the signal says so. */
async function orAborted<T>(
  running: Promise<T>,
  signal: AnySignal,
  abort: (reject: (error: Error) => void) => void,
): Promise<T> {
  let onAbort = () => {}
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => abort(reject)
    if (signal.addEventListener) signal.addEventListener('abort', onAbort)
    else signal.onabort = onAbort
  })
  try {
    return await Promise.race([running, aborted])
  } finally {
    if (signal.removeEventListener) signal.removeEventListener('abort', onAbort)
    else if (signal.onabort === onAbort) signal.onabort = null
  }
}

function abortError(): Error {
  return Object.assign(new Error('Request aborted'), { name: 'AbortError' })
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

const READING: ReadonlySet<string> = new Set(['GetObjectCommand', 'HeadObjectCommand'])
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
