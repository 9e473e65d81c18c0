/**
 * ECDSA over bytes that are all there, on a thread of Node's pool: it takes half a millisecond, as long as to seal some
 * megabytes. The bytes are copied before a call returns. What comes in pieces has a Signer or Verifier of the engine.
 */
import { type KeyObject, sign, verify } from 'node:crypto'
import { checkEcKey } from './ec-key'
import type { HashName } from './engine'

/** The DER signature of `bytes`. */
export function signBytes(hash: HashName, privateKey: KeyObject, bytes: Uint8Array): Promise<Uint8Array> {
  checkEcKey(privateKey, 'private')
  return new Promise((resolve, reject) => {
    sign(hash, bytes, { key: privateKey, dsaEncoding: 'der' }, (error, signature) => {
      if (error) reject(error)
      else resolve(signature)
    })
  })
}

/** Whether `signature`, in its one DER form, is one of `bytes`. */
export function verifyBytes(
  hash: HashName,
  publicKey: KeyObject,
  bytes: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  checkEcKey(publicKey, 'public')
  return new Promise((resolve, reject) => {
    verify(hash, bytes, { key: publicKey, dsaEncoding: 'der' }, signature, (error, good) => {
      if (error) reject(error)
      else resolve(good)
    })
  })
}
