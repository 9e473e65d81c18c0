/** The arguments of the AWS Encryption CLI as it reads them, made into those that commander knows. */
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import type { Command } from 'commander'
import { quote, UsageError } from './errors'

const ACTION = /^(-e|-d|--encrypt|--decrypt(-u[a-z]*)?)$/

/** Whether these are arguments of that command line, and not of ours. */
export function isAwsStyle([first, ...rest]: readonly string[]): boolean {
  return (
    first !== undefined &&
    /^[-@]/.test(first) &&
    [first, ...rest].some((each) => ACTION.test(each) || each.startsWith('@'))
  )
}

/**
 * `@file` stands for the arguments in that file, and the start of an option of `program` for all of it; the attributes
 * after one `--wrapping-keys` are put into one argument.
 */
export function expandArguments(args: readonly string[], program: Command): string[] {
  const names = program.options.flatMap(({ long }) => long ?? []).concat('--help')
  const all = args
    .flatMap((each) => (each.startsWith('@') ? argumentsIn(each.slice(1), []) : [each]))
    .map((each) => (each.startsWith('--') ? wholeName(each, names) : each))
  const expanded: string[] = []
  for (let i = 0; i < all.length; i++) {
    expanded.push(all[i]!)
    if (all[i] !== '-w' && all[i] !== '--wrapping-keys') continue
    const start = i + 1
    while (i + 1 < all.length && !all[i + 1]!.startsWith('-')) i++
    if (i >= start) expanded.push(JSON.stringify(all.slice(start, i + 1)))
  }
  return expanded
}

/** `--recurs` is `--recursive`, as long as no other option begins so. */
function wholeName(argument: string, names: readonly string[]): string {
  const [name = ''] = argument.split('=', 1)
  if (names.includes(name)) return argument
  const meant = names.filter((each) => each.startsWith(name))
  if (meant.length > 1 && name !== '--') throw new UsageError(`${name} could be ${meant.join(' or ')}`)
  return meant.length === 1 ? meant[0]! + argument.slice(name.length) : argument
}

function argumentsIn(path: string, within: readonly string[]): string[] {
  if (within.includes(path)) throw new UsageError(`the file ${quote(path)} names itself`)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new UsageError(`cannot read the arguments in ${quote(path)}: ${(error as NodeJS.ErrnoException).code}`)
  }
  const words = text.split('\n').flatMap((line) => wordsOf(line, path))
  return words.flatMap((each) => (each.startsWith('@') ? argumentsIn(each.slice(1), [...within, path]) : [each]))
}

/** The words of a line up to a comment, quoted and escaped as a shell has it. */
function wordsOf(line: string, path: string): string[] {
  const word = /\s*(?:#.*$|((?:[^\s'"\\#]|(?<=[^\s])#|'[^']*'|"(?:[^"\\]|\\.)*"|\\.)+)|$)/y
  const words: string[] = []
  while (word.lastIndex < line.length) {
    const found = word.exec(line)
    if (!found) throw new UsageError(`a quotation in ${quote(path)} has no end`)
    if (found[1] === undefined) break
    const unquoted = found[1].replace(/'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)/g, (_, single, double, escaped) => {
      return single ?? escaped ?? double.replace(/\\(["\\])/g, '$1')
    })
    words.push(withVariables(unquoted))
  }
  return words
}

/** The home folder for `~` at the start, and variables of the environment; quoted or not, and unknown ones stay. */
function withVariables(word: string): string {
  const atHome = word.replace(/^~(?=\/|$)/, () => homedir())
  return atHome.replace(/\$(?:(\w+)|\{(\w+)\})/g, (all, bare, braced) => process.env[bare ?? braced] ?? all)
}
