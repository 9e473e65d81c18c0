// A Cognito custom SMS sender: the one-time code arrives encrypted, in base64.
const { buildClient, CommitmentPolicy, KmsKeyringNode } = require('@aws-crypto/client-node')
const { arn, fakeKms } = require('./lib/kms')
const { report } = require('./lib/report')

const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT)
const { clientProvider, calls } = fakeKms()
const keyring = new KmsKeyringNode({ generatorKeyId: 'alias/cognito', keyIds: [arn('1')], clientProvider })

const handler = async (event) => {
  let plainTextCode
  if (event.request.code) {
    const { plaintext } = await decrypt(keyring, Buffer.from(event.request.code, 'base64'))
    plainTextCode = plaintext.toString('utf-8')
  }
  return { trigger: event.triggerSource, phone: event.request.userAttributes.phone_number, code: plainTextCode }
}

report(async () => {
  const cognito = new KmsKeyringNode({ generatorKeyId: arn('1'), clientProvider })
  const { result } = await encrypt(cognito, '123456', { encryptionContext: { 'userpool-id': 'eu-west-1_a' } })
  const sent = await handler({
    triggerSource: 'CustomSMSSender_SignUp',
    request: { code: result.toString('base64'), userAttributes: { phone_number: '+15555550100' } },
  })
  return { sent, calls }
})
