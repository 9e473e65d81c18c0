// differs: Clients and message headers | can be written to
const { buildClient } = require('@aws-crypto/client-node')
const { report } = require('./lib/report')

report(async () => {
  const client = buildClient()
  return [Object.isFrozen(client), Object.isFrozen({ ...client, encrypt: async () => 'stub' })]
})
