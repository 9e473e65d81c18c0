// A large object of S3, downloaded in parallel ranges: the file appears once all of it is verified, or not at all.
// `node examples/s3-download.mjs bucket key file key-arn`, with AWS credentials as every SDK finds them. Ctrl+C leaves nothing.
import { fileURLToPath } from 'node:url'
import { describeObject, downloadObject, S3EncryptionClient, S3KmsKeyring } from 'sealwax/s3'

/** Downloads an object to a file, and tells what protects it; `config` is that of any `S3Client`. */
export async function download(config, keyring, object, file, signal, show) {
  const client = new S3EncryptionClient(config, { keyring })
  try {
    const onProgress = ({ loaded, total }) => show(`${Math.floor((100 * loaded) / total)} %`)
    await downloadObject(client, { ...object, concurrency: 8, signal, onProgress }, file)
    const { clientSide, serverSide } = await describeObject(client, object)
    show(`format ${clientSide.formatVersion}, ${clientSide.wrapAlgorithm}; in the store: ${serverSide.mode}`)
  } finally {
    client.destroy()
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [Bucket, Key, file, keyId] = process.argv.slice(2)
  const controller = new AbortController()
  process.once('SIGINT', () => controller.abort())
  await download({}, new S3KmsKeyring({ keyId }), { Bucket, Key }, file, controller.signal, console.log)
}
