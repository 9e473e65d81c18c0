import { types } from 'node:util'
import { wipe } from '../bytes'
import { SealwaxError } from '../errors'
import { checkKmsClient, type KmsAnswer, type KmsCallOptions, type KmsClient, type KmsReply } from './kms-clients'

type Operation = keyof KmsClient
type CallOptions = Required<KmsCallOptions>
type Input<O extends Operation> = Parameters<KmsClient[O]>[0]

/** {@link callService} for a keyring's call to KMS. A plaintext in `input` is this function's to wipe. */
export async function callKms<O extends Operation>(
  client: KmsClient,
  operation: O,
  input: Input<O>,
  timeout: number,
  signal?: AbortSignal,
): Promise<KmsAnswer> {
  const { KeyId = 'the key that the blob names' } = input
  const what = `KMS ${operation} with ${KeyId}`
  try {
    if (signal?.aborted) throw keyServiceError(`${what} ${NOT_NEEDED}`)
    if (timeout <= 0) throw keyServiceError(`${what} was not made: no time was left`)
    checkKmsClient(client)
    const sending = (_: KmsClient, options: CallOptions) => send(client, operation, input, options.abortSignal)
    return await callClient(what, () => client, sending, timeout, signal)
  } finally {
    // Also where the client never answers: what it still sends then is of no use.
    wipePlaintext(input)
  }
}

/**
 * One call to a key service by its own client. Retries are the client's; past `timeout` milliseconds, or when `signal`
 * fires, the call is aborted, not waited for any longer, and an answer that still comes is wiped. The plaintext of an
 * answer in time is the caller's to wipe.
 *
 * Throws `ERR_KEY_SERVICE`, its message beginning with `what`, its cause holding the name, message, status, request ID and
 * the codes of cancellation reasons of the client's error, and nothing else of it.
 */
export async function callService<T extends object>(
  what: string,
  send: (options: CallOptions) => Promise<T>,
  timeout = DEFAULT_TIMEOUT,
  signal?: AbortSignal,
): Promise<T> {
  return await new Promise((resolve, reject) => {
    const abort = new AbortController()
    const stop = (why: string) => {
      settle()
      reject(keyServiceError(`${what} ${why}`))
      abort.abort()
    }
    const timer = setTimeout(() => stop(`gave no answer within ${Math.ceil(timeout)} ms`), timeout)
    const cancel = () => stop(NOT_NEEDED)
    const settle = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', cancel)
    }
    signal?.addEventListener('abort', cancel)
    const sent = (async () => await send({ abortSignal: abort.signal }))()
    sent
      .then(
        (answer: unknown) => {
          if (abort.signal.aborted) return wipePlaintext(answer)
          if (typeof answer === 'object' && answer) return resolve(answer as T)
          reject(keyServiceError(`${what} failed: the client gave no answer`))
        },
        (error: unknown) => {
          const cause = withoutSecrets(error)
          reject(keyServiceError(`${what} failed: ${cause.name}: ${cause.message}`, cause))
        },
      )
      .finally(settle)
  })
}

/** {@link callService} by a client whose credentials may have to be got anew. */
export function callClient<C extends object, T extends object>(
  what: string,
  clientOf: () => C,
  send: (client: C, options: CallOptions) => Promise<T>,
  timeout?: number,
  signal?: AbortSignal,
): Promise<T> {
  const sending = async (options: CallOptions) => {
    const client = clientOf()
    return await withFreshCredentials(client, options.abortSignal, () => send(client, options))
  }
  return callService(what, sending, timeout, signal)
}

const NOT_NEEDED = 'is not needed any more'

/** How long the calls for one message may take together, in milliseconds. */
export const DEFAULT_TIMEOUT = 30_000

/** Overwrites the plaintext of a request or an answer, whatever else is wrong with it. */
export function wipePlaintext(holder: unknown): void {
  const { Plaintext } = (holder ?? {}) as { Plaintext?: unknown }
  if (types.isUint8Array(Plaintext)) wipe(Plaintext)
}

export function keyServiceError(message: string, cause?: Error): SealwaxError {
  return new SealwaxError('ERR_KEY_SERVICE', message, cause && { cause })
}

/**
 * `send`, and once more with credentials just got, where the service says that those it saw have expired: the SDK goes by
 * the expiration that came with them, which may have been none.
 */
async function withFreshCredentials<T>(client: object, abortSignal: AbortSignal, send: () => Promise<T>): Promise<T> {
  try {
    return await send()
  } catch (error) {
    const { credentials } = (client as { config?: { credentials?: unknown } }).config ?? {}
    const expired = (error as Partial<Error> | undefined)?.name === 'ExpiredTokenException'
    if (!expired || typeof credentials !== 'function' || abortSignal.aborted) throw error
    await credentials({ forceRefresh: true })
    return await send()
  }
}

async function send<O extends Operation>(
  client: KmsClient,
  operation: O,
  input: Input<O>,
  abortSignal: AbortSignal,
): Promise<KmsAnswer> {
  // Version 2 of the SDK takes a second argument for a callback.
  const options = 'makeRequest' in client ? undefined : { abortSignal }
  const method = client[operation] as (this: KmsClient, input: Input<O>, options?: KmsCallOptions) => KmsReply
  const reply = options ? method.call(client, input, options) : method.call(client, input)
  if (!reply || !('promise' in reply)) return await reply
  abortSignal.addEventListener('abort', () => reply.abort?.())
  return await reply.promise()
}

/**
 * What is worth telling of a client's error, whatever that is. The error itself leads to the request, its headers and the answer, and its
 * text can quote them: the canonical request after a wrong signature, a piece of an answer that is no JSON, the
 * command line of a credential process.
 */
function withoutSecrets(error: unknown): Error {
  try {
    return cleaned(error)
  } catch {
    return new Error('the error of the client could not be read')
  }
}

function cleaned(error: unknown): Error {
  const { name, message, $metadata, CancellationReasons: reasons } = (error ?? {}) as Partial<SdkError>
  const { httpStatusCode, requestId } = $metadata ?? {}
  const clean = new Error(
    name === 'SyntaxError' || httpStatusCode === 200
      ? 'the answer could not be read'
      : redact(String(message ?? ''), httpStatusCode === undefined),
  )
  clean.name = typeof name === 'string' ? redact(name, true) : 'Error'
  return Object.assign(
    clean,
    $metadata && { $metadata: { httpStatusCode, requestId } },
    Array.isArray(reasons) && { CancellationReasons: reasons.slice(0, MAX_REASONS).map(codeAlone) },
  )
}

/** The reason of one item. Its message, and the item itself, can quote the record. */
function codeAlone(reason: { Code?: unknown } | undefined): { Code?: string } {
  return typeof reason?.Code === 'string' ? { Code: redact(reason.Code, true) } : {}
}

/** As many items as a transaction of DynamoDB can have. */
const MAX_REASONS = 100

interface SdkError {
  name: string
  message: string
  $metadata: { httpStatusCode?: number; requestId?: string }
  /** Why DynamoDB wrote nothing of a transaction, item by item. */
  CancellationReasons: ({ Code?: unknown } | undefined)[]
}

/** The first line of an error's text. `local`: it was not KMS who wrote it, so that it may quote any secret of this process. */
function redact(text: string, local: boolean): string {
  const line = text.split('\n', 1)[0]!.replace(HEADER, '…')
  return (local ? line.replace(MIXED, '…').replace(TOKEN, '…') : line).slice(0, 500)
}

const HEADER = /\b(?:credential|signature|authorization|x-amz-security-token|command failed)\s*[=:].*/i
// In base64url, or with dashes: of small and capital letters and digits, as no key ARN, UUID or Region is. With it what
// follows behind a dot: the other parts of a JSON Web Token.
const MIXED = /(?<![\w+/-])(?=[\w+/-]*[a-z])(?=[\w+/-]*[A-Z])(?=[\w+/-]*\d)[\w+/-]{20,}={0,2}(?:\.[\w-]+)*/g
// Long enough for a key or a token, in base64 or hex, and not the ID of a multi-Region key.
const TOKEN = /(?<![\w+/-]|mrk-)(?=[A-Za-z+/]*[0-9+/=])[A-Za-z0-9+/]{20,}={0,2}/g
