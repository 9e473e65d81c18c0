#!/usr/bin/env node
import { constants } from 'node:os'
import { forbidCoreDumps } from '../engine'
import { awsProgram } from './aws'
import { expandArguments, isAwsStyle } from './aws-arguments'
import { exitCodeOf, messageOf } from './errors'
import { programOf } from './program'
import { stopProgress } from './progress'
import { closePrompts } from './prompt'
import { abortUploads } from './s3'
import { removeTemporaries } from './sink'

const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const

void main(process.argv)

async function main(argv: readonly string[]): Promise<void> {
  forbidCoreDumps()
  prepareSdk(process.env)
  const abort = new AbortController()
  let interruption: NodeJS.Signals | undefined
  for (const signal of SIGNALS) {
    // Once: a second one ends the process at once, which has nothing left to clean up by then.
    process.once(signal, () => {
      interruption = signal
      removeTemporaries()
      closePrompts()
      abort.abort()
    })
  }
  process.on('exit', removeTemporaries)
  // Whoever reads what is said may be gone: that is no failure of the work.
  process.stderr.on('error', () => {})

  let code = 0
  try {
    const args = argv.slice(2)
    if (isAwsStyle(args)) {
      const program = awsProgram(abort.signal)
      await program.parseAsync(expandArguments(args, program), { from: 'user' })
    } else await programOf(abort.signal).parseAsync(args, { from: 'user' })
  } catch (error) {
    code = exitCodeOf(error)
    const message = interruption ? 'interrupted' : messageOf(error)
    stopProgress()
    if (message !== undefined) process.stderr.write(`sealwax: ${message}\n`)
    if (interruption) {
      await abortUploads()
      end(interruption)
      // The first process of a container is still there: no signal of its own ends it.
      code = 128 + constants.signals[interruption]
    }
  }
  // Standard input may still be open, and would keep the process waiting.
  process.exit(code)
}

/** The SDK reads one name of the Region, and other tools of AWS two; it says at length which versions of Node.js are old. */
function prepareSdk(env: NodeJS.ProcessEnv): void {
  const { AWS_DEFAULT_REGION: region } = env
  if (region !== undefined) env.AWS_REGION ??= region
  env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
}

/** As the signal would have: an ordinary exit waits for every write under way, also to a pipe that nobody reads. */
function end(signal: NodeJS.Signals): void {
  removeTemporaries()
  closePrompts()
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
}
