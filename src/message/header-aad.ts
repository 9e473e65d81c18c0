import { type EncryptionContext, serializeContext, splitContext } from '../encryption-context'
import type { NodeDecryptionMaterial, NodeEncryptionMaterial } from '../materials/materials'

type Material = NodeEncryptionMaterial | NodeDecryptionMaterial

/**
 * What a header's tag is over (client-apis/encrypt.md "Authentication Tag"): the header body, followed by the serialized
 * pairs that are not stored in it, which are no bytes at all where there are none.
 */
export function headerAad(
  body: Uint8Array,
  { encryptionContext, requiredEncryptionContextKeys }: Material,
): Uint8Array {
  if (requiredEncryptionContextKeys.length === 0) return body
  const [notStored] = splitContext(encryptionContext, requiredEncryptionContextKeys)
  return Buffer.concat([body, serializeContext(notStored)])
}

/** The pairs that a header stores. */
export function storedContext({
  encryptionContext,
  requiredEncryptionContextKeys,
}: Material): Readonly<EncryptionContext> {
  if (requiredEncryptionContextKeys.length === 0) return encryptionContext
  return Object.freeze(splitContext(encryptionContext, requiredEncryptionContextKeys)[1])
}
