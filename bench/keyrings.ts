/**
 * Wrapping and unwrapping one data key: `npx tsx bench/keyrings.ts`, with the options of comparison.ts. Keyrings alone, without
 * a message around them; what one library wraps, the other must unwrap before anything is timed.
 */
import { generateKeyPairSync } from 'node:crypto'
import * as peer from '@aws-crypto/client-node'
import * as sealwax from '#built/index'
import { compare } from './comparison'
import { newKeyring, sample } from './contender'

interface Case {
  readonly keyring: 'raw AES-256' | 'raw RSA-2048, OAEP SHA-256' | 'raw RSA-4096, OAEP SHA-256'
  readonly direction: 'wrap' | 'unwrap'
}

type Library = typeof sealwax

const SUITE_ID = 0x0478
const CONTEXT = { purpose: 'bench' }
const KEYRINGS = ['raw AES-256', 'raw RSA-2048, OAEP SHA-256', 'raw RSA-4096, OAEP SHA-256'] as const

compare<Case>(__filename, {
  title: 'Data keys',
  about: 'A keyring generates and wraps one data key, or unwraps it; RSA is all OpenSSL in both libraries.',
  contenders: ['sealwax', 'client-node'],
  cases: KEYRINGS.flatMap((keyring) => [
    { keyring, direction: 'wrap' as const },
    { keyring, direction: 'unwrap' as const },
  ]),
  name: ({ keyring, direction }) => `${direction}, ${keyring}`,
  bytes: () => 0,
  series: ({ keyring, direction }) => `${direction}, ${keyring}`,
  measure: async (contender, { keyring: kind, direction }, budget) => {
    const keys = keysFor(kind)
    const [mine, other] = contender === 'sealwax' ? [sealwax, peer] : [peer, sealwax]
    const keyring = keys(mine as Library)
    const wrap = () => keyring.onEncrypt(encryptionMaterial(mine as Library))
    const { encryptedDataKeys } = await wrap()
    const unwrapWith = (library: Library, by: typeof keyring) => {
      const { EncryptedDataKey } = library
      const dataKeys = encryptedDataKeys.map((one) => new EncryptedDataKey(one))
      return () => by.onDecrypt(decryptionMaterial(library), dataKeys)
    }
    const theirs = await unwrapWith(other as Library, keys(other as Library))()
    if (!theirs.hasUnencryptedDataKey) throw new Error(`${contender} wraps what the other cannot unwrap`)
    return sample(direction === 'wrap' ? wrap : unwrapWith(mine as Library, keyring), budget)
  },
})

/** The same key for either library. */
function keysFor(kind: Case['keyring']): (library: Library) => sealwax.Keyring {
  if (kind === 'raw AES-256') return newKeyring
  const rsaKey = generateKeyPairSync('rsa', {
    modulusLength: kind.includes('2048') ? 2048 : 4096,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  return ({ RawRsaKeyringNode }) =>
    new RawRsaKeyringNode({ keyNamespace: 'bench', keyName: 'key', rsaKey, oaepHash: 'sha256' })
}

function encryptionMaterial({ NodeAlgorithmSuite, NodeEncryptionMaterial }: Library): sealwax.NodeEncryptionMaterial {
  return new NodeEncryptionMaterial(new NodeAlgorithmSuite(SUITE_ID), CONTEXT)
}

function decryptionMaterial({ NodeAlgorithmSuite, NodeDecryptionMaterial }: Library): sealwax.NodeDecryptionMaterial {
  return new NodeDecryptionMaterial(new NodeAlgorithmSuite(SUITE_ID), CONTEXT)
}
