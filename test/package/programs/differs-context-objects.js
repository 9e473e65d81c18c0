// differs: Encryption contexts as objects
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
let seen
class Looking extends KeyringNode {
  async _onEncrypt(material) {
    seen = typeof material.encryptionContext.hasOwnProperty
    return await inner.onEncrypt(material)
  }
  async _onDecrypt(material, edks) {
    return await inner.onDecrypt(material, edks)
  }
}

report(async () => {
  const { messageHeader } = await buildClient().encrypt(new Looking(), 'x', { encryptionContext: { a: 'b' } })
  return [seen, Object.hasOwn(messageHeader.encryptionContext, 'a')]
})
