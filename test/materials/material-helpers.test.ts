import { randomBytes } from 'node:crypto'
import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as sealwax from '../../src/index'
import { throws } from '../support/expect'

const dataKey = randomBytes(32)
const iv = Buffer.alloc(12, 1)
const aad = Buffer.from('header')
const suites = Object.values(sealwax.AlgorithmSuiteIdentifier).filter((id) => typeof id === 'number')

for (const id of suites) {
  test(`0x${id.toString(16)}: seals what client-node opens`, () => {
    const messageId = randomBytes(id >= 0x0478 ? 32 : 16)
    const ours = sealwax.getEncryptHelper(encryptionMaterial(sealwax, id)).getCipherInfo(messageId)
    const cipher = ours.getCipher(iv).setAAD(aad)
    const sealed = Buffer.concat([cipher.update(Buffer.from('text')), cipher.final()])
    const theirs = peer.getDecryptionHelper(decryptionMaterial(peer, id) as never)
    const decipher = theirs.getDecipherInfo(messageId, ours.keyCommitment)(iv)
    decipher.setAAD(aad).setAuthTag(cipher.getAuthTag())
    assert.is(Buffer.concat([decipher.update(sealed), decipher.final()]).toString(), 'text')
  })

  test(`0x${id.toString(16)}: opens what client-node sealed`, () => {
    const messageId = randomBytes(id >= 0x0478 ? 32 : 16)
    const theirs = peer.getEncryptHelper(encryptionMaterial(peer, id) as never).getCipherInfo(messageId)
    const cipher = theirs.getCipher(iv).setAAD(aad)
    const sealed = Buffer.concat([cipher.update(Buffer.from('text')), cipher.final()])
    const ours = sealwax.getDecryptionHelper(decryptionMaterial(sealwax, id))
    const decipher = ours.getDecipherInfo(messageId, theirs.keyCommitment)(iv)
    decipher.setAAD(aad).setAuthTag(cipher.getAuthTag())
    assert.is(Buffer.concat([decipher.update(sealed), decipher.final()]).toString(), 'text')
  })
}

test('a wrong commitment, message ID or IV length is refused', () => {
  const helper = sealwax.getDecryptionHelper(decryptionMaterial(sealwax, 0x0478))
  assert.throws(() => helper.getDecipherInfo(randomBytes(32), randomBytes(32)), /authenticate/)
  assert.throws(() => helper.getDecipherInfo(randomBytes(32)), /authenticate/)
  for (const length of [16, 31, 33])
    assert.throws(() => helper.getDecipherInfo(randomBytes(length)), /Nonce is not the correct length/)
  const uncommitted = sealwax.getDecryptionHelper(decryptionMaterial(sealwax, 0x0178))
  assert.throws(() => uncommitted.getDecipherInfo(randomBytes(16), randomBytes(32)), /Commitment not supported/)
  const cipherInfo = sealwax.getEncryptHelper(encryptionMaterial(sealwax, 0x0478)).getCipherInfo(randomBytes(32))
  assert.throws(() => cipherInfo.getCipher(randomBytes(16)), /Iv length/)
})

test('a decipher takes whole tags only', () => {
  const decipherOf = sealwax.getDecryptionHelper(decryptionMaterial(sealwax, 0x0178)).getDecipherInfo(randomBytes(16))
  for (const length of [4, 8, 12, 15]) {
    assert.throws(() => decipherOf(iv).setAuthTag(Buffer.alloc(length)), /authentication tag length/)
  }
})

test('after dispose nothing can be sealed', () => {
  const helper = sealwax.getEncryptHelper(encryptionMaterial(sealwax, 0x0478))
  const { getCipher } = helper.getCipherInfo(randomBytes(32))
  helper.dispose()
  assert.throws(() => getCipher(iv), /zeroed/)
  assert.throws(() => helper.getCipherInfo(randomBytes(32)), /zeroed/)
})

test('materials without a data key are refused', () => {
  const bare = new sealwax.NodeEncryptionMaterial(new sealwax.NodeAlgorithmSuite(0x0478), {})
  assert.throws(() => sealwax.getEncryptHelper(bare), /unencryptedDataKey has not been set/)
  throws(() => sealwax.getEncryptHelper({} as never), TypeError)
})

test('class guards freeze as their names say', () => {
  class Base {
    method(): number {
      return 1
    }
  }
  assert.is(sealwax.immutableBaseClass(Base), Base)
  assert.ok(Object.isFrozen(Base) && Object.isSealed(Base.prototype))
  assert.is(Object.getPrototypeOf(Base.prototype), null)
  throws(() => Object.assign(Base.prototype, { method: () => 2 }), TypeError)
  class Frozen {}
  assert.ok(Object.isFrozen(sealwax.frozenClass(Frozen).prototype))
  const object = { name: '' }
  sealwax.readOnlyProperty(object, 'name', 'fixed')
  throws(() => Object.assign(object, { name: 'other' }), TypeError)
  assert.throws(() => sealwax.needs(false, 'must hold', RangeError as never), /must hold/)
  assert.is(new sealwax.NotSupported('no').code, 'NOT_SUPPORTED')
})

function encryptionMaterial(library: typeof sealwax | typeof peer, id: number): sealwax.NodeEncryptionMaterial {
  const { NodeEncryptionMaterial, NodeAlgorithmSuite } = library as typeof sealwax
  const suite = new NodeAlgorithmSuite(id)
  return new NodeEncryptionMaterial(suite, {}).setUnencryptedDataKey(
    new Uint8Array(dataKey.subarray(0, suite.keyLengthBytes)),
    {
      keyNamespace: 'ns',
      keyName: 'key',
      flags: sealwax.KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY,
    },
  )
}

function decryptionMaterial(library: typeof sealwax | typeof peer, id: number): sealwax.NodeDecryptionMaterial {
  const { NodeDecryptionMaterial, NodeAlgorithmSuite } = library as typeof sealwax
  const suite = new NodeAlgorithmSuite(id)
  return new NodeDecryptionMaterial(suite, {}).setUnencryptedDataKey(
    new Uint8Array(dataKey.subarray(0, suite.keyLengthBytes)),
    {
      keyNamespace: 'ns',
      keyName: 'key',
      flags: sealwax.KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY,
    },
  )
}

test.run()
