// differs: An RSA key that is none
const { RawRsaKeyringNode } = require('@aws-crypto/client-node')
const { failure, report } = require('./lib/report')

report(() =>
  failure(() => new RawRsaKeyringNode({ keyName: 'key', keyNamespace: 'programs', rsaKey: { publicKey: 'no PEM' } })),
)
