// Texts that programs match, for messages that are damaged.
const { buildClient, CommitmentPolicy } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

const { encrypt, decrypt } = buildClient(CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)
const committing = buildClient()

report(async () => {
  const { result } = await encrypt(aesKeyring(), 'x'.repeat(100), { frameLength: 40, suiteId: 0x0378 })
  const { result: v2 } = await committing.encrypt(aesKeyring(), 'x'.repeat(100))
  const open = (message, ...texts) => failure(() => decrypt(aesKeyring(), message), ...texts)
  const change = (message, at, value) => {
    const copy = Buffer.from(message)
    copy[at] = value
    return copy
  }
  return {
    version: await open(change(result, 0, 9), 'Not a supported message format version.'),
    type: await open(change(result, 1, 9), 'Malformed Header'),
    suite: await open(change(v2, 2, 9), 'Unsupported algorithm suite.'),
    emptyMessage: await open(Buffer.alloc(0), 'Incomplete'),
    half: await open(result.subarray(0, 30), 'Incomplete'),
    body: await open(result.subarray(0, -150), 'Incomplete message'),
    text: await open('not a message at all', 'Not a supported message format version.'),
    object: (await open({ not: 'bytes' }, 'Unsupported ciphertext')).found,
    number: (await open(7, 'Unsupported ciphertext')).found,
    maxBodySize: await failure(() => decrypt(aesKeyring(), result, { maxBodySize: 39 }), 'maxBodySize exceeded.'),
    commitment: (await open(change(v2, v2.length - 300, v2[v2.length - 300] ^ 1))).isError,
  }
})
