#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { awsProgram, expandArguments, isAwsStyle } from './aws'
import { addDecrypt } from './decrypt'
import { addEncrypt } from './encrypt'
import { exitCodeOf, messageOf } from './errors'
import { addHsm } from './hsm'
import { addInfo } from './info'
import { addInspect } from './inspect'
import { addKeygen } from './keygen'
import { addKms } from './kms'
import { addRewrap } from './rewrap'
import { abortUploads } from './s3'
import { removeTemporaries } from './sink'

const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const

void main(process.argv)

async function main(argv: readonly string[]): Promise<void> {
  const abort = new AbortController()
  let interruption: NodeJS.Signals | undefined
  for (const signal of SIGNALS) {
    // Once: a second one ends the process at once, which has nothing left to clean up by then.
    process.once(signal, () => {
      interruption = signal
      removeTemporaries()
      abort.abort()
    })
  }
  process.on('exit', removeTemporaries)

  let code = 0
  try {
    const args = argv.slice(2)
    if (isAwsStyle(args)) await awsProgram(abort.signal).parseAsync(expandArguments(args), { from: 'user' })
    else await programOf(abort.signal).parseAsync(args, { from: 'user' })
  } catch (error) {
    code = exitCodeOf(error)
    const message = interruption ? 'interrupted' : messageOf(error)
    if (message !== undefined) process.stderr.write(`sealwax: ${message}\n`)
    if (interruption) {
      await abortUploads()
      end(interruption)
    }
  }
  // Standard input may still be open, and would keep the process waiting.
  process.exit(code)
}

/** As the signal would have: an ordinary exit waits for every write under way, also to a pipe that nobody reads. */
function end(signal: NodeJS.Signals): void {
  removeTemporaries()
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
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
  addRewrap(program, signal)
  addKms(program, signal)
  addHsm(program, signal)
  addInfo(program, version, signal)
  return program
}
