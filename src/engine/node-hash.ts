import { createHash, createSign, createVerify, type KeyObject } from 'node:crypto'
import { SealwaxError } from '../errors'
import { checkLive, refuseShared } from './arguments'
import { checkEcKey } from './ec-key'
import type { Hash, HashName, RunningHash, Signer, Verifier } from './engine'

abstract class NodeRunningHash<Of extends { update(bytes: Uint8Array): unknown }> implements RunningHash {
  #running: Of | undefined

  constructor(running: Of) {
    this.#running = running
  }

  /** Throws once the hash is finished. */
  get running(): Of {
    if (this.#running) return this.#running
    throw new SealwaxError('ERR_INTERNAL', 'the hash is finished')
  }

  update(bytes: Uint8Array): void {
    checkLive(bytes, 'bytes')
    refuseShared(bytes)
    this.running.update(bytes)
  }

  protected finish(): Of {
    const { running } = this
    this.#running = undefined
    return running
  }
}

/** Refuses what {@link Engine.sealFrames} and {@link Engine.openFrames} could not feed, before anything is written. */
export function checkRunning(hash: RunningHash | undefined): void {
  if (hash === undefined || (hash instanceof NodeRunningHash && hash.running)) return
  throw new TypeError('"hash" must be a hash, signer or verifier of this engine')
}

export class NodeHash extends NodeRunningHash<ReturnType<typeof createHash>> implements Hash {
  constructor(hash: HashName) {
    super(createHash(hash))
  }

  digest(): Uint8Array {
    return new Uint8Array(this.finish().digest())
  }
}

export class NodeSigner extends NodeRunningHash<ReturnType<typeof createSign>> implements Signer {
  readonly #key: KeyObject

  constructor(hash: HashName, key: KeyObject) {
    super(createSign(hash))
    checkEcKey(key, 'private')
    this.#key = key
  }

  sign(): Uint8Array {
    return this.finish().sign({ key: this.#key, dsaEncoding: 'der' })
  }
}

export class NodeVerifier extends NodeRunningHash<ReturnType<typeof createVerify>> implements Verifier {
  readonly #key: KeyObject

  constructor(hash: HashName, key: KeyObject) {
    super(createVerify(hash))
    checkEcKey(key, 'public')
    this.#key = key
  }

  verify(signature: Uint8Array): boolean {
    checkLive(signature, 'signature')
    refuseShared(signature)
    return this.finish().verify({ key: this.#key, dsaEncoding: 'der' }, signature)
  }
}
