/** What the AWS Encryption CLI writes about each operation: a line of JSON, members sorted. */
import { closeSync, open } from 'node:fs'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import type { AlgorithmSuiteIdentifier, EncryptedDataKey, MessageHeader } from '../index'
import { naming, type Path, quote } from './errors'
import { idOf, statsOf } from './file-id'
import { refuseSecretFile } from './secret-files'
import { writer } from './sink'

export interface Operation {
  readonly mode: string
  readonly input: Path
  readonly output: Path
  readonly header: MessageHeader
  /** The start of the message, with its whole header; of decryption only. */
  readonly message?: Buffer
  readonly missing?: { keys: string[]; pairs: [string, string][] }
}

export class MetadataWriter {
  readonly #fd: number | undefined
  readonly #name: string
  #last: Promise<void> = Promise.resolve()

  private constructor(fd?: number, name = '') {
    this.#fd = fd
    this.#name = name
  }

  /** To a file, which it appends to or replaces, or `-` for standard output; `undefined` for nowhere. */
  static async open(path: string | undefined, replace: boolean): Promise<MetadataWriter> {
    if (path === undefined) return new MetadataWriter()
    const name = path === '-' ? 'standard output' : quote(path)
    return await naming(name, 'write', async () => {
      refuseSecretFile(idOf(statsOf(path === '-' ? 1 : path)), name)
      // A pipe may have nobody who reads it.
      const fd = path === '-' ? 1 : await promisify(open)(path, replace ? 'w' : 'a')
      return new MetadataWriter(fd, name)
    })
  }

  /** All of a line, after those before it; whoever reads a pipe may take long. */
  async write({ mode, input, output, header, message, missing }: Operation): Promise<void> {
    if (this.#fd === undefined) return
    const line = {
      header: headerOf(header),
      ...(message && { header_auth: authOf(header, message) }),
      input: input === '-' ? '<stdin>' : resolve(input.toString()),
      ...(missing && {
        missing_encryption_context_keys: missing.keys,
        missing_encryption_context_pairs: missing.pairs,
      }),
      mode,
      output: output === '-' ? '<stdout>' : resolve(output.toString()),
      ...(missing && { reason: 'Missing encryption context key or value', skipped: true }),
    }
    const write = writer(this.#fd, this.#name)
    const written = this.#last.then(() => write(Buffer.from(`${JSON.stringify(line)}\n`)))
    this.#last = written.catch(() => {})
    await written
  }

  async close(): Promise<void> {
    await this.#last
    if (this.#fd !== undefined && this.#fd > 2) closeSync(this.#fd)
  }
}

/** The names that the SDK for Python has for suites. */
export const ALGORITHMS: Readonly<Record<string, AlgorithmSuiteIdentifier>> = {
  AES_128_GCM_IV12_TAG16: 0x0014,
  AES_192_GCM_IV12_TAG16: 0x0046,
  AES_256_GCM_IV12_TAG16: 0x0078,
  AES_128_GCM_IV12_TAG16_HKDF_SHA256: 0x0114,
  AES_192_GCM_IV12_TAG16_HKDF_SHA256: 0x0146,
  AES_256_GCM_IV12_TAG16_HKDF_SHA256: 0x0178,
  AES_128_GCM_IV12_TAG16_HKDF_SHA256_ECDSA_P256: 0x0214,
  AES_192_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384: 0x0346,
  AES_256_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384: 0x0378,
  AES_256_GCM_HKDF_SHA512_COMMIT_KEY: 0x0478,
  AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384: 0x0578,
}

function headerOf(header: MessageHeader) {
  const edks = header.encryptedDataKeys.map((edk) => ({ edk, ...partsOf(edk) }))
  edks.sort((a, b) => Buffer.compare(Buffer.concat([a.id, a.info]), Buffer.concat([b.id, b.info])))
  return {
    algorithm: Object.entries(ALGORITHMS).find(([, id]) => id === header.suiteId)![0],
    commitment_key: header.version === 2 ? base64(header.suiteData) : null,
    content_type: header.contentType,
    encrypted_data_keys: edks.map(({ edk, id, info }) => ({
      encrypted_data_key: base64(edk.encryptedDataKey),
      key_provider: { key_info: base64(info), provider_id: base64(id) },
    })),
    encryption_context: Object.fromEntries(Object.entries(header.encryptionContext).sort(byName)),
    frame_length: header.frameLength,
    header_iv_length: header.version === 1 ? header.headerIvLength : null,
    message_id: base64(header.messageId),
    type: header.version === 1 ? header.type : null,
    version: `${header.version}.0`,
  }
}

/** IV and tag, which end the header; in version 2 the IV is all zeros, and not written. */
function authOf(header: MessageHeader, message: Buffer): { iv: string; tag: string } {
  const ivLength = header.version === 1 ? 12 : 0
  const at = headerBodyLength(header, message)
  const iv = ivLength > 0 ? message.subarray(at, at + ivLength) : new Uint8Array(12)
  return { iv: base64(iv), tag: base64(message.subarray(at + ivLength, at + ivLength + 16)) }
}

function headerBodyLength({ version, encryptedDataKeys }: MessageHeader, message: Buffer): number {
  const keys = encryptedDataKeys.map((edk) => {
    const { id, info } = partsOf(edk)
    return 6 + id.length + info.length + edk.encryptedDataKey.length
  })
  // Version, type, suite, message ID; then the context, which has two lengths where it has no pairs.
  const contextAt = version === 1 ? 1 + 1 + 2 + 16 : 1 + 2 + 32
  const contextLength = 2 + message.readUInt16BE(contextAt)
  // Count of keys; content type, frame length; then reserved bytes and IV length, or the commitment.
  const rest = 2 + 1 + 4 + (version === 1 ? 4 + 1 : 32)
  return contextAt + contextLength + keys.reduce((sum, length) => sum + length, rest)
}

function partsOf({ providerId, rawInfo }: EncryptedDataKey): { id: Buffer; info: Buffer } {
  return { id: Buffer.from(providerId), info: Buffer.from(rawInfo) }
}

function byName([a]: [string, string], [b]: [string, string]): number {
  return a < b ? -1 : 1
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}
