import { constants } from 'node:buffer'
import { read } from 'node:fs'
import { promisify } from 'node:util'
import type { Command } from 'commander'
import { type EncryptedDataKey, type MessageOutline, outlineMessage, SealwaxError } from '../index'
import { naming, orInterrupted, quote } from './errors'
import { inspectObject, objectToText } from './inspect-s3'
import { openSource, type Source } from './io'
import { addS3ReadOptions, isS3Url, refuseS3Options, type S3Options } from './s3'
import { print } from './sink'

/** `sealwax inspect` */
export function addInspect(program: Command, signal: AbortSignal): void {
  const command = program
    .command('inspect')
    .summary('show what a message says of itself')
    .description('Shows the header and the lengths of a message. Needs no key, and so authenticates nothing of it.')
    .argument('<input>', 'message to inspect; - for standard input; s3://bucket/key for an object')
    .option('--json', 'as JSON', false)
  addS3ReadOptions(command).action(async (input: string, { json, ...s3 }: { json: boolean } & S3Options) => {
    if (isS3Url(input)) {
      const found = await orInterrupted(inspectObject(input, s3, signal), signal)
      const { message } = found
      const text = [objectToText(found), ...(message ? ['', toText(message)] : [])].join('\n')
      const values = { ...found, message: message && toJson(message) }
      return await print(json ? JSON.stringify(values, null, 2) : text, signal)
    }
    refuseS3Options(s3)
    const outline = await orInterrupted(outlineOf(input), signal)
    await print(json ? JSON.stringify(toJson(outline), null, 2) : toText(outline), signal)
    if (!outline.body) {
      throw new SealwaxError(
        'ERR_MESSAGE_TRUNCATED',
        'the message does not end where its frames say: it is cut, or something follows it',
      )
    }
  })
}

/** Of a file only the ends are read. */
async function outlineOf(input: string): Promise<MessageOutline> {
  const source = await openSource(input)
  try {
    const { name, fd, length } = source
    if (fd === undefined || length === undefined) return await outlineMessage(await readAll(source))
    const read = (offset: number, count: number) => readRange(fd, offset, count)
    return await naming(name, 'read', () => outlineMessage({ length, read }))
  } finally {
    source.close()
  }
}

/** What comes through a pipe, as far as it fits into memory. */
async function readAll(source: Source): Promise<Uint8Array> {
  const maxLength = Math.min(constants.MAX_LENGTH, process.availableMemory() / 2)
  const chunks: Buffer[] = []
  let length = 0
  await naming(source.name, 'read', async () => {
    for await (const chunk of source.read() as AsyncIterable<Buffer>) {
      length += chunk.length
      if (length > maxLength) throw new SealwaxError('ERR_LIMIT_EXCEEDED', `${source.name} does not fit into memory`)
      chunks.push(chunk)
    }
  })
  return Buffer.concat(chunks)
}

async function readRange(fd: number, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  const { bytesRead } = await promisify(read)(fd, bytes, 0, length, offset)
  return bytes.subarray(0, bytesRead)
}

function toJson({ messageHeader, suite, length, headerLength, body }: MessageOutline) {
  const { version, messageId, encryptionContext, encryptedDataKeys, contentType, frameLength } = messageHeader
  return {
    version,
    algorithmSuite: { id: hexOf(suite.id), name: suite.name },
    messageId: Buffer.from(messageId).toString('hex'),
    encryptionContext,
    encryptedDataKeys: encryptedDataKeys.map(outlineKey),
    contentType: contentType === FRAMED ? 'framed' : 'single block',
    frameLength,
    frames: body?.frames ?? null,
    messageLength: length,
    headerLength,
    footerLength: body?.footerLength ?? null,
    plaintextLength: body?.plaintextLength ?? null,
  }
}

function toText({ messageHeader, suite, length, headerLength, body }: MessageOutline): string {
  const { version, messageId, encryptionContext, encryptedDataKeys, contentType, frameLength } = messageHeader
  const committing = suite.commitment === 'KEY' ? 'key commitment' : 'no key commitment'
  const pairs = Object.entries(encryptionContext).map(([key, value]) => `${quote(key)} = ${quote(value)}`)
  const keys = encryptedDataKeys.map(outlineKey).map((key) => {
    const info = key.keyName === undefined ? `base64 ${key.keyProviderInfo}` : quote(key.keyName)
    return `${quote(key.keyProviderId)} ${info}, ${key.length} bytes`
  })
  const rows: [string, ...string[]][] = [
    ['format', `version ${version}`],
    ['suite', `${hexOf(suite.id)} ${suite.name}`],
    ['', `${committing}, ${suite.signatureCurve ? 'signed' : 'not signed'}`],
    ['message ID', Buffer.from(messageId).toString('hex')],
    ['context', ...(pairs.length > 0 ? pairs : ['empty'])],
    ['data keys', ...keys],
    ['frames', contentType === FRAMED ? `${body?.frames ?? '?'} of ${frameLength} bytes` : 'none: a single block'],
    ['header', `${headerLength} bytes`],
    ['footer', `${body?.footerLength ?? '?'} bytes`],
    ['plaintext', `${body?.plaintextLength ?? '?'} bytes`],
    ['message', `${length} bytes`],
  ]
  return rows.map(([label, ...lines]) => `${label.padEnd(12)}${lines.join(`\n${' '.repeat(12)}`)}`).join('\n')
}

/** All but the encrypted data key itself. `keyName` is there where the provider info tells one. */
function outlineKey(edk: EncryptedDataKey) {
  const keyName = keyNameOf(edk.rawInfo)
  return {
    keyProviderId: edk.providerId,
    ...(keyName !== undefined && { keyName }),
    keyProviderInfo: Buffer.from(edk.rawInfo).toString('base64'),
    length: edk.encryptedDataKey.length,
  }
}

/** Text, or what raw AES keyrings write: key name || u32 128 || u32 12 || 12-byte IV. */
function keyNameOf(info: Uint8Array): string | undefined {
  const end = Buffer.from(info.subarray(-20, -12)).equals(RAW_AES_INFO) ? info.length - 20 : info.length
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(info.subarray(0, end))
  } catch {
    return undefined
  }
}

function hexOf(id: number): string {
  return `0x${id.toString(16).padStart(4, '0')}`
}

const FRAMED = 2
const RAW_AES_INFO = Buffer.from('000000800000000c', 'hex')
