import { SealwaxError } from '../errors'
import { discardBody } from './body'

/** What tells one content of an object from the next: answers of the SDK have these. */
export interface ObjectState {
  readonly ETag?: string | undefined
  readonly VersionId?: string | undefined
}

/**
 * Makes a further request for the object that `first` was about: `request` is given the condition that its input must have.
 * Throws `ERR_OBJECT_CHANGED` where it is another object now; also if the store did not heed the condition.
 *
 * The version is not named: that takes one more permission than reading does.
 */
export async function requestSame<T extends ObjectState>(
  first: ObjectState,
  request: (condition: { IfMatch?: string }) => Promise<T>,
): Promise<T> {
  let next: T
  try {
    next = await request(first.ETag === undefined ? {} : { IfMatch: first.ETag })
  } catch (error) {
    throw (error as Error).name === 'PreconditionFailed' ? changed({ cause: error }) : error
  }
  if (tagOf(next) === tagOf(first) && next.VersionId === first.VersionId) return next
  discardBody((next as { Body?: unknown }).Body)
  throw changed()
}

/** Stores differ in the quotes. */
function tagOf({ ETag = '' }: ObjectState): string {
  return ETag.replace(/^W\/|"/g, '')
}

function changed(options?: { cause: unknown }): SealwaxError {
  return new SealwaxError('ERR_OBJECT_CHANGED', 'the object was replaced while it was read', options)
}
