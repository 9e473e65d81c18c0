import { chmodSync, chownSync, linkSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { exitCodeOf, messageOf, named } from '../../src/cli/errors'
import { parseCount, parseLength } from '../../src/cli/options'
import { SealwaxError } from '../../src/index'
import { keyForms, path, printed, read, sealwax, shell, temporaries } from './cli'

const KEY = ['-k', 'key.json']

test.before(async () => {
  writeFileSync(path('plain'), 'plaintext')
  mkdirSync(path('directory'))
  assert.is((await sealwax('keygen', 'key.json')).code, 0)
  linkSync(path('plain'), path('hard'))
  symlinkSync('plain', path('soft'))
  symlinkSync('loop', path('loop'))
  symlinkSync('/dev/stdout', path('to stdout'))
  await shell('mkfifo pipe')
  const file = JSON.parse(read('key.json').toString())
  const keyFile = (name: string, content: string | object, mode = 0o600) => {
    writeFileSync(path(name), typeof content === 'string' ? content : JSON.stringify(content))
    chmodSync(path(name), mode)
  }
  for (const mode of [0o640, 0o604, 0o620, 0o660, 0o666]) keyFile(`mode-${mode.toString(8)}.json`, file, mode)
  keyFile('not-json.json', file.key)
  keyFile('null.json', 'null')
  keyFile('version.json', { ...file, version: 2 })
  keyFile('no-name.json', { ...file, name: undefined })
  keyFile('empty-name.json', { ...file, name: '' })
  keyFile('extra.json', { ...file, more: 1 })
  keyFile('short.json', { ...file, key: file.key.slice(4) })
  keyFile('long.json', { ...file, key: `AAAA${file.key}` })
  keyFile('not-base64.json', { ...file, key: `${file.key.slice(0, -4)}*${file.key.slice(-3)}` })
  keyFile('zeros.json', { ...file, key: Buffer.alloc(32).toString('base64') })
  keyFile('large.json', ' '.repeat(100_000))
  keyFile('bad.pem', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n')
})

const PIN_FROM_INPUT = ['--wrapping-key', 'pkcs11:token=a;object=b?module-path=/nowhere.so', '--pin-fd', '0']
const AWS_KEY = ['-w', 'provider=sealwax', 'key=key.json']
const RSA = ['--namespace', 'a', '--name', 'b']

// Arguments, exit code, what standard error says.
const CASES: [args: string[], code: number, stderr: RegExp][] = [
  [[], 2, /Usage: sealwax/],
  [['frobnicate'], 2, /unknown command/],
  [['encrypt', ...KEY], 2, /missing required argument/],
  [['encrypt', 'plain', 'more', ...KEY], 2, /too many arguments/],
  [['encrypt', 'plain', ...KEY, '--no-such-option'], 2, /unknown option/],
  [['encrypt', 'plain'], 2, /no key given/],
  [['encrypt', 'plain', ...KEY, '--name', 'mine'], 2, /a key file has its own/],
  [['encrypt', 'plain', ...KEY, '--name', 'mine', '-o', 's3://bucket/key'], 2, /a key file has its own/],
  [['encrypt', 'plain', ...KEY, '--oaep-hash', 'sha1'], 2, /for RSA keys/],
  [['encrypt', 'plain', ...KEY, '--kms-endpoint', 'http://127.0.0.1:1'], 2, /for keys of AWS KMS/],
  [['decrypt', 'plain', ...KEY, '--pin-file', 'pin', '-o', 'x'], 2, /for keys of PKCS#11 tokens/],
  [['encrypt', '-', ...PIN_FROM_INPUT, '-o', 'x'], 2, /--pin-fd 0 is the input itself/],
  [['decrypt', '-', ...PIN_FROM_INPUT, '-o', 'x'], 2, /--pin-fd 0 is the input itself/],
  [['encrypt', 'plain', ...KEY, '-c', 'pair'], 2, /must look like key=value/],
  [['encrypt', 'plain', ...KEY, '-c', '=value'], 2, /must look like key=value/],
  [['encrypt', 'plain', ...KEY, '-c', 'a=1', '-c', 'a=2'], 2, /given twice/],
  [['encrypt', 'plain', ...KEY, '-c', 'aws-crypto-public-key=x'], 2, /set this key themselves/],
  [['encrypt', 'plain', ...KEY, '-c', 'aws-crypto-x=1'], 2, /those of the format/],
  [['encrypt', 'plain', ...KEY, '-o', 'key.json', '-f'], 1, /"key.json" holds a key, a PIN or credentials/],
  [['-e', ...AWS_KEY, '-i', 'plain', '-o', 'key.json', '-S'], 1, /holds a key/],
  [
    ['-e', ...AWS_KEY, '-i', 'plain', '-o', 'x', '--metadata-output', 'key.json', '--overwrite-metadata'],
    1,
    /"key.json" holds a key/,
  ],
  [['keygen', 'key.json'], 1, /"key.json" exists already: a key is never replaced/],
  [['kms', 'serve', '--data', ''], 2, /"dataDir" must not be empty/],
  [['kms', 'serve', '--data', '/proc/none'], 1, /cannot create the directory \/proc\/none/],
  [['rewrap', 's3://bucket/', ...KEY], 2, /no new key given/],
  [['encrypt', 's3://bucket/x', ...KEY, '-o', 's3://bucket/x', '-f'], 2, /is the input itself/],
  [['encrypt', 'plain', ...KEY, '-o', 's3://bucket/folder/'], 2, /names a folder: name the object/],
  [['encrypt', 'plain', ...KEY, '--frame-length', '0'], 2, /from 1 to 4294967295/],
  [['encrypt', 'plain', ...KEY, '--frame-length', '1e3'], 2, /from 1 to 4294967295/],
  [['encrypt', 'plain', ...KEY, '--frame-length', '4294967296'], 2, /from 1 to 4294967295/],
  [['encrypt', 'plain', ...KEY, '--max-encrypted-data-keys', '0'], 2, /from 1 to 65535/],
  [['encrypt', 'plain', ...KEY, '--suite', '0x9999'], 2, /algorithm suite/],
  [['encrypt', 'plain', ...KEY, '--suite', 'toString'], 2, /algorithm suite/],
  [['encrypt', 'plain', ...KEY, '--suite', '0x0178'], 1, /ERR_COMMITMENT_POLICY/],
  [['encrypt', 'plain', ...KEY, '--commitment-policy', 'none'], 2, /Allowed choices/],
  [['encrypt', 'plain', '--rsa-public-key', 'bad.pem'], 2, /needs --namespace and --name/],
  [['encrypt', 'plain', ...KEY, '--rsa-public-key', '', ...RSA, '-o', 'x'], 1, /cannot read ""/],
  [['encrypt', 'plain', '--rsa-public-key', 'a.pem', '--rsa-public-key', 'b.pem', ...RSA], 2, /once only/],
  [['decrypt', 'plain', '--rsa-private-key', 'a.pem', '--rsa-private-key', 'b.pem', ...RSA], 2, /once only/],
  [['rewrap', 's3://bucket/', ...KEY, '--new-key', 'a.json', '--new-key', 'b.json'], 2, /once only/],
  [['encrypt', 'plain', ...KEY, '--wrapping-key', '', '-o', 'x'], 2, /--wrapping-key must name a key/],
  [['rewrap', 's3://bucket/', ...KEY, '--new-rsa-public-key', ''], 1, /cannot read ""/],
  [['--encrypt', '-i', 'plain', '-o', 'x', '-S', '-w', 'key=', 'key=alias/a'], 2, /key= is empty/],
  [['encrypt', 'plain', '--rsa-public-key', 'bad.pem', ...RSA], 1, /key in "bad.pem" cannot be used/],
  [['decrypt', 'plain', '--rsa-private-key', 'bad.pem', ...RSA, '-o', '-'], 1, /key in "bad.pem" cannot be used/],
  [['decrypt', 'plain', ...KEY], 2, /"plain" does not end in .sealed/],
  [['decrypt', 'mode-640.json', ...KEY], 2, /"mode-640.json" does not end in .sealed/],
  [['decrypt', '.sealed', ...KEY], 2, /does not end in .sealed/],
  [['decrypt', 'plain', ...KEY, '-o', 'out'], 3, /"plain" is no message: Not a supported message format version/],

  [['encrypt', 'missing', ...KEY], 1, /cannot read "missing": no such file or directory \(ENOENT\)/],
  [['encrypt', 'nowhere/plain', ...KEY], 1, /cannot read "nowhere\/plain": no such file/],
  [['encrypt', 'directory', ...KEY], 1, /cannot read "directory": it is a directory; .* --recursive/],
  [['encrypt', 'loop', ...KEY], 1, /cannot read "loop": too many symbolic links/],
  [
    ['encrypt', 'line\n\u001b[31m\u009b\u202e\u2028', ...KEY],
    1,
    /cannot read "line\\n\\u001b\[31m\\u009b\\u202e\\u2028": no such/,
  ],
  [['encrypt', 'plain', ...KEY, '-o', 'directory'], 1, /cannot write "directory": it is a directory/],
  [['encrypt', 'plain', ...KEY, '-o', 'nowhere/out'], 1, /cannot write "nowhere\/out": no such file/],
  [['encrypt', 'plain', ...KEY, '-o', 'plain/out'], 1, /cannot write "plain\/out": not a directory/],
  [['encrypt', 'plain', ...KEY, '-o', 'loop'], 1, /cannot write "loop": too many symbolic links/],
  [['encrypt', 'plain', ...KEY, '-o', '/proc/out'], 1, /cannot write "\/proc\/out"/],
  [['encrypt', 'plain', ...KEY, '-o', 'x'.repeat(300)], 1, /name too long/],
  [
    ['encrypt', 'plain', ...KEY, '-o', '/dev/full'],
    1,
    /cannot write "\/dev\/full": no space left on device \(ENOSPC\)/,
  ],
  [['encrypt', 'plain', ...KEY, '-o', 'plain'], 1, /"plain" is the input file itself/],
  [['encrypt', 'plain', ...KEY, '-fo', 'plain'], 1, /"plain" is the input file itself/],
  [['encrypt', 'plain', ...KEY, '-fo', './directory/../plain'], 1, /is the input file itself/],
  [['encrypt', 'plain', ...KEY, '-fo', 'hard'], 1, /"hard" is the input file itself/],
  [['encrypt', 'plain', ...KEY, '-fo', 'soft'], 1, /"soft" is the input file itself/],
  [['encrypt', 'soft', ...KEY, '-fo', 'hard'], 1, /"hard" is the input file itself/],

  [['encrypt', 'plain', '-k', 'missing.json'], 1, /cannot read "missing.json": no such file/],
  [['encrypt', 'plain', '-k', 'directory'], 1, /"directory" is not a file/],
  [['encrypt', 'plain', '-k', '/dev/null'], 1, /"\/dev\/null" is not a file/],
  [['encrypt', 'plain', '-k', 'pipe'], 1, /"pipe" is not a file/],
  [['encrypt', 'plain', '-k', 'mode-640.json'], 1, /"mode-640.json" is open to others \(mode 0640\): chmod 600 it/],
  [['encrypt', 'plain', '-k', 'mode-604.json'], 1, /open to others/],
  [['encrypt', 'plain', '-k', 'mode-620.json'], 1, /open to others/],
  [['encrypt', 'plain', '-k', 'mode-660.json'], 1, /open to others/],
  [['encrypt', 'plain', '-k', 'mode-666.json'], 1, /open to others/],
  [['encrypt', 'plain', '-k', 'not-json.json'], 1, /not a key file in JSON/],
  [['encrypt', 'plain', '-k', 'null.json'], 1, /not a key file in JSON/],
  [['encrypt', 'plain', '-k', 'version.json'], 1, /its version must be 1/],
  [['encrypt', 'plain', '-k', 'no-name.json'], 1, /must be strings/],
  [['encrypt', 'plain', '-k', 'empty-name.json'], 1, /"keyName" must be a string that is not empty/],
  [['encrypt', 'plain', '-k', 'extra.json'], 1, /a field that this version does not know/],
  [['encrypt', 'plain', '-k', 'short.json'], 1, /16, 24 or 32 bytes in base64/],
  [['encrypt', 'plain', '-k', 'long.json'], 1, /16, 24 or 32 bytes in base64/],
  [['encrypt', 'plain', '-k', 'not-base64.json'], 1, /16, 24 or 32 bytes in base64/],
  [['encrypt', 'plain', '-k', 'zeros.json'], 1, /all zeros/],
  [['encrypt', 'plain', '-k', 'large.json'], 1, /too large to be one/],
  [['keygen', 'key.json'], 1, /"key.json" exists already/],
  [['keygen', '-'], 2, /goes to a file/],
  ...['/dev/stdout', '/dev/stderr', '/dev/fd/1', '/proc/self/fd/1', '/dev/null', 'to stdout', 'pipe'].map(
    (name): [string[], number, RegExp] => [['keygen', name], 1, /cannot write ".*": it is not a file/],
  ),
  [['keygen', 'nowhere/key.json'], 1, /cannot write "nowhere\/key.json": no such file/],
  [['keygen', 'new.json', '--bits', '64'], 2, /Allowed choices are 128, 192, 256/],
  [['keygen', 'new.json', '--namespace', 'aws-kms'], 2, /belongs to AWS KMS/],
  [['keygen', 'new.json', '--name', ''], 2, /must not be empty/],
  [['inspect', 'missing'], 1, /cannot read "missing"/],
  [['inspect', 'plain'], 3, /Not a supported message format version/],
]

for (const [args, code, stderr] of CASES) {
  test(`refuses: ${JSON.stringify(args).slice(1, -1)}`, async () => {
    const before = readdirSync(path('.'))
    const result = await sealwax(...args)
    assert.match(result.stderr, stderr)
    assert.equal([result.code, result.stdout.length], [code, 0], result.stderr)
    assert.not.match(result.stderr, /\n {4}at /, 'a stack says nothing to users')
    assert.equal(readdirSync(path('.')), before)
    assert.is(read('plain').toString(), 'plaintext')
  })
}

test('a message that is refused has its own exit code, whatever is wrong with it', () => {
  const refusals = ['AUTHENTICATION_FAILED', 'ENCRYPTION_CONTEXT', 'MESSAGE_MALFORMED', 'MESSAGE_TRUNCATED'] as const
  const others = ['NO_DATA_KEY', 'TRAILING_DATA', 'UNSUPPORTED_FORMAT'] as const
  for (const what of [...refusals, ...others]) {
    assert.is(exitCodeOf(new SealwaxError(`ERR_${what}`, 'refused')), 3, what)
  }
})

test('what KMS refuses is refused, unless another key could not be asked', () => {
  const failed = (name: string) => {
    return new SealwaxError('ERR_KEY_SERVICE', 'failed', { cause: Object.assign(new Error('no'), { name }) })
  }
  const [changed, otherKey, down] = ['InvalidCiphertextException', 'IncorrectKeyException', 'TimeoutError'].map(failed)
  const codeOf = (...errors: Error[]) => exitCodeOf(new SealwaxError('ERR_NO_DATA_KEY', 'none', { errors }))
  assert.equal([changed, otherKey, down].map(exitCodeOf), [3, 3, 1])
  assert.equal([codeOf(changed!, otherKey!), codeOf(changed!, down!), codeOf(down!, changed!)], [3, 1, 1])
})

test('what the permission model of Node.js refuses is said of the file', () => {
  const error = named(Object.assign(new Error('fsync is disabled'), { code: 'ERR_ACCESS_DENIED' }), '"x"', 'write')
  assert.is(messageOf(error), 'cannot write "x": fsync is disabled [ERR_FILE]')
})

test('numbers and lengths go up to their limits', () => {
  const count = parseCount(1, 256)
  for (const text of ['1', '256', '007']) assert.is(count(text), Number(text))
  for (const text of ['0', '257', '-1', '1.5', '1e2', '0x1', ' 1', '']) {
    assert.throws(() => count(text), /a whole number from 1 to 256/)
  }
  const length = parseLength(5, 2 ** 20)
  for (const text of ['5', '1048576', '1KiB', '1024KiB', '1MiB']) length(text)
  for (const text of ['4', '1048577', '1025KiB', '2MiB', '1GiB', '1kib', '1 KiB', '1.5KiB', '-5', 'KiB', '']) {
    assert.throws(() => length(text), /from 5 to 1048576 bytes/)
  }
})

test('refuses a key file of another user', async () => {
  if (process.getuid!() !== 0) return console.log('SKIPPED a key file of another user: only root can make one')
  writeFileSync(path('foreign.json'), read('key.json'), { mode: 0o600 })
  chownSync(path('foreign.json'), 65534, 65534)
  const { code, stderr } = await sealwax('encrypt', 'plain', '-k', 'foreign.json')
  assert.is(code, 1)
  assert.match(stderr, /belongs to another user/)
})

test('refuses standard input that is a directory', async () => {
  const { code, stderr } = await shell('cp plain kept; "$@" encrypt - -k key.json -o kept -f < directory')
  assert.is(code, 1)
  assert.match(stderr, /cannot read standard input: it is a directory/)
  assert.is(read('kept').toString(), 'plaintext')
})

test('refuses standard input and output that are one file', async () => {
  const { code, stderr } = await shell('cp plain same; "$@" encrypt - -k key.json < same >> same')
  assert.is(code, 1)
  assert.match(stderr, /standard output is the input file itself/)
  assert.is(read('same').toString(), 'plaintext')
})

test('refuses an input and a descriptor that are one file', async () => {
  for (const redirected of ['-o /dev/stdout 1<> same', '-o /dev/fd/3 3<> same', '-o - 1<> same']) {
    const { code, stderr } = await shell(`cp plain same; "$@" encrypt same -k key.json ${redirected}`)
    assert.is(code, 1)
    assert.match(stderr, /is the input file itself/)
    assert.is(read('same').toString(), 'plaintext')
  }
})

test('refuses to add to a file of keys', async () => {
  const aws = '-e -i plain -o added -w provider=sealwax key=own.json --metadata-output -'
  for (const args of ['encrypt plain -k own.json -o -', 'encrypt plain -k own.json -o /dev/stdout', aws]) {
    const { code, stderr } = await shell(`cp key.json own.json; "$@" ${args} >> own.json`)
    assert.is(code, 1)
    assert.match(stderr, /holds a key, a PIN or credentials/)
    assert.equal(read('own.json'), read('key.json'))
  }
})

test('a folder that may be written to, but not read', async () => {
  mkdirSync(path('drop'), { mode: 0o300 })
  // What root may do besides.
  const as = process.getuid!() === 0 ? 'setpriv --bounding-set=-dac_override,-dac_read_search' : ''
  const denied = await shell(`${as} true && ! ${as} ls drop`)
  if (denied.code !== 0) return console.log('SKIPPED a folder that may not be read: setpriv(1) is missing')
  for (const args of ['encrypt plain -k key.json -o drop/sealed', 'keygen drop/key.json']) {
    const { code, stderr } = await shell(`${as} "$@" ${args}`)
    assert.equal([code, stderr], [0, ''])
  }
  chmodSync(path('drop'), 0o700)
  assert.equal(readdirSync(path('drop')), ['key.json', 'sealed'])
})

test('a full disk under a file and under standard output', async () => {
  writeFileSync(path('mebibyte'), Buffer.alloc(2 ** 20))
  const limited = await shell('ulimit -f 64; "$@" encrypt mebibyte -k key.json')
  assert.is(limited.code, 1)
  assert.match(limited.stderr, /cannot write "mebibyte.sealed": file too large \(EFBIG\)/)
  assert.not.ok(readdirSync(path('.')).includes('mebibyte.sealed'))
  const full = await shell('"$@" encrypt plain -k key.json -o - > /dev/full')
  assert.is(full.code, 1)
  assert.match(full.stderr, /cannot write standard output: no space left on device/)
})

test('a reader that goes away', async () => {
  const { stderr } = await shell('{ "$@" encrypt mebibyte -k key.json -o -; echo "exit code $?" >&2; } | head -c 1')
  assert.match(stderr, /cannot write standard output: broken pipe \(EPIPE\).*\nexit code 1\n/)
  for (const args of ['encrypt --help', '-e --help', '--version']) {
    const help = await shell(`
      { until rm gone 2> /dev/null; do sleep 0.1; done; "$@" ${args}; echo "exit code $?" >&2; } | { exec <&-; echo > gone; }`)
    assert.match(help.stderr, /^sealwax: cannot write standard output: broken pipe \(EPIPE\).*\nexit code 1\n$/)
  }
})

test('a name that is not UTF-8 is an error like any other', async () => {
  const { code, stderr } = await shell('n=$(printf "\\377x"); echo text > "$n"; "$@" encrypt "$n" -k key.json')
  assert.is(code, 1)
  assert.match(stderr, /cannot read .*: no such file/)
})

test('nothing is left, and no key was printed', () => {
  assert.equal(temporaries(), [])
  const all = Buffer.concat(printed)
  for (const form of keyForms('key.json')) assert.is(all.indexOf(form), -1)
})

test.run()
