/**
 * What loading costs: `npx tsx bench/import.ts`, after `npm run build:ts`. Time and resident memory above bare Node, by
 * `import` of the built package and of @aws-crypto/client-node; medians of eleven fresh processes each, in turn.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

const CONTENDERS = {
  'bare Node': 'node:os',
  sealwax: join(__dirname, '../dist/index.js'),
  'client-node': '@aws-crypto/client-node',
}
const ROUNDS = 11

const samples = new Map<string, { time: number; memory: number }[]>(Object.keys(CONTENDERS).map((name) => [name, []]))
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, module] of Object.entries(CONTENDERS)) samples.get(name)!.push(load(module))
}

const bare = samples.get('bare Node')!
for (const [name, values] of samples) {
  const time = median(values.map((value) => value.time)) - median(bare.map((value) => value.time))
  const memory = median(values.map((value) => value.memory)) - median(bare.map((value) => value.memory))
  if (values !== bare)
    console.log(
      `${name.padEnd(14)}${time.toFixed(1).padStart(8)} ms${memory.toFixed(1).padStart(8)} MiB above bare Node`,
    )
}

function load(module: string): { time: number; memory: number } {
  const script = `const start = performance.now(); import(${JSON.stringify(module)}).then(() => {
    const time = performance.now() - start
    gc(); console.log(JSON.stringify({ time, memory: process.memoryUsage().rss / 2 ** 20 })) })`
  const { stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', '-e', script], { encoding: 'utf8' })
  if (stdout === '') throw new Error(stderr)
  return JSON.parse(stdout)
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!
}
