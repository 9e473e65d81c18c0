import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { addCompletion } from './completion'
import { addDecrypt } from './decrypt'
import { addEncrypt } from './encrypt'
import { addHsm } from './hsm'
import { addInfo } from './info'
import { addInspect } from './inspect'
import { addKeygen } from './keygen'
import { addKms } from './kms'
import { addRewrap } from './rewrap'
import { writeHelp } from './sink'

/** All commands and options. */
export function programOf(signal: AbortSignal): Command {
  const { version } = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8')) as { version: string }
  const program = new Command('sealwax')
    .description('Client-side encryption of files, as messages of the AWS Encryption SDK, and of S3 objects.')
    .version(version)
    .showHelpAfterError('(add --help for the options)')
    .exitOverride()
    .configureOutput({ writeOut: writeHelp })
    .addHelpText('after', '\nWithout a command: the arguments of aws-encryption-cli, `sealwax --encrypt --help`.')
  addKeygen(program, signal)
  addEncrypt(program, signal)
  addDecrypt(program, signal)
  addInspect(program, signal)
  addRewrap(program, signal)
  addKms(program, signal)
  addHsm(program, signal)
  addInfo(program, version, signal)
  addCompletion(program, signal)
  return program
}
