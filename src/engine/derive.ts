import { ByteWriter, copySecret, utf8, wipe } from '../bytes'
import { authenticationFailed } from '../errors'
import type { NodeAlgorithmSuite } from '../suites'
import type { Engine } from './engine'
import { equalSecrets } from './equal-secrets'

const DERIVE_KEY = utf8('DERIVEKEY')
const COMMIT_KEY = utf8('COMMITKEY')
const NO_SALT = new Uint8Array(0)

/** The derived key of a message and, for committing suites, the commitment that its header carries. */
export interface MessageKeys {
  /** A secret of the caller's, to be wiped after the message. */
  readonly key: Uint8Array
  readonly commitment?: Uint8Array
}

/**
 * Derives what one message is sealed with (algorithm-suites.md "Key Derivation", "Key Commitment"):
 * the data key itself for the oldest suites, else HKDF bound to suite and message ID.
 */
export function deriveMessageKeys(
  engine: Engine,
  suite: NodeAlgorithmSuite,
  dataKey: Uint8Array,
  messageId: Uint8Array,
): MessageKeys {
  if (!suite.kdfHash) return { key: copySecret(dataKey) }
  const id = new ByteWriter(2).u16(suite.id).bytes
  if (suite.commitment === 'NONE') {
    const info = Buffer.concat([id, messageId])
    return { key: engine.hkdf(suite.kdfHash, dataKey, NO_SALT, info, suite.keyLengthBytes) }
  }
  const forKey = { info: Buffer.concat([id, DERIVE_KEY]), length: suite.keyLengthBytes }
  const forCommitment = { info: COMMIT_KEY, length: suite.suiteDataLength! }
  const [key, commitment] = engine.hkdfPair(suite.kdfHash, dataKey, messageId, forKey, forCommitment)
  return { key, commitment }
}

/** The same for reading: refuses, in constant time and before the key is used, a data key other than the one committed to. */
export function deriveCommittedKey(
  engine: Engine,
  suite: NodeAlgorithmSuite,
  dataKey: Uint8Array,
  messageId: Uint8Array,
  suiteData: Uint8Array,
): Uint8Array {
  const { key, commitment } = deriveMessageKeys(engine, suite, dataKey, messageId)
  if (commitment === undefined || equalSecrets(commitment, suiteData)) return key
  wipe(key)
  throw authenticationFailed()
}
