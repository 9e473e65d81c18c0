/**
 * Output. A file is written under a temporary name in the folder of its final place, and takes that place once it is
 * complete and on the disk; until then nothing has the final name.
 */
import {
  closeSync,
  fchmodSync,
  fsync,
  linkSync,
  lstatSync,
  open,
  openSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  write,
  writeFileSync,
} from 'node:fs'
import { dirname, join, sep } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { getEngine } from '../engine'
import { fileError, named, nameOf, naming, type Path, printable } from './errors'
import { idOf, statsOf } from './file-id'
import { refuseSecretFile } from './secret-files'

export interface Target {
  /** `-` for standard output. */
  readonly path: Path
  /** Whether an existing file may be replaced. */
  readonly force: boolean
  /** Only the owner may read the file; otherwise what the umask says. */
  readonly secret: boolean
  /** Whether it must be a file, and no descriptor, pipe or device, where others may read along. Default: `false`. */
  readonly fileOnly?: boolean
  /** Whether a symbolic link at the path counts as what it leads to. Default: `true`. */
  readonly followLinks?: boolean
  /** What to do about a file that is there already. Default: `--force replaces it`. */
  readonly advice?: string
}

/** Where bytes go. */
export interface Sink {
  /** Whether what is written can be read by others at once: there is no taking it back. */
  readonly immediate: boolean
  /** Writes all of `bytes`. */
  readonly write: (bytes: Uint8Array) => Promise<void>
  /** Gives the complete output its name. */
  commit(): Promise<void>
  /** Closes, and removes what was not committed. */
  discard(): void | Promise<void>
}

/** Writes a small output. */
export async function writeOutput(target: Target, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  const sink = await openSink(target)
  try {
    await sink.write(bytes)
    signal.throwIfAborted()
    await sink.commit()
  } finally {
    await sink.discard()
  }
}

/** Writes lines to standard output. */
export async function print(text: string, signal: AbortSignal): Promise<void> {
  const lines = text.split('\n').map((line) => `${printable(line)}\n`)
  await writeOutput({ path: '-', force: true, secret: false }, Buffer.from(lines.join('')), signal)
}

/** Writes what commander has to say, which does not wait for it: a reader that is gone would be an error that nobody catches. */
export function writeHelp(text: string): void {
  try {
    writeFileSync(1, text)
  } catch (error) {
    throw named(error, 'standard output', 'write')
  }
}

/** Throws `ERR_FILE` where the target is the file `source` itself, a folder, or an existing file that is to be kept. */
export async function openSink(target: Target, source?: string): Promise<Sink> {
  const { path, force, advice, fileOnly = false, followLinks = true } = target
  const name = path === '-' ? 'standard output' : nameOf(path)
  return await naming(name, 'write', async () => {
    const descriptor = path === '-' ? 1 : followLinks ? descriptorOf(path) : undefined
    if (descriptor !== undefined) {
      if (fileOnly) throw noFile(name)
      refuseInUse(idOf(statsOf(descriptor)), name, source)
      return { immediate: true, write: writer(descriptor, name), commit: async () => {}, discard: () => {} }
    }
    const existing = (followLinks ? statSync : lstatSync)(path, { bigint: true, throwIfNoEntry: false })
    if (existing?.isDirectory()) throw fileError(`cannot write ${name}: it is a directory`)
    refuseInUse(idOf(existing), name, source)
    if (existing && !existing.isFile() && !existing.isSymbolicLink()) {
      if (fileOnly) throw noFile(name)
      return await openDevice(path, name)
    }
    if (!force && lstatSync(path, { throwIfNoEntry: false })) throw alreadyThere(name, advice)
    return openTemporary(target, name)
  })
}

/** Removes what is not complete, at once: for signals and exits. */
export function removeTemporaries(): void {
  for (const temporary of temporaries) rmSync(temporary, { force: true })
  temporaries.clear()
}

const temporaries = new Set<Path>()

/** The descriptor that a path such as `/dev/stdout` is, or leads to: what it is open for stays where it is, and keeps its name. */
function descriptorOf(path: Path): number | undefined {
  const text = path.toString()
  const isLink = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()
  for (const place of isLink ? [text, readlinkSync(text)] : [text]) {
    const [, name, number] = /^\/(?:dev\/(stdout|stderr)|(?:dev|proc\/self)\/fd\/(\d+))$/.exec(place) ?? []
    if (name !== undefined) return name === 'stdout' ? 1 : 2
    if (number !== undefined) return Number(number)
  }
  return undefined
}

/** Pipes and devices are written as they are: no file can take their place. */
async function openDevice(path: Path, name: string): Promise<Sink> {
  const fd = await promisify(open)(path, 'w')
  return { immediate: true, write: writer(fd, name), commit: async () => {}, discard: () => closeSync(fd) }
}

function openTemporary({ path, force, secret, advice }: Target, name: string): Sink {
  const random = Buffer.from(getEngine().randomBytes(8)).toString('hex')
  const temporary = siblingOf(path, `.sealwax-${random}.tmp`)
  const fd = openSync(temporary, 'wx', secret ? 0o600 : 0o666)
  temporaries.add(temporary)
  return {
    immediate: false,
    write: writer(fd, name),
    commit: () =>
      naming(name, 'write', async () => {
        if (secret) fchmodSync(fd, 0o600)
        await promisify(fsync)(fd)
        if (force) renameSync(temporary, path)
        else putNew(temporary, path, name, advice)
        temporaries.delete(temporary)
        await syncFolder(siblingOf(path, '.'))
      }),
    discard() {
      closeSync(fd)
      if (temporaries.delete(temporary)) rmSync(temporary, { force: true })
    },
  }
}

/** The path of `name` in the folder of `path`. */
function siblingOf(path: Path, name: string): Path {
  if (typeof path === 'string') return join(dirname(path), name)
  return Buffer.concat([path.subarray(0, path.lastIndexOf(sep) + 1), Buffer.from(name)])
}

/** Unlike a rename, a link never takes the name from a file that came up meanwhile. */
function putNew(temporary: Path, path: Path, name: string, advice?: string): void {
  try {
    linkSync(temporary, path)
    rmSync(temporary)
  } catch (error) {
    if (lstatSync(path, { throwIfNoEntry: false })) throw alreadyThere(name, advice)
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined || !NO_LINKS.includes(code)) throw error
    renameSync(temporary, path)
  }
}

/** What a file system without hard links says; the last is that of exFAT on Windows. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'ENOSYS', 'EMLINK', 'EISDIR']

/** Puts the new name on the disk; the file is complete even where a file system cannot do that, or nobody may read the folder. */
async function syncFolder(folder: Path): Promise<void> {
  if (process.platform === 'win32') return
  try {
    const fd = await promisify(open)(folder, 'r')
    await promisify(fsync)(fd).finally(() => closeSync(fd))
  } catch {}
}

/** Writes all of it, however little is taken at a time. */
export function writer(fd: number, name: string): Sink['write'] {
  return (bytes) =>
    naming(name, 'write', async () => {
      for (let offset = 0; offset < bytes.length; ) offset += await writeSome(fd, bytes.subarray(offset))
    })
}

async function writeSome(fd: number, bytes: Uint8Array): Promise<number> {
  try {
    const { bytesWritten } = await promisify(write)(fd, bytes, 0, bytes.length)
    return bytesWritten
  } catch (error) {
    // A full pipe that somebody has made non-blocking, as Node.js does where process.stdout is only mentioned.
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    await setTimeout(1)
    return 0
  }
}

/** The input is not written over, nor a file of keys, whatever name or redirection leads there. */
function refuseInUse(id: string | undefined, name: string, source: string | undefined): void {
  if (id !== undefined && id === source) throw fileError(`${name} is the input file itself`)
  refuseSecretFile(id, name)
}

export function alreadyThere(name: string, advice = '--force replaces it'): Error {
  return fileError(`${name} exists already: ${advice}`)
}

function noFile(name: string): Error {
  return fileError(`cannot write ${name}: it is not a file`)
}
