import { type FileHandle, open, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { getEngine } from '../engine/engine'
import { SealwaxError } from '../errors'

/** A file of ciphertext that has no name: the system removes it with its last use, also where this process is killed. */
export interface CiphertextFile {
  /** Writes all of `bytes` at `offset`. They are not held. */
  readonly write: (bytes: Uint8Array, offset: number) => Promise<void>
  /** All of it, from the start. The file is closed with the stream, unless it is to stay open. */
  readonly read: (options?: { readonly keepOpen: boolean }) => Readable
  readonly close: () => Promise<void>
}

/** In the folder of the system for temporary files, which `TMPDIR` names. Throws `ERR_FILE` where it cannot. */
export async function openCiphertextFile(): Promise<CiphertextFile> {
  const file = await naming(async () => {
    const random = Buffer.from(getEngine().randomBytes(8)).toString('hex')
    const path = join(tmpdir(), `sealwax-${random}`)
    const opened = await open(path, 'wx+', 0o600)
    try {
      await unlink(path)
      return opened
    } catch (error) {
      await opened.close()
      throw error
    }
  })
  return {
    write: (bytes, offset) => naming(() => writeAll(file, bytes, offset)),
    read: ({ keepOpen } = { keepOpen: false }) =>
      file.createReadStream({ start: 0, highWaterMark: READ_LENGTH, autoClose: !keepOpen }),
    close: () => file.close(),
  }
}

/** Writes all of `bytes` at `offset`. */
export async function writeAll(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, written, bytes.length - written, offset + written)
    written += bytesWritten
  }
}

const READ_LENGTH = 256 * 1024

async function naming<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    throw new SealwaxError('ERR_FILE', `cannot use a temporary file: ${(error as Error).message}`, { cause: error })
  }
}
