// The most asked-about error: no key opens the message.
const { buildClient, RawAesKeyringNode, RawAesWrappingSuiteIdentifier } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const { result } = await encrypt(aesKeyring(7, 'first'), 'secret')
  const text = 'unencryptedDataKey has not been set'
  const aes = (input) =>
    new RawAesKeyringNode({
      keyNamespace: 'programs',
      keyName: 'first',
      unencryptedMasterKey: new Uint8Array(16).fill(1),
      wrappingSuite: RawAesWrappingSuiteIdentifier.AES128_GCM_IV12_TAG16_NO_PADDING,
      ...input,
    })
  return {
    otherKey: await failure(() => decrypt(aesKeyring(8, 'first'), result), text),
    otherName: await failure(() => decrypt(aesKeyring(7, 'second'), result), text),
    otherLength: await failure(() => decrypt(aes(), result), text),
    right: (await decrypt(aesKeyring(7, 'first'), result)).plaintext.toString(),
    badLength: await failure(
      () => aes({ unencryptedMasterKey: new Uint8Array(17).fill(1) }),
      'Key length does not agree with the algorithm specification.',
    ),
    badSuite: await failure(() => aes({ wrappingSuite: 0x0014 + 1 }), 'suiteId not supported.'),
    noName: (await failure(() => aes({ keyName: '' }))).isError,
  }
})
