const { randomBytes } = require('node:crypto')

/**
 * A KMS whose ciphertext is JSON with the plaintext in it. `clientProvider` gives a client for any Region, `calls` is what
 * was asked of them. With `sdk2`, calls return requests with `promise()`, as the AWS SDK version 2 does.
 */
exports.fakeKms = ({ sdk2 = false } = {}) => {
  const calls = []
  const answer = (region, operation, respond) => (input) => {
    calls.push(`${operation} ${region} ${input.KeyId}`)
    const run = async () => respond(input)
    return sdk2 ? { promise: run } : run()
  }
  const seal = ({ KeyId, EncryptionContext }, plaintext) =>
    Buffer.from(JSON.stringify({ KeyId, EncryptionContext, plaintext: Buffer.from(plaintext).toString('hex') }))
  const clientProvider = (region) => ({
    config: { region },
    generateDataKey: answer(region, 'generateDataKey', (input) => {
      const Plaintext = new Uint8Array(randomBytes(input.NumberOfBytes))
      return { KeyId: input.KeyId, Plaintext, CiphertextBlob: seal(input, Plaintext) }
    }),
    encrypt: answer(region, 'encrypt', (input) => ({
      KeyId: input.KeyId,
      CiphertextBlob: seal(input, input.Plaintext),
    })),
    decrypt: answer(region, 'decrypt', ({ KeyId, EncryptionContext, CiphertextBlob }) => {
      const sealed = JSON.parse(Buffer.from(CiphertextBlob).toString())
      // Keys with the same `mrk-` ID in different Regions are one key.
      const same = (one, other) => one === other || (/mrk-/.test(one) && one.split('/')[1] === other.split('/')[1])
      if (!same(sealed.KeyId, KeyId)) throw new Error('IncorrectKeyException')
      const sorted = (context) => JSON.stringify(Object.entries(context).sort())
      if (sorted(sealed.EncryptionContext) !== sorted(EncryptionContext)) throw new Error('InvalidCiphertextException')
      return { KeyId, Plaintext: new Uint8Array(Buffer.from(sealed.plaintext, 'hex')) }
    }),
  })
  return { calls, clientProvider }
}

exports.arn = (id, region = 'us-east-1', account = '111122223333') => `arn:aws:kms:${region}:${account}:key/${id}`
