/**
 * Folders. The tree of regular files below one folder is mirrored in another; names are bytes all the way, as the file
 * system has them. Symbolic links are not followed, on neither side.
 */
import { lstatSync, mkdirSync, realpathSync, statSync } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { basename, dirname, join, sep } from 'node:path'
import { exitCodeOf, fileError, messageOf, nameOf, naming, quote, TreeError, UsageError } from './errors'
import { isSameFile } from './file-id'
import { openRegularFile, transformSource, type Work } from './io'
import type { CommonOptions } from './options'
import { openProgress } from './progress'
import { isS3Url, refuseS3Options } from './s3'

/** What happens to the files of a folder. */
export interface TreeWork extends Work {
  /** The name of the output of the file of that name; `undefined` where it cannot have one. */
  rename(name: Buffer): Buffer | undefined
}

/** Where a tree goes. */
export interface TreeTarget {
  readonly folder: string
  /** Whether an output that is there already is replaced, left alone, or refused. */
  readonly existing: 'replace' | 'skip' | 'refuse'
}

/** What the options say of a tree; `undefined` where they speak of one file. */
export function treeTarget(input: string, options: CommonOptions): TreeTarget | undefined {
  const { recursive, output, force, skipExisting } = options
  if (!recursive) {
    if (skipExisting) throw new UsageError('--skip-existing is for --recursive')
    return undefined
  }
  if (force && skipExisting) throw new UsageError('--force and --skip-existing exclude each other')
  if (isS3Url(input) || isS3Url(output)) throw new UsageError('--recursive is for folders, not for s3://')
  refuseS3Options(options)
  if (output === undefined) throw new UsageError('--recursive needs a folder to write to: name it with --output')
  if (input === '-' || output === '-') throw new UsageError('--recursive goes from a folder to a folder')
  return { folder: output, existing: force ? 'replace' : skipExisting ? 'skip' : 'refuse' }
}

/** Does `work` for every file below `input`. A file that fails stops no other: all that failed are told in the end. */
export async function transformTree(
  input: string,
  { folder, existing }: TreeTarget,
  work: TreeWork,
  signal: AbortSignal,
): Promise<void> {
  await openFolders(input, folder, work.secret)
  const report = new Report()
  const files: File[] = []
  await mirror(Buffer.from(input), Buffer.from(folder), work, { files, report, signal })
  const progress = await openProgress(folder)
  progress.phase(
    work.label,
    files.reduce((total, { length }) => total + length, 0),
  )
  const queue = files.values()
  const worker = async () => {
    for (const { from, to } of queue) {
      signal.throwIfAborted()
      await report.attempt(from, async () => {
        if (existing === 'skip' && lstatSync(to, { throwIfNoEntry: false })?.isFile()) return
        const source = await openRegularFile(from)
        await transformSource(source, { path: to, force: existing === 'replace', ...IN_TREE }, work, {
          signal,
          progress,
        })
      })
    }
  }
  try {
    await Promise.all(Array.from({ length: CONCURRENCY }, worker))
  } finally {
    progress.stop()
  }
  report.conclude()
}

/** Files only: a link below the output folder could lead anywhere, and a pipe keep everything waiting. */
const IN_TREE = { fileOnly: true, followLinks: false }

/** Enough to keep disk and key service busy; each holds some batches of 1 MiB and three frames. */
const CONCURRENCY = 4

interface File {
  readonly from: Buffer
  readonly to: Buffer
  readonly length: number
}

interface Found {
  readonly files: File[]
  readonly report: Report
  readonly signal: AbortSignal
}

/** Makes the folders below `to`, and finds the files. */
async function mirror(from: Buffer, to: Buffer, work: TreeWork, found: Found): Promise<void> {
  const { files, report, signal } = found
  for (const name of await naming(nameOf(from), 'read', () => readdir(from, { encoding: 'buffer' }))) {
    signal.throwIfAborted()
    const path = inFolder(from, name)
    await report.attempt(path, async () => {
      const stats = await naming(nameOf(path), 'read', () => lstat(path))
      if (stats.isDirectory()) {
        const below = inFolder(to, name)
        await naming(nameOf(below), 'write', () => makeFolder(below, work.secret))
        return await mirror(path, below, work, found)
      }
      if (stats.isSymbolicLink()) return report.skip(path, 'a symbolic link')
      if (!stats.isFile()) return report.skip(path, 'not a regular file')
      if (TEMPORARY.test(name.toString('latin1'))) return report.skip(path, 'what an interrupted run left')
      const renamed = work.rename(name)
      if (!renamed) throw fileError('its name does not end in .sealed')
      files.push({ from: path, to: inFolder(to, renamed), length: stats.size })
    })
  }
}

/** A folder that is there already will do; a symbolic link, which could lead anywhere, will not. */
function makeFolder(path: Buffer, secret: boolean): void {
  try {
    mkdirSync(path, secret ? 0o700 : 0o777)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    if (!lstatSync(path).isDirectory()) throw fileError(`${nameOf(path)} is in the way: it is not a folder`)
  }
}

function inFolder(folder: Buffer, name: Buffer): Buffer {
  return Buffer.concat([folder, Buffer.from(sep), name])
}

/** Makes the folder `output`, and sees to it that nothing is both input and output, in this run or the next. */
async function openFolders(input: string, output: string, secret: boolean): Promise<void> {
  const from = await naming(quote(input), 'read', () => {
    if (!statSync(input).isDirectory()) throw fileError(`${quote(input)} is not a folder`)
    return realpathSync(input)
  })
  await naming(quote(output), 'write', () => {
    const exists = statSync(output, { throwIfNoEntry: false })
    if (exists && !exists.isDirectory()) throw fileError(`${quote(output)} is not a folder`)
    const to = exists ? realpathSync(output) : join(realpathSync(dirname(output)), basename(output))
    if (isInside(from, to) || isInside(to, from)) {
      throw fileError(`${quote(input)} and ${quote(output)} lie one in the other`)
    }
    if (!exists) makeFolder(Buffer.from(output), secret)
  })
}

/** The same folder may go by several names: in upper and lower case, for one, where that makes no difference. */
function isInside(inner: string, outer: string): boolean {
  if (inner === outer || isSameFile(inner, outer)) return true
  const above = dirname(inner)
  return above !== inner && isInside(above, outer)
}

class Report {
  readonly #skipped: string[] = []
  readonly #failed: string[] = []
  #exitCode = 0

  /** The result of `action`; `undefined` where it failed, which is noted. */
  async attempt<T>(path: Buffer, action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action()
    } catch (error) {
      const name = nameOf(path)
      const message = messageOf(error) ?? ''
      this.#failed.push(message.includes(name) ? message : `${name}: ${message}`)
      this.#exitCode = Math.max(this.#exitCode, exitCodeOf(error))
      return undefined
    }
  }

  skip(path: Buffer, reason: string): void {
    this.#skipped.push(`skipped ${nameOf(path)}: ${reason}`)
  }

  /** Says what was left out. Throws where something failed. */
  conclude(): void {
    for (const line of [...this.#skipped, ...this.#failed]) process.stderr.write(`sealwax: ${line}\n`)
    const { length } = this.#failed
    if (length > 0)
      throw new TreeError(`${length} ${length === 1 ? 'file' : 'files'} failed, see above`, this.#exitCode)
  }
}

/** See sink.ts. */
const TEMPORARY = /^\.sealwax-[0-9a-f]{16}\.tmp$/
