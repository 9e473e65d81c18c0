/** One-shot calls whose input is a stream: it goes through a stream of messages as it comes, and the result is given out whole. */
import { type Duplex, pipeline, Readable } from 'node:stream'
import { wipe } from '../bytes'
import type { MessageHeader } from '../format/message-header'
import type { NodeMaterialsManager } from '../materials/cmm'
import type { KeyringNode } from '../materials/keyring'
import { SignaturePolicy } from '../policies'
import type { ClientOptions } from './client'
import { checkDecryptOptions, type DecryptInput, type DecryptOutput } from './decrypt'
import { checkEncryptOptions, type EncryptInput, type EncryptOutput } from './encrypt'
import { bytesOfChunks, chunksOf, endSource, type MessageSource } from './source'
import { decryptStream, encryptStream } from './streams'

type Source = KeyringNode | NodeMaterialsManager

/** Materials are asked for at once, with the length that the options tell; what is wrong ends the source. */
export async function encryptFromStream(
  client: Readonly<ClientOptions>,
  source: Source,
  plaintext: MessageSource,
  op: EncryptInput | undefined,
): Promise<EncryptOutput> {
  const { encoding } = checkEncryptOptions(client, op)
  const chunks = readableOf(plaintext, encoding, 'Unsupported plaintext.')
  const { pieces, messageHeader } = await passThrough(plaintext, chunks, encryptStream(client, source, op))
  return { result: Buffer.concat(pieces), messageHeader }
}

/** The header is read and the keys asked for as soon as they come: a source that is no message, or for others, is not read on. */
export async function decryptFromStream(
  client: Readonly<ClientOptions>,
  source: Source,
  ciphertext: MessageSource,
  op: DecryptInput | undefined,
): Promise<DecryptOutput> {
  const { encoding } = checkDecryptOptions(op)
  const chunks = readableOf(ciphertext, encoding, 'Unsupported ciphertext format.')
  const opening = decryptStream(client, source, SignaturePolicy.ALLOW_ENCRYPT_ALLOW_DECRYPT, op)
  const { pieces, messageHeader } = await passThrough(ciphertext, chunks, opening)
  // Memory of its own: Node.js joins short pieces in its shared pool.
  let length = 0
  for (const piece of pieces) length += piece.length
  const plaintext = Buffer.allocUnsafeSlow(length)
  let at = 0
  for (const piece of pieces) {
    at += piece.copy(plaintext, at)
    wipe(piece)
  }
  return { plaintext, messageHeader }
}

/** All that comes out of a stream of a message, once it has ended well; what came before it failed is wiped. */
function passThrough(
  source: MessageSource,
  chunks: Readable,
  stream: Duplex,
): Promise<{ readonly pieces: readonly Buffer[]; readonly messageHeader: MessageHeader }> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = []
    let messageHeader: MessageHeader | undefined
    const fail = (error: unknown) => {
      for (const piece of pieces) wipe(piece)
      reject(error)
      endSource(source)
    }
    stream.once('MessageHeader', (header: MessageHeader) => (messageHeader = header))
    stream.on('data', (piece: Buffer) => void pieces.push(piece))
    stream.once('end', () => resolve({ pieces, messageHeader: messageHeader! }))
    // Not only when the source hears of it, which may be busy.
    stream.once('error', fail)
    pipeline(chunks, stream, (error) => {
      if (error) fail(error)
    })
  })
}

/** The chunks of a stream as bytes. */
function readableOf(source: MessageSource, encoding: BufferEncoding, problem: string): Readable {
  const chunks = chunksOf(source, problem)
  return Readable.from(bytesOfChunks(chunks, encoding, problem), { objectMode: false })
}
