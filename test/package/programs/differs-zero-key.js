// differs: An all-zero AES wrapping key
const { buildClient, RawAesKeyringNode } = require('@aws-crypto/client-node')
const { failure, report } = require('./lib/report')

report(async () =>
  failure(async () => {
    const unencryptedMasterKey = new Uint8Array(32)
    const input = { keyNamespace: 'programs', keyName: 'key', wrappingSuite: 0x78, unencryptedMasterKey }
    await buildClient().encrypt(new RawAesKeyringNode(input), 'x')
  }),
)
