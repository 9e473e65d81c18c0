import { closeSync, openSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { ReadStream } from 'node:tty'
import { SealwaxError } from '../index'

/** Asks at the terminal, wherever standard input and output go; what is typed is not shown. */
export async function promptSecret(question: string, advice: string): Promise<string> {
  const terminal = openTerminal(advice)
  const mute = new Writable({ write: (_chunk, _encoding, done) => done() })
  // In raw mode, so nothing is echoed; readline knows what backspace, Ctrl-U and Ctrl-C mean.
  const lines = createInterface({ input: terminal, output: mute, terminal: true, historySize: 0 })
  const close = () => {
    lines.close()
    terminal.destroy()
  }
  prompts.add(close)
  process.stderr.write(question)
  try {
    return await new Promise<string>((resolve, reject) => {
      lines.once('line', resolve).once('close', () => reject(new SealwaxError('ERR_WRAPPING_KEY', 'no PIN was given')))
      lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'))
    })
  } finally {
    prompts.delete(close)
    close()
    process.stderr.write('\n')
  }
}

/** Gives the terminal back as it was, at once: for signals, which would leave it without echo. */
export function closePrompts(): void {
  for (const close of prompts) close()
}

/** Those that are open. */
const prompts = new Set<() => void>()

function openTerminal(advice: string): ReadStream {
  let fd: number | undefined
  try {
    fd = openSync('/dev/tty', 'r')
    return new ReadStream(fd)
  } catch {
    if (fd !== undefined) closeSync(fd)
    throw new SealwaxError('ERR_WRAPPING_KEY', `no PIN, and no terminal to ask for it: ${advice}`)
  }
}
