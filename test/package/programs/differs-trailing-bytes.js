// differs: Bytes after the end of an unsigned message
const { buildClient } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const { result } = await encrypt(aesKeyring(), 'x', { suiteId: 0x0478 })
  return failure(() => decrypt(aesKeyring(), Buffer.concat([result, Buffer.from('more')])))
})
