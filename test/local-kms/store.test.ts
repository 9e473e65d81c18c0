import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createCipheriv } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  promises,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SealwaxError } from '../../src/errors'
import { Store } from '../../src/local-kms/store'
import { until } from '../support/clock'
import { openFilesIn } from '../support/open-files'
import { countTurns } from '../support/work'
import { temporaryDirectory } from './support'

const contents = Buffer.from('the contents of a small store')
let directory: string
let file: string
let keyFile: string
let clear: () => void

test.before.each(() => {
  const temporary = temporaryDirectory()
  directory = temporary.path
  file = join(directory, 'keys.sealed')
  keyFile = join(directory, 'store.key')
  clear = temporary.remove
})

test.after.each(() => clear())

test('gives back what was saved last', async () => {
  const store = await Store.open(directory)
  assert.is(store.contents, undefined)
  await store.save(Buffer.from('first'))
  await store.save(contents)
  await store.close()
  assert.equal(await contentsOf(), contents)
  assert.not(readFileSync(file).includes('contents'))
  assert.equal(readdirSync(directory).sort(), ['keys.sealed', 'store.key'])
  assert.is(openFilesIn(directory), 0)
})

test('gives back contents of any length', async () => {
  const piece = 512 * 1024
  for (const length of [0, 1, piece - 1, piece, piece + 1, 20 * piece + 7]) {
    const bytes = Buffer.alloc(length, 'some contents')
    const store = await Store.open(directory)
    await store.save(bytes)
    await store.close()
    assert.ok(bytes.equals((await contentsOf())!), `${length} bytes`)
  }
})

test('other events have their turns while much is sealed', async () => {
  const store = await Store.open(directory)
  const { lstat } = promises
  const turns = countTurns()
  let given = 0
  // What comes after it has been sealed.
  promises.lstat = ((path: string) => {
    given = turns()
    return lstat(path)
  }) as typeof lstat
  await store.save(Buffer.alloc(16 * 2 ** 20))
  promises.lstat = lstat
  await store.close()
  assert.ok(given >= 3, `${given} turns`)
})

test('seals nothing twice in the same way', async () => {
  const ivOf = (sealed: Buffer) => sealed.subarray(47, 59).toString('hex')
  const store = await Store.open(directory)
  const files: Buffer[] = []
  for (let i = 0; i < 3; i++) {
    await store.save(contents)
    files.push(readFileSync(file))
  }
  await store.close()
  const other = await Store.open(`${directory}-2`)
  await other.save(contents)
  await other.close()
  files.push(readFileSync(join(`${directory}-2`, 'keys.sealed')))
  assert.is(new Set(files.map(ivOf)).size, 4)
  assert.equal(
    files.map((sealed) => sealed.subarray(0, 47).equals(files[0]!.subarray(0, 47))),
    [true, true, true, false],
    'a salt for each store',
  )
})

test('refuses a tag that is cut, however right the rest of it is', async () => {
  await create()
  const start = readFileSync(file).subarray(0, 59)
  const cipher = createCipheriv('aes-256-gcm', readFileSync(keyFile), start.subarray(47)).setAAD(start)
  cipher.final()
  const tag = cipher.getAuthTag()
  writeFileSync(file, Buffer.concat([start, tag]))
  assert.equal(await contentsOf(), Buffer.alloc(0))
  for (const length of [4, 8, 12, 13, 14, 15]) {
    writeFileSync(file, Buffer.concat([start, tag.subarray(0, length)]))
    await refused(/is damaged/)
  }
})

test('refuses another version, and another source of the key, that are sealed well', async () => {
  await create()
  const good = readFileSync(file).subarray(0, 59)
  for (const at of [12, 13]) {
    const start = Buffer.from(good)
    start[at] = 2
    const cipher = createCipheriv('aes-256-gcm', readFileSync(keyFile), start.subarray(47)).setAAD(start)
    cipher.final()
    writeFileSync(file, Buffer.concat([start, cipher.getAuthTag()]))
    await refused(/version that this program does not know/)
  }
})

test('is for its owner only, whatever the umask', async () => {
  const before = process.umask(0)
  await create()
  process.umask(before)
  assert.is(statSync(directory).mode & 0o777, 0o700)
  for (const path of [file, keyFile]) assert.is(statSync(path).mode & 0o777, 0o600)
})

test('refuses a file with any byte changed, or cut anywhere, and leaves it as it is', async () => {
  await create()
  const good = readFileSync(file)
  const bad = Array.from(good, (byte, i) => {
    const changed = Buffer.from(good)
    changed[i] = byte ^ (1 << (i % 8))
    return changed
  })
  for (let length = 0; length < good.length; length++) bad.push(good.subarray(0, length))
  bad.push(Buffer.concat([good, Buffer.alloc(1)]))
  for (const bytes of bad) {
    writeFileSync(file, bytes)
    await refused(/is not a key store|is damaged|sealed with a passphrase/)
    assert.equal(readFileSync(file), bytes)
  }
  writeFileSync(file, good)
  assert.equal(await contentsOf(), contents)
})

test('refuses a key file that is changed, cut or gone', async () => {
  await create()
  const good = readFileSync(keyFile)
  for (let i = 0; i < good.length; i++) {
    const changed = Buffer.from(good)
    changed[i]! ^= 1
    writeFileSync(keyFile, changed)
    await refused(/is damaged, or sealed with another key/)
    writeFileSync(keyFile, good.subarray(0, i))
    await refused(/store\.key is damaged/)
  }
  unlinkSync(keyFile)
  await refused(/store\.key is missing/)
  assert.not(readdirSync(directory).includes('store.key'))
})

test('opens with the right passphrase only', async () => {
  const store = await Store.open(directory, 'correct horse')
  await store.save(contents)
  await store.close()
  assert.equal(readdirSync(directory), ['keys.sealed'])
  assert.equal(await contentsOf('correct horse'), contents)
  await refused(/is damaged, or sealed with another key or passphrase/, 'battery staple')
  await refused(/"passphrase" is required/)
})

test('a store with a key file takes no passphrase', async () => {
  await create()
  await refused(/takes no "passphrase"/, 'correct horse')
})

test('refuses files and directories that are not safe', async () => {
  await create()
  const aside = join(directory, 'aside')
  for (const path of [file, keyFile]) {
    for (const mode of [0o640, 0o604, 0o620, 0o602, 0o666]) {
      chmodSync(path, mode)
      await refused(/is open to other users/)
    }
    chmodSync(path, 0o600)
    linkSync(path, aside)
    await refused(/has 2 hard links/)
    unlinkSync(path)
    symlinkSync(aside, path)
    await refused(/cannot open/)
    unlinkSync(path)
    mkdirSync(path)
    await refused(/is not a file/)
    rmdirSync(path)
    execFileSync('mkfifo', ['-m', '600', path])
    await refused(/is not a file/)
    renameSync(aside, path)
    const before = readFileSync(path)
    truncateSync(path, 2 ** 28 + 1)
    await refused(/is too large/)
    writeFileSync(path, before)
  }
  for (const mode of [0o777, 0o750, 0o701]) {
    chmodSync(directory, mode)
    await refused(/is open to other users/)
  }
  chmodSync(directory, 0o700)
  const link = `${directory}-link`
  symlinkSync(directory, link)
  await refused(/cannot open/, undefined, link)
  await refused(/cannot create the directory/, undefined, join(file, 'below'))
  symlinkSync('nowhere', join(directory, 'dangling'))
  await refused(/cannot create the directory/, undefined, join(directory, 'dangling', 'below'))
  assert.equal(await contentsOf(), contents)
})

test('refuses what belongs to another user', async () => {
  await create()
  const asRoot = process.getuid!() === 0
  if (asRoot) chownSync(directory, 1, 1)
  await refused(/belongs to another user/, undefined, asRoot ? directory : '/')
})

test('one at a time has it open', async () => {
  const first = await Store.open(directory)
  await refused(new RegExp(`is open in process ${process.pid}`))
  await first.close()
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => Store.open(directory)))
  const opened = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  assert.ok(opened.length <= 1)
  for (const store of opened) await store.close()
  assert.equal(await contentsOf(), undefined)
})

test('takes over from processes that died, also where their number lives on', async () => {
  await create()
  const { pid } = spawnSync(process.execPath, ['-e', ''])
  const id = '0123456789abcdef'
  for (const name of [`lock-${pid}-${id}-${id}`, `lock-${process.pid}-${id}-${id}`])
    writeFileSync(join(directory, name), '')
  writeFileSync(join(directory, 'keys.sealed.new'), 'half a wri')
  assert.equal(await contentsOf(), contents)
  assert.equal(readdirSync(directory).sort(), ['keys.sealed', 'store.key'])
})

test('takes nothing over from a process of which it cannot be told whether it is the same', async () => {
  await create()
  const lock = join(directory, `lock-${process.pid}--0123456789abcdef`)
  writeFileSync(lock, '')
  await refused(new RegExp(`is open in process ${process.pid}`))
  unlinkSync(lock)

  const first = await Store.open(directory)
  const { readFile } = promises
  const unreadable = `/proc/${process.pid}/stat`
  for (const code of ['EMFILE', 'EIO', 'EACCES', 'ENOENT']) {
    promises.readFile = ((path: string, ...rest: [never]) =>
      path === unreadable ? Promise.reject(Object.assign(new Error(code), { code })) : readFile(path, ...rest)) as never
    await refused(new RegExp(`is open in process ${process.pid}`))
  }
  promises.readFile = readFile
  await first.close()
  assert.equal(await contentsOf(), contents)
})

test('takes nothing over from a process whose name looks like the state of another', async () => {
  const { title } = process
  const first = await Store.open(directory)
  process.title = 'a) Z'
  await refused(/is open in process/)
  process.title = title
  await first.close()
})

test('takes nothing over from a process of another user', async () => {
  await create()
  const { pid } = spawnSync(process.execPath, ['-e', ''])
  const lock = join(directory, `lock-${pid}--0123456789abcdef`)
  writeFileSync(lock, '')
  const { kill } = process
  process.kill = () => {
    throw Object.assign(new Error('not permitted'), { code: 'EPERM' })
  }
  await refused(/is open in process/)
  process.kill = kill
  assert.equal(await contentsOf(), contents)
})

test('takes over from a process that has ended and was not waited for', async () => {
  await create()
  // A parent that waits for no child: the program that the shell becomes knows of none.
  const parent = spawn('sh', ['-c', 'sleep 600 & echo $!; exec sleep 600'])
  const [line] = (await once(parent.stdout, 'data')) as [Buffer]
  const pid = Number(line)
  await until(() => readFileSync(`/proc/${parent.pid}/comm`, 'latin1') === 'sleep\n')
  process.kill(pid, 'SIGKILL')
  await until(() => readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z '))
  for (const birth of ['', '0123456789abcdef']) {
    writeFileSync(join(directory, `lock-${pid}-${birth}-0123456789abcdef`), '')
    assert.equal(await contentsOf(), contents)
  }
  assert.equal(readdirSync(directory).sort(), ['keys.sealed', 'store.key'])
  parent.kill()
})

test('does not write once its lock is gone', async () => {
  const store = await Store.open(directory)
  await store.save(contents)
  for (const name of readdirSync(directory)) if (name.startsWith('lock-')) rmSync(join(directory, name))
  await rejects(store.save(Buffer.from('late')), /the lock .* is gone/)
  await store.close()
  assert.equal(await contentsOf(), contents)
})

test('nothing is written through a link in the place of the new file', async () => {
  const store = await Store.open(directory)
  const other = join(directory, 'other')
  writeFileSync(other, 'precious')
  symlinkSync(other, join(directory, 'keys.sealed.new'))
  await rejects(store.save(contents), /cannot write/)
  assert.is(readFileSync(other, 'utf8'), 'precious')
  await store.close()
})

test('nothing is written into what another made in the place of the new file', async () => {
  const store = await Store.open(directory)
  const other = join(directory, 'other')
  writeFileSync(other, 'precious')
  linkSync(other, join(directory, 'keys.sealed.new'))
  await rejects(store.save(contents), /cannot write/)
  assert.is(readFileSync(other, 'utf8'), 'precious')
  await store.close()
})

test('is on the disk before it takes the place of the old file, and the change of names before it is told', async () => {
  const store = await Store.open(directory)
  const handle = await promises.open(directory)
  const prototype = Object.getPrototypeOf(handle) as { sync: () => Promise<void> }
  await handle.close()
  const steps: string[] = []
  const { sync } = prototype
  const { rename } = promises
  prototype.sync = async function (this: typeof handle) {
    steps.push((await this.stat()).isDirectory() ? 'sync directory' : 'sync file')
    await sync.call(this)
  }
  promises.rename = async (...names) => {
    steps.push('rename')
    await rename(...names)
  }
  await store.save(contents)
  prototype.sync = sync
  promises.rename = rename
  await store.close()
  assert.equal(steps, ['sync file', 'rename', 'sync directory'])
})

test('a new folder is on the disk too, if the one above it lets itself be written there', async () => {
  const above = join(directory, '..')
  const handle = await promises.open(above)
  const prototype = Object.getPrototypeOf(handle) as { sync: () => Promise<void> }
  await handle.close()
  let asked = 0
  const { sync } = prototype
  prototype.sync = async function (this: typeof handle) {
    if ((await this.stat()).ino !== statSync(above).ino) return await sync.call(this)
    asked++
    throw new Error('not here')
  }
  await create()
  prototype.sync = sync
  assert.is(asked, 1)
})

test('takes no more than can be read again', () => {
  const longest = 2 ** 28 - 75
  assert.ok(Store.takes({ length: longest } as Uint8Array))
  assert.not(Store.takes({ length: longest + 1 } as Uint8Array))
})

test('a header cannot ask for other work than this version does', async () => {
  const store = await Store.open(directory, 'correct horse')
  await store.save(contents)
  await store.close()
  const whole = readFileSync(file)
  const at = whole.indexOf(Buffer.from([1, 17]))
  assert.is(whole[at + 1], 17, 'where scrypt costs 2^17')
  for (const logN of [0, 1, 16, 18, 63]) {
    whole[at + 1] = logN
    writeFileSync(file, whole)
    await refused(/version that this program does not know/, 'correct horse')
  }
})

test('a write that fails leaves the old file and no other', async () => {
  const store = await Store.open(directory)
  await store.save(contents)
  copyFileSync(file, `${file}.kept`)
  unlinkSync(file)
  mkdirSync(join(file, 'not empty'), { recursive: true })
  await rejects(store.save(Buffer.from('never')), /cannot write/)
  assert.not(readdirSync(directory).includes('keys.sealed.new'))
  rmSync(file, { recursive: true })
  renameSync(`${file}.kept`, file)
  await store.save(Buffer.from('again'))
  await store.close()
  assert.is(Buffer.from((await contentsOf())!).toString(), 'again')
})

test.run()

async function create(): Promise<void> {
  const store = await Store.open(directory)
  await store.save(contents)
  await store.close()
}

async function contentsOf(passphrase?: string): Promise<Uint8Array | undefined> {
  const store = await Store.open(directory, passphrase)
  await store.close()
  return store.contents
}

/** Expects that the store cannot be opened, and that no lock stays. */
async function refused(message: RegExp, passphrase?: string, path = directory): Promise<void> {
  const locks = () => readdirSync(directory).filter((name) => name.startsWith('lock-')).length
  const before = locks()
  await rejects(Store.open(path, passphrase), message)
  assert.is(locks(), before)
}

async function rejects(promise: Promise<unknown>, message: RegExp): Promise<void> {
  const error = await promise.then(
    () => new Error('nothing was refused'),
    (error: Error) => error,
  )
  assert.instance(error, SealwaxError, error.message)
  assert.is((error as SealwaxError).code, 'ERR_FILE')
  assert.match(error.message, message)
}
