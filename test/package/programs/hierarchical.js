// Hierarchical keyrings: tenants, versions of a branch key, the cache, and what is refused.
const { BranchKeyStoreNode, buildClient, KmsHierarchicalKeyRingNode } = require('@aws-crypto/client-node')
const { DynamoDBClient } = require('@aws-sdk/client-dynamodb')
const { KMSClient } = require('@aws-sdk/client-kms')
const { arn } = require('./lib/kms')
const { failure, report } = require('./lib/report')

const kmsArn = arn('1234abcd-12ab-34cd-56ef-1234567890ab')
const versions = ['83d8bd9c-1b5a-4f6e-9d1c-000000000001', '83d8bd9c-1b5a-4f6e-9d1c-000000000002']

/** A store of branch keys whose ciphertext is the number of the version; `calls` is what was asked. */
function world() {
  const calls = []
  let active = 0
  const kmsClient = new KMSClient({ region: 'us-east-1', credentials: { accessKeyId: 'x', secretAccessKey: 'x' } })
  kmsClient.send = async ({ input }) => {
    calls.push('decrypt')
    return { KeyId: kmsArn, Plaintext: new Uint8Array(32).fill(input.CiphertextBlob[0]) }
  }
  const ddbClient = new DynamoDBClient({ region: 'us-east-1' })
  ddbClient.send = async ({ input }) => {
    const [id, type] = [input.Key['branch-key-id'].S, input.Key.type.S]
    calls.push(`${input.TableName} ${id} ${type.slice(0, 9)}`)
    if (id === 'unknown') return {}
    const version = type === 'branch:ACTIVE' ? versions[active] : type.slice('branch:version:'.length)
    const Item = {
      'branch-key-id': { S: id },
      type: { S: type },
      enc: { B: new Uint8Array([1 + versions.indexOf(version)]) },
      'kms-arn': { S: kmsArn },
      'create-time': { S: '2026-01-02T03:04:05.006007Z' },
      'hierarchy-version': { N: '1' },
      ...(type === 'branch:ACTIVE' && { version: { S: `branch:version:${version}` } }),
    }
    return { Item }
  }
  const keyStore = new BranchKeyStoreNode({
    logicalKeyStoreName: 'keys',
    storage: { ddbTableName: 'keys', ddbClient },
    kmsConfiguration: { identifier: kmsArn },
    keyManagement: { kmsClient },
    keyStoreId: 'store',
  })
  return { calls, keyStore, rotate: () => active++ }
}

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const { calls, keyStore, rotate } = world()
  const branchKeyIdSupplier = { getBranchKeyId: ({ tenant }) => tenant }
  const keyringOf = (more = {}) =>
    new KmsHierarchicalKeyRingNode({ keyStore, branchKeyIdSupplier, cacheLimitTtl: 600, ...more })
  const keyring = keyringOf()

  const messages = []
  for (const tenant of ['a', 'a', 'b'])
    messages.push((await encrypt(keyring, `for ${tenant}`, { encryptionContext: { tenant } })).result)
  const writing = calls.splice(0)
  const opened = []
  for (const message of messages) {
    const { plaintext, messageHeader } = await decrypt(keyring, message)
    const [{ providerId, providerInfo, encryptedDataKey }] = messageHeader.encryptedDataKeys
    opened.push([plaintext.toString(), providerId, providerInfo, encryptedDataKey.length])
  }
  const reading = calls.splice(0)
  rotate()
  const later = keyringOf({ maxCacheSize: 10 })
  const { result } = await encrypt(later, 'after rotation', { encryptionContext: { tenant: 'a' } })
  const old = await decrypt(later, messages[0])
  const fresh = await decrypt(keyring, result)
  const rotating = calls.splice(0)
  const forB = keyringOf({ branchKeyIdSupplier: undefined, branchKeyId: 'b' })
  const unknown = keyringOf({ branchKeyIdSupplier: undefined, branchKeyId: 'unknown' })
  const info = keyStore.getKeyStoreInfo()
  const material = await keyStore.getActiveBranchKey('a')
  return {
    writing,
    opened,
    reading,
    rotating,
    texts: [old, fresh].map(({ plaintext }) => plaintext.toString()),
    info: [info.keystoreTableName, info.logicalKeyStoreName, info.keystoreId],
    material: [material.branchKeyIdentifier, material.branchKey().length],
    ofAnother: (await failure(() => decrypt(forB, messages[0]))).isError,
    unknown: (await failure(() => encrypt(unknown, 'x'))).isError,
    noKeyring: [
      await failure(() => keyringOf({ branchKeyIdSupplier: undefined }), 'branch key'),
      await failure(() => keyringOf({ cacheLimitTtl: -1 })),
      await failure(() => keyringOf({ keyStore: {} })),
    ].map(({ isError }) => isError),
  }
})
