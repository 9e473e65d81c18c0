// differs: Methods of `NodeCachingMaterialsManager`
const { getLocalCryptographicMaterialsCache, NodeCachingMaterialsManager } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { report } = require('./lib/report')

report(async () => {
  class Counting extends NodeCachingMaterialsManager {
    decryptMaterials() {
      return 'overridden'
    }
  }
  const cache = getLocalCryptographicMaterialsCache(10)
  const cmm = new Counting({ backingMaterials: aesKeyring(), cache, maxAge: 1000 })
  return [typeof { ...cmm }.decryptMaterials, cmm.decryptMaterials === Counting.prototype.decryptMaterials]
})
