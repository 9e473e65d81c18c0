import {
  type EncryptedDataKey,
  KeyringNode,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '../../src/index'
import { dataKeyOf } from '../../src/materials/materials'
import { aesKeyring } from './keys'

type Material = NodeEncryptionMaterial | NodeDecryptionMaterial

/** A raw AES keyring that remembers the data keys it saw, as the very bytes of the materials, and can be slow or fail. */
export class SpyKeyring extends KeyringNode {
  readonly dataKeys: Uint8Array[] = []
  readonly materials: Material[] = []
  /** Awaited once the data key is there. */
  after: (material: Material) => Promise<void> | void = () => {}
  readonly #inner = aesKeyring()

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    await this.#inner.onEncrypt(material)
    await this.#saw(material)
    return material
  }

  async _onDecrypt(material: NodeDecryptionMaterial, edks: EncryptedDataKey[]): Promise<NodeDecryptionMaterial> {
    await this.#inner.onDecrypt(material, edks)
    await this.#saw(material)
    return material
  }

  /** Whether every data key seen is wiped; there must have been one. */
  get wiped(): boolean {
    return this.dataKeys.length > 0 && this.dataKeys.every((key) => key.every((byte) => byte === 0))
  }

  async #saw(material: Material): Promise<void> {
    this.materials.push(material)
    if (material.hasUnencryptedDataKey) this.dataKeys.push(dataKeyOf(material))
    await this.after(material)
  }
}
