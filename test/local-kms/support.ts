import crypto from 'node:crypto'
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

/** The very bytes of secrets that `node:crypto` took or gave while `use` ran: of keys and of what was encrypted or decrypted. */
export async function secretsSeen(use: () => Promise<unknown>): Promise<readonly Uint8Array[]> {
  const seen: Uint8Array[] = []
  const note = <T>(bytes: T): T => {
    if (bytes instanceof Uint8Array) seen.push(bytes)
    return bytes
  }
  const restore: (() => void)[] = []
  const replace = (owner: object, name: string, by: (original: Call) => Call) => {
    const original = Reflect.get(owner, name) as Call
    restore.push(() => Reflect.set(owner, name, original))
    Reflect.set(owner, name, by(original))
  }
  replace(crypto, 'createSecretKey', (original) => (bytes) => original(note(bytes)))
  replace(crypto, 'createPrivateKey', (original) => (input) => {
    note((input as { key: unknown }).key)
    return original(input)
  })
  for (const name of ['createCipheriv', 'createDecipheriv']) {
    replace(crypto, name, (original) => (...args) => {
      const cipher = original(...args) as crypto.Cipher
      const update = cipher.update.bind(cipher) as Call
      cipher.update = ((bytes) =>
        name === 'createCipheriv' ? update(note(bytes)) : note(update(bytes))) as Call as never
      return cipher
    })
  }
  const keys = [crypto.createSecretKey(Buffer.alloc(1)), crypto.generateKeyPairSync('ed25519').privateKey]
  for (const key of keys) {
    replace(
      Object.getPrototypeOf(key),
      'export',
      (original) =>
        function (this: unknown, ...args) {
          return note(original.apply(this, args))
        },
    )
  }
  try {
    await use()
  } finally {
    for (const undo of restore) undo()
  }
  return seen
}

type Call = (...args: unknown[]) => unknown
