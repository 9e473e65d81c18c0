// A KMS key and an escrow key in a vault, either of which opens every message.
const { buildClient, KmsKeyringNode, MultiKeyringNode } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { arn, fakeKms } = require('./lib/kms')
const { failure, report } = require('./lib/report')

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const { clientProvider, calls } = fakeKms()
  const kms = new KmsKeyringNode({
    generatorKeyId: arn('1'),
    keyIds: [arn('2', 'eu-west-1'), arn('3', 'ap-south-1')],
    clientProvider,
  })
  const both = new MultiKeyringNode({ generator: kms, children: [aesKeyring()] })
  const { result, messageHeader } = await encrypt(both, 'either')
  const encrypted = calls.splice(0).sort()
  const texts = []
  for (const keyring of [both, kms, aesKeyring()]) {
    texts.push((await decrypt(keyring, result)).plaintext.toString())
  }
  const noGenerator = new MultiKeyringNode({ children: [kms] })
  const discovery = new MultiKeyringNode({ generator: new KmsKeyringNode({ discovery: true, clientProvider }) })
  return {
    texts,
    edks: messageHeader.encryptedDataKeys.map(({ providerId, providerInfo }) =>
      `${providerId} ${providerInfo.slice(0, 50)}`.slice(0, 11),
    ),
    encrypted,
    decrypted: calls,
    noop: await failure(() => new MultiKeyringNode({}), 'Noop MultiKeyring is not supported.'),
    noGenerator: await failure(() => encrypt(noGenerator, 'x'), 'Only Keyrings explicitly designated as generators'),
    emptyGenerator: await failure(() => encrypt(discovery, 'x'), 'Only Keyrings explicitly designated as generators'),
    badGenerator: await failure(() => new MultiKeyringNode({ generator: {} }), 'Generator must be a Keyring'),
    badChild: await failure(() => new MultiKeyringNode({ children: [{}] }), 'Child must be a Keyring'),
    wrong: await failure(
      () => decrypt(new MultiKeyringNode({ children: [aesKeyring(9)] }), result),
      'Unable to decrypt data key',
    ),
  }
})
