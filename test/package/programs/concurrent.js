// Many messages at once, from one client and keyring.
const { buildClient } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { report } = require('./lib/report')

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const keyring = aesKeyring()
  const texts = Array.from({ length: 50 }, (_, i) => `message ${i} `.repeat(i * 10))
  const results = await Promise.all(
    texts.map((text, i) => encrypt(keyring, text, { encryptionContext: { i: `${i}` } })),
  )
  const opened = await Promise.all(results.map(({ result }) => decrypt(keyring, result)))
  return {
    same: opened.every(({ plaintext }, i) => plaintext.toString() === texts[i]),
    contexts: opened.map(({ messageHeader }) => messageHeader.encryptionContext.i).join(),
    ids: new Set(results.map(({ messageHeader }) => Buffer.from(messageHeader.messageId).toString('hex'))).size,
  }
})
