// differs: `maxMessagesEncrypted: 0`
const { getLocalCryptographicMaterialsCache, NodeCachingMaterialsManager } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

const cache = getLocalCryptographicMaterialsCache(10)
const input = { backingMaterials: aesKeyring(), cache, maxAge: 1000, maxMessagesEncrypted: 0 }
report(() => failure(() => new NodeCachingMaterialsManager(input)))
