// Discovery keyrings, with and without a filter.
const { buildClient, KmsKeyringNode } = require('@aws-crypto/client-node')
const { arn, fakeKms } = require('./lib/kms')
const { failure, report } = require('./lib/report')

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const { clientProvider, calls } = fakeKms()
  const keyring = (input) => new KmsKeyringNode({ discovery: true, clientProvider, ...input })
  const writer = new KmsKeyringNode({
    generatorKeyId: arn('1'),
    keyIds: [arn('2', 'eu-west-1', '444455556666')],
    clientProvider,
  })
  const { result } = await encrypt(writer, 'discovered')
  calls.length = 0
  const open = async (input) => {
    const { plaintext } = await decrypt(keyring(input), result)
    return [plaintext.toString(), ...calls.splice(0)]
  }
  const filter = (accountIDs, partition = 'aws') => ({ discoveryFilter: { accountIDs, partition } })
  const refused = (input) => failure(() => decrypt(keyring(input), result), 'unencryptedDataKey has not been set')
  const wrong = (input, text) => failure(() => new KmsKeyringNode({ clientProvider, ...input }), text)
  return {
    any: await open({}),
    second: await open(filter(['444455556666'])),
    none: await refused(filter(['999999999999'])),
    partition: await refused(filter(['111122223333'], 'aws-cn')),
    calls,
    encrypt: await failure(() => encrypt(keyring({}), 'x'), 'unencryptedDataKey has not been set'),
    errors: [
      await wrong({}, 'Noop keyring is not allowed: Set a keyId or discovery'),
      await wrong(
        { discovery: true, keyIds: [arn('1')] },
        'A keyring can be either a Discovery or have keyIds configured.',
      ),
      await wrong({ keyIds: [arn('1')], ...filter(['1']) }, 'only supported when discovery === true'),
      await wrong({ discovery: true, ...filter([]) }, 'A discovery filter must be able to match something.'),
      await wrong({ keyIds: ['arn:aws:s3:::x'] }, 'Malformed arn.'),
    ],
  }
})
