/**
 * Instructions of the native loops, as valgrind counts them: `npx tsx bench/instructions.ts`. They hardly change between runs
 * and machines, so they tell a change of a few percent, which no clock does. What valgrind cannot run (VAES, AVX-512) OpenSSL does
 * without: compare the counts with others of the same kind, not with times.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

const root = join(__dirname, '..')
const build = join(root, 'build/native')
const program = join(build, 'bench_loops')
const ROUNDS = 10

run('cmake', '-S', root, '-B', build)
run('cmake', '--build', build, '--target', 'bench_loops')
for (const name of run(program, 'list', '0').stdout.trim().split('\n')) {
  const perRound = (count(name, 1 + ROUNDS) - count(name, 1)) / ROUNDS
  console.log(`${name.padEnd(32)}${Math.round(perRound).toLocaleString('en').padStart(16)} instructions`)
}

function count(name: string, rounds: number): number {
  const options = ['--tool=callgrind', '--callgrind-out-file=/dev/null']
  const { stderr } = run('valgrind', ...options, program, name, String(rounds))
  return Number(/Collected : (\d+)/.exec(stderr)?.[1])
}

function run(command: string, ...args: string[]) {
  const result = spawnSync(command, args, { encoding: 'utf8' })
  if (result.status !== 0) throw new Error(`${command}: ${result.error?.message ?? result.stderr}`)
  return result
}
