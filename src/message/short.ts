/**
 * Short messages: each sealed or opened whole by one engine call, and many under the same data key by one call too.
 * {@link MessageSealer} and {@link MessageOpener} do the same in steps, for what is long or comes piece by piece.
 */
import { readU16, wipe } from '../bytes'
import { signBytes, verifyBytes } from '../engine/ecdsa'
import { getEngine, type MessageRun } from '../engine/engine'
import { COMMITMENT_LENGTH, maxMessagePlaintext, messageLength } from '../format/header-layout'
import { FOOTER_HEADER_LENGTH, serializeFooter } from '../format/message-footer'
import { ContentType, type ParsedHeader, serializeHeaderBody } from '../format/message-header'
import { dataKeyOf, type NodeDecryptionMaterial, type NodeEncryptionMaterial } from '../materials/materials'
import type { EncryptOutput } from './encrypt'
import { headerFields, newHeader, unstoredContext } from './header'

/** Longer messages gain nothing from one call: theirs are spread over the cores frame by frame. */
export const SHORT_LENGTH = 64 * 1024
/** A message this small may lie in the pool that small buffers share: it is not secret. */
const SMALL = 4096

/** Seals each plaintext as a message of its own. They share the materials, which stay their owner's, and memory. */
export async function sealShort(
  material: NodeEncryptionMaterial,
  frameLength: number,
  plaintexts: readonly Uint8Array[],
): Promise<EncryptOutput[]> {
  const { suite, signatureKey } = material
  const engine = getEngine()
  const count = plaintexts.length
  const idLength = suite.messageFormat === 1 ? 16 : 32
  const own = Buffer.allocUnsafe(count * (idLength + COMMITMENT_LENGTH))
  const messageIds = own.subarray(0, count * idLength)
  engine.randomFill(messageIds)

  const fields = headerFields(material, frameLength)
  const headers = plaintexts.map((_, i) =>
    newHeader(
      suite,
      fields,
      messageIds.subarray(i * idLength, (i + 1) * idLength),
      own.subarray(count * idLength + i * COMMITMENT_LENGTH, count * idLength + (i + 1) * COMMITMENT_LENGTH),
    ),
  )
  const header = serializeHeaderBody(headers[0]!)
  const run = { suite, dataKey: dataKeyOf(material), header, unstored: unstoredContext(material), frameLength }
  let length = 0
  for (const plaintext of plaintexts) length += messageLength(run, plaintext.length)
  const out = length < SMALL ? Buffer.allocUnsafe(length) : engine.allocate(length)
  engine.sealMessages(run, messageIds, plaintexts, out)

  let start = 0
  const outputs = headers.map((messageHeader, i) => {
    const end = start + messageLength(run, plaintexts[i]!.length)
    const message = out.subarray(start, end)
    start = end
    if (messageHeader.version === 2) {
      messageHeader.suiteData.set(message.subarray(header.length - COMMITMENT_LENGTH, header.length))
    }
    return { result: message, messageHeader }
  })
  if (!signatureKey) return outputs
  return await Promise.all(
    outputs.map(async ({ result, messageHeader }) => {
      const signature = await signBytes(suite.signatureHash!, signatureKey.privateKey, result)
      return { result: Buffer.concat([result, serializeFooter(signature)]), messageHeader }
    }),
  )
}

/** Whether {@link openShort} takes messages with this header. */
export function isShort({ messageHeader }: ParsedHeader, length: number, maxBodySize: number): boolean {
  const { contentType, frameLength } = messageHeader
  return length <= SHORT_LENGTH && contentType === ContentType.FRAMED_DATA && frameLength <= maxBodySize
}

/**
 * The plaintexts of whole messages whose headers differ from `header` in message ID and commitment at most, in memory
 * that they share. Undefined for those that are not authentic, whole and nothing more: {@link MessageOpener} says why.
 */
export async function openShort(
  header: ParsedHeader,
  material: NodeDecryptionMaterial,
  messages: readonly Uint8Array[],
): Promise<(Buffer | undefined)[]> {
  const { suite, body, messageHeader } = header
  const { frameLength } = messageHeader
  const run = { suite, dataKey: dataKeyOf(material), header: body, unstored: unstoredContext(material), frameLength }
  let length = 0
  for (const message of messages) length += maxMessagePlaintext(run, message.length)
  // Memory of its own: plaintext does not belong in the pool that other buffers share.
  const out = getEngine().allocate(length)
  const opened = getEngine().openMessages(run, messages, out)
  let good: readonly (boolean | Promise<boolean>)[]
  try {
    const ends = opened.map((one, i) => one !== undefined && endsWell(run, material, messages[i]!, one.used))
    good = material.verificationKey ? await Promise.all(ends) : ends
  } catch (error) {
    wipe(out)
    throw error
  }
  // What else lies in the memory is not for who gets a plaintext, and its buffer.
  let start = 0
  for (const [i, message] of messages.entries()) {
    const end = start + maxMessagePlaintext(run, message.length)
    out.fill(0, start + (opened[i]?.plaintext.length ?? 0), end)
    start = end
  }
  return opened.map((one, i) => {
    if (!one) return undefined
    const { buffer, byteOffset, length } = one.plaintext
    if (good[i]) return Buffer.from(buffer, byteOffset, length)
    wipe(one.plaintext)
    return undefined
  })
}

/** Nothing follows the frames but, in signed suites, one signature that is theirs. */
function endsWell(
  { suite }: MessageRun,
  { verificationKey }: NodeDecryptionMaterial,
  message: Uint8Array,
  used: number,
): boolean | Promise<boolean> {
  if (!verificationKey) return used === message.length
  const start = used + FOOTER_HEADER_LENGTH
  // Where the message ends before it, the length is no number and equals none.
  if (message.length !== start + readU16(message, used)) return false
  const signature = message.subarray(start)
  return verifyBytes(suite.signatureHash!, verificationKey.publicKey, message.subarray(0, used), signature)
}
