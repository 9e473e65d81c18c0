/**
 * For how long long messages and streams hold up the event loop, one alone and many at once: `npx tsx bench/event-loop.ts [MiB] [messages]`.
 * Beside it @aws-crypto/client-node, with the same keyring, suite and frames. The longest time between two turns, in ms.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import * as peer from '@aws-crypto/client-node'
import * as sealwax from '#built/index'
import { newKeyring } from './contender'

const [MIB = 16, MESSAGES = 32] = process.argv.slice(2).map(Number)
const CHUNK = 64 * 1024
const SUITES = { unsigned: 0x0478, signed: 0x0578 }

async function main(): Promise<void> {
  const plaintext = Buffer.alloc(MIB * 2 ** 20, 1)
  console.log(`encrypt, messages of ${MIB} MiB; Node.js ${process.versions.node}\n`)
  console.log(`${''.padEnd(44)}one alone  ${MESSAGES} at once`)
  const libraries = { sealwax, '@aws-crypto/client-node': peer as unknown as typeof sealwax }
  for (const [name, library] of Object.entries(libraries)) {
    const keyring = newKeyring(library)
    const { encrypt, encryptStream } = library.buildClient()
    const ways = {
      message: (suiteId: number) => encrypt(keyring, plaintext, { suiteId }),
      stream: (suiteId: number) => {
        const chunks = Array.from({ length: MIB * 16 }, (_, i) => plaintext.subarray(i * CHUNK, (i + 1) * CHUNK))
        const sink = new Writable({ write: (_chunk, _encoding, callback) => callback() })
        return pipeline(Readable.from(chunks), encryptStream(keyring, { suiteId }), sink)
      },
    }
    const longest = async (run: (suiteId: number) => Promise<unknown>, count: number, suiteId: number) => {
      const delay = monitorEventLoopDelay({ resolution: 1 })
      delay.enable()
      await Promise.all(Array.from({ length: count }, () => run(suiteId)))
      await sleep(5)
      delay.disable()
      return Math.round(delay.max / 1e6)
    }
    for (const [way, run] of Object.entries(ways)) {
      for (const [kind, suiteId] of Object.entries(SUITES)) {
        await longest(run, 1, suiteId)
        const [alone, together] = [await longest(run, 1, suiteId), await longest(run, MESSAGES, suiteId)]
        console.log(
          `${`${name}, ${kind} ${way}`.padEnd(44)}${`${alone} ms`.padStart(9)}  ${`${together} ms`.padStart(10)}`,
        )
      }
    }
  }
}

void main()
