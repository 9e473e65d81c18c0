// differs: `unencryptedMasterKey`
const { buildClient, RawAesKeyringNode } = require('@aws-crypto/client-node')
const { failure, report } = require('./lib/report')

report(async () => {
  const key = new Uint8Array(32).fill(5)
  const input = { keyNamespace: 'programs', keyName: 'key', wrappingSuite: 0x78 }
  const keyring = new RawAesKeyringNode({ ...input, unencryptedMasterKey: key })
  const pooled = Buffer.concat([Buffer.from([0]), Buffer.alloc(32, 5)]).subarray(1)
  const { encrypt } = buildClient()
  await encrypt(keyring, 'x')
  return {
    first: key[0],
    slice: await failure(() => new RawAesKeyringNode({ ...input, unencryptedMasterKey: pooled })),
  }
})
