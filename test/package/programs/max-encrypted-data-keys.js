// A limit on encrypted data keys, so that a message cannot cause any number of calls to a key service.
const {
  buildClient,
  buildDecrypt,
  buildEncrypt,
  CommitmentPolicy,
  MultiKeyringNode,
} = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

report(async () => {
  const commitmentPolicy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
  const keyrings = (count) =>
    new MultiKeyringNode({ generator: aesKeyring(), children: Array.from({ length: count - 1 }, () => aesKeyring()) })
  const limited = buildClient({ commitmentPolicy, maxEncryptedDataKeys: 3 })
  const { encrypt } = buildEncrypt({ commitmentPolicy, maxEncryptedDataKeys: false })
  const { decrypt } = buildDecrypt({ maxEncryptedDataKeys: 3 })
  const outcomes = {}
  for (const count of [2, 3, 4]) {
    const { result } = await encrypt(keyrings(count), 'x')
    outcomes[count] = [
      await failure(() => limited.encrypt(keyrings(count), 'x'), 'maxEncryptedDataKeys exceeded.'),
      await failure(() => decrypt(aesKeyring(), result), 'maxEncryptedDataKeys exceeded.'),
    ]
  }
  const invalid = (maxEncryptedDataKeys) =>
    failure(() => buildClient({ commitmentPolicy, maxEncryptedDataKeys }), 'Invalid maxEncryptedDataKeys value.')
  return { outcomes, invalid: [await invalid(0), await invalid(-1)] }
})
