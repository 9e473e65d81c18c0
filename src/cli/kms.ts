import { once } from 'node:events'
import type { Command } from 'commander'
import { SealwaxError } from '../index'
import { type LocalKmsOptions, startLocalKms } from '../local-kms'
import { fileError, quote } from './errors'
import { parseJson, readSecret } from './keys'
import { parseCount } from './options'
import { print } from './sink'

interface ServeOptions {
  data?: string
  port: number
  credentials?: string
  log?: true
}

/** `sealwax kms serve` */
export function addKms(program: Command, signal: AbortSignal): void {
  program
    .command('kms')
    .description('A local KMS, for development and tests only.')
    .command('serve')
    .summary('run a local KMS, for development and tests only')
    .description(`Answers on loopback as AWS KMS does, until it is stopped with Ctrl-C or SIGTERM. ${WARNING}`)
    .option('--data <folder>', 'keep keys in this folder; otherwise they end with the server')
    .option('--port <n>', 'TCP port; 0 takes a free one', parseCount(0, 0xffff), 0)
    .option('--credentials <file>', 'JSON with the accessKeyId and secretAccessKey that requests must be signed with')
    .option('--log', 'a line of JSON for each request on standard error')
    .action(async (options: ServeOptions) => {
      if (process.env.NODE_ENV === 'production') {
        const why = 'it does not start where NODE_ENV is production'
        throw new SealwaxError('ERR_KEY_SERVICE', `the local KMS is for development and tests only: ${why}`)
      }
      const kms = await startLocalKms(await toLocalKmsOptions(options))
      try {
        process.stderr.write(`sealwax: ${WARNING}\n`)
        // Stopped while it started, it has nothing to say.
        if (signal.aborted) return
        await print(kms.endpoint, signal)
        if (!signal.aborted) await once(signal, 'abort')
      } finally {
        await kms.close()
      }
    })
}

const WARNING = 'FOR DEVELOPMENT AND TESTS ONLY: whoever can connect may use and delete every key.'

async function toLocalKmsOptions({ data, port, credentials, log }: ServeOptions): Promise<LocalKmsOptions> {
  return {
    port,
    ...(data !== undefined && { dataDir: data }),
    ...(credentials !== undefined && { credentials: await readCredentials(credentials) }),
    ...(log && { log: (line: string) => void process.stderr.write(`${line}\n`) }),
  }
}

async function readCredentials(path: string): Promise<{ accessKeyId: string; secretAccessKey: string }> {
  const bytes = await readSecret(path)
  const { accessKeyId, secretAccessKey } = Object(parseJson(bytes)) as Record<string, unknown>
  bytes.fill(0)
  if (typeof accessKeyId === 'string' && typeof secretAccessKey === 'string') return { accessKeyId, secretAccessKey }
  throw fileError(`${quote(path)} must be JSON with the strings "accessKeyId" and "secretAccessKey"`)
}
