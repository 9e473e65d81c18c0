/** One-shot calls whose input is a stream: it goes through a stream of messages as it comes, and the result is given out whole. */
import { type Duplex, pipeline, Readable } from 'node:stream'
import { wipe } from '../bytes'
import type { MessageHeader } from '../format/message-header'
import type { NodeMaterialsManager } from '../materials/cmm'
import type { KeyringNode } from '../materials/keyring'
import { checkUnread, describe } from '../options'
import { SignaturePolicy } from '../policies'
import type { ClientOptions } from './client'
import { checkDecryptOptions, type DecryptInput, type DecryptOutput } from './decrypt'
import { checkEncryptOptions, type EncryptInput, type EncryptOutput } from './encrypt'
import { bytesOfChunk, isAsyncIterable, type MessageSource } from './source'
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
  const chunks = chunksOf(plaintext, encoding, 'Unsupported plaintext')
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
  const chunks = chunksOf(ciphertext, encoding, 'Unsupported ciphertext format.')
  const opening = decryptStream(client, source, SignaturePolicy.ALLOW_ENCRYPT_ALLOW_DECRYPT, op)
  const { pieces, messageHeader } = await passThrough(ciphertext, chunks, opening)
  return { plaintext: Buffer.concat(pieces), messageHeader }
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
      wipe(...pieces)
      // Whoever iterates cannot end a source that is waited for.
      ;(source as { destroy?: () => void }).destroy?.()
      reject(error)
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

/** The chunks of a stream as bytes. Throws `TypeError` for what is no stream, or was read before, starting with `problem`. */
function chunksOf(source: unknown, encoding: BufferEncoding, problem: string): Readable {
  checkUnread(source, problem)
  const iterable = isAsyncIterable(source) ? source : isLegacyStream(source) ? new Readable().wrap(source) : undefined
  if (!iterable) {
    throw new TypeError(`${problem} Bytes, a string or a readable stream are needed, got ${describe(source)}`)
  }
  const chunks = async function* () {
    for await (const chunk of iterable) yield bytesOfChunk(chunk, encoding, problem)
  }
  return Readable.from(chunks(), { objectMode: false })
}

/** As Node.js had them before they could be iterated, and some libraries still do. */
function isLegacyStream(source: unknown): source is NodeJS.ReadableStream {
  const { on, pipe } = (source ?? {}) as Partial<NodeJS.ReadableStream>
  return typeof on === 'function' && typeof pipe === 'function'
}
