import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getLocalCryptographicMaterialsCache } from '../../src/index'
import { NodeBranchKeyMaterial } from '../../src/materials/branch-key-material'
import { KeyringTraceFlag, NodeDecryptionMaterial, NodeEncryptionMaterial } from '../../src/materials/materials'
import { ageOf, type EncryptionMaterialEntry } from '../../src/materials/materials-cache'
import { getSuite } from '../../src/suites'
import { advance, stepWallClock, until } from '../support/clock'
import { throws } from '../support/expect'
import { bytes } from '../support/keys'

const CACHE_SAFE = getSuite(0x0478)
const UNSAFE = getSuite(0x0078)

function encryption(suite = CACHE_SAFE): NodeEncryptionMaterial {
  const flags = KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY
  const trace = { keyNamespace: 'tests', keyName: 'k', flags }
  return new NodeEncryptionMaterial(suite, {}).setUnencryptedDataKey(bytes(suite.keyLengthBytes), trace)
}

function decryption(suite = CACHE_SAFE): NodeDecryptionMaterial {
  const flags = KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY
  const trace = { keyNamespace: 'tests', keyName: 'k', flags }
  return new NodeDecryptionMaterial(suite, {}).setUnencryptedDataKey(bytes(suite.keyLengthBytes), trace)
}

function branchKey(): NodeBranchKeyMaterial {
  return new NodeBranchKeyMaterial(bytes(32), 'id', '0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0ff', {})
}

function isWiped(material: NodeEncryptionMaterial | NodeDecryptionMaterial): boolean {
  return !material.hasUnencryptedDataKey
}

test('gives back what was put, under its id and no other', () => {
  const cache = getLocalCryptographicMaterialsCache(10)
  const [a, b, c] = [encryption(), decryption(), branchKey()]
  cache.putEncryptionMaterial('a', a, 5)
  cache.putDecryptionMaterial('b', b)
  cache.putBranchKeyMaterial('c', c)
  assert.is((cache.getEncryptionMaterial('a', 0) as EncryptionMaterialEntry).response, a)
  const found = cache.getDecryptionMaterial('b')
  assert.ok(found && found.response === b)
  const key = cache.getBranchKeyMaterial('c')
  assert.ok(key && key.response === c)
  assert.is(cache.getEncryptionMaterial('x', 0), false)
  assert.is(cache.getDecryptionMaterial('x'), false)
  assert.is(cache.getBranchKeyMaterial('x'), false)
})

test('counts messages and bytes, the first use being the one it was put with', () => {
  const cache = getLocalCryptographicMaterialsCache(10)
  cache.putEncryptionMaterial('a', encryption(), 5)
  const entry = cache.getEncryptionMaterial('a', 7) as EncryptionMaterialEntry
  assert.equal([entry.messagesEncrypted, entry.bytesEncrypted], [2, 12])
  cache.getEncryptionMaterial('a', 0)
  assert.equal([entry.messagesEncrypted, entry.bytesEncrypted], [3, 12])
})

test('its functions work by themselves, and in a copy', () => {
  const cache = getLocalCryptographicMaterialsCache(10)
  const { putDecryptionMaterial, del } = cache
  const copy = { ...cache }
  putDecryptionMaterial('a', decryption())
  assert.ok(copy.getDecryptionMaterial('a'))
  del('a')
  assert.is(copy.getDecryptionMaterial('a'), false)
})

test('evicts the least recently used entry, and wipes it', () => {
  const cache = getLocalCryptographicMaterialsCache(2)
  const [a, b, c] = [decryption(), decryption(), decryption()]
  cache.putDecryptionMaterial('a', a)
  cache.putDecryptionMaterial('b', b)
  cache.getDecryptionMaterial('a')
  cache.putDecryptionMaterial('c', c)
  assert.equal([isWiped(a), isWiped(b), isWiped(c)], [false, true, false])
  assert.is(cache.getDecryptionMaterial('b'), false)
})

test('wipes what is deleted and what is replaced, but not what is put again', () => {
  const cache = getLocalCryptographicMaterialsCache(2)
  const [a, b] = [encryption(), encryption()]
  cache.putEncryptionMaterial('a', a, 1)
  cache.putEncryptionMaterial('a', a, 1)
  assert.not(isWiped(a))
  cache.putEncryptionMaterial('a', b, 1)
  assert.equal([isWiped(a), isWiped(b)], [true, false])
  cache.del('a')
  cache.del('a')
  assert.ok(isWiped(b))
  const key = branchKey()
  cache.putBranchKeyMaterial('k', key)
  cache.del('k')
  throws(() => key.branchKey(), 'ERR_INVALID_MATERIALS', /zeroed/)
})

test('an expired entry is not given out, and wiped', () => {
  const cache = getLocalCryptographicMaterialsCache(10)
  const material = decryption()
  cache.putDecryptionMaterial('a', material, 1000)
  advance(900)
  assert.ok(cache.getDecryptionMaterial('a'))
  advance(200)
  assert.is(cache.getDecryptionMaterial('a'), false)
  assert.ok(isWiped(material))
})

test('ages by a monotonic clock: setting the wall clock neither ends nor prolongs anything', () => {
  const cache = getLocalCryptographicMaterialsCache(10)
  cache.putDecryptionMaterial('a', decryption(), 1000)
  stepWallClock(3_600_000)
  assert.ok(cache.getDecryptionMaterial('a'))
  stepWallClock(-7_200_000)
  assert.ok(cache.getDecryptionMaterial('a'))
  advance(1100)
  assert.is(cache.getDecryptionMaterial('a'), false)
})

test('entries of other caches age by the wall clock, and are too old where it went back', () => {
  assert.ok(ageOf({ now: Date.now() - 5000 }) >= 5000)
  assert.is(ageOf({ now: Date.now() + 5000 }), Infinity)
})

test('expired entries are wiped without being asked for', async () => {
  const cache = getLocalCryptographicMaterialsCache(10, 1)
  const [old, young] = [decryption(), decryption()]
  cache.putDecryptionMaterial('old', old, 1000)
  cache.putDecryptionMaterial('young', young, 1_000_000)
  advance(2000)
  await until(() => isWiped(old))
  assert.not(isWiped(young))
  cache.del('young')
})

test('an empty cache has no timer; the next entry gets one', async () => {
  const { setInterval: start, clearInterval: stop } = globalThis
  const running = new Set<unknown>()
  globalThis.setInterval = ((...args: Parameters<typeof start>) => {
    const timer = start(...args)
    running.add(timer)
    return timer
  }) as typeof start
  globalThis.clearInterval = (timer) => {
    running.delete(timer)
    stop(timer)
  }
  try {
    const cache = getLocalCryptographicMaterialsCache(10, 1)
    for (const key of ['a', 'b']) {
      const material = decryption()
      cache.putDecryptionMaterial(key, material, 1000)
      assert.is(running.size, 1)
      advance(2000)
      await until(() => isWiped(material))
      assert.is(running.size, 0)
    }
  } finally {
    Object.assign(globalThis, { setInterval: start, clearInterval: stop })
  }
})

test('refuses what is not the right kind, not cacheable, or has a negative length', () => {
  const cache = getLocalCryptographicMaterialsCache(10)
  const [e, d] = [encryption(), decryption()]
  throws(() => cache.putEncryptionMaterial('a', d as never, 0), TypeError, /Malformed response/)
  throws(() => cache.putDecryptionMaterial('a', e as never), TypeError, /Malformed response/)
  throws(() => cache.putBranchKeyMaterial('a', e as never), TypeError, /Malformed response/)
  throws(() => cache.putEncryptionMaterial('a', encryption(UNSAFE), 0), TypeError, /non-cache safe/)
  throws(() => cache.putDecryptionMaterial('a', decryption(UNSAFE)), TypeError, /non-cache safe/)
  throws(() => cache.putEncryptionMaterial('a', e, -1), RangeError, /Malformed plaintextLength/)
  throws(() => cache.getEncryptionMaterial('a', Number.NaN), RangeError, /Malformed plaintextLength/)
  cache.putDecryptionMaterial('d', d)
  throws(() => cache.getEncryptionMaterial('d', 0), TypeError, /Malformed response/)
  throws(() => cache.getBranchKeyMaterial('d'), TypeError, /Malformed response/)
})

test('needs a capacity and a frequency that make sense', () => {
  for (const capacity of [0, -1, 1.5, Infinity, Number.NaN]) {
    throws(() => getLocalCryptographicMaterialsCache(capacity), RangeError, /"capacity"/)
  }
  throws(() => getLocalCryptographicMaterialsCache('10' as never), TypeError, /"capacity"/)
  throws(() => getLocalCryptographicMaterialsCache(1, 0), RangeError, /"proactiveFrequency"/)
  throws(() => getLocalCryptographicMaterialsCache(1, 2 ** 31), RangeError, /"proactiveFrequency"/)
})

test.run()
