const { RawAesKeyringNode, RawAesWrappingSuiteIdentifier } = require('@aws-crypto/client-node')

/** A raw AES keyring whose key is 32 times `byte`. */
exports.aesKeyring = (byte = 7, keyName = 'key') =>
  new RawAesKeyringNode({
    keyNamespace: 'programs',
    keyName,
    unencryptedMasterKey: new Uint8Array(32).fill(byte),
    wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })
