import { type EncryptionContext, serializeContext, splitContext } from '../encryption-context'
import { IV_LENGTH } from '../format/frame'
import { ContentType, type MessageHeader } from '../format/message-header'
import type { NodeDecryptionMaterial, NodeEncryptionMaterial } from '../materials/materials'
import type { NodeAlgorithmSuite } from '../suites'

type Material = NodeEncryptionMaterial | NodeDecryptionMaterial

/** What the headers of messages under the same materials have in common. */
export type HeaderFields = Pick<MessageHeader, 'encryptionContext' | 'encryptedDataKeys' | 'frameLength'>

export function headerFields(material: NodeEncryptionMaterial, frameLength: number): HeaderFields {
  const encryptedDataKeys = Object.freeze(material.encryptedDataKeys)
  return { encryptionContext: storedContext(material), encryptedDataKeys, frameLength }
}

/** The header of one framed message; it keeps `messageId` and `commitment`, which only suites that commit have. */
export function newHeader(
  { id: suiteId, messageFormat }: NodeAlgorithmSuite,
  { encryptionContext, encryptedDataKeys, frameLength }: HeaderFields,
  messageId: Buffer,
  commitment: Buffer,
): MessageHeader {
  const contentType = ContentType.FRAMED_DATA
  const fields = { suiteId, messageId, encryptionContext, encryptedDataKeys, contentType, frameLength }
  return Object.freeze<MessageHeader>(
    messageFormat === 2
      ? { ...fields, version: 2, suiteData: commitment }
      : { ...fields, version: 1, type: 0x80, headerIvLength: IV_LENGTH },
  )
}

/**
 * What a header's tag is over (client-apis/encrypt.md "Authentication Tag"): the header body, followed by the serialized
 * pairs that are not stored in it, which are no bytes at all where there are none.
 */
export function headerAad(body: Uint8Array, material: Material): Uint8Array {
  return material.requiredEncryptionContextKeys.length === 0 ? body : Buffer.concat([body, unstoredContext(material)])
}

/** The pairs that are authenticated with a header, but not stored in it, serialized. */
export function unstoredContext({ encryptionContext, requiredEncryptionContextKeys }: Material): Uint8Array {
  if (requiredEncryptionContextKeys.length === 0) return NOTHING
  return serializeContext(splitContext(encryptionContext, requiredEncryptionContextKeys)[0])
}

/** The pairs that a header stores. */
function storedContext({ encryptionContext, requiredEncryptionContextKeys }: Material): Readonly<EncryptionContext> {
  if (requiredEncryptionContextKeys.length === 0) return encryptionContext
  return Object.freeze(splitContext(encryptionContext, requiredEncryptionContextKeys)[1])
}

const NOTHING = new Uint8Array(0)
