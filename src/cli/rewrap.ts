import { type Command, Option } from 'commander'
import type { RewrapProgress } from '../s3'
import { exitCodeOf, messageOf, orInterrupted, quote, TreeError, UsageError } from './errors'
import type { KeyOptions } from './keys'
import {
  addLegacyWrappingOption,
  addPair,
  addPinOptions,
  collect,
  contextOf,
  type LegacyOptions,
  once,
  POLICIES,
  parseCount,
  parseLength,
  policyOf,
} from './options'
import { openProgress } from './progress'
import { abortingUploads, addS3Options, openS3, parseS3Url, type S3Options } from './s3'
import { named, naming } from './s3-errors'
import { refuseContextFor, toS3Keyring } from './s3-keys'
import { print } from './sink'

interface RewrapOptions
  extends Omit<KeyOptions, 'oaepHash'>,
    S3Options,
    Pick<LegacyOptions, 'enableLegacyWrappingAlgorithms'> {
  encryptionContext?: ReadonlyMap<string, string>
  newEncryptionContext?: ReadonlyMap<string, string>
  partSize?: number

  newKey?: string
  newWrappingKey?: string
  newRsaPublicKey?: string
  journal?: string
  concurrency?: number
  dryRun?: true
  enforceRotation: boolean
  commitmentPolicy: string
}

/** `sealwax rewrap` */
export function addRewrap(program: Command, signal: AbortSignal): void {
  const command = program
    .command('rewrap')
    .summary('give S3 objects another wrapping key')
    .description(
      'Wraps the data keys of all S3 objects whose keys begin with the prefix anew, in their place. Their content stays.',
    )
    .argument('<url>', 's3://bucket/prefix')
  addLegacyWrappingOption(addS3Options(addPinOptions(command)))
    .option('-k, --key <file>', 'old key: key file made by keygen; may be given several times', collect)
    .option('--wrapping-key <key>', 'old key: AWS KMS key, or pkcs11: URI; may be given several times', collect)
    .option('--rsa-private-key <file>', 'old key: RSA private key in PEM, without a passphrase', once)
    .option('--new-key <file>', 'new key: key file made by keygen', once)
    .option('--new-wrapping-key <key>', 'new key: AWS KMS key, or pkcs11: URI', once)
    .option('--new-rsa-public-key <file>', 'new key: RSA public key in PEM', once)
    .option('-c, --encryption-context <key=value>', 'pair that KMS has bound; may be given several times', addPair)
    .option('--new-encryption-context <key=value>', 'pair to bind instead; may be given several times', addPair)
    .option('--namespace <text>', 'key namespace of keys of a token')
    .option('--name <text>', 'key name of keys of a token')
    .option('--kms-endpoint <url>', 'where KMS answers; AWS by default')
    .option('--journal <file>', 'note what is done, and go on from there where the file is there already')
    .option('--concurrency <n>', 'objects at a time; 8 by default', parseCount(1, 256))
    .option(
      '--part-size <bytes>',
      'objects longer than this are copied in parts of it, such as 100MiB',
      parseLength(5 * 2 ** 20, 5 * 2 ** 30),
    )
    .option('--dry-run', 'do all but write')
    .option('--no-enforce-rotation', 'take a new key that the old one may be')
    .addOption(
      new Option('--commitment-policy <policy>', 'which objects to accept')
        .choices(POLICIES)
        .default('require-encrypt-require-decrypt'),
    )
    .action((url: string, options: RewrapOptions) => orInterrupted(rewrap(url, options, signal), signal))
}

async function rewrap(url: string, options: RewrapOptions, signal: AbortSignal): Promise<void> {
  const { Bucket, Key: Prefix } = parseS3Url(url, { keyRequired: false })
  const { journal, concurrency, dryRun = false, enforceRotation, kmsEndpoint } = options
  if (journal !== undefined && dryRun) throw new UsageError('--dry-run does nothing that --journal could note')
  const { newKey, newWrappingKey, newRsaPublicKey: rsaPublicKey, namespace, name, pinFile, pinFd } = options
  if ((newKey ?? newWrappingKey ?? rsaPublicKey) === undefined)
    throw new UsageError('no new key given: name it with --new-key, --new-wrapping-key or --new-rsa-public-key')
  const newKeys = {
    ...(newKey !== undefined && { key: [newKey] }),
    ...(newWrappingKey !== undefined && { wrappingKey: [newWrappingKey] }),
    ...(rsaPublicKey !== undefined && { rsaPublicKey }),
    ...(kmsEndpoint !== undefined && { kmsEndpoint }),
    ...(namespace !== undefined && { namespace }),
    ...(name !== undefined && { name }),
    ...(pinFile !== undefined && { pinFile }),
    ...(pinFd !== undefined && { pinFd }),
  }
  const { newEncryptionContext: newContext } = options
  if (newContext) refuseContextFor(newKeys, '--new-encryption-context')
  const from = await toS3Keyring(options, 'decrypt')
  const to = await toS3Keyring(newKeys, 'encrypt')
  const { rewrapObjects } = require('../s3') as typeof import('../s3')
  const { partSize, enableLegacyWrappingAlgorithms } = options
  const client = await openS3(options)
  const progress = await openProgress(url, (done) => `${done} objects`)
  const failures: string[] = []
  let exitCode = 0
  const onProgress = ({ Key, error }: RewrapProgress) => {
    progress.add(1)
    if (!error) return
    exitCode = Math.max(exitCode, exitCodeOf(error))
    const name = quote(`s3://${Bucket}/${Key}`)
    const message = messageOf(named(error, name, 'rewrap')) ?? ''
    failures.push(`sealwax: ${message.includes(name) ? message : `${name}: ${message}`}\n`)
  }
  try {
    progress.phase(dryRun ? 'testing' : 'rewrapping', undefined)
    const { rewrapped, current, skipped, failed, complete } = await naming(quote(url), 'rewrap', () =>
      abortingUploads(
        rewrapObjects(client, {
          ...{ Bucket, Prefix, from, to, dryRun, enforceRotation, signal, onProgress, journal, concurrency },
          commitmentPolicy: policyOf(options),
          ...(options.encryptionContext && { encryptionContext: contextOf(options) }),
          ...(newContext && { newEncryptionContext: contextOf({ encryptionContext: newContext }) }),
          ...{ partSize, enableLegacyWrappingAlgorithms },
        }),
      ),
    )
    progress.stop()
    const what = dryRun ? 'would be rewrapped' : 'rewrapped'
    await print(`${rewrapped} ${what}, ${current} already, ${skipped} not encrypted, ${failed} failed`, signal)
    if (failed === 0) return
    const stopped = complete ? '' : ', so that the rest was left'
    throw new TreeError(`${failed} ${failed === 1 ? 'object' : 'objects'} failed${stopped}, see above`, exitCode)
  } finally {
    progress.stop()
    process.stderr.write(failures.join(''))
    client.destroy()
  }
}
