import type { Command } from 'commander'
import type { AlgorithmSuiteIdentifier } from '../index'
import { UsageError } from './errors'
import { transformFile } from './io'
import { toKeyring } from './keys'
import { addCommonOptions, type CommonOptions, clientOf, contextOf, parseCount, parseSuite } from './options'

interface EncryptOptions extends CommonOptions {
  suite?: AlgorithmSuiteIdentifier
  frameLength: number
}

const SUFFIX = '.sealed'
/** Bytes that the format adds to a frame. */
const FRAME_OVERHEAD = 32

/** `sealwax encrypt` */
export function addEncrypt(program: Command, signal: AbortSignal): void {
  const command = program
    .command('encrypt')
    .summary('encrypt a file')
    .description('Encrypts a file as one message, to <input>.sealed unless --output says otherwise.')
    .argument('<input>', 'file to encrypt; - for standard input')
  addCommonOptions(command, 'public pair that is authenticated with the message')
    .option('--rsa-public-key <file>', 'RSA public key in PEM')
    .option('--suite <suite>', 'algorithm suite, such as 0x0478 for one that does not sign', parseSuite)
    .option('--frame-length <bytes>', 'plaintext bytes in a frame', parseCount(1, 2 ** 32 - 1), 4096)
    .action(async (input: string, options: EncryptOptions) => {
      const { suite, frameLength } = options
      const path = options.output ?? (input === '-' ? '-' : input + SUFFIX)
      if (path === '-' && process.stdout.isTTY) throw new UsageError('a message is not for terminals: use --output')
      const keyring = await toKeyring(options)
      const client = clientOf(options)
      const op = { ...(suite && { suiteId: suite }), encryptionContext: contextOf(options), frameLength, signal }
      const work = {
        label: 'encrypting',
        expansion: 1 + FRAME_OVERHEAD / frameLength,
        run: async (bytes: Uint8Array) => (await client.encrypt(keyring, bytes, op)).result,
      }
      await transformFile(input, { path, force: options.force === true, secret: false }, work, signal)
    })
}

/** The name of the plaintext's file: `input` without the suffix. */
export function withoutSuffix(input: string): string {
  if (input === '-') return '-'
  if (input.endsWith(SUFFIX) && !/(^|[/\\])\.sealed$/.test(input)) return input.slice(0, -SUFFIX.length)
  throw new UsageError(`the input's name does not end in ${SUFFIX}: name the output with --output`)
}
