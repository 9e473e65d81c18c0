/**
 * What it costs to begin: `npx tsx bench/start.ts`, after `npm run build:ts`, with the options of comparison.ts. Time and
 * resident memory above those of a Node.js that does nothing, each the median of fresh processes taken in turn.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { compare } from './comparison'
import type { Sample } from './contender'

type Case = 'import' | 'import and a first message'

const ROUNDS = 11
const MODULES = new Map([
  ['sealwax', join(__dirname, '../dist/index.js')],
  ['client-node', '@aws-crypto/client-node'],
])
const FIRST_MESSAGE = `.then(async ({ buildClient, RawAesKeyringNode, RawAesWrappingSuiteIdentifier: suites }) => {
  const unencryptedMasterKey = new Uint8Array(32).fill(1)
  const wrappingSuite = suites.AES256_GCM_IV12_TAG16_NO_PADDING
  const keyring = new RawAesKeyringNode({ keyNamespace: 'n', keyName: 'k', unencryptedMasterKey, wrappingSuite })
  const { encrypt, decrypt } = buildClient()
  const { result } = await encrypt(keyring, 'hello')
  const { plaintext } = await decrypt(keyring, result)
  if (plaintext.toString() !== 'hello') throw new Error('wrong')
})`

compare<Case>(__filename, {
  title: 'Start',
  about: 'A fresh process imports the package, or also encrypts and decrypts one signed message.',
  contenders: [...MODULES.keys()],
  cases: ['import', 'import and a first message'],
  name: (one) => one,
  bytes: () => 0,
  series: (one) => one,
  measure: async (contender, one) => {
    const work = one === 'import' ? '' : FIRST_MESSAGE
    const costs = Array.from({ length: ROUNDS }, () => {
      const bare = start('node:os', '')
      const loaded = start(MODULES.get(contender)!, work)
      return { time: loaded.time - bare.time, memory: loaded.memory - bare.memory }
    })
    const times = costs.map(({ time }) => time).sort((a, b) => a - b)
    const memories = costs.map(({ memory }) => memory).sort((a, b) => a - b)
    return { median: times[5]!, low: times[1]!, high: times[9]!, memory: memories[5]! } satisfies Sample
  },
})

function start(module: string, work: string): { time: number; memory: number } {
  const script = `const start = performance.now(); import(${JSON.stringify(module)})${work}.then(() => {
    const time = performance.now() - start
    gc(); console.log(JSON.stringify({ time, memory: process.memoryUsage().rss / 2 ** 20 })) })`
  const { stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', '-e', script], { encoding: 'utf8' })
  if (stdout === '') throw new Error(stderr)
  return JSON.parse(stdout) as { time: number; memory: number }
}
