// Objects in S3, encrypted before they leave and authenticated before they are read. The client is the AWS SDK's, and so are
// its commands. `node examples/s3.mjs bucket key-arn`, with AWS credentials as every SDK finds them.
import { fileURLToPath } from 'node:url'
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { S3EncryptionClient, S3KmsKeyring } from 'sealwax/s3'

/** Uploads a text and downloads it again; `config` is that of any `S3Client`. */
export async function uploadAndDownload(config, keyring, Bucket, text) {
  const client = new S3EncryptionClient(config, { keyring })
  const Key = 'reports/2026.txt'
  const EncryptionContext = { department: 'sales' } // public, and needed again to read
  try {
    await client.send(new PutObjectCommand({ Bucket, Key, Body: text, EncryptionContext }))
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key, EncryptionContext }))
    return await Body.transformToString()
  } finally {
    client.destroy()
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [bucket, keyId] = process.argv.slice(2)
  console.log(await uploadAndDownload({}, new S3KmsKeyring({ keyId }), bucket, 'figures of the year'))
}
