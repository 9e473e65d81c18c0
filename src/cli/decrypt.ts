import { basename } from 'node:path'
import type { Command } from 'commander'
import { AlgorithmSuite, type MessageHeader, SealwaxError } from '../index'
import { SUFFIX, withoutSuffix } from './encrypt'
import { nameOf, orInterrupted, UsageError } from './errors'
import { type Io, type Source, transfer, transformFile } from './io'
import { toKeyring } from './keys'
import {
  addCommonOptions,
  addLegacyWrappingOption,
  type CommonOptions,
  clientOf,
  collect,
  contextOf,
  type LegacyOptions,
  once,
} from './options'
import { transformRemote } from './remote'
import { isS3Url, refuseS3Options } from './s3'
import type { Sink } from './sink'
import { refusePinFromInput } from './token'
import { type TreeWork, transformTree, treeTarget } from './tree'

interface DecryptOptions extends CommonOptions, LegacyOptions {
  releasePlaintextBeforeSignatureIsVerified?: true
}

/** `sealwax decrypt` */
export function addDecrypt(program: Command, signal: AbortSignal): void {
  const command = program
    .command('decrypt')
    .summary('decrypt files')
    .description(
      'Decrypts a message to <input> without .sealed, or to --output. A file appears only if all is authentic.',
    )
    .argument('<input>', 'message to decrypt; - for standard input; a folder with --recursive; s3://bucket/key')
  addLegacyWrappingOption(addCommonOptions(command, 'pair that the message must have'))
    .option('--enable-legacy-unauthenticated-modes', 'accept S3 objects in AES-CBC, which anyone may have changed')
    .option('--rsa-private-key <file>', 'RSA private key in PEM, without a passphrase', once)
    .option('--discovery', 'decrypt with whatever AWS KMS key the message names')
    .option('--discovery-account <id>', 'only with keys of this AWS account; may be given several times', collect)
    .option('--discovery-partition <name>', 'only with keys of this AWS partition; aws by default')
    .option(
      '--release-plaintext-before-signature-is-verified',
      'write a signed message to standard output as it comes, whatever its signature turns out to be',
    )
    .action((input: string, options: DecryptOptions) => orInterrupted(decrypt(input, options, signal), signal))
}

async function decrypt(input: string, options: DecryptOptions, signal: AbortSignal): Promise<void> {
  refusePinFromInput(input, options)
  const tree = treeTarget(input, options)
  if (tree) return await transformTree(input, tree, await decrypting(options, signal), signal)
  const path = options.output ?? plaintextPath(input)
  if (isS3Url(input) || isS3Url(path)) {
    return await transformRemote({ input, path, cipherSide: input }, options, () => decrypting(options, signal), signal)
  }
  refuseS3Options(options)
  const target = { path, force: options.force === true }
  const work = await decrypting(options, signal)
  try {
    await transformFile(input, target, work, signal)
  } catch (error) {
    const isMessage = !(error instanceof SealwaxError && error.code === 'ERR_UNSUPPORTED_FORMAT')
    if (isMessage || input === '-') throw error
    throw new SealwaxError(error.code, `${nameOf(input)} is no message: ${error.message}`, { cause: error })
  }
}

function plaintextPath(input: string): string {
  if (input === '-') return '-'
  if (withoutSuffix(Buffer.from(basename(input)))) return input.slice(0, -SUFFIX.length)
  throw new UsageError(`${nameOf(input)} does not end in ${SUFFIX}: name the output with --output`)
}

async function decrypting(options: DecryptOptions, signal: AbortSignal): Promise<TreeWork> {
  if (options.enableLegacyWrappingAlgorithms || options.enableLegacyUnauthenticatedModes) {
    throw new UsageError('legacy algorithms are of S3 objects: messages have none')
  }
  const keyring = await toKeyring(options, 'decrypt')
  const client = clientOf(options)
  const op = { encryptionContext: contextOf(options), signal }
  const open = () => client.decryptStream(keyring, op)
  const early = options.releasePlaintextBeforeSignatureIsVerified === true
  return {
    label: 'decrypting',
    secret: true,
    rename: withoutSuffix,
    run: (source, sink, io) =>
      sink.immediate && !early ? release(source, sink, open, io) : transfer(source, open(), sink.write, io),
  }
}

/**
 * Decrypts to where nothing can be taken back. Frames of an unsigned message are authentic one by one, and go out as they
 * come; those of a signed message only when its signature is verified, which is at its end: a file is read twice.
 */
async function release(source: Source, sink: Sink, open: () => DecryptStream, io: Io): Promise<void> {
  const twice = source.fd !== undefined
  const held = new HeldPlaintext(source.name)
  let signed = false
  const stream = open().once('MessageHeader', ({ suiteId }: MessageHeader) => {
    signed = new AlgorithmSuite(suiteId).signatureCurve !== undefined
    if (signed && twice) io.progress.phase('verifying', source.length)
  })
  try {
    const consume = (piece: Uint8Array) => (!signed ? sink.write(piece) : twice ? undefined : held.add(piece))
    await transfer(source, stream, consume, io)
    source.checkUnchanged()
    for (const piece of held.pieces) await sink.write(piece)
  } finally {
    held.wipe()
  }
  if (!signed || !twice) return
  io.progress.phase('decrypting', source.length)
  await transfer(source, open(), sink.write, io)
}

type DecryptStream = ReturnType<ReturnType<typeof clientOf>['decryptStream']>

/** Plaintext that waits for its signature in memory, where the input cannot be read twice. */
export class HeldPlaintext {
  readonly pieces: Uint8Array[] = []
  readonly #from: string
  #length = 0

  constructor(from: string) {
    this.#from = from
  }

  add(piece: Uint8Array): void {
    this.pieces.push(piece)
    this.#length += piece.length
    if (this.#length <= MAX_HELD_LENGTH) return
    throw new SealwaxError(
      'ERR_LIMIT_EXCEEDED',
      `${this.#from} holds a signed message of more than ${MAX_HELD_LENGTH / 2 ** 20} MiB, too much to keep until its ` +
        'signature is verified: decrypt it from a file, which can be read twice, or to a file with --output, ' +
        'or accept what --release-plaintext-before-signature-is-verified means',
    )
  }

  wipe(): void {
    for (const piece of this.pieces) piece.fill(0)
  }
}

const MAX_HELD_LENGTH = 64 * 1024 * 1024
