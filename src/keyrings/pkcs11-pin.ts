import { isUtf8 } from 'node:buffer'
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { types } from 'node:util'
import { copySecret, utf8, wipe } from '../bytes'
import { SealwaxError } from '../errors'
import { checkInteger, checkOptions, checkString, kindOf } from '../options'

/**
 * Where the user PIN comes from: a function that is called at each login (once, unless the token is lost and found again),
 * a file descriptor, or a file that its owner alone can read. One newline at the end is not part of the PIN. What comes
 * from a file descriptor is kept, out of the JavaScript heap, for all tokens that are given the same `{ fd }`; the rest is
 * asked for again.
 */
export type PinSource = (() => PinValue | Promise<PinValue>) | { fd: number } | { file: string }

export type PinValue = string | Uint8Array

/** Gives a copy of the PIN, the caller's to wipe. */
export type ReadPin = () => Promise<Uint8Array>

const MAX_LENGTH = 1024

export function checkPinSource(source: PinSource): ReadPin {
  if (typeof source === 'function') return async () => checkPin(await source())
  // Not even its length: what is here by mistake is a PIN.
  if (typeof source !== 'object' || source === null)
    throw new TypeError('"pin" must be a function, or an object with "fd" or "file"; a PIN in a variable is () => pin')
  const { fd, file } = checkOptions(source as { fd?: number; file?: string }, ['fd', 'file'], '"pin"')
  if ((fd === undefined) === (file === undefined)) throw new TypeError('"pin" needs either "fd" or "file"')
  if (fd !== undefined) {
    const read = descriptors.get(source) ?? fromDescriptor(checkInteger(fd, 'pin.fd', 0, 2 ** 31 - 1))
    descriptors.set(source, read)
    return read
  }
  const path = checkString(file, 'pin.file')
  return async () => readPinFile(path)
}

const descriptors = new WeakMap<object, ReadPin>()

/** A descriptor can be read once only. */
function fromDescriptor(fd: number): ReadPin {
  let pin: Uint8Array | undefined
  return async () => {
    pin ??= readPin(fd)
    return copySecret(pin)
  }
}

/** The PIN, or an error where it does not come in time; one that comes later is wiped. */
export async function readPinWithin(read: ReadPin, timeout: number): Promise<Uint8Array> {
  const reading = read()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reading.then(wipe, () => {})
      reject(new SealwaxError('ERR_KEY_SERVICE', `"pin" gave nothing within ${timeout} ms`))
    }, timeout)
  })
  try {
    return await Promise.race([reading, late])
  } finally {
    clearTimeout(timer)
  }
}

function readPinFile(path: string): Uint8Array {
  let fd: number | undefined
  try {
    fd = openSync(path, 'r')
    // What is checked is what is read. Windows has no such modes.
    if (process.platform !== 'win32' && (fstatSync(fd).mode & 0o077) !== 0)
      throw new SealwaxError('ERR_WRAPPING_KEY', `the PIN file ${JSON.stringify(path)} is open to others: chmod 600 it`)
    return readPin(fd)
  } catch (error) {
    throw unreadable(error)
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function readPin(fd: number): Uint8Array {
  let bytes: Buffer | undefined
  try {
    bytes = readFileSync(fd)
    return checkPin(bytes)
  } catch (error) {
    throw unreadable(error)
  } finally {
    wipe(bytes)
  }
}

function unreadable(error: unknown): unknown {
  const { syscall, code } = error as NodeJS.ErrnoException
  return syscall === undefined ? error : new SealwaxError('ERR_WRAPPING_KEY', `the PIN cannot be read: ${code}`)
}

function checkPin(pin: unknown): Uint8Array {
  const bytes = typeof pin === 'string' ? utf8(pin) : pin
  if (!types.isUint8Array(bytes)) throw new TypeError(`"pin" must give a string or bytes, got ${kindOf(pin)}`)
  // The module is given text: other bytes would be a wrong PIN, and a lost try.
  if (!isUtf8(bytes)) throw new RangeError('"pin" gave bytes that are not UTF-8')
  if (bytes.length > MAX_LENGTH) throw new RangeError('"pin" gave too much to be a PIN')
  const newline = bytes.at(-1) === 0x0a ? (bytes.at(-2) === 0x0d ? 2 : 1) : 0
  const own = copySecret(bytes.subarray(0, bytes.length - newline))
  if (typeof pin === 'string') wipe(bytes)
  if (own.length === 0) throw new RangeError('"pin" gave nothing')
  return own
}
