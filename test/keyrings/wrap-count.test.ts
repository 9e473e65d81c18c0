import { once } from 'node:events'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { NodeEncryptionMaterial, SealwaxError } from '../../src/index'
import { WrapCount } from '../../src/keyrings/wrap-count'
import { S3RawAesKeyring, sealObject } from '../../src/s3'
import { getSuite } from '../../src/suites'
import { rejects, throws } from '../support/expect'
import { aesKeyring, bytes } from '../support/keys'

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

test('each keyring of a raw AES key counts what it wraps, and refuses to go on', async () => {
  const { add } = WrapCount.prototype
  const material = () => new NodeEncryptionMaterial(getSuite(0x0478), {})
  const raw = aesKeyring()
  const s3 = new S3RawAesKeyring({ wrappingKey: bytes(32) })
  WrapCount.prototype.add = () => {
    throw new SealwaxError('ERR_LIMIT_EXCEEDED', 'counted')
  }
  try {
    await rejects(raw.onEncrypt(material()), 'ERR_LIMIT_EXCEEDED', /counted/)
    await rejects(sealObject(Buffer.from('x'), s3), 'ERR_LIMIT_EXCEEDED', /counted/)
  } finally {
    WrapCount.prototype.add = add
  }
  assert.is((await raw.onEncrypt(material())).encryptedDataKeys.length, 1)
})

test.run()
