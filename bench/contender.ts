/**
 * Runs each contender of a comparison in a process of its own, so that none warms or litters another's.
 * A bench script is its own child: started with `--contender`, it measures one case and answers with JSON.
 */
import { spawnSync } from 'node:child_process'
import { basename, join } from 'node:path'
import type * as sealwax from '#built/index'

export interface Sample {
  /** Median, 10th and 90th percentile of the time of one call, in milliseconds. */
  readonly median: number
  readonly low: number
  readonly high: number
  /** Peak resident memory above what the process had before it began, in MiB. */
  readonly memory: number
}

/** In the child: the contender and case asked for; in the parent: undefined. */
export function childTask<Case>(): { contender: string; task: Case } | undefined {
  const at = process.argv.indexOf('--contender')
  return at < 0 ? undefined : { contender: process.argv[at + 1]!, task: JSON.parse(process.argv[at + 2]!) as Case }
}

/** In the child: hands the result to the parent. */
export function answer(result: unknown): void {
  process.stdout.write(`\n#${JSON.stringify(result)}\n`)
}

/**
 * `script` as plain JavaScript, which is how libraries are published: what compiles it while it runs takes a fifth of the speed
 * of what is measured, and 80 MiB.
 */
export function compiled(script: string): string {
  if (script.endsWith('.js')) return script
  const outfile = join(__dirname, '../build/bench', `${basename(script, '.ts')}.js`)
  const { buildSync } = require('esbuild') as typeof import('esbuild')
  buildSync({
    entryPoints: [script],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20',
    packages: 'external',
    external: ['#built/*'],
    define: { __dirname: JSON.stringify(__dirname) },
  })
  return outfile
}

/** What the engine says of itself on another Node.js. */
export interface About {
  readonly node: string
  readonly openssl: string
  readonly cpu: readonly string[]
  readonly threads: number
}

export function aboutNode(node: string): About {
  const { status, stdout, stderr } = spawnSync(node, ['--import', 'tsx', join(__dirname, 'about.ts')], {
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(stderr)
  return JSON.parse(stdout) as About
}

/** In the parent: runs `script` for one contender and case. Where that fails, says why, gives nothing, and lets the parent fail. */
export function measureInChild<Result>(
  script: string,
  contender: string,
  task: unknown,
  node = process.execPath,
): Result | undefined {
  const args = ['--expose-gc', compiled(script), '--contender', contender, JSON.stringify(task)]
  const { stdout, stderr, status } = spawnSync(node, args, { encoding: 'utf8', maxBuffer: 1 << 26 })
  const line = stdout.split('\n').find((text) => text.startsWith('#'))
  if (status === 0 && line) return JSON.parse(line.slice(1)) as Result
  process.stderr.write(`${contender} failed: ${stderr.slice(-2000)}\n`)
  process.exitCode = 1
  return undefined
}

/** The same key for every library that has this interface. */
export function newKeyring({ RawAesKeyringNode, RawAesWrappingSuiteIdentifier }: typeof sealwax): sealwax.KeyringNode {
  return new RawAesKeyringNode({
    keyNamespace: 'bench',
    keyName: 'key',
    unencryptedMasterKey: new Uint8Array(32).fill(7),
    wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })
}

/** Calls `run` again and again for about `budget` milliseconds, at least seven times, after a warm-up of a fifth of that. */
export async function sample(run: () => unknown, budget = 1500): Promise<Sample> {
  const before = process.memoryUsage().rss
  const single = await timed(run, 1)
  const batch = Math.max(1, Math.round(1 / single))
  const warm = performance.now() + budget / 5
  while (performance.now() < warm) await run()
  const times: number[] = []
  const end = performance.now() + budget
  while (times.length < 7 || performance.now() < end) times.push(await timed(run, batch))
  times.sort((a, b) => a - b)
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(share * times.length))]!
  const memory = (process.resourceUsage().maxRSS * 1024 - before) / 2 ** 20
  return { median: at(0.5), low: at(0.1), high: at(0.9), memory: Math.max(0, memory) }
}

/** Only what is a promise is awaited: that alone takes longer than sealing a few bytes. */
async function timed(run: () => unknown, count: number): Promise<number> {
  const start = performance.now()
  for (let i = 0; i < count; i++) {
    const result = run()
    if (result instanceof Promise) await result
  }
  return (performance.now() - start) / count
}

export function showLength(bytes: number): string {
  if (bytes >= 2 ** 30) return `${bytes / 2 ** 30} GiB`
  if (bytes >= 2 ** 20) return `${bytes / 2 ** 20} MiB`
  return bytes >= 1024 ? `${bytes / 1024} KiB` : `${bytes} B`
}

/** Throughput for large inputs, time for small ones. */
export function showSpeed(bytes: number, milliseconds: number): string {
  if (bytes >= 64 * 1024) {
    const megabytes = bytes / 1e3 / milliseconds
    return megabytes >= 1000 ? `${(megabytes / 1000).toFixed(2)} GB/s` : `${megabytes.toPrecision(3)} MB/s`
  }
  if (milliseconds >= 1) return `${milliseconds.toFixed(2)} ms`
  return `${(milliseconds * 1000).toPrecision(3)} us`
}
