// Commitment policies: which suites each of them writes and reads.
const { AlgorithmSuiteIdentifier, buildClient, CommitmentPolicy } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

report(async () => {
  const result = { bad: await failure(() => buildClient('NONE'), 'Invalid commitment policy.') }
  const messages = {}
  for (const policy of Object.values(CommitmentPolicy)) {
    const client = buildClient(policy)
    messages[policy] = (await client.encrypt(aesKeyring(), policy)).result
    const suites = Object.values(AlgorithmSuiteIdentifier).filter((id) => typeof id === 'number')
    result[`${policy} writes`] = []
    for (const suiteId of suites) {
      const outcome = await failure(
        () => client.encrypt(aesKeyring(), 'x', { suiteId }),
        'Configuration conflict. Cannot encrypt',
      )
      result[`${policy} writes`].push([suiteId, outcome])
    }
  }
  for (const policy of Object.values(CommitmentPolicy)) {
    const client = buildClient({ commitmentPolicy: policy, maxEncryptedDataKeys: false })
    result[`${policy} reads`] = []
    for (const message of Object.values(messages)) {
      const outcome = await failure(
        () => client.decrypt(aesKeyring(), message),
        'Configuration conflict.',
        'requiring only committed messages',
      )
      result[`${policy} reads`].push(outcome)
    }
  }
  return result
})
