import type { EncryptionContext } from '../encryption-context'
import { SealwaxError } from '../errors'
import { checkBoolean, checkInteger, checkOptions, checkString, describe } from '../options'
import { aborted } from '../signals'
import { s3Sdk } from './call'
import { type Journal, openJournal } from './journal'
import type { S3Sender } from './plugin'
import { type RewrapObjectInput, rewrapStored } from './rewrap'
import { checkRewrapKeys, REWRAP_KEYS } from './rewrap-key'
import { REWRAP_TARGET, RewrapSession } from './rewrap-session'

export interface RewrapObjectsInput extends Omit<RewrapObjectInput, 'Key'> {
  /** Only objects whose keys begin so. Default: all of the bucket. */
  Prefix?: string | undefined
  /** Objects at a time, 1 to 256. Default: 8. */
  concurrency?: number | undefined
  /**
   * A file that notes what is done, on the disk before the next is noted: the same call with the same file goes on where
   * another was interrupted, even by `kill -9`, and tries again what failed. It holds keys of objects, and no secrets.
   */
  journal?: string | undefined
  /** Called for each object, in the order of their keys. */
  onProgress?: ((progress: RewrapProgress) => void) | undefined
  /** Stop where so many objects have failed: something is wrong with all of them. Default: 100. */
  maxFailures?: number | undefined
}

/** `skipped`: not encrypted by an S3 Encryption Client, as instruction files are not; or not there any more. */
export type RewrapStatus = 'rewrapped' | 'current' | 'skipped' | 'failed'

export interface RewrapProgress {
  readonly Key: string
  readonly status: RewrapStatus
  /** Of an object that failed. */
  readonly error?: Error | undefined
}

/** How many of each, in this call. */
export interface RewrapSummary extends Readonly<Record<RewrapStatus, number>> {
  /** Whether all objects were looked at: `false` where `maxFailures` ended it. */
  readonly complete: boolean
}

/**
 * {@link rewrapObject} for all objects of a bucket, or of a prefix. One that fails stops no other; look at `failed` of the
 * result. Objects that come while it runs may be missed: let writers use the new key first.
 *
 * Throws as `rewrapObject` does for wrong options; what the SDK throws where the bucket cannot be listed; `ERR_ABORTED` for the
 * signal; `ERR_FILE` for the journal.
 *
 * @example
 * const { failed } = await rewrapObjects(client, { Bucket, from: oldKeyring, to: newKeyring, journal: 'rotation.jsonl' })
 */
export async function rewrapObjects(client: S3Sender, input: RewrapObjectsInput): Promise<RewrapSummary> {
  const { one, list, settings } = checkInput(client, input)
  const { concurrency, maxFailures, onProgress, signal, journalPath, work } = settings
  const counts = { rewrapped: 0, current: 0, skipped: 0, failed: 0 }
  const journal = journalPath === undefined ? undefined : await openJournal(journalPath, work)
  const running: Promise<RewrapProgress>[] = []
  const settle = async () => {
    const progress = await running.shift()!
    if (signal?.aborted) throw aborted(signal)
    const { Key, status, error } = progress
    counts[status]++
    await journal?.add({ Key, status, ...(error && { code: (error as { code?: string }).code ?? error.name }) })
    onProgress?.(progress)
  }
  try {
    for await (const Key of keysOf(journal, list)) {
      running.push(one(Key))
      if (running.length === concurrency) await settle()
      if (counts.failed >= maxFailures) break
    }
    const isStopped = counts.failed >= maxFailures
    while (running.length > 0) await settle()
    return { ...counts, complete: !isStopped }
  } finally {
    // What still runs ends by itself, and never rejects.
    await Promise.all(running)
    await journal?.close()
  }
}

const OPTIONS = [
  ...REWRAP_TARGET.filter((name) => name !== 'Key'),
  ...REWRAP_KEYS,
  'dryRun',
  'Prefix',
  'concurrency',
  'journal',
  'onProgress',
  'maxFailures',
] as const

function checkInput(client: S3Sender, input: RewrapObjectsInput) {
  const {
    Prefix,
    concurrency,
    journal,
    onProgress,
    maxFailures,
    dryRun = false,
    ...rest
  } = checkOptions(input, OPTIONS, 'rewrapObjects')
  const { signal, Bucket, from: _, to, ...target } = rest
  const keys = checkRewrapKeys(rest)
  const sessionOf = (Key: string) => new RewrapSession(client, { ...target, Bucket, signal, Key })
  const session = sessionOf('any')
  if (Prefix !== undefined) checkString(Prefix, 'Prefix', { allowEmpty: true })
  if (journal !== undefined) checkString(journal, 'journal')
  if (checkBoolean(dryRun, 'dryRun') && journal !== undefined) throw new TypeError('a "dryRun" has no "journal"')
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new TypeError(`"onProgress" must be a function, got ${describe(onProgress)}`)
  }
  const settings = {
    concurrency: checkInteger(concurrency ?? 8, 'concurrency', 1, 256),
    maxFailures: checkInteger(maxFailures ?? 100, 'maxFailures', 1, Number.MAX_SAFE_INTEGER),
    onProgress,
    signal,
    journalPath: journal,
    // The same work with another key is other work.
    work: { Bucket, Prefix, to: nameOf(to) },
  }
  const one = async (Key: string, isAgain = false): Promise<RewrapProgress> => {
    try {
      const result = await rewrapStored(sessionOf(Key), keys, dryRun)
      return { Key, status: result?.status ?? 'skipped' }
    } catch (error) {
      // Deleted since it was listed, or since it failed.
      if ((error as Error).name === 'NotFound') return { Key, status: 'skipped' }
      // Deleted between two requests for it: HeadObject tells.
      if ((error as Error).name === 'NoSuchKey' && !isAgain) return await one(Key, true)
      return { Key, status: 'failed', error: error as Error }
    }
  }
  return { one, list: (after: string | undefined) => listKeys(session, Prefix, after), settings }
}

/** What a keyring says in public of its key. */
function nameOf(keyring: object): unknown {
  const { keyId, materialDescription } = keyring as { keyId?: string; materialDescription?: EncryptionContext }
  return keyId ?? materialDescription
}

/** What comes after the last that is noted, then what has failed before: if it fails for ever, it is in nobody's way. */
async function* keysOf(
  journal: Journal | undefined,
  list: (after: string | undefined) => AsyncGenerator<string>,
): AsyncGenerator<string> {
  yield* list(journal?.last)
  yield* journal?.failed ?? []
}

async function* listKeys(
  session: RewrapSession,
  Prefix: string | undefined,
  StartAfter: string | undefined,
): AsyncGenerator<string> {
  const { ListObjectsV2Command } = s3Sdk()
  const { Key: _, ...bucket } = session.target
  let ContinuationToken: string | undefined
  do {
    const page = await session.list(new ListObjectsV2Command({ ...bucket, Prefix, StartAfter, ContinuationToken }))
    for (const { Key } of page.Contents ?? []) if (Key !== undefined) yield Key
    ContinuationToken = page.NextContinuationToken
    if (page.IsTruncated && !ContinuationToken) {
      throw new SealwaxError('ERR_MESSAGE_TRUNCATED', 'the store says that its list goes on, and not where')
    }
  } while (ContinuationToken !== undefined)
}
