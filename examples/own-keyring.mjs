// Keys in a service that Sealwax does not know, such as Google Cloud KMS, Azure Key Vault or HashiCorp Vault, through a keyring
// of your own. The service of this program lives in its memory. `node examples/own-keyring.mjs`
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { buildClient, EncryptedDataKey, Keyring, KeyringTraceFlag, SealwaxError, unwrapDataKey } from 'sealwax'

const PROVIDER = 'my-key-service' // in clear in every message, as the name of the key is

/** Wraps data keys by `service`: `wrap(keyName, bytes, context)` and `unwrap(keyName, bytes, context)` give promises of bytes. */
class ServiceKeyring extends Keyring {
  constructor(service, keyName) {
    super()
    this.service = service
    this.keyName = keyName
  }

  async _onEncrypt(material) {
    if (!material.hasUnencryptedDataKey) {
      const dataKey = randomBytes(material.suite.keyLengthBytes)
      material.setUnencryptedDataKey(dataKey, this.traceOf(KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY))
      dataKey.fill(0)
    }
    const dataKey = unwrapDataKey(material.getUnencryptedDataKey())
    try {
      const encryptedDataKey = await this.service.wrap(this.keyName, dataKey, contextOf(material))
      const edk = new EncryptedDataKey({ providerId: PROVIDER, providerInfo: this.keyName, encryptedDataKey })
      return material.addEncryptedDataKey(edk, KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY)
    } finally {
      dataKey.fill(0)
    }
  }

  async _onDecrypt(material, encryptedDataKeys) {
    for (const { providerId, providerInfo, encryptedDataKey } of encryptedDataKeys) {
      if (providerId !== PROVIDER || providerInfo !== this.keyName) continue // not ours, which is no error
      try {
        const dataKey = await this.service.unwrap(this.keyName, encryptedDataKey, contextOf(material))
        material.setUnencryptedDataKey(dataKey, this.traceOf(KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY))
        dataKey.fill(0)
        return material
      } catch (cause) {
        material.addFailure(new SealwaxError('ERR_KEY_SERVICE', `${PROVIDER} did not unwrap`, { cause }))
      }
    }
    return material
  }

  traceOf(flags) {
    return { keyNamespace: PROVIDER, keyName: this.keyName, flags }
  }
}

/** What the service binds to the data key, as additional authenticated data: the same bytes whatever the order of the pairs. */
function contextOf({ encryptionContext }) {
  const pairs = Object.entries(encryptionContext).sort(([a], [b]) => (a < b ? -1 : 1))
  return Buffer.from(JSON.stringify(pairs))
}

const key = randomBytes(32)
const service = {
  async wrap(_, bytes, context) {
    const iv = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(context)
    return Buffer.concat([iv, cipher.update(bytes), cipher.final(), cipher.getAuthTag()])
  },
  async unwrap(_, bytes, context) {
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12), { authTagLength: 16 })
    decipher.setAAD(context).setAuthTag(bytes.subarray(-16))
    return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()])
  },
}

const { encrypt, decrypt } = buildClient()
const keyring = new ServiceKeyring(service, 'key-2026')
const { result } = await encrypt(keyring, 'under a key of yours', { encryptionContext: { tenant: 'acme' } })
const { plaintext } = await decrypt(keyring, result, { encryptionContext: { tenant: 'acme' } })
console.log(`${plaintext}`)
