// One-shot calls of streams: refusals do not wait for the end, and a manager hears of the length that the caller told.
const { PassThrough, Readable } = require('node:stream')
const {
  buildClient,
  KeyringNode,
  NodeDefaultCryptographicMaterialsManager,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
} = require('@aws-crypto/client-node')
const { report } = require('./lib/report')

const keyring = new RawAesKeyringNode({
  keyNamespace: 'n',
  keyName: 'k',
  unencryptedMasterKey: new Uint8Array(32).fill(7),
  wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
})
const { encrypt, decrypt } = buildClient()

class Denying extends KeyringNode {
  async _onEncrypt() {
    throw new Error('denied')
  }
  async _onDecrypt() {
    throw new Error('denied')
  }
}

/** Some bytes, and then nothing more. */
function stuck(bytes) {
  const source = new PassThrough()
  source.on('error', () => {})
  source.write(bytes)
  return source
}

report(async () => {
  const { result } = await encrypt(keyring, Readable.from([Buffer.from('some '), Buffer.from('text')]))
  const lengths = []
  const hearing = new NodeDefaultCryptographicMaterialsManager(keyring)
  const manager = {
    getEncryptionMaterials(request) {
      lengths.push(request.plaintextLength ?? 'unknown')
      return hearing.getEncryptionMaterials(request)
    },
    decryptMaterials: (request) => hearing.decryptMaterials(request),
  }
  await encrypt(manager, Readable.from([Buffer.from('ab')]), { plaintextLength: 5 })
  await encrypt(manager, Readable.from([Buffer.from('ab')]))
  const message = (error) => error.message.slice(0, 20)
  const read = Readable.from([Buffer.from('x')])
  for await (const _ of read);
  return [
    String((await decrypt(keyring, Readable.from([result]))).plaintext),
    lengths,
    await encrypt(new Denying(), stuck('abc')).catch(message),
    await decrypt(new Denying(), stuck(result)).catch(message),
    await encrypt(keyring, read).catch(message),
  ]
})
