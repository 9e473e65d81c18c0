// KMS clients of the AWS SDK version 2, whose calls return requests.
const { buildClient, KmsKeyringNode } = require('@aws-crypto/client-node')
const { arn, fakeKms } = require('./lib/kms')
const { report } = require('./lib/report')

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const { clientProvider, calls } = fakeKms({ sdk2: true })
  const keyring = new KmsKeyringNode({
    generatorKeyId: arn('1'),
    keyIds: [arn('2')],
    clientProvider,
    grantTokens: ['grant'],
  })
  const { result } = await encrypt(keyring, 'old clients')
  const { plaintext, messageHeader } = await decrypt(keyring, result)
  return {
    text: plaintext.toString(),
    calls,
    keys: messageHeader.encryptedDataKeys.map(({ providerId }) => providerId),
  }
})
