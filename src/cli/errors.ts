import { getSystemErrorMap } from 'node:util'
import { CommanderError } from 'commander'
import { SealwaxError, type SealwaxErrorCode } from '../index'

/** The command line asks for something that cannot be: exit code 2. */
export class UsageError extends Error {}

/** Some files of a folder failed. */
export class TreeError extends Error {
  readonly exitCode: number

  constructor(message: string, exitCode: number) {
    super(message)
    this.exitCode = exitCode
  }
}

/** docs/cli.md "Exit codes"; signals add their own, 128 and their number. */
const FAILED = 1
const USAGE = 2
const REFUSED = 3

/** What says that the message is damaged or forged, or not for these keys and pairs. */
const REFUSALS: readonly SealwaxErrorCode[] = [
  'ERR_AUTHENTICATION_FAILED',
  'ERR_ENCRYPTION_CONTEXT',
  'ERR_MESSAGE_MALFORMED',
  'ERR_MESSAGE_TRUNCATED',
  'ERR_NO_DATA_KEY',
  'ERR_TRAILING_DATA',
  'ERR_UNSUPPORTED_FORMAT',
]

export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE
  if (error instanceof UsageError || isAboutAnOption(error)) return USAGE
  if (error instanceof TreeError) return error.exitCode
  if (!(error instanceof SealwaxError)) return FAILED
  // Nobody could tell whether the message is for these keys.
  if (attemptsOf(error).some(isUnanswered)) return FAILED
  return error.code === 'ERR_KEY_SERVICE' || REFUSALS.includes(error.code) ? REFUSED : FAILED
}

/** Whether a key could not be asked. What KMS says of a data key that was changed, or that another key has wrapped, is an answer. */
export function isUnanswered(error: unknown): boolean {
  if (!(error instanceof SealwaxError) || error.code !== 'ERR_KEY_SERVICE') return false
  const { name = '' } = (error.cause ?? {}) as Partial<Error>
  return name !== 'InvalidCiphertextException' && name !== 'IncorrectKeyException'
}

/** What the user reads; `undefined` where commander has said it already. */
export function messageOf(error: unknown): string | undefined {
  if (error instanceof CommanderError) return undefined
  if (error instanceof UsageError || isAboutAnOption(error))
    return `${printable(error.message)} (add --help for the options)`
  if (error instanceof TreeError) return error.message
  if (error instanceof SealwaxError) {
    const attempts = (error.errors ?? []).flatMap(attemptsOf).map(({ message }) => `\n  ${printable(message)}`)
    return `${printable(error.message)} [${error.code}]${attempts.join('')}`
  }
  // What the AWS SDK says of an answer.
  if (error instanceof Error && '$metadata' in error)
    return printable(`${error.name}: ${error.message.split('\n', 1)[0]}`)
  return `this should not happen, please report it: ${error instanceof Error ? (error.stack ?? error.message) : error}`
}

/** What the library says of a value that it was given, by the name that it has there. */
function isAboutAnOption(error: unknown): error is Error {
  return (error instanceof TypeError || error instanceof RangeError) && /^"[A-Za-z0-9.]+" /.test(error.message)
}

/** A keyring of keyrings fails with their failures: what each key said is at the end of the branches. */
function attemptsOf(error: Error): readonly Error[] {
  const { errors = [] } = error as SealwaxError
  return errors.length === 0 ? [error] : errors.flatMap(attemptsOf)
}

/** The result of `action`, or its system error as one that names the file and says what was being done. */
export async function naming<T>(name: string, doing: string, action: () => T | Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    throw named(error, name, doing)
  }
}

/** The same of an error, for what does not wait. */
export function named(error: unknown, name: string, doing: string): unknown {
  const { errno, code: own, message } = (error ?? {}) as NodeJS.ErrnoException
  // Of the permission model of Node.js, which keeps some calls from every program.
  if (own === 'ERR_ACCESS_DENIED') return fileError(`cannot ${doing} ${name}: ${message}`, error)
  if (typeof errno !== 'number') return error
  const [code, reason] = getSystemErrorMap().get(errno) ?? ['', message]
  return fileError(`cannot ${doing} ${name}: ${reason}${code && ` (${code})`}`, error)
}

export function fileError(message: string, cause?: unknown): SealwaxError {
  return new SealwaxError('ERR_FILE', message, cause === undefined ? {} : { cause })
}

/** The result of `promise`, or a rejection as soon as the signal says so: a pipe may keep a read or write waiting for ever. */
export async function orInterrupted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const interruption = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  return await Promise.race([promise, interruption])
}

/** A path as the file system has it: its bytes, where they need not be UTF-8. */
export type Path = string | Buffer

/** A path for people. */
export function nameOf(path: Path): string {
  return quote(path.toString())
}

/** Text from outside, in quotes. */
export function quote(text: string): string {
  return printable(JSON.stringify(text))
}

/** Text that cannot drive a terminal: control and formatting characters are spelled out, as JSON does it. */
export function printable(text: string): string {
  return text.replace(/[\p{C}\u2028\u2029]/gu, (character) =>
    character.replace(/./gs, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
  )
}
