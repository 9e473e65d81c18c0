// A record of a database activity stream: the raw AES key came out of KMS, the message is signed and does not commit.
const { gunzipSync } = require('node:zlib')
const {
  buildClient,
  CommitmentPolicy,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
} = require('@aws-crypto/client-node')
const { failure, report } = require('./lib/report')

// Written once by client-node 5.0.2.
const RECORD =
  'AYADeBf9g/rO9UdA27gvHeEmxqIAegACABVhd3MtY3J5cHRvLXB1YmxpYy1rZXkAREF3alBKdU1ZeU5RMFVMSHdEMlp4ZkRtZ3dL' +
  'dURTcHhheXBPRm1yeVYydzhlQzluU2F1UnRhZUhWdmRPRDJ6SmdOUT09AA5hd3M6cmRzOmRiYy1pZAAJY2x1c3Rlci0xAAEAAkJD' +
  'ABtEYXRhS2V5AAAAgAAAAAy7KffmTROB+v8WRe0AMA3FthUTaQJoMp1iVRlfulUNKSGwkEMoYdQqdG+cMSKkH6cHdU9nLCURdDyP' +
  'stakvQIAAAAADAAAEAAAAAAAAAAAAAAAAADoKUM3Er+uu1ZSF+KwqsFm/////wAAAAEAAAAAAAAAAAAAAAEAAACJln69YS8FrzpC' +
  '/Ve7gtOyKlQ157xGtdf73fvR4/QAMCyKfyDZL7tMDfRSzWJ/eWIuPzgPVZRdl6tSEBRpqpiBTKU8gO35GZFpYPucoLbw9Ejbxt8f' +
  'Zkokns7sc/8xhpd5VlzhXzTKj+rwhsSeCi0gxWoJkMbNhe2eZH2QRjlJELZhjomQ3kVkiv1YPL+//LStNB7qMdvsgaHNAGcwZQIw' +
  'S2bBQRb+s4YAslBUWj6SEvAL64ph+xq19wk2pkhA3AJ0s5kqZNRopcdNofvycgQ+AjEAmKc+psGv6ZcGA8CDah1t2s0GM1uqHzrL' +
  'ZAn1wlLC6kxlIYnn3Ub7pCnfwPxIAE2d'

report(async () => {
  const keyring = new RawAesKeyringNode({
    keyName: 'DataKey',
    keyNamespace: 'BC',
    unencryptedMasterKey: new Uint8Array(32).fill(0x2a),
    wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })
  const message = Buffer.from(RECORD, 'base64')
  const { decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT)
  const { plaintext, messageHeader } = await decrypt(keyring, message)
  return {
    event: JSON.parse(gunzipSync(plaintext)),
    messageId: messageHeader.messageId.toString('hex'),
    encryptionContext: messageHeader.encryptionContext,
    key: messageHeader.encryptedDataKeys[0].encryptedDataKey.length,
    byDefault: await failure(() => buildClient().decrypt(keyring, message), 'requiring only committed messages'),
  }
})
