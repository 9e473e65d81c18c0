import type { Stats } from 'node:fs'
import { open, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { getEngine } from '../engine/engine'
import { SealwaxError } from '../errors'
import { writeAll } from './temporary-file'

/** A file under a temporary name in the folder of its final one, which it takes once it is complete and on the disk. */
export interface TargetFile {
  /** Writes all of `bytes` at `offset`. They are not held. */
  readonly write: (bytes: Uint8Array, offset: number) => Promise<void>
  /** Gives the complete file its name; a file that has it already is replaced. */
  readonly commit: () => Promise<void>
  /** Closes, and removes what was not committed. */
  readonly discard: () => Promise<void>
}

/** Throws `ERR_FILE` where it cannot be written; also for what is there and is no file, which nothing can take the place of. */
export async function openTargetFile(path: string): Promise<TargetFile> {
  const naming = async <T>(action: () => Promise<T>): Promise<T> => {
    try {
      return await action()
    } catch (error) {
      throw new SealwaxError('ERR_FILE', `cannot write the file: ${(error as Error).message}`, { cause: error })
    }
  }
  const random = Buffer.from(getEngine().randomBytes(8)).toString('hex')
  const temporary = join(dirname(path), `.sealwax-${random}.tmp`)
  const [file, replaced] = await naming(async () => {
    const there = await statOf(path)
    if (!there || there.isFile()) return [await open(temporary, 'wx'), there] as const
    throw new Error(`${JSON.stringify(path)} is not a regular file`)
  })
  const discard = async () => {
    await file.close()
    await rm(temporary, { force: true })
  }
  const mode = await naming(async () => {
    // What the umask makes of it is for the complete file, unless it takes the place of one: who may read that stays so.
    const { mode } = replaced ?? (await file.stat())
    await file.chmod(0o600)
    return mode & 0o777
  }).catch(async (error) => {
    await discard()
    throw error
  })
  return {
    write: (bytes, offset) => naming(() => writeAll(file, bytes, offset)),
    commit: () =>
      naming(async () => {
        await file.chmod(mode)
        await file.sync()
        await rename(temporary, path)
        await syncFolder(dirname(path))
      }),
    discard,
  }
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Puts the new name of a file on the disk, where the system can: Windows opens no folders. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r').catch(() => undefined)
  await folder?.sync().catch(() => {})
  await folder?.close()
}
