// differs: have the key's name as `providerInfo`
const { buildClient } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { report } = require('./lib/report')

report(async () => {
  const { messageHeader } = await buildClient().encrypt(aesKeyring(), 'x')
  return messageHeader.encryptedDataKeys[0].providerInfo === 'key'
})
