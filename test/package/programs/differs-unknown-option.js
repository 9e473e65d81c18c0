// differs: Unknown options are a `TypeError`
const { buildClient } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

report(() => failure(() => buildClient().encrypt(aesKeyring(), 'x', { encyptionContext: { a: 'b' } })))
