/**
 * Wrapping keys: of AWS KMS, of PKCS#11 tokens, or from files; never from arguments or the environment, which other programs can see.
 *
 * A key file is JSON: { "version": 1, "namespace": "…", "name": "…", "key": "base64 of 16, 24 or 32 bytes" }
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import {
  buildAwsKmsMrkAwareStrictMultiKeyring,
  cacheClients,
  getClient,
  type Keyring,
  KMS,
  KmsKeyring,
  MultiKeyring,
  RawAesKeyring,
  RawRsaKeyring,
  SealwaxError,
} from '../index'
import type { OaepHashName } from '../pkcs11'
import { fileError, naming, quote, UsageError } from './errors'
import type { PinOptions } from './options'
import { noteSecretFile } from './secret-files'
import { DEFAULT_OAEP_HASH, isTokenKey, toTokenKeyrings, usage } from './token'

export interface KeyOptions extends PinOptions {
  key?: string[]
  rsaPublicKey?: string
  rsaPrivateKey?: string
  namespace?: string
  name?: string
  wrappingKey?: string[]
  kmsEndpoint?: string
  discovery?: true
  discoveryAccount?: string[]
  discoveryPartition?: string
  /** Default: `sha256`. */
  oaepHash?: OaepHashName
}

/** The text of a key file. The caller wipes it. */
export function serializeKeyFile(namespace: string, name: string, key: Uint8Array): Buffer {
  const base64 = Buffer.from(key.buffer, key.byteOffset, key.length).toString('base64')
  return Buffer.from(`${JSON.stringify({ version: KEY_FILE_VERSION, namespace, name, key: base64 }, null, 2)}\n`)
}

/** One keyring for all keys that the options name. */
export async function toKeyring(options: KeyOptions, use: 'encrypt' | 'decrypt'): Promise<Keyring> {
  const { wrappingKey = [] } = options
  const kmsKeys = wrappingKey.filter((key) => !isTokenKey(key))
  checkUsed(options)
  if (use === 'decrypt') requireArns(kmsKeys, '--wrapping-key')
  const discoveryFilter = discoveryFilterOf(options)
  const keyrings: Keyring[] = []
  for (const path of options.key ?? []) keyrings.push(await readKeyFile(path))
  if ((options.rsaPublicKey ?? options.rsaPrivateKey) !== undefined) keyrings.push(await toRsaKeyring(options))
  if (kmsKeys.length > 0 || options.discovery) keyrings.push(toKmsKeyring({ ...options, discoveryFilter }, kmsKeys))
  keyrings.push(...(await toTokenKeyrings(wrappingKey.filter(isTokenKey), options)))
  const [generator, ...children] = keyrings
  if (!generator)
    throw new UsageError('no key given: name a key file with --key, a KMS key, a key of a PKCS#11 token, or an RSA key')
  return children.length === 0 ? generator : new MultiKeyring({ generator, children })
}

/** Whoever names a key with `--name`, and has a key file, would get messages under another name. */
export function checkUsed({ rsaPublicKey, rsaPrivateKey, wrappingKey = [], discovery, ...options }: KeyOptions): void {
  const { namespace, name, oaepHash, kmsEndpoint, pinFile, pinFd } = options
  if (wrappingKey.includes('')) throw new UsageError('--wrapping-key must name a key')
  const hasToken = wrappingKey.some(isTokenKey)
  const hasNamed = hasToken || (rsaPublicKey ?? rsaPrivateKey) !== undefined
  const hasKms = discovery || !wrappingKey.every(isTokenKey)
  if (!hasNamed && (namespace ?? name) !== undefined)
    throw new UsageError('--namespace and --name are for RSA keys and keys of tokens: a key file has its own')
  if (!hasNamed && oaepHash !== undefined) throw new UsageError('--oaep-hash is for RSA keys')
  if (!hasKms && kmsEndpoint !== undefined) throw new UsageError('--kms-endpoint is for keys of AWS KMS')
  if (!hasToken && (pinFile ?? pinFd) !== undefined)
    throw new UsageError('--pin-file and --pin-fd are for keys of PKCS#11 tokens')
}

const KEY_FILE_VERSION = 1
const KEY_FILE_FIELDS = ['version', 'namespace', 'name', 'key']
/** Longer is no key, whatever else it may be. */
export const MAX_KEY_FILE_LENGTH = 64 * 1024
const WRAPPING_SUITES: Readonly<Record<number, number>> = { 16: 0x14, 24: 0x46, 32: 0x78 }

async function readKeyFile(path: string): Promise<RawAesKeyring> {
  return await withKeyFile(path, ({ namespace, name, key }) => {
    const wrappingSuite = WRAPPING_SUITES[key.length]!
    // The specification's order, which is every other reader's.
    const sorting = { utf8Sorting: true }
    return new RawAesKeyring({
      keyNamespace: namespace,
      keyName: name,
      unencryptedMasterKey: key,
      wrappingSuite,
      ...sorting,
    })
  })
}

/** What `build` makes of the key in a file, which is wiped afterwards. */
export async function withKeyFile<T>(
  path: string,
  build: (file: { namespace: string; name: string; key: Uint8Array }) => T,
): Promise<T> {
  const bytes = await readSecret(path)
  const buffer = Buffer.allocUnsafeSlow(32)
  try {
    const { namespace, name, key } = parseKeyFile(bytes, path)
    const length = buffer.write(key, 'base64')
    if (!(length in WRAPPING_SUITES) || buffer.toString('base64', 0, length) !== key) {
      throw badKey(path, '"key" must be 16, 24 or 32 bytes in base64')
    }
    return usable(path, () => build({ namespace, name, key: buffer.subarray(0, length) }))
  } finally {
    // JavaScript cannot promise that no copy remains: the base64 text was a string.
    bytes.fill(0)
    buffer.fill(0)
  }
}

function parseKeyFile(bytes: Buffer, path: string): { namespace: string; name: string; key: string } {
  const file = parseJson(bytes)
  if (typeof file !== 'object' || file === null) throw badKey(path, 'it is not a key file in JSON')
  const { version, namespace, name, key } = file as Record<string, unknown>
  if (version !== KEY_FILE_VERSION) throw badKey(path, `its version must be ${KEY_FILE_VERSION}`)
  if (typeof namespace !== 'string' || typeof name !== 'string' || typeof key !== 'string') {
    throw badKey(path, '"namespace", "name" and "key" must be strings')
  }
  const unknown = Object.keys(file).find((field) => !KEY_FILE_FIELDS.includes(field))
  if (unknown !== undefined) throw badKey(path, 'it has a field that this version does not know')
  return { namespace, name, key }
}

/** `undefined` for what is not JSON; the parser's own error would quote it. */
export function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}

/** Region, credentials and retries are the business of the AWS SDK. */
function toKmsKeyring(options: KmsOptions, [generatorKeyId, ...keyIds]: readonly string[]): Keyring {
  const { kmsEndpoint, discovery, discoveryFilter } = options
  if (discovery && generatorKeyId !== undefined) {
    throw new UsageError('--discovery asks for no particular key: leave out --wrapping-key')
  }
  const clientProvider = kmsEndpoint === undefined ? {} : { clientProvider: clientsAt(kmsEndpoint) }
  return usage(() =>
    discovery
      ? new KmsKeyring({ discovery, ...(discoveryFilter && { discoveryFilter }), ...clientProvider })
      : buildAwsKmsMrkAwareStrictMultiKeyring({ generatorKeyId, keyIds, ...clientProvider }),
  )
}

interface KmsOptions extends Pick<KeyOptions, 'kmsEndpoint' | 'discovery'> {
  discoveryFilter: DiscoveryFilter | undefined
}

type DiscoveryFilter = { accountIDs: string[]; partition: string }

/** A restriction that would restrict nothing is refused: whoever gives it counts on it. */
export function discoveryFilterOf(options: KeyOptions): DiscoveryFilter | undefined {
  const { discovery, discoveryAccount: accountIDs, discoveryPartition: partition } = options
  if ((accountIDs ?? partition) !== undefined && !discovery)
    throw new UsageError('--discovery-account and --discovery-partition need --discovery')
  if (partition !== undefined && !accountIDs) throw new UsageError('--discovery-partition needs --discovery-account')
  return accountIDs && { accountIDs, partition: partition ?? 'aws' }
}

/** Messages name the keys of KMS by their ARNs, and a keyring finds its own by nothing else. */
export function requireArns(keys: readonly string[], option: string): void {
  const other = keys.find((key) => !/^arn:[^:]*:kms:[^:]*:[^:]*:key\//.test(key))
  if (other === undefined) return
  throw new UsageError(`${option} must be the ARN of a key to decrypt messages with, not ${quote(other)}`)
}

export function clientsAt(endpoint: string) {
  if (!/^https?:$/.test(URL.canParse(endpoint) ? new URL(endpoint).protocol : '')) {
    throw new UsageError(`--kms-endpoint must be a URL such as https://kms.example, not ${quote(endpoint)}`)
  }
  return cacheClients(getClient(KMS, { endpoint, customUserAgent: 'Sealwax' }))
}

async function toRsaKeyring(options: KeyOptions): Promise<RawRsaKeyring> {
  const { namespace, name, oaepHash = DEFAULT_OAEP_HASH } = options
  if (namespace === undefined || name === undefined) {
    throw new UsageError('an RSA key needs --namespace and --name, the same for encrypting and decrypting')
  }
  return await readRsaKey(
    options,
    (rsaKey) => new RawRsaKeyring({ keyNamespace: namespace, keyName: name, rsaKey, oaepHash }),
  )
}

/** What `build` makes of the RSA key in a file, which is wiped afterwards. */
export async function readRsaKey<T>(
  { rsaPublicKey, rsaPrivateKey }: Pick<KeyOptions, 'rsaPublicKey' | 'rsaPrivateKey'>,
  build: (rsaKey: { publicKey?: Buffer; privateKey?: Buffer }) => T,
): Promise<T> {
  const path = (rsaPublicKey ?? rsaPrivateKey)!
  const bytes = rsaPrivateKey === undefined ? await readKey(path) : await readSecret(path)
  const rsaKey = rsaPrivateKey === undefined ? { publicKey: bytes } : { privateKey: bytes }
  try {
    return usable(path, () => build(rsaKey))
  } finally {
    bytes.fill(0)
  }
}

/** The library's complaint about a key, with the file it came from. */
function usable<T>(path: string, build: () => T): T {
  try {
    return build()
  } catch (error) {
    throw badKey(path, (error as Error).message)
  }
}

export function badKey(path: string, problem: string): SealwaxError {
  return new SealwaxError('ERR_WRAPPING_KEY', `the key in ${quote(path)} cannot be used: ${problem}`)
}

/** The bytes of a file that only its owner, the user, can read. The caller wipes them. */
export async function readSecret(path: string): Promise<Buffer> {
  return await readKey(path, ({ uid, mode }) => {
    if (process.platform === 'win32') return
    if (uid !== process.geteuid!()) throw fileError(`the key file ${quote(path)} belongs to another user`)
    if ((mode & 0o077) !== 0) {
      const shown = (mode & 0o777).toString(8).padStart(4, '0')
      throw fileError(`the key file ${quote(path)} is open to others (mode ${shown}): chmod 600 it`)
    }
  })
}

async function readKey(
  path: string,
  check: (stats: { uid: number; mode: number }) => void = () => {},
): Promise<Buffer> {
  return await naming(quote(path), 'read', () => {
    // What is checked is what is read: one open, and no waiting for a pipe's other end.
    const fd = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    try {
      const stats = fstatSync(fd)
      if (!stats.isFile()) throw fileError(`the key file ${quote(path)} is not a file`)
      noteSecretFile(fd)
      check(stats)
      if (stats.size > MAX_KEY_FILE_LENGTH) throw fileError(`the key file ${quote(path)} is too large to be one`)
      const bytes = Buffer.allocUnsafeSlow(stats.size)
      return bytes.subarray(0, readSync(fd, bytes))
    } finally {
      closeSync(fd)
    }
  })
}
