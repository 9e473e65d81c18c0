/** `Upload` of @aws-sdk/lib-storage, unchanged, on a server that wants 5 MiB in every part but the last. */
import { Readable } from 'node:stream'
import { GetObjectCommand, HeadObjectCommand } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { S3EncryptionClient, S3RawAesKeyring } from '../../src/s3'
import { rejects } from '../support/expect'
import { bytes } from '../support/keys'
import { startS3 } from '../support/s3-server'

const MiB = 2 ** 20

async function main(): Promise<void> {
  const s3 = await startS3()
  const [Bucket, Key] = [s3.bucket, 'object']
  const client = new S3EncryptionClient(s3.config, { keyring: new S3RawAesKeyring({ wrappingKey: bytes(32) }) })
  const source = Buffer.alloc(11 * MiB, 'bytes of a file that repeats itself, but not in step with parts')

  for (const [length, partSize] of [
    [0, 5 * MiB],
    [5 * MiB, 5 * MiB],
    [5 * MiB + 1, 5 * MiB],
    [10 * MiB - 1, 5 * MiB],
    [10 * MiB, 5 * MiB],
    [10 * MiB + 17, 5 * MiB],
    [10 * MiB + 17, 5 * MiB + 7],
    [10 * MiB + 14, 5 * MiB + 7],
  ] as const) {
    test(`${length} bytes in parts of ${partSize} come back, from memory and from a stream`, async () => {
      const plaintext = source.subarray(0, length)
      for (const Body of [plaintext, Readable.from([plaintext.subarray(0, 100), plaintext.subarray(100)])]) {
        let loaded = 0
        const upload = new Upload({ client, params: { Bucket, Key, Body, Metadata: { title: 'a' } }, partSize })
        upload.on('httpUploadProgress', (progress) => (loaded = progress.loaded ?? 0))
        await upload.done()
        assert.is(loaded, length)
        const { ContentLength } = await s3.client.send(new HeadObjectCommand({ Bucket, Key }))
        assert.is(ContentLength, length + 16)
        const { Body: stored, Metadata } = await client.send(new GetObjectCommand({ Bucket, Key }))
        assert.ok(Buffer.from(await stored!.transformToByteArray()).equals(plaintext))
        assert.is(Metadata?.title, 'a')
      }
    })
  }

  test('what describes the plaintext is refused, and no upload is begun', async () => {
    const params = { Bucket, Key, Body: source, ChecksumSHA256: 'x' }
    await rejects(new Upload({ client, params }).done(), TypeError, /"ChecksumSHA256" describes/)
  })

  test('the server ends', async () => {
    client.destroy()
    await s3.close()
  })
  test.run()
}

void main()
