import { type EncryptionContext, PUBLIC_KEY_FIELD } from '../encryption-context'
import { SealwaxError } from '../errors'
import { checkOptions, checkString, describe, fixFields } from '../options'
import {
  type NodeDecryptionRequest,
  type NodeEncryptionRequest,
  type NodeMaterialsManager,
  toMaterialsManager,
} from './cmm'
import type { KeyringNode } from './keyring'
import { NodeDecryptionMaterial, NodeEncryptionMaterial } from './materials'

export interface RequiredEncryptionContextCmmInput {
  /** Where materials come from: a keyring or a materials manager. */
  backingMaterials: KeyringNode | NodeMaterialsManager
  /** Keys that the encryption context of every message must have; one at least. */
  requiredEncryptionContextKeys: readonly string[]
}

/**
 * Requires pairs in the encryption context, and keeps them out of the message (framework/required-encryption-context-cmm.md).
 * They are authenticated like the others: who decrypts must know them, and passes them as `encryptionContext`.
 *
 * Both encrypting and decrypting without a value for every required key fail with `ERR_ENCRYPTION_CONTEXT`, before
 * anything is asked of a keyring. Wrong values fail as a wrong key does.
 *
 * @example
 * const cmm = new RequiredEncryptionContextCmm({ backingMaterials: keyring, requiredEncryptionContextKeys: ['tenant'] })
 * const { result } = await client.encrypt(cmm, 'attack at dawn', { encryptionContext: { tenant: 'acme', purpose: 'demo' } })
 * const { plaintext } = await client.decrypt(cmm, result, { encryptionContext: { tenant: 'acme' } })
 */
export class RequiredEncryptionContextCmm implements NodeMaterialsManager {
  readonly requiredEncryptionContextKeys: readonly string[]
  readonly #backing: NodeMaterialsManager
  readonly #own: readonly string[]

  constructor(input: RequiredEncryptionContextCmmInput) {
    const { backingMaterials, requiredEncryptionContextKeys } = checkOptions(
      input,
      ['backingMaterials', 'requiredEncryptionContextKeys'],
      'RequiredEncryptionContextCmm',
    )
    this.#backing = toMaterialsManager(backingMaterials)
    this.#own = checkKeys(requiredEncryptionContextKeys)
    this.requiredEncryptionContextKeys = union(this.#own, this.#backing.requiredEncryptionContextKeys)
    fixFields(this)
  }

  async getEncryptionMaterials(request: NodeEncryptionRequest): Promise<NodeEncryptionMaterial> {
    this.#checkPresent(request.encryptionContext, 'the encryption context')
    const required = union(this.#own, request.requiredEncryptionContextKeys)
    const material = await this.#backing.getEncryptionMaterials({ ...request, requiredEncryptionContextKeys: required })
    return this.#checkMaterials(material, (m) => m.requiredEncryptionContextKeys)
  }

  async decryptMaterials(request: NodeDecryptionRequest): Promise<NodeDecryptionMaterial> {
    this.#checkPresent(request.reproducedEncryptionContext ?? {}, 'the "encryptionContext" to decrypt with')
    const material = await this.#backing.decryptMaterials(request)
    return this.#checkMaterials(material, (m) => Object.keys(m.encryptionContext))
  }

  #checkPresent(context: Readonly<EncryptionContext>, what: string): void {
    const missing = this.#own.find((key) => !Object.hasOwn(context, key))
    if (missing === undefined) return
    throw new SealwaxError('ERR_ENCRYPTION_CONTEXT', `${what} lacks the required key ${JSON.stringify(missing)}`)
  }

  /** A backing manager that drops required keys would leave their pairs unauthenticated. */
  #checkMaterials<M extends NodeEncryptionMaterial | NodeDecryptionMaterial>(
    material: M,
    keysOf: (material: M) => readonly string[],
  ): M {
    // What is no material is for the caller to refuse.
    if (!(material instanceof NodeEncryptionMaterial || material instanceof NodeDecryptionMaterial)) return material
    const keys = keysOf(material)
    const missing = this.#own.find((key) => !keys.includes(key))
    if (missing === undefined) return material
    material.zeroUnencryptedDataKey()
    throw new SealwaxError(
      'ERR_INVALID_MATERIALS',
      `the backing materials manager dropped the required key ${JSON.stringify(missing)}`,
    )
  }
}
Object.freeze(RequiredEncryptionContextCmm)
Object.freeze(RequiredEncryptionContextCmm.prototype)

function checkKeys(keys: unknown): readonly string[] {
  if (!Array.isArray(keys))
    throw new TypeError(`"requiredEncryptionContextKeys" must be an array, got ${describe(keys)}`)
  if (keys.length === 0) throw new RangeError('"requiredEncryptionContextKeys" must not be empty')
  for (const key of keys) {
    if (checkString(key, 'requiredEncryptionContextKeys', { allowEmpty: true }) !== PUBLIC_KEY_FIELD) continue
    throw new RangeError(`"requiredEncryptionContextKeys" must not hold the reserved key ${PUBLIC_KEY_FIELD}`)
  }
  return union(keys)
}

function union(keys: readonly string[], others: readonly string[] = []): readonly string[] {
  return Object.freeze([...new Set([...keys, ...others])])
}
