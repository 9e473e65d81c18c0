/**
 * Messages of 1 KiB whose materials come from a cache: `npx tsx bench/materials.ts`, with the options of comparison.ts. Behind
 * the cache is a KMS keyring, before a KMS in memory that answers in a later turn.
 */
import * as peer from '@aws-crypto/client-node'
import * as sealwax from '#built/index'
import { FakeKms, keyArn } from '../test/support/kms'
import { compare } from './comparison'
import { sample } from './contender'

interface Case {
  readonly work: 'encrypt' | 'decrypt' | '1,000 misses at once'
  readonly suiteId: number
}

const SUITES = new Map([
  [0x0478, 'unsigned'],
  [0x0578, 'signed'],
])
const PLAINTEXT = Buffer.alloc(1024, 5)
const MISSES = 1000
const KEY = keyArn('1234')

compare<Case>(__filename, {
  title: 'Cached materials',
  about:
    'A message of 1 KiB with materials from a cache; and 1,000 messages at once where the cache is empty, for which sealwax calls KMS once.',
  contenders: ['sealwax', 'client-node'],
  cases: [...SUITES.keys()].flatMap((suiteId) =>
    (['encrypt', 'decrypt', '1,000 misses at once'] as const).map((work) => ({ work, suiteId })),
  ),
  name: ({ work, suiteId }) => `${work}, 1 KiB, ${SUITES.get(suiteId)}, cached`,
  bytes: ({ work }) => (work === '1,000 misses at once' ? MISSES : 1) * PLAINTEXT.length,
  series: ({ work, suiteId }) => `${work}, ${SUITES.get(suiteId)}, cached`,
  measure: async (contender, { work, suiteId }, budget) => {
    const [mine, other] = contender === 'sealwax' ? [sealwax, peer] : [peer, sealwax]
    const kms = new FakeKms()
    kms.intercept = async (_, answer) => {
      await new Promise(setImmediate)
      return answer
    }
    const { encrypt, decrypt } = cached(mine as typeof sealwax, kms, suiteId)
    const message = await encrypt()
    if (!(await cached(other as typeof sealwax, kms, suiteId).decrypt(message)).equals(PLAINTEXT)) {
      throw new Error(`${contender} encrypts what the other cannot decrypt`)
    }
    if (work === 'encrypt') return sample(encrypt, budget)
    if (work === 'decrypt') return sample(() => decrypt(message), budget)
    return sample(async () => {
      kms.taken()
      const fresh = cached(mine as typeof sealwax, kms, suiteId)
      await Promise.all(Array.from({ length: MISSES }, fresh.encrypt))
      const calls = kms.taken().length
      kms.handedOut.length = 0
      if (contender === 'sealwax' && calls !== 1) throw new Error(`${calls} calls for one data key`)
    }, budget)
  },
})

/** A client, a cache of its own, and a KMS keyring behind it. */
function cached(library: typeof sealwax, kms: FakeKms, suiteId: number) {
  const { buildClient, getLocalCryptographicMaterialsCache, KmsKeyringNode, NodeCachingMaterialsManager } = library
  const client = buildClient()
  const manager = new NodeCachingMaterialsManager({
    backingMaterials: new KmsKeyringNode({ generatorKeyId: KEY, clientProvider: kms.clientProvider }),
    cache: getLocalCryptographicMaterialsCache(100),
    maxAge: 3_600_000,
  })
  const encryptionContext = { purpose: 'bench' }
  return {
    encrypt: async () => (await client.encrypt(manager, PLAINTEXT, { suiteId, encryptionContext })).result,
    decrypt: async (message: Uint8Array) => (await client.decrypt(manager, message)).plaintext,
  }
}
