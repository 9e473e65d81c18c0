import { Command, CommanderError } from 'commander'
import { addDecrypt } from '../../src/cli/decrypt'
import { addEncrypt } from '../../src/cli/encrypt'
import { exitCodeOf } from '../../src/cli/errors'
import { addHsm } from '../../src/cli/hsm'
import { addInspect } from '../../src/cli/inspect'
import { addKeygen } from '../../src/cli/keygen'
import { addKms } from '../../src/cli/kms'
import { type CommonOptions, clientOf, contextOf } from '../../src/cli/options'
import type { Target } from './fuzzer'

/** The command's arguments, one a line: read, but not acted upon. */
export const commandArguments: Target = {
  seeds: [
    'encrypt -k my.key report.pdf',
    'encrypt -k a -k b --encryption-context a=b c=d --frame-length 4096 --algorithm-suite 0x0578 in -o out',
    'decrypt -k my.key --max-encrypted-data-keys 3 --commitment-policy forbid-encrypt-allow-decrypt -o - -',
    'decrypt --discovery --discovery-account 111122223333 -r folder -o other',
    'inspect a.sealed',
    'keygen my.key --bits 128',
    'kms --port 80',
    'hsm list --module x',
  ].map((line) => Buffer.from(line.replaceAll(' ', '\n'))),
  words: [
    '\n--help',
    '\n--',
    '\n-',
    '\n--frame-length\n',
    '=\n',
    '\n--encryption-context\n=',
    '__proto__=',
    '1e9',
    '0x',
  ],
  async run(input) {
    await parser().parseAsync(Buffer.from(input).toString().split('\n'), { from: 'user' })
  },
  refusal: (error) => error instanceof CommanderError || exitCodeOf(error) === 2,
}

function parser(): Command {
  const program = new Command('sealwax').exitOverride().configureOutput({ writeOut() {}, writeErr() {} })
  const { signal } = new AbortController()
  for (const add of [addKeygen, addEncrypt, addDecrypt, addInspect, addKms, addHsm]) add(program, signal)
  leaves(program).forEach((command) => {
    command.action(() => {
      const options = command.opts<CommonOptions>()
      if (!options.commitmentPolicy) return
      contextOf(options)
      clientOf(options)
    })
  })
  return program
}

function leaves(command: Command): Command[] {
  return command.commands.length > 0 ? command.commands.flatMap(leaves) : [command]
}
