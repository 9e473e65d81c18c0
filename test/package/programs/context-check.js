// The check that AWS's own examples make after decrypting.
const { buildClient, CommitmentPolicy } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

report(async () => {
  const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
  const context = { stage: 'demo', purpose: 'simple demonstration app', origin: 'us-west-2', Ünïcode: '✓', '': 'empty' }
  const { result } = await encrypt(aesKeyring(), 'asdf', { encryptionContext: context })
  const { plaintext, messageHeader } = await decrypt(aesKeyring(), result)
  const { encryptionContext } = messageHeader

  for (const [key, value] of Object.entries(context)) {
    if (encryptionContext[key] !== value) throw new Error('Encryption Context does not match expected values')
  }
  const reserved = { encryptionContext: { 'aws-crypto-public-key': 'x' } }
  return {
    plaintext: plaintext.toString(),
    keys: Object.keys(encryptionContext).sort(),
    publicKey: typeof encryptionContext['aws-crypto-public-key'],
    frozen: Object.isFrozen(encryptionContext),
    prototype: Object.getPrototypeOf(encryptionContext),
    mine: Object.keys(context),
    reserved: await failure(() => encrypt(aesKeyring(), 'x', reserved), 'Reserved encryptionContext value'),
    long: await failure(
      () => encrypt(aesKeyring(), 'x', { encryptionContext: { a: 'x'.repeat(65536) } }),
      'out of bounds',
    ),
  }
})
