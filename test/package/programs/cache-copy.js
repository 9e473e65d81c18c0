// A copy of a cache that counts, and a function of a cache by itself.
const {
  buildClient,
  getLocalCryptographicMaterialsCache,
  NodeCachingMaterialsManager,
} = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { report } = require('./lib/report')

report(async () => {
  const local = getLocalCryptographicMaterialsCache(10)
  let hits = 0
  const cache = {
    ...local,
    getEncryptionMaterial(...args) {
      const entry = local.getEncryptionMaterial(...args)
      if (entry) hits++
      return entry
    },
  }
  const cmm = new NodeCachingMaterialsManager({ backingMaterials: aesKeyring(), cache, maxAge: 60_000 })
  const { encrypt, decrypt } = buildClient()
  const texts = []
  for (const text of ['one', 'two', 'three']) {
    const { result } = await encrypt(cmm, text)
    texts.push((await decrypt(cmm, result)).plaintext.toString())
  }
  const { del, getDecryptionMaterial } = local
  return {
    texts,
    hits,
    names: Object.keys(local).sort(),
    deleted: del('x') === undefined,
    found: getDecryptionMaterial('x'),
  }
})
