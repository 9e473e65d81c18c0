/** A local KMS behind proxies that inject faults, and messages under its keys. */
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { inspect } from 'node:util'
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms'
import * as assert from 'uvu/assert'
import { buildClient, cacheClients, getClient, KMS, KmsKeyring, SealwaxError } from '../../src/index'
import { type LocalKms, startLocalKms } from '../../src/local-kms'
import { until } from '../support/clock'
import { type FaultProxy, type FaultRule, startFaultProxy } from '../support/fault-proxy'
import { type Attempt, full } from './report'

const { encrypt, decrypt, encryptStream, decryptStream } = buildClient()

export const CREDENTIALS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' }
export const JSON_TYPE = { 'content-type': 'application/x-amz-json-1.1' }
/** For all calls of a message, in milliseconds. */
export const DEADLINE = 4000
/** What the machine may add to a deadline: other tests run beside this one. */
export const SLACK = 5000
export const FORMS = ['one-shot', 'stream'] as const
export type Form = (typeof FORMS)[number]

/** Each draws faults and a length of its own; `SEALWAX_FAULT_SEEDS` bounds their number. */
export const SEEDS = Array.from({ length: full ? Number(process.env.SEALWAX_FAULT_SEEDS ?? 20) : 1 }, (_, i) => i + 1)

export function plaintextOf(seed: number): Buffer {
  const length = [100 * 2 ** 20, 8 * 2 ** 20 + 1][[20, 5].findIndex((every) => seed % every === 0)]
  return Buffer.alloc(length ?? (seed % 2 ? 65_536 : 1), seed)
}

export async function seal(form: Form, keyring: KmsKeyring, plaintext: Buffer): Promise<Buffer> {
  if (form === 'one-shot') return (await encrypt(keyring, plaintext)).result
  return await buffer(Readable.from([plaintext]).compose(encryptStream(keyring)))
}

export async function open(form: Form, keyring: KmsKeyring, message: Buffer): Promise<Buffer> {
  if (form === 'one-shot') return (await decrypt(keyring, message)).plaintext
  return await buffer(Readable.from([message]).compose(decryptStream(keyring)))
}

/** Its result, or its error, which must be one of ours that holds no credential. */
export async function settled<T>(promise: Promise<T>): Promise<T | SealwaxError> {
  return await promise.catch((error: unknown) => {
    assert.instance(error, SealwaxError, inspect(error))
    assert.not(inspect(error, { depth: 20, showHidden: true }).includes(CREDENTIALS.secretAccessKey))
    return error as SealwaxError
  })
}

export function awsError(type: string, status: number): Pick<FaultRule, 'fault' | 'status' | 'headers' | 'body'> {
  const body = JSON.stringify({ __type: type, message: `this is a ${type}` })
  return { fault: 'status', status, headers: JSON_TYPE, body }
}

export class KmsWorld {
  readonly local: LocalKms
  /** Of two keys in us-east-1, or one in each of `regions`. */
  readonly keys: readonly string[]
  readonly #clients: (region: string) => InstanceType<typeof KMS> | false

  static async start(regions = ['us-east-1', 'us-east-1'], credentials?: typeof CREDENTIALS): Promise<KmsWorld> {
    const local = await startLocalKms(credentials && { credentials })
    const keys: string[] = []
    for (const region of regions) {
      const client = new KMSClient({ endpoint: local.endpoint, region, credentials: CREDENTIALS })
      keys.push((await client.send(new CreateKeyCommand({}))).KeyMetadata!.Arn!)
      client.destroy()
    }
    return new KmsWorld(local, keys)
  }

  private constructor(local: LocalKms, keys: readonly string[]) {
    this.local = local
    this.keys = keys
    this.#clients = cacheClients(getClient(KMS, { endpoint: local.endpoint, credentials: CREDENTIALS }))
  }

  /** A keyring without a proxy: what it says of a message is true. */
  keyring(keyIds: readonly string[] = this.keys): KmsKeyring {
    const [generatorKeyId, ...others] = keyIds
    return new KmsKeyring({ generatorKeyId, keyIds: others, clientProvider: this.#clients })
  }

  /** Whether each key alone opens the message, and nobody else is in it. */
  async checkMessage(message: Buffer, plaintext: Buffer): Promise<void> {
    for (const key of this.keys) {
      const { plaintext: opened, messageHeader } = await decrypt(this.keyring([key]), message)
      assert.ok(opened.equals(plaintext), 'the message holds something else')
      assert.equal(
        messageHeader.encryptedDataKeys.map(({ providerInfo }) => providerInfo),
        this.keys,
      )
    }
  }

  async close(): Promise<void> {
    for (const key of this.keys) {
      const client = this.#clients(key.split(':')[3]!)
      if (client) client.destroy()
    }
    await this.local.close()
  }
}

/** Gives `use` a client for each of `regions`, each behind a proxy of its own; afterwards no connection may be left. */
export async function withProxies<T>(
  { local }: KmsWorld,
  seed: number,
  rules: readonly (readonly FaultRule[])[],
  use: (proxies: readonly FaultProxy[], clients: readonly InstanceType<typeof KMS>[]) => Promise<T>,
  { regions = ['us-east-1'], config = {} }: { regions?: readonly string[]; config?: object } = {},
): Promise<T> {
  const proxies = await Promise.all(
    regions.map((_, i) => startFaultProxy({ origin: local.endpoint, seed: seed + i, rules: rules[i] ?? [] })),
  )
  const clients = regions.map((region, i) => {
    const supplier = getClient(KMS, { endpoint: proxies[i]!.endpoint, credentials: CREDENTIALS, ...config })
    return supplier(region) as InstanceType<typeof KMS>
  })
  try {
    return await use(proxies, clients)
  } finally {
    for (const client of clients) client.destroy()
    await until(() => proxies.every(({ sockets }) => sockets === 0))
    await Promise.all(proxies.map((proxy) => proxy.close()))
  }
}

export function sum(proxies: readonly FaultProxy[]): Pick<Attempt, 'injected' | 'requests'> {
  const stats = proxies.map((proxy) => proxy.stats())
  const total = (field: 'injected' | 'requests') => stats.reduce((all, one) => all + one[field], 0)
  return { injected: total('injected'), requests: total('requests') }
}

/** Runs tasks, some at a time: most of their time they wait. */
export async function pooled(tasks: (() => Promise<void>)[]): Promise<void> {
  const rest = [...tasks]
  await Promise.all(
    Array.from({ length: 24 }, async () => {
      for (let task = rest.shift(); task; task = rest.shift()) await task()
    }),
  )
}
