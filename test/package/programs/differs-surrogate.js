// differs: Text with a lone surrogate
const { buildClient } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { report } = require('./lib/report')

report(async () => {
  const { encrypt, decrypt } = buildClient()
  try {
    const { result } = await encrypt(aesKeyring(), 'x', { encryptionContext: { key: '\ud800' } })
    return (await decrypt(aesKeyring(), result)).messageHeader.encryptionContext.key
  } catch {
    return 'refused'
  }
})
