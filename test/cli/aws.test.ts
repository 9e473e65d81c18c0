/** The arguments of the AWS Encryption CLI. */
import type { ChildProcess } from 'node:child_process'
import fs, {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { homedir } from 'node:os'
import nodePath from 'node:path'
import { Readable, type Transform } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import * as peer from '@aws-crypto/client-node'
import { CreateKeyCommand, KMSClient, ReplicateKeyCommand } from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { awsProgram } from '../../src/cli/aws'
import { expandArguments } from '../../src/cli/aws-arguments'
import { MetadataWriter } from '../../src/cli/aws-metadata'
import { checkOutputNames } from '../../src/cli/aws-places'
import { Base64Decoder, Base64Encoder } from '../../src/cli/base64'
import { exitCodeOf } from '../../src/cli/errors'
import { expandPattern } from '../../src/cli/glob'
import { serializeKeyFile } from '../../src/cli/keys'
import { buildClient } from '../../src/index'
import { rejectionOf, rejects } from '../support/expect'
import { aesKeyring } from '../support/keys'
import { vectors } from '../support/vectors'
import keyrings from '../vectors/messages/keyrings.json'
import {
  atTerminal,
  folder,
  hasTerminal,
  path,
  quotedCommand,
  type Result,
  read,
  sealwax,
  sealwaxWith,
  shell,
  start,
} from './cli'

const KEYS = ['--wrapping-keys', 'provider=sealwax', 'key=key.json']
const QUIET = ['-S']
const program = awsProgram(new AbortController().signal)
/** In this process. */
const run = async (...args: string[]) =>
  await awsProgram(new AbortController().signal).parseAsync(
    [...args, '-w', `["provider=sealwax","key=${path('key.json')}"]`],
    { from: 'user' },
  )
let kms: ChildProcess
let arn: string
let endpoint: string

test.before(async () => {
  Object.assign(process.env, {
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    AWS_REGION: 'us-east-1',
  })
  writeFileSync(path('plain'), 'plaintext')
  assert.is((await sealwax('keygen', 'key.json')).code, 0)
  const { child } = start(['kms', 'serve'])
  kms = child
  endpoint = await new Promise((resolve) => child.stdout!.once('data', (line) => resolve(String(line).trim())))
  process.env.AWS_ENDPOINT_URL_KMS = endpoint
  const client = new KMSClient({ endpoint, region: 'us-east-1' })
  arn = (await client.send(new CreateKeyCommand({}))).KeyMetadata!.Arn!
})
test.after(() => {
  kms.kill()
})

async function good(...args: string[]): Promise<Result> {
  const result = await sealwax(...args)
  assert.is(result.code, 0, result.stderr)
  return result
}

function metadataIn(name: string): Record<string, never>[] {
  return read(name)
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
}

test('KMS keys: encrypt, decrypt by key and by discovery, with metadata in the shape of that program', async () => {
  const context = ['-c', 'purpose=test', 'b=2']
  await good('-e', '-i', 'plain', '-o', 'kms.out', '-w', `key=${arn}`, ...context, '--metadata-output', 'metadata')
  const which = [[`key=${arn}`], ['discovery=true', 'discovery-account=111122223333', 'discovery-partition=aws']]
  for (const [i, attributes] of which.entries()) {
    const names = ['-d', '-i', 'kms.out', '-o', `kms.${i}`, '--metadata-output', 'metadata']
    await good(...names, '-w', ...attributes, '-c', 'purpose=test', 'b')
    assert.is(read(`kms.${i}`).toString(), 'plaintext')
  }
  const [encrypted, decrypted, third, ...more] = metadataIn('metadata')
  assert.equal([more.length, third !== undefined], [0, true])
  const { header, ...about } = encrypted!
  assert.equal(about, { mode: 'encrypt', input: path('plain'), output: path('kms.out') })
  const fields = `algorithm commitment_key content_type encrypted_data_keys encryption_context frame_length
    header_iv_length message_id type version`
  assert.equal(Object.keys(header!), fields.split(/\s+/))
  const { algorithm, version, content_type, frame_length, type, encrypted_data_keys } = header as never
  const expected = ['AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384', '2.0', 2, 4096, null]
  assert.equal([algorithm, version, content_type, frame_length, type], expected)
  const { provider_id, key_info } = (encrypted_data_keys[0] as { key_provider: Record<string, string> }).key_provider
  assert.equal(
    [provider_id, key_info].map((text) => Buffer.from(text!, 'base64').toString()),
    ['aws-kms', arn],
  )
  const message = read('kms.out')
  const { header_auth } = decrypted as never as { header_auth: { iv: string; tag: string } }
  assert.is(header_auth.iv, 'AAAAAAAAAAAAAAAA')
  const tag = Buffer.from(header_auth.tag, 'base64')
  assert.is(tag.length, 16)
  // The header ends with its tag; the first frame begins with its number.
  const at = message.indexOf(tag)
  assert.ok(at > 0 && message.readUInt32BE(at + 16) === 0xffffffff)
})

test('multi-Region keys: a related key opens, by its ARN or by discovery in its Region', async () => {
  const client = new KMSClient({ endpoint, region: 'us-east-1' })
  const KeyId = (await client.send(new CreateKeyCommand({ MultiRegion: true }))).KeyMetadata!.Arn!
  await client.send(new ReplicateKeyCommand({ KeyId, ReplicaRegion: 'eu-west-1' }))
  await good('-e', '-i', 'plain', '-o', 'mrk.out', '-w', `key=${KeyId}`, ...QUIET)
  const replica = KeyId.replace('us-east-1', 'eu-west-1')
  for (const [i, attributes] of [
    [`key=${replica}`],
    ['discovery=1', 'region=eu-west-1'],
    ['discovery=yes'],
  ].entries()) {
    await good('-d', '-i', 'mrk.out', '-o', `mrk.${i}`, '-w', ...attributes, ...QUIET)
    assert.is(read(`mrk.${i}`).toString(), 'plaintext')
  }
  const ours = await sealwax('decrypt', '--wrapping-key', replica, 'mrk.out', '-o', 'mrk.ours')
  assert.is(ours.code, 0, ours.stderr)
})

test('metadata never go where data are read or written', async () => {
  writeFileSync(path('data'), 'as it was')
  linkSync(path('data'), path('data-hard'))
  symlinkSync('data', path('data-soft'))
  mkdirSync(path('data-in'), { recursive: true })
  mkdirSync(path('data-out'))
  writeFileSync(path('data-in/a'), 'a')
  for (const place of ['data', './data', 'data-hard', 'data-soft', 'data-sealed', '../data-sealed']) {
    const metadata = place.startsWith('..') ? path('data-sealed') : place
    const args = [
      '-e',
      '-i',
      'data',
      '-o',
      'data-sealed',
      ...KEYS,
      '--overwrite-metadata',
      '--metadata-output',
      metadata,
    ]
    const { code, stderr } = await sealwax(...args)
    assert.is(code, 2, place)
    assert.match(stderr, /--metadata-output is the (input|output) itself/)
  }
  for (const place of ['data-in/log', 'data-out/log', 'data-in/../data-out/log']) {
    const args = ['-e', '-r', '-i', 'data-in', '-o', 'data-out', ...KEYS, '--metadata-output', place]
    assert.match((await sealwax(...args)).stderr, /--metadata-output is in the (input|output) folder/)
  }
  assert.is(read('data').toString(), 'as it was')
  assert.equal([readdirSync(path('data-in')), readdirSync(path('data-out'))], [['a'], []])
})

test('header authentication of version 1 has its IV', async () => {
  const policy = ['--commitment-policy', 'forbid-encrypt-allow-decrypt']
  const args = ['-i', 'plain', '-o', 'v1', ...KEYS, ...QUIET, '-a', 'AES_256_GCM_IV12_TAG16_HKDF_SHA256']
  await good('-e', ...args, ...policy, '-c', 'ä=ö')
  await good('-d', '-i', 'v1', '-o', 'v1.plain', ...KEYS, ...policy, '--metadata-output', 'v1.json')
  const [{ header, header_auth: auth }] = metadataIn('v1.json') as never as [Record<string, Record<string, unknown>>]
  assert.equal(
    [header!.version, header!.type, header!.header_iv_length, header!.commitment_key],
    ['1.0', 128, 12, null],
  )
  const bytes = Buffer.concat([auth!.iv, auth!.tag].map((text) => Buffer.from(String(text), 'base64')))
  assert.ok(read('v1').includes(bytes))
})

test('header authentication is found behind a context of no pairs in two bytes', async () => {
  const { message } = vectors('valid.json').find(({ description }) => description.includes('a count of zero'))!
  const { keyNamespace: namespace, keyName: name, key } = keyrings['aes-256']
  writeFileSync(path('vector.key'), serializeKeyFile(namespace, name, Buffer.from(key, 'hex')), { mode: 0o600 })
  writeFileSync(path('zero'), Buffer.from(message, 'base64'))
  const names = ['-i', 'zero', '-o', 'zero.plain', '--metadata-output', 'zero.json']
  await good('-d', ...names, '-w', 'provider=sealwax', 'key=vector.key')
  const [{ header_auth: auth }] = metadataIn('zero.json') as never as [{ header_auth: { tag: string } }]
  const tag = Buffer.from(auth.tag, 'base64')
  assert.is(read('zero').readUInt32BE(read('zero').indexOf(tag) + tag.length), 1)
})

test('what it writes the peer reads, with the frame length asked for', async () => {
  await good('-e', '-i', 'plain', '-o', 'framed', ...KEYS, ...QUIET, '--frame-length', '4', '-c', 'a=b', 'B=c')
  const { namespace, name, key } = JSON.parse(read('key.json').toString())
  const bytes = Buffer.from(key, 'base64')
  const own = {
    keyNamespace: namespace,
    keyName: name,
    unencryptedMasterKey: Uint8Array.from(bytes),
    wrappingSuite: 0x78,
    // The order of the specification, in which "B" comes before "a"; the peer tries no other.
    utf8Sorting: true,
  }
  const { plaintext, messageHeader } = await peer
    .buildClient()
    .decrypt(new peer.RawAesKeyringNode(own as never), read('framed'))
  assert.equal([plaintext.toString(), messageHeader.frameLength], ['plaintext', 4])
  assert.is((await sealwax('-d', '-i', 'framed', '-o', 'x', ...KEYS, ...QUIET, '--max-length', '3')).code, 1)
  await good('-d', '-i', 'framed', '-o', 'x', ...KEYS, ...QUIET, '--max-length', '4', '--max-encrypted-data-keys', '1')
})

test('standard input and output, base64 on either side, buffered or not', async () => {
  const signed = await sealwaxWith('plaintext', '-e', '-i', '-', '-o', '-', ...KEYS, ...QUIET, '--encode')
  assert.match(signed.stdout.toString(), /^[A-Za-z0-9+/]+=*$/)
  const folded = signed.stdout.toString().replace(/.{76}/g, '$&\n')
  for (const more of [[], ['--buffer']]) {
    const args = ['-d', '-i', '-', '-o', '-', ...KEYS, ...QUIET, '--decode', ...more]
    assert.is((await sealwaxWith(folded, ...args)).stdout.toString(), 'plaintext')
    const changed = folded.replace(/.(?=.{20}$)/s, (letter) => (letter === 'A' ? 'B' : 'A'))
    const refused = await sealwaxWith(changed, ...args)
    assert.equal([refused.code, refused.stdout.length], [3, 0])
    assert.match((await sealwaxWith(`${folded}!`, ...args)).stderr, /not base64/)
  }
  const both = await sealwaxWith('cGxhaW50ZXh0', '-e', '-i', '-', '-o', 'decoded', ...KEYS, ...QUIET, '--decode')
  assert.is(both.code, 0, both.stderr)
  const { stdout } = await good('-d', '-i', 'decoded', '-o', '-', ...KEYS, ...QUIET, '--encode')
  assert.is(stdout.toString(), 'cGxhaW50ZXh0')
})

test('base64 in pieces of any length, and nothing that is not', async () => {
  const through = async (transform: Transform, text: string, length: number) => {
    const pieces = text.match(new RegExp(`.{1,${length}}`, 'gs')) ?? []
    return (await buffer(Readable.from(pieces.map((piece) => Buffer.from(piece))).pipe(transform))).toString()
  }
  for (const length of [1, 2, 3, 4, 5]) {
    for (const text of ['', 'a', 'ab', 'abc', 'abcdefgh']) {
      const base64 = Buffer.from(text).toString('base64')
      assert.is(await through(new Base64Encoder(), text, length), base64)
      for (const folded of [base64, base64.replace(/.{3}/g, '$&\r\n')]) {
        assert.is(await through(new Base64Decoder(), folded, length), text)
      }
    }
    for (const wrong of ['YQ==YQ==', 'YQ==A', 'YR==', 'YQ=', 'YQ', 'Y', 'YWJj=', 'YWJj*', 'YW Jj', 'YW-j']) {
      await rejects(through(new Base64Decoder(), wrong, length), 'ERR_MESSAGE_MALFORMED', /not base64/)
    }
  }
})

test('folders, suffixes, and files into folders', async () => {
  for (const name of ['in', 'in/sub', 'out', 'back', 'plainout']) mkdirSync(path(name))
  for (const name of ['in/a', 'in/sub/b']) writeFileSync(path(name), name)
  await good(
    '-e',
    '-r',
    '-i',
    'in',
    '-o',
    'out',
    ...KEYS,
    '--metadata-output',
    'tree.json',
    '--caching',
    'capacity=5',
    'max_age=60',
  )
  assert.equal(readdirSync(path('out')).sort(), ['a.encrypted', 'sub'])
  assert.is(metadataIn('tree.json').length, 2)
  await good('-d', '-R', '-i', 'out', '-o', 'back', ...KEYS, ...QUIET)
  assert.is(read('back/sub/b.encrypted.decrypted').toString(), 'in/sub/b')
  await good('-d', '-r', '-i', 'out', '-o', 'plainout', ...KEYS, ...QUIET, '--suffix')
  assert.is(read('plainout/a.encrypted').toString(), 'in/a')
  await good('-e', '-i', 'plain', '-o', 'out', ...KEYS, ...QUIET, '--suffix', '.mine')
  assert.ok(readdirSync(path('out')).includes('plain.mine'))
  assert.match((await sealwax('-e', '-i', 'in', '-o', 'out', ...KEYS, ...QUIET)).stderr, /is a folder: --recursive/)
})

test('names that differ in case or in the form of their accents are one on Windows and macOS', () => {
  for (const name of ['case1', 'case2']) mkdirSync(path(name))
  const pairs = [
    ['case1/Report', 'case2/report'],
    ['case1/n\u00e4h', 'case2/na\u0308h'],
  ].map((names) => names.map(path))
  for (const file of pairs.flat()) writeFileSync(file, '')
  const platform = Object.getOwnPropertyDescriptor(process, 'platform')!
  try {
    for (const value of ['linux', 'win32', 'darwin']) {
      Object.defineProperty(process, 'platform', { ...platform, value })
      for (const names of pairs) {
        if (value === 'linux') checkOutputNames(names, false)
        else assert.throws(() => checkOutputNames(names, false), /have the same output/)
      }
    }
  } finally {
    Object.defineProperty(process, 'platform', platform)
  }
})

test('a pattern of Windows has a drive and both separators', () => {
  const { existsSync, readdirSync } = fs
  const here = { ...nodePath }
  const names = ['data', 'a.txt', 'b.txt', 'c.md']
  Object.assign(nodePath, nodePath.win32)
  fs.existsSync = (file) => /^(C:\\|\\\\server\\share\\)?data$/.test(String(file))
  fs.readdirSync = ((folder: string) =>
    /^(C:\\|\\\\server\\share\\)?data$/.test(folder) ? names : []) as typeof readdirSync
  try {
    const both = (folder: string) => [`${folder}\\a.txt`, `${folder}\\b.txt`]
    for (const pattern of ['C:\\data\\*.txt', 'C:/data/*.txt']) assert.equal(expandPattern(pattern), both('C:\\data'))
    assert.equal(expandPattern('\\\\server\\share\\data\\*.txt'), both('\\\\server\\share\\data'))
    assert.equal(expandPattern('data\\?.txt'), both('data'))
  } finally {
    Object.assign(nodePath, here)
    Object.assign(fs, { existsSync, readdirSync })
  }
})

test('a pattern stands for the files that it matches', async () => {
  for (const name of ['many', 'many/sub', 'many-out']) mkdirSync(path(name))
  for (const name of ['\u{1F600}dat', 'a.txt', 'b.txt', 'c.md', '.d.txt', 'x[1].txt', 'sub/e.txt', 'n1', 'n2', 'nn']) {
    writeFileSync(path(`many/${name}`), name)
  }
  const encrypt = async (pattern: string) => {
    for (const name of readdirSync(path('many-out'))) rmSync(path(`many-out/${name}`))
    await good('-e', '-i', pattern, '-o', 'many-out', ...KEYS, ...QUIET)
    return readdirSync(path('many-out')).sort()
  }
  assert.equal(await encrypt('many/*.txt'), ['a.txt.encrypted', 'b.txt.encrypted', 'x[1].txt.encrypted'])
  assert.equal(await encrypt('m?ny/[!a].*'), ['b.txt.encrypted', 'c.md.encrypted'])
  for (const any of ['?', '[\u{1F600}]']) {
    assert.equal(await encrypt(`many/${any}dat`), ['\u{1F600}dat.encrypted'])
  }
  assert.equal(await encrypt('many/n[0-9]'), ['n1.encrypted', 'n2.encrypted'])
  assert.equal(await encrypt('many/.*'), ['.d.txt.encrypted'])
  assert.equal(await encrypt('many/x[1].txt'), ['x[1].txt.encrypted'])
  assert.equal(await encrypt('*any/sub/*'), ['e.txt.encrypted'])
  const { stderr } = await good('-e', '-i', 'many/*b*', '-o', 'many-out', ...KEYS, ...QUIET)
  assert.match(stderr, /sub" is a folder, and is left out/)
  for (const [args, message] of [
    [['-i', 'many/*.none', '-o', 'many-out', '-S'], /nothing matches/],
    [['-i', 'many/[z-a]*', '-o', 'many-out', '-S'], /nothing matches/],
    [['-i', 'many/*.txt', '-o', 'missing', '-S'], /several inputs go to a folder/],
    [['-i', 'many/*.txt', '-o', 'many-out', '--metadata-output', 'many/b.txt'], /is the input itself/],
    [['-i', 'plain', '-i', 'plain', '-o', 'out', '-S'], /given once only/],
  ] as const) {
    const refused = await sealwax('-e', ...args, ...KEYS)
    assert.is(refused.code, 2, refused.stderr)
    assert.match(refused.stderr, message)
  }
})

test('what is there already is replaced, left alone, or asked about', async () => {
  writeFileSync(path('there'), 'old')
  const args = ['-e', '-i', 'plain', '-o', 'there', ...KEYS, ...QUIET]
  assert.match((await good(...args, '--no-overwrite')).stderr, /is left as it is/)
  assert.is((await sealwaxWith('n\n', ...args, '--interactive')).code, 0)
  assert.is(read('there').toString(), 'old')
  assert.is((await sealwaxWith('y\n', ...args, '--interactive')).code, 0)
  assert.is.not(read('there').toString(), 'old')
  writeFileSync(path('there'), 'old')
  await good(...args)
  assert.is.not(read('there').toString(), 'old')
})

test('each question has its answer, and without one nothing is replaced', async () => {
  for (const name of ['asked', 'asked-out']) mkdirSync(path(name))
  for (const name of ['a', 'b', 'c', 'd']) writeFileSync(path(`asked/${name}`), name)
  const args = ['-e', '-i', 'asked/*', '-o', 'asked-out', ...KEYS, ...QUIET, '--interactive']
  const replaced = (names: string[]) => names.filter((name) => read(`asked-out/${name}.encrypted`).toString() !== 'old')
  for (const [answers, code, expected] of [
    ['y\nnay\nyes\n', 0, ['a', 'c', 'd']],
    ['n\ny', 1, ['b', 'd']],
    ['', 1, ['d']],
  ] as const) {
    for (const name of ['a', 'b', 'c']) writeFileSync(path(`asked-out/${name}.encrypted`), 'old')
    rmSync(path('asked-out/d.encrypted'), { force: true })
    const result = await sealwaxWith(answers, ...args)
    assert.is(result.code, code, result.stderr)
    assert.equal(replaced(['a', 'b', 'c', 'd']), expected)
    if (answers === '')
      assert.match(result.stderr, /nobody said whether to replace "asked-out\/a.encrypted", "asked-out\/b.encrypted"/)
  }
  if (!hasTerminal) return console.log('SKIPPED Ctrl-C at a question: script(1) is missing')
  const line = `${quotedCommand} ${args.join(' ').replace('*', 'a')}`
  const { code, stdout } = await atTerminal(line, '[y/N]', (child) => child.stdin!.write('\x03'))
  assert.is(code, 130)
  assert.not.match(stdout.toString(), /report it/)
})

test('inputs of one run do not replace each other', async () => {
  for (const name of ['same1', 'same2', 'same1/in', 'same2/in', 'same-out']) mkdirSync(path(name))
  for (const name of ['same1/a', 'same2/a', 'same1/in/b', 'same2/in/b', 'same2/in/c']) writeFileSync(path(name), name)
  const to = ['-o', 'same-out', ...KEYS, ...QUIET]
  for (const [pattern, more, files] of [
    ['same[12]/*', [], /"same1\/a" and "same2\/a" have the same output/],
    ['same[12]/in', ['-r'], /"same1\/in\/b" and "same2\/in\/b" have the same output/],
  ] as const) {
    const { code, stderr } = await sealwax('-e', '-i', pattern, ...more, ...to)
    assert.is(code, 2)
    assert.match(stderr, files)
    assert.equal(readdirSync(path('same-out')), [])
  }
  rmSync(path('same2/in/b'))
  await good('-e', '-i', 'same[12]/in', '-r', ...to)
  assert.equal(readdirSync(path('same-out')), ['b.encrypted', 'c.encrypted'])
})

test('an input that is still to be read is not replaced by the output of another', async () => {
  mkdirSync(path('place'))
  for (const name of ['a', 'a.encrypted']) writeFileSync(path(`place/${name}`), name)
  const inPlace = ['-e', '-i', 'place/*', '-o', 'place', ...KEYS, ...QUIET]
  const { code, stderr } = await sealwax(...inPlace)
  assert.is(code, 2)
  assert.match(stderr, /the output of "place\/a" would replace the input "place\/a.encrypted"/)
  await good(...inPlace, '--no-overwrite')
  assert.is(read('place/a.encrypted').toString(), 'a.encrypted')
})

test('what makes no sense is the caller\u2019s mistake, not that of a message', async () => {
  for (const args of [
    ['-e', '-i', 'plain', '-o', 'x', '-c', 'aws-crypto-a=1'],
    ['-e', '-i', 'plain', '-o', 'x', '--required-encryption-context-keys', 'a'],
    ['-e', '-r', '-i', '.', '-o', '-'],
  ]) {
    const { code, stderr } = await sealwax(...args, ...KEYS, ...QUIET)
    assert.is(code, 2, stderr)
  }
})

test('metadata and output do not mix, by whatever name; a link to the output is the output', async () => {
  const both = await shell(`"$@" -e -i plain -o - ${KEYS.join(' ')} --metadata-output /dev/stdout | cat`)
  assert.is(both.stdout.length, 0)
  assert.match(both.stderr, /cannot both go to standard output/)
  const file = await shell(`"$@" -e -i plain -o - ${KEYS.join(' ')} --metadata-output mixed > mixed`)
  assert.match(file.stderr, /cannot both go to standard output/)
  symlinkSync(path('linked-output'), path('linked-log'))
  const { code, stderr } = await sealwax(
    '-e',
    '-i',
    'plain',
    '-o',
    'linked-output',
    ...KEYS,
    '--metadata-output',
    'linked-log',
  )
  assert.is(code, 2, stderr)
})

test('an output without its whole line of metadata is none', async () => {
  writeFileSync(path('short.json'), '\n'.repeat(700))
  const limited = await shell(
    `ulimit -f 1; "$@" -e -i plain -o unlogged ${KEYS.join(' ')} -a AES_256_GCM_HKDF_SHA512_COMMIT_KEY --metadata-output short.json`,
  )
  assert.is(limited.code, 1)
  assert.match(limited.stderr, /cannot write "short.json"/)
  assert.not.ok(readdirSync(folder).includes('unlogged'))
})

test('whoever is slow to read metadata does not keep the command from being stopped', async () => {
  mkdirSync(path('slow'))
  mkdirSync(path('slow-out'))
  for (let i = 0; i < 200; i++) writeFileSync(path(`slow/${i}`), 'x')
  await shell('mkfifo unread')
  const pipe = openSync(path('unread'), 'r+')
  const args = ['-e', '-r', '-i', 'slow', '-o', 'slow-out', ...KEYS, '--metadata-output', '-']
  const { child, done } = start(args, { stdio: ['ignore', pipe, 'pipe'] })
  const written = () => readdirSync(path('slow-out')).filter((name) => name.endsWith('.encrypted')).length
  for (let before = -1; before < 10 || before < written(); ) {
    before = written()
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
  assert.ok(written() < 200)
  child.kill('SIGINT')
  assert.is((await done).code, 130)
  closeSync(pipe)
  assert.equal(
    readdirSync(path('slow-out')).filter((name) => name.endsWith('.tmp')),
    [],
  )
})

test('a standard error that cannot be written keeps no file from being done', async () => {
  for (const name of ['deaf', 'deaf-out']) mkdirSync(path(name))
  for (const name of ['deaf/1', 'deaf/2', 'deaf-out/1.encrypted']) writeFileSync(path(name), name)
  const args = `-e -i 'deaf/*' -o deaf-out --no-overwrite ${[...KEYS, ...QUIET].join(' ')}`
  assert.is((await shell(`"$@" ${args} 2> /dev/full`)).code, 0)
  assert.equal(readdirSync(path('deaf-out')), ['1.encrypted', '2.encrypted'])
})

test('a long signed file goes to standard output too, verified first', async () => {
  writeFileSync(path('long'), '')
  truncateSync(path('long'), 66 * 1024 * 1024)
  await good('-e', '-i', 'long', '-o', 'long.encrypted', ...KEYS, ...QUIET)
  const count = await shell(`"$@" -d -i long.encrypted -o - ${[...KEYS, ...QUIET].join(' ')} | wc -c`)
  assert.is(Number(count.stdout), 66 * 1024 * 1024, count.stderr)
  const sealed = openSync(path('long.encrypted'), 'r+')
  writeSync(sealed, 'x', 1000)
  closeSync(sealed)
  const changed = await shell(`"$@" -d -i long.encrypted -o - ${[...KEYS, ...QUIET].join(' ')}`)
  assert.is(changed.code, 3, changed.stderr)
  assert.is(changed.stdout.length, 0)
})

test('metadata that cannot be written are told by their own name', async () => {
  const { code, stderr } = await sealwax('-e', '-i', 'plain', '-o', 'x', ...KEYS, '--metadata-output', '/dev/full')
  assert.is(code, 1)
  assert.match(stderr, /^sealwax: cannot write "\/dev\/full": no space left on device/)
  const output = await sealwax('-e', '-i', 'plain', '-o', '-', ...KEYS, '--metadata-output', '/dev/full')
  assert.equal([output.code, output.stdout.length], [1, 0])
})

test('each line of metadata is whole, though several are under way, and little is taken at a time', async () => {
  mkdirSync(path('lines'))
  for (const name of ['1', '2', '3']) writeFileSync(path(`lines/${name}`), name)
  const { write } = fs
  const some = async (fd: number, from: Uint8Array) => await promisify(write)(fd, from, 0, Math.min(from.length, 100))
  fs.write = Object.assign(() => {}, { [promisify.custom]: some }) as never
  try {
    await run('-e', '-r', '-i', path('lines'), '-o', path('lines-out'), '--metadata-output', path('lines.json'))
  } finally {
    fs.write = write
  }
  assert.equal(
    metadataIn('lines.json')
      .map(({ input }) => input)
      .sort(),
    ['1', '2', '3'].map((name) => path(`lines/${name}`)),
  )
})

test('a line of metadata that is under way when the command ends is whole too', async () => {
  const { messageHeader: header } = await buildClient().encrypt(aesKeyring(), 'plaintext')
  const metadata = await MetadataWriter.open(path('last.json'), false)
  const written = metadata.write({ mode: 'encrypt', input: '-', output: '-', header })
  await metadata.close()
  await written
  assert.is(metadataIn('last.json').length, 1)
})

interface Header {
  readonly encryption_context: object
  readonly encrypted_data_keys: { key_provider: { provider_id: string } }[]
}

test('data keys are in the order of that program, by provider and key', async () => {
  const namespaces = ['b', 'a']
  for (const name of namespaces)
    writeFileSync(path(`${name}.key`), serializeKeyFile(name, 'k', Buffer.alloc(32, name)), { mode: 0o600 })
  const keys = ['-w', 'provider=sealwax', ...namespaces.map((name) => `key=${name}.key`)]
  await good('-e', '-i', 'plain', '-o', 'sorted', ...keys, '--metadata-output', 'sorted.json', '-c', 'b=1', 'a=2')
  const [{ header }] = metadataIn('sorted.json') as never as [{ header: Header }]
  const providers = header.encrypted_data_keys.map(({ key_provider }) =>
    Buffer.from(key_provider.provider_id, 'base64').toString(),
  )
  assert.equal(providers, ['a', 'b'])
  assert.equal(
    Object.keys(header.encryption_context).filter((key) => key.length === 1),
    ['a', 'b'],
  )
})

test('a message without the required context is refused, and the metadata say why', async () => {
  await good('-e', '-i', 'plain', '-o', 'context', ...KEYS, ...QUIET, '-c', 'a=1')
  const args = [
    '-d',
    '-i',
    'context',
    '-o',
    'none',
    ...KEYS,
    '--metadata-output',
    'skipped.json',
    '--overwrite-metadata',
  ]
  assert.is((await sealwax(...args, '-c', 'a=2', 'b')).code, 3)
  const [{ skipped, reason, ...rest }] = metadataIn('skipped.json') as never as [Record<string, unknown>]
  assert.equal([skipped, reason], [true, 'Missing encryption context key or value'])
  assert.equal(rest.missing_encryption_context_keys, ['b'])
  assert.equal(rest.missing_encryption_context_pairs, [['a', '2']])
  assert.not.ok(readdirSync(folder).includes('none'))
})

test('nor has the second reading of a file, which writes, another context than the first', async () => {
  const unsigned = ['-a', 'AES_256_GCM_HKDF_SHA512_COMMIT_KEY']
  for (const name of ['1', '2'])
    await good('-e', '-i', 'plain', '-o', `twice-${name}`, ...KEYS, ...QUIET, ...unsigned, '-c', `a=${name}`)
  const [first, second] = [read('twice-1'), read('twice-2')]
  assert.is(first.length, second.length)
  const put = (message: Buffer) => {
    writeFileSync(path('twice'), message)
    utimesSync(path('twice'), 1e9, 1e9)
  }
  put(first)
  const { createReadStream } = fs
  let opened = 0
  fs.createReadStream = ((...args: Parameters<typeof createReadStream>) => {
    if (++opened === 2) put(second)
    return createReadStream(...args)
  }) as typeof createReadStream
  try {
    const args = ['-d', '-i', path('twice'), '-o', '/dev/null', '-b', ...QUIET, '-c', 'a=1']
    await rejects(run(...args), 'ERR_ENCRYPTION_CONTEXT')
  } finally {
    fs.createReadStream = createReadStream
  }
  assert.is(opened, 2)
})

test('required keys are kept out of the message, and needed to open it', async () => {
  const secret = ['--required-encryption-context-keys', 'tenant']
  await good('-e', '-i', 'plain', '-o', 'tenant', ...KEYS, ...QUIET, '-c', 'tenant=acme', 'a=1', ...secret)
  assert.not.ok(read('tenant').includes('acme'))
  await good('-d', '-i', 'tenant', '-o', 'tenant.plain', ...KEYS, ...QUIET, '-c', 'tenant=acme', ...secret)
  assert.is((await sealwax('-d', '-i', 'tenant', '-o', 'x', ...KEYS, ...QUIET)).code, 3)
})

test('of a signed message, nothing is written to standard output before its signature is verified', async () => {
  writeFileSync(path('long'), 'plaintext'.repeat(10_000))
  await good('-e', '-i', 'long', '-o', 'long-signed', ...KEYS, ...QUIET)
  const message = read('long-signed')
  message[message.length - 5]! ^= 1
  const { code, stdout } = await sealwaxWith(message, '-d', '-i', '-', '-o', '-', ...KEYS, ...QUIET)
  assert.is.not(code, 0)
  assert.is(stdout.length, 0)
})

test('--decrypt-unsigned takes no signed messages', async () => {
  const unsigned = ['-a', 'AES_256_GCM_HKDF_SHA512_COMMIT_KEY']
  await good('-e', '-i', 'plain', '-o', 'unsigned', ...KEYS, ...QUIET, ...unsigned)
  await good('--decrypt-unsigned', '-i', 'unsigned', '-o', 'x', ...KEYS, ...QUIET)
  assert.is.not((await sealwax('--decrypt-unsigned', '-i', 'framed', '-o', 'y', ...KEYS, ...QUIET)).code, 0)
})

test('arguments come from files too, with comments', async () => {
  writeFileSync(path('keys.conf'), '--wrapping-keys provider=sealwax # a comment\n key=key.json\n# another\n')
  writeFileSync(path('all.conf'), '--encrypt\n@keys.conf\n-S')
  await good('@all.conf', '-i', 'plain', '-o', 'from-file')
  writeFileSync(path('quoted.conf'), `-c "a=hello \\"world\\"" 'b=#1 $home' c=x\\ y#z # d=1`)
  const words = ['-c', 'a=hello "world"', 'b=#1 $home', 'c=x y#z']
  assert.equal(expandArguments([`@${path('quoted.conf')}`], program), words)
  process.env.SEALWAX_TEST_KEY = 'key.json'
  writeFileSync(path('home.conf'), `-w key=$SEALWAX_TEST_KEY key='\${SEALWAX_TEST_KEY}' -i ~/plain -o ~ -c $none=a~b`)
  const expanded = [
    '-w',
    '["key=key.json","key=key.json"]',
    '-i',
    `${homedir()}/plain`,
    '-o',
    homedir(),
    '-c',
    '$none=a~b',
  ]
  assert.equal(expandArguments([`@${path('home.conf')}`], program), expanded)
  writeFileSync(path('open.conf'), `-c "a=1`)
  assert.match((await sealwax('@open.conf')).stderr, /a quotation in "open.conf" has no end/)
  writeFileSync(path('loop.conf'), '@loop.conf')
  assert.match((await sealwax('@loop.conf')).stderr, /names itself/)
  assert.match((await sealwax('@missing.conf')).stderr, /cannot read the arguments in "missing.conf": ENOENT/)
})

test('an option may be given by its start, where no other has it', async () => {
  await good(
    '--encrypt',
    '--inp',
    'plain',
    '--out',
    'short',
    '--wrapping',
    'provider=sealwax',
    'key=key.json',
    '--supp',
    '--algo=AES_256_GCM_HKDF_SHA512_COMMIT_KEY',
  )
  await good('--decrypt-u', '--inp=short', '--out=long', ...KEYS, '--sup')
  assert.is(read('long').toString(), 'plaintext')
  const { code, stderr } = await sealwax('-e', '--over', '--enc', ...IO, ...KEYS, ...QUIET)
  assert.is(code, 2)
  assert.match(stderr, /--enc could be --encrypt or --encryption-context or --encode/)
})

const IO = ['-i', 'plain', '-o', 'refused']
const ARN = 'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'
for (const [args, message] of [
  [['-e', '-d', ...IO, ...KEYS, ...QUIET], /cannot be used with/],
  [['-e', '-o', 'x', ...KEYS, ...QUIET], /required option '-i, --input/],
  [['-e', ...IO, ...KEYS], /say where metadata go/],
  [['-e', ...IO, ...KEYS, ...QUIET, '--metadata-output', 'm'], /cannot be used with/],
  [['-e', '-i', 'plain', '-o', '-', ...KEYS, '--metadata-output', '-'], /cannot both/],
  [['-e', ...IO, ...QUIET], /no key given/],
  [['-e', ...IO, ...QUIET, '-w', 'provider=aws-kms'], /needs key=/],
  [['-e', ...IO, ...QUIET, '-w', 'provider=other', 'key=x'], /provider= must be aws-kms/],
  [['-e', ...IO, ...QUIET, '-w', 'colour=x'], /It takes key=/],
  [['-e', ...IO, ...QUIET, '-w', 'provider=sealwax', 'key=x', 'region=a'], /region= is for keys of KMS/],
  [['-d', ...IO, ...QUIET, '-w', 'provider=sealwax', 'discovery-account=1', 'key=x'], /discovery-account= is for keys/],
  [['-e', ...IO, ...QUIET, '-w', 'key=x', 'region=a', 'region=b'], /region= stands twice/],
  [['-e', ...IO, ...QUIET, '-w', 'discovery=true'], /discovery= is for decrypting/],
  [['-d', ...IO, ...QUIET, '-w', 'discovery=true', 'key=x'], /no particular key/],
  [['-d', ...IO, ...QUIET, '-w', 'discovery=maybe'], /true or false/],
  [['-d', ...IO, ...QUIET, '-w', 'discovery=true', 'discovery-account=1'], /go together/],
  [
    ['-d', ...IO, ...QUIET, '-w', `key=${ARN}`, 'discovery-account=1', 'discovery-partition=aws'],
    /need discovery=true/,
  ],
  [['-d', ...IO, ...QUIET, '-w', 'key=alias/a'], /ARN|arn/],
  [['-d', ...IO, ...QUIET, '-w', 'key=arn:aws:kms:us-east-1:111122223333:alias/a'], /key= must be the ARN of a key/],
  [['-e', ...IO, ...QUIET, ...KEYS, '-c', 'bare'], /takes key=value/],
  [['-e', ...IO, ...QUIET, ...KEYS, '-c', 'a=1', 'a=2'], /a key twice/],
  [['-e', ...IO, ...QUIET, ...KEYS, '-a', 'ROT13'], /Allowed choices/],
  [['-e', ...IO, ...QUIET, ...KEYS, '--commitment-policy', 'x'], /Allowed choices/],
  [['-e', ...IO, ...QUIET, ...KEYS, '--frame-length', '0'], /from 1 to/],
  [['-e', ...IO, ...QUIET, ...KEYS, '--max-encrypted-data-keys', '0'], /from 1 to/],
  [['-e', ...IO, ...QUIET, ...KEYS, '--caching', 'capacity=1'], /needs capacity=… and max_age/],
  [['-e', ...IO, ...QUIET, ...KEYS, '--caching', 'capacity=x', 'max_age=1'], /takes numbers/],
  [['-e', ...IO, ...QUIET, ...KEYS, '--interactive', '--no-overwrite'], /exclude each other/],
  [['-e', '-i', '-', '-o', 'refused', ...QUIET, ...KEYS, '--interactive'], /answers from standard input/],
] as [string[], RegExp][]) {
  test(`refuses ${args.join(' ')}`, async () => {
    process.chdir(folder)
    const program = awsProgram(new AbortController().signal).configureOutput({ writeErr: () => {} })
    const error = await rejectionOf(program.parseAsync(expandArguments(args, program), { from: 'user' }))
    assert.is(exitCodeOf(error), 2, String(error))
    assert.match((error as Error).message, message)
  })
}

test('our own commands are as they were', async () => {
  assert.match((await sealwax('--help')).stdout.toString(), /Usage: sealwax \[options\] \[command\]/)
  assert.match((await shell('"$@" --version')).stdout.toString(), /^\d+\.\d+\.\d+/)
})

test.run()
