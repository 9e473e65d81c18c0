// Suites and policies as data.
const client = require('@aws-crypto/client-node')
const { failure, report } = require('./lib/report')

const { AlgorithmSuiteIdentifier, CommitmentPolicySuites, NodeAlgorithmSuite, SignaturePolicySuites } = client

report(async () => {
  const ids = Object.values(AlgorithmSuiteIdentifier).filter((id) => typeof id === 'number')
  const suites = ids.map((id) => Object.entries(new NodeAlgorithmSuite(id)).sort())
  const policies = Object.values(client.CommitmentPolicy).map((policy) => [
    policy,
    CommitmentPolicySuites[policy].defaultAlgorithmSuite,
    Object.values(CommitmentPolicySuites[policy].encryptEnabledSuites).map(String).sort(),
    Object.values(CommitmentPolicySuites[policy].decryptEnabledSuites).map(String).sort(),
  ])
  const signatures = Object.values(client.SignaturePolicy).map((policy) => [
    policy,
    SignaturePolicySuites[policy].defaultAlgorithmSuite,
  ])
  return {
    suites,
    policies,
    signatures,
    compatible: ids.map((id) => client.getCompatibleCommitmentPolicy(id)),
    frozen: [AlgorithmSuiteIdentifier, client.CommitmentPolicy, new NodeAlgorithmSuite(ids[0])].map(Object.isFrozen),
    unknown: (await failure(() => new NodeAlgorithmSuite(1))).isError,
  }
})
