/**
 * `npx tsx test/local-kms/faults-at-syscalls.ts`, where strace is installed: kills the process of a store at every single
 * system call on its files, and lets every one of them fail, over a new store and over one with keys. After each, every
 * promised key must be there. Not part of the ordinary test run.
 */
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { SealwaxError } from '../../src/errors'
import { Store } from '../../src/local-kms/store'
import { Vault } from '../../src/local-kms/vault'
import { temporaryDirectory } from './support'

const SYSCALLS = ['openat', 'fchmod', 'write', 'fsync', 'close', 'rename', 'unlink', 'mkdir', 'getdents64']
const FAULTS = ['signal=KILL', ...['ENOSPC', 'EIO', 'EROFS', 'EDQUOT', 'EMFILE'].map((code) => `error=${code}`)]

void main()

async function main(): Promise<void> {
  const counts: Record<string, number> = {}
  for (const start of ['new', 'used']) {
    for (const syscall of SYSCALLS) {
      for (const fault of FAULTS) {
        // A close that fails has closed nothing: strace would leave the descriptor open, which no system does.
        if (syscall === 'close' && fault !== 'signal=KILL') continue
        for (let when = 1; await survives(start === 'used', syscall, fault, when); when++)
          counts[fault] = (counts[fault] ?? 0) + 1
      }
    }
  }
  console.log('every promised key was kept, after', counts)
}

/** Runs one child with one fault and checks what it left; false when the fault came too late to happen. */
async function survives(used: boolean, syscall: string, fault: string, when: number): Promise<boolean> {
  const { path, remove } = temporaryDirectory()
  const promised = used ? runChild(path, []) : []
  const files = ['', 'keys.sealed', 'keys.sealed.new', 'store.key'].flatMap((name) => [
    '-P',
    join(path, name).replace(/\/$/, ''),
  ])
  const log = `${path}.strace`
  const inject = `inject=${syscall}:${fault}:when=${when}`
  promised.push(...runChild(path, ['strace', '-f', '-qqq', '-o', log, ...files, '-e', inject]))
  const happened =
    spawnSync('grep', ['-qE', fault === 'signal=KILL' ? 'killed by SIGKILL' : 'INJECTED', log]).status === 0
  const state = await reopen(path)
  for (const arn of promised) assert.ok(state.has(arn), `${arn} is lost after ${inject}`)
  remove()
  rmSync(log, { force: true })
  return happened
}

function runChild(path: string, tracer: string[]): string[] {
  const command = [...tracer, process.execPath, '--require', 'tsx/cjs', join(__dirname, 'crash-child.ts'), path, '2']
  // One thread for all file work: strace counts by thread.
  const { stdout } = spawnSync(command[0]!, command.slice(1), {
    encoding: 'utf8',
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
  })
  return stdout.split('\n').slice(1, -1)
}

async function reopen(path: string): Promise<ReadonlySet<string>> {
  try {
    const vault = await Vault.open(await Store.open(path))
    await vault.close()
    return new Set(vault.state.keys.keys())
  } catch (error) {
    throw error instanceof SealwaxError ? new Error(`the store cannot be opened: ${error.message}`) : error
  }
}
