import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { authenticationFailed } from '../src/errors'
import { EncryptedDataKey, SealwaxError } from '../src/index'
import { throws } from './support/expect'
import { bytes } from './support/keys'

test('an error has a code, and cause and errors where there are any', () => {
  const plain = new SealwaxError('ERR_ABORTED', 'why')
  assert.equal([plain.name, plain.code, plain.message], ['SealwaxError', 'ERR_ABORTED', 'why'])
  assert.ok(plain instanceof Error && !('cause' in plain) && !('errors' in plain))
  assert.match(String(plain), /^SealwaxError: why$/)
  const cause = new Error('cause')
  const errors = [new Error('one')]
  const full = new SealwaxError('ERR_NO_DATA_KEY', 'why', { cause, errors })
  errors.push(new Error('two'))
  assert.is(full.cause, cause)
  assert.is(full.errors!.length, 1)
  assert.ok(Object.isFrozen(full.errors))
  assert.ok('cause' in new SealwaxError('ERR_ABORTED', 'why', { cause: undefined }))
})

test('every failed tag, signature and commitment is one error', () => {
  const { code, message } = authenticationFailed()
  assert.equal([code, message], ['ERR_AUTHENTICATION_FAILED', 'Unsupported state or unable to authenticate data'])
})

test('an encrypted data key is immutable, and gives copies', () => {
  const [encryptedDataKey, rawInfo] = [bytes(5), bytes(3)]
  const edk = new EncryptedDataKey({ providerId: 'id', providerInfo: 'info', encryptedDataKey, rawInfo })
  encryptedDataKey.fill(0)
  rawInfo.fill(0)
  edk.encryptedDataKey.fill(0)
  edk.rawInfo!.fill(0)
  assert.equal([edk.encryptedDataKey, edk.rawInfo], [bytes(5), bytes(3)])
  throws(() => Object.assign(edk, { providerId: 'x' }), TypeError)
  const plain = new EncryptedDataKey({ providerId: 'id', providerInfo: 'ï', encryptedDataKey })
  assert.equal([...plain.rawInfo!], [0xc3, 0xaf], 'the info in UTF-8 where no bytes are given')
})

test('an encrypted data key has no empty part', () => {
  const good = { providerId: 'id', providerInfo: 'info', encryptedDataKey: bytes(1) }
  const wrong = [
    { providerId: '' },
    { providerId: 5 },
    { providerInfo: '' },
    { providerInfo: undefined },
    { encryptedDataKey: new Uint8Array(0) },
    { encryptedDataKey: 'text' },
    { encryptedDataKey: undefined },
    { rawInfo: 'text' },
  ]
  for (const change of wrong) {
    throws(
      () => new EncryptedDataKey({ ...good, ...change } as never),
      'ERR_MESSAGE_MALFORMED',
      /Malformed encrypted data key/,
    )
  }
})

test.run()
