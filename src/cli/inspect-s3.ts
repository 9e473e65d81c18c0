import { type MessageOutline, outlineMessage, SealwaxError } from '../index'
import type { ObjectProtection } from '../s3'
import { quote } from './errors'
import { openS3, parseS3Url, type S3Options, s3Sdk } from './s3'
import { naming } from './s3-errors'

/**
 * What protects an object of S3. `message` is the outline of one that is a message, as far as it goes: it has no `threats`, whose
 * answers are those for content that the store can read.
 */
export interface InspectedObject extends ObjectProtection {
  readonly message: MessageOutline | undefined
}

/** Of a message only the two ends are read, and of an S3 client's object nothing but its metadata. */
export async function inspectObject(url: string, options: S3Options, signal: AbortSignal): Promise<InspectedObject> {
  const target = parseS3Url(url)
  const client = await openS3(options)
  try {
    return await naming(quote(url), 'inspect', async () => {
      const { describeObject } = require('../s3') as typeof import('../s3')
      const { GetObjectCommand, HeadObjectCommand } = s3Sdk()
      const protection = await describeObject(client, target)
      if (protection.clientSide) return { ...protection, message: undefined }
      const { ContentLength: length = 0, ETag } = await client.send(new HeadObjectCommand(target), {
        abortSignal: signal,
      })
      const read = async (offset: number, count: number) => {
        const range = { Range: `bytes=${offset}-${offset + count - 1}`, IfMatch: ETag }
        const { Body } = await client.send(new GetObjectCommand({ ...target, ...range }), { abortSignal: signal })
        return await Body!.transformToByteArray()
      }
      const message = await outlineOrNone({ length, read })
      return { ...protection, threats: message ? [] : protection.threats, message }
    })
  } finally {
    client.destroy()
  }
}

/** Undefined for what is no message at all. */
async function outlineOrNone(source: Parameters<typeof outlineMessage>[0]): Promise<MessageOutline | undefined> {
  try {
    return await outlineMessage(source)
  } catch (error) {
    if (error instanceof SealwaxError && /^ERR_(MESSAGE|UNSUPPORTED|LIMIT)/.test(error.code)) return undefined
    throw error
  }
}

export function objectToText({ clientSide, serverSide, threats }: InspectedObject): string {
  const { mode, keyId, bucketKey } = serverSide
  const key = keyId === undefined ? '' : `, key ${quote(keyId)}${bucketKey ? ' by bucket keys' : ''}`
  const rows: [string, ...string[]][] = [
    [
      'client side',
      clientSide ? `version ${clientSide.formatVersion}, ${clientSide.contentAlgorithm}` : 'none by an S3 client',
    ],
  ]
  if (clientSide) {
    const { wrapAlgorithm, materialDescription, keyCommitment, instructionFile } = clientSide
    const pairs = Object.entries(materialDescription).map(([name, value]) => `${quote(name)} = ${quote(value)}`)
    rows.push(
      ['data key', `wrapped by ${wrapAlgorithm}, ${instructionFile ? 'in an instruction file' : 'in the metadata'}`],
      ['', keyCommitment ? 'key commitment' : 'no key commitment'],
      ['description', ...(pairs.length > 0 ? pairs : ['empty'])],
    )
  }
  rows.push(['server side', `${mode}${key}`])
  const answers = threats.map(({ threat, answer, why }) => `  ${answer.padEnd(7)} ${threat}: ${why}`)
  const table = rows.map(([label, ...lines]) => `${label.padEnd(12)}${lines.join(`\n${' '.repeat(12)}`)}`)
  return [...table, ...(answers.length > 0 ? ['', 'Protected when', ...answers] : [])].join('\n')
}
