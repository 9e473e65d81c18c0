import { createInterface } from 'node:readline'
import { quote } from './errors'

/** Questions of one run, each answered by the next line of standard input. */
export class Questions {
  /** What nobody answered about: the input had ended. */
  readonly unanswered: string[] = []
  /** One reader for all questions, as it takes in more than a line at a time. */
  #lines: AsyncIterator<string> | undefined

  async mayReplace(path: string): Promise<boolean> {
    // The terminal stays as it is: Ctrl-C is a signal, as at any other time.
    this.#lines ??= createInterface({ input: process.stdin, terminal: false })[Symbol.asyncIterator]()
    process.stderr.write(`Overwrite existing target file ${quote(path)} with new contents? [y/N]: `)
    const { done, value } = await this.#lines.next()
    if (!done) return /^y/i.test(value)
    process.stderr.write('\n')
    this.unanswered.push(path)
    return false
  }
}
