import { once } from 'node:events'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { WrapCount } from '../../src/keyrings/wrap-count'
import { throws } from '../support/expect'

test('the wraps of an AES key end where random IVs may repeat', () => {
  const count = new WrapCount(2 ** 32 - 2)
  count.add()
  count.add()
  throws(() => count.add(), 'ERR_LIMIT_EXCEEDED', /2\^32/)
  throws(() => count.add(), 'ERR_LIMIT_EXCEEDED')
})

test('half way there, a warning says so, once', async () => {
  const warnings: unknown[] = []
  const listen = ({ code }: Error & { code?: string }) => void warnings.push(code)
  process.on('warning', listen)
  const count = new WrapCount(2 ** 31 - 2)
  const warned = once(process, 'warning')
  for (let i = 0; i < 5; i++) count.add()
  await warned
  await new Promise(setImmediate)
  process.off('warning', listen)
  assert.equal(warnings, ['SEALWAX_KEY_USE'])
})

test.run()
