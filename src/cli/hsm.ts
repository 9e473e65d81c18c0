import { type Command, Option } from 'commander'
import { buildClient, SealwaxError } from '../index'
import {
  type OaepHashName,
  Pkcs11AesKeyring,
  type Pkcs11KeyInfo,
  Pkcs11Token,
  type Pkcs11TokenInput,
  type Pkcs11Uri,
  parsePkcs11Uri,
  type TokenDescription,
} from '../pkcs11'
import { orInterrupted, UsageError } from './errors'
import { addPinOptions, type PinOptions, parseCount } from './options'
import { print } from './sink'
import { environmentPin, keyringOf, pinOf, usage } from './token'

interface TokenOptions extends PinOptions {
  module?: string
  libraryParameters?: string
  token?: string
  uri?: string
}

interface KeygenOptions extends TokenOptions {
  type: 'aes' | 'rsa'
  bits?: number
  label: string
}

interface TestOptions extends TokenOptions {
  key: string
  oaepHash: OaepHashName
}

/** `sealwax hsm list | keygen | test` */
export function addHsm(program: Command, signal: AbortSignal): void {
  const hsm = program
    .command('hsm')
    .summary('keys in PKCS#11 tokens')
    .description(
      'Keys in PKCS#11 tokens: HSMs, smart cards, SoftHSM. A PIN comes from a file, a file descriptor, SEALWAX_PIN or the terminal.',
    )
  tokenOptions(hsm.command('list'))
    .summary('list the tokens of a module, or the keys of a token')
    .description('Lists the tokens of a module; with a PIN, the AES and RSA keys of one.')
    .action((options: TokenOptions) => orInterrupted(list(options, signal), signal))
  tokenOptions(hsm.command('keygen'))
    .summary('make a key that stays in the token')
    .description('Makes a wrapping key in a token. It cannot leave the token: who loses the token loses the data.')
    .addOption(new Option('--type <type>', 'kind of the key').choices(['aes', 'rsa']).default('aes'))
    .option('--bits <n>', 'length of the key; 256 for AES and 3072 for RSA by default', parseCount(128, 8192))
    .requiredOption('--label <text>', 'label of the key; never one that is there already')
    .action((options: KeygenOptions) => orInterrupted(keygen(options, signal), signal))
  tokenOptions(hsm.command('test'))
    .summary('encrypt and decrypt with a key of a token')
    .description('Writes a message with a key of a token and reads it, in memory, to see that token and key can do it.')
    .requiredOption('--key <label>', 'label of the key, or a pkcs11: URI with "object" or "id"')
    .addOption(
      new Option('--oaep-hash <hash>', 'hash of RSA OAEP')
        .choices(['sha1', 'sha256', 'sha384', 'sha512'])
        .default('sha1'),
    )
    .action((options: TestOptions) => orInterrupted(test(options, signal), signal))
}

async function list(options: TokenOptions, signal: AbortSignal): Promise<void> {
  const { pinFile, pinFd, libraryParameters, uri, token: label } = options
  const named: Pkcs11Uri = uri === undefined ? {} : usage(() => parsePkcs11Uri(uri))
  if ((pinFile ?? pinFd ?? environmentPin ?? named['pin-source']) !== undefined) {
    const keys = await withToken(options, async (token) => await token.keys())
    return await print(keys.length === 0 ? 'no AES or RSA keys' : keys.map(lineOfKey).join('\n'), signal)
  }
  if (uri !== undefined && label !== undefined) throw new UsageError('the token is named by --token or --uri')
  const { module = named['module-path'] } = options
  if (module === undefined) throw new UsageError('name the PKCS#11 module with --module or --uri')
  const all = await Pkcs11Token.list({ module, ...(libraryParameters !== undefined && { libraryParameters }) })
  const { serial, manufacturer, model, token: labelInUri, 'slot-id': slot } = named
  const wanted = { label: label ?? labelInUri, serial, slot, manufacturer, model }
  const tokens = all.filter((token) => isNamed(token, wanted))
  if (tokens.length === 0 && wantedOf(wanted).length > 0) throw noSuchToken(wanted, all)
  await print(tokens.length === 0 ? 'no tokens' : tokens.map(linesOfToken).join('\n'), signal)
}

async function keygen({ type, bits, label, ...options }: KeygenOptions, signal: AbortSignal): Promise<void> {
  const wanted = { type, label, ...(bits !== undefined && { bits }) }
  const key = await withToken(options, async (token) => await usage(() => token.generateKey(wanted)))
  await print(lineOfKey(key), signal)
}

async function test(options: TestOptions, signal: AbortSignal): Promise<void> {
  const algorithm = await withToken(options, async (token) => await roundTrip(token, options))
  await print(`ok: a message was written and read with ${algorithm}`, signal)
}

function tokenOptions(command: Command): Command {
  return addPinOptions(command)
    .option('--module <file>', 'PKCS#11 module of the token, such as /usr/lib/softhsm/libsofthsm2.so')
    .option('--token <label>', 'the token, by its label')
    .option('--uri <uri>', 'module and token as a PKCS#11 URI (RFC 7512)')
    .option('--library-parameters <text>', 'what the module is initialized with besides; for NSS')
}

async function withToken<T>(options: TokenOptions, use: (token: Pkcs11Token) => Promise<T>): Promise<T> {
  const { module, libraryParameters, token: label, uri } = options
  if (module === undefined && uri === undefined) throw new UsageError('name the PKCS#11 module with --module or --uri')
  const input: Pkcs11TokenInput = {
    ...(module !== undefined && { module }),
    ...(libraryParameters !== undefined && { libraryParameters }),
    ...(label !== undefined && { token: label }),
    ...(uri !== undefined && { uri }),
    ...pinOf(options, uri),
  }
  const token = usage(() => new Pkcs11Token(input))
  try {
    return await use(token)
  } finally {
    await token.close()
  }
}

async function roundTrip(token: Pkcs11Token, { key, oaepHash }: TestOptions): Promise<string> {
  const keyring = await keyringOf(token, key, { keyNamespace: 'sealwax', keyName: 'hsm test', oaepHash })
  const { encrypt, decrypt } = buildClient()
  const { result } = await encrypt(keyring, 'test', { encryptionContext: { purpose: 'test' } })
  const { plaintext } = await decrypt(keyring, result)
  if (plaintext.toString() !== 'test') throw new SealwaxError('ERR_INTERNAL', 'the message came back changed')
  return keyring instanceof Pkcs11AesKeyring ? 'AES-GCM' : `RSA OAEP, ${oaepHash}`
}

type Wanted = Readonly<Record<'label' | 'serial' | 'slot' | 'manufacturer' | 'model', string | undefined>>

function isNamed(token: TokenDescription, wanted: Wanted): boolean {
  return wantedOf(wanted).every(([name, value]) => String(token[name]) === value)
}

function wantedOf(wanted: Wanted): [keyof Wanted, string][] {
  return Object.entries(wanted).filter((entry): entry is [keyof Wanted, string] => entry[1] !== undefined)
}

/** As the other commands say it. */
function noSuchToken(wanted: Wanted, all: readonly TokenDescription[]): SealwaxError {
  const which = wantedOf(wanted).map(([name, value]) => `${name} ${name === 'slot' ? value : JSON.stringify(value)}`)
  const there = all.map(({ label, serial, slot }) => `${JSON.stringify(label)} (serial ${serial}, slot ${slot})`)
  const problem = `the module has no token with ${which.join(', ')}; it has ${there.join(', ') || 'none at all'}`
  return new SealwaxError('ERR_WRAPPING_KEY', problem)
}

function linesOfToken({ label, serial, slot, manufacturer, model, initialized, mechanisms }: TokenDescription): string {
  const head = initialized ? JSON.stringify(label) : '(not initialized)'
  const uses = Object.entries(mechanisms).map(([name, what]) => `  ${name}: ${what.join(', ') || 'other uses only'}`)
  return [`${head}  serial ${serial || '-'}, slot ${slot}, ${manufacturer} ${model}`, ...uses].join('\n')
}

function lineOfKey({ kind, label, id, bits, encrypt, decrypt, extractable }: Pkcs11KeyInfo): string {
  const uses = [encrypt && 'encrypt', decrypt && 'decrypt', extractable && 'EXTRACTABLE'].filter(Boolean)
  return `${kind} ${bits}  ${JSON.stringify(label)}  id ${id || '-'}  ${uses.join(', ')}`
}
