import type { KeyObject } from 'node:crypto'
import { wipe } from '../bytes'
import { SealwaxError } from '../errors'
import { checkLive, HASH_LENGTHS } from './arguments'
import { type Binding, check, HASHES, type HashHandle, UNAUTHENTIC } from './binding'
import { type Curve, checkEcKey, privateScalar, publicPoint } from './ec-key'
import type { Hash, HashName, RunningHash, Signer, Verifier } from './engine'

abstract class NativeRunningHash implements RunningHash {
  protected readonly binding: Binding
  readonly #length: number
  #handle: HashHandle | undefined

  constructor(binding: Binding, hash: HashName) {
    this.binding = binding
    this.#length = HASH_LENGTHS[hash]
    this.#handle = binding.createHash(HASHES[hash])
  }

  /** Throws once the hash is finished. */
  get handle(): HashHandle {
    if (this.#handle) return this.#handle
    throw new SealwaxError('ERR_INTERNAL', 'the hash is finished, or memory ran out')
  }

  update(bytes: Uint8Array): void {
    checkLive(bytes, 'bytes')
    check(this.binding.updateHash(this.handle, bytes))
  }

  protected finish(): Uint8Array {
    const digest = new Uint8Array(this.#length)
    check(this.binding.finishHash(this.handle, digest))
    this.#handle = undefined
    return digest
  }
}

/** The addon's side of a hash that {@link Engine.sealFrames} or {@link Engine.openFrames} is to feed. */
export function handleOf(hash: RunningHash | undefined): HashHandle | undefined {
  if (hash === undefined || hash instanceof NativeRunningHash) return hash?.handle
  throw new TypeError('"hash" must be a hash, signer or verifier of this engine')
}

export class NativeHash extends NativeRunningHash implements Hash {
  digest(): Uint8Array {
    return this.finish()
  }
}

export class NativeSigner extends NativeRunningHash implements Signer {
  readonly #key: KeyObject

  constructor(binding: Binding, hash: HashName, key: KeyObject) {
    super(binding, hash)
    checkEcKey(key, 'private')
    this.#key = key
  }

  sign(): Uint8Array {
    const digest = this.finish() // throws where it was finished before, and there is no scalar to wipe yet
    const { curve, scalar } = privateScalar(this.#key)
    const signature = new Uint8Array(MAX_SIGNATURE_LENGTH)
    const answer = this.binding.signDigest(CURVES[curve], scalar, digest, signature)
    wipe(scalar)
    check(answer % 16)
    return signature.subarray(0, (answer - (answer % 16)) / 16)
  }
}

export class NativeVerifier extends NativeRunningHash implements Verifier {
  readonly #key: { readonly curve: Curve; readonly point: Uint8Array }

  constructor(binding: Binding, hash: HashName, key: KeyObject) {
    super(binding, hash)
    this.#key = publicPoint(key)
  }

  verify(signature: Uint8Array): boolean {
    checkLive(signature, 'signature')
    const { curve, point } = this.#key
    const status = this.binding.verifyDigest(CURVES[curve], point, this.finish(), signature)
    if (status === UNAUTHENTIC) return false
    check(status)
    return true
  }
}

// native/ecdsa.h
const CURVES: Readonly<Record<Curve, number>> = { prime256v1: 0, secp384r1: 1 }
const MAX_SIGNATURE_LENGTH = 104
