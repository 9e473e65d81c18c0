import { EncryptedDataKey } from '../encrypted-data-key'
import { invalidMaterials } from '../errors'
import { NodeDecryptionMaterial, NodeEncryptionMaterial } from './materials'

/**
 * Wraps and unwraps data keys (framework/keyring-interface.md). Own keyrings extend this and implement two methods:
 *
 * - `_onEncrypt`: generate a data key if the materials have none, then add it in wrapped form;
 * - `_onDecrypt`: try the encrypted data keys in order, set the first plaintext data key that opens. "Not mine" is no
 *   error: return the materials as they came.
 *
 * Both return the very materials they were given.
 */
export abstract class KeyringNode {
  async onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    if (!(material instanceof NodeEncryptionMaterial)) throw new TypeError('Unsupported type of material.')
    const returned = await this._onEncrypt(material)
    if (returned !== material) throw invalidMaterials('New EncryptionMaterial instances can not be created.')
    return material
  }

  async onDecrypt(
    material: NodeDecryptionMaterial,
    encryptedDataKeys: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    if (!(material instanceof NodeDecryptionMaterial)) throw new TypeError('Unsupported material type.')
    if (material.hasValidKey()) return material
    if (!encryptedDataKeys.every((edk) => edk instanceof EncryptedDataKey)) {
      throw new TypeError('Unsupported EncryptedDataKey type')
    }
    const returned = await this._onDecrypt(material, encryptedDataKeys)
    if (returned !== material) throw invalidMaterials('New DecryptionMaterial instances can not be created.')
    return material
  }

  abstract _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial>

  abstract _onDecrypt(
    material: NodeDecryptionMaterial,
    encryptedDataKeys: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial>
}
Object.freeze(KeyringNode)
Object.freeze(KeyringNode.prototype)
