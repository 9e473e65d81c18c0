// What goes wrong in a stream is an error event.
const { Readable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { buildClient, CommitmentPolicy } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

const { encrypt, encryptStream, decryptStream, decryptUnsignedMessageStream } = buildClient()
const drain = async (source) => {
  for await (const _ of source);
}
const open = (stream, message, ...texts) => failure(() => pipeline(Readable.from([message]), stream, drain), ...texts)

report(async () => {
  const signed = (await encrypt(aesKeyring(), 'signed')).result
  const unsigned = (await encrypt(aesKeyring(), 'unsigned', { suiteId: 0x0478 })).result
  const tampered = Buffer.from(signed)
  tampered[tampered.length - 120] ^= 1
  const op = (suiteId) => ({ suiteId, frameLength: 10 })
  return {
    signed: await open(decryptUnsignedMessageStream(aesKeyring()), signed, 'requiring only un-signed messages'),
    unsigned: await open(decryptUnsignedMessageStream(aesKeyring()), unsigned),
    wrongKey: await open(decryptStream(aesKeyring(8)), signed, 'unencryptedDataKey has not been set'),
    tampered: (await open(decryptStream(aesKeyring()), tampered)).isError,
    truncated: (await open(decryptStream(aesKeyring()), signed.subarray(0, -130))).isError,
    maxBodySize: await open(decryptStream(aesKeyring(), { maxBodySize: 4 }), signed, 'maxBodySize exceeded'),
    policy: await failure(
      () => encryptStream(aesKeyring(), op(0x0378)),
      CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT,
    ),
    frameLength: await failure(() => encryptStream(aesKeyring(), { frameLength: 0 }), 'frameLength out of bounds'),
  }
})
