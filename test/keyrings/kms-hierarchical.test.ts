import * as peer from '@aws-crypto/client-node'
import { getCacheEntryId } from '@aws-crypto/kms-keyring-node/build/main/src/kms_hkeyring_node_helpers'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { deriveMessageKeys } from '../../src/engine/derive'
import { getEngine } from '../../src/engine/engine'
import {
  AlgorithmSuiteIdentifier,
  type BranchKeyIdSupplier,
  type BranchKeyStoreNode,
  buildClient,
  CommitmentPolicy,
  EncryptedDataKey,
  type EncryptionContext,
  getLocalCryptographicMaterialsCache,
  KeyringTraceFlag,
  KmsHierarchicalKeyRingNode,
  type KmsHierarchicalKeyRingNodeInput,
  MultiKeyringNode,
  NodeDecryptionMaterial,
  NodeEncryptionMaterial,
  type SealwaxError,
} from '../../src/index'
import { branchKeyCacheId } from '../../src/keyrings/kms-hierarchical'
import { NodeBranchKeyMaterial } from '../../src/materials/branch-key-material'
import { abandon, dataKeyOf } from '../../src/materials/materials'
import { getSuite } from '../../src/suites'
import { BranchKeyWorld } from '../support/branch-keys'
import { advance, stepWallClock } from '../support/clock'
import { rejectionOf, rejects, throws } from '../support/expect'
import { secretsMadeBy } from '../support/given-by'
import { aesKeyring, bytes } from '../support/keys'
import { countComparisons } from '../support/work'

const TTL = 600
const { encrypt, decrypt } = buildClient()
const theirs = peer.buildClient()
// Signed messages wait for a key pair, each for its own time: they do not miss the cache at once.
const UNSIGNED = { suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY }
let world: BranchKeyWorld
let store: BranchKeyStoreNode
let peerStore: peer.BranchKeyStoreNode
let branchKeyId: string

test.before(async () => {
  world = await BranchKeyWorld.start()
  store = world.store()
  peerStore = world.peerStore()
  branchKeyId = (await store.createKey()).branchKeyIdentifier
})
test.after(() => world.close())
test.before.each(() => {
  world.dynamodb.tamper = undefined
  world.dynamodb.calls.clear()
  world.kmsCalls.clear()
})

function keyring(change: Partial<KmsHierarchicalKeyRingNodeInput> = {}): KmsHierarchicalKeyRingNode {
  return new KmsHierarchicalKeyRingNode({ branchKeyId, keyStore: store, cacheLimitTtl: TTL, ...change })
}

function peerKeyring(change: Partial<peer.KmsHierarchicalKeyRingNodeInput> = {}): peer.KmsHierarchicalKeyRingNode {
  return new peer.KmsHierarchicalKeyRingNode({ branchKeyId, keyStore: peerStore, cacheLimitTtl: TTL, ...change })
}

function calls(): [getItem: number, decrypt: number] {
  return [world.dynamodb.calls.get('GetItem') ?? 0, world.kmsCalls.get('DecryptCommand') ?? 0]
}

// "a" and "B", and "é" and "z", are where locale order and UTF-8 order differ.
const CONTEXTS: EncryptionContext[] = [
  {},
  { purpose: 'tests' },
  { a: '1', B: '2', é: '3', z: '4', 𐀀: '5', '\uffff': '6' },
]
const SUITES = [
  [undefined, CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT],
  [0x0478, CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT],
  [0x0014, CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT],
  [0x0146, CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT],
  [0x0378, CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT],
] as const

for (const utf8Sorting of [false, true]) {
  for (const [suiteId, policy] of SUITES) {
    const suite = suiteId === undefined ? 'the default suite' : `suite 0x0${suiteId.toString(16)}`
    test(`this library and client-node read each other: ${suite}, utf8Sorting ${utf8Sorting}`, async () => {
      const [ours, other] = [buildClient(policy), peer.buildClient(policy)]
      const [mine, peers] = [keyring({ utf8Sorting }), peerKeyring({ utf8Sorting })]
      for (const encryptionContext of CONTEXTS) {
        const options = { encryptionContext, ...(suiteId !== undefined && { suiteId }) }
        const { result } = await ours.encrypt(mine, 'from here', options)
        assert.is((await other.decrypt(peers, result)).plaintext.toString(), 'from here')
        const { result: back } = await other.encrypt(peers, 'from there', options)
        assert.is((await ours.decrypt(mine, back)).plaintext.toString(), 'from there')
      }
    })
  }
}

test('reads both orders of client-node, however it sorts itself', async () => {
  const encryptionContext = CONTEXTS[2]!
  for (const writes of [false, true]) {
    const { result } = await theirs.encrypt(peerKeyring({ utf8Sorting: writes }), 'x', { encryptionContext })
    for (const utf8Sorting of [false, true]) {
      assert.is((await decrypt(keyring({ utf8Sorting }), result)).plaintext.toString(), 'x')
    }
  }
})

test('writes the order it is told to: client-node, which tries one only, reads that one', async () => {
  const encryptionContext = CONTEXTS[2]!
  for (const utf8Sorting of [false, true]) {
    const { result } = await encrypt(keyring({ utf8Sorting }), 'x', { encryptionContext })
    await theirs.decrypt(peerKeyring({ utf8Sorting }), result)
    assert.ok(await rejectionOf(theirs.decrypt(peerKeyring({ utf8Sorting: !utf8Sorting }), result)))
  }
})

test('keys made and versioned by one, messages by the other: old messages stay readable', async () => {
  for (const [maker, other] of [
    [store, peerStore],
    [peerStore, store],
  ] as const) {
    const { branchKeyIdentifier: id } = await maker.createKey()
    const messages: Buffer[] = []
    for (let i = 0; i < 3; i++) {
      if (i > 0) await (i % 2 ? other : maker).versionKey({ branchKeyIdentifier: id })
      messages.push((await encrypt(keyring({ branchKeyId: id }), `ours ${i}`)).result)
      messages.push((await theirs.encrypt(peerKeyring({ branchKeyId: id }), `theirs ${i}`)).result)
    }
    for (const [i, message] of messages.entries()) {
      const expected = `${i % 2 ? 'theirs' : 'ours'} ${Math.floor(i / 2)}`
      assert.is((await decrypt(keyring({ branchKeyId: id }), message)).plaintext.toString(), expected)
      assert.is((await theirs.decrypt(peerKeyring({ branchKeyId: id }), message)).plaintext.toString(), expected)
    }
  }
})

test('a supplier chooses the branch key by the encryption context, for both libraries', async () => {
  const tenants = new Map<string, string>()
  for (const tenant of ['a', 'b']) tenants.set(tenant, (await store.createKey()).branchKeyIdentifier)
  const branchKeyIdSupplier: BranchKeyIdSupplier = { getBranchKeyId: ({ tenant }) => tenants.get(tenant!)! }
  const mine = new KmsHierarchicalKeyRingNode({ branchKeyIdSupplier, keyStore: store, cacheLimitTtl: TTL })
  const peers = new peer.KmsHierarchicalKeyRingNode({ branchKeyIdSupplier, keyStore: peerStore, cacheLimitTtl: TTL })
  for (const tenant of tenants.keys()) {
    const { result, messageHeader } = await encrypt(mine, tenant, { encryptionContext: { tenant } })
    assert.is(messageHeader.encryptedDataKeys[0]!.providerInfo, tenants.get(tenant))
    assert.is((await theirs.decrypt(peers, result)).plaintext.toString(), tenant)
    assert.is((await decrypt(mine, result)).plaintext.toString(), tenant)
  }
  await rejects(encrypt(mine, 'x', { encryptionContext: { tenant: 'c' } }), TypeError, /must return a branch key id/)
})

test('in a multi-keyring it wraps what another made, and is opened by either', async () => {
  const both = new MultiKeyringNode({ generator: aesKeyring(), children: [keyring()] })
  const { result, messageHeader } = await encrypt(both, 'x')
  assert.is(messageHeader.encryptedDataKeys.length, 2)
  assert.is((await decrypt(keyring(), result)).plaintext.toString(), 'x')
  assert.is((await theirs.decrypt(peerKeyring(), result)).plaintext.toString(), 'x')
})

test('1000 messages at once ask the table once and KMS once; so do 1000 readers', async () => {
  const mine = keyring()
  const sealed = await Promise.all(Array.from({ length: 1000 }, () => encrypt(mine, 'x', UNSIGNED)))
  assert.equal(calls(), [1, 1])
  await Promise.all(sealed.map(({ result }) => decrypt(mine, result)))
  assert.equal(calls(), [2, 2])
})

test('a branch key is used for the time to live by a monotonic clock, and then asked for again', async () => {
  const mine = keyring({ cacheLimitTtl: 60 })
  const { result } = await encrypt(mine, 'x')
  stepWallClock(3_600_000)
  await encrypt(mine, 'x')
  stepWallClock(-7_200_000)
  advance(59_000)
  await encrypt(mine, 'x')
  assert.equal(calls(), [1, 1])
  await store.versionKey({ branchKeyIdentifier: branchKeyId })
  world.dynamodb.calls.clear()
  advance(2000)
  const later = await encrypt(mine, 'x')
  assert.is(calls()[0], 1)
  assert.is.not(versionOf(later.result), versionOf(result))
  assert.is((await decrypt(mine, result)).plaintext.toString(), 'x')
})

/** The branch key version in the only encrypted data key, behind its salt and IV. */
function versionOf(message: Buffer): string {
  const start = message.indexOf(branchKeyId) + branchKeyId.length + 2 + 28
  return message.toString('hex', start, start + 16)
}

test('a time to live of 0 asks each time', async () => {
  const mine = keyring({ cacheLimitTtl: 0 })
  await encrypt(mine, 'x', UNSIGNED)
  await encrypt(mine, 'x', UNSIGNED)
  assert.equal(calls(), [2, 2])
})

test('a warm cache works while the table is down; a failure is told to all who wait, and is not cached', async () => {
  const mine = keyring()
  await encrypt(mine, 'x', UNSIGNED)
  world.dynamodb.tamper = () => undefined
  await encrypt(mine, 'x', UNSIGNED)
  const cold = keyring()
  world.dynamodb.calls.clear()
  const errors = await Promise.all(Array.from({ length: 50 }, () => rejectionOf(encrypt(cold, 'x', UNSIGNED))))
  assert.is(calls()[0], 1)
  for (const error of errors) assert.is((error as SealwaxError).code, 'ERR_KEY_SERVICE')
  world.dynamodb.tamper = undefined
  await encrypt(cold, 'x', UNSIGNED)
})

test('keyrings share branch keys through a cache, where they have one partition and one store', async () => {
  const cache = getLocalCryptographicMaterialsCache(10)
  const first = keyring({ cache, partitionId: 'p' })
  await encrypt(first, 'x', UNSIGNED)
  await encrypt(keyring({ cache, partitionId: 'p' }), 'x', UNSIGNED)
  assert.equal(calls(), [1, 1])
  await encrypt(keyring({ cache, partitionId: 'q' }), 'x', UNSIGNED)
  for (let i = 0; i < 2; i++) await encrypt(keyring({ cache }), 'x', UNSIGNED)
  assert.equal(calls(), [4, 4])
  advance(2000)
  await encrypt(keyring({ cache, partitionId: 'p', cacheLimitTtl: 1 }), 'x', UNSIGNED)
  assert.equal(calls(), [5, 5])
})

test('keyrings that share branch keys make one call for simultaneous misses; one that keeps none asks for itself', async () => {
  const shared = { cache: getLocalCryptographicMaterialsCache(10), partitionId: 'p' }
  const impatient = keyring({ ...shared, cacheLimitTtl: 0 })
  const keyrings = [1, 2, 3].map(() => keyring(shared))
  const asked = [impatient, ...Array.from({ length: 300 }, (_, i) => keyrings[i % 3]!)]
  const sealed = await Promise.all(asked.map((one) => encrypt(one, 'x', UNSIGNED)))
  assert.equal(calls(), [2, 2])
  await Promise.all(sealed.slice(1).map(({ result }, i) => decrypt(keyrings[i % 3]!, result)))
  assert.equal(calls(), [3, 3])
})

test('branch keys are wiped when they leave the cache, and messages under way are not hurt', async () => {
  const held: NodeBranchKeyMaterial[] = []
  const ages = new Set<number | undefined>()
  const inner = getLocalCryptographicMaterialsCache(1)
  const cache: typeof inner = {
    putBranchKeyMaterial: (key, material, maxAge) => {
      held.push(material)
      ages.add(maxAge)
      inner.putBranchKeyMaterial(key, material, maxAge)
    },
    getBranchKeyMaterial: (key) => inner.getBranchKeyMaterial(key),
    del: (key) => inner.del(key),
    putEncryptionMaterial: fail,
    putDecryptionMaterial: fail,
    getEncryptionMaterial: fail,
    getDecryptionMaterial: fail,
  }
  const ids = await Promise.all([1, 2, 3].map(async () => (await store.createKey()).branchKeyIdentifier))
  const rings = ids.map((id) => keyring({ branchKeyId: id, cache }))
  const sealed = await Promise.all(Array.from({ length: 30 }, (_, i) => encrypt(rings[i % 3]!, `${i}`, UNSIGNED)))
  assert.ok(held.length >= 3)
  assert.equal([...ages], [rings[0]!.cacheLimitTtl], 'when they get too old, at the latest')
  for (const material of held.slice(0, -1)) throws(() => material.branchKey(), 'ERR_INVALID_MATERIALS', /zeroed/)
  assert.ok(
    held
      .at(-1)!
      .branchKey()
      .some((byte) => byte !== 0),
  )
  for (const [i, { result }] of sealed.entries()) {
    assert.is((await decrypt(rings[i % 3]!, result)).plaintext.toString(), `${i}`)
  }
})

test('a cache that throws fails the message, and leaves no branch key behind', async () => {
  const seen: NodeBranchKeyMaterial[] = []
  const cache = Object.assign(Object.create(getLocalCryptographicMaterialsCache(1)), {
    putBranchKeyMaterial: (_: string, material: NodeBranchKeyMaterial) => {
      seen.push(material)
      throw new Error('full')
    },
    getBranchKeyMaterial: () => false,
  })
  const made = await secretsMadeBy(() => rejects(encrypt(keyring({ cache }), 'x', UNSIGNED), Error, /full/))
  throws(() => seen[0]!.branchKey(), 'ERR_INVALID_MATERIALS', /zeroed/)
  assert.ok(made.length >= 2)
  for (const bytes of made) assert.equal(bytes, new Uint8Array(bytes.length))
})

test('neither a branch key that is not cached nor what is derived from it outlives its message', async () => {
  const used = new Set<Uint8Array>()
  const see = <T extends { branchKey(): Uint8Array }>(material: T): T => {
    used.add(material.branchKey())
    return material
  }
  const keyStore: BranchKeyStoreNode = Object.create(store, {
    getActiveBranchKey: { value: async (id: string) => see(await store.getActiveBranchKey(id)) },
    getBranchKeyVersion: { value: async (id: string, of: string) => see(await store.getBranchKeyVersion(id, of)) },
  })
  const uncached = keyring({ cacheLimitTtl: 0, keyStore })
  const engine = getEngine()
  for (const name of ['seal', 'open'] as const) {
    const work = engine[name].bind(engine) as (key: Uint8Array, ...more: unknown[]) => unknown
    const value = (key: Uint8Array, ...more: unknown[]) => {
      used.add(key)
      return work(key, ...more)
    }
    Object.defineProperty(engine, name, { value, configurable: true })
  }
  try {
    const { result } = await encrypt(uncached, 'x', UNSIGNED)
    assert.is((await decrypt(uncached, result)).plaintext.toString(), 'x')
  } finally {
    for (const name of ['seal', 'open']) Reflect.deleteProperty(engine, name)
  }
  assert.is(used.size, 4, 'a branch key and a wrapping key, there and back')
  for (const key of used) assert.ok(key.every((byte) => byte === 0))
})

const SUITE = getSuite(0x0478)

async function wrap(
  context: EncryptionContext = {},
): Promise<{ material: NodeEncryptionMaterial; edk: EncryptedDataKey }> {
  const material = await keyring().onEncrypt(new NodeEncryptionMaterial(SUITE, context))
  return { material, edk: material.encryptedDataKeys[0]! }
}

test('says in the trace what it did', async () => {
  const { material, edk } = await wrap()
  const names = { keyNamespace: 'aws-kms-hierarchy', keyName: branchKeyId }
  const { ENCRYPT_FLAGS, DECRYPT_FLAGS, WRAPPING_KEY_GENERATED_DATA_KEY } = KeyringTraceFlag
  assert.equal(material.keyringTrace, [
    { ...names, flags: WRAPPING_KEY_GENERATED_DATA_KEY },
    { ...names, flags: ENCRYPT_FLAGS },
  ])
  assert.is(edk.encryptedDataKey.length, 16 + 12 + 16 + 32 + 16)
  const opened = await keyring().onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [edk])
  assert.equal(opened.keyringTrace, [{ ...names, flags: DECRYPT_FLAGS }])
  assert.equal(dataKeyOf(opened), dataKeyOf(material))
})

test('any flipped bit of the encrypted data key is refused, before the table is asked where that can be told', async () => {
  const { edk } = await wrap()
  const good = edk.encryptedDataKey
  const mine = keyring()
  for (let i = 0; i < good.length; i++) {
    const encryptedDataKey = good.slice()
    encryptedDataKey[i]! ^= 1 << (i % 8)
    const changed = new EncryptedDataKey({ providerId: edk.providerId, providerInfo: branchKeyId, encryptedDataKey })
    const material = await mine.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [changed])
    assert.not(material.hasValidKey(), `byte ${i}`)
    assert.is(material.failures.length, 1)
  }
})

test('another context, length or branch key does not open', async () => {
  const { edk } = await wrap({ a: 'b' })
  const tryWith = async (change: object, context: EncryptionContext = { a: 'b' }, suite = SUITE) => {
    const { providerId, providerInfo, encryptedDataKey } = edk
    const changed = new EncryptedDataKey({ providerId, providerInfo, encryptedDataKey, ...change })
    return await keyring().onDecrypt(new NodeDecryptionMaterial(suite, context), [changed])
  }
  assert.ok((await tryWith({})).hasValidKey())
  const failed = async (material: Promise<NodeDecryptionMaterial>, message: RegExp) => {
    const { failures } = await material
    assert.is(failures.length, 1)
    assert.match(failures[0]!.message, message)
  }
  await failed(tryWith({}, { a: 'c' }), /could not open/)
  await failed(tryWith({}, {}), /could not open/)
  await failed(tryWith({ encryptedDataKey: edk.encryptedDataKey.subarray(1) }), /must be 92 bytes long/)
  await failed(tryWith({}, { a: 'b' }, getSuite(0x0014)), /must be 76 bytes long/)
  world.dynamodb.calls.clear()
  await failed(tryWith({ encryptedDataKey: new Uint8Array(92) }), /no version 4 UUID/)
  for (const change of [{ providerInfo: `${branchKeyId}0` }, { providerInfo: 'x' }, { providerId: 'aws-kms' }]) {
    await failed(tryWith(change), /^There must be an encrypted data key that matches this keyring's configuration$/)
    assert.not((await tryWith(change)).hasValidKey())
  }
  assert.is(calls()[0], 0)
})

/**
 * Header and branch key of a message with suite 0578 in aws-encryption-sdk-javascript,
 * modules/decrypt-node/test/fixtures.ts; the branch key is `static-branch-key-1` of the test vectors of all languages.
 */
test('opens a data key that another AWS Encryption SDK wrapped, whose commitment shows that it is the right one', async () => {
  const id = 'bd3842ff-3076-4092-9918-4395730050b8'
  const branchKey = Buffer.from('tJwf65epYvUt5HMiQsl/6jlvLxS0tgdjIuvFy2BLIwg=', 'base64')
  const context = {
    'aws-crypto-public-key': 'AqCmoZKseT/5rIqS4/vaB0XED/g+deJ4gH0bpB7OOuu/RHfoaYkuGtbsgJZIu/b0Sg==',
  }
  const encryptedDataKey = Buffer.from(
    'QgnH1DmAYSxHypzGSvZLHHaJuxP5gS71+nmQyunOGKPttUJyn4YcrLeZf/aRm0RsQXrKymLntGu9nbkmEGVaJEfI3tjFy3Upnv9+7KHyJ0d2JACm4bShvBte7Fw=',
    'base64',
  )
  const asked: string[][] = []
  const getBranchKeyVersion = async (...of: [string, string]) => {
    asked.push(of)
    return new NodeBranchKeyMaterial(branchKey, ...of, {})
  }
  const keyStore: BranchKeyStoreNode = Object.create(store, { getBranchKeyVersion: { value: getBranchKeyVersion } })
  const edk = new EncryptedDataKey({ providerId: 'aws-kms-hierarchy', providerInfo: id, encryptedDataKey })
  const suite = getSuite(0x0578)
  const opened = await keyring({ branchKeyId: id, keyStore }).onDecrypt(new NodeDecryptionMaterial(suite, context), [
    edk,
  ])
  assert.equal(asked, [[id, 'e9ce18a3-edb5-4272-9f86-1cacb7997ff6']])
  const messageId = Buffer.from('2CSZ2CYjBDCvAR7JXsgiEjW2+P+OnIOtmHmzk3jIHBo=', 'base64')
  const { commitment } = deriveMessageKeys(getEngine(), suite, dataKeyOf(opened), messageId)
  assert.is(Buffer.from(commitment!).toString('base64'), 'z8i9oh3LLQh7PLsPFKvSGT/JHf4vC4syz2TWdfC/9bw=')
})

test('a version that is not in the table is one failure; the next encrypted data key is tried', async () => {
  const { edk } = await wrap()
  const encryptedDataKey = edk.encryptedDataKey
  encryptedDataKey.set(Buffer.from('0f1e2d3c4b5a49788695a4b3c2d1e0ff', 'hex'), 28)
  const other = new EncryptedDataKey({ providerId: edk.providerId, providerInfo: branchKeyId, encryptedDataKey })
  const material = await keyring().onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [other, edk])
  assert.ok(material.hasValidKey())
  assert.match(material.failures[0]!.message, /was not found/)
})

test('however many encrypted data keys it tries, the encryption context is sorted once', async () => {
  const context = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`${i % 2 ? 'k' : 'K'}${i}`, '']))
  const [edk] = (await keyring().onEncrypt(new NodeEncryptionMaterial(SUITE, context))).encryptedDataKeys
  const encryptedDataKey = edk!.encryptedDataKey
  encryptedDataKey[encryptedDataKey.length - 1]! ^= 1
  const broken = new EncryptedDataKey({ providerId: edk!.providerId, providerInfo: branchKeyId, encryptedDataKey })
  const open = async (count: number) => {
    const material = new NodeDecryptionMaterial(SUITE, context)
    const edks = [...Array<EncryptedDataKey>(count).fill(broken), edk!]
    const { compared, result } = await countComparisons(() => keyring().onDecrypt(material, edks))
    assert.ok(result.hasValidKey())
    return compared
  }
  assert.ok((await open(0)) > 0)
  assert.is(await open(30), await open(1))
})

test('a message of many versions asks no longer than it is wanted, and not for ever', async () => {
  const { edk } = await wrap()
  const changed = edk.encryptedDataKey
  changed[changed.length - 1]! ^= 1
  const broken = new EncryptedDataKey({
    providerId: edk.providerId,
    providerInfo: branchKeyId,
    encryptedDataKey: changed,
  })
  const many = Array.from({ length: 40 }, (_, i) => {
    const encryptedDataKey = edk.encryptedDataKey
    encryptedDataKey.set(Buffer.from(`0f1e2d3c4b5a49788695a4b3c2d1e0${(16 + i).toString(16)}`, 'hex'), 28)
    return new EncryptedDataKey({ providerId: edk.providerId, providerInfo: branchKeyId, encryptedDataKey })
  })
  world.dynamodb.calls.clear()
  const material = new NodeDecryptionMaterial(SUITE, {})
  world.dynamodb.tamper = (item) => {
    abandon(material)
    return item
  }
  await keyring().onDecrypt(material, [broken, ...many])
  assert.is(calls()[0], 1)
  world.dynamodb.tamper = undefined
  const slow = keyring({
    branchKeyId: undefined,
    branchKeyIdSupplier: {
      getBranchKeyId: () => {
        setTimeout(() => advance(31_000))
        return branchKeyId
      },
    },
  })
  const late = await slow.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), many)
  assert.match(late.failures.at(-1)!.message, /encrypted data keys were not tried/)
})

test('a supplier that is asynchronous is refused, and its failure ends nothing else', async () => {
  let unhandled = 0
  const count = () => unhandled++
  process.on('unhandledRejection', count)
  const branchKeyIdSupplier = { getBranchKeyId: async () => Promise.reject(new Error('unknown tenant')) } as never
  await rejects(encrypt(keyring({ branchKeyId: undefined, branchKeyIdSupplier }), 'x'), TypeError, /of type Promise/)
  await new Promise((resolve) => setTimeout(resolve, 5))
  process.off('unhandledRejection', count)
  assert.is(unhandled, 0)
})

test('a message for another branch key says so', async () => {
  const { result } = await encrypt(keyring(), 'x')
  const { branchKeyIdentifier } = await store.createKey()
  const other = keyring({ branchKeyId: branchKeyIdentifier })
  await rejects(decrypt(other, result), 'ERR_NO_DATA_KEY', new RegExp(`aws-kms-hierarchy:${branchKeyId}`))
})

test("cache ids are client-node's", () => {
  const version = '0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0ff'
  for (const id of ['x', 'tenant ü']) {
    for (const given of [undefined, version]) {
      const [name, partition] = [Buffer.from('logical ü'), Buffer.from(bytes(64))]
      const expected = getCacheEntryId(name, partition, id, given === undefined ? undefined : Buffer.from(given))
      const ours = branchKeyCacheId(partition, 'logical ü', id, given)
      // client-node forces the digest into UTF-8 text.
      assert.is(Buffer.from(ours, 'base64').toString(), expected)
    }
  }
})

test('wrong options are refused', () => {
  const make = (change: object) => () => keyring(change)
  throws(make({ branchKeyId: undefined }), TypeError, /Must provide a branch key identifier or supplier/)
  throws(make({ branchKeyId: 5 }), TypeError, /"branchKeyId"/)
  throws(make({ branchKeyIdSupplier: { getBranchKeyId: () => 'x' } }), TypeError, /and not both/)
  throws(make({ branchKeyId: '', branchKeyIdSupplier: {} }), TypeError, /must be a BranchKeyIdSupplier/)
  throws(make({ keyStore: {} }), TypeError, /The keystore must be a BranchKeyStore/)
  throws(make({ cacheLimitTtl: '5' }), TypeError, /The cache limit TTL must be a number/)
  for (const cacheLimitTtl of [-1, Infinity, Number.NaN]) throws(make({ cacheLimitTtl }), RangeError, /Cache limit TTL/)
  for (const maxCacheSize of [0, -1, 1.5]) throws(make({ maxCacheSize }), RangeError, /"maxCacheSize"/)
  const cache = getLocalCryptographicMaterialsCache(1)
  throws(make({ cache, maxCacheSize: 5 }), TypeError, /Max cache size not supported when passing a cache/)
  throws(make({ cache: {} }), TypeError, /You must provide a cache/)
  throws(make({ partitionId: 5 }), TypeError, /"partitionId"/)
  throws(make({ utf8Sorting: 'yes' }), TypeError, /"utf8Sorting"/)
  throws(make({ cacheLimitTTL: 5 }), TypeError, /unknown option "cacheLimitTTL"/)
})

test('shows its options, in milliseconds where client-node does, and cannot be changed', () => {
  const mine = keyring({ cacheLimitTtl: 1.5 })
  assert.equal([mine.branchKeyId, mine.cacheLimitTtl, mine.maxCacheSize], [branchKeyId, 1500, 1000])
  assert.is(mine.keyStore, store)
  assert.ok(Object.isFrozen(mine))
  const entry = { response: undefined as never, now: 0, createdAt: performance.now() }
  assert.not(mine.cacheEntryHasExceededLimits(entry))
  advance(2000)
  assert.ok(mine.cacheEntryHasExceededLimits(entry))
})

function fail(): never {
  throw new Error('not for this test')
}

test.run()
