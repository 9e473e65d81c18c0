// Subclasses with state of their own, stubs, managers and caches that have only what is used, and options that are null.
const {
  buildClient,
  getLocalCryptographicMaterialsCache,
  NodeCachingMaterialsManager,
  NodeDefaultCryptographicMaterialsManager,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
} = require('@aws-crypto/client-node')
const { report } = require('./lib/report')

const input = () => ({
  keyNamespace: 'n',
  keyName: 'k',
  unencryptedMasterKey: new Uint8Array(32).fill(7),
  wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
})
const { encrypt, decrypt } = buildClient()

class Counting extends NodeDefaultCryptographicMaterialsManager {
  constructor(keyring) {
    super(keyring)
    this.calls = 0
  }
  async getEncryptionMaterials(request) {
    this.calls++
    return await super.getEncryptionMaterials(request)
  }
}

class Named extends RawAesKeyringNode {
  label = 'primary'
}

report(async () => {
  const keyring = new Named(input())
  keyring.note = 'mine'
  const counting = new Counting(keyring)
  const { result } = await encrypt(counting, 'text', { suiteId: null, frameLength: 10 })
  const { plaintext } = await decrypt(counting, result, { maxBodySize: null })

  const stubbed = new RawAesKeyringNode(input())
  Object.defineProperty(stubbed, 'onEncrypt', { value: async () => Promise.reject(new Error('stubbed')) })
  const stub = await encrypt(stubbed, 'x').catch((error) => error.message)

  const local = getLocalCryptographicMaterialsCache(10)
  const entries = []
  const cache = {
    putEncryptionMaterial(id, ...rest) {
      entries.push(typeof id)
      return local.putEncryptionMaterial(id, ...rest)
    },
    putDecryptionMaterial: (...all) => local.putDecryptionMaterial(...all),
    getEncryptionMaterial: (...all) => local.getEncryptionMaterial(...all),
    getDecryptionMaterial: (...all) => local.getDecryptionMaterial(...all),
    del: (...all) => local.del(...all),
  }
  const caching = new NodeCachingMaterialsManager({ backingMaterials: keyring, cache, maxAge: 10_000 })
  for (let i = 0; i < 3; i++) await encrypt(caching, 'text', { plaintextLength: 4 })

  const whole = new NodeDefaultCryptographicMaterialsManager(keyring)
  const half = { decryptMaterials: (request) => whole.decryptMaterials(request) }
  const opened = await decrypt(half, result)

  const adding = {
    getEncryptionMaterials(request) {
      request.encryptionContext.tenant = 'x'
      return whole.getEncryptionMaterials(request)
    },
    decryptMaterials: (request) => whole.decryptMaterials(request),
  }
  const added = await encrypt(adding, 'text', { encryptionContext: { a: 'b' } })
  const { tenant, a } = added.messageHeader.encryptionContext
  return [keyring.label, keyring.note, counting.calls, `${plaintext}`, stub, entries, `${opened.plaintext}`, tenant, a]
})
