/** How long a connection to S3 is waited for: not while it is the reader that waits. */
import { setTimeout } from 'node:timers/promises'
import { GetObjectCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openS3 } from '../../src/cli/s3'
import { sparePauses } from '../../src/cli/s3-body'
import { S3RawAesKeyring } from '../../src/s3'
import { rejectionOf } from '../support/expect'
import { startFaultProxy } from '../support/fault-proxy'
import { bytes } from '../support/keys'
import { CREDENTIALS } from '../support/s3-server'
import { startSmallS3 } from '../support/small-s3'

const BODY = Buffer.from(bytes(16 * 2 ** 20))
/** Milliseconds. */
const TIMEOUT = 400

async function main(): Promise<void> {
  const store = await startSmallS3()
  const proxy = await startFaultProxy({ origin: store.endpoint })
  const { endpoint } = proxy
  const Bucket = store.bucket
  store.objects.set('long', { body: BODY, etag: '"e"', metadata: {}, encryption: {} })
  const client = new S3Client({ ...store.config, endpoint, requestHandler: { socketTimeout: TIMEOUT } })
  sparePauses(client, TIMEOUT)

  test('a reader may pause', async () => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: 'long' }))
    const pieces: Buffer[] = []
    for await (const piece of Body as AsyncIterable<Buffer>) {
      if (pieces.push(piece) === 1) await setTimeout(4 * TIMEOUT)
    }
    assert.ok(Buffer.concat(pieces).equals(BODY))
  })

  test('a store may not fall silent in its answer', async () => {
    proxy.setRules([{ fault: 'half-open' }])
    // On a busy machine before its body has begun, even.
    const answer = client.send(new GetObjectCommand({ Bucket, Key: 'long' }))
    const error = (await rejectionOf(answer.then(({ Body }) => Body!.transformToByteArray()))) as Error
    proxy.setRules([])
    assert.is(error.name, 'TimeoutError')
  })

  test('clients of the command give up a silent connection, with encryption or without', async () => {
    Object.assign(process.env, {
      AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
      AWS_REGION: 'us-east-1',
    })
    const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
    for (const settings of [undefined, { keyring }]) {
      const own = await openS3({ endpointUrl: endpoint }, settings)
      await own.send(new ListObjectsV2Command({ Bucket }))
      const handler = own.config.requestHandler as unknown as { httpHandlerConfigs(): { socketTimeout?: number } }
      assert.is(handler.httpHandlerConfigs().socketTimeout, 60_000)
      own.destroy()
    }
  })

  test('the servers end', async () => {
    client.destroy()
    await proxy.close()
    await store.close()
  })
  test.run()
}

void main()
