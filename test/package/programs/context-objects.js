// Encryption contexts are ordinary objects where programs look at them.
const assert = require('node:assert')
const {
  buildClient,
  KeyringNode,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
} = require('@aws-crypto/client-node')
const { report } = require('./lib/report')

const inner = new RawAesKeyringNode({
  keyNamespace: 'n',
  keyName: 'k',
  unencryptedMasterKey: new Uint8Array(32).fill(7),
  wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
})
const seen = []
class Looking extends KeyringNode {
  async _onEncrypt(material) {
    seen.push(Object.hasOwn(material.encryptionContext, 'a'), Object.hasOwn(material.encryptionContext, 'b'))
    return await inner.onEncrypt(material)
  }
  async _onDecrypt(material, edks) {
    seen.push(Object.hasOwn(material.encryptionContext, 'a'))
    return await inner.onDecrypt(material, edks)
  }
}

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const encryptionContext = { a: 'b', constructor: 'c' }
  const { result, messageHeader } = await encrypt(new Looking(), 'x', { encryptionContext, suiteId: 0x0478 })
  assert.deepStrictEqual({ ...messageHeader.encryptionContext }, encryptionContext)
  assert.deepStrictEqual(messageHeader.encryptionContext, encryptionContext)
  const opened = await decrypt(new Looking(), result)
  return [seen, opened.messageHeader.encryptionContext.constructor, String(opened.plaintext)]
})
