// Materials, as authors of keyrings and managers handle them.
const {
  EncryptedDataKey,
  KeyringTraceFlag,
  NodeAlgorithmSuite,
  NodeDecryptionMaterial,
  NodeEncryptionMaterial,
  unwrapDataKey,
} = require('@aws-crypto/client-node')
const { failure, report } = require('./lib/report')

report(async () => {
  const suite = new NodeAlgorithmSuite(0x0478)
  const material = new NodeEncryptionMaterial(suite, { a: 'b' })
  const generated = { keyNamespace: 'n', keyName: 'k', flags: KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY }
  const decrypted = { ...generated, flags: KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY }
  const edk = new EncryptedDataKey({ providerId: 'n', providerInfo: 'k', encryptedDataKey: new Uint8Array(5) })
  const before = [material.hasUnencryptedDataKey, material.hasValidKey(), Object.isFrozen(material.encryptionContext)]
  const errors = [
    await failure(() => material.getUnencryptedDataKey(), 'unencryptedDataKey has not been set'),
    await failure(() => material.setUnencryptedDataKey(new Uint8Array(31), generated), 'Key length does not agree'),
    await failure(
      () => material.setUnencryptedDataKey(new Uint8Array(32), decrypted),
      'Required KeyringTraceFlag not set',
    ),
    await failure(() => material.addEncryptedDataKey(edk, KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY)),
  ]
  material.setUnencryptedDataKey(new Uint8Array(32).fill(9), generated)
  material.addEncryptedDataKey(
    edk,
    KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_SIGNED_ENC_CTX,
  )
  material.encryptedDataKeys.pop()
  const bytes = unwrapDataKey(material.getUnencryptedDataKey())
  errors.push(
    await failure(
      () => material.setUnencryptedDataKey(new Uint8Array(32).fill(9), generated),
      'unencryptedDataKey has already been set',
    ),
    await failure(() => new NodeEncryptionMaterial({}, {}), 'Suite must be a NodeAlgorithmSuite'),
    await failure(() => new EncryptedDataKey({}), 'Malformed encrypted data key'),
    await failure(() => unwrapDataKey('x'), 'Unsupported dataKey type'),
  )
  const reading = new NodeDecryptionMaterial(suite, {}).setUnencryptedDataKey(new Uint8Array(32).fill(9), decrypted)
  return {
    before,
    errors,
    key: Buffer.from(bytes).toString('hex'),
    type: material.getUnencryptedDataKey().type,
    trace: material.keyringTrace,
    edks: material.encryptedDataKeys.length,
    signatureKey: material.signatureKey,
    reading: [reading.hasValidKey(), reading.keyringTrace, reading.verificationKey],
    zeroed: material.zeroUnencryptedDataKey().hasUnencryptedDataKey,
    flags: Object.entries(KeyringTraceFlag).sort(),
  }
})
