/** F-15 and F-16: ranges at every edge, and copies that lose their envelope or get another's. */
import { CopyObjectCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { S3EncryptionClient, S3RawAesKeyring, type SealObjectOptions, sealObject } from '../../src/s3'
import { rejectionOf, rejects } from '../support/expect'
import { bytes } from '../support/keys'
import { startS3 } from '../support/s3-server'
import { ScriptedS3 } from '../support/scripted-s3'
import { FaultReport, full } from './report'

const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const FORBID = { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' } as const
const VERSIONS: Record<string, SealObjectOptions> = {
  'version 3': {},
  'version 2': FORBID,
  'version 1': { ...FORBID, writeVersion1WithoutIntegrity: true },
}
const LENGTHS = full ? [0, 1, 15, 16, 17, 31, 32, 33, 48, 100, 1000] : [0, 1, 16, 17, 100]
const Key = 'object'

async function main(): Promise<void> {
  // Ranges by the letter: not every server counts them from the end.
  const store = new ScriptedS3()
  const s3 = await startS3()
  const Bucket = s3.bucket
  const report = new FaultReport()
  const legacy = { ...FORBID, enableLegacyWrappingAlgorithms: true, enableLegacyUnauthenticatedModes: true }
  const reader = new S3EncryptionClient(store.config, { keyring, ...legacy })
  const strict = new S3EncryptionClient(store.config, { keyring })
  const client = new S3EncryptionClient(s3.config, { keyring })
  const get = async (Range: string, from = reader) => {
    const { Body, ...output } = await from.send(new GetObjectCommand({ Bucket, Key, Range }))
    return { output, given: Buffer.from(await Body!.transformToByteArray()) }
  }
  const put = async (length: number, options: SealObjectOptions) => {
    const plaintext = Buffer.from(bytes(length))
    const { metadata, body } = await sealObject(plaintext, keyring, options)
    store.objects.set(Key, { metadata, body })
    return { plaintext, body }
  }
  const cells: string[] = []
  let n = 0
  const check = (cell: string, attempt: () => Promise<'right' | 'refused'>) => {
    if (!cells.includes(cell)) cells.push(cell)
    return report.inject(cell, 0, n++, async () => ({ outcome: await attempt(), injected: 1, requests: 1 }))
  }

  for (const [version, options] of Object.entries(VERSIONS)) {
    test(`${version}: ranges are exact at every edge`, async () => {
      for (const length of LENGTHS) {
        const { plaintext, body } = await put(length, options)
        const edges = [
          0,
          1,
          15,
          16,
          17,
          length - 17,
          length - 16,
          length - 15,
          length - 1,
          length,
          length + 1,
          length + 15,
        ]
        const offsets = [...new Set(edges)].filter((offset) => offset >= 0)
        for (const first of offsets.filter((offset) => offset < body.length)) {
          for (const last of [...offsets.filter((offset) => offset >= first), 10_000, undefined]) {
            await check(`F-15 ${version}: bytes=a-b`, async () => {
              const { output, given } = await get(`bytes=${first}-${last ?? ''}`)
              const expected = plaintext.subarray(first, last === undefined ? undefined : last + 1)
              assert.equal(given, expected, `${first}-${last} of ${length}`)
              assert.is(output.ContentLength, expected.length)
              const range = expected.length === 0 ? '*' : `${first}-${first + expected.length - 1}`
              const [, told, total] = /^bytes (.*)\/(.*)$/.exec(output.ContentRange!)!
              assert.is(told, range)
              assert.ok(total === String(length) || (total === '*' && version === 'version 1'))
              return 'right'
            })
          }
        }
        for (const suffix of [...offsets.filter((offset) => offset > 0), 10_000]) {
          await check(`F-15 ${version}: bytes=-n`, async () => {
            const { output, given } = await get(`bytes=-${suffix}`)
            const expected = plaintext.subarray(-suffix)
            assert.equal(given, expected, `-${suffix} of ${length}`)
            const range = expected.length === 0 ? '*' : `${length - expected.length}-${length - 1}`
            assert.is(output.ContentRange, `bytes ${range}/${length}`)
            return 'right'
          })
        }
        await check(`F-15 ${version}: beyond the end`, async () => {
          assert.is(((await rejectionOf(get(`bytes=${body.length + 100}-`))) as Error).name, 'InvalidRange')
          return 'refused'
        })
        await check(`F-15 ${version}: without the switch`, async () => {
          await rejects(get('bytes=-1', strict), 'ERR_LEGACY_REFUSED')
          return 'refused'
        })
      }
    })
  }

  test('answers of another range are refused', async () => {
    for (const [version, options] of Object.entries(VERSIONS)) {
      store.objects.set(Key, await sealObject(bytes(1000), keyring, options))
      for (const [wrong, code] of [
        ['bytes 96-335/1016', 'ERR_MESSAGE_MALFORMED'],
        ['bytes 80-111/1016', 'ERR_MESSAGE_MALFORMED'],
        ['bytes 80-127/100', 'ERR_MESSAGE_MALFORMED'],
        ['bytes */1016', 'ERR_MESSAGE_MALFORMED'],
        ['', 'ERR_MESSAGE_MALFORMED'],
      ] as const) {
        await check(`F-15 ${version}: another range`, async () => {
          store.change = (answer) => Object.assign(answer.headers, { 'content-range': wrong })
          await rejects(get('bytes=100-110'), code)
          return 'refused'
        })
      }
      for (const body of [new Uint8Array(0), bytes(47), bytes(33), bytes(500)]) {
        await check(`F-15 ${version}: another length`, async () => {
          store.change = (answer) => Object.assign(answer, { body })
          await rejects(get('bytes=100-110'), 'ERR_MESSAGE_TRUNCATED')
          return 'refused'
        })
      }
    }
    store.reset()
  })

  test('a copy opens with its envelope, and with none other', async () => {
    await client.send(new PutObjectCommand({ Bucket, Key, Body: 'hello' }))
    await client.send(new PutObjectCommand({ Bucket, Key: 'other', Body: 'other' }))
    const read = async (Key: string) =>
      await (await client.send(new GetObjectCommand({ Bucket, Key }))).Body!.transformToString()
    const copy = (Metadata?: Record<string, string>) =>
      s3.client.send(
        new CopyObjectCommand({
          Bucket,
          Key: 'copy',
          CopySource: `${Bucket}/${Key}`,
          ...(Metadata && { MetadataDirective: 'REPLACE', Metadata }),
        }),
      )
    const metadataOf = async (Key: string) => (await s3.client.send(new GetObjectCommand({ Bucket, Key }))).Metadata!
    await check('F-16 copy', async () => {
      await copy()
      assert.is(await read('copy'), 'hello')
      return 'right'
    })
    await check('F-16 copy without metadata', async () => {
      await copy({ title: 'a' })
      await rejects(read('copy'), 'ERR_UNSUPPORTED_FORMAT')
      return 'refused'
    })
    const own = await metadataOf(Key)
    const others = await metadataOf('other')
    await check("F-16 copy with another's metadata", async () => {
      await copy(others)
      await rejects(read('copy'), 'ERR_AUTHENTICATION_FAILED')
      return 'refused'
    })
    for (const name of Object.keys(own)) {
      await check('F-16 copy without one field', async () => {
        const { [name]: _, ...rest } = own
        await copy(rest)
        const expected = name === 'x-amz-3' ? /ERR_MESSAGE_MALFORMED|ERR_UNSUPPORTED_FORMAT/ : /ERR_MESSAGE_MALFORMED/
        assert.match(((await rejectionOf(read('copy'))) as { code: string }).code, expected)
        return 'refused'
      })
      await check("F-16 copy with one field of another's", async () => {
        await copy({ ...own, [name]: others[name]! })
        const error = await rejectionOf(read('copy'))
        // All objects of one kind have these in common.
        if (own[name] === others[name]) return 'right'
        assert.is((error as { code: string }).code, 'ERR_AUTHENTICATION_FAILED')
        return 'refused'
      })
    }
  })

  test('each was tried, and none went wrong', () => report.check(cells))

  test('the servers end', async () => {
    reader.destroy()
    strict.destroy()
    client.destroy()
    await s3.close()
  })
  test.run()
}

void main()
