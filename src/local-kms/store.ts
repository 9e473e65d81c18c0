/**
 * What the server asks of the machine: one file for all keys, locked, sealed, and replaced whole.
 *
 *     <directory>/               0700, the user's own
 *       keys.sealed              the file
 *       keys.sealed.new          a write in progress; worthless after a crash
 *       store.key                32 random bytes, where no passphrase is given
 *       lock-<pid>-<birth>-<id>  of the process that has the store open
 *
 *     keys.sealed = "SEALWAX KEYS" || u8 version (1) || u8 key source (0: store.key, 1: scrypt) || u8 log2 N
 *                   || 32-byte salt || 12-byte IV || ciphertext || 16-byte tag         AES-256-GCM; the AAD is all before
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  type KeyObject,
  randomBytes,
  scrypt,
} from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { ByteReader, ByteWriter, equalBytes, utf8, wipe } from '../bytes'
import { SealwaxError } from '../errors'
import { nextTurn, turnIsDue } from '../turns'

const MAX_FILE_LENGTH = 256 * 1024 * 1024

/** An open store. One process has it at a time; one call of {@link save} runs at a time. */
export class Store {
  readonly #directory: string
  readonly #lock: string
  readonly #header: Uint8Array
  readonly #key: KeyObject
  /** What the file held when it was opened; `undefined` where there was none. The caller wipes it. */
  readonly contents: Uint8Array | undefined

  /**
   * Opens or creates the store in `folder`. A file that is damaged, unsafe or sealed with another key is refused and
   * left as it is, with `ERR_FILE`; so is a store that another process has open.
   */
  static async open(folder: string, passphrase?: string): Promise<Store> {
    // Wherever the process goes.
    const directory = resolve(folder)
    await prepareDirectory(directory)
    const lock = await acquireLock(directory)
    try {
      await remove(join(directory, NEW_FILE))
      const sealed = await readPrivate(join(directory, FILE))
      const header = sealed ? sealed.subarray(0, HEADER_LENGTH) : newHeader(passphrase !== undefined)
      const key = await deriveKey(directory, header, passphrase, sealed === undefined)
      return new Store(directory, lock, Uint8Array.from(header), key, sealed && openSealed(directory, key, sealed))
    } catch (error) {
      await remove(lock)
      throw error
    }
  }

  private constructor(
    directory: string,
    lock: string,
    header: Uint8Array,
    key: KeyObject,
    contents: Uint8Array | undefined,
  ) {
    this.#directory = directory
    this.#lock = lock
    this.#header = header
    this.#key = key
    this.contents = contents
  }

  /** Whether a store of `contents` could be opened again. */
  static takes(contents: Uint8Array): boolean {
    return HEADER_LENGTH + IV_LENGTH + contents.length + TAG_LENGTH <= MAX_FILE_LENGTH
  }

  /** Replaces the file; when this returns, `contents` survive a power cut. When it throws, the old file mostly does. */
  async save(contents: Uint8Array): Promise<void> {
    const iv = randomBytes(IV_LENGTH)
    const aad = Buffer.concat([this.#header, iv])
    const cipher = createCipheriv('aes-256-gcm', this.#key, iv).setAAD(aad)
    const sealed = Buffer.allocUnsafe(aad.length + contents.length + TAG_LENGTH)
    sealed.set(aad)
    for (let at = 0; at < contents.length; at += PIECE_LENGTH) {
      if (turnIsDue(PIECE_LENGTH)) await nextTurn(PIECE_LENGTH)
      sealed.set(cipher.update(contents.subarray(at, at + PIECE_LENGTH)), aad.length + at)
    }
    cipher.final()
    sealed.set(cipher.getAuthTag(), aad.length + contents.length)
    await lstat(this.#lock).catch((cause: unknown) => {
      throw fileError(`the lock ${this.#lock} is gone: another process may have the store open`, cause)
    })
    await replaceFile(this.#directory, FILE, sealed)
  }

  /** Lets other processes have the store. */
  async close(): Promise<void> {
    await remove(this.#lock)
  }
}

/** Whether this process is declared to be in production. */
export function inProduction(): boolean {
  return process.env.NODE_ENV === 'production'
}

async function prepareDirectory(directory: string): Promise<void> {
  await createFolders(directory).catch((cause: unknown) => {
    throw fileError(`cannot create the directory ${directory}`, cause)
  })
  await withFile(directory, constants.O_RDONLY | O_DIRECTORY | O_NOFOLLOW, (handle) =>
    checkPrivate(handle, directory, 'directory'),
  )
}

/** A folder and those above it. `recursive` of `mkdir` tries for ever where a file system takes no folders. */
async function createFolders(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o700 })
    // Else the folder may be gone after a power cut, and what was stored in it; one that cannot be read is not ours to sync.
    if (!WINDOWS)
      await withFile(dirname(directory), constants.O_RDONLY | O_DIRECTORY, (above) => above.sync()).catch(() => {})
    return
  } catch (error) {
    if (causeCode(error) === 'EEXIST' && (await stat(directory)).isDirectory()) return
    const above = dirname(directory)
    if (causeCode(error) !== 'ENOENT' || above === directory || (await isThere(above))) throw error
  }
  await createFolders(dirname(directory))
  await createFolders(directory)
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  )
}

/** Refuses what others could have read or written. Windows has no such modes. */
async function checkPrivate(handle: FileHandle, path: string, kind: 'file' | 'directory'): Promise<void> {
  const stat = await handle.stat()
  if (kind === 'file' ? !stat.isFile() : !stat.isDirectory()) throw fileError(`${path} is not a ${kind}`)
  if (kind === 'file' && stat.nlink !== 1) throw fileError(`${path} has ${stat.nlink} hard links: it must have one`)
  if (kind === 'file' && stat.size > MAX_FILE_LENGTH) throw fileError(`${path} is too large to be a key store`)
  if (WINDOWS) return
  if (stat.uid !== process.getuid!()) throw fileError(`${path} belongs to another user`)
  if (stat.mode & 0o077) {
    throw fileError(
      `${path} is open to other users (mode ${(stat.mode & 0o777).toString(8)}): take that away with chmod go=`,
    )
  }
}

async function readPrivate(path: string): Promise<Buffer | undefined> {
  try {
    return await withFile(path, constants.O_RDONLY | O_NOFOLLOW | O_NONBLOCK, async (handle) => {
      await checkPrivate(handle, path, 'file')
      return handle.readFile()
    })
  } catch (error) {
    if (causeCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** At any moment a crash leaves the old file or the new one. */
async function replaceFile(directory: string, name: string, bytes: Uint8Array): Promise<void> {
  const path = join(directory, name)
  const temporary = join(directory, NEW_FILE)
  try {
    await withFile(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, async (handle) => {
      await handle.writeFile(bytes)
      await handle.sync()
    })
    await rename(temporary, path)
    if (!WINDOWS) await withFile(directory, constants.O_RDONLY | O_DIRECTORY, (handle) => handle.sync())
  } catch (cause) {
    await remove(temporary).catch(() => {})
    throw fileError(`cannot write ${path}`, cause)
  }
}

async function withFile<T>(path: string, flags: number, use: (handle: FileHandle) => Promise<T>): Promise<T> {
  const handle = await open(path, flags, 0o600).catch((cause: unknown) => {
    throw fileError(`cannot open ${path}`, cause)
  })
  try {
    return await use(handle)
  } finally {
    await handle.close()
  }
}

/**
 * Every holder has a lock file under a name of its own that is never used again. It is there before its owner looks for
 * others, so of two that start at once at least one sees the other; and to remove the lock of a dead process is safe at
 * any time.
 */
async function acquireLock(directory: string): Promise<string> {
  const name = `lock-${process.pid}-${await birthOf(process.pid)}-${randomBytes(8).toString('hex')}`
  const path = join(directory, name)
  await withFile(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, async () => {})
  try {
    for (const other of await readdir(directory)) {
      const [, pid, birth] = /^lock-(\d+)-([0-9a-f]*)-[0-9a-f]{16}$/.exec(other) ?? []
      if (pid === undefined || other === name) continue
      if (await isAlive(Number(pid), birth!)) {
        throw fileError(`the store in ${directory} is open in process ${pid}`)
      }
      await remove(join(directory, other))
    }
    return path
  } catch (error) {
    await remove(path)
    throw error
  }
}

/** Whether the owner of a lock lives. What cannot be told counts as alive: two with the store open would lose keys. */
async function isAlive(pid: number, birth: string): Promise<boolean> {
  const found = await birthOf(pid)
  if (found === ENDED || (found && birth && found !== birth)) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return causeCode(error) !== 'ESRCH'
  }
}

/** Tells a process from another that got the same number later. Known on Linux only; empty where it cannot be told. */
async function birthOf(pid: number): Promise<string> {
  try {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'latin1')
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1')
    // proc(5): field 22, counted past the command name, which may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // Dead, and not waited for by its parent: it has nothing open.
    if (fields[0] === 'Z') return ENDED
    const started = fields[19]
    return createHash('sha256').update(`${boot}${started}`).digest('hex').slice(0, 16)
  } catch {
    // A process that has ended is told by its number, and one that is hidden here is not one that has ended.
    return ''
  }
}

const ENDED = 'ended'

async function remove(path: string): Promise<void> {
  await unlink(path).catch((cause: unknown) => {
    if (causeCode(cause) !== 'ENOENT') throw fileError(`cannot remove ${path}`, cause)
  })
}

function newHeader(passphrase: boolean): Uint8Array {
  return new ByteWriter(HEADER_LENGTH)
    .put(MAGIC)
    .u8(VERSION)
    .u8(passphrase ? 1 : 0)
    .u8(passphrase ? SCRYPT_LOG_N : 0)
    .put(randomBytes(SALT_LENGTH)).bytes
}

/** The key that the header asks for. A missing key file is made only where there is no store yet. */
async function deriveKey(
  directory: string,
  header: Uint8Array,
  passphrase: string | undefined,
  fresh: boolean,
): Promise<KeyObject> {
  const { source, logN, salt } = parseHeader(header, join(directory, FILE))
  if (source === 1) {
    if (passphrase === undefined)
      throw fileError(`the store in ${directory} is sealed with a passphrase: "passphrase" is required`)
    return secretKey(
      await deriveScrypt(utf8(passphrase), salt, 32, { N: 2 ** logN, r: 8, p: 1, maxmem: 2 ** (logN + 11) }),
    )
  }
  if (passphrase !== undefined)
    throw fileError(`the store in ${directory} is sealed with its key file: it takes no "passphrase"`)
  const path = join(directory, KEY_FILE)
  const existing = await readPrivate(path)
  if (existing) {
    if (existing.length !== 32) throw fileError(`${path} is damaged: it must have 32 bytes, not ${existing.length}`)
    return secretKey(existing)
  }
  if (!fresh) throw fileError(`the key file ${path} is missing`)
  const bytes = randomBytes(32)
  await replaceFile(directory, KEY_FILE, bytes)
  return secretKey(bytes)
}

function secretKey(bytes: Buffer): KeyObject {
  try {
    return createSecretKey(bytes)
  } finally {
    wipe(bytes)
  }
}

function parseHeader(header: Uint8Array, path: string) {
  if (header.length < HEADER_LENGTH || !equalBytes(header.subarray(0, MAGIC.length), MAGIC))
    throw fileError(`${path} is not a key store`)
  const reader = new ByteReader(header.subarray(MAGIC.length), 'key store')
  const [version, source, logN] = [reader.u8(), reader.u8(), reader.u8()]
  // The bound keeps a forged header from asking for all memory.
  if (version !== VERSION || source > 1 || logN !== (source === 1 ? SCRYPT_LOG_N : 0)) {
    throw fileError(`${path} is damaged, or of a version that this program does not know`)
  }
  return { source, logN, salt: reader.take(SALT_LENGTH) }
}

function openSealed(directory: string, key: KeyObject, sealed: Buffer): Uint8Array {
  const path = join(directory, FILE)
  const start = HEADER_LENGTH + IV_LENGTH
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(HEADER_LENGTH, start), {
      authTagLength: TAG_LENGTH,
    })
    decipher.setAAD(sealed.subarray(0, start)).setAuthTag(sealed.subarray(-TAG_LENGTH))
    const contents = decipher.update(sealed.subarray(start, -TAG_LENGTH))
    decipher.final()
    return contents
  } catch {
    throw fileError(`${path} is damaged, or sealed with another key or passphrase; it was left as it is`)
  }
}

function fileError(message: string, cause?: unknown): SealwaxError {
  if (cause === undefined) return new SealwaxError('ERR_FILE', message)
  return new SealwaxError('ERR_FILE', `${message} (${causeCode(cause) ?? 'see the cause'})`, { cause })
}

/** The system's code of an error, or of the one it was made of. */
function causeCode(error: unknown): string | undefined {
  const { code, cause } = error as { code?: string; cause?: { code?: string } }
  return cause?.code ?? code
}

const deriveScrypt: (
  password: Uint8Array,
  salt: Uint8Array,
  length: number,
  options: { N: number; r: number; p: number; maxmem: number },
) => Promise<Buffer> = promisify(scrypt)

const WINDOWS = process.platform === 'win32'
// Windows has none of these flags.
const O_NOFOLLOW = constants.O_NOFOLLOW ?? 0
const O_DIRECTORY = constants.O_DIRECTORY ?? 0
// To open a FIFO in place of a file would wait for ever.
const O_NONBLOCK = constants.O_NONBLOCK ?? 0

const FILE = 'keys.sealed'
const NEW_FILE = 'keys.sealed.new'
const KEY_FILE = 'store.key'
const MAGIC = utf8('SEALWAX KEYS')
const VERSION = 1
const SALT_LENGTH = 32
const IV_LENGTH = 12
const TAG_LENGTH = 16
/** Sealed at once: less than a millisecond's work. */
const PIECE_LENGTH = 512 * 1024
const HEADER_LENGTH = MAGIC.length + 3 + SALT_LENGTH
// 128 MiB and about 0.4 s, once at start.
const SCRYPT_LOG_N = 17
