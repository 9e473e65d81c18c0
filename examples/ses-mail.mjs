// An AWS Lambda function that reads mail which Amazon SES has received, encrypted with an AWS KMS key and stored in S3. SES writes
// as the S3 Encryption Clients of ten years ago did: data keys wrapped as `kms`, without key commitment. Reading that is
// allowed here, in the one program that needs it; nothing is written.
import { GetObjectCommand } from '@aws-sdk/client-s3'
import { CommitmentPolicy, S3EncryptionClient, S3KmsKeyring } from 'sealwax/s3'

/** The handler; `receive` takes a mail as bytes. `config` and `clientProvider` are for tests. */
export function mailReader(keyId, receive, config = {}, clientProvider = undefined) {
  const client = new S3EncryptionClient(config, {
    keyring: new S3KmsKeyring({ keyId, clientProvider }),
    commitmentPolicy: CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT,
    enableLegacyWrappingAlgorithms: true,
  })
  return async ({ Records }) => {
    for (const { s3 } of Records) {
      const Key = decodeURIComponent(s3.object.key.replaceAll('+', ' '))
      const { Body } = await client.send(new GetObjectCommand({ Bucket: s3.bucket.name, Key }))
      await receive(await Body.transformToByteArray())
    }
  }
}
