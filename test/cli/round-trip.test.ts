import { generateKeyPairSync, randomBytes } from 'node:crypto'
import fs, {
  chmodSync,
  existsSync,
  fstatSync,
  lstatSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { MAX_KEY_FILE_LENGTH, readSecret, serializeKeyFile, withKeyFile } from '../../src/cli/keys'
import { programOf } from '../../src/cli/program'
import { writeOutput } from '../../src/cli/sink'
import { getEngine } from '../../src/engine'
import { rejectionOf, rejects } from '../support/expect'
import { openFilesIn } from '../support/open-files'
import { folder, keyForms, path, printed, read, sealwax, sealwaxWith, shell, temporaries } from './cli'

const plaintext = randomBytes(1_000_003)
const MARKER = 'plaintext-that-must-not-be-printed'

test.before(async () => {
  writeFileSync(path('plain'), plaintext)
  assert.is((await sealwax('keygen', 'key.json')).code, 0)
  assert.is(
    (await sealwax('keygen', 'other.json', '--bits', '128', '--namespace', 'other', '--name', 'a name')).code,
    0,
  )
})

test('keygen writes a key that only its owner can read, and prints its names only', async () => {
  assert.is(statSync(path('key.json')).mode & 0o777, 0o600)
  const { version, namespace, name, key } = JSON.parse(read('other.json').toString())
  assert.equal([version, namespace, name, Buffer.from(key, 'base64').length], [1, 'other', 'a name', 16])
  const { stdout } = await sealwax('keygen', 'third.json', '--bits', '192')
  assert.match(stdout.toString(), /^AES-192 key "key-[0-9a-f]{16}" of "sealwax" is in "third.json"\n$/)
})

test('a file goes to .sealed and back, with modes by content', async () => {
  const encrypted = await shell('umask 022; "$@" encrypt plain -k key.json')
  assert.equal([encrypted.code, encrypted.stdout.length, encrypted.stderr], [0, 0, ''])
  assert.is(statSync(path('plain.sealed')).mode & 0o777, 0o644)
  const decrypted = await sealwax('decrypt', 'plain.sealed', '-k', 'key.json', '-o', 'back')
  assert.equal([decrypted.code, decrypted.stdout.length, decrypted.stderr], [0, 0, ''])
  assert.ok(read('back').equals(plaintext))
  assert.is(statSync(path('back')).mode & 0o777, 0o600)
  assert.equal(temporaries(), [])
})

test('decrypt drops the suffix', async () => {
  writeFileSync(path('named'), 'text')
  await sealwax('encrypt', 'named', '-k', 'key.json', '-o', 'renamed.sealed')
  assert.is((await sealwax('decrypt', 'renamed.sealed', '-k', 'key.json')).code, 0)
  assert.is(read('renamed').toString(), 'text')
})

test('standard input and output, through pipes', async () => {
  const { code } = await shell('"$@" encrypt - -k key.json < plain | "$@" decrypt - -k key.json > piped')
  assert.is(code, 0)
  assert.ok(read('piped').equals(plaintext))
  const empty = await sealwaxWith('', 'encrypt', '-', '-k', 'key.json')
  const back = await sealwaxWith(empty.stdout, 'decrypt', '-', '-k', 'key.json')
  assert.equal([back.code, back.stdout.length], [0, 0])
})

test('named pipes and devices as input and output', async () => {
  const { code } = await shell(
    'mkfifo fifo && { "$@" encrypt plain -k key.json -o fifo & "$@" decrypt fifo -k key.json -o unpiped && wait $!; }',
  )
  assert.is(code, 0)
  assert.ok(read('unpiped').equals(plaintext))
  assert.is((await sealwax('encrypt', 'plain', '-k', 'key.json', '-o', '/dev/null')).code, 0)
  // Both may be one, unlike files.
  const none = await shell('"$@" encrypt - -k key.json -o /dev/null < /dev/null')
  assert.is(none.code, 0, none.stderr)
})

test('/dev/stdout, or a link to it, is what the shell made of it, and stays where it is', async () => {
  for (const out of ['/dev/stdout', '/dev/fd/1', 'to-stdout']) {
    const script = `ln -sf /proc/self/fd/1 to-stdout; : > there; "$@" decrypt sealed -k key.json --force -o ${out} >> there`
    const { code, stderr } = await shell(`cp plain copy; "$@" encrypt copy -k key.json -f -o sealed && ${script}`)
    assert.is(code, 0, stderr)
    assert.ok(read('there').equals(plaintext))
    assert.ok(lstatSync(path('to-stdout')).isSymbolicLink())
  }
})

test('several keys: any one opens, a wrong one is refused with exit code 3', async () => {
  await sealwax('encrypt', 'plain', '-k', 'key.json', '-k', 'other.json', '-o', 'two.sealed')
  for (const key of ['key.json', 'other.json']) {
    const { code, stdout } = await sealwax('decrypt', 'two.sealed', '-k', key, '-o', '-')
    assert.is(code, 0)
    assert.ok(stdout.equals(plaintext))
  }
  const wrong = await sealwax('decrypt', 'two.sealed', '-k', 'third.json', '-o', 'wrong')
  assert.is(wrong.code, 3)
  assert.match(wrong.stderr, /\[ERR_NO_DATA_KEY\]\n$/)
  assert.not.ok(readdirSync(path('.')).includes('wrong'))
  const limited = await sealwax('decrypt', 'two.sealed', '-k', 'key.json', '--max-encrypted-data-keys', '1', '-o', '-')
  assert.equal([limited.code, limited.stdout.length], [1, 0])
})

test('encryption context: required pairs must be there', async () => {
  await sealwax('encrypt', 'plain', '-k', 'key.json', '-o', 'context.sealed', '-c', 'a=1=2', '-c', '__proto__=x')
  const decrypt = (...pairs: string[]) => sealwax('decrypt', 'context.sealed', '-k', 'key.json', '-o', '-', ...pairs)
  assert.is((await decrypt('-c', 'a=1=2')).code, 0)
  assert.is((await decrypt('-c', '__proto__=x')).code, 0)
  for (const pair of ['a=1', 'b=']) {
    const { code, stdout, stderr } = await decrypt('-c', pair)
    assert.equal([code, stdout.length], [3, 0])
    assert.match(stderr, /ERR_ENCRYPTION_CONTEXT/)
  }
})

test('suites, policies and frame lengths', async () => {
  const old = ['--commitment-policy', 'forbid-encrypt-allow-decrypt']
  await sealwax('encrypt', 'plain', '-k', 'key.json', '-o', 'v1.sealed', '--suite', '0x0178', ...old)
  assert.is((await sealwax('decrypt', 'v1.sealed', '-k', 'key.json', '-o', '-')).code, 1)
  assert.ok((await sealwax('decrypt', 'v1.sealed', '-k', 'key.json', '-o', '-', ...old)).stdout.equals(plaintext))
  const suite = 'ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY'
  await sealwax('encrypt', 'plain', '-k', 'key.json', '-o', 'odd.sealed', '--suite', suite, '--frame-length', '999')
  assert.ok((await sealwax('decrypt', 'odd.sealed', '-k', 'key.json', '-o', '-')).stdout.equals(plaintext))
})

test('RSA keys: the public one encrypts, the private one decrypts', async () => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  writeFileSync(path('public.pem'), publicKey)
  writeFileSync(path('private.pem'), privateKey, { mode: 0o600 })
  const names = ['--namespace', 'partner', '--name', '2026']
  const encrypted = await sealwax('encrypt', 'plain', '--rsa-public-key', 'public.pem', ...names, '-o', 'rsa.sealed')
  assert.is(encrypted.code, 0)
  const decrypt = () => sealwax('decrypt', 'rsa.sealed', '--rsa-private-key', 'private.pem', ...names, '-o', '-')
  assert.ok((await decrypt()).stdout.equals(plaintext))
  chmodSync(path('private.pem'), 0o640)
  assert.match((await decrypt()).stderr, /open to others \(mode 0640\)/)
})

const isZero = (bytes: Uint8Array) => bytes.length > 0 && bytes.every((byte) => byte === 0)
const run = async (...args: string[]) =>
  await rejectionOf(programOf(new AbortController().signal).parseAsync(args, { from: 'user' }))

test('what is read of files of keys is wiped, whatever becomes of it, and none stays open', async () => {
  writeFileSync(path('short.key'), randomBytes(31), { mode: 0o600 })
  chmodSync(path('private.pem'), 0o600)
  const [key, pem, rsa] = [path('key.json'), path('private.pem'), path('rsa.sealed')]
  const wiped = ['-fo', path('wiped')]
  const names = ['--namespace', 'partner', '--name', '2026']
  const bytes: Uint8Array[] = []
  const { readSync } = fs
  fs.readSync = ((fd: number, into: Uint8Array) => {
    bytes.push(into)
    return readSync(fd, into)
  }) as typeof readSync
  try {
    for (const [args, fails] of [
      [['encrypt', path('plain'), '-k', key, ...wiped], false],
      [['encrypt', path('plain'), '-k', pem, ...wiped], true],
      [['decrypt', rsa, '--rsa-private-key', pem, ...names, ...wiped], false],
      [['decrypt', rsa, '--rsa-private-key', key, ...names, ...wiped], true],
      [['inspect', 's3://bucket/key', '--sse-c-key', path('short.key')], true],
      [['kms', 'serve', '--credentials', key], true],
    ] as const) {
      assert.is((await run(...args)) !== undefined, fails)
      assert.ok(bytes.length > 0 && bytes.splice(0).every(isZero), args.join(' '))
    }
  } finally {
    fs.readSync = readSync
  }
  assert.ok(isZero(await withKeyFile(key, (file) => file.key)))
  assert.is(openFilesIn(folder), 0)
})

test('what keygen makes is wiped once it is written', async () => {
  const bytes: Uint8Array[] = []
  const engine = getEngine()
  const { randomBytes: made } = engine
  const { write } = fs
  engine.randomBytes = (length) => {
    const random = made.call(engine, length)
    if (length === 32) bytes.push(random)
    return random
  }
  const recording = async (fd: number, from: Buffer, ...rest: number[]) => {
    if (from.includes('"key": "')) bytes.push(from)
    return await promisify(write)(fd, from, ...rest)
  }
  fs.write = Object.assign(() => {}, { [promisify.custom]: recording }) as never
  try {
    assert.is(await run('keygen', path('made.json')), undefined)
  } finally {
    fs.write = write
    engine.randomBytes = made
  }
  assert.is(bytes.length, 2)
  assert.ok(bytes.every(isZero))
})

test('the longest key file that keygen makes can be read', async () => {
  const name = 'n'.repeat(MAX_KEY_FILE_LENGTH - serializeKeyFile('sealwax', '', new Uint8Array(32)).length)
  assert.is((await sealwax('keygen', 'longest.json', '--name', name)).code, 0)
  assert.is(statSync(path('longest.json')).size, MAX_KEY_FILE_LENGTH)
  assert.is((await sealwax('encrypt', 'plain', '-k', 'longest.json', '-o', 'longest.sealed')).code, 0)
  const longer = await sealwax('keygen', 'longer.json', '--name', `${name}n`)
  assert.is(longer.code, 2)
  assert.match(longer.stderr, /--namespace and --name are too long/)
})

test('a key file is for its owner alone: nobody else has any right to it', async () => {
  writeFileSync(path('shared.key'), 'text')
  for (const right of [0o040, 0o020, 0o010, 0o004, 0o002, 0o001]) {
    chmodSync(path('shared.key'), 0o600 | right)
    await rejects(readSecret(path('shared.key')), 'ERR_FILE', /open to others/)
  }
  chmodSync(path('shared.key'), 0o700)
  assert.is((await readSecret(path('shared.key'))).toString(), 'text')
})

test('a secret output is for its owner alone, and for its owner, whatever the umask', async () => {
  const before = process.umask(0o777)
  try {
    const target = { path: path('masked'), force: false, secret: true }
    await writeOutput(target, Buffer.from('text'), new AbortController().signal)
  } finally {
    process.umask(before)
  }
  assert.is(statSync(path('masked')).mode & 0o777, 0o600)
})

const writeText = async (name: string) =>
  await writeOutput(
    { path: path(name), force: false, secret: false },
    Buffer.from('text'),
    new AbortController().signal,
  )

test('an output is on the disk before it has its name, which is put there next', async () => {
  const synced: unknown[] = []
  const { fsync } = fs
  fs.fsync = ((fd, done) => {
    const stats = fstatSync(fd)
    synced.push(stats.isFile() ? stats.size : 'folder', existsSync(path('synced')))
    fsync(fd, done)
  }) as typeof fsync
  try {
    await writeText('synced')
  } finally {
    fs.fsync = fsync
  }
  assert.equal(synced, [4, false, 'folder', true])
})

test('a file system without hard links will do, and what else fails is told', async () => {
  const { linkSync } = fs
  const codes = ['EPERM', 'ENOTSUP', 'ENOSYS', 'EMLINK', 'EISDIR', 'EIO']
  const failed: string[] = []
  for (const code of codes) {
    fs.linkSync = () => {
      throw Object.assign(new Error('no links'), { code })
    }
    if (await rejectionOf(writeText(`unlinked-${code}`))) failed.push(code)
  }
  fs.linkSync = linkSync
  assert.equal(failed, ['EIO'])
  assert.equal(
    codes.filter((code) => existsSync(path(`unlinked-${code}`))),
    codes.slice(0, 5),
  )
  assert.equal(temporaries(), [])
})

test('--force replaces a file, or a symbolic link and not what it points to', async () => {
  for (const name of ['taken', 'pointed-to']) writeFileSync(path(name), 'before')
  symlinkSync('pointed-to', path('link'))
  for (const name of ['taken', 'link']) {
    const refused = await sealwax('encrypt', 'plain', '-k', 'key.json', '-o', name)
    assert.is(refused.code, 1)
    assert.match(refused.stderr, /exists already: --force replaces it/)
    assert.is(read(name).toString(), 'before')
    assert.is((await sealwax('encrypt', 'plain', '-k', 'key.json', '-o', name, '--force')).code, 0)
    assert.ok(read(name).length > plaintext.length)
  }
  assert.is(read('pointed-to').toString(), 'before')
})

test('changed, cut and extended messages are refused and leave nothing', async () => {
  writeFileSync(path('marked'), MARKER.repeat(1000))
  await sealwax('encrypt', 'marked', '-k', 'key.json')
  const message = read('marked.sealed')
  const flipped = Buffer.from(message)
  flipped[flipped.length >> 1]! ^= 1
  const bad = {
    flipped,
    cut: message.subarray(0, -1),
    empty: message.subarray(0, 0),
    longer: Buffer.concat([message, message]),
  }
  for (const [name, bytes] of Object.entries(bad)) {
    writeFileSync(path(`${name}.sealed`), bytes)
    const file = await sealwax('decrypt', `${name}.sealed`, '-k', 'key.json')
    assert.is(file.code, 3, `${name}: ${file.stderr}`)
    const pipe = await sealwaxWith(bytes, 'decrypt', '-', '-k', 'key.json')
    assert.equal([pipe.code, pipe.stdout.length], [3, 0], name)
    assert.not.ok(readdirSync(path('.')).includes(name))
  }
  assert.equal(temporaries(), [])
})

test('no key and no plaintext was printed', () => {
  const all = Buffer.concat(printed)
  for (const name of ['key.json', 'other.json', 'third.json']) {
    for (const form of keyForms(name)) assert.is(all.indexOf(form), -1, name)
  }
  assert.is(all.indexOf(MARKER), -1)
  assert.is(all.indexOf('PRIVATE KEY'), -1)
})

test.run()
