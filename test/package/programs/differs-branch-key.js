// differs: not both, as one of them would be ignored
const { BranchKeyStoreNode, KmsHierarchicalKeyRingNode } = require('@aws-crypto/client-node')
const { arn } = require('./lib/kms')
const { failure, report } = require('./lib/report')

report(async () => {
  const keyStore = new BranchKeyStoreNode({
    logicalKeyStoreName: 'keys',
    storage: { ddbTableName: 'keys' },
    kmsConfiguration: { identifier: arn('1234abcd-12ab-34cd-56ef-1234567890ab') },
  })
  const input = { keyStore, cacheLimitTtl: 600 }
  const branchKeyIdSupplier = { getBranchKeyId: () => 'a' }
  return {
    one: await failure(() => new KmsHierarchicalKeyRingNode({ ...input, branchKeyId: 'a' })),
    both: await failure(() => new KmsHierarchicalKeyRingNode({ ...input, branchKeyId: 'a', branchKeyIdSupplier })),
  }
})
