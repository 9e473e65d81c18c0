import { createHash } from 'node:crypto'
import fs, {
  chmodSync,
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openRegularFile } from '../../src/cli/io'
import { type TreeWork, transformTree } from '../../src/cli/tree'
import { rejects } from '../support/expect'
import { openFilesIn } from '../support/open-files'
import { folder, path, sealwax, shell, start } from './cli'

const KEY = ['-k', 'key.json']
const NOT_UTF8 = Buffer.from([0x6e, 0xff, 0x80])
const SMALL = 1000

test.before(async () => {
  await sealwax('keygen', 'key.json')
  for (const folder of ['in', 'in/a', 'in/a/b', 'in/a/b/c', 'in/empty', 'in/..parent', 'in/...', 'in/folder.sealed'])
    mkdirSync(path(folder))
  for (const name of [
    'a/one',
    'a/b/c/deep',
    'a/li\nne',
    '...file',
    '..parent/x',
    '.../y',
    'a/b.sealed',
    '-o',
    'folder.sealed/z',
    'a/*',
  ])
    writeFileSync(path(`in/${name}`), `content of ${name}`)
  writeFileSync(path('in/none'), '')
  writeFileSync(path('in/large'), Buffer.alloc(3_000_001, 'large'))
  writeFileSync(Buffer.concat([Buffer.from(path('in/a/')), NOT_UTF8]), 'not UTF-8')
})

/** Every path below a folder, byte for byte, with what is there. */
function contents(folder: string | Buffer, below = ''): Record<string, string> {
  const all: Record<string, string> = {}
  for (const name of readdirSync(folder, { encoding: 'buffer' })) {
    const file = Buffer.concat([Buffer.from(folder), Buffer.from('/'), name])
    const key = below + name.toString('latin1')
    if (lstatSync(file).isDirectory()) Object.assign(all, { [`${key}/`]: '' }, contents(file, `${key}/`))
    else all[key] = createHash('sha256').update(readFileSync(file)).digest('hex')
  }
  return all
}

const sorted = (names: string[]) => [...names].sort()

test('a tree goes there and back, names byte for byte', async () => {
  const encrypted = await sealwax('encrypt', '-r', 'in', '-o', 'sealed', ...KEY)
  assert.equal([encrypted.code, encrypted.stdout.length, encrypted.stderr], [0, 0, ''])
  const names = Object.keys(contents(path('in'))).map((name) => (name.endsWith('/') ? name : `${name}.sealed`))
  assert.equal(sorted(Object.keys(contents(path('sealed')))), sorted(names))
  const decrypted = await sealwax('decrypt', '-r', 'sealed/', '-o', 'out/', ...KEY)
  assert.equal([decrypted.code, decrypted.stdout.length, decrypted.stderr], [0, 0, ''])
  assert.equal(contents(path('out')), contents(path('in')))
  for (const name of ['out', 'out/a']) assert.is(statSync(path(name)).mode & 0o777, 0o700)
  assert.is(statSync(path('out/a/one')).mode & 0o777, 0o600)
})

test('existing outputs: refused, replaced, or left alone', async () => {
  const before = contents(path('sealed'))
  const files = Object.keys(before).filter((name) => !name.endsWith('/')).length
  const refused = await sealwax('encrypt', '-r', 'in', '-o', 'sealed', ...KEY)
  assert.is(refused.code, 1)
  assert.match(refused.stderr, new RegExp(`"sealed/a/one.sealed" exists already(.|\\n)*\\n.*${files} files failed`))
  assert.equal(contents(path('sealed')), before)
  rmSync(path('sealed/a/one.sealed'))
  assert.is((await sealwax('encrypt', '-r', 'in', '-o', 'sealed', '--skip-existing', ...KEY)).code, 0)
  const { 'a/one.sealed': again, ...others } = contents(path('sealed'))
  const { 'a/one.sealed': first, ...untouched } = before
  assert.equal(others, untouched)
  assert.is.not(again, first)
  assert.is((await sealwax('encrypt', '-r', 'in', '-o', 'sealed', '--force', ...KEY)).code, 0)
  assert.is.not(contents(path('sealed'))['none.sealed'], before['none.sealed'])
})

test('links below the output folder lead nowhere: they are in the way, or replaced', async () => {
  await shell('mkdir way && echo one > way/a && echo two > way/b && echo old > elsewhere')
  await sealwax('encrypt', '-r', 'way', '-o', 'way.sealed', ...KEY)
  mkdirSync(path('through'))
  symlinkSync('/dev/stdout', path('through/a'))
  symlinkSync('../elsewhere', path('through/b'))
  for (const more of [[], ['--skip-existing']]) {
    const kept = await sealwax('decrypt', '-r', 'way.sealed', '-o', 'through', ...more, ...KEY)
    assert.equal([kept.code, kept.stdout.length], [1, 0])
    assert.match(kept.stderr, /"through\/a" exists already/)
  }
  const replaced = await sealwax('decrypt', '-r', 'way.sealed', '-o', 'through', '--force', ...KEY)
  assert.is(replaced.code, 0, replaced.stderr)
  assert.is(replaced.stdout.length, 0)
  assert.is(readFileSync(path('elsewhere'), 'utf8'), 'old\n')
  for (const name of ['a', 'b']) assert.ok(lstatSync(path(`through/${name}`)).isFile())
})

test('a pipe below the output folder is not written to', async () => {
  await shell('mkdir piped && mkfifo piped/a.sealed')
  // Whoever writes to it need not wait.
  const pipe = openSync(path('piped/a.sealed'), 'r+')
  const { code, stderr } = await sealwax('encrypt', '-r', 'way', '-o', 'piped', '--force', ...KEY)
  closeSync(pipe)
  assert.is(code, 1)
  assert.match(stderr, /cannot write "piped\/a.sealed": it is not a file/)
  assert.ok(lstatSync(path('piped/a.sealed')).isFIFO())
})

test('what takes the place of a file that was found is not followed, nor waited for', async () => {
  symlinkSync('way/a', path('instead'))
  await rejects(openRegularFile(path('instead')), 'ERR_FILE', /cannot read ".*instead": too many symbolic links/)
  await rejects(openRegularFile(path('piped/a.sealed')), 'ERR_FILE', /it is not a regular file/)
  assert.is(openFilesIn(folder), 0)
})

test('symbolic links and pipes are not followed, and told of', async () => {
  await shell(
    'mkdir -p linked/sub secret && echo secret > secret/file && echo text > linked/file && mkfifo linked/fifo',
  )
  symlinkSync('..', path('linked/sub/loop'))
  symlinkSync('../secret/file', path('linked/to-file'))
  symlinkSync('../secret', path('linked/to-folder'))
  symlinkSync('nowhere', path('linked/broken'))
  const { code, stderr } = await sealwax('encrypt', '-r', 'linked', '-o', 'unlinked', ...KEY)
  assert.is(code, 0)
  assert.equal(sorted(stderr.trimEnd().split('\n')), [
    'sealwax: skipped "linked/broken": a symbolic link',
    'sealwax: skipped "linked/fifo": not a regular file',
    'sealwax: skipped "linked/sub/loop": a symbolic link',
    'sealwax: skipped "linked/to-file": a symbolic link',
    'sealwax: skipped "linked/to-folder": a symbolic link',
  ])
  assert.equal(sorted(Object.keys(contents(path('unlinked')))), ['file.sealed', 'sub/'])
})

test('nothing is written outside the output folder', async () => {
  await shell(
    'mkdir -p outside escape evil && echo text > evil/...sealed && cp evil/...sealed evil/..sealed && mkdir evil/sub && echo x > evil/sub/f',
  )
  await shell('cp evil/...sealed evil/.sealed')
  const names = await sealwax('decrypt', '-r', 'evil', '-o', 'escape', ...KEY)
  assert.is(names.code, 1)
  assert.match(names.stderr, /5 files failed|4 files failed/)
  for (const name of ['.sealed', '..sealed', '...sealed'])
    assert.ok(names.stderr.includes(`"evil/${name}": its name does not end in .sealed`), name)
  rmSync(path('escape'), { recursive: true })
  mkdirSync(path('escape'))
  symlinkSync('../outside', path('escape/sub'))
  const link = await sealwax('encrypt', '-r', 'evil', '-o', 'escape', ...KEY)
  assert.is(link.code, 1)
  assert.match(link.stderr, /"escape\/sub" is in the way: it is not a folder/)
  assert.equal(readdirSync(path('outside')), [])
})

test('one folder may not lie in the other', async () => {
  symlinkSync('in', path('alias'))
  for (const [from, to] of [
    ['in', 'in'],
    ['in', 'in/out'],
    ['in', 'in/a'],
    ['in/a', 'in'],
    ['in', '.'],
    ['alias', 'in/x'],
    ['in', 'alias/x'],
    ['in/a', 'in/a/../a'],
  ]) {
    const { code, stderr } = await sealwax('encrypt', '-r', from!, '-o', to!, ...KEY)
    assert.is(code, 1)
    assert.match(stderr, /lie one in the other/)
  }
  assert.equal(
    readdirSync(path('in')).filter((name) => name === 'out' || name === 'x'),
    [],
  )
})

test('nor where only the file system knows that two names are of one folder, as in upper and lower case', async () => {
  const { realpathSync } = fs
  symlinkSync('in', path('IN'))
  fs.realpathSync = ((name: string) => resolve(name)) as typeof realpathSync
  const encrypt = (from: string, to: string) =>
    transformTree(path(from), { folder: path(to), existing: 'refuse' }, {} as TreeWork, new AbortController().signal)
  try {
    for (const [from, to] of [
      ['in', 'IN'],
      ['in', 'IN/x'],
      ['IN/a', 'in'],
    ] as const)
      await rejects(encrypt(from, to), 'ERR_FILE', /lie one in the other/)
  } finally {
    fs.realpathSync = realpathSync
  }
})

const USAGE: [args: string[], code: number, stderr: RegExp][] = [
  [['-r', 'in'], 2, /needs a folder to write to/],
  [['-r', 'in', '-o', '-'], 2, /from a folder to a folder/],
  [['-r', '-', '-o', 'new'], 2, /from a folder to a folder/],
  [['-r', 'in', '-o', 'new', '--force', '--skip-existing'], 2, /exclude each other/],
  [['in/none', '--skip-existing'], 2, /is for --recursive/],
  [['-r', 'missing', '-o', 'new'], 1, /cannot read "missing": no such file/],
  [['-r', 'in/none', '-o', 'new'], 1, /"in\/none" is not a folder/],
  [['-r', 'in', '-o', 'key.json'], 1, /"key.json" is not a folder/],
  [['-r', 'in', '-o', 'no/where'], 1, /cannot write "no\/where": no such file/],
]

for (const [args, code, message] of USAGE) {
  test(`refuses: ${args.join(' ')}`, async () => {
    const result = await sealwax('encrypt', ...args, ...KEY)
    assert.match(result.stderr, message)
    assert.is(result.code, code)
    assert.not.ok(readdirSync(path('.')).includes('new'))
  })
}

test('a thousand files, of which one is damaged, one cannot be read and one has too long a name', async () => {
  mkdirSync(path('many'))
  for (let i = 0; i < SMALL; i++) writeFileSync(path(`many/${i}`), `file ${i}`)
  writeFileSync(path(`many/${'n'.repeat(255)}`), 'text')
  writeFileSync(path('many/closed'), 'text')
  chmodSync(path('many/closed'), 0)
  const encrypted = await sealwax('encrypt', '-r', 'many', '-o', 'manysealed', ...KEY)
  const root = process.geteuid!() === 0
  assert.is(encrypted.code, 1)
  assert.match(encrypted.stderr, /n{255}.*name too long/)
  if (!root) assert.match(encrypted.stderr, /cannot read "many\/closed": permission denied/)
  assert.match(encrypted.stderr, root ? /\n.*1 file failed, see above\n$/ : /\n.*2 files failed, see above\n$/)
  assert.is(readdirSync(path('manysealed')).length, SMALL + (root ? 1 : 0))

  truncateSync(path('manysealed/500.sealed'), 100)
  writeFileSync(path('manysealed/.sealwax-0123456789abcdef.tmp'), 'what a killed run left')
  const decrypted = await sealwax('decrypt', '-r', 'manysealed', '-o', 'manyback', ...KEY)
  assert.is(decrypted.code, 3, 'a message was refused')
  assert.match(decrypted.stderr, /skipped "manysealed\/.sealwax-0123456789abcdef.tmp": what an interrupted run left\n/)
  assert.match(decrypted.stderr, /\n.*"manysealed\/500.sealed": .*\[ERR_\w+\]\n.*1 file failed, see above\n$/)
  const back = readdirSync(path('manyback'))
  assert.is(back.length, SMALL - 1 + (root ? 1 : 0))
  for (const name of back)
    if (name !== 'closed') assert.is(readFileSync(path(`manyback/${name}`), 'utf8'), `file ${name}`)
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal}: finished files stay, whole, and no others; the next run does the rest`, async () => {
    const out = `after-${signal}`
    const { child, done } = start(['decrypt', '-r', 'manysealed', '-o', out, ...KEY])
    while ((lstatSync(path(out), { throwIfNoEntry: false }) ? readdirSync(path(out)) : []).length < 50)
      await new Promise((resolve) => setTimeout(resolve, 1))
    child.kill(signal)
    const { code, stderr } = await done
    assert.equal([code, stderr], [signal === 'SIGINT' ? 130 : 143, 'sealwax: interrupted\n'])
    const finished = readdirSync(path(out))
    assert.ok(finished.length < SMALL - 1)
    for (const name of finished)
      assert.is(readFileSync(path(join(out, name)), 'utf8'), name === 'closed' ? 'text' : `file ${name}`)
    assert.is((await sealwax('decrypt', '-r', 'manysealed', '-o', out, '--skip-existing', ...KEY)).code, 3)
    assert.equal(contents(path(out)), contents(path('manyback')))
  })
}

test.run()
