// differs: spread copies of a cache
const { getLocalCryptographicMaterialsCache } = require('@aws-crypto/client-node')
const { report } = require('./lib/report')

report(async () => {
  const cache = getLocalCryptographicMaterialsCache(10)
  return [typeof cache.getEncryptionMaterial, typeof { ...cache }.getEncryptionMaterial]
})
