import { isatty } from 'node:tty'
import type { Command } from 'commander'
import type { AlgorithmSuiteIdentifier } from '../index'
import { orInterrupted, UsageError } from './errors'
import { transfer, transformFile } from './io'
import { toKeyring } from './keys'
import {
  addCommonOptions,
  type CommonOptions,
  clientOf,
  contextOf,
  MAX_FRAME_LENGTH,
  once,
  parseLength,
  parseSuite,
} from './options'
import { transformRemote } from './remote'
import { isS3Url, refuseS3Options } from './s3'
import { refusePinFromInput } from './token'
import { type TreeWork, transformTree, treeTarget } from './tree'

interface EncryptOptions extends CommonOptions {
  suite?: AlgorithmSuiteIdentifier
  frameLength?: number
}

/** `sealwax encrypt` */
export function addEncrypt(program: Command, signal: AbortSignal): void {
  const command = program
    .command('encrypt')
    .summary('encrypt files')
    .description('Encrypts a file as one message, to <input>.sealed unless --output says otherwise.')
    .argument('<input>', 'file to encrypt; - for standard input; a folder with --recursive; s3://bucket/key')
  addCommonOptions(command, 'public pair that is authenticated with the message')
    .option('--rsa-public-key <file>', 'RSA public key in PEM', once)
    .option('--suite <suite>', 'algorithm suite, such as 0x0478 for one that does not sign', parseSuite)
    .option(
      '--frame-length <bytes>',
      'plaintext bytes in a frame, such as 4096 (the default) or 1MiB',
      parseLength(1, MAX_FRAME_LENGTH),
    )
    .action((input: string, options: EncryptOptions) => orInterrupted(encrypt(input, options, signal), signal))
}

async function encrypt(input: string, options: EncryptOptions, signal: AbortSignal): Promise<void> {
  refusePinFromInput(input, options)
  const tree = treeTarget(input, options)
  if (tree) return await transformTree(input, tree, await encrypting(options, signal), signal)
  const path = options.output ?? (input === '-' ? '-' : input + SUFFIX)
  if (isS3Url(input) || isS3Url(path)) {
    return await transformRemote({ input, path, cipherSide: path }, options, () => encrypting(options, signal), signal)
  }
  refuseS3Options(options)
  if (path === '-' && isatty(1)) throw new UsageError('a message is not for terminals: use --output')
  const target = { path, force: options.force === true }
  await transformFile(input, target, await encrypting(options, signal), signal)
}

async function encrypting(options: EncryptOptions, signal: AbortSignal): Promise<TreeWork> {
  const { suite: suiteId, frameLength } = options
  const keyring = await toKeyring(options, 'encrypt')
  const client = clientOf(options)
  const encryptionContext = contextOf(options)
  const op = { encryptionContext, signal, ...(suiteId && { suiteId }), ...(frameLength && { frameLength }) }
  return {
    label: 'encrypting',
    secret: false,
    rename: (name) => Buffer.concat([name, Buffer.from(SUFFIX)]),
    run: (source, sink, io) => transfer(source, client.encryptStream(keyring, op), sink.write, io),
  }
}

/** The name of the plaintext's file, or `undefined` where nothing that can be a name is left without the suffix. */
export function withoutSuffix(name: Buffer): Buffer | undefined {
  const plain = name.subarray(0, -SUFFIX.length)
  if (!name.subarray(plain.length).equals(Buffer.from(SUFFIX))) return undefined
  return ['', '.', '..'].includes(plain.toString('latin1')) ? undefined : plain
}

/** What is added to the name of an encrypted file. */
export const SUFFIX = '.sealed'
