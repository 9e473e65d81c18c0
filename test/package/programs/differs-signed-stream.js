// differs: held until the signature is verified
const { setTimeout: sleep } = require('node:timers/promises')
const { buildClient } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { report } = require('./lib/report')

report(async () => {
  const { encrypt, decryptStream } = buildClient()
  const { result } = await encrypt(aesKeyring(), 'last frame')
  let released = ''
  const stream = decryptStream(aesKeyring())
  stream.on('data', (chunk) => (released += chunk))
  // The end of the signature has not come yet.
  stream.write(result.subarray(0, -20))
  await sleep(500)
  const early = released
  stream.end(result.subarray(-20))
  await new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject))
  return { early, released }
})
