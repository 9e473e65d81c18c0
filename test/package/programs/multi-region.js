// Multi-Region keys: written in one Region, read in another.
const {
  AwsKmsMrkAwareSymmetricDiscoveryKeyringNode,
  AwsKmsMrkAwareSymmetricKeyringNode,
  buildAwsKmsMrkAwareDiscoveryMultiKeyringNode,
  buildAwsKmsMrkAwareStrictMultiKeyringNode,
  buildClient,
  MultiKeyringNode,
} = require('@aws-crypto/client-node')
const { arn, fakeKms } = require('./lib/kms')
const { failure, report } = require('./lib/report')

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const { clientProvider, calls } = fakeKms()
  const strict = (region) =>
    buildAwsKmsMrkAwareStrictMultiKeyringNode({ generatorKeyId: arn('mrk-1', region), clientProvider })
  const { result } = await encrypt(strict('us-east-1'), 'everywhere')
  const keyrings = {
    strict: strict('eu-west-1'),
    discovery: buildAwsKmsMrkAwareDiscoveryMultiKeyringNode({ regions: ['ap-south-1'], clientProvider }),
    one: new AwsKmsMrkAwareSymmetricKeyringNode({
      client: clientProvider('sa-east-1'),
      keyId: arn('mrk-1', 'sa-east-1'),
    }),
    discoveryOne: new AwsKmsMrkAwareSymmetricDiscoveryKeyringNode({
      client: clientProvider('eu-north-1'),
      discoveryFilter: { accountIDs: ['111122223333'], partition: 'aws' },
    }),
  }
  const opened = {}
  for (const [name, keyring] of Object.entries(keyrings)) {
    calls.length = 0
    const { plaintext } = await decrypt(keyring, result)
    opened[name] = [plaintext.toString(), ...calls]
  }
  const other = new AwsKmsMrkAwareSymmetricKeyringNode({
    client: clientProvider('eu-west-1'),
    keyId: arn('mrk-2', 'eu-west-1'),
  })
  return {
    opened,
    isMulti: keyrings.strict instanceof MultiKeyringNode,
    other: await failure(() => decrypt(other, result), 'unencryptedDataKey has not been set'),
    noRegion: (await failure(() => buildAwsKmsMrkAwareDiscoveryMultiKeyringNode({ regions: [] }))).isError,
  }
})
