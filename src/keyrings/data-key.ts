import { getEngine } from '../engine/engine'
import { adoptDataKey, dataKeyOf, KeyringTraceFlag, type NodeEncryptionMaterial } from '../materials/materials'

/** The data key of the materials, made now if they have none yet. Not a copy: it belongs to the materials. */
export function toWrap(material: NodeEncryptionMaterial, keyNamespace: string, keyName: string): Uint8Array {
  if (!material.hasUnencryptedDataKey) {
    const dataKey = getEngine().randomBytes(material.suite.keyLengthBytes)
    const flags = KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY
    adoptDataKey(material, dataKey, { keyNamespace, keyName, flags })
  }
  return dataKeyOf(material)
}
