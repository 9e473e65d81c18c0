// The header that callers see, in both versions.
const { buildClient, CommitmentPolicy, EncryptedDataKey, MessageFormat } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { report } = require('./lib/report')

const shape = (value) => {
  if (value instanceof EncryptedDataKey)
    return [value.providerId, value.providerInfo.startsWith('key'), value.encryptedDataKey.length]
  if (value instanceof Uint8Array) return `${value.length} bytes`
  if (Array.isArray(value)) return value.map(shape)
  if (typeof value !== 'object') return value
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, shape(value[key])]),
  )
}

report(async () => {
  const shapes = {}
  const { FORBID_ENCRYPT_ALLOW_DECRYPT, REQUIRE_ENCRYPT_REQUIRE_DECRYPT } = CommitmentPolicy
  for (const policy of [FORBID_ENCRYPT_ALLOW_DECRYPT, REQUIRE_ENCRYPT_REQUIRE_DECRYPT]) {
    const { encrypt, decrypt } = buildClient(policy)
    const suiteId = policy === FORBID_ENCRYPT_ALLOW_DECRYPT ? 0x0178 : 0x0478
    const { result, messageHeader } = await encrypt(aesKeyring(), 'x', { suiteId, encryptionContext: { a: 'b' } })
    const opened = await decrypt(aesKeyring(), result)
    shapes[policy] = [shape(messageHeader), shape(opened.messageHeader), messageHeader.version === MessageFormat.V2]
  }
  return shapes
})
