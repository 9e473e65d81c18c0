/**
 * Output. A file is written under a temporary name in the folder of its final place, and takes that place once it is
 * complete and on the disk; until then nothing has the final name.
 */
import {
  closeSync,
  fchmodSync,
  fstatSync,
  fsync,
  fsyncSync,
  linkSync,
  lstatSync,
  open,
  openSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  write,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { getEngine } from '../engine'
import { fileError, naming, printable, quote } from './errors'
import type { Progress } from './progress'

export interface Target {
  /** `-` for standard output. */
  readonly path: string
  /** Whether an existing file may be replaced. */
  readonly force: boolean
  /** Only the owner may read the file; otherwise what the umask says. */
  readonly secret: boolean
}

/** Where bytes go. */
export interface Sink {
  /** For people. */
  readonly name: string
  readonly fd: number
  /** Gives the complete output its name. */
  commit(): Promise<void>
  /** Closes, and removes what was not committed. */
  discard(): void
}

/** Writes a small output. */
export async function writeOutput(target: Target, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  const sink = await openSink(target)
  try {
    await writeTo(sink, bytes, signal)
  } finally {
    sink.discard()
  }
}

/** Writes lines to standard output. */
export async function print(text: string, signal: AbortSignal): Promise<void> {
  const lines = text.split('\n').map((line) => `${printable(line)}\n`)
  await writeOutput({ path: '-', force: true, secret: false }, Buffer.from(lines.join('')), signal)
}

/** Throws `ERR_FILE` where the target is `source` itself, a folder, or an existing file that is to be kept. */
export async function openSink(target: Target, source?: Stats): Promise<Sink> {
  const { path, force } = target
  if (path === '-') {
    const name = 'standard output'
    if (source && sameFile(source, fstatSync(1))) throw fileError(`${name} is the input file itself`)
    return { name, fd: 1, commit: async () => {}, discard: () => {} }
  }
  const name = quote(path)
  return await naming(name, 'write', async () => {
    const existing = statSync(path, { throwIfNoEntry: false })
    if (existing?.isDirectory()) throw fileError(`cannot write ${name}: it is a directory`)
    if (source && existing && sameFile(source, existing)) throw fileError(`${name} is the input file itself`)
    if (existing && !existing.isFile()) return await openDevice(path, name)
    if (!force && lstatSync(path, { throwIfNoEntry: false })) throw alreadyThere(name)
    return openTemporary(target, name)
  })
}

/** Writes all of `bytes` and commits. */
export async function writeTo(sink: Sink, bytes: Uint8Array, signal: AbortSignal, progress?: Progress): Promise<void> {
  await naming(sink.name, 'write', async () => {
    for (let offset = 0; offset < bytes.length; ) {
      signal.throwIfAborted()
      const written = await writeSome(sink.fd, bytes.subarray(offset, offset + CHUNK_LENGTH))
      offset += written
      progress?.add(written)
    }
    signal.throwIfAborted()
    await sink.commit()
  })
}

/** Removes what is not complete, at once: for signals and exits. */
export function removeTemporaries(): void {
  for (const temporary of temporaries) rmSync(temporary, { force: true })
  temporaries.clear()
}

const temporaries = new Set<string>()

/** Pipes and devices are written as they are: no file can take their place. */
async function openDevice(path: string, name: string): Promise<Sink> {
  const fd = await promisify(open)(path, 'w')
  return { name, fd, commit: async () => {}, discard: () => closeSync(fd) }
}

function openTemporary({ path, force, secret }: Target, name: string): Sink {
  const random = Buffer.from(getEngine().randomBytes(8)).toString('hex')
  const temporary = join(dirname(path), `.sealwax-${random}.tmp`)
  const fd = openSync(temporary, 'wx', secret ? 0o600 : 0o666)
  temporaries.add(temporary)
  return {
    name,
    fd,
    async commit() {
      if (secret) fchmodSync(fd, 0o600)
      await promisify(fsync)(fd)
      if (force) renameSync(temporary, path)
      else putNew(temporary, path, name)
      temporaries.delete(temporary)
      syncFolder(dirname(path))
    },
    discard() {
      closeSync(fd)
      if (temporaries.delete(temporary)) rmSync(temporary, { force: true })
    },
  }
}

/** Unlike a rename, a link never takes the name from a file that came up meanwhile. */
function putNew(temporary: string, path: string, name: string): void {
  try {
    linkSync(temporary, path)
    rmSync(temporary)
  } catch (error) {
    if (lstatSync(path, { throwIfNoEntry: false })) throw alreadyThere(name)
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS' && code !== 'EMLINK') throw error
    // A file system without hard links.
    renameSync(temporary, path)
  }
}

/** Puts the new name on the disk; the file is complete even where a file system cannot do that. */
function syncFolder(folder: string): void {
  if (process.platform === 'win32') return
  const fd = openSync(folder, 'r')
  try {
    fsyncSync(fd)
  } catch {
  } finally {
    closeSync(fd)
  }
}

async function writeSome(fd: number, bytes: Uint8Array): Promise<number> {
  try {
    const { bytesWritten } = await promisify(write)(fd, bytes, 0, bytes.length)
    return bytesWritten
  } catch (error) {
    // A pipe that another process has made non-blocking is full.
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    await setTimeout(5)
    return 0
  }
}

function sameFile(a: Stats, b: Stats): boolean {
  return a.isFile() && b.isFile() && a.dev === b.dev && a.ino === b.ino
}

function alreadyThere(name: string): Error {
  return fileError(`${name} exists already: --force replaces it`)
}

const CHUNK_LENGTH = 1024 * 1024
