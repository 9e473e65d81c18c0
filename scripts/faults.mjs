// The full set of injected faults: `node scripts/faults.mjs [part of a file name] [--output FILE]`. Prints how often each
// cell had which outcome; the file gets one JSON line per fault. Fails where one is wrong, or a cell injected nothing.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, readdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({ allowPositionals: true, options: { output: { type: 'string' } } })
const root = fileURLToPath(new URL('..', import.meta.url))
const files = readdirSync(`${root}test/faults`).filter(
  (name) => /\.test\.ts$/.test(name) && name.includes(positionals[0] ?? ''),
)
const output = values.output && createWriteStream(values.output)
const cells = new Map()
const failed = []

for (const file of files) {
  const env = { ...process.env, SEALWAX_FAULTS: 'full' }
  const child = spawn(process.execPath, ['--expose-gc', '--import', 'tsx', `test/faults/${file}`], { cwd: root, env })
  const ended = once(child, 'close')
  child.stderr.pipe(process.stderr)
  for await (const line of createInterface(child.stdout)) take(line)
  const [code] = await ended
  if (code !== 0) failed.push(file)
}
output?.end()

for (const [cell, { count, outcomes, most }] of cells) {
  const told = Object.entries(outcomes).map(([outcome, times]) => `${times} ${outcome}`)
  console.log(
    `${cell.padEnd(48)} ${String(count).padStart(6)}  ${told.join(', ')}; at most ${most.ms} ms, event loop ${most.blocked} ms, ${most.left} MiB left`,
  )
}
const all = [...cells.values()]
const bad = all.reduce((sum, { outcomes }) => sum + (outcomes.wrong ?? 0) + (outcomes.nothing ?? 0), 0)
console.log(`${all.reduce((sum, { count }) => sum + count, 0)} faults in ${cells.size} cells, ${bad} bad`)
for (const file of failed) console.log(`FAILED: ${file}`)
process.exitCode = bad > 0 || failed.length > 0 || cells.size === 0 ? 1 : 0

function take(line) {
  // The test runner's marks come before it.
  const [, fault] = /(\{"cell":.*\})$/.exec(line) ?? []
  if (!fault) {
    if (line.trim()) console.log(line)
    return
  }
  output?.write(`${fault}\n`)
  const { cell, outcome, ms, blocked, left = 0 } = JSON.parse(fault)
  const entry = cells.get(cell) ?? { count: 0, outcomes: {}, most: { ms: 0, blocked: 0, left: 0 } }
  entry.count++
  entry.outcomes[outcome] = (entry.outcomes[outcome] ?? 0) + 1
  for (const [name, value] of Object.entries({ ms, blocked, left }))
    entry.most[name] = Math.max(entry.most[name], value)
  cells.set(cell, entry)
}
