// Client suppliers that limit or exclude Regions, and cache clients.
const {
  buildClient,
  cacheClients,
  excludeRegions,
  getClient,
  KmsKeyringNode,
  limitRegions,
} = require('@aws-crypto/client-node')
const { arn, fakeKms } = require('./lib/kms')
const { failure, report } = require('./lib/report')

report(async () => {
  const made = []
  const { clientProvider, calls } = fakeKms()
  class Kms {
    constructor(config) {
      made.push(config)
      Object.assign(this, clientProvider(config.region))
      this.config = config
    }
  }
  const getKms = getClient(Kms, { credentials: 'those' })
  const { encrypt, decrypt } = buildClient()
  const keyIds = [arn('2', 'eu-west-1')]
  const all = new KmsKeyringNode({ generatorKeyId: arn('1'), keyIds, clientProvider: cacheClients(getKms) })
  const { result } = await encrypt(all, 'regions')
  calls.length = 0
  const open = async (supplier) => {
    const { plaintext } = await decrypt(new KmsKeyringNode({ discovery: true, clientProvider: supplier }), result)
    return [plaintext.toString(), ...calls.splice(0)]
  }
  return {
    limited: await open(limitRegions(['eu-west-1'], getKms)),
    excluded: await open(excludeRegions(['us-east-1'], getKms)),
    none: await failure(() => open(limitRegions(['ap-south-1'], getKms)), 'unencryptedDataKey has not been set'),
    refused: [limitRegions(['a'], getKms)('b'), excludeRegions(['a'], getKms)('a')],
    made: made.map(({ region, credentials }) => `${region} ${credentials}`),
    errors: [
      await failure(() => limitRegions([1], getKms), 'Can only limit on region strings'),
      await failure(() => excludeRegions([''], getKms), 'Can only exclude on region strings'),
      await failure(() => getClient(Kms)(''), 'A region is required'),
    ],
  }
})
