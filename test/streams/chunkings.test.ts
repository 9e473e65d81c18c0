/** Any chunking gives the same bytes or the same error as one piece does, and as the peer does. */
import { createHash } from 'node:crypto'
import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { buildClient, type CommitmentPolicy, type SealwaxErrorCode } from '../../src/index'
import { rejects } from '../support/expect'
import { aesKeyring, bytes } from '../support/keys'
import { byteByByte } from '../support/pieces'
import { type Vector, vectorKeyring, vectors } from '../support/vectors'
import { drive, driveLoosely, randomPieces } from './drive'

const CHUNKINGS: Record<string, (message: Uint8Array) => Uint8Array[]> = {
  'in one piece': (message) => [message],
  'byte by byte': byteByByte,
  'in slices of up to 7 bytes': (message) => randomPieces(message, 7, 1),
  'in slices of up to 40 bytes': (message) => randomPieces(message, 40, 2),
  'in slices of up to 300 bytes': (message) => randomPieces(message, 300, 3),
  'with empty chunks between': (message) => randomPieces(message, 90, 4).flatMap((piece) => [new Uint8Array(0), piece]),
}

for (const [chunking, cut] of Object.entries(CHUNKINGS)) {
  for (const vector of vectors()) {
    test(`${chunking}: ${vector.description}`, async () => {
      const opening = drive(openingStream(vector), cut(Buffer.from(vector.message, 'base64')))
      if ('error' in vector.expect) {
        await rejects(opening, vector.expect.error as SealwaxErrorCode)
      } else {
        const plaintext = await opening
        assert.is(plaintext.length, vector.expect.length)
        assert.is(createHash('sha256').update(plaintext).digest('hex'), vector.expect.sha256)
      }
    })
  }
}

const client = buildClient()
const SHAPES = [1, 16, 4096, 1 << 20].flatMap((frameLength) =>
  [0, 1, frameLength - 1, frameLength, frameLength + 1, 2 * frameLength, 3 * frameLength + 5]
    .filter((length, i, all) => all.indexOf(length) === i)
    .map((length) => ({ frameLength, length })),
)

for (const suiteId of [0x0478, 0x0578]) {
  for (const { frameLength, length } of SHAPES) {
    test(`suite 0x0${suiteId.toString(16)}, ${length} bytes in frames of ${frameLength}, both ways and with the peer`, async () => {
      const plaintext = Buffer.from(bytes(length))
      for (const most of length > 100_000 ? [65_536, 3_000_000] : [1, 17, 5000]) {
        const pieces = randomPieces(plaintext, most, most)
        const message = await drive(client.encryptStream(aesKeyring(), { suiteId, frameLength }), pieces)
        assert.ok(plaintext.equals((await client.decrypt(aesKeyring(), message)).plaintext))
        assert.ok(plaintext.equals(await drive(client.decryptStream(aesKeyring()), randomPieces(message, most, 5))))
        if (length < 100_000) assert.ok(plaintext.equals((await peerClient.decrypt(peerKeyring(), message)).plaintext))
      }
    })
  }
  for (const length of [0, 1, 4096, 10_000, 70_000]) {
    test(`suite 0x0${suiteId.toString(16)}: what the peer's stream wrote of ${length} bytes`, async () => {
      const plaintext = Buffer.from(bytes(length))
      const pieces = randomPieces(plaintext, 9000, 6)
      const message = await driveLoosely(peerClient.encryptStream(peerKeyring(), { suiteId }), pieces)
      for (const most of [1, 50, 100_000]) {
        assert.ok(plaintext.equals(await drive(client.decryptStream(aesKeyring()), randomPieces(message, most, 7))))
      }
      const ours = await drive(client.encryptStream(aesKeyring(), { suiteId }), pieces)
      assert.ok(plaintext.equals(await driveLoosely(peerClient.decryptStream(peerKeyring()), [ours])))
    })
  }
}

test('a changed byte anywhere is refused, whatever the chunking, and only true plaintext came before', async () => {
  const plaintext = Buffer.from(bytes(90))
  for (const suiteId of [0x0478, 0x0578]) {
    const { result } = await client.encrypt(aesKeyring(), plaintext, { suiteId, frameLength: 40 })
    for (let at = 0; at < result.length; at++) {
      const message = Buffer.from(result)
      message[at]! ^= 1 << (at % 8)
      const stream = client.decryptStream(aesKeyring())
      let given = Buffer.alloc(0)
      stream.on('data', (piece: Buffer) => {
        given = Buffer.concat([given, piece])
      })
      const error = await drive(stream, randomPieces(message, 1 + (at % 60), at + 1)).then(
        () => undefined,
        (thrown: unknown) => thrown,
      )
      assert.instance(error, Error, `byte ${at}`)
      assert.ok(given.equals(plaintext.subarray(0, given.length)), `byte ${at}`)
      assert.ok(given.length < plaintext.length, 'never all of it')
    }
  }
})

function openingStream({ keyring, policy, options = {} }: Vector) {
  const { maxEncryptedDataKeys = false, ...input } = options
  return buildClient({ commitmentPolicy: policy as CommitmentPolicy, maxEncryptedDataKeys }).decryptStream(
    vectorKeyring(keyring),
    input,
  )
}

const peerClient = peer.buildClient()
function peerKeyring(): peer.KeyringNode {
  return new peer.RawAesKeyringNode({
    keyNamespace: 'tests',
    keyName: 'aes',
    // A copy of its own each time: client-node zeroes it.
    unencryptedMasterKey: bytes(32),
    wrappingSuite: peer.RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })
}

assert.ok(vectors().length > 0)
test.run()
