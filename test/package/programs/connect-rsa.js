// Amazon Connect customer input: encrypted under an RSA public key by somebody else, OAEP with SHA-512.
const { generateKeyPairSync } = require('node:crypto')
const { buildClient, CommitmentPolicy, RawRsaKeyringNode } = require('@aws-crypto/client-node')
const { failure, report } = require('./lib/report')

const { publicKey, privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
})
const name = { keyNamespace: 'AmazonConnect', keyName: '1234abcd' }

report(async () => {
  const { encrypt, decrypt } = buildClient(CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)
  const sender = new RawRsaKeyringNode({ ...name, rsaKey: { publicKey }, oaepHash: 'sha512' })
  const receiver = new RawRsaKeyringNode({ ...name, rsaKey: { privateKey }, oaepHash: 'sha512' })
  const { result } = await encrypt(sender, '4111111111111111')
  const { plaintext, messageHeader } = await decrypt(receiver, Buffer.from(result.toString('base64'), 'base64'))

  const sha1 = new RawRsaKeyringNode({ ...name, rsaKey: { privateKey } })
  const other = new RawRsaKeyringNode({ ...name, keyName: 'other', rsaKey: { privateKey }, oaepHash: 'sha512' })
  return {
    digits: plaintext.toString(),
    suiteId: messageHeader.suiteId,
    keys: messageHeader.encryptedDataKeys.map((key) => [key.providerId, key.providerInfo]),
    wrongHash: (await failure(() => decrypt(sha1, result))).isError,
    wrongName: await failure(() => decrypt(other, result), 'unencryptedDataKey has not been set'),
    // What both libraries do with a missing half differs in words, not in effect.
    encryptOnly: (await failure(() => decrypt(sender, result))).isError,
    decryptOnly: await failure(() => encrypt(receiver, 'x'), 'No public key defined in constructor'),
    noKey: await failure(() => new RawRsaKeyringNode({ ...name, rsaKey: {} }), 'No Key provided.'),
    badHash: await failure(
      () => new RawRsaKeyringNode({ ...name, rsaKey: { publicKey }, oaepHash: 'md5' }),
      'Unsupported oaepHash',
    ),
  }
})
