// Data key caching: how often the keyring is asked, by limit.
const {
  buildClient,
  getLocalCryptographicMaterialsCache,
  KmsKeyringNode,
  NodeCachingMaterialsManager,
} = require('@aws-crypto/client-node')
const { arn, fakeKms } = require('./lib/kms')
const { failure, report } = require('./lib/report')

const { encrypt, decrypt } = buildClient()

async function countCalls(limits, messages) {
  const { calls, clientProvider } = fakeKms()
  const backingMaterials = new KmsKeyringNode({ generatorKeyId: arn('1'), clientProvider })
  const cache = getLocalCryptographicMaterialsCache(100)
  const cmm = new NodeCachingMaterialsManager({ backingMaterials, cache, maxAge: 60_000, ...limits })
  const results = []
  for (const { text, encryptionContext } of messages) {
    results.push(await encrypt(cmm, text, { encryptionContext, plaintextLength: text.length, suiteId: 0x0478 }))
  }
  const encrypts = calls.splice(0).length
  for (const { result } of [...results, ...results]) await decrypt(cmm, result)
  return { encrypts, decrypts: calls.length }
}

report(async () => {
  const seven = Array.from({ length: 7 }, () => ({ text: 'ten bytes!', encryptionContext: { a: 'b' } }))
  const bad = (input) => failure(() => new NodeCachingMaterialsManager(input), ...TEXTS)
  const cache = getLocalCryptographicMaterialsCache(10)
  const backingMaterials = new KmsKeyringNode({ generatorKeyId: arn('1'), clientProvider: fakeKms().clientProvider })
  const good = { cache, backingMaterials, maxAge: 1000 }
  return {
    unlimited: await countCalls({}, seven),
    messages: await countCalls({ maxMessagesEncrypted: 3 }, seven),
    bytes: await countCalls({ maxBytesEncrypted: 25 }, seven),
    tooLong: await countCalls({ maxBytesEncrypted: 5 }, seven),
    contexts: await countCalls({}, [...seven, { text: 'x', encryptionContext: { a: 'c' } }]),
    errors: [
      await bad({ ...good, cache: undefined }),
      await bad({ ...good, backingMaterials: undefined }),
      await bad({ ...good, maxAge: 0 }),
      await bad({ ...good, maxBytesEncrypted: -1 }),
      await bad({ ...good, maxMessagesEncrypted: -1 }),
    ],
  }
})

const TEXTS = [
  'You must provide a cache.',
  'You must provide a backing material source.',
  'You must configure a maxAge',
  'maxBytesEncrypted is outside of bounds.',
  'maxMessagesEncrypted is outside of bounds.',
]
