import { createPrivateKey, createSecretKey, generateKeyPairSync } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  EncryptedDataKey,
  KeyringTraceFlag,
  NodeDecryptionMaterial,
  NodeEncryptionMaterial,
  unwrapDataKey,
} from '../../src/index'
import { abandon, adoptDataKey, dataKeyOf, doneSignal } from '../../src/materials/materials'
import { SignatureKey, VerificationKey } from '../../src/materials/signature'
import { getSuite } from '../../src/suites'
import { throws } from '../support/expect'
import { givenBy } from '../support/given-by'
import { bytes, RSA_PRIVATE_PEM } from '../support/keys'

const UNSIGNED = getSuite(0x0478)
const SIGNED = getSuite(0x0578)
const GENERATED = { keyNamespace: 'n', keyName: 'k', flags: KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY }
const DECRYPTED = { keyNamespace: 'n', keyName: 'k', flags: KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY }
const EDK = new EncryptedDataKey({ providerId: 'n', providerInfo: 'k', encryptedDataKey: bytes(3) })
const KINDS = [
  { name: 'encryption', make: () => new NodeEncryptionMaterial(UNSIGNED, { a: '1' }), trace: GENERATED },
  { name: 'decryption', make: () => new NodeDecryptionMaterial(UNSIGNED, { a: '1' }), trace: DECRYPTED },
]

for (const { name, make, trace } of KINDS) {
  test(`${name} materials copy the data key in, hold it once, and wipe it`, () => {
    const material = make()
    const mine = bytes(32)
    assert.not.ok(material.hasValidKey())
    throws(() => material.getUnencryptedDataKey(), 'ERR_INVALID_MATERIALS', /has not been set/)
    assert.is(material.setUnencryptedDataKey(mine, { ...trace }), material)
    assert.equal(mine, bytes(32), "the caller's bytes stay")
    mine.fill(0)
    assert.equal(new Uint8Array(material.getUnencryptedDataKey().export()), bytes(32))
    throws(() => material.setUnencryptedDataKey(bytes(32), trace), 'ERR_INVALID_MATERIALS', /already been set/)
    const held = dataKeyOf(material)
    material.zeroUnencryptedDataKey()
    assert.equal(held, new Uint8Array(32))
    assert.not.ok(material.hasUnencryptedDataKey)
    throws(() => material.getUnencryptedDataKey(), 'ERR_INVALID_MATERIALS', /zeroed/)
    throws(() => material.setUnencryptedDataKey(bytes(32), trace), 'ERR_INVALID_MATERIALS', /already been set/)
  })

  test(`${name} materials that were wiped before they had a data key take none`, () => {
    const material = make().zeroUnencryptedDataKey()
    throws(() => material.setUnencryptedDataKey(bytes(32), trace), 'ERR_INVALID_MATERIALS', /already been set/)
  })

  test(`${name} materials take a KeyObject, and wipe what they made of it`, async () => {
    const key = createSecretKey(bytes(32))
    const material = make()
    const exported = await givenBy([[key, 'export']], () => material.setUnencryptedDataKey(key, trace))
    assert.equal(Uint8Array.from(dataKeyOf(material)), bytes(32))
    assert.equal(exported, [Buffer.alloc(32)])
  })

  test(`${name} materials refuse a data key that is not the suite's, and what is none`, () => {
    for (const length of [0, 16, 31, 33, 64]) {
      throws(() => make().setUnencryptedDataKey(bytes(length), trace), 'ERR_INVALID_MATERIALS', /Key length/)
    }
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
    for (const none of [undefined, null, 'k'.repeat(32), new ArrayBuffer(32), [1], publicKey]) {
      throws(() => make().setUnencryptedDataKey(none as never, trace), TypeError)
    }
  })

  test(`${name} materials refuse a trace that does not say what was done`, () => {
    const wrong = trace === GENERATED ? DECRYPTED : GENERATED
    const traces = [
      undefined,
      null,
      {},
      { ...trace, keyName: '' },
      { ...trace, keyNamespace: '' },
      wrong,
      { ...trace, flags: 0 },
    ]
    for (const each of [...traces, { ...trace, flags: trace.flags | wrong.flags }]) {
      throws(() => make().setUnencryptedDataKey(bytes(32), each as never), 'ERR_INVALID_MATERIALS')
    }
  })

  test(`${name} materials are frozen, with a frozen copy of the context`, () => {
    const material = make()
    assert.ok(Object.isFrozen(material) && Object.isFrozen(material.encryptionContext))
    throws(() => Object.assign(material, { suite: SIGNED }), TypeError)
  })
}

test('a data key that materials do not take over is wiped', () => {
  const material = new NodeEncryptionMaterial(UNSIGNED, {})
  for (const dataKey of [bytes(16), bytes(33)]) {
    throws(() => adoptDataKey(material, dataKey, GENERATED), 'ERR_INVALID_MATERIALS')
    assert.equal(dataKey, new Uint8Array(dataKey.length))
  }
})

test('the public key of a signature is stored: it cannot be left out as a required pair', () => {
  const [key, context] = ['aws-crypto-public-key', { 'aws-crypto-public-key': 'x', a: '1' }]
  for (const kind of [NodeEncryptionMaterial, NodeDecryptionMaterial]) {
    throws(() => new kind(SIGNED, context, [key]), 'ERR_INVALID_MATERIALS', /aws-crypto-public-key/)
    assert.equal(new kind(SIGNED, context, ['a']).requiredEncryptionContextKeys, ['a'])
  }
})

test('of failures, as many are kept as people can use: a message may name 65,535 keys', () => {
  const material = new NodeDecryptionMaterial(UNSIGNED, {})
  for (let i = 0; i < 1500; i++) material.addFailure(new Error(`${i}`))
  assert.equal([material.failures.length, material.failures.at(-1)!.message], [1000, '999'])
})

test('materials need a suite and a context', () => {
  for (const Material of [NodeEncryptionMaterial, NodeDecryptionMaterial]) {
    throws(() => new Material({ ...UNSIGNED } as never, {}), TypeError)
    throws(() => new Material(UNSIGNED, null as never), TypeError)
    throws(() => new Material(UNSIGNED, 'a' as never), TypeError)
  }
})

test('a wrapped key is added after the data key, with flags that say so', () => {
  const material = new NodeEncryptionMaterial(UNSIGNED, {})
  throws(() => material.addEncryptedDataKey(EDK, 2), 'ERR_INVALID_MATERIALS', /not set/)
  material.setUnencryptedDataKey(bytes(32), GENERATED)
  throws(() => material.addEncryptedDataKey({ ...EDK } as never, 2), TypeError)
  for (const flags of [0, 1, 4, 8, 16, 2 | 1, 2 | 4, 2 | 16]) {
    throws(() => material.addEncryptedDataKey(EDK, flags), 'ERR_INVALID_MATERIALS')
  }
  material.addEncryptedDataKey(EDK, 2).addEncryptedDataKey(EDK, 2 | 8)
  material.encryptedDataKeys.pop()
  assert.is(material.encryptedDataKeys.length, 2)
})

test('signing keys go with signed suites, of their curve, once', async () => {
  const p384 = await SignatureKey.generate('secp384r1')
  const p256 = await SignatureKey.generate('prime256v1')
  const verification = VerificationKey.parse('secp384r1', Buffer.from(p384.compressPoint).toString('base64'))
  assert.is(new NodeEncryptionMaterial(UNSIGNED, {}).signatureKey, undefined)
  throws(
    () => new NodeEncryptionMaterial(UNSIGNED, {}).setSignatureKey(p384),
    'ERR_INVALID_MATERIALS',
    /does not support/,
  )
  throws(() => new NodeDecryptionMaterial(UNSIGNED, {}).setVerificationKey(verification), 'ERR_INVALID_MATERIALS')
  const material = new NodeEncryptionMaterial(SIGNED, {})
  throws(() => material.signatureKey, 'ERR_INVALID_MATERIALS', /missing/)
  throws(() => new NodeDecryptionMaterial(SIGNED, {}).verificationKey, 'ERR_INVALID_MATERIALS', /missing/)
  throws(() => material.setSignatureKey(p256), 'ERR_INVALID_MATERIALS', /curve/)
  throws(() => material.setSignatureKey(verification as never), TypeError)
  assert.is(material.setSignatureKey(p384).signatureKey, p384)
  throws(() => material.setSignatureKey(p384), 'ERR_INVALID_MATERIALS', /already/)
})

test('materials tell when nothing more is wanted of keyrings', () => {
  const [encryption, decryption] = KINDS as [(typeof KINDS)[0], (typeof KINDS)[0]]
  const set = (one: ReturnType<typeof encryption.make>) => one.setUnencryptedDataKey(bytes(32), { ...DECRYPTED })
  const cases: [
    make: typeof encryption.make,
    change: (one: ReturnType<typeof encryption.make>) => unknown,
    done: boolean,
  ][] = [
    [encryption.make, (one) => one.setUnencryptedDataKey(bytes(32), { ...GENERATED }), false],
    [encryption.make, (one) => one.zeroUnencryptedDataKey(), true],
    [encryption.make, abandon, true],
    [decryption.make, set, true],
    [decryption.make, (one) => adoptDataKey(one, bytes(32), { ...DECRYPTED }), true],
    [decryption.make, (one) => one.zeroUnencryptedDataKey(), true],
    [decryption.make, abandon, true],
  ]
  for (const [make, change, done] of cases) {
    const [early, late] = [make(), make()]
    const signal = doneSignal(early)
    assert.not(signal.aborted)
    change(early)
    change(late)
    assert.equal([signal.aborted, doneSignal(late).aborted], [done, done])
  }
  const given = decryption.make()
  abandon(given)
  assert.ok(set(given).hasValidKey(), 'what comes late is held until it is wiped')
})

test('unwrapDataKey gives bytes as they are and a copy of a KeyObject', () => {
  const key = bytes(16)
  assert.is(unwrapDataKey(key), key)
  assert.equal(Uint8Array.from(unwrapDataKey(createSecretKey(key))), key)
  for (const none of ['k', null, undefined, 5, {}, createPrivateKey(RSA_PRIVATE_PEM)])
    throws(() => unwrapDataKey(none as never), TypeError, /Unsupported dataKey type/)
})

test.run()
