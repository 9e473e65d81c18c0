#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { addDecrypt } from './decrypt'
import { addEncrypt } from './encrypt'
import { exitCodeOf, messageOf } from './errors'
import { addInfo } from './info'
import { addInspect } from './inspect'
import { addKeygen } from './keygen'
import { removeTemporaries } from './sink'

const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

void main(process.argv)

async function main(argv: readonly string[]): Promise<void> {
  const abort = new AbortController()
  let interrupted = 0
  for (const [signal, code] of Object.entries(SIGNALS)) {
    // Once: a second one ends the process at once, which has nothing left to clean up by then.
    process.once(signal, () => {
      interrupted = code
      removeTemporaries()
      abort.abort()
    })
  }
  process.on('exit', removeTemporaries)

  let code = 0
  try {
    await programOf(abort.signal).parseAsync(argv)
  } catch (error) {
    code = interrupted || exitCodeOf(error)
    const message = interrupted ? 'interrupted' : messageOf(error)
    if (message !== undefined) process.stderr.write(`sealwax: ${message}\n`)
  }
  // Standard input may still be open, and would keep the process waiting.
  process.exit(code)
}

function programOf(signal: AbortSignal): Command {
  const { version } = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8')) as { version: string }
  const program = new Command('sealwax')
    .description('Client-side encryption of files, in the message format of the AWS Encryption SDK.')
    .version(version)
    .showHelpAfterError('(add --help for the options)')
    .exitOverride()
  addKeygen(program, signal)
  addEncrypt(program, signal)
  addDecrypt(program, signal)
  addInspect(program, signal)
  addInfo(program, version, signal)
  return program
}
