/** Tokens and their keys, as the command line names them. A PIN is never an argument. */
import { type Keyring, SealwaxError } from '../index'
import {
  type OaepHashName,
  type PinSource,
  Pkcs11AesKeyring,
  Pkcs11RsaKeyring,
  Pkcs11Token,
  type Pkcs11TokenInput,
  type Pkcs11Uri,
  parsePkcs11Uri,
} from '../pkcs11'
import { UsageError } from './errors'
import type { PinOptions } from './options'
import { promptSecret } from './prompt'
import { noteSecretFile } from './secret-files'

interface TokenKeyOptions extends PinOptions {
  namespace?: string
  name?: string
  oaepHash?: OaepHashName
}

interface TokenKeyNames {
  keyNamespace: string
  keyName: string
  oaepHash: OaepHashName
}

export const DEFAULT_OAEP_HASH = 'sha256'

/** Whoever is asked may have to look for the PIN, and can end what hangs; in milliseconds. */
const PROMPT_TIMEOUT = 300_000

/** The arguments of aws-encryption-cli have none for a PIN. */
const PIN_ADVICE = 'give --pin-file, --pin-fd, pin-source=file:… in the URI, or SEALWAX_PIN'

/** Out of the environment, which the process of a module inherits. */
export const { SEALWAX_PIN: environmentPin } = process.env
delete process.env.SEALWAX_PIN

/** By number: what can be read once serves all tokens. */
const descriptors = new Map<number, PinSource>()

/** Where the PIN comes from: a file, a descriptor, the URI, the environment, or else whoever sits at the terminal. */
export function pinOf(
  { pinFile, pinFd }: PinOptions,
  uri: string | undefined,
): Pick<Pkcs11TokenInput, 'pin' | 'timeout'> {
  if (pinFile !== undefined && pinFd !== undefined) throw new UsageError('the PIN comes from --pin-file or --pin-fd')
  if (pinFile !== undefined) {
    noteSecretFile(pinFile)
    return { pin: { file: pinFile } }
  }
  if (pinFd !== undefined) {
    const pin = descriptors.get(pinFd) ?? { fd: pinFd }
    descriptors.set(pinFd, pin)
    return { pin }
  }
  const parsed = uri === undefined ? {} : usage(() => parsePkcs11Uri(uri))
  if (parsed['pin-source'] !== undefined) {
    notePinSource(uri!)
    return {}
  }
  if (environmentPin !== undefined) return { pin: () => environmentPin }
  const name = parsed.token === undefined ? 'the PKCS#11 token' : JSON.stringify(parsed.token)
  return { pin: () => promptSecret(`PIN of ${name}: `, PIN_ADVICE), timeout: PROMPT_TIMEOUT }
}

/** What is to be encrypted would be tried as a PIN, and tokens count the wrong ones. */
export function refusePinFromInput(input: string, { pinFd }: PinOptions): void {
  if (input === '-' && pinFd === 0) throw new UsageError('--pin-fd 0 is the input itself: give another descriptor')
}

/** Notes the file that a URI takes its PIN from. */
export function notePinSource(uri: string): void {
  const source = usage(() => parsePkcs11Uri(uri))['pin-source']
  // As the library reads it; of anything else it complains itself.
  const [, file] = /^file:(?:\/\/(?:localhost)?)?(\/[^/].*)$/s.exec(source ?? '') ?? []
  if (file !== undefined) noteSecretFile(file)
}

export function isTokenKey(wrappingKey: string): boolean {
  return wrappingKey.startsWith('pkcs11:')
}

/** A key of a token, by its URI, and what messages and objects call it. */
export interface NamedTokenKey {
  readonly token: Pkcs11Token
  readonly uri: string
  readonly namespace: string
  readonly name: string
}

/** Those of this process: keys of one token share it, and its PIN. */
const tokens = new Map<string, Pkcs11Token>()

/** The keys that the URIs name. */
export function tokenKeys(uris: readonly string[], options: Omit<TokenKeyOptions, 'oaepHash'>): NamedTokenKey[] {
  return uris.map((uri) => {
    const { object, id: _id, type: _type, ...of } = usage(() => parsePkcs11Uri(uri))
    const { namespace = of.token, name = object } = options
    if (of['module-path'] === undefined)
      throw new UsageError('the PKCS#11 URI needs a module: pkcs11:token=…;object=…?module-path=/usr/lib/…')
    if (namespace === undefined || name === undefined)
      throw new UsageError('a key of a token needs --namespace and --name, or "token" and "object" in its URI')
    const which = JSON.stringify(of)
    const token = tokens.get(which) ?? usage(() => new Pkcs11Token({ uri, ...pinOf(options, uri) }))
    tokens.set(which, token)
    return { token, uri, namespace, name }
  })
}

export async function toTokenKeyrings(uris: readonly string[], options: TokenKeyOptions): Promise<Keyring[]> {
  const { oaepHash = DEFAULT_OAEP_HASH } = options
  const keyrings: Keyring[] = []
  for (const { token, uri, namespace: keyNamespace, name: keyName } of tokenKeys(uris, options)) {
    keyrings.push(await keyringOf(token, uri, { keyNamespace, keyName, oaepHash }))
  }
  return keyrings
}

/** A keyring of the kind that the key has: AES, or RSA. */
export async function keyringOf(token: Pkcs11Token, key: string, names: TokenKeyNames): Promise<Keyring> {
  const { oaepHash, ...rest } = names
  const input = { token, key, ...rest }
  const isAes = (await kindOf(token, key)) === 'aes'
  return usage(() => (isAes ? new Pkcs11AesKeyring(input) : new Pkcs11RsaKeyring({ ...input, oaepHash })))
}

export async function kindOf(token: Pkcs11Token, key: string): Promise<'aes' | 'rsa-private'> {
  const { object, id, type }: Pkcs11Uri = isTokenKey(key) ? usage(() => parsePkcs11Uri(key)) : { object: key }
  if (type !== undefined) return type === 'secret-key' ? 'aes' : 'rsa-private'
  const hex = id && Buffer.from(id).toString('hex')
  const fitting = (await token.keys()).filter(
    (each) => (object === undefined || each.label === object) && (hex === undefined || each.id === hex),
  )
  if (fitting.some(({ kind }) => kind === 'aes')) return 'aes'
  if (fitting.some(({ kind }) => kind === 'rsa-private')) return 'rsa-private'
  const names = [object !== undefined && `label ${JSON.stringify(object)}`, hex !== undefined && `ID ${hex}`]
  const named = names.filter(Boolean).join(' and ')
  throw new SealwaxError('ERR_WRAPPING_KEY', `the token has no key with ${named || 'any name'} that can decrypt`)
}

/** The library's complaint about what stood on the command line. */
export function usage<T>(action: () => T): T {
  const toUsage = (error: unknown) =>
    error instanceof TypeError || error instanceof RangeError ? new UsageError(error.message) : error
  try {
    const result = action()
    if (!(result instanceof Promise)) return result
    return result.catch((error: unknown) => {
      throw toUsage(error)
    }) as T
  } catch (error) {
    throw toUsage(error)
  }
}
