// A message under a key that never leaves its HSM. Here the HSM is SoftHSM; docs/pkcs11.md tells how to set it up.
// `node examples/hsm.mjs module token pin-file`
import { buildClient } from 'sealwax'
import { Pkcs11AesKeyring, Pkcs11Token } from 'sealwax/pkcs11'

const [module, label, file] = process.argv.slice(2)
const token = new Pkcs11Token({ module, token: label, pin: { file } })
try {
  const keys = await token.keys()
  if (!keys.some((key) => key.label === 'example')) await token.generateKey({ type: 'aes', label: 'example' })
  const keyring = new Pkcs11AesKeyring({ token, key: 'example', keyNamespace: 'my-app', keyName: 'example' })
  const { encrypt, decrypt } = buildClient()
  const { result } = await encrypt(keyring, 'known to the token alone', { encryptionContext: { purpose: 'demo' } })
  const { plaintext } = await decrypt(keyring, result, { encryptionContext: { purpose: 'demo' } })
  console.log(`${plaintext}`)
} finally {
  await token.close() // its sessions, and the process of the module; else both end with the program
}
