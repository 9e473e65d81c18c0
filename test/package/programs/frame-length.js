// Frame lengths, and how long messages become.
const { buildClient } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const lengths = []
  for (const frameLength of [1, 9, 10, 11, 4096, 65536, 2 ** 32 - 1]) {
    for (const length of [0, 10, 20]) {
      const { result, messageHeader } = await encrypt(aesKeyring(), Buffer.alloc(length, 1), {
        frameLength,
        suiteId: 0x0478,
      })
      const { plaintext } = await decrypt(aesKeyring(), result)
      lengths.push([frameLength, messageHeader.frameLength, length, result.length, plaintext.length])
    }
  }
  const wrong = (frameLength) => failure(() => encrypt(aesKeyring(), 'x', { frameLength }), 'frameLength out of bounds')
  return { lengths, wrong: [await wrong(0), await wrong(-1), await wrong(2 ** 32)] }
})
