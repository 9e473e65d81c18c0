import { getEventListeners } from 'node:events'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  buildClient,
  CommitmentPolicy,
  EncryptedDataKey,
  KeyringNode,
  NodeDecryptionMaterial,
  NodeDefaultCryptographicMaterialsManager,
  NodeEncryptionMaterial,
  type NodeMaterialsManager,
  SealwaxError,
} from '../../src/index'
import { doneSignal } from '../../src/materials/materials'
import { getSuite } from '../../src/suites'
import { rejects, throws } from '../support/expect'
import { aesKeyring, bytes } from '../support/keys'

const { FORBID_ENCRYPT_ALLOW_DECRYPT, REQUIRE_ENCRYPT_ALLOW_DECRYPT, REQUIRE_ENCRYPT_REQUIRE_DECRYPT } =
  CommitmentPolicy
const strict = buildClient(REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
const keyring = aesKeyring()
const inner = new NodeDefaultCryptographicMaterialsManager(keyring)
const EDK = new EncryptedDataKey({ providerId: 'n', providerInfo: 'k', encryptedDataKey: bytes(3) })

/** A manager that does this instead of what the default one does. */
function manager(change: Partial<NodeMaterialsManager>): NodeMaterialsManager {
  return {
    getEncryptionMaterials: (request) => inner.getEncryptionMaterials(request),
    decryptMaterials: (request) => inner.decryptMaterials(request),
    ...change,
  }
}

function encryptionMaterial(suiteId = 0x0478, { key = true, edk = true } = {}): NodeEncryptionMaterial {
  const suite = getSuite(suiteId)
  const material = new NodeEncryptionMaterial(suite, {})
  if (key) material.setUnencryptedDataKey(bytes(suite.keyLengthBytes), { keyNamespace: 'n', keyName: 'k', flags: 1 })
  if (edk) material.addEncryptedDataKey(EDK, 2)
  return material
}

class OwnKeyring extends KeyringNode {
  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    const dataKey = bytes(material.suite.keyLengthBytes)
    if (!material.hasUnencryptedDataKey)
      material.setUnencryptedDataKey(dataKey, { keyNamespace: 'own', keyName: 'k', flags: 1 })
    return material.addEncryptedDataKey(
      new EncryptedDataKey({ providerId: 'own', providerInfo: 'k', encryptedDataKey: dataKey }),
      2,
    )
  }

  async _onDecrypt(material: NodeDecryptionMaterial, edks: EncryptedDataKey[]): Promise<NodeDecryptionMaterial> {
    const mine = edks.find(({ providerId }) => providerId === 'own')
    if (!mine) return material
    return material.setUnencryptedDataKey(mine.encryptedDataKey, { keyNamespace: 'own', keyName: 'k', flags: 4 })
  }
}

test('an own keyring and an own manager do', async () => {
  for (const source of [
    new OwnKeyring(),
    manager({}),
    new NodeDefaultCryptographicMaterialsManager(new OwnKeyring()),
  ]) {
    const { result } = await strict.encrypt(source, 'x')
    assert.is((await strict.decrypt(source, result)).plaintext.toString(), 'x')
  }
})

test('a keyring is one by what it can do', async () => {
  const own = new OwnKeyring()
  const foreign = { onEncrypt: own.onEncrypt.bind(own), onDecrypt: own.onDecrypt.bind(own) } as KeyringNode
  const { result } = await strict.encrypt(foreign, 'x')
  assert.is((await strict.decrypt(foreign, result)).plaintext.toString(), 'x')
})

test('managers and keyrings of others may change what they are given', async () => {
  const adding = manager({
    getEncryptionMaterials: (request) => {
      request.encryptionContext.b = '2'
      return inner.getEncryptionMaterials(request)
    },
  })
  const { result } = await strict.encrypt(adding, 'x', { encryptionContext: Object.freeze({ a: '1' }) })
  const { onEncrypt } = keyring
  const onDecrypt: KeyringNode['onDecrypt'] = (material, keys) => keyring.onDecrypt(material, keys.splice(0))
  const taking = { onEncrypt, onDecrypt } as KeyringNode
  const { messageHeader } = await strict.decrypt(taking, result, { encryptionContext: { a: '1', b: '2' } })
  assert.is(messageHeader.encryptedDataKeys.length, 1)
})

test('the default manager is made of a keyring only', () => {
  for (const none of [undefined, null, {}, 'k', inner]) {
    throws(() => new NodeDefaultCryptographicMaterialsManager(none as never), TypeError)
  }
})

test('the default manager keeps policy and reserved key itself', async () => {
  const request = { encryptionContext: {}, commitmentPolicy: REQUIRE_ENCRYPT_REQUIRE_DECRYPT }
  await rejects(inner.getEncryptionMaterials({ ...request, suite: getSuite(0x0178) }), 'ERR_COMMITMENT_POLICY')
  await rejects(
    inner.getEncryptionMaterials({ ...request, commitmentPolicy: 'NONE' as never }),
    TypeError,
    /Invalid commitment/,
  )
  const encryptionContext = { 'aws-crypto-public-key': 'x' }
  await rejects(inner.getEncryptionMaterials({ ...request, encryptionContext }), 'ERR_ENCRYPTION_CONTEXT')
  for (const [policy, id] of [
    [FORBID_ENCRYPT_ALLOW_DECRYPT, 0x0378],
    [REQUIRE_ENCRYPT_ALLOW_DECRYPT, 0x0578],
    [REQUIRE_ENCRYPT_REQUIRE_DECRYPT, 0x0578],
  ] as const) {
    assert.is((await inner.getEncryptionMaterials({ ...request, commitmentPolicy: policy })).suite.id, id)
  }
})

test('the default manager refuses what a keyring left incomplete, and wipes it', async () => {
  const request = { encryptionContext: {}, commitmentPolicy: REQUIRE_ENCRYPT_REQUIRE_DECRYPT, suite: getSuite(0x0478) }
  const seen: NodeEncryptionMaterial[] = []
  class Incomplete extends KeyringNode {
    readonly #key: boolean
    constructor(key: boolean) {
      super()
      this.#key = key
    }
    async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
      seen.push(material)
      if (!this.#key) return material
      return material.setUnencryptedDataKey(bytes(32), { keyNamespace: 'n', keyName: 'k', flags: 1 })
    }
    _onDecrypt = async (material: NodeDecryptionMaterial) => material
  }
  for (const [key, message] of [
    [false, /^unencryptedDataKey has not been set/],
    [true, /^No EncryptedDataKeys: the ciphertext can never be decrypted\.$/],
  ] as const) {
    const cmm = new NodeDefaultCryptographicMaterialsManager(new Incomplete(key))
    await rejects(cmm.getEncryptionMaterials(request), 'ERR_INVALID_MATERIALS', message)
  }
  assert.equal(
    seen.map(({ hasUnencryptedDataKey }) => hasUnencryptedDataKey),
    [false, false],
  )
})

test('materials that a keyring fails to fill are wiped, and of a message that is given up the keyring hears', async () => {
  const request = { encryptionContext: {}, commitmentPolicy: REQUIRE_ENCRYPT_REQUIRE_DECRYPT, suite: getSuite(0x0478) }
  const seen: (NodeEncryptionMaterial | NodeDecryptionMaterial)[] = []
  const broken = new (class extends OwnKeyring {
    override async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
      seen.push(await super._onEncrypt(material))
      throw new Error('broken')
    }
    override async _onDecrypt(
      material: NodeDecryptionMaterial,
      edks: EncryptedDataKey[],
    ): Promise<NodeDecryptionMaterial> {
      seen.push(await super._onDecrypt(material, edks))
      throw new Error('broken')
    }
  })()
  const cmm = new NodeDefaultCryptographicMaterialsManager(broken)
  const mine = new EncryptedDataKey({ providerId: 'own', providerInfo: 'k', encryptedDataKey: bytes(32) })
  await rejects(cmm.getEncryptionMaterials(request), Error, /broken/)
  await rejects(cmm.decryptMaterials({ ...request, encryptedDataKeys: [mine] }), Error, /broken/)
  assert.equal(
    seen.map(({ hasUnencryptedDataKey }) => hasUnencryptedDataKey),
    [false, false],
  )

  for (const early of [true, false]) {
    const controller = new AbortController()
    if (early) controller.abort()
    const told: boolean[] = []
    const listening = new (class extends OwnKeyring {
      override async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
        told.push(doneSignal(material).aborted)
        controller.abort()
        told.push(doneSignal(material).aborted)
        return await super._onEncrypt(material)
      }
    })()
    const { signal } = controller
    await new NodeDefaultCryptographicMaterialsManager(listening).getEncryptionMaterials({ ...request, signal })
    assert.equal(told, [early, true])
    assert.equal(getEventListeners(signal, 'abort'), [])
  }
})

test('signed materials are for the pairs that were asked for, whatever becomes of the object meanwhile', async () => {
  const encryptionContext: Record<string, string> = { a: 'asked' }
  const request = { commitmentPolicy: REQUIRE_ENCRYPT_REQUIRE_DECRYPT, encryptionContext }
  const making = inner.getEncryptionMaterials(request)
  encryptionContext.a = 'changed'
  assert.is((await making).encryptionContext.a, 'asked')
})

test('a message that does not open tells ten of its keys, and that there are more', async () => {
  for (const count of [10, 11]) {
    const encryptedDataKeys = Array.from({ length: count }, () => EDK)
    const request = { suite: getSuite(0x0478), encryptionContext: {}, encryptedDataKeys }
    const { message } = await rejects(inner.decryptMaterials(request), 'ERR_NO_DATA_KEY')
    assert.equal([message.match(/n:k/g)?.length, message.includes('…')], [10, count > 10])
  }
})

const KEYRING_RETURNS: [string, (material: never) => unknown][] = [
  ['nothing', () => undefined],
  ['other materials', () => encryptionMaterial()],
  ['a copy', (material) => Object.assign({}, material)],
]
for (const [name, returns] of KEYRING_RETURNS) {
  test(`a keyring that returns ${name} is refused`, async () => {
    class Wrong extends KeyringNode {
      _onEncrypt = async (material: NodeEncryptionMaterial) => returns(material as never) as NodeEncryptionMaterial
      _onDecrypt = async (material: NodeDecryptionMaterial) => returns(material as never) as NodeDecryptionMaterial
    }
    await rejects(strict.encrypt(new Wrong(), 'x'), 'ERR_INVALID_MATERIALS', /New EncryptionMaterial/)
    const { result } = await strict.encrypt(keyring, 'x')
    await rejects(strict.decrypt(new Wrong(), result), 'ERR_INVALID_MATERIALS', /New DecryptionMaterial/)
  })
}

test('what a keyring says that could open no key is told with what caused it, and whose keys there are', async () => {
  const [cause, attempt] = [new Error('no route'), new Error('denied')]
  class Failing extends OwnKeyring {
    override async _onDecrypt(): Promise<never> {
      throw new SealwaxError('ERR_NO_DATA_KEY', 'No key.', { cause, errors: [attempt] })
    }
  }
  const { result } = await strict.encrypt(new OwnKeyring(), 'x', { suiteId: 0x0478 })
  const error = await rejects(strict.decrypt(new Failing(), result), 'ERR_NO_DATA_KEY', /^No key\. .* are for own:k$/)
  assert.is(error.cause, cause)
  assert.equal((error as SealwaxError).errors, [attempt])
})

test('keyrings refuse what is no material and no encrypted data key', async () => {
  const encryption = encryptionMaterial()
  const decryption = new NodeDecryptionMaterial(getSuite(0x0478), {})
  for (const none of [undefined, null, {}, decryption]) await rejects(keyring.onEncrypt(none as never), TypeError)
  for (const none of [undefined, null, {}, encryption])
    await rejects(keyring.onDecrypt(none as never, [EDK]), TypeError)
  await rejects(keyring.onDecrypt(decryption, [{ ...EDK }] as never), TypeError, /EncryptedDataKey/)
})

test('a keyring is not asked for a data key that is there already', async () => {
  class Unasked extends OwnKeyring {
    override async _onDecrypt(): Promise<NodeDecryptionMaterial> {
      throw new Error('asked')
    }
  }
  const decryption = new NodeDecryptionMaterial(getSuite(0x0478), {})
  await rejects(new Unasked().onDecrypt(decryption, [EDK]), Error, /asked/)
  decryption.setUnencryptedDataKey(bytes(32), { keyNamespace: 'n', keyName: 'k', flags: 4 })
  assert.is(await new Unasked().onDecrypt(decryption, [EDK]), decryption)
})

const ENCRYPTION_ANSWERS: [string, () => unknown, 'ERR_INVALID_MATERIALS' | 'ERR_COMMITMENT_POLICY', RegExp][] = [
  ['nothing', () => undefined, 'ERR_INVALID_MATERIALS', /Unsupported type/],
  [
    'decryption materials',
    () => new NodeDecryptionMaterial(getSuite(0x0478), {}),
    'ERR_INVALID_MATERIALS',
    /Unsupported type/,
  ],
  ['a lookalike', () => ({ ...encryptionMaterial() }), 'ERR_INVALID_MATERIALS', /Unsupported type/],
  [
    'a suite that the policy forbids',
    () => encryptionMaterial(0x0178),
    'ERR_COMMITMENT_POLICY',
    /ALG_AES256_GCM_IV12_TAG16_HKDF_SHA256/,
  ],
  [
    'no data key',
    () => encryptionMaterial(0x0478, { key: false, edk: false }),
    'ERR_INVALID_MATERIALS',
    /not been set/,
  ],
  [
    'no encrypted data key',
    () => encryptionMaterial(0x0478, { edk: false }),
    'ERR_INVALID_MATERIALS',
    /No EncryptedDataKeys/,
  ],
  ['a wiped data key', () => encryptionMaterial().zeroUnencryptedDataKey(), 'ERR_INVALID_MATERIALS', /not been set/],
  ['a signed suite without its key', () => encryptionMaterial(0x0578), 'ERR_INVALID_MATERIALS', /signature key/],
]
for (const [name, answer, code, message] of ENCRYPTION_ANSWERS) {
  test(`encrypting with a manager that answers with ${name} is refused, and the key wiped`, async () => {
    const answered = answer()
    const cmm = manager({ getEncryptionMaterials: async () => answered as NodeEncryptionMaterial })
    await rejects(strict.encrypt(cmm, 'x'), code, message)
    if (answered instanceof NodeEncryptionMaterial) assert.not.ok(answered.hasUnencryptedDataKey)
  })
}

test('materials for a non-committing suite are refused whatever was asked, and the other way round', async () => {
  const answers = (suiteId: number) => manager({ getEncryptionMaterials: async () => encryptionMaterial(suiteId) })
  await rejects(strict.encrypt(answers(0x0178), 'x', { suiteId: 0x0478 }), 'ERR_COMMITMENT_POLICY')
  await rejects(buildClient(REQUIRE_ENCRYPT_ALLOW_DECRYPT).encrypt(answers(0x0178), 'x'), 'ERR_COMMITMENT_POLICY')
  await rejects(buildClient(FORBID_ENCRYPT_ALLOW_DECRYPT).encrypt(answers(0x0478), 'x'), 'ERR_COMMITMENT_POLICY')
  const { messageHeader } = await strict.encrypt(answers(0x0478), 'x', { suiteId: 0x0578 })
  assert.is(messageHeader.suiteId, 0x0478, "an allowed suite is the manager's to choose")
})

test('decrypting with a manager that answers wrongly is refused', async () => {
  const { result } = await strict.encrypt(keyring, 'x', { suiteId: 0x0478 })
  const withKey = (suiteId: number) => {
    const material = new NodeDecryptionMaterial(getSuite(suiteId), {})
    return material.setUnencryptedDataKey(bytes(32), { keyNamespace: 'n', keyName: 'k', flags: 4 })
  }
  const answers: [unknown, 'ERR_INVALID_MATERIALS' | 'ERR_NO_DATA_KEY' | 'ERR_AUTHENTICATION_FAILED'][] = [
    [undefined, 'ERR_INVALID_MATERIALS'],
    [encryptionMaterial(), 'ERR_INVALID_MATERIALS'],
    [new NodeDecryptionMaterial(getSuite(0x0478), {}), 'ERR_NO_DATA_KEY'],
    [withKey(0x0478).zeroUnencryptedDataKey(), 'ERR_NO_DATA_KEY'],
    [withKey(0x0178), 'ERR_INVALID_MATERIALS'],
    [withKey(0x0578), 'ERR_INVALID_MATERIALS'],
    [withKey(0x0478), 'ERR_AUTHENTICATION_FAILED'],
  ]
  for (const [answer, code] of answers) {
    await rejects(
      strict.decrypt(manager({ decryptMaterials: async () => answer as NodeDecryptionMaterial }), result),
      code,
    )
    if (answer instanceof NodeDecryptionMaterial) assert.not.ok(answer.hasUnencryptedDataKey)
  }
})

test('a pair that the caller names and the message does not store counts only where the materials authenticate it', async () => {
  const { result } = await strict.encrypt(keyring, 'x', { suiteId: 0x0478 })
  const answering = (encryptionContext: Record<string, string>, required: string[]) => ({
    ...manager({
      decryptMaterials: async ({ suite, encryptedDataKeys }) => {
        const opened = await keyring.onDecrypt(new NodeDecryptionMaterial(suite, {}), [...encryptedDataKeys])
        const material = new NodeDecryptionMaterial(suite, encryptionContext, required)
        return material.setUnencryptedDataKey(opened.getUnencryptedDataKey(), opened.keyringTrace[0]!)
      },
    }),
    requiredEncryptionContextKeys: ['tenant'],
  })
  const encryptionContext = { tenant: 'acme' }
  for (const cmm of [
    answering({}, []),
    answering(encryptionContext, []),
    answering({ tenant: 'other' }, ['tenant']),
    answering({ tenant: 'acme', a: 'b' }, ['a']),
  ]) {
    await rejects(strict.decrypt(cmm, result, { encryptionContext }), 'ERR_INVALID_MATERIALS', /do not authenticate/)
  }
  const right = answering(encryptionContext, ['tenant'])
  await rejects(strict.decrypt(right, result, { encryptionContext }), 'ERR_AUTHENTICATION_FAILED')
})

test('a stored pair with another value is refused, whatever a manager says that it requires', async () => {
  const { result } = await strict.encrypt(keyring, 'x', { suiteId: 0x0478, encryptionContext: { tenant: 'acme' } })
  const cmm = {
    ...manager({ decryptMaterials: ({ reproducedEncryptionContext: _, ...rest }) => inner.decryptMaterials(rest) }),
    requiredEncryptionContextKeys: ['tenant'],
  }
  await rejects(strict.decrypt(cmm, result, { encryptionContext: { tenant: 'other' } }), 'ERR_ENCRYPTION_CONTEXT')
  await strict.decrypt(cmm, result, { encryptionContext: { tenant: 'acme' } })
})

test('decrypting a signed message needs the verification key of the materials', async () => {
  const { result } = await strict.encrypt(keyring, 'x')
  const cmm = manager({
    decryptMaterials: async ({ suite, encryptionContext, encryptedDataKeys }) =>
      await keyring.onDecrypt(new NodeDecryptionMaterial(suite, encryptionContext), [...encryptedDataKeys]),
  })
  await rejects(strict.decrypt(cmm, result), 'ERR_INVALID_MATERIALS', /verification key/)
})

test('a subclass whose methods would not be called is refused', () => {
  class Adding extends NodeDefaultCryptographicMaterialsManager {
    _initializeEncryptionMaterial() {}
  }
  class Checking extends NodeDefaultCryptographicMaterialsManager {
    _initializeDecryptionMaterial() {}
  }
  for (const Own of [Adding, Checking]) throws(() => new Own(keyring), TypeError, /is not called: override/)
})

test('a manager is asked with what the message is about', async () => {
  const asked: unknown[] = []
  const cmm = manager({
    getEncryptionMaterials: (request) => {
      asked.push({ ...request, encryptionContext: { ...request.encryptionContext } })
      return inner.getEncryptionMaterials(request)
    },
  })
  await strict.encrypt(cmm, 'four', { encryptionContext: { a: '1' } })
  await strict.encrypt(cmm, '', { suiteId: 0x0478 })
  const commitmentPolicy = REQUIRE_ENCRYPT_REQUIRE_DECRYPT
  assert.equal(asked, [
    { suite: undefined, encryptionContext: { a: '1' }, commitmentPolicy, plaintextLength: 4 },
    { suite: getSuite(0x0478), encryptionContext: {}, commitmentPolicy, plaintextLength: 0 },
  ])
})

test.run()
