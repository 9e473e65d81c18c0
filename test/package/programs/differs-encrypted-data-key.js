// differs: Spread and cloned encrypted data keys
const { EncryptedDataKey } = require('@aws-crypto/client-node')
const { report } = require('./lib/report')

report(async () => {
  const edk = new EncryptedDataKey({ providerId: 'p', providerInfo: 'i', encryptedDataKey: Uint8Array.of(1, 2) })
  return [Object.keys({ ...edk }).sort(), Object.keys(structuredClone(edk)).sort(), edk.encryptedDataKey.length]
})
