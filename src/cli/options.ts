import { type Command, InvalidArgumentError, Option } from 'commander'
import { AlgorithmSuiteIdentifier, buildClient, CommitmentPolicy, type EncryptionContext } from '../index'
import type { KeyOptions } from './keys'
import { addS3Options, type S3Options } from './s3'

/** What `encrypt` and `decrypt` have in common. */
export interface CommonOptions extends KeyOptions, S3Options {
  output?: string
  force?: true
  encryptionContext?: ReadonlyMap<string, string>
  commitmentPolicy: string
  maxEncryptedDataKeys?: number
  recursive?: true
  skipExisting?: true
  format?: 's3' | 'message'
}

/** What of old S3 objects is accepted. */
export interface LegacyOptions {
  enableLegacyWrappingAlgorithms?: true
  enableLegacyUnauthenticatedModes?: true
}

/** Where the PIN of a token comes from. */
export interface PinOptions {
  pinFile?: string
  pinFd?: number
}

/** The format's limit. */
export const MAX_FRAME_LENGTH = 2 ** 32 - 1
export const POLICIES = Object.values(CommitmentPolicy).map((policy) => policy.toLowerCase().replaceAll('_', '-'))

export function addCommonOptions(command: Command, contextHelp: string): Command {
  return addS3Options(addPinOptions(command))
    .option('-o, --output <file>', 'where to write; - for standard output, s3://bucket/key for an object')
    .option('-f, --force', 'replace an existing output file')
    .option('-r, --recursive', 'all files below the folder <input>, into the folder --output')
    .option('--skip-existing', 'with --recursive: leave out files that have their output already')
    .option('-k, --key <file>', 'key file made by keygen; may be given several times', collect)
    .option('--wrapping-key <key>', 'AWS KMS key, or pkcs11: URI; may be given several times', collect)
    .option('--kms-endpoint <url>', 'where KMS answers; AWS by default')
    .addOption(
      new Option('--format <format>', 'format of what is encrypted: s3, the default at s3://, or message').choices([
        's3',
        'message',
      ]),
    )
    .option('-c, --encryption-context <key=value>', `${contextHelp}; may be given several times`, addPair)
    .addOption(
      new Option('--commitment-policy <policy>', 'which suites to write and read')
        .choices(POLICIES)
        .default('require-encrypt-require-decrypt'),
    )
    .option('--max-encrypted-data-keys <n>', 'refuse a message with more', parseCount(1, 0xffff))
    .option('--namespace <text>', 'key namespace of the RSA key, or of the key of a token')
    .option('--name <text>', 'key name of the RSA key, or of the key of a token')
    .addOption(
      // No default of commander's: objects of S3 have another hash, and no choice.
      new Option('--oaep-hash <hash>', 'hash of RSA OAEP in messages; sha256 by default').choices([
        'sha1',
        'sha256',
        'sha384',
        'sha512',
      ]),
    )
}

export function addLegacyWrappingOption(command: Command): Command {
  return command.option(
    '--enable-legacy-wrapping-algorithms',
    'accept S3 objects whose data key is wrapped in an old way, as Amazon SES does',
  )
}

export function addPinOptions(command: Command): Command {
  return command
    .option('--pin-file <file>', 'file with the PIN of the PKCS#11 token, that only you can read')
    .option('--pin-fd <n>', 'file descriptor to read that PIN from', parseCount(0, 1023))
}

export function policyOf({ commitmentPolicy }: Pick<CommonOptions, 'commitmentPolicy'>): CommitmentPolicy {
  return CommitmentPolicy[commitmentPolicy.toUpperCase().replaceAll('-', '_') as keyof typeof CommitmentPolicy]
}

export function clientOf({
  maxEncryptedDataKeys,
  ...options
}: Pick<CommonOptions, 'commitmentPolicy' | 'maxEncryptedDataKeys'>) {
  return buildClient({
    commitmentPolicy: policyOf(options),
    ...(maxEncryptedDataKeys !== undefined && { maxEncryptedDataKeys }),
  })
}

export function contextOf({ encryptionContext }: Pick<CommonOptions, 'encryptionContext'>): EncryptionContext {
  return Object.fromEntries(encryptionContext ?? [])
}

/** A whole number in an option. */
export function parseCount(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN
    if (value >= min && value <= max) return value
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`)
  }
}

/** Bytes in an option: 4096, 64KiB, 1MiB. */
export function parseLength(min: number, max: number): (text: string) => number {
  return (text) => {
    const [, digits = '', unit = ''] = /^(\d{1,10})([KMG]iB)?$/.exec(text) ?? []
    const value = digits === '' ? NaN : Number(digits) * 1024 ** ['', 'KiB', 'MiB', 'GiB'].indexOf(unit)
    if (value >= min && value <= max) return value
    throw new InvalidArgumentError(`It must be from ${min} to ${max} bytes, such as 4096, 64KiB or 1MiB.`)
  }
}

/** A suite by name or number, such as 0x0478. */
export function parseSuite(text: string): AlgorithmSuiteIdentifier {
  const named = AlgorithmSuiteIdentifier[text as keyof typeof AlgorithmSuiteIdentifier]
  if (typeof named === 'number') return named
  const id = /^0x[0-9a-f]{1,4}$/i.test(text) ? Number(text) : NaN
  if (id in AlgorithmSuiteIdentifier) return id
  throw new InvalidArgumentError('It must be the number (0x0478) or the name of an algorithm suite.')
}

/** For options of which the last one would silently take the place of the others. */
export function once(text: string, previous: string | undefined): string {
  if (previous !== undefined) throw new InvalidArgumentError('It may be given once only.')
  return text
}

/** All values of an option that may be given several times. */
export function collect(text: string, previous: readonly string[] = []): string[] {
  return [...previous, text]
}

export function addPair(text: string, previous: ReadonlyMap<string, string> = new Map()): ReadonlyMap<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('It must look like key=value.')
  const key = text.slice(0, at)
  if (key === 'aws-crypto-public-key') throw new InvalidArgumentError('Signed messages set this key themselves.')
  if (key.startsWith('aws-crypto-')) throw new InvalidArgumentError('Such keys are those of the format itself.')
  if (previous.has(key)) throw new InvalidArgumentError('The key was given twice.')
  return new Map([...previous, [key, text.slice(at + 1)]])
}
