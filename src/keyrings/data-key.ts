import { wipe } from '../bytes'
import { getEngine } from '../engine/engine'
import { dataKeyOf, KeyringTraceFlag, type NodeEncryptionMaterial } from '../materials/materials'

/** The data key of the materials, made now if they have none yet. Not a copy: it belongs to the materials. */
export function toWrap(material: NodeEncryptionMaterial, keyNamespace: string, keyName: string): Uint8Array {
  if (!material.hasUnencryptedDataKey) {
    const dataKey = getEngine().randomBytes(material.suite.keyLengthBytes)
    const flags = KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY
    material.setUnencryptedDataKey(dataKey, { keyNamespace, keyName, flags })
    wipe(dataKey)
  }
  return dataKeyOf(material)
}
