import type { Command } from 'commander'
import { withoutSuffix } from './encrypt'
import { transformFile } from './io'
import { toKeyring } from './keys'
import { addCommonOptions, type CommonOptions, clientOf, contextOf } from './options'

/** `sealwax decrypt` */
export function addDecrypt(program: Command, signal: AbortSignal): void {
  const command = program
    .command('decrypt')
    .summary('decrypt a file')
    .description(
      'Decrypts a message to <input> without .sealed, or to --output. Writes nothing unless all is authentic.',
    )
    .argument('<input>', 'message to decrypt; - for standard input')
  addCommonOptions(command, 'pair that the message must have')
    .option('--rsa-private-key <file>', 'RSA private key in PEM, without a passphrase')
    .action(async (input: string, options: CommonOptions) => {
      const path = options.output ?? withoutSuffix(input)
      const keyring = await toKeyring(options)
      const client = clientOf(options)
      const op = { encryptionContext: contextOf(options), signal }
      const work = {
        label: 'decrypting',
        expansion: 1,
        run: async (bytes: Uint8Array) => (await client.decrypt(keyring, bytes, op)).plaintext,
      }
      await transformFile(input, { path, force: options.force === true, secret: true }, work, signal)
    })
}
