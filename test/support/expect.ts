import * as assert from 'uvu/assert'
import { SealwaxError, type SealwaxErrorCode } from '../../src/index'

type ErrorClass = new (...args: never[]) => Error

/** What was thrown or rejected must be of this class or have this code, and its message match. Gives the error. */
export function checkError(error: unknown, expected: ErrorClass | SealwaxErrorCode, message?: RegExp): Error {
  assert.ok(error instanceof Error, `an error, got ${String(error)}`)
  if (typeof expected === 'string') {
    assert.instance(error, SealwaxError, `SealwaxError, got ${error.stack}`)
    assert.is((error as SealwaxError).code, expected, error.message)
  } else {
    assert.is(error.constructor, expected, `${expected.name}, got ${error.stack}`)
  }
  if (message) assert.match(error.message, message)
  return error
}

export function throws(call: () => unknown, expected: ErrorClass | SealwaxErrorCode, message?: RegExp): Error {
  return checkError(thrownBy(call), expected, message)
}

export async function rejects(
  promise: Promise<unknown>,
  expected: ErrorClass | SealwaxErrorCode,
  message?: RegExp,
): Promise<Error> {
  return checkError(await rejectionOf(promise), expected, message)
}

export async function rejectionOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  return undefined
}

export function thrownBy(call: () => unknown): unknown {
  try {
    call()
  } catch (error) {
    return error
  }
  return undefined
}
