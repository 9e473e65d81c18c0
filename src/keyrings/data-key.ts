import { getEngine } from '../engine/engine'
import { adoptDataKey, dataKeyOf, KeyringTraceFlag, type NodeEncryptionMaterial } from '../materials/materials'
import { checkString } from '../options'

/**
 * The data key of the materials, made now if they have none yet. Not a copy: it belongs to the materials. An `iv` to wrap
 * it with is filled by the same request to the random source, whose fixed cost is most of what a small message costs.
 */
export function toWrap(
  material: NodeEncryptionMaterial,
  keyNamespace: string,
  keyName: string,
  iv: Uint8Array = NO_IV,
): Uint8Array {
  if (material.hasUnencryptedDataKey) {
    if (iv.length > 0) getEngine().randomFill(iv)
    return dataKeyOf(material)
  }
  const { keyLengthBytes } = material.suite
  const fresh = getEngine().randomBytes(keyLengthBytes + iv.length)
  iv.set(fresh.subarray(keyLengthBytes))
  const flags = KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY
  adoptDataKey(material, fresh.subarray(0, keyLengthBytes), { keyNamespace, keyName, flags })
  return dataKeyOf(material)
}

/** Key namespaces and names, in the words that programs for client-node know. */
export function checkIdentity(value: unknown, option: string): string {
  const problem = `Identifying information must be defined. "${option}" must be a string that is not empty`
  if (value === undefined) throw new TypeError(problem)
  if (value === '') throw new RangeError(problem)
  return checkString(value, option)
}

const NO_IV = new Uint8Array(0)
