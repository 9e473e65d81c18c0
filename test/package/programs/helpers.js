// getEncryptHelper and getDecryptionHelper, for programs that seal parts themselves.
const {
  AlgorithmSuiteIdentifier,
  CommitmentPolicy,
  getDecryptionHelper,
  getEncryptHelper,
  NodeAlgorithmSuite,
  NodeDefaultCryptographicMaterialsManager,
} = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { report } = require('./lib/report')

report(async () => {
  const outcomes = {}
  const manager = new NodeDefaultCryptographicMaterialsManager(aesKeyring())
  for (const id of [0x0178, 0x0378, 0x0478, 0x0578]) {
    const suite = new NodeAlgorithmSuite(id)
    const commitmentPolicy =
      suite.commitment === 'KEY'
        ? CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
        : CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
    const material = await manager.getEncryptionMaterials({ suite, encryptionContext: { a: 'b' }, commitmentPolicy })
    const messageId = new Uint8Array(suite.saltLengthBytes || 16).fill(3)
    const iv = new Uint8Array(12).fill(1)
    const { getCipherInfo, getSigner, dispose } = getEncryptHelper(material)
    const { getCipher, keyCommitment } = getCipherInfo(messageId)
    const cipher = getCipher(iv)
    cipher.setAAD(Buffer.from('aad'))
    const sealed = Buffer.concat([cipher.update(Buffer.from('part')), cipher.final()])
    const tag = cipher.getAuthTag()
    const signature = getSigner?.().update(sealed).awsCryptoSign()

    const { encryptedDataKeys, encryptionContext } = material
    const opening = await manager.decryptMaterials({ suite, encryptionContext, encryptedDataKeys })
    const helper = getDecryptionHelper(opening)
    const decipher = helper.getDecipherInfo(messageId, keyCommitment)(iv)
    decipher.setAAD(Buffer.from('aad'))
    decipher.setAuthTag(tag)
    const opened = Buffer.concat([decipher.update(sealed), decipher.final()])
    outcomes[AlgorithmSuiteIdentifier[id]] = [
      opened.toString(),
      keyCommitment?.length,
      Boolean(getSigner),
      signature && helper.getVerify().update(sealed).awsCryptoVerify(signature),
    ]
    dispose()
    helper.dispose()
    outcomes[id] = [material.hasUnencryptedDataKey, opening.hasValidKey()]
  }
  return outcomes
})
