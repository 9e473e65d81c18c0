import type { AddressInfo } from 'node:net'
import { CreateBucketCommand, S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'

export const CREDENTIALS = { accessKeyId: 'x', secretAccessKey: 'x' }

/** An S3 in this process, on loopback, with one bucket. */
export interface LocalS3 {
  readonly endpoint: string
  readonly bucket: string
  /** What clients of it need. */
  readonly config: S3ClientConfig
  readonly client: S3Client
  close(): Promise<void>
}

export async function startS3(): Promise<LocalS3> {
  const { buildApp } = await import('fauxqs')
  const app = buildApp({ logger: false })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const endpoint = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  const config = { endpoint, region: 'us-east-1', credentials: CREDENTIALS, forcePathStyle: true, maxAttempts: 1 }
  const client = new S3Client(config)
  const bucket = 'objects'
  await client.send(new CreateBucketCommand({ Bucket: bucket }))
  const close = async () => {
    client.destroy()
    await app.close()
  }
  return { endpoint, bucket, config, client, close }
}
