// Both libraries in one program, as during a migration: each reads what the other wrote. Needs @aws-crypto/client-node
// installed beside sealwax. `node examples/migrate.mjs`
import * as before from '@aws-crypto/client-node'
import * as after from 'sealwax'

const secret = Buffer.alloc(32, 'the same wrapping key for both..').toString('base64')

const keyringOf = (library) =>
  new library.RawAesKeyringNode({
    keyNamespace: 'my-app',
    keyName: 'key-2026',
    // A buffer of its own, for each: client-node wipes it, and refuses a slice.
    unencryptedMasterKey: Uint8Array.from(Buffer.from(secret, 'base64')),
    wrappingSuite: library.RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })

for (const [writer, reader, direction] of [
  [before, after, 'old messages, new reader'],
  [after, before, 'new messages, old reader'],
]) {
  const encryptionContext = { tenant: 'Ä', region: 'b', A: 'c' }
  const { result } = await writer.buildClient().encrypt(keyringOf(writer), direction, { encryptionContext })
  const { plaintext } = await reader.buildClient().decrypt(keyringOf(reader), result)
  console.log(`${plaintext}`)
}
