import { types } from 'node:util'
import { copySecret, utf8, wipe } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { invalidMaterials } from '../errors'
import { describe } from '../options'

export const BRANCH_KEY_LENGTH = 32

/**
 * A branch key in plaintext: what the hierarchical keyring derives wrapping keys from. The key is copied in and can be
 * wiped; the rest is frozen.
 */
export class NodeBranchKeyMaterial {
  readonly branchKeyIdentifier: string
  /** The version, a UUID, as the bytes of its text. */
  readonly branchKeyVersion: Buffer
  /** The pairs that were given when the branch key was created. */
  readonly encryptionContext: Readonly<EncryptionContext>
  readonly #branchKey: Uint8Array
  #zeroed = false

  constructor(
    branchKey: Uint8Array,
    branchKeyIdentifier: string,
    branchKeyVersion: string,
    encryptionContext: EncryptionContext,
  ) {
    if (!types.isUint8Array(branchKey)) throw new TypeError('Branch key must be a Buffer or Uint8Array')
    if (branchKey.length !== BRANCH_KEY_LENGTH) throw invalidMaterials('Branch key must be 32 bytes long')
    if (typeof branchKeyIdentifier !== 'string') throw new TypeError('Branch key id must be a string')
    if (branchKeyIdentifier === '') throw invalidMaterials('Empty branch key ID')
    if (typeof branchKeyVersion !== 'string') throw new TypeError('Branch key version must be a string')
    if (!isUuidV4(branchKeyVersion)) throw invalidMaterials('Branch key version must be valid version 4 uuid')
    if (typeof encryptionContext !== 'object' || encryptionContext === null) {
      throw new TypeError(`Encryption context must be an object, got ${describe(encryptionContext)}`)
    }
    this.#branchKey = copySecret(branchKey)
    this.branchKeyIdentifier = branchKeyIdentifier
    this.branchKeyVersion = Buffer.from(utf8(branchKeyVersion))
    this.encryptionContext = Object.freeze({ ...encryptionContext })
    Object.freeze(this)
  }

  /** The branch key as the bytes these materials hold: not a copy. Throws `ERR_INVALID_MATERIALS` once it is wiped. */
  branchKey(): Buffer {
    if (this.#zeroed) throw invalidMaterials('the branch key has been zeroed')
    const { buffer, byteOffset, length } = this.#branchKey
    return Buffer.from(buffer, byteOffset, length)
  }

  /** Wipes the branch key. */
  zeroUnencryptedDataKey(): this {
    this.#zeroed = true
    wipe(this.#branchKey)
    return this
  }
}
Object.freeze(NodeBranchKeyMaterial)
Object.freeze(NodeBranchKeyMaterial.prototype)

/** Whether `text` is a random UUID (RFC 9562, version 4), as versions of branch keys are. */
export function isUuidV4(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i.test(text)
}
