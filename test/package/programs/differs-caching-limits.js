// differs: they read like protection, and give none
const { getLocalCryptographicMaterialsCache, NodeCachingMaterialsManager } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

report(async () => {
  const manager = (more) => () =>
    new NodeCachingMaterialsManager({
      backingMaterials: aesKeyring(),
      cache: getLocalCryptographicMaterialsCache(10),
      maxAge: 1000,
      ...more,
    })
  const both = await failure(manager({ maxAge: 0 }))
  return {
    both: both.isError,
    capacity: await failure(() => getLocalCryptographicMaterialsCache(0)),
    age: await failure(manager({ maxAge: Number.POSITIVE_INFINITY })),
  }
})
