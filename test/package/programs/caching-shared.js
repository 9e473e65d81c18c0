// One cache for two managers: the partition decides whether they share materials.
const {
  buildClient,
  getLocalCryptographicMaterialsCache,
  KmsKeyringNode,
  NodeCachingMaterialsManager,
} = require('@aws-crypto/client-node')
const { arn, fakeKms } = require('./lib/kms')
const { report } = require('./lib/report')

report(async () => {
  const { encrypt } = buildClient()
  const counts = {}
  for (const partitions of [['same', 'same'], ['one', 'two'], []]) {
    const { calls, clientProvider } = fakeKms()
    const backingMaterials = new KmsKeyringNode({ generatorKeyId: arn('1'), clientProvider })
    const cache = getLocalCryptographicMaterialsCache(100)
    for (const partition of [partitions[0], partitions[1]]) {
      const input = { backingMaterials, cache, maxAge: 60_000, ...(partition && { partition }) }
      const cmm = new NodeCachingMaterialsManager(input)
      await encrypt(cmm, 'one')
      await encrypt(cmm, 'two')
    }
    counts[partitions.join()] = calls.length
  }
  return counts
})
