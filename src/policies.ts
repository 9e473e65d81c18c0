import { SealwaxError } from './errors'
import { AlgorithmSuiteIdentifier, getSuite, type NodeAlgorithmSuite } from './suites'

/** Which suites a client writes and reads: with key commitment, without, or both. */
export enum CommitmentPolicy {
  /** Writes messages without key commitment, reads all. For fleets where some readers cannot read version 2 yet. */
  FORBID_ENCRYPT_ALLOW_DECRYPT = 'FORBID_ENCRYPT_ALLOW_DECRYPT',
  /** Writes messages with key commitment, reads all. */
  REQUIRE_ENCRYPT_ALLOW_DECRYPT = 'REQUIRE_ENCRYPT_ALLOW_DECRYPT',
  /** Writes and reads messages with key commitment only: the default. */
  REQUIRE_ENCRYPT_REQUIRE_DECRYPT = 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT',
}
Object.freeze(CommitmentPolicy)

/** Whether a reader accepts signed messages. */
export enum SignaturePolicy {
  ALLOW_ENCRYPT_ALLOW_DECRYPT = 'ALLOW_ENCRYPT_ALLOW_DECRYPT',
  ALLOW_ENCRYPT_FORBID_DECRYPT = 'ALLOW_ENCRYPT_FORBID_DECRYPT',
}
Object.freeze(SignaturePolicy)

type Suite = AlgorithmSuiteIdentifier | NodeAlgorithmSuite
type SuiteTable = Readonly<Record<string, string | AlgorithmSuiteIdentifier>>

const ALL = suiteTable(() => true)
const COMMITTING = suiteTable((suite) => suite.commitment === 'KEY')
const NON_COMMITTING = suiteTable((suite) => suite.commitment === 'NONE')
const UNSIGNED = suiteTable((suite) => !suite.signatureCurve)

const HELP = 'See: https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/troubleshooting-migration.html'

/** For each commitment policy its suites and its default one, and two checks that throw `ERR_COMMITMENT_POLICY`. */
export const CommitmentPolicySuites = Object.freeze({
  isEncryptEnabled(policy: CommitmentPolicy, suite?: Suite): void {
    if (suite === undefined) return
    const { id } = toSuite(suite)
    if (id in CommitmentPolicySuites[checkCommitmentPolicy(policy)].encryptEnabledSuites) return
    const required = policy === CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT ? 'non-committed' : 'committed'
    throw new SealwaxError(
      'ERR_COMMITMENT_POLICY',
      `Configuration conflict. Cannot encrypt due to CommitmentPolicy ${policy} requiring only ${required} messages. Algorithm ID was ${AlgorithmSuiteIdentifier[id]}. ${HELP}`,
    )
  },

  /** `messageId` in hex, for the error's text. */
  isDecryptEnabled(policy: CommitmentPolicy, suite: Suite, messageId: string): void {
    const { id } = toSuite(suite)
    if (id in CommitmentPolicySuites[checkCommitmentPolicy(policy)].decryptEnabledSuites) return
    throw new SealwaxError(
      'ERR_COMMITMENT_POLICY',
      `Configuration conflict. Cannot process message with ID ${messageId} due to CommitmentPolicy ${policy} requiring only committed messages. Algorithm ID was ${AlgorithmSuiteIdentifier[id]}. ${HELP}`,
    )
  },

  [CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT]: Object.freeze({
    encryptEnabledSuites: NON_COMMITTING,
    decryptEnabledSuites: ALL,
    defaultAlgorithmSuite: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384,
  }),
  [CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT]: Object.freeze({
    encryptEnabledSuites: COMMITTING,
    decryptEnabledSuites: ALL,
    defaultAlgorithmSuite: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
  }),
  [CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT]: Object.freeze({
    encryptEnabledSuites: COMMITTING,
    decryptEnabledSuites: COMMITTING,
    defaultAlgorithmSuite: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
  }),
})

/** For each signature policy its suites, and a check that throws `ERR_SIGNATURE_POLICY`. */
export const SignaturePolicySuites = Object.freeze({
  /** `messageId` in hex, for the error's text. */
  isDecryptEnabled(policy: SignaturePolicy, suite: Suite, messageId: string): void {
    const { id } = toSuite(suite)
    if (!Object.hasOwn(SignaturePolicy, policy)) throw new TypeError('Invalid signature policy.')
    if (id in SignaturePolicySuites[policy].decryptEnabledSuites) return
    throw new SealwaxError(
      'ERR_SIGNATURE_POLICY',
      `Configuration conflict. Cannot process message with ID ${messageId} due to client method decryptUnsignedMessageStream requiring only un-signed messages. Algorithm ID was ${AlgorithmSuiteIdentifier[id]}. ${HELP}`,
    )
  },

  [SignaturePolicy.ALLOW_ENCRYPT_ALLOW_DECRYPT]: Object.freeze({
    decryptEnabledSuites: ALL,
    defaultAlgorithmSuite: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
  }),
  [SignaturePolicy.ALLOW_ENCRYPT_FORBID_DECRYPT]: Object.freeze({
    decryptEnabledSuites: UNSIGNED,
    defaultAlgorithmSuite: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
  }),
})

/** Whether a client with this policy reads `suite`. */
export function allowsDecrypt(policy: CommitmentPolicy, suite: NodeAlgorithmSuite): boolean {
  return suite.id in CommitmentPolicySuites[policy].decryptEnabledSuites
}

/** Throws `TypeError` unless `policy` is one of {@link CommitmentPolicy}. */
export function checkCommitmentPolicy(policy: unknown): CommitmentPolicy {
  if (typeof policy === 'string' && Object.hasOwn(CommitmentPolicy, policy)) return policy as CommitmentPolicy
  throw new TypeError(
    `Invalid commitment policy. "commitmentPolicy" must be one of ${Object.keys(CommitmentPolicy).join(', ')}`,
  )
}

/** The policy under which a client may write `suite`. */
export function getCompatibleCommitmentPolicy(suite: AlgorithmSuiteIdentifier): CommitmentPolicy {
  return getSuite(suite).commitment === 'KEY'
    ? CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    : CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
}

function toSuite(suite: Suite): NodeAlgorithmSuite {
  return typeof suite === 'object' ? suite : getSuite(suite)
}

function suiteTable(accepts: (suite: NodeAlgorithmSuite) => boolean): SuiteTable {
  const table: Record<string, string | AlgorithmSuiteIdentifier> = {}
  for (const [name, id] of Object.entries(AlgorithmSuiteIdentifier)) {
    if (typeof id === 'number' && accepts(getSuite(id))) Object.assign(table, { [name]: id, [id]: name })
  }
  return Object.freeze(table)
}
