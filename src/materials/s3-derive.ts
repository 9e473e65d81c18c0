import { utf8, wipe } from '../bytes'
import type { Engine } from '../engine/engine'
import { equalSecrets } from '../engine/equal-secrets'
import { authenticationFailed } from '../errors'

// Not the derivation of messages: there the commitment has no suite in its info, and other lengths.
const SUITE_ID = Uint8Array.of(0x00, 0x73)
const FOR_KEY = { info: Buffer.concat([SUITE_ID, utf8('DERIVEKEY')]), length: 32 }
const FOR_COMMITMENT = { info: Buffer.concat([SUITE_ID, utf8('COMMITKEY')]), length: 28 }

/** The content key and the key commitment of an S3 object of version 3. The key is the caller's to wipe. */
export function deriveObjectKey(
  engine: Engine,
  dataKey: Uint8Array,
  messageId: Uint8Array,
): { key: Uint8Array; commitment: Uint8Array } {
  const [key, commitment] = engine.hkdfPair('sha512', dataKey, messageId, FOR_KEY, FOR_COMMITMENT)
  return { key, commitment }
}

/** The same for reading: refuses, in constant time and before the key is used, a data key other than the one committed to. */
export function deriveCommittedObjectKey(
  engine: Engine,
  dataKey: Uint8Array,
  messageId: Uint8Array,
  committed: Uint8Array,
): Uint8Array {
  const { key, commitment } = deriveObjectKey(engine, dataKey, messageId)
  if (equalSecrets(commitment, committed)) return key
  wipe(key)
  throw authenticationFailed()
}
