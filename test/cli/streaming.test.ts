import { randomBytes } from 'node:crypto'
import {
  appendFileSync,
  closeSync,
  constants,
  createReadStream,
  createWriteStream,
  existsSync,
  openSync,
  readdirSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { lstat } from 'node:fs/promises'
import { buffer } from 'node:stream/consumers'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { awsProgram } from '../../src/cli/aws'
import { HeldPlaintext } from '../../src/cli/decrypt'
import { openSource, transformSource } from '../../src/cli/io'
import { programOf } from '../../src/cli/program'
import { openProgress } from '../../src/cli/progress'
import { openSink, writer } from '../../src/cli/sink'
import { rejectionOf, rejects, throws } from '../support/expect'
import { openFilesIn } from '../support/open-files'
import { path, read, sealwax, sealwaxWith, shell, start, temporaries } from './cli'

const KEY = ['-k', 'key.json']
const UNSIGNED = ['--suite', '0x0478']
const EARLY = '--release-plaintext-before-signature-is-verified'
const MEBIBYTE = 2 ** 20
/** Node.js itself with the compiler of these tests takes half of it. */
const MAX_MEMORY = 260 * MEBIBYTE

const plaintext = randomBytes(300_000)

test.before(async () => {
  writeFileSync(path('plain'), plaintext)
  writeFileSync(path('sparse'), '')
  truncateSync(path('sparse'), 320 * MEBIBYTE)
  writeFileSync(path('middle'), '')
  truncateSync(path('middle'), 80 * MEBIBYTE)
  writeFileSync(path('peak.cjs'), PEAK)
  const made = await shell(`
    set -e
    "$@" keygen key.json
    "$@" encrypt plain -k key.json -o signed
    "$@" encrypt plain -k key.json -o unsigned --suite 0x0478
    "$@" encrypt middle -k key.json -o large --frame-length 1MiB`)
  assert.is(made.code, 0, made.stderr)
})

const PEAK = `process.on('exit', () => {
  const [, kibibytes] = /VmHWM:\\s+(\\d+) kB/.exec(require('fs').readFileSync('/proc/self/status', 'utf8'))
  require('fs').appendFileSync(process.env.PEAKS, kibibytes + '\\n')
})`

/** Runs a shell script and returns the most memory that each of its commands has had. */
async function peaksOf(script: string): Promise<number[]> {
  writeFileSync(path('peaks'), '')
  const hook = `PEAKS='${path('peaks')}' NODE_OPTIONS='--require ${path('peak.cjs')}'`
  const { code, stderr } = await shell(`set -e; export ${hook}; ${script}`)
  assert.equal([code, stderr], [0, ''])
  return read('peaks')
    .toString()
    .trimEnd()
    .split('\n')
    .map((kibibytes) => Number(kibibytes) * 1024)
}

test('memory stays the same for files of any size', async () => {
  if (!existsSync('/proc/self/status')) return console.log('SKIPPED memory: no /proc')
  const peaks = await peaksOf(`
    "$@" encrypt sparse -k key.json
    "$@" decrypt sparse.sealed -k key.json -o back
    "$@" decrypt sparse.sealed -k key.json -o /dev/null
    cmp sparse back; rm sparse.sealed back`)
  assert.is(peaks.length, 3)
  for (const peak of peaks) assert.ok(peak < MAX_MEMORY, `${peak / MEBIBYTE} MiB`)
})

test('a file longer than 2 GiB, through pipes', async () => {
  truncateSync(path('sparse'), 2048 * MEBIBYTE + 12_345)
  const { code, stderr } = await shell(`
    "$@" encrypt sparse -k key.json -o - --suite 0x0478 | "$@" decrypt - -k key.json | cmp - sparse`)
  assert.equal([code, stderr], [0, ''])
})

test('output begins before the input has ended', async () => {
  for (const [args, input] of [
    [['encrypt', '-', ...KEY], plaintext],
    [['encrypt', '-', ...KEY, ...UNSIGNED], plaintext],
    [['decrypt', '-', ...KEY], read('unsigned')],
    [['decrypt', '-', ...KEY, EARLY], read('signed')],
  ] as const) {
    const { child, done } = start(args)
    const begun = new Promise((resolve) => child.stdout!.once('data', resolve))
    child.stdin!.write(input.subarray(0, 150_000))
    await begun
    child.stdin!.end(input.subarray(150_000))
    const { code, stdout } = await done
    assert.is(code, 0)
    if (args[0] === 'decrypt') assert.ok(stdout.equals(plaintext))
  }
})

test('frames of an unsigned message go out one by one; a cut one ends with exit code 3', async () => {
  const { code, stdout, stderr } = await sealwaxWith(read('unsigned').subarray(0, -1), 'decrypt', '-', ...KEY)
  assert.is(code, 3)
  assert.match(stderr, /ERR_MESSAGE_TRUNCATED/)
  assert.ok(stdout.length > 0 && plaintext.subarray(0, stdout.length).equals(stdout))
})

test('nothing of a signed message goes to standard output before its signature is verified', async () => {
  const message = read('signed')
  const wrong = Buffer.from(message)
  wrong[wrong.length - 20]! ^= 1
  for (const [name, bytes] of Object.entries({ wrong, cut: message.subarray(0, -1) })) {
    writeFileSync(path(name), bytes)
    const file = await sealwax('decrypt', name, ...KEY, '-o', '-')
    assert.equal([file.code, file.stdout.length], [3, 0], name)
    const device = await shell(`"$@" decrypt ${name} -k key.json -o /dev/stdout | wc -c`)
    assert.is(device.stdout.toString().trim(), '0')
    const pipe = await sealwaxWith(bytes, 'decrypt', '-', ...KEY)
    assert.equal([pipe.code, pipe.stdout.length], [3, 0], name)
    const early = await sealwaxWith(bytes, 'decrypt', '-', ...KEY, EARLY)
    assert.is(early.code, 3)
    assert.ok(early.stdout.length > 0 && plaintext.subarray(0, early.stdout.length).equals(early.stdout))
  }
  for (const from of [message, '']) {
    const whole = await sealwaxWith(from, 'decrypt', from ? '-' : 'signed', ...KEY, '-o', '-')
    assert.equal([whole.code, whole.stdout.equals(plaintext)], [0, true])
  }
})

test('what waited for its signature is wiped, whatever the signature proves to be', async () => {
  const held: Uint8Array[] = []
  const { add } = HeldPlaintext.prototype
  HeldPlaintext.prototype.add = function (piece) {
    held.push(piece)
    add.call(this, piece)
  }
  await shell('mkfifo waiting')
  const { signal } = new AbortController()
  const key = path('key.json')
  const ours = ['decrypt', path('waiting'), '-k', key, '-o', '/dev/null']
  const aws = [
    '-d',
    '-i',
    path('waiting'),
    '-o',
    '/dev/null',
    '-S',
    '-w',
    JSON.stringify(['provider=sealwax', `key=${key}`]),
  ]
  for (const name of ['signed', 'wrong']) {
    for (const run of [
      () => programOf(signal).parseAsync(ours, { from: 'user' }),
      () => awsProgram(signal).parseAsync(aws, { from: 'user' }),
    ]) {
      createWriteStream(path('waiting')).end(read(name))
      assert.is((await rejectionOf(run())) !== undefined, name === 'wrong')
      assert.ok(held.splice(0).every((piece) => piece.length > 0 && piece.every((byte) => byte === 0)))
    }
  }
  HeldPlaintext.prototype.add = add
})

test('64 MiB may wait for their signature, and no byte more', () => {
  const held = new HeldPlaintext('the input')
  held.add(new Uint8Array(64 * MEBIBYTE))
  throws(() => held.add(new Uint8Array(1)), 'ERR_LIMIT_EXCEEDED')
})

test('a signed message too large to hold, through a pipe: the error names the ways out, and they lead out', async () => {
  const { code, stdout, stderr } = await shell(
    '"$@" decrypt - -k key.json < large | wc -c; cat large | "$@" decrypt - -k key.json',
  )
  assert.is(code, 1)
  assert.is(stdout.toString().trim(), '0')
  const error =
    /more than 64 MiB.*from a file.*--output.*--release-plaintext-before-signature-is-verified.*\[ERR_LIMIT_EXCEEDED\]/
  assert.match(stderr, error)
  const ways = await shell(`
    set -e
    "$@" decrypt large -k key.json -o - | cmp - middle
    "$@" decrypt - -k key.json ${EARLY} < large | cmp - middle
    "$@" decrypt - -k key.json -o back < large; cmp back middle; rm back`)
  assert.equal([ways.code, ways.stderr], [0, ''])
})

test('a file that changes between the reading that verifies and the one that writes', async () => {
  const { child, done } = start(['decrypt', 'large', ...KEY, '-o', '-'])
  child.stdout!.once('data', () => appendFileSync(path('large'), 'more'))
  const { code, stderr } = await done
  truncateSync(path('large'), read('large').length - 4)
  assert.is(code, 1)
  assert.match(stderr, /"large" changed while it was read/)
})

test('a file has changed where its length has, or its time', async () => {
  writeFileSync(path('steady'), 'text')
  utimesSync(path('steady'), 1e9, 1e9)
  const source = await openSource(path('steady'))
  source.checkUnchanged()
  writeFileSync(path('steady'), 'TEXT')
  throws(() => source.checkUnchanged(), 'ERR_FILE', /changed while it was read/)
  appendFileSync(path('steady'), 'more')
  utimesSync(path('steady'), 1e9, 1e9)
  throws(() => source.checkUnchanged(), 'ERR_FILE', /changed while it was read/)
  source.close()
})

test('an output that is there already is refused before anything is read for it', async () => {
  await rejects(openSink({ path: path('plain'), force: false, secret: false }), 'ERR_FILE', /exists already/)
})

test('an output that is complete when a signal comes has no name, and no file stays open', async () => {
  const abort = new AbortController()
  const io = { signal: abort.signal, progress: await openProgress('-') }
  const work = { label: 'interrupted', secret: true, run: async () => abort.abort() }
  const target = { path: path('unnamed'), force: false }
  const error = await rejectionOf(transformSource(await openSource(path('plain')), target, work, io))
  assert.is((error as Error).name, 'AbortError')
  assert.not.ok(existsSync(path('unnamed')))
  assert.equal([temporaries(), openFilesIn(path('plain')), openFilesIn(path('.sealwax-'))], [[], 0, 0])
})

test('a pipe that is full, and takes only some bytes at a time, gets all of them', async () => {
  await shell('mkfifo narrow')
  const fd = openSync(path('narrow'), constants.O_RDWR | constants.O_NONBLOCK)
  const end = openSync(path('narrow'), 'r')
  const length = writeSync(fd, plaintext)
  const written = writer(fd, 'the pipe')(plaintext.subarray(length)).finally(() => closeSync(fd))
  // So long that the first try is over.
  await lstat(path('narrow'))
  const all = await buffer(createReadStream('', { fd: end }))
  await written
  assert.ok(length < plaintext.length && all.equals(plaintext))
})

test('a bad message stops the command while its input stays open', async () => {
  const { child, done } = start(['decrypt', '-', ...KEY])
  child.stdin!.write('no message')
  assert.is((await done).code, 3)
})

test('frame lengths with units', async () => {
  for (const [text, expected] of [
    ['64KiB', 65536],
    ['1MiB', MEBIBYTE],
    ['4096', 4096],
  ] as const) {
    await sealwaxWith('text', 'encrypt', '-', ...KEY, '--frame-length', text, '-fo', 'units')
    const { stdout } = await sealwaxWith('', 'inspect', 'units', '--json')
    assert.is(JSON.parse(stdout.toString()).frameLength, expected)
  }
})

test("plaintext is the owner's alone while it is written, and a file that comes up meanwhile is kept", async () => {
  const { child, done } = start(['decrypt', '-', ...KEY, '-o', 'raced'])
  child.stdin!.write(read('unsigned').subarray(0, 150_000))
  while (temporaries().length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  const { mode } = statSync(path(temporaries()[0]!))
  writeFileSync(path('raced'), "somebody's")
  child.stdin!.end(read('unsigned').subarray(150_000))
  const { code, stderr } = await done
  assert.is(mode & 0o777, 0o600)
  assert.is(code, 1)
  assert.match(stderr, /"raced" exists already: --force replaces it/)
  assert.is(read('raced').toString(), "somebody's")
  assert.equal(temporaries(), [])
})

test('what a killed run left does not stop the next', async () => {
  const { child, done } = start(['encrypt', '-', ...KEY, '-o', 'again'])
  child.stdin!.write('text')
  while (temporaries().length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  child.kill('SIGKILL')
  await done
  assert.is(temporaries().length, 1)
  assert.is((await sealwaxWith('text', 'encrypt', '-', ...KEY, '-o', 'again')).code, 0)
  assert.ok(readdirSync(path('.')).includes('again'))
})

test.run()
