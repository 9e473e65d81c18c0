/**
 * The footer of a signed message (data-format/message-footer.md): u16 length || DER ECDSA signature.
 * It ends the message.
 */
import { ByteWriter, readU16 } from '../bytes'
import { malformed } from '../errors'

/** Bytes of a footer before the signature. */
export const FOOTER_HEADER_LENGTH = 2

/** A DER signature over P-384 takes at most 104 bytes; anything much longer is refused before it is awaited. */
export const MAX_SIGNATURE_LENGTH = 512

export function serializeFooter(signature: Uint8Array): Uint8Array {
  return new ByteWriter(FOOTER_HEADER_LENGTH + signature.length).u16(signature.length).put(signature).bytes
}

/** The signature's length, from the first FOOTER_HEADER_LENGTH bytes. */
export function parseFooterHeader(header: Uint8Array): number {
  const length = readU16(header, 0)
  if (length === 0 || length > MAX_SIGNATURE_LENGTH) {
    throw malformed(`Invalid Signature. A signature of ${length} bytes`)
  }
  return length
}
