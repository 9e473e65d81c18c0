/**
 * What became of the objects of a long piece of work, one line of JSON each, in the order in which S3 lists them:
 *
 *     {"journal":"sealwax rewrap","version":1, …which work it is}
 *     {"Key":"a","status":"rewrapped"}
 *     {"Key":"b","status":"failed","code":"ERR_AUTHENTICATION_FAILED"}
 *
 * Lines are only appended, and on the disk before the next is written. One that a crash has cut is no JSON, and does not count.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { SealwaxError } from '../errors'
import { syncFolder } from './target-file'

export interface JournalEntry {
  readonly Key: string
  readonly status: string
  /** Why it failed. */
  readonly code?: string | undefined
}

export interface Journal {
  /** The last object that is in it: all before have been dealt with. */
  readonly last: string | undefined
  /** Objects that have failed, and not been done since. */
  readonly failed: ReadonlySet<string>
  /** Resolves when it is on the disk. */
  add(entry: JournalEntry): Promise<void>
  close(): Promise<void>
}

/** Opens or makes the journal of `work`. Throws `ERR_FILE` where it cannot, and where it is of other work. */
export async function openJournal(path: string, work: object): Promise<Journal> {
  return await naming(path, async () => {
    const file = await open(path, 'a+', 0o600)
    try {
      const header = toLine({ journal: 'sealwax rewrap', version: 1, ...work })
      const { last, failed, endsInLine } = await readEntries(file, path, header)
      if (endsInLine === undefined) {
        await file.appendFile(`${header}\n`)
        await file.sync()
        await syncFolder(dirname(path))
      } else if (!endsInLine) await file.appendFile('\n')
      const add = async (entry: JournalEntry) => {
        await file.appendFile(`${toLine(entry)}\n`)
        await file.datasync()
      }
      return { last, failed, add: (entry) => naming(path, () => add(entry)), close: () => file.close() }
    } catch (error) {
      await file.close()
      throw error
    }
  })
}

/** `endsInLine` is `undefined` for an empty file. */
async function readEntries(
  file: FileHandle,
  path: string,
  header: string,
): Promise<{ last: string | undefined; failed: Set<string>; endsInLine: boolean | undefined }> {
  const failed = new Set<string>()
  let last: string | undefined
  let isFirst = true
  for await (const line of file.readLines({ autoClose: false, start: 0 })) {
    if (isFirst && line !== header) {
      // One that was cut while it was made has noted nothing.
      if (!header.startsWith(line) || (await file.stat()).size > Buffer.byteLength(line)) throw ofOtherWork(path)
      await file.truncate()
      break
    }
    isFirst = false
    const { Key, status } = parseEntry(line)
    if (typeof Key !== 'string') continue
    if (status === 'failed') failed.add(Key)
    else failed.delete(Key)
    // S3 lists by the bytes of the keys; entries of what is tried again come late.
    if (last === undefined || Buffer.compare(Buffer.from(Key), Buffer.from(last)) > 0) last = Key
  }
  const { size } = await file.stat()
  if (size === 0) return { last, failed, endsInLine: undefined }
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1)
  return { last, failed, endsInLine: buffer[0] === 0x0a }
}

/** Newer releases of Node.js take U+2028 and U+2029 for ends of lines too; JSON leaves them as they are. */
function toLine(entry: object): string {
  return JSON.stringify(entry).replace(/[\u2028\u2029]/g, (end) => (end === '\u2028' ? '\\u2028' : '\\u2029'))
}

function parseEntry(line: string): { Key?: unknown; status?: unknown } {
  try {
    return JSON.parse(line) as object
  } catch {
    return {}
  }
}

function ofOtherWork(path: string): SealwaxError {
  return new SealwaxError('ERR_FILE', `the journal ${JSON.stringify(path)} is of other work: name another file`)
}

async function naming<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (error instanceof SealwaxError) throw error
    const message = `cannot keep the journal ${JSON.stringify(path)}: ${(error as Error).message}`
    throw new SealwaxError('ERR_FILE', message, { cause: error })
  }
}
