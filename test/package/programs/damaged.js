// Messages that were cut or changed on the way never open, not even in part.
const { buildClient } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const outcomes = {}
  for (const suiteId of [0x0478, 0x0578]) {
    const { result } = await encrypt(aesKeyring(), Buffer.alloc(100, 'x'), { suiteId, frameLength: 30 })
    let cut = 0
    let changed = 0
    const lengths = Array.from({ length: result.length }, (_, i) => i).filter((i) => i % 11 === 0)
    for (const at of lengths) {
      if ((await failure(() => decrypt(aesKeyring(), result.subarray(0, at)))).isError) cut++
      const copy = Buffer.from(result)
      copy[at] ^= 0x40
      if ((await failure(() => decrypt(aesKeyring(), copy))).isError) changed++
    }
    outcomes[suiteId] = [cut === lengths.length, changed === lengths.length]
  }
  return outcomes
})
