import { existsSync, readdirSync } from 'node:fs'
import { join, parse, sep } from 'node:path'

/**
 * The paths that a pattern stands for, in order, as Python's `glob.glob` finds them: `*`, `?` and `[…]` stand for characters of one
 * name, and for a first dot only where the pattern has it. What is there, and what is no pattern, stands for itself.
 */
export function expandPattern(pattern: string): string[] {
  if (existsSync(pattern) || !IS_PATTERN.test(pattern)) return [pattern]
  // Such as C:\ on Windows, which has two separators.
  const { root } = parse(pattern)
  const names = pattern.slice(root.length).split(sep === '/' ? '/' : /[\\/]/)
  return names.reduce<string[]>((paths, name) => paths.flatMap((path) => below(path, name)), [root])
}

function below(folder: string, name: string): string[] {
  if (!IS_PATTERN.test(name)) return existsSync(join(folder, name)) ? [join(folder, name)] : []
  const matches = toRegExp(name)
  return namesIn(folder === '' ? '.' : folder)
    .filter((each) => matches.test(each) && (name[0] === '.' || each[0] !== '.'))
    .sort()
    .map((each) => join(folder, each))
}

/** Nothing is in what is no folder, or cannot be read. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function toRegExp(pattern: string): RegExp {
  const source = pattern.replace(/\[(!?)(\]?[^\]]*)\]|[*?]|[\\^$.|+(){}[\]]/g, (text, not, characters) => {
    if (text === '*') return '.*'
    if (text === '?') return '.'
    if (characters === undefined) return `\\${text}`
    return `[${not ? '^' : ''}${characters.replace(/[\\\]^[]/g, '\\$&')}]`
  })
  try {
    return new RegExp(`^${source}$`, 'su')
  } catch {
    // A range that ends before it begins has no characters.
    return NOTHING
  }
}

const NOTHING = /(?!)/

const IS_PATTERN = /[*?[]/
