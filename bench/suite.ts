/**
 * Every comparison of this folder, as tables, as JSON and as one page to read:
 *
 *   npm run bench [-- [comparison [part of a case's name]] [--quick] [--node 22,24,26] [--out DIR] [--compare OLD.json]]
 *
 * `--quick` takes a fifth of the time and is less exact. `--node` runs everything again on these versions of Node.js, fetched
 * from npm. `--compare` tells what has become slower since, beyond the spread of both runs, and exits with 1.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { type Findings, option } from './comparison'
import { type About, aboutNode } from './contender'
import { buildLimit } from './limit'
import { renderChart, renderPage } from './report'

/** What `results.json` holds. */
export interface Results {
  readonly machine: string
  /** ISO 8601, the day alone. */
  readonly date: string
  readonly runs: readonly Run[]
}

/** All comparisons on one Node.js. */
export interface Run extends About {
  readonly findings: readonly Findings[]
}

const COMPARISONS = ['gcm', 'message', 'batch', 'materials', 'keyrings', 'stream', 'start'] as const
const NODES = join(__dirname, '../node_modules/.cache/sealwax-bench')

async function main(): Promise<void> {
  const words = process.argv.slice(2).filter((word, i, all) => !word.startsWith('--') && !takesValue(all[i - 1]))
  const [comparison = '', filter = ''] = words
  const chosen = COMPARISONS.filter((name) => name.startsWith(comparison))
  if (chosen.length === 0) throw new RangeError(`no comparison ${comparison}: there are ${COMPARISONS.join(', ')}`)
  buildLimit()
  const nodes = [process.execPath, ...(option('--node')?.split(',') ?? []).map(installNode)]
  const runs = nodes.map((node) => runOn(node, chosen, filter))
  const results: Results = { machine: machine(), date: new Date().toISOString().slice(0, 10), runs }
  const out = option('--out') ?? join(__dirname, 'results')
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'results.json'), `${JSON.stringify(results)}\n`)
  writeFileSync(join(out, 'results.html'), await renderPage(results))
  const chart = await renderChart(results)
  if (chart) writeFileSync(join(out, 'chart.svg'), chart)
  console.log(`\n${join(out, 'results.html')} shows it, ${join(out, 'results.json')} has the figures.`)
  const old = option('--compare')
  if (old) process.exitCode = tellSlower(JSON.parse(readFileSync(old, 'utf8')) as Results, results) ? 1 : 0
}

function takesValue(word: string | undefined): boolean {
  return word !== undefined && ['--node', '--out', '--compare'].includes(word)
}

function runOn(node: string, comparisons: readonly string[], filter: string): Run {
  const run = aboutNode(node)
  console.log(`\nNode.js ${run.node}, ${run.openssl}, ${run.cpu.join(' ')}, ${run.threads} threads`)
  const folder = mkdtempSync(join(tmpdir(), 'sealwax-bench-'))
  try {
    const findings = comparisons.map((name) => {
      const json = join(folder, `${name}.json`)
      const args = [join(__dirname, `${name}.ts`), ...(filter ? [filter] : []), '--json', json, '--node', node]
      if (process.argv.includes('--quick')) args.push('--quick')
      console.log()
      const { status } = spawnSync(process.execPath, ['--import', 'tsx', ...args], { stdio: 'inherit' })
      if (status !== 0) throw new Error(`bench/${name}.ts failed`)
      return JSON.parse(readFileSync(json, 'utf8')) as Findings
    })
    return { ...run, findings: findings.filter(({ results }) => results.length > 0) }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** The binary of a major version, from npm's packages of Node.js, which have one for each platform. */
function installNode(major: string): string {
  const system = process.platform === 'win32' ? 'win' : process.platform
  const name = `node-${system}-${process.arch}`
  const folder = join(NODES, major)
  const binary = join(folder, 'node_modules', name, process.platform === 'win32' ? 'bin/node.exe' : 'bin/node')
  if (existsSync(binary)) return binary
  mkdirSync(folder, { recursive: true })
  const { status } = spawnSync('npm', ['install', '--prefix', folder, '--no-audit', '--no-fund', `${name}@${major}`], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if (status !== 0 || !existsSync(binary)) throw new Error(`no Node.js ${major} from npm`)
  return binary
}

function machine(): string {
  const memory = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${memory} GiB, ${process.platform} ${process.arch}`
}

/** Prints the cases in which Sealwax took longer than before, each by more than both runs spread. */
function tellSlower(before: Results, after: Results): boolean {
  const key = (run: Run, title: string, name: string) => `${run.node.split('.')[0]} ${title}: ${name}`
  const old = new Map(
    before.runs.flatMap((run) =>
      run.findings.flatMap(({ title, results }) => results.map((one) => [key(run, title, one.name), one] as const)),
    ),
  )
  let slower = 0
  let compared = 0
  for (const run of after.runs) {
    for (const { title, results } of run.findings) {
      for (const { name, samples } of results) {
        const [now, then] = [samples.sealwax, old.get(key(run, title, name))?.samples.sealwax]
        if (!now || !then) continue
        compared++
        if (now.low <= then.high) continue
        slower++
        console.log(`slower: ${key(run, title, name)}: ${(now.median / then.median).toFixed(2)} times as long`)
      }
    }
  }
  console.log(`${compared} cases compared, ${slower} slower`)
  return slower > 0
}

void main()
