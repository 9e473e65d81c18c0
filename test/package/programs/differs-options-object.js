// differs: `plaintextLength` is written into them
const { buildClient } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { report } = require('./lib/report')

report(async () => {
  const op = { encryptionContext: { a: 'b' } }
  await buildClient().encrypt(aesKeyring(), 'four', op)
  return Object.keys(op)
})
