/** Keys in three Regions, of which one, two or all are in trouble (F-04). */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { buildAwsKmsMrkAwareDiscoveryMultiKeyring, buildClient, KmsKeyring, SealwaxError } from '../../src/index'
import type { FaultRule } from '../support/fault-proxy'
import { awsError, DEADLINE, KmsWorld, pooled, SEEDS, SLACK, settled, sum, withProxies } from './kms-world'
import { type Attempt, FaultReport } from './report'

const { encrypt, decrypt } = buildClient()
const REGIONS = ['us-east-1', 'eu-west-1', 'ap-south-1']
const SLOW = 20_000
/** Where no time has to run out: on a busy machine it could before the Region in trouble is asked. */
const PATIENCE = 30_000

const TROUBLES: Readonly<Record<string, FaultRule>> = {
  refuses: { fault: 'refuse', ms: Infinity },
  stalls: { fault: 'stall' },
  'is slow': { fault: 'delay', ms: SLOW },
  fails: awsError('KMSInternalException', 500),
  throttles: awsError('ThrottlingException', 400),
  'denies access': awsError('AccessDeniedException', 400),
}
/** What only the end of the time ends. */
const ENDLESS = ['stalls', 'is slow']
/** Regions in trouble by their places: the first ones, so that they are asked. */
const DOWN = [[0], [1], [0, 1], [0, 2], [0, 1, 2]]
const READERS = ['keys', 'discovery', 'discovery by Region'] as const

const report = new FaultReport()
const PLAINTEXT = Buffer.from('text')
let world: KmsWorld

test('faults of Regions', async () => {
  world = await KmsWorld.start(REGIONS)
  const names = new Set<string>()
  const tasks: (() => Promise<void>)[] = []
  const add = (name: string, seed: number, n: number, attempt: () => Promise<Attempt>) => {
    names.add(name)
    tasks.push(() => report.inject(name, seed, n, attempt))
  }
  const { result } = await encrypt(world.keyring(), PLAINTEXT)
  for (const seed of SEEDS) {
    for (const [trouble, rule] of Object.entries(TROUBLES)) {
      const timeout = ENDLESS.includes(trouble) ? DEADLINE : PATIENCE
      for (const [n, down] of DOWN.entries()) {
        const rules = REGIONS.map((_, i) => (down.includes(i) ? [rule] : []))
        const reader = READERS[(n + seed) % READERS.length]!
        if (down.includes(0)) {
          add(`F-04 ${down.length} of 3 Regions: ${trouble}, decrypt`, seed, n, () =>
            opening(seed, rules, reader, result, down.length < 3 ? 'right' : 'refused'),
          )
        }
        add(`F-04 ${down.length} of 3 Regions: ${trouble}, encrypt`, seed, n, () =>
          sealing(seed, rules, timeout, 'refused'),
        )
      }
    }
    const flapping = REGIONS.map(() => [{ ...awsError('KMSInternalException', 500), when: { chance: 0.5 } }])
    // Drawn until a fault comes: the first request may well pass.
    const first = { ...awsError('KMSInternalException', 500), when: { first: 1 } }
    add('F-04 flapping, decrypt', seed, 0, () =>
      opening(seed, [[first, ...flapping[0]!], ...flapping.slice(1)], 'keys', result, 'either'),
    )
    add('F-04 flapping, encrypt', seed, 0, () =>
      sealing(seed, [[first, ...flapping[0]!], ...flapping.slice(1)], PATIENCE, 'either'),
    )
  }
  await pooled(tasks)
  await world.close()
  report.check([...names])
})

async function opening(
  seed: number,
  rules: FaultRule[][],
  reader: (typeof READERS)[number],
  message: Buffer,
  expect: Attempt['outcome'] | 'either',
): Promise<Attempt> {
  const use = async (proxies: Parameters<typeof sum>[0], clients: readonly object[]) => {
    const clientProvider = (region: string) => clients[REGIONS.indexOf(region)] as never
    const timeout = expect === 'refused' ? DEADLINE : PATIENCE
    const keyring =
      reader === 'discovery by Region'
        ? buildAwsKmsMrkAwareDiscoveryMultiKeyring({ regions: REGIONS, clientProvider, timeout })
        : new KmsKeyring({
            ...(reader === 'keys' ? { keyIds: [...world.keys] } : { discovery: true }),
            clientProvider,
            timeout,
          })
    const start = performance.now()
    const opened = await settled(decrypt(keyring, message))
    const took = performance.now() - start
    const outcome = opened instanceof SealwaxError ? 'refused' : 'right'
    if (expect !== 'either') assert.is(outcome, expect, String(opened))
    if (!(opened instanceof SealwaxError)) assert.ok(opened.plaintext.equals(PLAINTEXT))
    else if (expect === 'refused') assert.ok(opened.errors!.length > 0)
    // Half a second for each that hangs; where all do, the time of the message.
    assert.ok(took < (expect === 'right' ? 2 * 500 + SLACK : timeout + SLACK), `took ${took} ms`)
    return { outcome, ...sum(proxies) } as const
  }
  return await withProxies(world, seed, rules, use, { regions: REGIONS })
}

async function sealing(
  seed: number,
  rules: FaultRule[][],
  timeout: number,
  expect: 'refused' | 'either',
): Promise<Attempt> {
  const use = async (proxies: Parameters<typeof sum>[0], clients: readonly object[]) => {
    const [generatorKeyId, ...keyIds] = world.keys
    const clientProvider = (region: string) => clients[REGIONS.indexOf(region)] as never
    const sealed = await settled(
      encrypt(new KmsKeyring({ generatorKeyId, keyIds, clientProvider, timeout }), PLAINTEXT),
    )
    const stats = sum(proxies)
    if (sealed instanceof SealwaxError) return { outcome: 'refused', ...stats } as const
    assert.is(expect, 'either', 'a message without all of its keys')
    await world.checkMessage(sealed.result, PLAINTEXT)
    return { outcome: 'right', ...stats } as const
  }
  return await withProxies(world, seed, rules, use, { regions: REGIONS })
}

test.run()
