import type { EncryptedDataKey } from '../encrypted-data-key'
import { invalidMaterials, SealwaxError } from '../errors'
import { KeyringNode } from '../materials/keyring'
import type { NodeDecryptionMaterial, NodeEncryptionMaterial } from '../materials/materials'
import { checkInteger, checkOptions, fixFields } from '../options'
import { attemptInTurn } from './attempts'

export interface MultiKeyringNodeInput {
  /** Makes the data key, and wraps it too. Without one the keyring only decrypts, or wraps keys made by another. */
  generator?: KeyringNode
  /** Each wraps the same data key, so that any one of them opens the message. */
  children?: KeyringNode[]
  /**
   * How long a keyring may take to decrypt, in milliseconds, before the next one is asked too. 1 to 2^31-1; default: as
   * long as it takes.
   */
  hedgeDelay?: number
}

/**
 * Several keyrings as one (framework/multi-keyring.md). Encrypting needs all of them: a message never carries fewer
 * encrypted data keys than configured. Decrypting needs the first that can, generator first.
 */
export class MultiKeyringNode extends KeyringNode {
  readonly generator: KeyringNode | undefined
  readonly children: readonly KeyringNode[]
  readonly hedgeDelay: number

  constructor(input: MultiKeyringNodeInput) {
    super()
    const {
      generator,
      children = [],
      hedgeDelay,
    } = checkOptions(input, ['generator', 'children', 'hedgeDelay'], 'MultiKeyringNode')
    if (generator !== undefined && !(generator instanceof KeyringNode))
      throw new TypeError('Generator must be a Keyring')
    if (!Array.isArray(children) || !children.every((child) => child instanceof KeyringNode)) {
      throw new TypeError('Child must be a Keyring')
    }
    if (!generator && children.length === 0) throw new TypeError('Noop MultiKeyring is not supported.')
    this.generator = generator
    this.children = Object.freeze([...children])
    this.hedgeDelay = hedgeDelay === undefined ? Infinity : checkInteger(hedgeDelay, 'hedgeDelay', 1, MAX_DELAY)
    fixFields(this)
  }

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    if (!material.hasUnencryptedDataKey && !this.generator) {
      throw invalidMaterials('Only Keyrings explicitly designated as generators can generate material.')
    }
    await this.generator?.onEncrypt(material)
    if (!material.hasUnencryptedDataKey) throw invalidMaterials('Generator Keyring has not generated material.')
    for (const child of this.children) await child.onEncrypt(material)
    return material
  }

  async _onDecrypt(
    material: NodeDecryptionMaterial,
    encryptedDataKeys: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    const keyrings = this.generator ? [this.generator, ...this.children] : this.children
    const errors = await attemptInTurn(
      keyrings.map((keyring) => () => keyring.onDecrypt(material, encryptedDataKeys)),
      () => material.hasValidKey(),
      this.hedgeDelay,
    )
    if (material.hasValidKey() || errors.length === 0) return material
    const told = errors.flatMap((error) => (error instanceof SealwaxError && error.errors) || [])
    const all = [...errors, ...material.failures.filter((failure) => !told.includes(failure))]
    throw new SealwaxError(
      'ERR_NO_DATA_KEY',
      `Unable to decrypt data key and one or more child keyrings had an error. ${all.map((error, i) => `Error #${i + 1}: ${error.message}`).join('; ')}`,
      { errors: all },
    )
  }
}
Object.freeze(MultiKeyringNode)
Object.freeze(MultiKeyringNode.prototype)

const MAX_DELAY = 0x7fffffff
