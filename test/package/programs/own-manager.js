// A materials manager of one's own: it requires a pair in every encryption context, and adds one.
const {
  buildClient,
  CommitmentPolicy,
  NodeAlgorithmSuite,
  NodeDefaultCryptographicMaterialsManager,
} = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

const manager = new NodeDefaultCryptographicMaterialsManager(aesKeyring())
const requests = []
const cmm = {
  async getEncryptionMaterials(request) {
    requests.push({ ...request, suite: request.suite instanceof NodeAlgorithmSuite })
    if (!request.encryptionContext.tenant) throw new Error('a tenant is required')
    const encryptionContext = { ...request.encryptionContext, added: 'by the manager' }
    return manager.getEncryptionMaterials({ ...request, encryptionContext })
  },
  async decryptMaterials(request) {
    requests.push({ suite: request.suite.id, keys: request.encryptedDataKeys.length })
    if (request.encryptionContext.tenant !== 'a') throw new Error('another tenant')
    return manager.decryptMaterials(request)
  },
}

report(async () => {
  const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
  const op = { suiteId: 0x0478, encryptionContext: { tenant: 'a' } }
  const { result } = await encrypt(cmm, 'managed', op)
  const { plaintext, messageHeader } = await decrypt(cmm, result)
  const others = await encrypt(cmm, 'managed', { ...op, encryptionContext: { tenant: 'b' } })
  return {
    plaintext: plaintext.toString(),
    context: messageHeader.encryptionContext,
    none: await failure(() => encrypt(cmm, 'x', { suiteId: 0x0478 }), 'a tenant is required'),
    other: await failure(() => decrypt(cmm, others.result), 'another tenant'),
    requests: requests.map((request) =>
      Object.keys(request)
        .sort()
        .map((key) => [key, request[key]]),
    ),
  }
})
