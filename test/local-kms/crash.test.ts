import { spawn } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Store } from '../../src/local-kms/store'
import { Vault } from '../../src/local-kms/vault'
import { temporaryDirectory } from './support'

const KILLS = 60

test(`${KILLS} times killed at random, a store keeps every key it promised`, async () => {
  const { path, remove } = temporaryDirectory()
  const promised = new Set<string>()
  for (let kill = 0; kill < KILLS; kill++) {
    for (const arn of await runUntilKilled(path, kill % 4, Math.random() * 8)) promised.add(arn)
    const vault = await Vault.open(await Store.open(path))
    for (const arn of promised) assert.ok(vault.state.keys.has(arn), `key ${arn} is lost after kill ${kill}`)
    await vault.close()
    assert.equal(readdirSync(path).sort(), ['keys.sealed', 'store.key'])
    assert.is(statSync(join(path, 'keys.sealed')).mode & 0o777, 0o600)
  }
  assert.ok(promised.size > KILLS, `only ${promised.size} keys were made`)
  remove()
})

test.run()

/** Starts a child that makes keys, kills it `delay` milliseconds after it promised `count`, and returns what it promised. */
function runUntilKilled(path: string, count: number, delay: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--require', 'tsx/cjs', join(__dirname, 'crash-child.ts'), path])
    let output = ''
    let errors = ''
    let doomed = false
    child.stderr.on('data', (chunk) => (errors += String(chunk)))
    child.stdout.on('data', (chunk) => {
      output += String(chunk)
      // The first line says that the store is open.
      if (output.split('\n').length - 2 < count || doomed) return
      doomed = true
      setTimeout(() => child.kill('SIGKILL'), delay)
    })
    child.on('close', (_, signal) => {
      if (signal !== 'SIGKILL') return reject(new Error(`the child ended by itself: ${errors}`))
      // The last line may be cut.
      return resolve(output.split('\n').slice(1, -1))
    })
  })
}
