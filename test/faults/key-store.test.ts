/**
 * The key file of the local KMS (F-30, F-31). A child makes keys; strace kills it at each system call on its files, or has
 * that call fail. Whatever happens, every key that was promised must be there afterwards. And files that are damaged are
 * refused, and left as they are.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SealwaxError } from '../../src/errors'
import { Store } from '../../src/local-kms/store'
import { Vault } from '../../src/local-kms/vault'
import { rejectionOf } from '../support/expect'
import { type Attempt, FaultReport, full } from './report'

const SYSCALLS = full
  ? ['openat', 'write', 'fsync', 'close', 'rename', 'unlink', 'mkdir', 'getdents64']
  : ['write', 'rename']
const FAULTS = full
  ? ['signal=KILL', ...['ENOSPC', 'EIO', 'EROFS', 'EDQUOT', 'EMFILE'].map((code) => `error=${code}`)]
  : ['signal=KILL', 'error=ENOSPC']
const HAS_STRACE = spawnSync('strace', ['-V']).status === 0

const folder = mkdtempSync(join(tmpdir(), 'sealwax-key-store-'))
/** A store of some keys, which each case gets a copy of. */
const used = join(folder, 'used')
const promisedInUsed = runChild(used, 12, [])
const report = new FaultReport()
const cells = new Set<string>()

async function inject(cell: string, n: number, attempt: () => Promise<Attempt>): Promise<void> {
  cells.add(cell)
  await report.inject(cell, 1, n, attempt)
}

if (HAS_STRACE) {
  test('killed at, and failed by, every system call', async () => {
    for (const start of ['new', 'used'] as const) {
      for (const fault of FAULTS) {
        // More keys, more places to be killed at.
        const keys = full && fault === 'signal=KILL' ? 28 : 2
        for (const syscall of SYSCALLS) {
          // A close that fails has closed nothing: strace would leave the descriptor open, which no system does.
          if (syscall === 'close' && fault !== 'signal=KILL') continue
          const calls = countCalls(start, syscall, keys)
          for (let n = 1; n <= calls; n++) {
            const id = fault === 'signal=KILL' ? 'F-30 killed' : `F-31 ${fault.replace('error=', '')}`
            await inject(`${id} at ${syscall}, ${start} store`, n, () => atSyscall(start, syscall, fault, n, keys))
          }
        }
      }
    }
  })
} else console.log('NOT RUN: kills and failures at system calls, for want of strace')

test('a write that stops in the middle', async () => {
  for (let kibibytes = 1; kibibytes <= 3; kibibytes++) {
    await inject('F-31 short write', kibibytes, async () => {
      const { path, promised } = fresh('used')
      const made = runChild(path, 2, ['bash', '-c', `ulimit -f ${kibibytes}; exec "$@"`, '-'])
      assert.equal(made, [])
      await checkKept(path, promised)
      return { outcome: 'refused', injected: 1, requests: 0 }
    })
  }
})

test('files that are cut, or have one bit changed, are refused and left as they are', async () => {
  const { path } = fresh('used')
  const file = join(path, 'keys.sealed')
  const good = readFileSync(file)
  const refused = async (bytes: Buffer): Promise<Attempt> => {
    writeFileSync(file, bytes)
    const error = await rejectionOf(Store.open(path))
    assert.instance(error, SealwaxError)
    assert.is((error as SealwaxError).code, 'ERR_FILE')
    assert.ok(readFileSync(file).equals(bytes), 'the file was written to')
    assert.equal(readdirSync(path).sort(), ['keys.sealed', 'store.key'])
    return { outcome: 'refused', injected: 1, requests: 0 }
  }
  for (let length = 0; length < good.length; length += full ? 1 : 97) {
    await inject('F-31 cut', length, () => refused(good.subarray(0, length)))
  }
  for (let bit = 0; bit < good.length * 8; bit += full ? 3 : 797) {
    const bytes = Buffer.from(good)
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    await inject('F-31 one bit changed', bit, () => refused(bytes))
  }
  await inject('F-31 one byte more', 0, () => refused(Buffer.concat([good, Buffer.of(0)])))
  writeFileSync(file, good)
  await checkKept(path, promisedInUsed)
})

test('two writers at once', async () => {
  for (let n = 0; n < (full ? 50 : 5); n++) {
    await inject('F-31 two writers', n, async () => {
      const { path, promised } = fresh('used')
      const opened = await Promise.allSettled([Store.open(path), Store.open(path), Store.open(path)])
      const stores = opened.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
      assert.ok(stores.length <= 1, 'two have it open')
      for (const store of stores) await store.close()
      await checkKept(path, promised)
      return { outcome: 'refused', injected: opened.length - stores.length, requests: 0 }
    })
  }
})

test('nothing was wrong, and nothing left out', () => {
  rmSync(folder, { recursive: true })
  report.check([...cells])
})

test.run()

async function atSyscall(
  start: 'new' | 'used',
  syscall: string,
  fault: string,
  n: number,
  keys: number,
): Promise<Attempt> {
  const { path, promised, log } = fresh(start)
  const made = runChild(path, keys, tracer(path, log, '-e', `inject=${syscall}:${fault}:when=${n}`))
  const happened = /killed by SIGKILL|INJECTED/.test(readFileSync(log, 'latin1'))
  await checkKept(path, [...promised, ...made])
  rmSync(path, { recursive: true })
  // A call whose failure changes nothing, such as the removal of what is not there, does not end the child.
  const outcome = made.length < keys ? 'refused' : 'right'
  return { outcome, injected: Number(happened), requests: 0 }
}

function countCalls(start: 'new' | 'used', syscall: string, keys: number): number {
  const { path, log } = fresh(start)
  assert.is(runChild(path, keys, tracer(path, log, '-e', `trace=${syscall}`)).length, keys)
  rmSync(path, { recursive: true })
  return readFileSync(log, 'latin1').split(`${syscall}(`).length - 1
}

let cases = 0

/** A directory of its own for one case, with a copy of the used store or nothing in it. */
function fresh(start: 'new' | 'used'): { path: string; promised: readonly string[]; log: string } {
  const path = join(folder, String(++cases))
  if (start === 'used') cpSync(used, path, { recursive: true })
  return { path, promised: start === 'used' ? promisedInUsed : [], log: `${path}.strace` }
}

/** strace, looking at calls on the files of the store alone. */
function tracer(path: string, log: string, ...args: string[]): string[] {
  const files = ['', 'keys.sealed', 'keys.sealed.new', 'store.key'].map((name) => join(path, name).replace(/\/$/, ''))
  return ['strace', '-f', '-qqq', '-o', log, ...files.flatMap((file) => ['-P', file]), ...args]
}

/** Makes keys in the store; those of which it was said that they are kept. */
function runChild(path: string, keys: number, tracer: readonly string[]): string[] {
  const child = join(__dirname, '../local-kms/crash-child.ts')
  const command = [...tracer, process.execPath, '--require', 'tsx/cjs', child, path, String(keys)]
  const { stdout } = spawnSync(command[0]!, command.slice(1), {
    encoding: 'utf8',
    // One thread for all file work: strace counts by thread.
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
  })
  // The last line may be cut.
  return stdout.split('\n').slice(1, -1)
}

async function checkKept(path: string, promised: readonly string[]): Promise<void> {
  const vault = await Vault.open(await Store.open(path))
  await vault.close()
  for (const arn of promised) assert.ok(vault.state.keys.has(arn), `${arn} is lost`)
  assert.is(statSync(join(path, 'keys.sealed')).mode & 0o777, 0o600)
  assert.equal(readdirSync(path).sort(), ['keys.sealed', 'store.key'])
}
