import { spawn } from 'node:child_process'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

/** Far longer than any scenario takes: only to end one that hangs. */
const WATCHDOG_MS = 300_000

/** A young generation of one size in all versions of Node.js, so that its garbage counts alike where memory is measured. */
const V8_OPTIONS = ['--expose-gc', '--max-semi-space-size=16']

/**
 * Runs each scenario of `file` in a process of its own, where a crash, an unhandled rejection, a leftover timer or a
 * hang shows: it must say `done` and then end by itself. Call it at the end of a test file, as the last thing.
 */
export function testInChildren(file: string, scenarios: Readonly<Record<string, () => Promise<void>>>): void {
  const name = process.argv[2]
  if (name !== undefined) {
    for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
      process.on(event, (error: unknown) => {
        console.error(event, error)
        process.exit(70)
      })
    }
    void scenarios[name]!().then(() => console.log('done'))
    return
  }
  for (const scenario of Object.keys(scenarios)) {
    test(scenario, async () => assert.equal(await run(file, scenario), { code: 0, output: 'done\n' }))
  }
  test.run()
}

function run(file: string, scenario: string): Promise<{ code: number | string | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...process.execArgv, ...V8_OPTIONS, file, scenario], {
      timeout: WATCHDOG_MS,
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
    child.on('close', (code, signal) => resolve({ code: code ?? signal, output }))
  })
}
