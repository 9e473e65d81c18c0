/**
 * Batches of small messages beside @aws-crypto/client-node, which takes one at a time: `npx tsx bench/batch.ts`. Contenders
 * take turns within one process, so that the load of the machine meets all alike; every message is opened before anything
 * is timed. Prints medians of the time and of the CPU time (all threads) for one record, and both in
 * ratio to client-node. On a busy machine only the CPU time tells anything.
 */
import * as peer from '@aws-crypto/client-node'
import { getEngine } from '../src/engine/engine'
import * as sealwax from '../src/index'

const RECORDS = 1000
const ROUNDS = 15
/** client-node is slow: a part of the records tells as much. */
const PEER_RECORDS = 100
const suiteId = 0x0478

async function main(): Promise<void> {
  const { openssl, cpu, threads } = getEngine().info()
  console.log(`Node ${process.version}, ${openssl}, ${cpu.join(' ')}, ${threads} threads`)
  for (const length of [64, 1024]) await compare(length)
}

async function compare(length: number): Promise<void> {
  const plaintexts = Array.from({ length: RECORDS }, (_, i) => Buffer.alloc(length, i))
  const [ours, theirs] = [library(sealwax), library(peer)]
  const encryptMany = async () => values(await ours.client.encryptMany(ours.keyring, plaintexts, { suiteId }))
  const messages = (await encryptMany()).map(({ result }) => result)
  const decryptMany = async () => values(await ours.client.decryptMany(ours.keyring, messages))
  for (const [i, { plaintext }] of (await decryptMany()).entries()) check(plaintext, plaintexts[i]!)
  for (const [i, message] of messages.slice(0, PEER_RECORDS).entries()) {
    check((await theirs.client.decrypt(theirs.keyring, message)).plaintext, plaintexts[i]!)
  }

  const each = (count: number, run: (i: number) => Promise<unknown>) => async () => {
    for (let i = 0; i < count; i++) await run(i)
  }
  const contenders: Contender[] = []
  for (const [name, { client, keyring }, count] of [
    ['sealwax', ours, RECORDS],
    ['client-node', theirs, PEER_RECORDS],
  ] as const) {
    // client-node writes into the options it is given.
    const encrypt = each(count, (i) => client.encrypt(keyring, plaintexts[i]!, { suiteId }))
    contenders.push({ name: `${name} encrypt`, count, run: encrypt })
    contenders.push({ name: `${name} decrypt`, count, run: each(count, (i) => client.decrypt(keyring, messages[i]!)) })
  }
  contenders.push({ name: 'sealwax encryptMany', count: RECORDS, run: encryptMany })
  contenders.push({ name: 'sealwax decryptMany', count: RECORDS, run: decryptMany })

  const samples = contenders.map(() => ({ time: [] as number[], cpu: [] as number[] }))
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, { run, count }] of contenders.entries()) {
      const cpuBefore = process.cpuUsage()
      const start = performance.now()
      await run()
      samples[i]!.time.push(((performance.now() - start) * 1000) / count)
      const { user, system } = process.cpuUsage(cpuBefore)
      samples[i]!.cpu.push((user + system) / count)
    }
  }
  console.log(`\n${RECORDS} records of ${length} B`)
  for (const [i, { name }] of contenders.entries()) {
    const { time, cpu } = samples[i]!
    const theirs = samples[contenders.findIndex((other) => other.name === peerOf(name))]!
    const cells = [
      [time, theirs.time],
      [cpu, theirs.cpu],
    ].map(([own, other]) => `${median(own!).toFixed(2)} us, ${(median(other!) / median(own!)).toFixed(1)}x`)
    console.log(`${name.padEnd(24)} ${cells[0]!.padEnd(24)} CPU ${cells[1]}`)
  }
}

interface Contender {
  readonly name: string
  /** Records that a run takes. */
  readonly count: number
  readonly run: () => Promise<unknown>
}

function peerOf(name: string): string {
  return name.includes('encrypt') ? 'client-node encrypt' : 'client-node decrypt'
}

function library(module: unknown) {
  // The two libraries' types differ in what the bench does not touch.
  const { buildClient, RawAesKeyringNode } = module as typeof sealwax
  const keyring = new RawAesKeyringNode({
    keyNamespace: 'bench',
    keyName: 'key',
    unencryptedMasterKey: new Uint8Array(32).fill(7),
    wrappingSuite: sealwax.RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })
  return { client: buildClient(), keyring }
}

function values<T>(results: readonly PromiseSettledResult<T>[]): T[] {
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
}

function check(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) !== 0) throw new Error('wrong bytes')
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!
}

void main()
