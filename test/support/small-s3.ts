import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { crc32 } from 'node:zlib'
import type { S3ClientConfig } from '@aws-sdk/client-s3'
import { errorXml } from './fault-proxy'
import { CREDENTIALS } from './s3-server'

interface StoredObject {
  readonly body: Buffer
  readonly etag: string
  readonly metadata: Record<string, string>
  /** What the request asked for: all of it but a customer's key is told again with each answer. */
  readonly encryption: Record<string, string>
}

interface StoredUpload {
  readonly key: string
  readonly metadata: Record<string, string>
  readonly encryption: Record<string, string>
  readonly parts: Map<number, { readonly body: Buffer; readonly etag: string; readonly crc: string | undefined }>
}

/**
 * An S3 of objects and multipart uploads, on loopback, in memory that tests can look into. Unlike others it has no least
 * length of parts, so that edges can be tried with few bytes, and checks the checksums that it is given, and that headers are signed. It says that it encrypts
 * as it was told, and does not.
 */
export interface SmallS3 {
  readonly endpoint: string
  readonly bucket: string
  readonly config: S3ClientConfig
  readonly objects: Map<string, StoredObject>
  readonly uploads: Map<string, StoredUpload>
  close(): Promise<void>
}

export async function startSmallS3(): Promise<SmallS3> {
  const objects = new Map<string, StoredObject>()
  const uploads = new Map<string, StoredUpload>()
  let begun = 0
  const server = createServer((request, response) => {
    request.on('error', () => {})
    void answer(request, response).catch((error) => {
      const [status, code] = error instanceof Refusal ? [error.status, error.code] : [500, 'InternalError']
      response.writeHead(status, { 'content-type': 'application/xml' })
      response.end(request.method === 'HEAD' ? '' : errorXml(code, String(error)))
    })
  })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams: query } = new URL(request.url!, 'http://localhost')
    const key = decodeURIComponent(pathname.split('/').slice(2).join('/'))
    const { method, headers } = request
    const body = await buffer(request)
    if (unsignedHeaders(headers).length > 0) throw new Refusal(403, 'AccessDenied')
    const encryption = encryptionOf(request)
    for (const [name, value] of Object.entries(encryption)) response.setHeader(name, value)
    const crc = headers['x-amz-checksum-crc32'] as string | undefined
    if (crc !== undefined && crc !== crcOf(body)) throw new Refusal(400, 'BadDigest')
    const uploadId = query.get('uploadId')
    const upload = () => uploads.get(uploadId!) ?? refuse(404, 'NoSuchUpload')
    const xml = (text: string) => response.writeHead(200, { 'content-type': 'application/xml' }).end(text)

    if (query.has('tagging')) throw new Refusal(501, 'NotImplemented')
    if (method === 'POST' && query.has('uploads')) {
      const id = `upload-${++begun}`
      uploads.set(id, { key, metadata: metadataOf(request), encryption, parts: new Map() })
      xml(`<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`)
    } else if (method === 'PUT' && uploadId !== null) {
      const etag = quoted(md5(body).toString('hex'))
      upload().parts.set(Number(query.get('partNumber')), { body, etag, crc })
      response.writeHead(200, { etag, ...(crc && { 'x-amz-checksum-crc32': crc }) }).end()
    } else if (method === 'POST' && uploadId !== null) {
      const { key, metadata, encryption } = upload()
      const listed = partsOf(body.toString()).map(({ number, etag, crc }, i, all) => {
        const part = upload().parts.get(number)
        if (!part || part.etag !== etag || (crc && crc !== part.crc)) throw new Refusal(400, 'InvalidPart')
        if (i > 0 && number <= all[i - 1]!.number) throw new Refusal(400, 'InvalidPartOrder')
        return part.body
      })
      if (listed.length === 0) throw new Refusal(400, 'MalformedXML')
      if (headers['if-none-match'] === '*' && objects.has(key)) throw new Refusal(412, 'PreconditionFailed')
      const etag = quoted(`${md5(Buffer.concat(listed.map(md5))).toString('hex')}-${listed.length}`)
      const whole = Buffer.concat(listed)
      const size = headers['x-amz-mp-object-size']
      if (size !== undefined && Number(size) !== whole.length) throw new Refusal(400, 'InvalidRequest')
      objects.set(key, { body: whole, etag, metadata, encryption })
      uploads.delete(uploadId)
      xml(`<CompleteMultipartUploadResult><Key>${key}</Key><ETag>${etag}</ETag></CompleteMultipartUploadResult>`)
    } else if (method === 'DELETE' && uploadId !== null) {
      upload()
      uploads.delete(uploadId)
      response.writeHead(204).end()
    } else if (method === 'PUT') {
      if (headers['if-none-match'] === '*' && objects.has(key)) throw new Refusal(412, 'PreconditionFailed')
      const etag = quoted(md5(body).toString('hex'))
      objects.set(key, { body, etag, metadata: metadataOf(request), encryption })
      response.writeHead(200, { etag }).end()
    } else if (query.has('list-type')) {
      const listed = [...objects.keys()].filter((key) => key.startsWith(query.get('prefix') ?? '')).sort()
      xml(
        `<ListBucketResult>${listed.map((key) => `<Contents><Key>${key}</Key></Contents>`).join('')}</ListBucketResult>`,
      )
    } else if (method === 'GET' || method === 'HEAD') {
      const { body, etag, metadata, encryption: stored } = objects.get(key) ?? refuse(404, 'NoSuchKey')
      if (stored[CUSTOMER_KEY_MD5] !== encryption[CUSTOMER_KEY_MD5]) throw new Refusal(400, 'InvalidRequest')
      const named = Object.entries(metadata).map(([name, value]) => [`x-amz-meta-${name}`, value])
      if (headers['if-match'] !== undefined && headers['if-match'] !== etag)
        throw new Refusal(412, 'PreconditionFailed')
      const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '') ?? []
      const start = Number(from ?? 0)
      const part = body.subarray(start, to ? Number(to) + 1 : undefined)
      if (from !== undefined && part.length === 0) throw new Refusal(416, 'InvalidRange')
      const range = `bytes ${start}-${start + part.length - 1}/${body.length}`
      response.writeHead(from === undefined ? 200 : 206, {
        etag,
        'content-length': part.length,
        ...stored,
        ...(from !== undefined && { 'content-range': range }),
        ...Object.fromEntries(named),
      })
      response.end(method === 'GET' ? part : undefined)
    } else if (method === 'DELETE') {
      objects.delete(key)
      response.writeHead(204).end()
    } else throw new Refusal(501, 'NotImplemented')
  }

  // On a machine under load a client may take up a connection just as it is closed for being idle, and does not try again.
  server.keepAliveTimeout = 0
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const config = { endpoint, region: 'us-east-1', credentials: CREDENTIALS, forcePathStyle: true, maxAttempts: 1 }
  const close = async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
  return { endpoint, bucket: 'objects', config, objects, uploads, close }
}

class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
  ) {
    super(code)
  }
}

/** Which of its own headers S3 would refuse, as the signature does not name them. */
export function unsignedHeaders({ authorization, ...headers }: IncomingMessage['headers']): string[] {
  if (authorization === undefined) return []
  const signed = /SignedHeaders=([^,]*)/.exec(authorization)![1]!.split(';')
  return Object.keys(headers).filter((name) => name.startsWith('x-amz-') && !signed.includes(name))
}

function refuse(status: number, code: string): never {
  throw new Refusal(status, code)
}

function metadataOf({ headers }: IncomingMessage): Record<string, string> {
  const named = Object.entries(headers).filter(([name]) => name.startsWith('x-amz-meta-'))
  return Object.fromEntries(named.map(([name, value]) => [name.slice('x-amz-meta-'.length), String(value)]))
}

function encryptionOf({ headers }: IncomingMessage): Record<string, string> {
  const isTold = (name: string) => name.startsWith(ENCRYPTION) && !name.endsWith('-customer-key')
  return Object.fromEntries(Object.entries(headers as Record<string, string>).filter(([name]) => isTold(name)))
}

const ENCRYPTION = 'x-amz-server-side-encryption'
const CUSTOMER_KEY_MD5 = `${ENCRYPTION}-customer-key-md5`

function partsOf(xml: string): { number: number; etag: string; crc: string | undefined }[] {
  return [...xml.matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, part = '']) => ({
    number: Number(/<PartNumber>(\d+)</.exec(part)?.[1]),
    etag: (/<ETag>(.*?)</.exec(part)?.[1] ?? '').replaceAll('&quot;', '"'),
    crc: /<ChecksumCRC32>(.*?)</.exec(part)?.[1],
  }))
}

function md5(bytes: Uint8Array): Buffer {
  return createHash('md5').update(bytes).digest()
}

function quoted(text: string): string {
  return `"${text}"`
}

function crcOf(body: Uint8Array): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32(body))
  return bytes.toString('base64')
}
