/** What the AWS Encryption CLI (`aws-encryption-cli`) does, for scripts that were written for it. */
import { existsSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type Duplex, PassThrough, type TransformCallback } from 'node:stream'
import { Command, Option } from 'commander'
import {
  AlgorithmSuite,
  type EncryptionContext,
  getLocalCryptographicMaterialsCache,
  type MessageHeader,
  NodeCachingMaterialsManager,
  RequiredEncryptionContextCmm,
  SealwaxError,
} from '../index'
import { type KeyGroup, parseKeyGroup, toGroupsKeyring } from './aws-keys'
import { ALGORITHMS, MetadataWriter } from './aws-metadata'
import { checkMetadataPlace, checkOutputNames, checkOutputsNoInputs, isFolder, isStandardOutput } from './aws-places'
import { Base64Decoder, Base64Encoder } from './base64'
import { HeldPlaintext } from './decrypt'
import { fileError, orInterrupted, quote, UsageError } from './errors'
import { expandPattern } from './glob'
import { transfer, transformFile } from './io'
import { clientOf, MAX_FRAME_LENGTH, once, POLICIES, parseCount } from './options'
import { Questions } from './questions'
import { noteSecretFile } from './secret-files'
import { writeHelp } from './sink'
import { isTokenKey, notePinSource, usage } from './token'
import { type TreeWork, transformTree } from './tree'

interface AwsOptions {
  encrypt?: true
  decrypt?: true
  decryptUnsigned?: true
  input: string
  output: string
  wrappingKeys?: KeyGroup[]
  encryptionContext?: string[]
  requiredEncryptionContextKeys?: string[]
  algorithm?: string
  commitmentPolicy: string
  maxEncryptedDataKeys?: number
  metadataOutput?: string
  overwriteMetadata?: true
  suppressMetadata?: true
  buffer?: true
  caching?: string[]
  frameLength?: number
  maxLength?: number
  recursive?: true
  interactive?: true
  overwrite: boolean
  suffix?: string | true
  encode?: true
  decode?: true
}

export function awsProgram(signal: AbortSignal): Command {
  return new Command('sealwax')
    .description('Encrypts and decrypts with the arguments of the AWS Encryption CLI.')
    .exitOverride()
    .configureOutput({ writeOut: writeHelp })
    .showHelpAfterError('(add --help for the options)')
    .addOption(new Option('-e, --encrypt', 'encrypt').conflicts(['decrypt', 'decryptUnsigned']))
    .addOption(new Option('-d, --decrypt', 'decrypt').conflicts('decryptUnsigned'))
    .option('--decrypt-unsigned', 'decrypt, and refuse signed messages')
    .requiredOption('-i, --input <path>', 'file, pattern, folder with --recursive, or - for standard input', once)
    .requiredOption('-o, --output <path>', 'file, folder, or - for standard output', once)
    .option('-w, --wrapping-keys <attributes>', 'key=… provider=… discovery=… region=… profile=…', parseKeyGroup)
    .option('-c, --encryption-context <pairs...>', 'key=value; on decrypting also a key that must be there')
    .option('--required-encryption-context-keys <keys...>', 'keys whose pairs are kept out of the message')
    .addOption(new Option('-a, --algorithm <name>', 'algorithm suite').choices(Object.keys(ALGORITHMS)))
    .addOption(
      new Option('--commitment-policy <policy>', 'which suites to write and read')
        .choices(POLICIES)
        .default('require-encrypt-require-decrypt'),
    )
    .option('--max-encrypted-data-keys <n>', 'refuse a message with more', parseCount(1, 0xffff))
    .option(
      '--metadata-output <path>',
      'file that a line of JSON is added to for each operation; - for standard output',
      once,
    )
    .option('--overwrite-metadata', 'replace that file')
    .addOption(new Option('-S, --suppress-metadata', 'no metadata').conflicts('metadataOutput'))
    .option('-b, --buffer', 'write nothing before all has been read')
    .option('-C, --caching <attributes...>', 'capacity=… max_age=… max_messages_encrypted=… max_bytes_encrypted=…')
    .option('--frame-length <bytes>', 'plaintext bytes in a frame', parseCount(1, MAX_FRAME_LENGTH))
    .option('--max-length <bytes>', 'refuse longer frames on decrypting', parseCount(1, Number.MAX_SAFE_INTEGER))
    .option('-r, --recursive', 'all files of a folder')
    .option('-R', 'the same as -r')
    .option('--interactive', 'ask before a file is replaced')
    .option('--no-overwrite', 'leave out what has its output already')
    .option('--suffix [suffix]', 'what is added to names in a folder; none without a value')
    .option('--encode', 'write base64')
    .option('--decode', 'read base64')
    .option('-v, --verbose', 'accepted, and without effect', () => true)
    .option('-q, --quiet', 'accepted, and without effect')
    .action(async (options: AwsOptions & { R?: true }) => {
      const { R: alsoRecursive, ...rest } = options
      await orInterrupted(run({ ...rest, ...(alsoRecursive && { recursive: true }) }, signal), signal)
    })
}

async function run(options: AwsOptions, signal: AbortSignal): Promise<void> {
  const { input, output, recursive, interactive, overwrite, metadataOutput, overwriteMetadata } = options
  if (!(options.encrypt || options.decrypt || options.decryptUnsigned))
    throw new UsageError('either --encrypt or --decrypt')
  if (metadataOutput === undefined && !options.suppressMetadata)
    throw new UsageError('say where metadata go: --metadata-output, or --suppress-metadata')
  if (metadataOutput !== undefined && isStandardOutput(metadataOutput) && isStandardOutput(output))
    throw new UsageError('output and metadata cannot both go to standard output')
  if (interactive && !overwrite) throw new UsageError('--interactive and --no-overwrite exclude each other')
  if (interactive && input === '-')
    throw new UsageError('--interactive reads answers from standard input, and so no data')
  const inputs = input === '-' ? [input] : expandPattern(input)
  if (inputs.length === 0) throw new UsageError(`nothing matches ${quote(input)}`)
  if (inputs.length > 1 && !isFolder(output)) throw new UsageError('several inputs go to a folder that is there')
  if (inputs.length > 1) {
    checkOutputNames(inputs, recursive === true)
    if (overwrite) checkOutputsNoInputs(inputs, output, addedTo(options))
  }
  if (metadataOutput !== undefined && metadataOutput !== '-') {
    for (const each of inputs) checkMetadataPlace(metadataOutput, each, output)
  }
  // Before anything is written, and long before they are read.
  for (const key of (options.wrappingKeys ?? []).flatMap((group) => group.get('key') ?? [])) {
    if (isTokenKey(key)) notePinSource(key)
    else noteSecretFile(key)
  }
  const metadata = await MetadataWriter.open(metadataOutput, overwriteMetadata === true)
  try {
    const work = await workOf(options, metadata, signal)
    const questions = new Questions()
    for (const each of inputs) {
      if (inputs.length > 1 && isFolder(each) && !recursive) note(`${quote(each)} is a folder, and is left out`)
      else await transformOne(each, options, { work, questions, signal })
    }
    const { unanswered } = questions
    if (unanswered.length > 0) throw fileError(`nobody said whether to replace ${unanswered.map(quote).join(', ')}`)
  } finally {
    await metadata.close()
  }
}

interface Run {
  readonly work: TreeWork
  readonly questions: Questions
  readonly signal: AbortSignal
}

async function transformOne(input: string, options: AwsOptions, { work, questions, signal }: Run): Promise<void> {
  const { output, recursive, interactive, overwrite } = options
  if (isFolder(input)) {
    if (!recursive) throw new UsageError(`${quote(input)} is a folder: --recursive takes all of it`)
    if (output === '-') throw new UsageError('--recursive goes from a folder to a folder')
    if (interactive) throw new UsageError('--interactive is for one file')
    const existing = overwrite ? 'replace' : 'skip'
    return await transformTree(input, { folder: output, existing }, work, signal)
  }
  if (input === '-' && isFolder(output)) throw new UsageError('standard input does not go to a folder: name a file')
  const path = isFolder(output) ? join(output, work.rename(Buffer.from(basename(input)))!.toString()) : output
  if (path !== '-' && existsSync(path) && statSync(path).isFile()) {
    if (!overwrite) return note(`${quote(path)} exists already, and is left as it is`)
    if (interactive && !(await questions.mayReplace(path))) return
  }
  await transformFile(input, { path, force: true }, work, signal)
}

function note(text: string): void {
  process.stderr.write(`sealwax: ${text}\n`)
}

/** What names in a folder get. */
function addedTo({ encrypt, suffix }: AwsOptions): string {
  return suffix === true ? '' : (suffix ?? (encrypt ? '.encrypted' : '.decrypted'))
}

async function workOf(options: AwsOptions, metadata: MetadataWriter, signal: AbortSignal): Promise<TreeWork> {
  const { encrypt, decryptUnsigned } = options
  const added = addedTo(options)
  const context = contextOf(options)
  const materials = await materialsOf(options)
  const client = clientOf(options)
  const mode = encrypt ? 'encrypt' : decryptUnsigned ? 'decrypt-unsigned' : 'decrypt'
  const decryptStream = decryptUnsigned ? client.decryptUnsignedMessageStream : client.decryptStream
  const { algorithm, frameLength, maxLength, caching, decode, requiredEncryptionContextKeys: secret = [] } = options

  const encryptFile: TreeWork['run'] = async (source, sink, io, output) => {
    const plaintextLength = caching && !decode ? source.length : undefined
    const stream = client.encryptStream(materials, {
      encryptionContext: Object.fromEntries(context.pairs),
      signal,
      ...(algorithm && { suiteId: ALGORITHMS[algorithm]! }),
      ...(frameLength && { frameLength }),
      ...(plaintextLength !== undefined && { plaintextLength }),
    })
    const noting = new Noting()
    stream.once('MessageHeader', (header: MessageHeader) =>
      noting.begin(metadata.write({ mode, input: source.path, output, header })),
    )
    await transfer(source, stagesOf(options, [stream]), noting.before(sink.write), io)
    await noting.done
  }

  const decryptFile: TreeWork['run'] = async (source, sink, io, output) => {
    const known = context.pairs.filter(([key]) => secret.includes(key))
    const encryptionContext = Object.fromEntries(known)
    const open = () =>
      decryptStream(materials, { encryptionContext, signal, ...(maxLength && { maxBodySize: maxLength }) })
    const stream = open()
    const start = new Start()
    const noting = new Noting()
    const refuse = (of: typeof stream) =>
      of.destroy(new SealwaxError('ERR_ENCRYPTION_CONTEXT', 'the message lacks a required key or pair'))
    const held = new HeldPlaintext(source.name)
    let holds = sink.immediate && options.buffer === true
    const twice = source.fd !== undefined
    // Comes before any plaintext does.
    stream.once('MessageHeader', (header: MessageHeader) => {
      holds ||= sink.immediate && new AlgorithmSuite(header.suiteId).signatureCurve !== undefined
      if (holds && twice) io.progress.phase('verifying', source.length)
      const missing = missingIn(header.encryptionContext, context, secret)
      noting.begin(
        metadata.write({
          mode,
          input: source.path,
          output,
          header,
          message: start.bytes(),
          ...(missing && { missing }),
        }),
      )
      if (missing) refuse(stream)
    })
    try {
      const consume = (piece: Uint8Array) => (!holds ? sink.write(piece) : twice ? undefined : held.add(piece))
      await transfer(source, stagesOf(options, [start, stream]), noting.before(consume), io)
      await noting.done
      for (const piece of held.pieces) await sink.write(piece)
    } finally {
      held.wipe()
    }
    if (!holds || !twice) return
    // What is verified is now written: from the start once more.
    source.checkUnchanged()
    io.progress.phase('decrypting', source.length)
    const again = open()
    again.once('MessageHeader', (header: MessageHeader) => {
      if (missingIn(header.encryptionContext, context, secret)) refuse(again)
    })
    await transfer(source, stagesOf(options, [again]), sink.write, io)
  }

  return {
    label: encrypt ? 'encrypting' : 'decrypting',
    secret: !encrypt,
    rename: (name) => Buffer.concat([name, Buffer.from(added)]),
    run: encrypt ? encryptFile : decryptFile,
  }
}

async function materialsOf({ encrypt, wrappingKeys, caching, requiredEncryptionContextKeys }: AwsOptions) {
  const keyring = await toGroupsKeyring(wrappingKeys, !encrypt)
  const backingMaterials = requiredEncryptionContextKeys
    ? usage(() => new RequiredEncryptionContextCmm({ backingMaterials: keyring, requiredEncryptionContextKeys }))
    : keyring
  if (!caching) return backingMaterials
  const limits = cachingLimits(caching)
  return usage(() => {
    const cache = getLocalCryptographicMaterialsCache(limits.capacity!)
    const {
      max_age: maxAge,
      max_messages_encrypted: maxMessagesEncrypted,
      max_bytes_encrypted: maxBytesEncrypted,
    } = limits
    return new NodeCachingMaterialsManager({
      backingMaterials,
      cache,
      maxAge: maxAge! * 1000,
      ...(maxMessagesEncrypted !== undefined && { maxMessagesEncrypted }),
      ...(maxBytesEncrypted !== undefined && { maxBytesEncrypted }),
    })
  })
}

function cachingLimits(attributes: readonly string[]): Record<string, number> {
  const names = ['capacity', 'max_age', 'max_messages_encrypted', 'max_bytes_encrypted']
  const limits: Record<string, number> = {}
  for (const attribute of attributes) {
    const [, name = '', value = ''] = /^(\w+)=(\d+(?:\.\d+)?)$/.exec(attribute) ?? []
    if (!names.includes(name)) throw new UsageError(`--caching takes numbers for ${names.join(', ')}`)
    limits[name] = Number(value)
  }
  if (limits.capacity === undefined || limits.max_age === undefined)
    throw new UsageError('--caching needs capacity=… and max_age=…, in seconds')
  return limits
}

interface Context {
  readonly pairs: readonly [key: string, value: string][]
  /** Keys that must be there, with whatever value. */
  readonly keys: readonly string[]
}

function contextOf({ encryptionContext = [], encrypt, requiredEncryptionContextKeys = [] }: AwsOptions): Context {
  const pairs: [string, string][] = []
  const keys: string[] = []
  for (const text of encryptionContext) {
    const at = text.indexOf('=')
    const key = at < 0 ? text : text.slice(0, at)
    if (key === '' || (at < 0 && encrypt)) throw new UsageError('--encryption-context takes key=value')
    if (key === 'aws-crypto-public-key' && encrypt)
      throw new UsageError('signed messages set aws-crypto-public-key themselves')
    if (key.startsWith('aws-crypto-') && encrypt)
      throw new UsageError('keys that begin with aws-crypto- are those of the format itself')
    if (keys.includes(key) || pairs.some(([other]) => other === key))
      throw new UsageError('--encryption-context has a key twice')
    if (at < 0) keys.push(key)
    else pairs.push([key, text.slice(at + 1)])
  }
  const lacking = requiredEncryptionContextKeys.find((key) => !pairs.some(([other]) => other === key))
  if (encrypt && lacking !== undefined)
    throw new UsageError(`--encryption-context lacks the required key ${quote(lacking)}`)
  return { pairs, keys }
}

function missingIn(found: Readonly<EncryptionContext>, wanted: Context, secret: readonly string[]) {
  const keys = wanted.keys.filter((key) => !Object.hasOwn(found, key))
  const pairs = wanted.pairs.filter(([key, value]) => !secret.includes(key) && found[key] !== value)
  return keys.length + pairs.length === 0 ? undefined : { keys, pairs }
}

function stagesOf({ decode, encode }: AwsOptions, stages: readonly Duplex[]): Duplex[] {
  return [...(decode ? [new Base64Decoder()] : []), ...stages, ...(encode ? [new Base64Encoder()] : [])]
}

/** A line of metadata under way: nothing of the output is written before it is. */
class Noting {
  done: Promise<void> = Promise.resolve()

  begin(written: Promise<void>): void {
    this.done = written
    // Whoever writes next, or waits in the end, hears of it.
    written.catch(() => {})
  }

  before(consume: (piece: Uint8Array) => void | Promise<void>): (piece: Uint8Array) => Promise<void> {
    return async (piece) => {
      await this.done
      await consume(piece)
    }
  }
}

/** Keeps the start of what passes, for as long as its header has not been seen. */
class Start extends PassThrough {
  #chunks: Buffer[] | undefined = []

  override _transform(chunk: Buffer, encoding: BufferEncoding, done: TransformCallback): void {
    this.#chunks?.push(chunk)
    super._transform(chunk, encoding, done)
  }

  bytes(): Buffer {
    const bytes = Buffer.concat(this.#chunks ?? [])
    this.#chunks = undefined
    return bytes
  }
}
