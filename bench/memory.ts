/**
 * What memory for a result costs: `npx tsx --expose-gc bench/memory.ts`.
 *
 * Takes memory and writes one byte to each page of 4 KiB: fresh from Node.js, fresh on huge pages, from the pool of
 * `engine.allocate`, and again what is there already. CPU time of the process in microseconds, garbage collection included.
 */
import { getEngine } from '#built/engine/engine'
import { NativeEngine } from '#built/engine/native'
import { showLength } from './contender'

const KIB = 1024
const MIB = 1024 * KIB
const ROUNDS = 40

async function main(): Promise<void> {
  const engine = getEngine()
  if (!(engine instanceof NativeEngine)) throw new Error('this would measure something else: there is no addon')
  const once = new Map<number, Buffer>()
  const ways: [string, (length: number) => Buffer][] = [
    ['fresh', (length) => Buffer.allocUnsafeSlow(length)],
    [
      'fresh, huge pages',
      (length) => {
        const memory = Buffer.allocUnsafeSlow(length)
        engine.binding.preferHugePages(memory)
        return memory
      },
    ],
    ['engine.allocate', (length) => engine.allocate(length)],
    [
      'the same again',
      (length) => {
        if (!once.has(length)) once.set(length, Buffer.alloc(length))
        return once.get(length)!
      },
    ],
  ]
  console.log(''.padEnd(12) + ways.map(([name]) => name.padStart(20)).join(''))
  for (const length of [64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB]) {
    const cells: string[] = []
    for (const [, take] of ways) cells.push(`${(await cost(() => touch(take(length)))).toFixed(0)} us`.padStart(20))
    console.log(showLength(length).padEnd(12) + cells.join(''))
  }
}

async function cost(work: () => void): Promise<number> {
  for (let i = 0; i < 5; i++) await round(work)
  const before = process.cpuUsage()
  for (let i = 0; i < ROUNDS; i++) await round(work)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / ROUNDS
}

/** Memory comes back when other events have their turn. */
async function round(work: () => void): Promise<void> {
  work()
  await new Promise((resolve) => setImmediate(resolve))
}

function touch(memory: Buffer): void {
  for (let at = 0; at < memory.length; at += 4 * KIB) memory[at] = 1
}

void main()
