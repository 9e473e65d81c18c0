import { HeaderParser } from '../../src/format/message-header'
import type { ClientOptions, CommitmentPolicy, KeyringNode } from '../../src/index'
import { toMaterialsManager } from '../../src/materials/cmm'
import { requestMaterialsFor } from '../../src/message/decrypt'
import { MessageOpener } from '../../src/message/opener'
import { allocateFresh } from '../../src/message/output'
import type { Vector } from './vectors'

type Reading = Partial<Pick<Vector, 'policy' | 'options'>>

/** Opens a message that comes in pieces, with the machines that `decrypt` and the streams are made of. */
export async function openPieces(
  keyring: KeyringNode,
  pieces: Iterable<Uint8Array>,
  { policy = 'REQUIRE_ENCRYPT_ALLOW_DECRYPT', options = {} }: Reading = {},
): Promise<Buffer> {
  const { maxEncryptedDataKeys = false, maxBodySize, encryptionContext = {} } = options
  const client: ClientOptions = { commitmentPolicy: policy as CommitmentPolicy, maxEncryptedDataKeys }
  const parser = new HeaderParser(maxEncryptedDataKeys === false ? {} : { maxEncryptedDataKeys })
  const opened: Uint8Array[] = []
  let opener: MessageOpener | undefined
  for (const piece of pieces) {
    const used = opener ? 0 : parser.push(piece)
    if (!parser.header) continue
    if (!opener) {
      const cmm = toMaterialsManager(keyring)
      const material = await requestMaterialsFor(client, cmm, parser.header, encryptionContext, undefined)
      opener = new MessageOpener(parser.header, material, maxBodySize)
    }
    opened.push(...opener.update(piece.subarray(used), allocateFresh))
  }
  if (!opener) throw parser.truncated()
  opened.push(...opener.final())
  return Buffer.concat(opened)
}

/** `bytes` cut at these places, in any order; an empty piece where two are the same. */
export function cutAt(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  return ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end))
}

export function byteByByte(bytes: Uint8Array): Uint8Array[] {
  return Array.from(bytes, (byte) => Uint8Array.of(byte))
}
