/**
 * One comparison: cases by contenders, each pair in a process of its own, as a table on the screen and as JSON for
 * `npm run bench`. A script that calls {@link compare} runs alone too:
 *
 *   npx tsx bench/gcm.ts [part of a case's name] [--json FILE] [--node BINARY] [--quick]
 */
import { writeFileSync } from 'node:fs'
import { answer, childTask, measureInChild, type Sample, showSpeed } from './contender'

export interface Comparison<Case> {
  /** What is compared, as the report's heading says it. */
  readonly title: string
  /** One or two sentences: what a call does, and what the contenders differ in. */
  readonly about: string
  readonly contenders: readonly string[]
  readonly cases: Iterable<Case>
  name(one: Case): string
  /** Bytes that a call processes; 0 where only its time matters. */
  bytes(one: Case): number
  /** Cases of one series are one chart: the same work at several lengths. */
  series(one: Case): string
  /** Whether a contender takes part in a case; all do otherwise. */
  takesPart?(contender: string, one: Case): boolean
  /** In a process of its own: checks the contender's output, then measures. */
  measure(contender: string, one: Case, budget: number): Promise<Sample>
}

/** What one comparison found, as `--json` writes it. */
export interface Findings {
  readonly title: string
  readonly about: string
  readonly contenders: readonly string[]
  readonly results: readonly Finding[]
}

export interface Finding {
  readonly name: string
  readonly series: string
  readonly bytes: number
  /** By contender; those that took no part are missing. */
  readonly samples: Readonly<Record<string, Sample>>
}

/** Ours is measured against these, where they take part. */
export const YARDSTICKS = ['client-node', 'node:crypto', 'limit'] as const

/** Milliseconds that one contender gets for one case. */
const BUDGET = 1500
const QUICK_BUDGET = 300

interface Task<Case> {
  readonly one: Case
  readonly budget: number
}

export function compare<Case>(script: string, comparison: Comparison<Case>): void {
  const asked = childTask<Task<Case>>()
  if (asked) void comparison.measure(asked.contender, asked.task.one, asked.task.budget).then(answer)
  else runAll(script, comparison)
}

function runAll<Case>(script: string, comparison: Comparison<Case>): void {
  const filter = process.argv[2]?.startsWith('--') ? '' : (process.argv[2] ?? '')
  const json = option('--json')
  const budget = process.argv.includes('--quick') ? QUICK_BUDGET : BUDGET
  const { title, about, contenders } = comparison
  const yardsticks = YARDSTICKS.filter((name) => contenders.includes(name))
  console.log(`${title}\n`)
  console.log(row('', ...contenders, ...yardsticks.map((name) => `x ${name}`)))
  const results: Finding[] = []
  for (const one of comparison.cases) {
    const name = comparison.name(one)
    if (!name.includes(filter)) continue
    const samples: Record<string, Sample> = {}
    for (const contender of contenders) {
      if (comparison.takesPart?.(contender, one) === false) continue
      const found = measureInChild<Sample>(script, contender, { one, budget }, option('--node') ?? process.execPath)
      if (found) samples[contender] = found
    }
    const finding = { name, series: comparison.series(one), bytes: comparison.bytes(one), samples }
    const cells = contenders.map((contender) => show(finding, contender))
    console.log(row(name, ...cells, ...yardsticks.map((yardstick) => showRatio(ratio(finding, yardstick)))))
    results.push(finding)
  }
  if (json) writeFileSync(json, JSON.stringify({ title, about, contenders, results } satisfies Findings))
}

/** How many times as fast as `other` Sealwax was; undefined where one of them took no part. */
export function ratio({ samples }: Finding, other: string): number | undefined {
  const { sealwax: ours, [other]: theirs } = samples
  return ours && theirs ? theirs.median / ours.median : undefined
}

export function show({ bytes, samples }: Finding, contender: string): string {
  const found = samples[contender]
  return found ? showSpeed(bytes, found.median) : '-'
}

export function showRatio(value: number | undefined): string {
  return value === undefined ? '-' : `${value.toFixed(value < 10 ? 2 : 0)}x`
}

/** The value behind `name` on the command line. */
export function option(name: string): string | undefined {
  const at = process.argv.indexOf(name)
  return at < 0 ? undefined : process.argv[at + 1]
}

function row(name: string, ...cells: string[]): string {
  return name.padEnd(52) + cells.map((cell) => cell.padStart(16)).join('')
}
