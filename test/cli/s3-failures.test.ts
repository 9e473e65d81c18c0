/** What the command does where a store fails, or a signal ends its work there. */
import { writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { startFaultProxy } from '../support/fault-proxy'
import { bytes } from '../support/keys'
import { CREDENTIALS } from '../support/s3-server'
import { startSmallS3 } from '../support/small-s3'
import { path, sealwax, start } from './cli'

const MiB = 2 ** 20
const KEY = ['-k', 'key.json']
const REWRAP = [...KEY, '--new-key', 'new.json']

async function main(): Promise<void> {
  const store = await startSmallS3()
  const proxy = await startFaultProxy({ origin: store.endpoint })
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
    AWS_REGION: 'us-east-1',
    AWS_MAX_ATTEMPTS: '1',
  })
  const at = ['--endpoint-url', proxy.endpoint]
  const url = (name: string) => `s3://${store.bucket}/${name}`
  const ok = async (...args: string[]) => {
    const result = await sealwax(...args)
    assert.is(result.code, 0, result.stderr)
    return result
  }
  writeFileSync(path('long'), bytes(12 * MiB))
  for (const name of ['key.json', 'new.json']) await ok('keygen', name)
  await ok('encrypt', 'long', '-o', url('long'), ...KEY, ...at)

  test('a rewrap that is interrupted leaves no upload open', async () => {
    proxy.setRules([{ fault: 'stall', match: { method: 'PUT', query: 'partNumber=' } }])
    const { child, done } = start(['rewrap', url('long'), ...REWRAP, '--part-size', '5MiB', ...at])
    while (proxy.stats().injected < 3) await setTimeout(1)
    child.kill('SIGINT')
    const { code, stderr } = await done
    assert.equal([code, stderr], [130, 'sealwax: interrupted\n'])
    assert.is(store.uploads.size, 0)
  })

  test('the servers end', async () => {
    await proxy.close()
    await store.close()
  })
  test.run()
}

void main()
