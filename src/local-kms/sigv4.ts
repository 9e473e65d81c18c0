/** AWS Signature Version 4, in the form that puts it into the Authorization header. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { KmsError } from './errors'

export interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

export interface Authorization {
  readonly accessKeyId: string
  /** YYYYMMDD */
  readonly date: string
  readonly region: string
  readonly service: string
  readonly signedHeaders: readonly string[]
  readonly signature: string
}

export interface SignedRequest {
  readonly method: string
  /** Path without a query. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: Uint8Array
}

/** The parts of an Authorization header. */
export function parseAuthorization(header: string): Authorization {
  const [, accessKeyId, date, region, service, names, signature] = AUTHORIZATION.exec(header) ?? []
  if (!accessKeyId || !date || !region || !service || !names || !signature) {
    throw new KmsError(
      'IncompleteSignatureException',
      'The Authorization header is not one of AWS Signature Version 4.',
    )
  }
  return { accessKeyId, date, region, service, signedHeaders: names.split(';'), signature }
}

/** Throws unless `credentials` made the signature, less than five minutes before or after `now`. */
export function verifySignature(
  request: SignedRequest,
  authorization: Authorization,
  credentials: Credentials,
  now: number,
): void {
  if (authorization.accessKeyId !== credentials.accessKeyId) {
    throw new KmsError('UnrecognizedClientException', 'The security token included in the request is invalid.')
  }
  checkSignedHeaders(request, authorization)
  const timestamp = String(request.headers['x-amz-date'])
  const time = parseTimestamp(timestamp)
  if (time === undefined || !timestamp.startsWith(authorization.date) || authorization.service !== 'kms') {
    throw new KmsError(
      'IncompleteSignatureException',
      'The date or service of the credential scope does not fit the request.',
    )
  }
  if (Math.abs(now - time) > MAX_SKEW) {
    // The SDKs look for this word to correct their clocks by the Date header of the answer.
    throw new KmsError(
      'InvalidSignatureException',
      `Signature expired or not yet valid: ${timestamp} is too far from the time of the server.`,
    )
  }
  const expected = sign(request, authorization, timestamp, credentials.secretAccessKey)
  if (!timingSafeEqual(expected, Buffer.from(authorization.signature, 'hex'))) {
    throw new KmsError(
      'InvalidSignatureException',
      'The request signature does not match the one calculated from the request and the secret access key.',
    )
  }
}

/** What was not signed could have been changed or added. */
function checkSignedHeaders({ headers, body }: SignedRequest, { signedHeaders }: Authorization): void {
  const needed = ['host', 'x-amz-date', ...Object.keys(headers).filter((name) => name.startsWith('x-amz-'))]
  const missing = needed.find((name) => !signedHeaders.includes(name) || headers[name] === undefined)
  if (missing) throw new KmsError('IncompleteSignatureException', `The header ${missing} must be present and signed.`)
  const declared = headers['x-amz-content-sha256']
  if (declared !== undefined && declared !== sha256(body)) {
    throw new KmsError('InvalidSignatureException', 'The body does not have the declared SHA-256.')
  }
}

function sign(
  request: SignedRequest,
  authorization: Authorization,
  timestamp: string,
  secretAccessKey: string,
): Buffer {
  const { date, region, service, signedHeaders } = authorization
  const headers = signedHeaders.map((name) => `${name}:${canonicalValue(request.headers[name])}\n`).join('')
  const canonical = [request.method, request.path, '', headers, signedHeaders.join(';'), sha256(request.body)].join(
    '\n',
  )
  const scope = `${date}/${region}/${service}/aws4_request`
  const stringToSign = ['AWS4-HMAC-SHA256', timestamp, scope, sha256(canonical)].join('\n')
  const key = scope.split('/').reduce<string | Buffer>(hmac, `AWS4${secretAccessKey}`)
  return hmac(key, stringToSign)
}

function canonicalValue(value: string | string[] | undefined): string {
  return String(value ?? '')
    .trim()
    .replace(/ +/g, ' ')
}

function parseTimestamp(text: string): number | undefined {
  const time = Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
  return Number.isNaN(time) ? undefined : time
}

function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

function hmac(key: string | Buffer, data: string): Buffer {
  return createHmac('sha256', key).update(data).digest()
}

const MAX_SKEW = 5 * 60_000
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([\w./+=@-]{1,128})\/(\d{8})\/([a-z0-9-]{1,64})\/([a-z0-9-]{1,64})\/aws4_request, ?SignedHeaders=([a-z0-9-;]{1,1024}), ?Signature=([0-9a-f]{64})$/
