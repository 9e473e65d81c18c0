// differs: begin with `aws-crypto-` are refused when a message is written
const { buildClient } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

report(async () => {
  const { encrypt } = buildClient()
  const write = (key) => failure(() => encrypt(aesKeyring(), 'x', { encryptionContext: { [key]: 'value' } }))
  return { theSignature: (await write('aws-crypto-public-key')).isError, other: await write('aws-crypto-of-mine') }
})
