/** A cache while KMS is out of order, its limits, and clocks that are set (F-05). */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  buildClient,
  getLocalCryptographicMaterialsCache,
  KmsKeyring,
  NodeCachingMaterialsManager,
  SealwaxError,
} from '../../src/index'
import { advance, stepWallClock } from '../support/clock'
import type { FaultRule } from '../support/fault-proxy'
import { awsError, KmsWorld, SEEDS, settled, withProxies } from './kms-world'
import { type Attempt, FaultReport } from './report'

const { encrypt, decrypt } = buildClient()
const THROTTLED = awsError('ThrottlingException', 400)
const REFUSED = awsError('AccessDeniedException', 400)
const MINUTE = 60_000
const HOUR = 60 * MINUTE

const report = new FaultReport()
let world: KmsWorld

const CELLS: Readonly<Record<string, (seed: number) => Promise<Attempt>>> = {
  'F-05 a warm cache while KMS throttles': (seed) => warm(seed, THROTTLED, [0]),
  'F-05 a warm cache while KMS refuses, clock an hour ahead': (seed) => warm(seed, REFUSED, [HOUR]),
  'F-05 a warm cache while KMS refuses, clock an hour back': (seed) => warm(seed, REFUSED, [-HOUR]),
  'F-05 a warm cache while KMS refuses, clock to and fro': (seed) => warm(seed, REFUSED, [HOUR, -HOUR]),
  'F-05 1000 misses, KMS slow': (seed) => misses(seed, { fault: 'delay', ms: 100 }),
  'F-05 1000 misses, first answer lost': (seed) => misses(seed, { fault: 'lost-answer', when: { first: 1 } }),
  'F-05 1000 misses, KMS refuses': (seed) => misses(seed, REFUSED),
  'F-05 1000 messages, 7 for each data key': limited,
}

test('faults around a cache', async () => {
  world = await KmsWorld.start(['us-east-1'])
  for (const seed of SEEDS) {
    for (const [name, attempt] of Object.entries(CELLS)) await report.inject(name, seed, 0, () => attempt(seed))
  }
  await world.close()
  report.check(Object.keys(CELLS))
})

/** With a manager that caches for a minute, and the proxy between it and KMS. */
async function withCache<T>(
  seed: number,
  use: (
    manager: NodeCachingMaterialsManager,
    proxy: Parameters<Parameters<typeof withProxies>[3]>[0][number],
  ) => Promise<T>,
  limits: { maxMessagesEncrypted?: number } = {},
): Promise<T> {
  return await withProxies(world, seed, [], async ([proxy], [client]) => {
    const backingMaterials = new KmsKeyring({ generatorKeyId: world.keys[0], clientProvider: () => client! })
    const cache = getLocalCryptographicMaterialsCache(100)
    return await use(new NodeCachingMaterialsManager({ backingMaterials, cache, maxAge: MINUTE, ...limits }), proxy!)
  })
}

async function warm(seed: number, rule: FaultRule, steps: readonly number[]): Promise<Attempt> {
  return await withCache(seed, async (manager, proxy) => {
    const text = Buffer.from('text')
    const { result } = await encrypt(manager, text)
    await decrypt(manager, result)
    proxy.setRules([rule])
    const works = async () => {
      const again = await encrypt(manager, text)
      for (const message of [result, again.result]) assert.ok((await decrypt(manager, message)).plaintext.equals(text))
    }
    // The second message's encrypted data key is the first's: its decryption materials are there, too.
    for (const step of steps) {
      stepWallClock(step)
      await works()
      advance((MINUTE * 0.9) / steps.length)
      await works()
    }
    assert.is(proxy.stats().requests, 0, 'the cache was passed by')
    advance(MINUTE / 5)
    for (const refused of [await settled(encrypt(manager, text)), await settled(decrypt(manager, result))]) {
      assert.instance(refused, SealwaxError)
    }
    const { injected, requests } = proxy.stats()
    proxy.setRules([])
    for (const step of steps) stepWallClock(-step)
    advance(-(MINUTE * 0.9 + MINUTE / 5))
    await works()
    return { outcome: 'right', injected, requests }
  })
}

async function misses(seed: number, rule: FaultRule): Promise<Attempt> {
  return await withCache(seed, async (manager, proxy) => {
    proxy.setRules([rule])
    const all = await Promise.all(Array.from({ length: 1000 }, () => settled(encrypt(manager, 'text'))))
    const { injected, requests } = proxy.stats()
    // One call, which the SDK makes again where its answer is lost.
    assert.is(requests, rule.fault === 'lost-answer' ? 2 : 1)
    const refused = all.filter((one) => one instanceof SealwaxError)
    assert.is(refused.length, rule.fault === 'status' ? 1000 : 0)
    if (refused.length > 0) return { outcome: 'refused', injected, requests }
    const edks = all.map((one) =>
      'messageHeader' in one ? one.messageHeader.encryptedDataKeys[0]!.encryptedDataKey : '',
    )
    assert.is(new Set(edks.map((edk) => Buffer.from(edk).toString('hex'))).size, 1)
    return { outcome: 'right', injected, requests }
  })
}

async function limited(seed: number): Promise<Attempt> {
  const limit = 7
  const use = async (
    manager: NodeCachingMaterialsManager,
    proxy: Parameters<Parameters<typeof withProxies>[3]>[0][0],
  ) => {
    proxy!.setRules([{ fault: 'delay', ms: 1, when: { chance: 0.5 } }])
    const uses = new Map<string, number>()
    await Promise.all(
      Array.from({ length: 1000 }, async (_, i) => {
        if (i % 3 === 0) await new Promise((resolve) => setTimeout(resolve, i % 50))
        const { messageHeader } = await encrypt(manager, 'text')
        const edk = Buffer.from(messageHeader.encryptedDataKeys[0]!.encryptedDataKey).toString('hex')
        uses.set(edk, (uses.get(edk) ?? 0) + 1)
      }),
    )
    const { injected, requests } = proxy!.stats()
    assert.is(requests, Math.ceil(1000 / limit))
    assert.is(Math.max(...uses.values()), limit)
    return { outcome: 'right', injected, requests } as const
  }
  return await withCache(seed, use, { maxMessagesEncrypted: limit })
}

test.run()
