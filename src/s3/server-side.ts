import type { KeyObject } from 'node:crypto'
import { types } from 'node:util'
import { copySecret, toBase64, utf8, wipe } from '../bytes'
import { checkEncryptionContext, type EncryptionContext } from '../encryption-context'
import { md5 } from '../engine/md5'
import { SealwaxError } from '../errors'
import { checkBoolean, checkOneOf, checkOptions, checkString, checkView, describe } from '../options'
import { discardBody } from './body'
import { KEPT_MODE } from './call'

/**
 * How the store encrypts what it is given, once more and with keys of its own: one of its modes.
 *
 * - `s3`: with keys that S3 alone manages (SSE-S3).
 * - `kms`: with a KMS key (SSE-KMS). `keyId`: which; by default the one of S3 in the account. `context`: public pairs that KMS
 *   binds. `bucketKey`: whether S3 may use one KMS data key for many objects; by default what the bucket says.
 * - `dsse`: with a KMS key, twice (DSSE-KMS).
 * - `customer`: with a key that goes along with every request (SSE-C), 32 bytes or a secret KeyObject, or a function that gives them
 *   for each request. The bytes are copied; what a function gives is the caller's to wipe after the promise has settled.
 */
export type ServerSideEncryption =
  | { mode: 's3' }
  | {
      mode: 'kms'
      keyId?: string | undefined
      context?: EncryptionContext | undefined
      bucketKey?: boolean | undefined
    }
  | { mode: 'dsse'; keyId?: string | undefined; context?: EncryptionContext | undefined }
  | { mode: 'customer'; key: CustomerKey }

/** For a client of the AWS SDK, or for one of its commands. */
export interface ServerSidePlugin {
  applyToStack(stack: {
    add(middleware: never, options: never): void
    addRelativeTo(middleware: never, options: never): void
  }): void
}

export type CustomerKey = Uint8Array | KeyObject | (() => Uint8Array | KeyObject | Promise<Uint8Array | KeyObject>)

export interface ServerSideOptions {
  /** How the source of a copy is stored. Default: as the destination is, where that is with a customer's key. */
  copySource?: ServerSideEncryption | undefined
}

/**
 * Makes a client, or a single command, state how the store is to encrypt, on every request that can say so: uploads and
 * their parts, copies, reads. What S3 answers is compared with what it was asked for.
 *
 * Throws `TypeError` and `RangeError` for wrong options. A request fails with `TypeError` if its input has such a field of
 * its own; with `ERR_SERVER_SIDE_ENCRYPTION` if a customer's key would go over http to another machine, before it does, or
 * if the store did not do as it was asked: then an upload has taken place, and the message names the version.
 *
 * @example
 * client.middlewareStack.use(serverSideEncryption({ mode: 'kms', keyId: 'alias/objects', bucketKey: true }))
 */
export function serverSideEncryption(serverSide: ServerSideEncryption, options?: ServerSideOptions): ServerSidePlugin {
  const target = checkServerSide(serverSide, 'serverSide')
  const { copySource } = checkOptions(options, ['copySource'], 'serverSideEncryption')
  return pluginFor(target, copySource === undefined ? target : checkServerSide(copySource, 'copySource'))
}

/** What such a plugin says of one command, for the requests that go along with it: those for its object, or for the source of a copy. */
export function encryptionOfCommand(context: object, of: 'target' | 'source'): ServerSidePlugin | undefined {
  const mode = modes.get(context)?.[of]
  return mode && pluginFor(mode, mode)
}

const modes = new WeakMap<object, Readonly<Record<'target' | 'source', ServerSideEncryption>>>()

function pluginFor(target: ServerSideEncryption, source: ServerSideEncryption): ServerSidePlugin {
  const noting = (next: Next, context: object) => (args: Args) => {
    modes.set(context, { target, source })
    return next(args)
  }
  const middleware = (next: Next, { commandName = '' }: { commandName?: string }) => {
    const command = COMMANDS[commandName]
    return async (args: Args) => {
      if (!command) return await next(args)
      const stated = await headersFor(target, command)
      const ofSource = command.copies && source.mode === 'customer' ? await customerHeaders(source.key, SOURCE) : {}
      const own = KEPT_MODE in args.input ? withoutMode(args.request.headers) : args.request.headers
      refuseOwnFields(own, stated)
      const headers = { ...stated, ...ofSource, ...own }
      if (Object.keys(headers).some((name) => name.endsWith(CUSTOMER_KEY))) checkTransport(args.request)
      // A new one for each attempt: another attempt begins with the same request.
      const request = Object.assign(Object.create(Object.getPrototypeOf(args.request)), args.request, { headers })
      const result = await next({ ...args, request }).catch((error) => {
        throw target.mode === 'customer' && command.creates ? withHint(error) : error
      })
      try {
        checkEcho(stated, command, result.response)
      } catch (error) {
        discardBody(result.output.Body)
        throw error
      }
      return result
    }
  }
  const name = 'sealwaxServerSide'
  // For each attempt, and before it is signed: S3 refuses headers of its own that are not. The name is the older one of the
  // middleware that signs, which all versions of the SDK know.
  const place = { relation: 'before', toMiddleware: 'awsAuthMiddleware', name, override: true }
  // Its type is one of the SDK's inner packages.
  return {
    applyToStack: (stack) => {
      stack.add(noting as never, { step: 'initialize', name: `${name}Note`, override: true } as never)
      stack.addRelativeTo(middleware as never, place as never)
    },
  }
}

/** Why a store that takes everything else may refuse just this. */
function withHint(error: unknown): unknown {
  if (!(error instanceof Error && error.name === 'AccessDenied')) return error
  error.message +=
    ' (buckets of S3 refuse customers\u2019 keys, unless "BlockedEncryptionTypes" in their encryption configuration is NONE)'
  return error
}

type Next = (args: Args) => Promise<Result>
type Headers = Record<string, string>
interface Request {
  readonly protocol: string
  readonly hostname: string
  readonly headers: Headers
}
interface Args {
  readonly input: object
  readonly request: Request
}
interface Result {
  readonly response: { readonly headers?: Headers }
  readonly output: { readonly Body?: unknown }
}

/** What a command has to do with the encryption of the store. */
interface Command {
  /** Says how a new object is to be stored. */
  readonly creates?: true
  /** Its answer repeats the fingerprint of a customer's key. */
  readonly echoes?: true
  readonly copies?: true
}

const COMMANDS: Readonly<Record<string, Command>> = Object.assign(Object.create(null), {
  PutObjectCommand: { creates: true, echoes: true },
  CopyObjectCommand: { creates: true, echoes: true, copies: true },
  CreateMultipartUploadCommand: { creates: true, echoes: true },
  UploadPartCommand: { echoes: true },
  UploadPartCopyCommand: { echoes: true, copies: true },
  CompleteMultipartUploadCommand: {},
  ListPartsCommand: {},
  GetObjectCommand: { echoes: true },
  HeadObjectCommand: { echoes: true },
  GetObjectAttributesCommand: {},
  SelectObjectContentCommand: {},
})

const TARGET = 'x-amz-server-side-encryption'
const SOURCE = 'x-amz-copy-source-server-side-encryption'
const KEY_ID = `${TARGET}-aws-kms-key-id`
const CONTEXT = `${TARGET}-context`
const BUCKET_KEY = `${TARGET}-bucket-key-enabled`
const CUSTOMER_ALGORITHM = '-customer-algorithm'
const CUSTOMER_KEY = '-customer-key'
const CUSTOMER_KEY_MD5 = '-customer-key-md5'
const NAMES = { s3: 'AES256', kms: 'aws:kms', dsse: 'aws:kms:dsse' } as const
const TARGET_CUSTOMER = `${TARGET}-customer-`
const CUSTOMER_KEY_LENGTH = 32

/** Checks what a caller passed, and copies it. */
function checkServerSide(value: ServerSideEncryption, name: string): ServerSideEncryption {
  const { mode } = (value ?? {}) as { mode?: unknown }
  checkOneOf(mode, `${name}.mode`, ['s3', 'kms', 'dsse', 'customer'])
  if (value.mode === 'customer') {
    const { key } = checkOptions(value, ['mode', 'key'], `"${name}"`)
    return { mode: 'customer', key: typeof key === 'function' ? key : copyCustomerKey(key) }
  }
  if (value.mode === 's3') return { mode: checkOptions(value, ['mode'], `"${name}"`).mode }
  const known = ['mode', 'keyId', 'context', ...(value.mode === 'kms' ? ['bucketKey'] : [])] as (keyof typeof value)[]
  const { keyId, context } = checkOptions(value, known, `"${name}"`)
  const bucketKey = value.mode === 'kms' ? value.bucketKey : undefined
  return {
    mode: value.mode,
    ...(keyId !== undefined && { keyId: checkString(keyId, `${name}.keyId`) }),
    ...(context !== undefined && { context: checkEncryptionContext(context, `${name}.context`) }),
    ...(bucketKey !== undefined && { bucketKey: checkBoolean(bucketKey, `${name}.bucketKey`) }),
  }
}

/** A string is no key: whether it is base64, hexadecimal or text, nobody can tell. */
function copyCustomerKey(key: unknown): Uint8Array {
  if (types.isKeyObject(key) && key.type === 'secret') {
    const exported = key.export()
    try {
      return copyCustomerKey(exported)
    } finally {
      wipe(exported)
    }
  }
  const bytes = checkView(key, 'key')
  const { length } = bytes
  if (length !== CUSTOMER_KEY_LENGTH) throw new RangeError(`"key" must be ${CUSTOMER_KEY_LENGTH} bytes, got ${length}`)
  if (bytes.every((byte) => byte === 0)) throw new RangeError('"key" is all zeros')
  return copySecret(bytes)
}

async function headersFor(serverSide: ServerSideEncryption, { creates }: Command): Promise<Headers> {
  if (serverSide.mode === 'customer') return await customerHeaders(serverSide.key, TARGET)
  if (!creates) return {}
  const headers: Headers = { [TARGET]: NAMES[serverSide.mode] }
  if (serverSide.mode === 's3') return headers
  const { keyId, context, bucketKey } = { bucketKey: undefined, ...serverSide }
  if (keyId !== undefined) headers[KEY_ID] = keyId
  if (context !== undefined) headers[CONTEXT] = toBase64(utf8(JSON.stringify(sorted(context))))
  if (bucketKey !== undefined) headers[BUCKET_KEY] = String(bucketKey)
  return headers
}

/** The same pairs are the same text, in whatever order they were given. */
function sorted(context: Readonly<EncryptionContext>): Readonly<EncryptionContext> {
  return Object.fromEntries(Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1)))
}

async function customerHeaders(source: CustomerKey, prefix: string): Promise<Headers> {
  // JavaScript cannot promise that no copy remains: a header is a string.
  const key = copyCustomerKey(typeof source === 'function' ? await source() : source)
  try {
    return {
      [prefix + CUSTOMER_ALGORITHM]: 'AES256',
      [prefix + CUSTOMER_KEY]: toBase64(key),
      [prefix + CUSTOMER_KEY_MD5]: toBase64(md5(key)),
    }
  } finally {
    wipe(key)
  }
}

/** Two ways to say the same thing could say two things. */
function refuseOwnFields(headers: Headers, stated: Headers): void {
  if (Object.keys(stated).length === 0) return
  const own = Object.keys(headers).find(isOfTarget)
  if (own !== undefined)
    throw new TypeError(`"serverSide" excludes fields of the input: the request has ${own} already`)
}

function withoutMode(headers: Headers): Headers {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !isOfTarget(name)))
}

function isOfTarget(name: string): boolean {
  return name.toLowerCase().startsWith(TARGET)
}

/** Whoever reads the request has the key. */
function checkTransport({ protocol, hostname }: Request): void {
  if (protocol === 'https:' || LOOPBACK.test(hostname)) return
  throw new SealwaxError(
    'ERR_SERVER_SIDE_ENCRYPTION',
    `the customer's key would go to ${describe(hostname)} unencrypted: the endpoint must be https`,
  )
}

const LOOPBACK = /^(?:(?:.+\.)?localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[?::1\]?)$/i

/** What S3 answered must be what it was asked for. */
function checkEcho(stated: Headers, { creates, echoes }: Command, { headers }: Result['response']): void {
  // A presigner answers in the place of the store.
  if (!headers) return
  const expected = Object.keys(stated).filter((name) =>
    name.startsWith(TARGET_CUSTOMER) ? echoes && name !== TARGET + CUSTOMER_KEY : creates && name !== CONTEXT,
  )
  const wrong = expected.find((name) => !isEcho(name, headers[name], stated[name]!))
  if (wrong === undefined) return
  const version = headers['x-amz-version-id']
  throw new SealwaxError(
    'ERR_SERVER_SIDE_ENCRYPTION',
    `the store was asked for ${wrong} ${describe(stated[wrong])}, and answered ${describe(headers[wrong])}${
      version === undefined ? '' : `, having stored version ${version}`
    }`,
  )
}

function isEcho(name: string, answer: string | undefined, asked: string): boolean {
  if (name === KEY_ID) return isNamedBy(answer, asked)
  // S3 says nothing of bucket keys where none is used.
  return (name === BUCKET_KEY ? (answer ?? 'false') : answer) === asked
}

/** S3 answers with the ARN of the key. What an alias stands for cannot be known here. */
function isNamedBy(arn: string | undefined, keyId: string): boolean {
  if (/(?:^|:)alias\//.test(keyId)) return arn !== undefined
  return arn === keyId || arn?.endsWith(`:key/${keyId}`) === true
}
