import { constants, createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as peer from '@aws-crypto/client-node'
import * as sealwax from '../../src/index'
import type { Vector } from '../vectors/messages/cases/case'

type Description =
  | { type: 'raw-aes'; keyNamespace: string; keyName: string; key: string; utf8Sorting: boolean }
  | { type: 'raw-rsa'; keyNamespace: string; keyName: string; padding: string; privateKey: string }
  | { type: 'multi'; children: string[] }

export type { Vector }
export const VECTOR_FILES = ['valid.json', 'header.json', 'keys.json', 'body.json', 'signature.json'] as const

const DIRECTORY = join(__dirname, '../vectors/messages')
const KEYRINGS = read<Record<string, Description>>('keyrings.json')

/** The vectors of one file, or of all. */
export function vectors(...files: string[]): Vector[] {
  return (files.length > 0 ? files : VECTOR_FILES).flatMap((file) => read<Vector[]>(file))
}

/** A keyring of `keyrings.json`, as this library's or as client-node's. */
export function vectorKeyring(name: string): sealwax.KeyringNode {
  return build(name, sealwax) as sealwax.KeyringNode
}

export function peerVectorKeyring(name: string): peer.KeyringNode {
  return build(name, peer) as peer.KeyringNode
}

function build(name: string, library: typeof sealwax | typeof peer): sealwax.KeyringNode | peer.KeyringNode {
  const { RawAesKeyringNode, RawRsaKeyringNode, MultiKeyringNode } = library as typeof sealwax
  const description = KEYRINGS[name]!
  if (description.type === 'multi') {
    const children = description.children.map((child) => build(child, library) as sealwax.KeyringNode)
    return new MultiKeyringNode({ children })
  }
  const { keyNamespace, keyName } = description
  if (description.type === 'raw-aes') {
    // client-node wants memory of its own, and zeroes it.
    const unencryptedMasterKey = Uint8Array.from(Buffer.from(description.key, 'hex'))
    const wrappingSuite = { 16: 0x14, 24: 0x46, 32: 0x78 }[unencryptedMasterKey.length]!
    return new RawAesKeyringNode({
      keyNamespace,
      keyName,
      unencryptedMasterKey,
      wrappingSuite,
      utf8Sorting: description.utf8Sorting,
    })
  }
  const privateKey = description.privateKey
  const publicKey = createPublicKey(privateKey).export({ format: 'pem', type: 'spki' })
  const [, oaepHash] = description.padding.split('-') as [string, sealwax.OaepHash]
  const padding = constants.RSA_PKCS1_OAEP_PADDING
  return new RawRsaKeyringNode({ keyNamespace, keyName, rsaKey: { publicKey, privateKey }, padding, oaepHash })
}

function read<T>(file: string): T {
  return JSON.parse(readFileSync(join(DIRECTORY, file), 'utf8')) as T
}
