import { constants } from 'node:buffer'
import { closeSync, createReadStream, fstatSync, openSync, read, type Stats, statSync } from 'node:fs'
import { addAbortSignal } from 'node:stream'
import { promisify } from 'node:util'
import { SealwaxError } from '../index'
import { fileError, naming, quote } from './errors'
import { openProgress, type Progress } from './progress'
import { openSink, type Sink, type Target, writeTo } from './sink'

/** What {@link transformFile} does with the bytes. */
export interface Work {
  /** What the progress bar calls it. */
  readonly label: string
  /** Bytes of output for a byte of input, about; not less than 1. */
  readonly expansion: number
  run(bytes: Uint8Array): Promise<Uint8Array>
}

/** Reads all of the file `input` (`-` for standard input) and writes what `work` makes of it: all of it, or nothing. */
export async function transformFile(input: string, target: Target, work: Work, signal: AbortSignal): Promise<void> {
  const source = await openSource(input)
  let sink: Sink | undefined
  let progress: Progress | undefined
  try {
    sink = await openSink(target, source.stats)
    progress = await openProgress(target)
    const bytes = await readSource(source, maxInputLength(work.expansion), signal, progress)
    progress.phase(work.label, bytes.length)
    const result = await work.run(bytes)
    progress.phase('writing', result.length)
    await writeTo(sink, result, signal, progress)
  } finally {
    progress?.stop()
    sink?.discard()
    source.close()
  }
}

/** Something to read. */
export interface Source {
  /** For people. */
  readonly name: string
  readonly path: string
  readonly stats: Stats
  /** Of a file that can be read anywhere; pipes, devices and standard input are streams. */
  readonly fd: number | undefined
  close(): void
}

export async function openSource(path: string): Promise<Source> {
  if (path === '-') return { name: 'standard input', path, stats: fstatSync(0), fd: undefined, close: () => {} }
  const name = quote(path)
  return await naming(name, 'read', () => {
    const stats = statSync(path)
    if (stats.isDirectory()) throw fileError(`cannot read ${name}: it is a directory`)
    // Pipes and devices have no length, and files of /proc say 0.
    if (!stats.isFile() || stats.size === 0) return { name, path, stats, fd: undefined, close: () => {} }
    const fd = openSync(path, 'r')
    return { name, path, stats: fstatSync(fd), fd, close: () => closeSync(fd) }
  })
}

/** All bytes of `source`. Throws `ERR_LIMIT_EXCEEDED` for more than `maxLength`, before reading where it can tell. */
export async function readSource(
  source: Source,
  maxLength: number,
  signal: AbortSignal,
  progress?: Progress,
): Promise<Uint8Array> {
  const { name, stats, fd } = source
  if (fd === undefined) return await readStream(source, maxLength, signal)
  if (stats.size > maxLength) throw tooLarge(name, maxLength)
  progress?.phase('reading', stats.size)
  const bytes = Buffer.allocUnsafeSlow(stats.size)
  for (let offset = 0; offset < bytes.length; ) {
    signal.throwIfAborted()
    const { bytesRead } = await naming(name, 'read', () => readAt(fd, bytes, offset))
    if (bytesRead === 0) break
    offset += bytesRead
    progress?.add(bytesRead)
  }
  const now = fstatSync(fd)
  if (now.size !== stats.size || now.mtimeMs !== stats.mtimeMs) throw fileError(`${name} changed while it was read`)
  return bytes
}

/** How long an input can be that is held in memory together with its output. */
export function maxInputLength(expansion: number): number {
  return Math.floor(Math.min(constants.MAX_LENGTH / expansion, process.availableMemory() / (1 + expansion)))
}

async function readStream({ name, path }: Source, maxLength: number, signal: AbortSignal): Promise<Uint8Array> {
  const stream = addAbortSignal(signal, path === '-' ? process.stdin : createReadStream(path))
  const chunks: Uint8Array[] = []
  let length = 0
  await naming(name, 'read', async () => {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      length += chunk.length
      if (length > maxLength) throw tooLarge(name, maxLength)
      chunks.push(chunk)
    }
  })
  return Buffer.concat(chunks)
}

function readAt(fd: number, bytes: Uint8Array, offset: number) {
  return promisify(read)(fd, bytes, offset, Math.min(CHUNK_LENGTH, bytes.length - offset), offset)
}

function tooLarge(name: string, maxLength: number): SealwaxError {
  const mebibytes = Math.floor(maxLength / 2 ** 20)
  return new SealwaxError('ERR_LIMIT_EXCEEDED', `${name} is too large: at most ${mebibytes} MiB fit into memory here`)
}

const CHUNK_LENGTH = 4 * 1024 * 1024
