import { Argument, type Command } from 'commander'
import { awsProgram } from './aws'
import { isAwsStyle } from './aws-arguments'
import { print } from './sink'

/** `sealwax completion` */
export function addCompletion(program: Command, signal: AbortSignal): void {
  program
    .command('completion')
    .summary('print completions for a shell')
    .description('Prints completions of commands and options, for the start-up file of a shell.')
    .addArgument(new Argument('<shell>', 'the shell').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: keyof typeof SCRIPTS) => {
      await print(SCRIPTS[shell](allWords(program, awsProgram(signal))).trimEnd(), signal)
    })
}

/** What may follow a command: its commands, options, and the values of options that have a choice. */
interface Words {
  /** `''` for the program itself, `hsm list` for a command of a command. */
  readonly command: string
  readonly words: readonly { readonly word: string; readonly help: string }[]
  readonly choices: readonly { readonly flag: string; readonly values: readonly string[] }[]
}

/** With the arguments of the AWS Encryption CLI, of which the first stands where a command would. */
function allWords(program: Command, aws: Command): Words[] {
  const [own, ...commands] = wordsOf(program)
  const [{ words, choices }] = wordsOf(aws) as [Words]
  const actions = words.filter(({ word }) => isAwsStyle([word]))
  const all = { ...own!, words: [...own!.words, ...actions] }
  return [all, ...commands, ...actions.map(({ word }) => ({ command: word, words, choices }))]
}

function wordsOf(command: Command, path: readonly string[] = []): Words[] {
  const help = command.createHelp()
  const commands = help.visibleCommands(command).filter((each) => each.name() !== 'help')
  const options = help.visibleOptions(command)
  const words = [
    ...commands.map((each) => ({ word: each.name(), help: each.summary() || each.description() })),
    ...options.map((each) => ({ word: each.long ?? each.short!, help: each.description })),
  ]
  const choices = [
    ...options.map(({ long, short, argChoices }) => ({ flag: long ?? short!, values: argChoices ?? [] })),
    // Of an argument, after the command itself.
    ...command.registeredArguments.map(({ argChoices }) => ({ flag: command.name(), values: argChoices ?? [] })),
  ].filter(({ values }) => values.length > 0)
  return [
    { command: path.join(' '), words, choices },
    ...commands.flatMap((each) => wordsOf(each, [...path, each.name()])),
  ]
}

const SCRIPTS = { bash, zsh, fish }

function bash(all: readonly Words[]): string {
  const cases = all.map(
    ({ command, words }) => `    '${command}') words='${words.map(({ word }) => word).join(' ')}' ;;`,
  )
  return `_sealwax() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" command='' words='' i
  for ((i = 1; i < COMP_CWORD && i < 3; i++)); do
    case "\${command:+$command }\${COMP_WORDS[i]}" in
      ${all.flatMap(({ command }) => (command === '' ? [] : [`'${command}'`])).join(' | ')}) command="\${command:+$command }\${COMP_WORDS[i]}" ;;
    esac
  done
  case "$command $previous" in
${choiceCases(all, (values) => `words='${values.join(' ')}'; COMPREPLY=($(compgen -W "$words" -- "$current")); return`)}
  esac
  case "$command" in
${cases.join('\n')}
  esac
  # Where no command can follow, a file does: bash completes it by itself.
  COMPREPLY=()
  [[ $current == -* || $words == [a-z]* ]] || return
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _sealwax sealwax
`
}

function zsh(all: readonly Words[]): string {
  // A .zshrc need not have loaded what completions are built on.
  return `(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
autoload -U +X bashcompinit && bashcompinit
${bash(all)}`
}

function fish(all: readonly Words[]): string {
  const lines = all.flatMap(({ command, words, choices }) => {
    const when = `-n 'test (_sealwax_command) = "${command}"'`
    return words.map(({ word, help }) => {
      const values = choices.find(({ flag }) => flag === word)?.values
      const what = word.startsWith('--')
        ? `-l ${word.slice(2)}`
        : word.startsWith('-')
          ? `-s ${word.slice(1)}`
          : `-f -a ${word}`
      const given = values ? ` -x -a '${values.join(' ')}'` : ''
      return `complete -c sealwax ${when} ${what}${given} -d '${help.replaceAll("'", '’')}'`
    })
  })
  return `function _sealwax_command
  set -l words (commandline -opc)
  set -l command
  for word in $words[2..3]
    contains -- (string join -- ' ' $command $word) ${all.flatMap(({ command }) => (command === '' ? [] : [`'${command}'`])).join(' ')}; and set -a command $word
  end
  echo "$command"
end
${lines.join('\n')}
complete -c sealwax -n 'test (_sealwax_command) = "completion"' -x -a 'bash zsh fish'
`
}

function choiceCases(all: readonly Words[], then: (values: readonly string[]) => string): string {
  return all
    .flatMap(({ command, choices }) =>
      choices.map(({ flag, values }) => `    '${command} ${flag}') ${then(values)} ;;`),
    )
    .join('\n')
}
