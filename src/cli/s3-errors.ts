/** What the SDK throws, as errors that name the object. */
import { SealwaxError } from '../index'
import { fileError, UsageError } from './errors'
import { alreadyThere } from './sink'

/** The result of `action`, or the SDK's error as one that names the object and says what was being done. */
export async function naming<T>(name: string, doing: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    throw named(error, name, doing)
  }
}

/** The same of an error, for what does not wait. */
export function named(error: unknown, name: string, doing: string): Error {
  const { name: kind, message = '', code } = error as NodeJS.ErrnoException
  if (error instanceof SealwaxError || error instanceof UsageError || kind === 'AbortError') return error as Error
  if (kind === 'PreconditionFailed') return doing === 'write' ? alreadyThere(name) : changed(name, error)
  const { httpStatusCode = code } = (error as { $metadata?: { httpStatusCode?: number } }).$metadata ?? {}
  // An answer without a body, as to HEAD, has no more to say; nor has the name of an error of the network.
  const said = [kind, message.split('\n', 1)[0]].filter((text) => text && text !== 'Error' && text !== 'UnknownError')
  const status = httpStatusCode === undefined ? '' : ` (${httpStatusCode})`
  return fileError(`cannot ${doing} ${name}: ${said.join(': ')}${status}`, error)
}

function changed(name: string, cause: unknown): Error {
  return new SealwaxError('ERR_OBJECT_CHANGED', `${name} was replaced meanwhile: try again`, { cause })
}
