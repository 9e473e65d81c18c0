import type { Command } from 'commander'
import { getEngine } from '../engine'
import { print } from './sink'

/** `sealwax info` */
export function addInfo(program: Command, version: string, signal: AbortSignal): void {
  program
    .command('info')
    .summary('show what does the work on this machine')
    .description('Shows the version, and what does the cryptography on this machine.')
    .option('--json', 'as JSON', false)
    .action(async ({ json }: { json: boolean }) => {
      const { backend, openssl, cpu, threads, fallback } = getEngine().info()
      if (json) {
        const info = { sealwax: version, node: process.versions.node, backend, openssl, cpu, threads, fallback }
        await print(JSON.stringify(info, null, 2), signal)
        return
      }
      const lines = [
        `sealwax   ${version}, Node.js ${process.versions.node}, ${process.platform}-${process.arch}`,
        `engine    ${backend}${fallback === undefined ? '' : ` (${fallback})`}`,
        `OpenSSL   ${openssl}`,
        `CPU       ${cpu.join(' ') || 'no special instructions'}`,
        `threads   ${threads}`,
      ]
      await print(lines.join('\n'), signal)
    })
}
