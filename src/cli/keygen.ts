import { type Command, Option } from 'commander'
import { getEngine } from '../engine'
import { orInterrupted, quote, UsageError } from './errors'
import { MAX_KEY_FILE_LENGTH, serializeKeyFile } from './keys'
import { print, writeOutput } from './sink'

interface KeygenOptions {
  bits: '128' | '192' | '256'
  namespace: string
  name?: string
}

/** `sealwax keygen` */
export function addKeygen(program: Command, signal: AbortSignal): void {
  program
    .command('keygen')
    .summary('make a wrapping key')
    .description('Makes a random AES wrapping key in a new file that only you can read. Who loses it loses the data.')
    .argument('<file>', 'key file to write; never an existing one')
    .addOption(new Option('--bits <n>', 'length of the key').choices(['128', '192', '256']).default('256'))
    .option('--namespace <text>', 'key namespace, public in every message', 'sealwax')
    .option('--name <text>', 'key name, public in every message; a random one by default')
    .action((path: string, options: KeygenOptions) => orInterrupted(keygen(path, options, signal), signal))
}

async function keygen(path: string, options: KeygenOptions, signal: AbortSignal): Promise<void> {
  const { bits, namespace, name = randomName() } = options
  if (path === '-') throw new UsageError('a key goes to a file, not to standard output')
  if (namespace === '' || name === '') throw new UsageError('--namespace and --name must not be empty')
  if (namespace.startsWith('aws-kms')) throw new UsageError('the key namespace "aws-kms" belongs to AWS KMS')
  const key = getEngine().randomBytes(Number(bits) / 8)
  const text = serializeKeyFile(namespace, name, key)
  try {
    if (text.length > MAX_KEY_FILE_LENGTH) throw new UsageError('--namespace and --name are too long')
    const target = { path, force: false, secret: true, fileOnly: true, advice: 'a key is never replaced' }
    await writeOutput(target, text, signal)
  } finally {
    key.fill(0)
    text.fill(0)
  }
  await print(`AES-${bits} key ${quote(name)} of ${quote(namespace)} is in ${quote(path)}`, signal)
}

function randomName(): string {
  return `key-${Buffer.from(getEngine().randomBytes(8)).toString('hex')}`
}
