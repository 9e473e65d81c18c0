import { createHash, createSign, createVerify, type KeyObject } from 'node:crypto'
import { checkLive, refuseShared } from './arguments'
import { checkEcKey } from './ec-key'
import type { Hash, HashName, Signer, Verifier } from './engine'

export function nodeHash(name: HashName): Hash {
  const hash = createHash(name)
  return { update: feed(hash), digest: () => new Uint8Array(hash.digest()) }
}

export function nodeSigner(name: HashName, privateKey: KeyObject): Signer {
  checkEcKey(privateKey, 'private')
  const signer = createSign(name)
  return { update: feed(signer), sign: () => signer.sign({ key: privateKey, dsaEncoding: 'der' }) }
}

export function nodeVerifier(name: HashName, publicKey: KeyObject): Verifier {
  checkEcKey(publicKey, 'public')
  const verifier = createVerify(name)
  return {
    update: feed(verifier),
    verify: (signature) => {
      checkLive(signature, 'signature')
      refuseShared(signature)
      return verifier.verify({ key: publicKey, dsaEncoding: 'der' }, signature)
    },
  }
}

function feed(hash: { update(bytes: Uint8Array): unknown }): (bytes: Uint8Array) => void {
  return (bytes) => {
    checkLive(bytes, 'bytes')
    refuseShared(bytes)
    hash.update(bytes)
  }
}
