import { createHash, createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Built, build, type Recipe, random, type Texts, type WrappingKey } from '../build'

/** One vector, as README.md describes it. */
export interface Vector {
  description: string
  keyring: KeyringName
  options: ReaderOptions
  metadata: Texts
  /** Base64. */
  body: string
  /** Base64. */
  instructionFile?: string
  expect: Opened | { error: string }
}

export interface Opened {
  sha256: string
  length: number
  formatVersion: number
  wrapAlgorithm: string
  materialDescription: Texts
}

export interface ReaderOptions {
  commitmentPolicy?: string
  encryptionContext?: Texts
  enableLegacyWrappingAlgorithms?: boolean
  enableLegacyUnauthenticatedModes?: boolean
}

export interface Extra {
  keyring?: KeyringName
  /** Over the options that let the object pass. */
  options?: ReaderOptions
  metadata?: (metadata: Texts) => Texts
  body?: (body: Buffer) => Buffer
  /** What is given to the reader as the object's instruction file. */
  file?: (fields: Texts) => string | undefined
}

export type Draft = Omit<Recipe, 'label' | 'key'> & { key?: KeyringName }

const RSA_PEM = readFileSync(join(__dirname, '../../messages/rsa-2048-test-only.pem'), 'utf8')
const KMS_KEY = random('kms', 32)
const KMS_KEY_ID = 'arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555'

/** Every keyring that cases name. */
export const KEYRINGS = {
  'aes-128': { type: 'raw-aes', key: random('aes-128', 16).toString('hex') },
  'aes-192': { type: 'raw-aes', key: random('aes-192', 24).toString('hex') },
  'aes-256': { type: 'raw-aes', key: random('aes-256', 32).toString('hex') },
  'another aes-256': { type: 'raw-aes', key: random('another', 32).toString('hex') },
  rsa: { type: 'raw-rsa', privateKey: RSA_PEM },
  kms: { type: 'kms', keyId: KMS_KEY_ID, key: KMS_KEY.toString('hex') },
  'kms in discovery mode': { type: 'kms', discovery: true, actualKeyId: KMS_KEY_ID, key: KMS_KEY.toString('hex') },
  'another kms': { type: 'kms', keyId: KMS_KEY_ID.replaceAll('5', '6'), key: random('other', 32).toString('hex') },
  'kms in discovery mode, another account': {
    type: 'kms',
    discovery: true,
    discoveryFilter: { accountIDs: ['999999999999'], partition: 'aws' },
    actualKeyId: KMS_KEY_ID,
    key: KMS_KEY.toString('hex'),
  },
  'aes by materials description': {
    type: 'multi',
    generator: 'another aes-256',
    others: [
      { materialDescription: { version: '1' }, keyring: 'aes-256' },
      { materialDescription: { version: '2', site: 'a' }, keyring: 'aes-128' },
    ],
  },
} as const
export type KeyringName = keyof typeof KEYRINGS

/** An object that must open. */
export function good(description: string, draft: Draft, extra: Extra = {}): Vector {
  const built = make(description, draft)
  const expect = {
    sha256: createHash('sha256').update(built.plaintext).digest('hex'),
    length: built.plaintext.length,
    formatVersion: draft.version,
    wrapAlgorithm: draft.wrap,
    materialDescription: built.description,
  }
  return vector(description, draft, built, expect, extra)
}

/** An object that must be refused with this error. */
export function bad(description: string, error: string, draft: Draft, extra: Extra = {}): Vector {
  return vector(description, draft, make(description, draft), { error }, extra)
}

export const set =
  (...fields: [name: string, value: string][]) =>
  (metadata: Texts): Texts => ({ ...metadata, ...Object.fromEntries(fields) })

export const drop =
  (...names: string[]) =>
  (metadata: Texts): Texts =>
    Object.fromEntries(Object.entries(metadata).filter(([name]) => !names.includes(name)))

export const only =
  (...names: string[]) =>
  (metadata: Texts): Texts =>
    Object.fromEntries(Object.entries(metadata).filter(([name]) => names.includes(name)))

export const flip = (bytes: Buffer, bit: number): Buffer => {
  const at = bit < 0 ? bytes.length * 8 + bit : bit
  return Buffer.from(bytes.map((byte, i) => (i === at >> 3 ? byte ^ (1 << (at & 7)) : byte)))
}

/** Flips a bit of a field in base64. */
export const flipField =
  (name: string, bit: number) =>
  (metadata: Texts): Texts => ({
    ...metadata,
    [name]: flip(Buffer.from(metadata[name]!, 'base64'), bit).toString('base64'),
  })

export const plaintextOf = (length: number): Buffer => random('plaintext', length)

const ON_THE_OBJECT = ['x-amz-c', 'x-amz-d', 'x-amz-i']

/** The envelope in an instruction file, as it should be; `change` is what is done to it. */
export function inFile(change: (fields: Texts) => unknown = (fields) => fields): Pick<Extra, 'metadata' | 'file'> {
  return {
    metadata: (metadata) => ('x-amz-3' in metadata ? only(...ON_THE_OBJECT)(metadata) : {}),
    file: (metadata) => {
      const changed = change('x-amz-3' in metadata ? drop(...ON_THE_OBJECT)(metadata) : metadata)
      return typeof changed === 'string' ? changed : JSON.stringify(changed)
    },
  }
}

function make(description: string, { key, ...draft }: Draft): Built {
  return build({ label: description, ...draft, key: wrappingKey(key ?? keyringFor(draft.wrap)) })
}

function keyringFor(wrap: string): KeyringName {
  return wrap.startsWith('RSA') ? 'rsa' : wrap.startsWith('kms') ? 'kms' : 'aes-256'
}

function wrappingKey(name: KeyringName): WrappingKey {
  if (name === 'rsa') return { rsa: createPublicKey(RSA_PEM) }
  if (name === 'kms') return { kms: KMS_KEY, keyId: KMS_KEY_ID }
  const keyring = KEYRINGS[name]
  if (keyring.type !== 'raw-aes') throw new Error(`objects are not made with ${name}`)
  return { aes: Buffer.from(keyring.key, 'hex') }
}

function vector(
  description: string,
  draft: Draft,
  { metadata, body }: Built,
  expect: Vector['expect'],
  extra: Extra,
): Vector {
  const file = extra.file?.(metadata)
  return {
    description,
    keyring: extra.keyring ?? draft.key ?? keyringFor(draft.wrap),
    options: { ...accepting(draft), ...extra.options },
    metadata: extra.metadata?.(metadata) ?? metadata,
    body: (extra.body?.(body) ?? body).toString('base64'),
    ...(file !== undefined && { instructionFile: Buffer.from(file).toString('base64') }),
    expect,
  }
}

/** The least that lets an object of the kind pass. */
function accepting({ version, wrap, contentAlgorithm, description }: Draft): ReaderOptions {
  const isLegacy = version !== 3 && !['AES/GCM', 'RSA-OAEP-SHA1', 'kms+context'].includes(wrap)
  const isCbc = version === 1 || (contentAlgorithm ?? '').includes('CBC')
  return {
    ...(version !== 3 && { commitmentPolicy: 'REQUIRE_ENCRYPT_ALLOW_DECRYPT' }),
    ...(wrap === 'kms+context' && description && { encryptionContext: description }),
    ...(isLegacy && { enableLegacyWrappingAlgorithms: true }),
    ...(isCbc && { enableLegacyUnauthenticatedModes: true }),
  }
}
