import { once } from 'node:events'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { NodeEncryptionMaterial, SealwaxError } from '../../src/index'
import { WrapCount } from '../../src/keyrings/wrap-count'
import { Pkcs11AesKeyring, Pkcs11Token, S3Pkcs11AesKeyring } from '../../src/pkcs11'
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

test('each keyring of an AES key counts what it wraps, in memory or in a token, and refuses to go on', async () => {
  const { add } = WrapCount.prototype
  const material = () => new NodeEncryptionMaterial(getSuite(0x0478), {})
  const raw = aesKeyring()
  const inToken = { token: new Pkcs11Token({ module: '/nowhere/module.so' }), key: 'k' }
  const keyrings = [raw, new Pkcs11AesKeyring({ ...inToken, keyNamespace: 'tests', keyName: 'k' })]
  const s3Keyrings = [new S3RawAesKeyring({ wrappingKey: bytes(32) }), new S3Pkcs11AesKeyring(inToken)]
  WrapCount.prototype.add = () => {
    throw new SealwaxError('ERR_LIMIT_EXCEEDED', 'counted')
  }
  try {
    for (const keyring of keyrings) await rejects(keyring.onEncrypt(material()), 'ERR_LIMIT_EXCEEDED', /counted/)
    for (const keyring of s3Keyrings)
      await rejects(sealObject(Buffer.from('x'), keyring), 'ERR_LIMIT_EXCEEDED', /counted/)
  } finally {
    WrapCount.prototype.add = add
  }
  assert.is((await raw.onEncrypt(material())).encryptedDataKeys.length, 1)
})

test.run()
