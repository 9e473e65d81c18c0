// differs: Chunks of a decrypting stream
const { once } = require('node:events')
const { buildClient, RawAesKeyringNode, RawAesWrappingSuiteIdentifier } = require('@aws-crypto/client-node')
const { report } = require('./lib/report')

report(async () => {
  const keyring = new RawAesKeyringNode({
    keyNamespace: 'n',
    keyName: 'k',
    unencryptedMasterKey: new Uint8Array(32).fill(7),
    wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })
  const { encrypt, decryptStream } = buildClient()
  const { result } = await encrypt(keyring, Buffer.alloc(35), { frameLength: 10 })
  const stream = decryptStream(keyring)
  const lengths = []
  stream.on('data', (chunk) => lengths.push(chunk.length))
  stream.end(result)
  await once(stream, 'end')
  return lengths
})
