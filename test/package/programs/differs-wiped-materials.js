// differs: Materials after a message
const {
  buildClient,
  NodeDefaultCryptographicMaterialsManager,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
} = require('@aws-crypto/client-node')
const { report } = require('./lib/report')

report(async () => {
  const keyring = new RawAesKeyringNode({
    keyNamespace: 'n',
    keyName: 'k',
    unencryptedMasterKey: new Uint8Array(32).fill(7),
    wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })
  const inner = new NodeDefaultCryptographicMaterialsManager(keyring)
  let kept
  const memoizing = {
    getEncryptionMaterials: async (request) => (kept ??= await inner.getEncryptionMaterials(request)),
    decryptMaterials: (request) => inner.decryptMaterials(request),
  }
  const { encrypt } = buildClient()
  await encrypt(memoizing, 'one')
  return await encrypt(memoizing, 'two').then(
    () => 'the same data key again',
    (error) => error.message,
  )
})
