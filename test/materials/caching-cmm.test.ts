import { createHash } from 'node:crypto'
import { buildCryptographicMaterialsCacheKeyHelpers } from '@aws-crypto/cache-material'
import * as peer from '@aws-crypto/client-node'
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  buildClient,
  CommitmentPolicy,
  type CryptographicMaterialsCache,
  EncryptedDataKey,
  getLocalCryptographicMaterialsCache,
  type NodeAlgorithmSuite,
  NodeCachingMaterialsManager,
  NodeDecryptionMaterial,
  type NodeDecryptionRequest,
  NodeDefaultCryptographicMaterialsManager,
  NodeEncryptionMaterial,
  type NodeEncryptionRequest,
  type NodeMaterialsManager,
} from '../../src/index'
import { CacheIds, decryptionCacheId, encryptionCacheId, partitionId } from '../../src/materials/cache-ids'
import type { CachingMaterialsManagerInput } from '../../src/materials/caching-cmm'
import { dataKeyOf } from '../../src/materials/materials'
import { getSuite } from '../../src/suites'
import { advance, stepWallClock } from '../support/clock'
import { rejectionOf, rejects, throws } from '../support/expect'
import { secretsMadeBy } from '../support/given-by'
import { aesKeyring, bytes } from '../support/keys'

const { REQUIRE_ENCRYPT_REQUIRE_DECRYPT, REQUIRE_ENCRYPT_ALLOW_DECRYPT, FORBID_ENCRYPT_ALLOW_DECRYPT } =
  CommitmentPolicy
const HOUR = 3_600_000
const UNSIGNED = getSuite(0x0478)
const SIGNED = getSuite(0x0578)
const NO_KDF = getSuite(0x0078)

/** The default manager, with a count of what is asked of it; it answers in a later turn, as a key service does. */
class CountingManager implements NodeMaterialsManager {
  readonly #inner = new NodeDefaultCryptographicMaterialsManager(aesKeyring())
  readonly encryptRequests: NodeEncryptionRequest[] = []
  readonly decryptRequests: NodeDecryptionRequest[] = []
  readonly given: (NodeEncryptionMaterial | NodeDecryptionMaterial)[] = []
  running = 0
  mostAtOnce = 0
  failure: Error | undefined

  async getEncryptionMaterials(request: NodeEncryptionRequest): Promise<NodeEncryptionMaterial> {
    this.encryptRequests.push(request)
    return await this.#answer(() => this.#inner.getEncryptionMaterials(request))
  }

  async decryptMaterials(request: NodeDecryptionRequest): Promise<NodeDecryptionMaterial> {
    this.decryptRequests.push(request)
    return await this.#answer(() => this.#inner.decryptMaterials(request))
  }

  async #answer<M extends NodeEncryptionMaterial | NodeDecryptionMaterial>(make: () => Promise<M>): Promise<M> {
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.running)
    await new Promise((resolve) => setImmediate(resolve))
    this.running--
    if (this.failure) throw this.failure
    const material = await make()
    this.given.push(material)
    return material
  }
}

function caching(input: Partial<CachingMaterialsManagerInput> = {}) {
  const backing = new CountingManager()
  const cache = getLocalCryptographicMaterialsCache(100)
  const cmm = new NodeCachingMaterialsManager({ backingMaterials: backing, cache, maxAge: HOUR, ...input })
  return { cmm, backing, cache }
}

function toEncrypt(change: Partial<NodeEncryptionRequest> = {}): NodeEncryptionRequest {
  const commitmentPolicy = REQUIRE_ENCRYPT_REQUIRE_DECRYPT
  return { suite: UNSIGNED, encryptionContext: {}, commitmentPolicy, plaintextLength: 10, ...change }
}

function keyOf(material: NodeEncryptionMaterial | NodeDecryptionMaterial): string {
  return Buffer.from(dataKeyOf(material)).toString('hex')
}

async function messages(cmm: NodeMaterialsManager, count: number, change?: Partial<NodeEncryptionRequest>) {
  return await Promise.all(Array.from({ length: count }, () => cmm.getEncryptionMaterials(toEncrypt(change))))
}

test('1000 messages at once are one call, and their materials are 1000 copies', async () => {
  const { cmm, backing } = caching()
  const all = await messages(cmm, 1000)
  assert.is(backing.encryptRequests.length, 1)
  assert.is(new Set(all).size, 1000)
  assert.is(new Set(all.map(keyOf)).size, 1)
  all[0]!.zeroUnencryptedDataKey()
  assert.is(keyOf(all[1]!), keyOf((await messages(cmm, 1))[0]!))
})

test('1000 messages at once with a limit of 100 are 10 calls, one at a time, and 100 messages of each key', async () => {
  const { cmm, backing } = caching({ maxMessagesEncrypted: 100 })
  const keys = (await messages(cmm, 1000)).map(keyOf)
  assert.is(backing.encryptRequests.length, 10)
  assert.is(backing.mostAtOnce, 1)
  for (const key of new Set(keys)) assert.is(keys.filter((other) => other === key).length, 100)
})

test('no order of calls passes a limit of messages or bytes', async () => {
  const call = fc.record({ length: fc.integer({ min: 0, max: 12 }), turns: fc.integer({ min: 0, max: 3 }) })
  const property = fc.asyncProperty(
    fc.array(call, { minLength: 1, maxLength: 40 }),
    fc.integer({ min: 1, max: 5 }),
    fc.integer({ min: 1, max: 30 }),
    fc.integer({ min: 1, max: 3 }),
    async (calls, maxMessagesEncrypted, maxBytesEncrypted, capacity) => {
      const cache = getLocalCryptographicMaterialsCache(capacity)
      const { cmm } = caching({ maxMessagesEncrypted, maxBytesEncrypted, cache })
      const uses = new Map<string, number[]>()
      await Promise.all(
        calls.map(async ({ length, turns }, i) => {
          for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
          const encryptionContext = { tenant: String(i % 2) }
          const material = await cmm.getEncryptionMaterials(toEncrypt({ plaintextLength: length, encryptionContext }))
          uses.set(keyOf(material), [...(uses.get(keyOf(material)) ?? []), length])
        }),
      )
      for (const lengths of uses.values()) {
        assert.ok(lengths.length <= maxMessagesEncrypted)
        const total = lengths.reduce((sum, length) => sum + length, 0)
        assert.ok(total <= maxBytesEncrypted || lengths.length === 1)
      }
    },
  )
  await fc.assert(property, { numRuns: 200 })
})

test('a limit of 3 messages gives exactly 3', async () => {
  const { cmm, backing } = caching({ maxMessagesEncrypted: 3 })
  const counts: number[] = []
  for (let i = 0; i < 7; i++) {
    await messages(cmm, 1)
    counts.push(backing.encryptRequests.length)
  }
  assert.equal(counts, [1, 1, 1, 2, 2, 2, 3])
})

test('bytes are used to the last one; a message past the limit by itself leaves the cached key alone', async () => {
  const { cmm, backing } = caching({ maxBytesEncrypted: 25 })
  await messages(cmm, 1, { plaintextLength: 10 })
  await messages(cmm, 1, { plaintextLength: 26 })
  await messages(cmm, 1, { plaintextLength: 15 })
  assert.is(backing.encryptRequests.length, 2)
  await messages(cmm, 1, { plaintextLength: 1 })
  assert.is(backing.encryptRequests.length, 3)
  const other = caching({ maxBytesEncrypted: 25 })
  for (const plaintextLength of [25, 0]) await messages(other.cmm, 1, { plaintextLength })
  assert.is(other.backing.encryptRequests.length, 1)
})

test('a key that is used up, or too old, is wiped when it is next asked for, whatever comes instead', async () => {
  for (const limit of [{ maxMessagesEncrypted: 1 }, { maxBytesEncrypted: 10 }, { maxAge: 1000 }]) {
    const { cmm, backing } = caching(limit)
    await messages(cmm, 1)
    advance(2000)
    backing.failure = new Error('throttled')
    await rejects(messages(cmm, 1), Error, /throttled/)
    assert.not.ok(backing.given[0]!.hasUnencryptedDataKey)
  }
})

test('a failed call fails all who wait for it, is not cached, and the next message tries again', async () => {
  const { cmm, backing } = caching()
  backing.failure = new Error('throttled')
  const errors = await Promise.all(
    Array.from({ length: 100 }, () => rejectionOf(cmm.getEncryptionMaterials(toEncrypt()))),
  )
  assert.ok(errors.every((error) => error === backing.failure))
  assert.is(backing.encryptRequests.length, 1)
  backing.failure = undefined
  await messages(cmm, 1)
  assert.is(backing.encryptRequests.length, 2)
})

test('a warm cache serves while the key service is down, until materials are too old', async () => {
  const { cmm, backing } = caching({ maxAge: 60_000 })
  await messages(cmm, 1)
  backing.failure = new Error('throttled')
  advance(59_000)
  await messages(cmm, 10)
  advance(2000)
  assert.is(await rejectionOf(cmm.getEncryptionMaterials(toEncrypt())), backing.failure)
})

test('materials are for the pairs that were asked for, whatever becomes of the object meanwhile', async () => {
  for (const suite of [UNSIGNED, SIGNED]) {
    const { cmm } = caching()
    const encryptionContext: Record<string, string> = { tenant: 'a' }
    const asked = cmm.getEncryptionMaterials(toEncrypt({ suite, encryptionContext }))
    encryptionContext.tenant = 'b'
    assert.is((await asked).encryptionContext.tenant, 'a')
    const later = await cmm.getEncryptionMaterials(toEncrypt({ suite, encryptionContext: { tenant: 'a' } }))
    assert.is(later.encryptionContext.tenant, 'a')
  }
})

test('messages that were given up while they waited cost no call', async () => {
  const { cmm, backing } = caching({ maxMessagesEncrypted: 10 })
  const controller = new AbortController()
  const { signal } = controller
  const gone = Array.from({ length: 100 }, () => rejectionOf(cmm.getEncryptionMaterials(toEncrypt({ signal }))))
  const wanted = cmm.getEncryptionMaterials(toEncrypt())
  controller.abort()
  await wanted
  await Promise.all(gone)
  assert.is(backing.encryptRequests.length, 1)
})

test('setting the wall clock neither ends nor prolongs the use of materials', async () => {
  const { cmm, backing } = caching({ maxAge: 60_000 })
  await messages(cmm, 1)
  for (const step of [HOUR, -2 * HOUR, HOUR]) {
    stepWallClock(step)
    await messages(cmm, 1)
  }
  assert.is(backing.encryptRequests.length, 1)
  stepWallClock(-HOUR)
  advance(61_000)
  await messages(cmm, 1)
  assert.is(backing.encryptRequests.length, 2)
})

test('of managers that share a cache, each keeps to its own maxAge and its own partition', async () => {
  const cache = getLocalCryptographicMaterialsCache(10)
  const patient = caching({ cache, maxAge: HOUR, partition: 'p' })
  const hasty = caching({ cache, maxAge: 1000, partition: 'p' })
  const stranger = caching({ cache })
  const [first] = await messages(patient.cmm, 1)
  assert.is(keyOf((await messages(hasty.cmm, 1))[0]!), keyOf(first!))
  assert.is.not(keyOf((await messages(stranger.cmm, 1))[0]!), keyOf(first!))
  advance(2000)
  assert.is.not(keyOf((await messages(hasty.cmm, 1))[0]!), keyOf(first!))
  assert.equal(
    [patient, hasty, stranger].map(({ backing }) => backing.encryptRequests.length),
    [1, 1, 1],
  )
})

test('managers that were given no partition share nothing, though they share a cache', async () => {
  const cache = getLocalCryptographicMaterialsCache(10)
  const [first, second] = [caching({ cache }), caching({ cache })]
  for (const { cmm, backing } of [first, second]) {
    const { encryptedDataKeys } = await cmm.getEncryptionMaterials(toEncrypt())
    const { suite, encryptionContext } = toEncrypt({ suite: UNSIGNED })
    await first.cmm.decryptMaterials({ suite: suite!, encryptionContext, encryptedDataKeys })
    await second.cmm.decryptMaterials({ suite: suite!, encryptionContext, encryptedDataKeys })
    assert.is(backing.encryptRequests.length, 1)
  }
  assert.equal(
    [first, second].map(({ backing }) => backing.decryptRequests.length),
    [2, 2],
  )
})

test('managers that share a cache and a partition make one call for simultaneous misses, and keep to their own limits', async () => {
  const backing = new CountingManager()
  const shared = { backingMaterials: backing, cache: getLocalCryptographicMaterialsCache(10), partition: 'p' }
  const managers = [1, 2, 3].map(() => caching(shared).cmm)
  const keys = (await Promise.all(managers.map((cmm) => messages(cmm, 100)))).flat().map(keyOf)
  assert.is(new Set(keys).size, 1)
  assert.is(backing.encryptRequests.length, 1)
  const { encryptedDataKeys } = (await messages(managers[0]!, 1))[0]!
  const toDecrypt = { suite: UNSIGNED, encryptionContext: {}, encryptedDataKeys }
  await Promise.all(Array.from({ length: 300 }, (_, i) => managers[i % 3]!.decryptMaterials(toDecrypt)))
  assert.is(backing.decryptRequests.length, 1)

  const careful = caching({ ...shared, maxMessagesEncrypted: 2 }).cmm
  const small = caching({ ...shared, maxBytesEncrypted: 25 }).cmm
  const encryptionContext = { another: 'id' }
  const [free, few, short] = await Promise.all(
    [managers[0]!, careful, small].map(async (cmm) => (await messages(cmm, 60, { encryptionContext })).map(keyOf)),
  )
  const all = [...free!, ...few!, ...short!]
  for (const key of new Set(all)) {
    // Whoever was the last to take a key took it within its limit, counting the messages of the others.
    assert.ok(few!.filter((other) => other === key).length <= 2)
    assert.ok(short!.filter((other) => other === key).length <= 2)
  }
  assert.is(backing.mostAtOnce, 1)
})

test('clients of different policies never get materials of each other', async () => {
  const { cmm, backing } = caching()
  const suites = new Set<NodeAlgorithmSuite>()
  for (const commitmentPolicy of Object.values(CommitmentPolicy)) {
    const { suite, ...request } = toEncrypt({ commitmentPolicy })
    assert.ok(suite)
    suites.add((await cmm.getEncryptionMaterials(request)).suite)
  }
  assert.is(backing.encryptRequests.length, 3)
  assert.equal(
    [...suites].map(({ id }) => id),
    [0x0378, 0x0578],
  )
})

test('what cannot be cached is asked for each time: no length, no key derivation', async () => {
  const { cmm, backing } = caching()
  const { plaintextLength, ...unknown } = toEncrypt()
  assert.is(plaintextLength, 10)
  for (const request of [unknown, { ...unknown, plaintextLength: -1 }])
    for (let i = 0; i < 3; i++) await cmm.getEncryptionMaterials(request)
  assert.is(backing.encryptRequests.length, 6)
  const commitmentPolicy = FORBID_ENCRYPT_ALLOW_DECRYPT
  await messages(cmm, 3, { suite: NO_KDF, commitmentPolicy })
  assert.is(backing.encryptRequests.length, 9)
  assert.is(backing.mostAtOnce, 3)
})

test('materials that come back with a suite that cannot be cached are not, even where none was asked for', async () => {
  const backing = new CountingManager()
  const backingMaterials: NodeMaterialsManager = {
    getEncryptionMaterials: (request) =>
      backing.getEncryptionMaterials({ ...request, suite: NO_KDF, commitmentPolicy: FORBID_ENCRYPT_ALLOW_DECRYPT }),
    decryptMaterials: (request) => backing.decryptMaterials(request),
  }
  const { cmm } = caching({ backingMaterials })
  const { suite, ...request } = toEncrypt({ commitmentPolicy: FORBID_ENCRYPT_ALLOW_DECRYPT })
  assert.ok(suite)
  const all = await Promise.all(Array.from({ length: 5 }, () => cmm.getEncryptionMaterials(request)))
  assert.is(new Set(all.map(keyOf)).size, 5)
})

test('who makes cached materials learns neither the length of the first message nor that it was given up', async () => {
  const { cmm, backing } = caching()
  const { signal } = new AbortController()
  await messages(cmm, 1, { signal })
  assert.not('plaintextLength' in backing.encryptRequests[0]!)
  const { encryptedDataKeys } = backing.given[0] as NodeEncryptionMaterial
  await cmm.decryptMaterials({ suite: UNSIGNED, encryptionContext: {}, encryptedDataKeys, signal })
  for (const request of [backing.encryptRequests[0]!, backing.decryptRequests[0]!]) assert.not('signal' in request)
})

test('copies are whole: keys, encrypted data keys, context, trace and signature key', async () => {
  const { cmm, backing } = caching()
  const [first, second] = await messages(cmm, 2, { suite: SIGNED, encryptionContext: { a: 'b' } })
  const original = backing.given[0] as NodeEncryptionMaterial
  for (const copy of [first!, second!]) {
    assert.is.not(copy, original)
    assert.equal(copy.encryptedDataKeys, original.encryptedDataKeys)
    assert.equal(copy.encryptionContext, original.encryptionContext)
    assert.equal(copy.keyringTrace, original.keyringTrace)
    assert.is.not(copy.keyringTrace[0], original.keyringTrace[0])
    assert.is(copy.signatureKey, original.signatureKey)
    assert.is(keyOf(copy), keyOf(original))
  }
})

test('round trips: 20 messages of a signed suite and their decryption are two calls', async () => {
  const { cmm, backing } = caching()
  const client = buildClient()
  const context = { encryptionContext: { purpose: 'tests' } }
  const sealed = await Promise.all(Array.from({ length: 20 }, (_, i) => client.encrypt(cmm, `message ${i}`, context)))
  const opened = await Promise.all(sealed.map(({ result }) => client.decrypt(cmm, result)))
  for (const [i, { plaintext }] of opened.entries()) assert.is(plaintext.toString(), `message ${i}`)
  assert.equal([backing.encryptRequests.length, backing.decryptRequests.length], [1, 1])
  assert.is(new Set(sealed.map(({ result }) => result.subarray(3, 35).toString('hex'))).size, 20)
  // The materials in the cache outlive the messages that wiped their copies.
  assert.is((await client.decrypt(cmm, sealed[0]!.result)).plaintext.toString(), 'message 0')
})

test('client-node reads messages of cached materials, and this library those of its caching manager', async () => {
  const { cmm } = caching()
  const peerKeyring = new peer.RawAesKeyringNode({
    keyNamespace: 'tests',
    keyName: 'aes',
    unencryptedMasterKey: bytes(32),
    wrappingSuite: peer.RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })
  const peerCache = peer.getLocalCryptographicMaterialsCache(10)
  const peerCmm = new peer.NodeCachingMaterialsManager({
    backingMaterials: peerKeyring,
    cache: peerCache,
    maxAge: HOUR,
  })
  const [ours, theirs] = [buildClient(), peer.buildClient()]
  for (let i = 0; i < 3; i++) {
    const { result } = await ours.encrypt(cmm, `ours ${i}`)
    assert.is((await theirs.decrypt(peerCmm, result)).plaintext.toString(), `ours ${i}`)
    const { result: other } = await theirs.encrypt(peerCmm, `theirs ${i}`)
    assert.is((await ours.decrypt(cmm, other)).plaintext.toString(), `theirs ${i}`)
  }
})

test('decryption: 1000 parallel readers of one message make one call, and an old key is asked for again', async () => {
  const { cmm, backing } = caching({ maxAge: 1000 })
  const client = buildClient()
  const { result } = await client.encrypt(aesKeyring(), 'x', { suiteId: UNSIGNED.id })
  await Promise.all(Array.from({ length: 1000 }, () => client.decrypt(cmm, result)))
  assert.is(backing.decryptRequests.length, 1)
  advance(1100)
  await client.decrypt(cmm, result)
  assert.is(backing.decryptRequests.length, 2)
})

test('decryption without key derivation is not cached', async () => {
  const { cmm, backing } = caching()
  const client = buildClient(FORBID_ENCRYPT_ALLOW_DECRYPT)
  const { result } = await client.encrypt(aesKeyring(), 'x', { suiteId: NO_KDF.id })
  for (let i = 0; i < 3; i++) await client.decrypt(cmm, result)
  assert.is(backing.decryptRequests.length, 3)
})

test('materials without a data key are not cached', async () => {
  const { cmm, backing } = caching({ backingMaterials: aesKeyring({ keyName: 'another' }) })
  const { result } = await buildClient().encrypt(aesKeyring(), 'x')
  await rejects(buildClient().decrypt(cmm, result), 'ERR_NO_DATA_KEY')
  assert.is(backing.decryptRequests.length, 0)
})

test('materials without an encrypted data key are not cached', async () => {
  const { cmm, backing } = caching()
  const { getEncryptionMaterials } = backing
  let calls = 0
  backing.getEncryptionMaterials = async (request) => {
    if (calls++ > 0) return await getEncryptionMaterials.call(backing, request)
    const material = new NodeEncryptionMaterial(UNSIGNED, {})
    return material.setUnencryptedDataKey(bytes(32), { keyNamespace: 'n', keyName: 'k', flags: 1 })
  }
  const encrypt = async () => await buildClient().encrypt(cmm, 'x', { suiteId: UNSIGNED.id })
  await rejects(encrypt(), 'ERR_INVALID_MATERIALS', /No EncryptedDataKeys/)
  for (let i = 0; i < 3; i++) await encrypt()
  assert.is(calls, 2)
})

test('a cache of the caller is used through its methods alone, its entries aging by the wall clock', async () => {
  const entries = new Map<string, { response: NodeEncryptionMaterial; now: number; b: number; m: number }>()
  const unused = () => {
    throw new Error('not for this test')
  }
  const cache: CryptographicMaterialsCache = {
    putEncryptionMaterial: (key, response, b) => void entries.set(key, { response, now: Date.now(), b, m: 1 }),
    getEncryptionMaterial: (key, length) => {
      const entry = entries.get(key)
      if (!entry) return false
      entry.b += length
      entry.m++
      return { response: entry.response, now: entry.now, bytesEncrypted: entry.b, messagesEncrypted: entry.m }
    },
    del: (key) => void entries.delete(key),
    putDecryptionMaterial: unused,
    putBranchKeyMaterial: unused,
    getDecryptionMaterial: unused,
    getBranchKeyMaterial: unused,
  }
  const { cmm, backing } = caching({ cache, maxAge: 1000, maxMessagesEncrypted: 5 })
  await messages(cmm, 12)
  assert.is(backing.encryptRequests.length, 3)
  advance(2000)
  await messages(cmm, 1)
  assert.is(backing.encryptRequests.length, 4)
})

test('a cache that throws fails the message, and leaves no key behind', async () => {
  const inner = getLocalCryptographicMaterialsCache(1)
  const full = new Error('full')
  const cache: CryptographicMaterialsCache = {
    putEncryptionMaterial: () => {
      throw full
    },
    putDecryptionMaterial: (key, material) => inner.putDecryptionMaterial(key, material),
    putBranchKeyMaterial: (key, material) => inner.putBranchKeyMaterial(key, material),
    getEncryptionMaterial: () => false,
    getDecryptionMaterial: () => false,
    getBranchKeyMaterial: () => false,
    del: () => undefined,
  }
  const { cmm, backing } = caching({ cache })
  const made = await secretsMadeBy(async () => {
    assert.is(await rejectionOf(cmm.getEncryptionMaterials(toEncrypt())), full)
  })
  assert.not(backing.given[0]!.hasValidKey())
  const copies = made.filter(({ length }) => length === 32)
  assert.equal(copies, [new Uint8Array(32)])
})

test('materials of a signed suite without their signature key are refused, and leave no data key behind', async () => {
  const held: Uint8Array[] = []
  const dataKey = bytes(32)
  const edk = new EncryptedDataKey({ providerId: 'n', providerInfo: 'k', encryptedDataKey: bytes(3) })
  const keyed = <M extends NodeEncryptionMaterial | NodeDecryptionMaterial>(material: M, flags: number): M => {
    material.setUnencryptedDataKey(dataKey, { keyNamespace: 'n', keyName: 'k', flags })
    held.push(dataKeyOf(material))
    return material
  }
  const backingMaterials: NodeMaterialsManager = {
    getEncryptionMaterials: async () => keyed(new NodeEncryptionMaterial(SIGNED, {}), 1).addEncryptedDataKey(edk, 2),
    decryptMaterials: async () => keyed(new NodeDecryptionMaterial(SIGNED, {}), 4),
  }
  const { cmm } = caching({ backingMaterials })
  await rejects(cmm.getEncryptionMaterials(toEncrypt({ suite: SIGNED })), 'ERR_INVALID_MATERIALS', /signature key/)
  const toDecrypt = { suite: SIGNED, encryptionContext: {}, encryptedDataKeys: [] }
  await rejects(cmm.decryptMaterials(toDecrypt), 'ERR_INVALID_MATERIALS', /verification key/)
  assert.is(held.length, 2)
  assert.ok(held.every((key) => key.every((byte) => byte === 0)))
})

const helpers = buildCryptographicMaterialsCacheKeyHelpers(
  (text) => Buffer.from(text, 'utf8'),
  (data) => Buffer.from(data).toString('base64'),
  async (...data) => data.reduce((hash, item) => hash.update(item), createHash('sha512')).digest(),
)

const contexts = [{}, { a: 'b' }, { é: 'ü', z: '', '': 'y', 𐀀: '1', '\uffff': '2' }]

test("cache ids of decryption are client-node's", async () => {
  const edks = [1, 2, 3].map((i) => ({
    providerId: `provider-${i}`,
    providerInfo: `info-${i}`,
    encryptedDataKey: bytes(40, i),
  }))
  const orders = [[0], [0, 1, 2], [2, 1, 0], [1, 0, 2]].map((order) => order.map((i) => edks[i]!))
  for (const encryptionContext of contexts) {
    for (const id of [0x0478, 0x0178]) {
      for (const order of orders) {
        const request = {
          suite: getSuite(id),
          encryptionContext,
          encryptedDataKeys: order.map((edk) => new EncryptedDataKey(edk)),
        }
        const expected = await helpers.buildDecryptionMaterialCacheKey('partition ü', {
          suite: new peer.NodeAlgorithmSuite(id),
          encryptionContext,
          encryptedDataKeys: order.map((edk) => new peer.EncryptedDataKey(edk)),
        })
        assert.is(decryptionCacheId(partitionId('partition ü'), request), expected)
      }
    }
  }
})

test("cache ids of encryption are client-node's formula with the commitment policy at the end", async () => {
  for (const encryptionContext of contexts) {
    for (const suiteId of [undefined, 0x0578, 0x0478]) {
      for (const commitmentPolicy of [REQUIRE_ENCRYPT_REQUIRE_DECRYPT, REQUIRE_ENCRYPT_ALLOW_DECRYPT]) {
        const suite = suiteId === undefined ? {} : { suite: getSuite(suiteId) }
        const parts = [
          createHash('sha512').update('partition').digest(),
          suiteId === undefined ? Buffer.of(0) : Buffer.of(1, suiteId >> 8, suiteId & 0xff),
          await helpers.encryptionContextHash(encryptionContext),
        ]
        const theirs = createHash('sha512').update(Buffer.concat(parts))
        const peerSuite = suiteId === undefined ? {} : { suite: new peer.NodeAlgorithmSuite(suiteId) }
        const request = { ...peerSuite, encryptionContext } as Parameters<
          typeof helpers.buildEncryptionMaterialCacheKey
        >[1]
        assert.is(theirs.copy().digest('base64'), await helpers.buildEncryptionMaterialCacheKey('partition', request))
        const ours = encryptionCacheId(partitionId('partition'), { ...suite, encryptionContext, commitmentPolicy })
        assert.is(ours, theirs.update(commitmentPolicy).digest('base64'))
      }
    }
  }
})

test('a pair that is stored with another value than the caller reproduces is refused, cached or not', async () => {
  const { messageHeader } = await buildClient().encrypt(aesKeyring(), 'x', { encryptionContext: { a: 'right' } })
  const { cmm } = caching()
  const { suiteId, encryptionContext, encryptedDataKeys } = messageHeader
  const ask = (value: string) =>
    cmm.decryptMaterials({
      suite: getSuite(suiteId),
      encryptionContext,
      encryptedDataKeys,
      reproducedEncryptionContext: { a: value },
    })
  await rejects(ask('wrong'), 'ERR_ENCRYPTION_CONTEXT')
  assert.ok((await ask('right')).hasValidKey())
  await rejects(ask('wrong'), 'ERR_ENCRYPTION_CONTEXT', /another value for the required key "a"/)
  assert.ok((await ask('right')).hasValidKey())
})

test('wrong options are refused', () => {
  const good = { backingMaterials: aesKeyring(), cache: getLocalCryptographicMaterialsCache(1), maxAge: 1 }
  const make = (change: object) => () =>
    new NodeCachingMaterialsManager({ ...good, ...change } as CachingMaterialsManagerInput)
  make({})()
  throws(make({ backingMaterials: undefined }), TypeError, /You must provide a backing material source/)
  throws(make({ backingMaterials: {} }), TypeError, /keyring or cryptographic materials manager/)
  throws(make({ cache: undefined }), TypeError, /You must provide a cache/)
  throws(make({ cache: { del: () => undefined } }), TypeError, /It lacks putEncryptionMaterial/)
  throws(make({ maxAge: undefined }), TypeError, /You must configure a maxAge/)
  for (const maxAge of [0, -1, Infinity, Number.NaN])
    throws(make({ maxAge }), RangeError, /You must configure a maxAge\. It must be more than 0 and finite/)
  for (const limit of [0, -1, Infinity]) {
    throws(make({ maxBytesEncrypted: limit }), RangeError, /maxBytesEncrypted is outside of bounds/)
    throws(make({ maxMessagesEncrypted: limit }), RangeError, /maxMessagesEncrypted is outside of bounds/)
  }
  throws(make({ maxMessagesEncrypted: 2 ** 32 + 1 }), RangeError, /maxMessagesEncrypted is outside of bounds/)
  make({ maxMessagesEncrypted: 2 ** 32, maxBytesEncrypted: 2 ** 53 - 1 })()
  for (const partition of ['', 5]) throws(make({ partition }), TypeError, /partition must be a string/)
  throws(make({ maxage: 5 }), TypeError, /unknown option "maxage"/)
})

test('cache ids that are remembered are those of the very question', () => {
  const partition = partitionId('partition')
  const ids = new CacheIds('partition')
  const edk = (rawInfo: string, key: string, providerId = 'p') =>
    new EncryptedDataKey({
      providerId,
      providerInfo: 'i',
      rawInfo: Buffer.from(rawInfo),
      encryptedDataKey: Buffer.from(key),
    })
  const lists = [
    [edk('a', 'b')],
    [edk('a', 'b', 'another')],
    ...['', ' ', ' 1:'].flatMap((joint) => [[edk('a', `b${joint}c`)], [edk(`a${joint}b`, 'c')]]),
    [edk('a', 'b'), edk('a', 'c')],
  ]
  const pairs = [{}, { a: 'b' }, { a: 'b', c: 'd' }, { a: 'b 1:c 1:d' }, { a: 'b c d' }, { b: 'a' }, ...contexts]
  const keys = [[], ['c', 'd'], ['c 1:d'], ['c d'], ['d', 'c']]
  for (let round = 0; round < 3; round++) {
    for (const encryptionContext of pairs) {
      for (const requiredEncryptionContextKeys of keys) {
        for (const suite of [{}, { suite: getSuite(0x0478) }]) {
          const policy = { commitmentPolicy: REQUIRE_ENCRYPT_REQUIRE_DECRYPT }
          const request = { ...suite, ...policy, encryptionContext, requiredEncryptionContextKeys }
          assert.is(ids.ofEncryption(request), encryptionCacheId(partition, request))
        }
      }
      for (const encryptedDataKeys of lists) {
        for (const reproducedEncryptionContext of pairs.slice(0, 6)) {
          for (const suite of [getSuite(0x0478), getSuite(0x0178)]) {
            const request = { suite, encryptionContext, encryptedDataKeys, reproducedEncryptionContext }
            assert.is(ids.ofDecryption(request), decryptionCacheId(partition, request))
          }
        }
      }
    }
  }
})

test('cache ids do not depend on the order of required keys', () => {
  const request = toEncrypt({ encryptionContext: { a: '1', b: '2' } })
  const [one, other] = [
    ['a', 'b'],
    ['b', 'a'],
  ].map((requiredEncryptionContextKeys) =>
    encryptionCacheId(partitionId('partition'), { ...request, requiredEncryptionContextKeys }),
  )
  assert.is(one, other)
})

test('cache ids that are remembered take little memory, however many and long the questions are', () => {
  const heapUsed = () => {
    globalThis.gc!()
    return process.memoryUsage().heapUsed
  }
  const ids = new CacheIds('partition')
  const before = heapUsed()
  for (const [count, length] of [
    [10_000, 1800],
    [180, 60_000],
  ] as const)
    for (let i = 0; i < count; i++) ids.ofEncryption(toEncrypt({ encryptionContext: { [i]: 'x'.repeat(length) } }))
  const grown = heapUsed() - before
  assert.ok(grown < 4_000_000, `${grown} bytes`)
  assert.type(ids.ofEncryption(toEncrypt()), 'string')
})

test('a stored pair is in a cache id once, whether it is reproduced or not', () => {
  const partition = partitionId('partition')
  const request = { suite: getSuite(0x0478), encryptionContext: { a: 'b' }, encryptedDataKeys: [] }
  const id = decryptionCacheId(partition, request)
  assert.is(decryptionCacheId(partition, { ...request, reproducedEncryptionContext: { a: 'b' } }), id)
  assert.is.not(decryptionCacheId(partition, { ...request, reproducedEncryptionContext: { c: 'd' } }), id)
})

test('cache ids of thousands of keys do not depend on their order', async () => {
  const encryptedDataKeys = Array.from(
    { length: 1300 },
    (_, i) => new EncryptedDataKey({ providerId: 'p', providerInfo: `${i % 1200}`, encryptedDataKey: bytes(3) }),
  )
  const request = { suite: getSuite(0x0478), encryptionContext: { a: 'b' }, encryptedDataKeys }
  const [ids, expected] = [new CacheIds('partition'), decryptionCacheId(partitionId('partition'), request)]
  assert.is(await ids.ofDecryption(request), expected)
  assert.is(await ids.ofDecryption({ ...request, encryptedDataKeys: encryptedDataKeys.reverse() }), expected)
})

test.run()
