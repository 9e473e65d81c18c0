import { type BigIntStats, closeSync, constants, createReadStream, fstatSync, openSync, read, statSync } from 'node:fs'
import type { Duplex, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { fileError, nameOf, naming, type Path } from './errors'
import { idOf } from './file-id'
import { openProgress, type Progress } from './progress'
import { openSink, type Sink, type Target } from './sink'

/** What goes along with every transfer. */
export interface Io {
  readonly signal: AbortSignal
  readonly progress: Progress
}

/** What becomes of an input: its bytes go through some stream into `sink`. */
export interface Work {
  /** What the progress bar calls it. */
  readonly label: string
  /** Whether only the owner may read the output. */
  readonly secret: boolean
  run(source: Source, sink: Sink, io: Io, output: Path): Promise<void>
  /** Where the input is no file. */
  openSource?: (() => Promise<Source>) | undefined
  /** Where the output is no file. */
  openSink?: (() => Promise<Sink>) | undefined
}

/** Does `work` from the file `input` (`-` for standard input) to the target: all of it, or nothing has its name. */
export async function transformFile(
  input: string,
  target: Omit<Target, 'secret'>,
  work: Work,
  signal: AbortSignal,
): Promise<void> {
  const progress = await openProgress(target.path)
  try {
    const source = await (work.openSource?.() ?? openSource(input))
    progress.phase(work.label, source.length)
    await transformSource(source, target, work, { signal, progress })
  } finally {
    progress.stop()
  }
}

/** The same from a source, which it closes. */
export async function transformSource(
  source: Source,
  target: Omit<Target, 'secret'>,
  work: Work,
  io: Io,
): Promise<void> {
  let sink: Sink | undefined
  try {
    sink = await (work.openSink?.() ?? openSink({ ...target, secret: work.secret }, source.id))
    await work.run(source, sink, io, target.path)
    source.checkUnchanged()
    io.signal.throwIfAborted()
    await sink.commit()
  } finally {
    source.close()
    await sink?.discard()
  }
}

/** Sends all bytes of `source` through `transform`, and what comes out, piece by piece, to `consume`. */
export async function transfer(
  source: Source,
  transform: Duplex | readonly Duplex[],
  consume: (piece: Uint8Array) => void | Promise<void>,
  { signal, progress }: Io,
): Promise<void> {
  let failure: unknown
  const consumeAll = async (pieces: AsyncIterable<Uint8Array>) => {
    for await (const piece of pieces) {
      try {
        await consume(piece)
      } catch (error) {
        failure = error
        throw error
      }
    }
  }
  await naming(source.name, 'read', async () => {
    const input = source.read()
    // What consumes is a stream to a pipeline; the types of its lists do not know.
    const stages = [input, ...[transform].flat(), consumeAll] as unknown as Duplex[]
    const done = pipeline(stages, { signal })
    input.on('data', (chunk: Uint8Array) => progress.add(chunk.length))
    try {
      await done
    } catch (error) {
      // To the pipeline, a consumer that stops early is an abort.
      throw failure ?? error
    }
  })
}

/** Something to read. */
export interface Source {
  /** For people. */
  readonly name: string
  /** As it was given; `-` for standard input. */
  readonly path: Path
  /** Of a file; see file-id.ts. */
  readonly id: string | undefined
  /** Of a file that can be read anywhere and more than once; pipes, devices and standard input are streams. */
  readonly fd: number | undefined
  /** Bytes, where that is known. */
  readonly length: number | undefined
  /** All bytes from the start; of what has no `fd`, once. */
  read(): Readable
  /** Throws `ERR_FILE` where the file is not what it was when it was opened. */
  checkUnchanged(): void
  close(): void
}

export async function openSource(path: Path): Promise<Source> {
  const isStandardInput = path === '-'
  const name = isStandardInput ? 'standard input' : nameOf(path)
  return await naming(name, 'read', () => {
    const stats = isStandardInput ? fstatSync(0, { bigint: true }) : statSync(path, { bigint: true })
    if (stats.isDirectory())
      throw fileError(`cannot read ${name}: it is a directory; encrypt and decrypt take one with --recursive`)
    if (isStandardInput) return streamSource(path, name, stats, () => process.stdin)
    // Pipes and devices have no length, and files of /proc say 0.
    if (stats.isFile() && stats.size > 0n) return fileSource(path, openSync(path, 'r'))
    return streamSource(path, name, stats, () => createReadStream(path, { highWaterMark: CHUNK_LENGTH }))
  })
}

/** Follows no symbolic link, and waits for no pipe. */
export async function openRegularFile(path: Path): Promise<Source> {
  const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants
  return await naming(nameOf(path), 'read', () => fileSource(path, openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)))
}

function fileSource(path: Path, fd: number): Source {
  const name = nameOf(path)
  const stats = fstatSync(fd, { bigint: true })
  const size = Number(stats.size)
  const range = { fd, fs: LEFT_OPEN, start: 0, ...(size > 0 && { end: size - 1 }), highWaterMark: CHUNK_LENGTH }
  const source: Source = {
    name,
    path,
    id: idOf(stats),
    fd,
    length: size,
    read: () => createReadStream(path, range),
    checkUnchanged() {
      const now = fstatSync(fd, { bigint: true })
      if (now.size !== stats.size || now.mtimeNs !== stats.mtimeNs) throw fileError(`${name} changed while it was read`)
    },
    close: () => closeSync(fd),
  }
  if (stats.isFile()) return source
  source.close()
  throw fileError(`cannot read ${name}: it is not a regular file`)
}

function streamSource(path: Path, name: string, stats: BigIntStats, read: () => Readable): Source {
  const id = stats.isFile() ? idOf(stats) : undefined
  return { name, path, id, fd: undefined, length: undefined, read, checkUnchanged: () => {}, close: () => {} }
}

/** What a stream reads with: a file may be read twice, and is closed by its source. */
const LEFT_OPEN = { read, close: (_: number, done: () => void) => done() }
const CHUNK_LENGTH = 1024 * 1024
