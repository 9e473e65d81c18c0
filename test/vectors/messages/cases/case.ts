import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type Built,
  build,
  contextBytes,
  type Pair,
  type RawAes,
  type Recipe,
  random,
  rawAesEdk,
  rawRsaEdk,
  SUITES,
  sorted,
} from '../build'

/** One vector, as README.md describes it. */
export interface Vector {
  description: string
  keyring: string
  policy: string
  options?: VectorOptions
  /** Base64. */
  message: string
  expect: { sha256: string; length: number; encryptionContext: Record<string, string> } | { error: string }
  /** Where `@aws-crypto/client-node` 5.0.2 does otherwise: why. */
  clientNode?: string
}

export interface VectorOptions {
  maxEncryptedDataKeys?: number
  maxBodySize?: number
  encryptionContext?: Record<string, string>
}

export interface Extra {
  keyring?: string
  policy?: string
  options?: VectorOptions
  /** What is done to the finished message. */
  mutate?: (built: Built) => Buffer
  clientNode?: string
}

export type Draft = Partial<Recipe> & { suite: number }

export const RSA_PEM = readFileSync(join(__dirname, '../rsa-2048-test-only.pem'), 'utf8')
export const AES_128: RawAes = { namespace: 'vectors', name: 'aes-128', key: random('aes-128', 16) }
export const AES_192: RawAes = { namespace: 'vectors', name: 'aes-192', key: random('aes-192', 24) }
export const AES_256: RawAes = { namespace: 'vectors', name: 'aes-256', key: random('aes-256', 32) }
const aes = ({ namespace, name, key }: RawAes) => ({
  type: 'raw-aes',
  keyNamespace: namespace,
  keyName: name,
  key: key.toString('hex'),
})
const rsa = (padding: string) => ({
  type: 'raw-rsa',
  keyNamespace: 'vectors',
  keyName: 'rsa-2048',
  padding,
  privateKey: RSA_PEM,
})

/** Every keyring that cases name. `utf8Sorting` matters to client-node only. */
export const KEYRINGS = {
  'aes-128': { ...aes(AES_128), utf8Sorting: true },
  'aes-192': { ...aes(AES_192), utf8Sorting: true },
  'aes-256': { ...aes(AES_256), utf8Sorting: true },
  'aes-256 in locale order': { ...aes(AES_256), utf8Sorting: false },
  'another key of the same name': { ...aes({ ...AES_256, key: random('another', 32) }), utf8Sorting: true },
  'another namespace': { ...aes({ ...AES_256, namespace: 'others' }), utf8Sorting: true },
  'a name that is a prefix': { ...aes({ ...AES_256, name: 'aes' }), utf8Sorting: true },
  'rsa-oaep-sha1': rsa('oaep-sha1'),
  'rsa-oaep-sha256': rsa('oaep-sha256'),
  'rsa-oaep-sha384': rsa('oaep-sha384'),
  'rsa-oaep-sha512': rsa('oaep-sha512'),
  multi: { type: 'multi', children: ['aes-128', 'rsa-oaep-sha256', 'aes-256'] },
}

/** Wraps with raw AES keys, each with the context in specified order. */
export const withAes =
  (...keys: RawAes[]) =>
  (label: string): Recipe['wrap'] =>
  (dataKey, context) =>
    keys.map((key, i) => rawAesEdk(`${label} ${i}`, key, dataKey, context))

export const withRsa =
  (hash?: string) =>
  (label: string): Recipe['wrap'] =>
  (dataKey) => [
    rawRsaEdk(label, { namespace: 'vectors', name: 'rsa-2048', key: RSA_PEM, ...(hash && { hash }) }, dataKey),
  ]

/** A message that must open. */
export function good(description: string, draft: Draft, extra: Extra = {}): Vector {
  const { built, context } = make(description, draft)
  const expect = {
    sha256: createHash('sha256').update(built.plaintext).digest('hex'),
    length: built.plaintext.length,
    encryptionContext: context,
  }
  return vector(description, draft, built, expect, extra)
}

/** A message that must be refused with this error. */
export function bad(description: string, error: string, draft: Draft, extra: Extra = {}): Vector {
  return vector(description, draft, make(description, draft).built, { error }, extra)
}

export const plaintextOf = (length: number): Buffer => random('plaintext', length)
export const flip = (bytes: Buffer, bit: number): Buffer => {
  const at = bit < 0 ? bytes.length * 8 + bit : bit
  return Buffer.from(bytes.map((byte, i) => (i === at >> 3 ? byte ^ (1 << (at & 7)) : byte)))
}
export const pairs = (context: Record<string, string>): Pair[] => sorted(Object.entries(context))
export { contextBytes }

function make(description: string, draft: Draft): { built: Built; context: Record<string, string> } {
  let context: Record<string, string> = {}
  const wrap = draft.wrap ?? withAes(AES_256)(description)
  const built = build({
    label: description,
    plaintext: plaintextOf(70),
    ...draft,
    wrap: (dataKey, bytes) => {
      context = read(bytes)
      return wrap(dataKey, bytes)
    },
  })
  return { built, context }
}

function vector(description: string, { suite }: Draft, built: Built, expect: Vector['expect'], extra: Extra): Vector {
  const usual = SUITES[suite]!.commits ? 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT' : 'REQUIRE_ENCRYPT_ALLOW_DECRYPT'
  return {
    description,
    keyring: extra.keyring ?? 'aes-256',
    policy: extra.policy ?? usual,
    ...(extra.options && { options: extra.options }),
    message: (extra.mutate?.(built) ?? built.message).toString('base64'),
    expect,
    ...(extra.clientNode && { clientNode: extra.clientNode }),
  }
}

/** The pairs of a well-formed serialized context; nothing of an ill-formed one. */
function read(bytes: Buffer): Record<string, string> {
  const context: [string, string][] = []
  try {
    for (let at = 2; at < bytes.length; ) {
      const texts = [0, 1].map(() => {
        const length = bytes.readUInt16BE(at)
        at += 2 + length
        return bytes.toString('utf8', at - length, at)
      })
      context.push(texts as [string, string])
    }
  } catch {
    return {}
  }
  return Object.fromEntries(context)
}
