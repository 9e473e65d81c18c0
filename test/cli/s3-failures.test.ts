/** What the command does where a store fails, or a signal ends its work there. */
import { once } from 'node:events'
import { existsSync, truncateSync, writeFileSync } from 'node:fs'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { type S3Client, UploadPartCommand } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openS3Sink } from '../../src/cli/s3'
import { errorXml, type FaultRule, startFaultProxy } from '../support/fault-proxy'
import { bytes } from '../support/keys'
import { CREDENTIALS } from '../support/s3-server'
import { startSmallS3 } from '../support/small-s3'
import { path, sealwax, start } from './cli'

const MiB = 2 ** 20
const KEY = ['-k', 'key.json']
const REWRAP = [...KEY, '--new-key', 'new.json']

async function main(): Promise<void> {
  const store = await startSmallS3()
  const proxy = await startFaultProxy({ origin: store.endpoint })
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
    AWS_REGION: 'us-east-1',
    AWS_MAX_ATTEMPTS: '1',
  })
  const at = ['--endpoint-url', proxy.endpoint]
  const url = (name: string) => `s3://${store.bucket}/${name}`
  const ok = async (...args: string[]) => {
    const result = await sealwax(...args)
    assert.is(result.code, 0, result.stderr)
    return result
  }
  writeFileSync(path('long'), bytes(12 * MiB))
  for (const name of ['key.json', 'new.json']) await ok('keygen', name)
  await ok('encrypt', 'long', '-o', url('long'), ...KEY, ...at)

  test('a rewrap that is interrupted leaves no upload open', async () => {
    proxy.setRules([{ fault: 'stall', match: { method: 'PUT', query: 'partNumber=' } }])
    const { child, done } = start(['rewrap', url('long'), ...REWRAP, '--part-size', '5MiB', ...at])
    while (proxy.stats().injected < 3 && child.exitCode === null) await setTimeout(1)
    child.kill('SIGINT')
    const { code, stderr } = await done
    assert.equal([code, stderr], [130, 'sealwax: interrupted\n'])
    assert.is(store.uploads.size, 0)
    proxy.setRules([])
  })

  test('a body that breaks off is an error that names the object', async () => {
    await ok('encrypt', 'long', '-o', url('message'), '--format', 'message', ...KEY, ...at)
    writeFileSync(path('longer'), bytes(65 * MiB))
    await ok('encrypt', 'longer', '-o', url('longer'), ...KEY, ...at)
    const breaks = { fault: 'truncate', match: { method: 'GET' } } as const
    const lies = {
      fault: 'swap',
      body: (body: Buffer) => body,
      headers: { 'x-amz-checksum-crc32': 'AAAAAA==' },
    } as const
    const cases: [rule: FaultRule, message: RegExp, args: string[]][] = [
      [breaks, /aborted \(ECONNRESET\)/, ['encrypt', url('long')]],
      [lies, /Checksum mismatch/, ['encrypt', url('long')]],
      [breaks, /aborted \(ECONNRESET\)/, ['decrypt', url('message'), '--format', 'message']],
      [breaks, /aborted \(ECONNRESET\)/, ['decrypt', url('long')]],
      // The first time verifies.
      [{ ...breaks, when: { nth: 2 } }, /aborted \(ECONNRESET\)/, ['decrypt', url('longer')]],
      [{ ...lies, when: { nth: 2 } }, /Checksum mismatch/, ['decrypt', url('longer')]],
    ]
    for (const [rule, message, args] of cases) {
      proxy.setRules([rule])
      const { code, stderr } = await sealwax(...args, '-o', 'none', ...KEY, ...at)
      assert.ok(proxy.stats().injected > 0)
      assert.match(stderr, message)
      assert.match(stderr, `sealwax: cannot read "${args[1]}": `)
      assert.equal([code, stderr.trimEnd().split('\n').length], [1, 1], stderr)
      assert.not(existsSync(path('none')))
    }
    proxy.setRules([])
  })

  test('so is one that a rewrap reads', async () => {
    for (const name of ['beside', 'beside.instruction']) {
      store.objects.set(name, { ...store.objects.get('long')!, body: Buffer.from('{}'), metadata: {} })
    }
    proxy.setRules([{ fault: 'truncate', match: { method: 'GET', path: /beside\.instruction$/ } }])
    const { code, stderr } = await sealwax('rewrap', url('beside'), ...REWRAP, ...at)
    assert.is(code, 1, stderr)
    assert.match(stderr, `sealwax: cannot rewrap "${url('beside')}": aborted (ECONNRESET) [ERR_FILE]\n`)
    assert.not.match(stderr, /\n {4}at /)
    proxy.setRules([])
  })

  test('an object that comes up while another is on its way there is kept', async () => {
    writeFileSync(path('short'), 'text')
    for (const name of ['short', 'long']) {
      const object = { body: Buffer.from("somebody's"), etag: '"s"', metadata: {}, encryption: {} }
      const body = (answer: Buffer) => {
        store.objects.set(`raced-${name}`, object)
        return answer
      }
      proxy.setRules([{ fault: 'swap', body, match: { method: 'HEAD' } }])
      const { code, stderr } = await sealwax('encrypt', name, '-o', url(`raced-${name}`), ...KEY, ...at)
      assert.is(code, 1)
      assert.match(stderr, `sealwax: "${url(`raced-${name}`)}" exists already: --force replaces it`)
      assert.is(store.objects.get(`raced-${name}`), object)
      assert.is(store.uploads.size, 0)
    }
    proxy.setRules([])
  })

  test('a file that is too long for an object is refused before it goes up', async () => {
    // Without blocks on the disk.
    writeFileSync(path('huge'), '')
    truncateSync(path('huge'), 2 ** 36 - 31)
    const beginning: FaultRule = { fault: 'status', status: 403, match: { method: 'POST' } }
    proxy.setRules([beginning])
    const { code, stderr } = await sealwax('encrypt', 'huge', '-o', url('huge'), ...KEY, ...at)
    assert.is(code, 1)
    assert.match(stderr, /"huge" has 68719476705 bytes.*use --format message \[ERR_LIMIT_EXCEEDED\]/)
    assert.is(proxy.stats().injected, 0)
    truncateSync(path('huge'), 2 ** 36 - 32)
    const longest = await sealwax('encrypt', 'huge', '-o', url('huge'), ...KEY, ...at)
    assert.match(longest.stderr, /cannot write .* \(403\)/)
    assert.is(proxy.stats().injected, 1)
    proxy.setRules([])
  })

  test('an object that is replaced while it is inspected is told as such', async () => {
    const match = { method: 'GET', header: { range: /./, 'if-match': /./ } }
    proxy.setRules([{ fault: 'status', status: 412, body: errorXml('PreconditionFailed'), match }])
    const { code, stderr } = await sealwax('inspect', url('message'), ...at)
    assert.is(proxy.stats().injected, 1)
    assert.equal(
      [code, stderr],
      [1, `sealwax: "${url('message')}" was replaced meanwhile: try again [ERR_OBJECT_CHANGED]\n`],
    )
    proxy.setRules([])
  })

  test('an upload is aborted once its parts have been, and none is under way', async () => {
    const events: string[] = []
    const send = async (command: object, { abortSignal }: { abortSignal?: AbortSignal } = {}) => {
      if (command instanceof UploadPartCommand) {
        await Promise.race([once(abortSignal!, 'abort'), setTimeout(10_000, undefined, { ref: false })])
        await setImmediate()
        events.push(abortSignal!.aborted ? 'aborted part' : 'part')
      } else events.push(command.constructor.name)
      return { UploadId: 'one' }
    }
    const options = { force: true, equalParts: true, signal: new AbortController().signal }
    const sink = await openS3Sink({ send } as unknown as S3Client, url('never'), options)
    await sink.write(bytes(17 * MiB))
    await sink.discard()
    const [begins, ends] = ['CreateMultipartUploadCommand', 'AbortMultipartUploadCommand']
    assert.equal(events, [begins, 'aborted part', 'aborted part', ends])
  })

  test('all parts of an encrypted object but the last have one length, whatever comes', async () => {
    const lengths: number[] = []
    const send = async (command: object) => {
      if (command instanceof UploadPartCommand) lengths.push((command.input.Body as Buffer).length)
      return { UploadId: 'one' }
    }
    const options = { force: true, equalParts: true, signal: new AbortController().signal }
    const sink = await openS3Sink({ send } as unknown as S3Client, url('parts'), options)
    for (const length of [5, 12, 3]) await sink.write(bytes(length * MiB + 1))
    await sink.commit()
    assert.equal(lengths, [8 * MiB, 8 * MiB, 4 * MiB + 3])
  })

  test('the Region has the name that the SDK reads, or else the one of other tools', async () => {
    const AWS_DEFAULT_REGION = 'eu-west-1'
    for (const [AWS_REGION, used] of [
      ['us-east-1', 'us-east-1'],
      [undefined, AWS_DEFAULT_REGION],
    ]) {
      proxy.setRules([
        { fault: 'status', status: 403, match: { header: { authorization: new RegExp(`/${used}/s3/`) } } },
      ])
      const env = { ...process.env, AWS_REGION, AWS_DEFAULT_REGION }
      const { stderr } = await start(['inspect', url('message'), ...at], { env }).done
      assert.is(proxy.stats().injected, 1, stderr)
    }
    proxy.setRules([])
  })

  test('the servers end', async () => {
    await proxy.close()
    await store.close()
  })
  test.run()
}

void main()
