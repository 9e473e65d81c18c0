/**
 * 1,000 short records by `encryptMany` and `decryptMany`: `npx tsx bench/batch.ts`, with the options of comparison.ts. Beside
 * them the same records one call after the other, which is all that @aws-crypto/client-node has; it must open what is
 * measured, and what it made must open, before anything is timed.
 */
import * as peer from '@aws-crypto/client-node'
import * as sealwax from '#built/index'
import { compare } from './comparison'
import { newKeyring, sample, showLength } from './contender'

interface Case {
  readonly length: number
  readonly direction: 'encrypt' | 'decrypt'
}

const RECORDS = 1000
const options = { suiteId: 0x0478 }

compare<Case>(__filename, {
  title: 'Batches',
  about: `${RECORDS} records by one call, and one by one; unsigned, under a raw AES keyring.`,
  contenders: ['sealwax', 'sealwax, one by one', 'client-node'],
  cases: [64, 1024].flatMap((length) => [
    { length, direction: 'encrypt' as const },
    { length, direction: 'decrypt' as const },
  ]),
  name: ({ length, direction }) => `${direction} ${RECORDS} x ${showLength(length)}`,
  bytes: () => 0,
  series: ({ length, direction }) => `${direction} ${RECORDS} x ${showLength(length)}`,
  measure: async (contender, { length, direction }, budget) => {
    const plaintexts = Array.from({ length: RECORDS }, (_, i) => Buffer.alloc(length, i))
    const theirs = oneByOne(peer as unknown as typeof sealwax)
    const ours = contender === 'client-node' ? theirs : contender === 'sealwax' ? many() : oneByOne(sealwax)
    check(await ours.decrypt(await theirs.encrypt(plaintexts)), plaintexts)
    check(await theirs.decrypt(await ours.encrypt(plaintexts)), plaintexts)
    // All open what one batch made: its messages share a data key.
    const messages = await many().encrypt(plaintexts)
    return sample(direction === 'encrypt' ? () => ours.encrypt(plaintexts) : () => ours.decrypt(messages), budget)
  },
})

interface Contender {
  encrypt(plaintexts: readonly Uint8Array[]): Promise<Uint8Array[]>
  decrypt(messages: readonly Uint8Array[]): Promise<Uint8Array[]>
}

function many(): Contender {
  const client = sealwax.buildClient()
  const keyring = newKeyring(sealwax)
  return {
    encrypt: async (plaintexts) =>
      valuesOf(await client.encryptMany(keyring, plaintexts, options)).map(({ result }) => result),
    decrypt: async (messages) =>
      valuesOf(await client.decryptMany(keyring, messages)).map(({ plaintext }) => plaintext),
  }
}

function oneByOne(library: typeof sealwax): Contender {
  const client = library.buildClient()
  const keyring = newKeyring(library)
  const each = async (inputs: readonly Uint8Array[], one: (input: Uint8Array) => Promise<Uint8Array>) => {
    const outputs: Uint8Array[] = []
    for (const input of inputs) outputs.push(await one(input))
    return outputs
  }
  return {
    // client-node writes into the options it is given.
    encrypt: (plaintexts) =>
      each(plaintexts, async (plaintext) => (await client.encrypt(keyring, plaintext, { ...options })).result),
    decrypt: (messages) => each(messages, async (message) => (await client.decrypt(keyring, message)).plaintext),
  }
}

function valuesOf<T>(results: readonly PromiseSettledResult<T>[]): T[] {
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
}

function check(actual: readonly Uint8Array[], expected: readonly Uint8Array[]): void {
  const wrong = actual.some((bytes, i) => Buffer.compare(bytes, expected[i]!) !== 0)
  if (wrong || actual.length !== expected.length) throw new Error('wrong bytes')
}
