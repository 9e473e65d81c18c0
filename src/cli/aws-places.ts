/** Where inputs, outputs and metadata of the AWS Encryption CLI's arguments lie, and whether they are in each other's way. */
import { existsSync, fstatSync, lstatSync, readdirSync, readlinkSync, realpathSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { quote, UsageError } from './errors'
import { idOf, isSameFile, statsOf } from './file-id'

export function isFolder(path: string): boolean {
  return path !== '-' && statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

/** Also by another name. Of what is neither file nor pipe, as a terminal, there may be several. */
export function isStandardOutput(path: string): boolean {
  if (path === '-') return true
  const own = fstatSync(1)
  return (own.isFile() || own.isFIFO()) && isSameFile(path, 1)
}

/** Metadata must not go where data are read from or written to, by whatever name. */
export function checkMetadataPlace(metadata: string, input: string, output: string): void {
  const place = realPlace(metadata)
  for (const [name, path] of Object.entries({ input, output })) {
    if (path === '-') continue
    const other = realPlace(path)
    if (place === other || isSameFile(metadata, path)) throw new UsageError(`--metadata-output is the ${name} itself`)
    if (isFolder(path) && place.startsWith(other + sep))
      throw new UsageError(`--metadata-output is in the ${name} folder`)
  }
}

/** Inputs that go to one folder must not replace each other there. Folders are `recursive`, or left out. */
export function checkOutputNames(inputs: readonly string[], recursive: boolean): void {
  const names = new Map<string, Buffer>()
  for (const input of inputs) {
    const files = !isFolder(input) ? [Buffer.from(basename(input))] : recursive ? filesBelow(Buffer.from(input)) : []
    for (const file of files) {
      const path = isFolder(input) ? Buffer.concat([Buffer.from(input + sep), file]) : Buffer.from(input)
      const name = nameInFolder(file)
      const other = names.get(name)
      if (other) throw new UsageError(`${quote(other.toString())} and ${quote(path.toString())} have the same output`)
      names.set(name, path)
    }
  }
}

/** The same for names that lead to one file, as far as that depends on the system. */
function nameInFolder(file: Buffer): string {
  // As bytes: all names that are not UTF-8 look alike.
  if (process.platform !== 'win32' && process.platform !== 'darwin') return file.toString('latin1')
  return file.toString().normalize().toLowerCase()
}

/** No file that goes to the folder `output` may take the place of another input, which is perhaps still to be read. */
export function checkOutputsNoInputs(inputs: readonly string[], output: string, suffix: string): void {
  const files = inputs.filter((input) => !isFolder(input))
  const known = new Map(files.map((input) => [idOf(statsOf(input)), input]))
  for (const input of files) {
    const id = idOf(statsOf(join(output, basename(input) + suffix)))
    const other = id && known.get(id)
    if (other !== undefined && other !== input)
      throw new UsageError(`the output of ${quote(input)} would replace the input ${quote(other)}`)
  }
}

/** The files that tree.ts finds, by their paths from `folder`. What cannot be read is told when its turn comes. */
function filesBelow(folder: Buffer): Buffer[] {
  return entriesOf(folder).flatMap((entry) => {
    if (entry.isFile()) return [entry.name]
    if (!entry.isDirectory()) return []
    const below = filesBelow(Buffer.concat([folder, Buffer.from(sep), entry.name]))
    return below.map((name) => Buffer.concat([entry.name, Buffer.from(sep), name]))
  })
}

function entriesOf(folder: Buffer) {
  try {
    return readdirSync(folder, { withFileTypes: true, encoding: 'buffer' })
  } catch {
    return []
  }
}

/** Where a path leads, though there need not be a file yet. */
function realPlace(path: string, links = 40): string {
  const whole = resolve(path)
  // A link that leads nowhere yet.
  if (!existsSync(whole) && links > 0 && lstatSync(whole, { throwIfNoEntry: false })?.isSymbolicLink())
    return realPlace(resolve(dirname(whole), readlinkSync(whole)), links - 1)
  const folder = existsSync(whole) ? whole : dirname(whole)
  const rest = folder === whole ? [] : [basename(whole)]
  return existsSync(folder) ? join(realpathSync(folder), ...rest) : whole
}
