import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KMSClient, type KMSClientConfig } from '@aws-sdk/client-kms'
import * as assert from 'uvu/assert'
import type { LocalKms } from '../../src/local-kms'

export const ACCOUNT = '111122223333'
export const CREDENTIALS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'not a secret' }

/** A client that tries once, so that every answer is seen. */
export function clientOf(kms: LocalKms, region = 'us-east-1', config: KMSClientConfig = {}): KMSClient {
  return new KMSClient({ endpoint: kms.endpoint, region, credentials: CREDENTIALS, maxAttempts: 1, ...config })
}

/** Expects an AWS exception, and that its message matches. */
export async function refuses(promise: Promise<unknown>, name: string, message = /./): Promise<void> {
  const error = await promise.then(
    () => new Error('nothing was refused'),
    (error: Error) => error,
  )
  assert.is(error.name, name, `${error.name}: ${error.message}`)
  assert.match(error.message, message)
}

export interface RawAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: string
}

/** One request with exactly these headers over what the protocol needs; `undefined` takes a header away. */
export function post(
  kms: LocalKms,
  body: string | Uint8Array,
  headers: Record<string, string | undefined> = {},
  { method = 'POST', path = '/' } = {},
): Promise<RawAnswer> {
  const all = { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': 'TrentService.ListKeys', ...headers }
  const present = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Record<
    string,
    string
  >
  return new Promise((resolve, reject) => {
    const sent = request(new URL(path, kms.endpoint), { method, headers: present, agent: false }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks).toString() }),
      )
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

/** A directory path where nothing is yet; `remove` deletes it and all it holds. */
export function temporaryDirectory(): { path: string; remove: () => void } {
  const parent = mkdtempSync(join(tmpdir(), 'sealwax-kms-'))
  return { path: join(parent, 'data'), remove: () => rmSync(parent, { recursive: true }) }
}
