// A keyring of one's own, as a class.
const { randomBytes } = require('node:crypto')
const { buildClient, EncryptedDataKey, KeyringNode, KeyringTraceFlag, needs } = require('@aws-crypto/client-node')
const { failure, report } = require('./lib/report')

class XorKeyring extends KeyringNode {
  constructor(mask) {
    super()
    this.mask = mask
    this.seen = []
  }
  async _onEncrypt(material) {
    this.seen.push(['encrypt', material.suite.id, Object.keys(material.encryptionContext).length])
    const trace = { keyNamespace: 'xor', keyName: 'mask', flags: KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY }
    const dataKey = randomBytes(material.suite.keyLengthBytes)
    const encryptedDataKey = dataKey.map((byte) => byte ^ this.mask)
    material.setUnencryptedDataKey(dataKey, trace)
    const edk = new EncryptedDataKey({ providerId: 'xor', providerInfo: 'mask', encryptedDataKey })
    return material.addEncryptedDataKey(edk, KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY)
  }
  async _onDecrypt(material, encryptedDataKeys) {
    const edk = encryptedDataKeys.find(({ providerId }) => providerId === 'xor')
    this.seen.push(['decrypt', encryptedDataKeys.length, edk.providerInfo])
    const dataKey = Uint8Array.from(edk.encryptedDataKey, (byte) => byte ^ this.mask)
    const trace = { keyNamespace: 'xor', keyName: 'mask', flags: KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY }
    return material.setUnencryptedDataKey(dataKey, trace)
  }
}

class Lazy extends KeyringNode {
  async _onEncrypt(material) {
    return material
  }
  async _onDecrypt(material) {
    return material
  }
}

class Strict extends Lazy {
  async _onEncrypt() {
    needs(false, 'not on a Sunday')
  }
}

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const keyring = new XorKeyring(0x5a)
  const { result, messageHeader } = await encrypt(keyring, 'own keyring', { encryptionContext: { a: 'b' } })
  const { plaintext } = await decrypt(keyring, result)
  const lazy = 'unencryptedDataKey has not been set'
  return {
    plaintext: plaintext.toString(),
    seen: keyring.seen,
    isKeyring: keyring instanceof KeyringNode,
    edks: messageHeader.encryptedDataKeys.map((edk) => [edk.providerId, edk.providerInfo, edk.encryptedDataKey.length]),
    encryptWithoutKey: await failure(() => encrypt(new Lazy(), 'x'), lazy),
    decryptWithoutKey: await failure(() => decrypt(new Lazy(), result), lazy),
    ownError: await failure(() => encrypt(new Strict(), 'x'), 'not on a Sunday'),
  }
})
