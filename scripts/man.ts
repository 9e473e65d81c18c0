/** Writes `man/sealwax.1` from what the command line says of itself: `npx tsx scripts/man.ts`. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Argument, Command, Option } from 'commander'
import { awsProgram } from '../src/cli/aws'
import { programOf } from '../src/cli/program'

export function manPage(): string {
  const program = programOf(new AbortController().signal)
  const lines = [
    `.TH SEALWAX 1 "" "sealwax ${program.version()}" "User Commands"`,
    // Names of suites are longer than what is left of a line.
    '.ad l',
    '.SH NAME',
    'sealwax \\- client-side encryption of files and S3 objects',
    '.SH SYNOPSIS',
    ...synopses(program).flatMap((each) => [text(each), '.br']),
    '.SH DESCRIPTION',
    text(program.description()),
    '.SH COMMANDS',
    ...sections(program, []),
    '.SH ARGUMENTS OF AWS-ENCRYPTION-CLI',
    text(
      'Without a command, after --encrypt, --decrypt or --decrypt-unsigned. @file stands for the arguments in a file.',
    ),
    ...options(awsProgram(new AbortController().signal)),
    '.SH ENVIRONMENT',
    ...item('SEALWAX_PIN', 'PIN of PKCS#11 tokens, where neither an option nor a URI says where it comes from'),
    ...item('AWS_*', 'Region, credentials, profile and endpoints, as every AWS SDK reads them'),
    '.SH EXIT STATUS',
    ...item('0', 'done, all of it'),
    ...item('1', 'failed: a file, a key, a policy, a limit'),
    ...item('2', 'the command line is wrong'),
    ...item('3', 'the message is refused: changed, cut, not for these keys, or without a required pair'),
    ...item('129, 130, 143', 'ended by SIGHUP, SIGINT or SIGTERM'),
    '.SH SEE ALSO',
    text('The page docs/cli.md of the project, with all that the command line promises.'),
  ]
  return `${lines.join('\n')}\n`
}

function sections(parent: Command, path: readonly string[]): string[] {
  return visible(parent).flatMap((command) => {
    const names = [...path, command.name()]
    if (visible(command).length > 0) return sections(command, names)
    return [`.SS "${escaped(['sealwax', ...names].join(' '))}"`, text(command.description()), ...options(command)]
  })
}

function options(command: Command): string[] {
  const help = command.createHelp()
  const all = help.visibleOptions(command).filter(({ long }) => long !== '--help')
  return [
    ...help.visibleArguments(command).flatMap((argument) => item(`<${argument.name()}>`, describe(argument))),
    ...all.flatMap((option) => item(option.flags, describe(option))),
  ]
}

function synopses(parent: Command, path: readonly string[] = ['sealwax']): string[] {
  return visible(parent).flatMap((command) => {
    const name = [...path, command.name()]
    return visible(command).length > 0 ? synopses(command, name) : [`${name.join(' ')} ${command.usage()}`]
  })
}

function visible(command: Command): Command[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .filter((each) => each.name() !== 'help')
}

function describe({ description, argChoices, defaultValue }: Option | Argument): string {
  const choices = argChoices ? `; one of ${argChoices.join(', ')}` : ''
  const preset = defaultValue === undefined || typeof defaultValue === 'boolean' ? '' : ` (default: ${defaultValue})`
  return `${description}${choices}${preset}`
}

function item(tag: string, what: string): string[] {
  return ['.TP', `.B ${escaped(tag)}`, text(what)]
}

/** No line may begin with a dot or an apostrophe, which would be a request. */
function text(line: string): string {
  return escaped(line).replace(/^(?=[.'])/, '\\&')
}

function escaped(line: string): string {
  return line.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll('…', '...')
}

if (require.main === module) {
  const folder = join(__dirname, '../man')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'sealwax.1'), manPage())
}
