/** Credentials that expire, do not come or are wrong, and clocks that are (F-06), before a KMS that checks signatures. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { buildClient, KmsKeyring, SealwaxError } from '../../src/index'
import type { FaultRule } from '../support/fault-proxy'
import { awsError, CREDENTIALS, KmsWorld, SEEDS, settled, withProxies } from './kms-world'
import { type Attempt, FaultReport } from './report'

const { encrypt, decrypt } = buildClient()
const EXPIRED = awsError('ExpiredTokenException', 400)
const MINUTE = 60_000

const report = new FaultReport()
let strict: KmsWorld

const CELLS: Readonly<Record<string, (seed: number) => Promise<Attempt>>> = {
  'F-06 expired credentials, once': (seed) => expired(seed, { ...EXPIRED, when: { first: 1 } }, 'right'),
  'F-06 expired credentials, for ever': (seed) => expired(seed, EXPIRED, 'refused'),
  'F-06 credentials that expire by the clock': expiring,
  'F-06 a provider that throws': (seed) =>
    provider(seed, async () => Promise.reject(new Error(`no ${CREDENTIALS.secretAccessKey}`))),
  'F-06 a provider that throws at once': (seed) =>
    provider(seed, () => {
      throw new Error(`no ${CREDENTIALS.secretAccessKey}`)
    }),
  'F-06 a provider that never answers': (seed) => provider(seed, () => new Promise(() => {})),
  'F-06 a provider that is slow': slowProvider,
  'F-06 clock 15 minutes ahead': (seed) => skewed(seed, 15 * MINUTE),
  'F-06 clock 15 minutes behind': (seed) => skewed(seed, -15 * MINUTE),
  'F-06 the wrong secret': wrongSecret,
}

test('faults of credentials', async () => {
  strict = await KmsWorld.start(['us-east-1'], CREDENTIALS)
  for (const seed of SEEDS) {
    for (const [name, attempt] of Object.entries(CELLS)) await report.inject(name, seed, 0, () => attempt(seed))
  }
  await strict.close()
  report.check(Object.keys(CELLS))
})

/** A message there and back through a client whose credentials, signatures and clock are checked. */
async function roundTrip(seed: number, rules: FaultRule[], config: object, timeout = 30_000) {
  const use = async ([proxy]: Parameters<Parameters<typeof withProxies>[3]>[0], clients: readonly object[]) => {
    const keyring = new KmsKeyring({
      generatorKeyId: strict.keys[0],
      clientProvider: () => clients[0] as never,
      timeout,
    })
    const sealed = await settled(encrypt(keyring, 'text'))
    const { injected, requests } = proxy!.stats()
    if (sealed instanceof SealwaxError) return { outcome: 'refused', injected, requests, error: sealed } as const
    assert.is((await decrypt(keyring, sealed.result)).plaintext.toString(), 'text')
    return { outcome: 'right', injected, requests, error: undefined } as const
  }
  return await withProxies(strict, seed, [rules], use, { config })
}

async function expired(seed: number, rule: FaultRule, expect: 'right' | 'refused'): Promise<Attempt> {
  let asked = 0
  const credentials = async () => {
    asked++
    return { ...CREDENTIALS, sessionToken: undefined }
  }
  const { outcome, injected, requests, error } = await roundTrip(seed, [rule], { credentials })
  assert.is(outcome, expect)
  assert.is(requests, 2)
  assert.is(asked, 2)
  if (error) assert.match(error.message, /ExpiredTokenException/)
  return { outcome, injected, requests }
}

/** The SDK asks again by itself five minutes before they end. */
async function expiring(seed: number): Promise<Attempt> {
  let asked = 0
  const credentials = async () => {
    asked++
    return { ...CREDENTIALS, expiration: new Date(Date.now() + 4 * MINUTE) }
  }
  const { outcome, requests } = await roundTrip(seed, [], { credentials })
  assert.is(outcome, 'right')
  assert.ok(asked >= 2)
  return { outcome, injected: asked - 1, requests }
}

async function provider(seed: number, answer: () => Promise<never>): Promise<Attempt> {
  let asked = 0
  const credentials = () => {
    asked++
    return answer()
  }
  const { outcome, requests } = await roundTrip(seed, [], { credentials }, 1000)
  assert.is(outcome, 'refused')
  assert.is(requests, 0)
  return { outcome, injected: asked, requests }
}

async function slowProvider(seed: number): Promise<Attempt> {
  let asked = 0
  const credentials = async () => {
    asked++
    await new Promise((resolve) => setTimeout(resolve, 300))
    return CREDENTIALS
  }
  const { outcome, requests } = await roundTrip(seed, [], { credentials })
  assert.is(outcome, 'right')
  assert.is(asked, 1)
  return { outcome, injected: asked, requests }
}

/** KMS refuses the first request, the SDK learns the time from the answer, and the second one passes. */
async function skewed(seed: number, systemClockOffset: number): Promise<Attempt> {
  const { outcome, requests, error } = await roundTrip(seed, [], { systemClockOffset })
  assert.is(outcome, 'right', String(error))
  assert.is(requests, 2)
  return { outcome, injected: requests - 1, requests }
}

async function wrongSecret(seed: number): Promise<Attempt> {
  const credentials = { ...CREDENTIALS, secretAccessKey: CREDENTIALS.secretAccessKey.replace('K', 'L') }
  const { outcome, requests, error } = await roundTrip(seed, [], { credentials })
  assert.is(outcome, 'refused')
  assert.match(error!.message, /InvalidSignatureException/)
  assert.not(String(error!.message).includes(credentials.secretAccessKey))
  return { outcome, injected: 1, requests }
}

test.run()
