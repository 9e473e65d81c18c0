// A message, sealed and opened with an AES key of your own. `node examples/message.mjs`
import { randomBytes } from 'node:crypto'
import { buildClient, RawAesKeyring, RawAesWrappingSuiteIdentifier } from 'sealwax'

const { encrypt, decrypt } = buildClient()
const keyring = new RawAesKeyring({
  keyNamespace: 'my-app',
  keyName: 'key-2026',
  unencryptedMasterKey: randomBytes(32), // in production: from your secret store
  wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
})
const context = { customer: '4711' } // public, and authenticated with the message
const { result } = await encrypt(keyring, 'attack at dawn', { encryptionContext: context })
const { plaintext } = await decrypt(keyring, result, { encryptionContext: context })
console.log(`${plaintext}`)
