import { inspect } from 'node:util'
import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { DynamoDBClient, GetItemCommand, QueryCommand } from '@aws-sdk/client-dynamodb'
import { KMSClient } from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  BranchKeyStoreNode,
  type BranchKeyStoreNodeInput,
  type EncryptedHierarchicalKey,
  type IBranchKeyStorage,
  isIBranchKeyStoreNode,
} from '../../src/index'
import { BranchKeyWorld, LOGICAL_NAME, TABLE } from '../support/branch-keys'
import { rejects, throws } from '../support/expect'
import { secretsMadeBy } from '../support/given-by'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
let world: BranchKeyWorld

test.before(async () => {
  world = await BranchKeyWorld.start()
})
test.after(() => world.close())
test.before.each(() => {
  world.dynamodb.tamper = undefined
})

interface BranchKey {
  branchKey(): Buffer
  readonly branchKeyIdentifier: string
  readonly branchKeyVersion: Buffer
  readonly encryptionContext: Readonly<Record<string, string>>
}

function shown(material: BranchKey): object {
  return {
    key: material.branchKey().toString('hex'),
    id: material.branchKeyIdentifier,
    version: material.branchKeyVersion.toString(),
    context: { ...material.encryptionContext },
  }
}

async function records(branchKeyId: string): Promise<Record<string, AttributeValue>[]> {
  const { Items } = await world.dynamodb.client.send(
    new QueryCommand({
      TableName: TABLE,
      KeyConditionExpression: '#id = :id',
      ExpressionAttributeNames: { '#id': 'branch-key-id' },
      ExpressionAttributeValues: { ':id': { S: branchKeyId } },
    }),
  )
  return Items!
}

test('makes a branch key, gives its active version, and that version by its name', async () => {
  const store = world.store()
  const { branchKeyIdentifier } = await store.createKey()
  assert.match(branchKeyIdentifier, UUID)
  const active = await store.getActiveBranchKey(branchKeyIdentifier)
  assert.is(active.branchKey().length, 32)
  assert.match(active.branchKeyVersion.toString(), UUID)
  const version = await store.getBranchKeyVersion(branchKeyIdentifier, active.branchKeyVersion.toString())
  assert.equal(shown(version), shown(active))
})

test('of a branch key that is given, no copy is left but the one that is given', async () => {
  const store = world.store()
  const { branchKeyIdentifier } = await store.createKey()
  let active: BranchKey | undefined
  const made = await secretsMadeBy(async () => (active = await store.getActiveBranchKey(branchKeyIdentifier)))
  assert.is(made.filter((bytes) => active!.branchKey().equals(bytes)).length, 1)
})

test('a new version is another key; the old one stays', async () => {
  const store = world.store()
  const { branchKeyIdentifier: id } = await store.createKey({
    branchKeyIdentifier: 'tenant-1',
    encryptionContext: { tenant: 'ü', '': 'empty' },
  })
  const first = await store.getActiveBranchKey(id)
  await store.versionKey({ branchKeyIdentifier: id })
  const second = await store.getActiveBranchKey(id)
  assert.is.not(second.branchKey().toString('hex'), first.branchKey().toString('hex'))
  assert.is.not(second.branchKeyVersion.toString(), first.branchKeyVersion.toString())
  assert.equal({ ...second.encryptionContext }, { tenant: 'ü', '': 'empty' })
  assert.equal(shown(await store.getBranchKeyVersion(id, first.branchKeyVersion.toString())), shown(first))
})

for (const [writer, reader] of [
  ['this library', 'client-node'],
  ['client-node', 'this library'],
] as const) {
  test(`made by ${writer}, read by ${reader}: the active version, each version, custom pairs`, async () => {
    const [ours, theirs] = [world.store(), world.peerStore()]
    const [write, read] = writer === 'client-node' ? [theirs, ours] : [ours, theirs]
    const encryptionContext = { tenant: 'acme', ключ: 'значение', version: 'x', type: 'y' }
    const input = { branchKeyIdentifier: `by ${writer}`, encryptionContext }
    const { branchKeyIdentifier: id } = await write.createKey(input)
    const versions: object[] = []
    for (let i = 0; i < 3; i++) {
      if (i > 0) await write.versionKey({ branchKeyIdentifier: id })
      const [mine, other] = [await write.getActiveBranchKey(id), await read.getActiveBranchKey(id)]
      assert.equal(shown(other), shown(mine))
      assert.equal({ ...other.encryptionContext }, encryptionContext)
      versions.push(shown(mine))
      const version = mine.branchKeyVersion.toString()
      assert.equal(shown(await read.getBranchKeyVersion(id, version)), shown(mine))
    }
    assert.is(new Set(versions.map((version) => JSON.stringify(version))).size, 3)
  })

  test(`made by ${writer}, versioned by ${reader}, read by both`, async () => {
    const [ours, theirs] = [world.store(), world.peerStore()]
    const [write, other] = writer === 'client-node' ? [theirs, ours] : [ours, theirs]
    const { branchKeyIdentifier: id } = await write.createKey()
    const first = await write.getActiveBranchKey(id)
    await other.versionKey({ branchKeyIdentifier: id })
    await write.versionKey({ branchKeyIdentifier: id })
    assert.equal(shown(await ours.getActiveBranchKey(id)), shown(await theirs.getActiveBranchKey(id)))
    const version = first.branchKeyVersion.toString()
    assert.equal(
      shown(await ours.getBranchKeyVersion(id, version)),
      shown(await theirs.getBranchKeyVersion(id, version)),
    )
  })
}

test("records have the attributes, with the types, that client-node's have", async () => {
  const input = (branchKeyIdentifier: string) => ({ branchKeyIdentifier, encryptionContext: { tenant: 'acme' } })
  await world.store().createKey(input('shape-ours'))
  await world.peerStore().createKey(input('shape-peer'))
  const shapes = await Promise.all(
    ['shape-ours', 'shape-peer'].map(async (id) =>
      (await records(id)).map((item) =>
        Object.entries(item)
          .map(([name, value]) => {
            const [[kind, content]] = Object.entries(value) as [[string, unknown]]
            const fixed = ['hierarchy-version', 'kms-arn', 'aws-crypto-ec:tenant'].includes(name) ? content : ''
            const length = name === 'create-time' ? String(content).length : 0
            return `${name} ${kind} ${String(fixed)} ${length}`
          })
          .sort(),
      ),
    ),
  )
  assert.is(shapes[0]!.length, 3)
  assert.equal(shapes[0], shapes[1])
})

test('multi-Region keys: made in one Region, read in another', async () => {
  const east = world.store({ kmsConfiguration: { mrkIdentifier: world.multiRegionArn } })
  const { branchKeyIdentifier: id } = await east.createKey()
  const active = await east.getActiveBranchKey(id)
  for (const kmsConfiguration of ['discovery' as const, { region: 'us-east-1' }]) {
    const store = world.store({ kmsConfiguration })
    assert.equal(shown(await store.getActiveBranchKey(id)), shown(active))
    await rejects(store.createKey(), TypeError, /CreateKey is not supported with Discovery or MRDiscovery/)
    await rejects(
      store.versionKey({ branchKeyIdentifier: id }),
      TypeError,
      /VersionKey is not supported with Discovery or MRDiscovery/,
    )
  }
  const stranger = world.store()
  await rejects(stranger.getActiveBranchKey(id), 'ERR_KEY_SERVICE', /MUST be compatible with the configured KMS Key/)
  await rejects(stranger.versionKey({ branchKeyIdentifier: id }), 'ERR_KEY_SERVICE', /MUST be compatible/)
})

test('never overwrites: a second key of the same ID, and a version on top of an outdated one, fail and change nothing', async () => {
  const store = world.store()
  const input = { branchKeyIdentifier: 'twice', encryptionContext: { a: 'b' } }
  await store.createKey(input)
  const before = await records('twice')
  const { cause } = await rejects(store.createKey(input), 'ERR_KEY_SERVICE', /TransactionCanceledException/)
  const { CancellationReasons: reasons } = cause as { CancellationReasons?: { Code?: string }[] }
  assert.equal(reasons, [{ Code: 'None' }, { Code: 'ConditionalCheckFailed' }, { Code: 'None' }])
  assert.equal(await records('twice'), before)
  const outcomes = await Promise.allSettled(
    Array.from({ length: 4 }, () => store.versionKey({ branchKeyIdentifier: 'twice' })),
  )
  const made = outcomes.filter(({ status }) => status === 'fulfilled').length
  assert.ok(made >= 1)
  assert.is((await records('twice')).length, before.length + made)
  await store.getActiveBranchKey('twice')
  let outdated: Item | undefined
  world.dynamodb.tamper = (item) => {
    outdated ??= item
    return outdated
  }
  await store.versionKey({ branchKeyIdentifier: 'twice' })
  const newest = await records('twice')
  const late = store.versionKey({ branchKeyIdentifier: 'twice' })
  await rejects(late, 'ERR_KEY_SERVICE', /TransactionCanceledException/)
  assert.equal(await records('twice'), newest)
})

test('a key or version that is not there', async () => {
  const store = world.store()
  await rejects(store.getActiveBranchKey('nobody'), 'ERR_KEY_SERVICE', /branch-key-id=nobody .* was not found/)
  await rejects(store.getBranchKeyVersion('nobody', 'x'), 'ERR_KEY_SERVICE', /type=branch:version:x was not found/)
})

type Item = Record<string, Record<string, unknown>>
const OTHER_UUID = '0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0ff'

const DAMAGE: [what: string, change: (item: Item) => void, message: RegExp][] = [
  ['another ID', (item) => Object.assign(item['branch-key-id']!, { S: 'other' }), /Unexpected branch key id/],
  ['another type', (item) => Object.assign(item.type!, { S: 'beacon:ACTIVE' }), /Unexpected type/],
  ['no type', (item) => void delete item.type, /"type" is missing/],
  ['an empty type', (item) => Object.assign(item.type!, { S: '' }), /"type" is missing/],
  ['no creation time', (item) => void delete item['create-time'], /"create-time" is missing/],
  ['no KMS ARN', (item) => void delete item['kms-arn'], /"kms-arn" is missing/],
  ['another KMS ARN', (item) => Object.assign(item['kms-arn']!, { S: 'arn:aws:kms:x:1:key/1' }), /MUST be compatible/],
  ['no hierarchy version', (item) => void delete item['hierarchy-version'], /"hierarchy-version" is missing/],
  ['hierarchy version 2', (item) => Object.assign(item['hierarchy-version']!, { N: '2' }), /only hierarchy-version 1/],
  ['no ciphertext', (item) => void delete item.enc, /does not contain enc/],
  ['ciphertext as text', (item) => Object.assign(item, { enc: { S: 'x' } }), /does not contain enc/],
  ['an empty ciphertext', (item) => Object.assign(item.enc!, { B: '' }), /no ciphertext/],
  ['a ciphertext that KMS refuses', (item) => Object.assign(item.enc!, { B: 'AAAA' }), /KMS Decrypt .* failed/],
  ['another creation time', (item) => Object.assign(item['create-time']!, { S: 'now' }), /KMS Decrypt .* failed/],
  ['one pair more', (item) => Object.assign(item, { 'aws-crypto-ec:x': { S: 'y' } }), /KMS Decrypt .* failed/],
  ['an attribute of another kind', (item) => Object.assign(item, { x: { BOOL: true } }), /"x" .* no string or number/],
]
for (const [what, change, message] of DAMAGE) {
  test(`refuses a record with ${what}`, async () => {
    const store = world.store()
    const { branchKeyIdentifier: id } = await store.createKey()
    const version = (await store.getActiveBranchKey(id)).branchKeyVersion.toString()
    world.dynamodb.tamper = (item) => {
      change(item)
      return item
    }
    await rejects(store.getActiveBranchKey(id), 'ERR_KEY_SERVICE', message)
    await rejects(store.getBranchKeyVersion(id, version), 'ERR_KEY_SERVICE', message)
  })
}

test('refuses an active record that names no version, and a version record of another version', async () => {
  const store = world.store()
  const { branchKeyIdentifier: id } = await store.createKey()
  const version = (await store.getActiveBranchKey(id)).branchKeyVersion.toString()
  for (const S of ['', 'x', `branch:version:`, `branch:version:x`, version]) {
    world.dynamodb.tamper = (item) => Object.assign(item, { version: { S } })
    await rejects(store.getActiveBranchKey(id), 'ERR_KEY_SERVICE', /"version" is missing|Not a version record/)
  }
  world.dynamodb.tamper = (item) => Object.assign(item, { version: { S: `branch:version:${OTHER_UUID}` } })
  await rejects(store.getActiveBranchKey(id), 'ERR_KEY_SERVICE', /KMS Decrypt .* failed/)
  world.dynamodb.tamper = (item) => Object.assign(item, { version: { S: `beacon:version:${OTHER_UUID}` } })
  await rejects(store.getActiveBranchKey(id), 'ERR_KEY_SERVICE', /Not a version record/)
  world.dynamodb.tamper = (item) => Object.assign(item, { type: { S: `branch:version:${OTHER_UUID}` } })
  await rejects(store.getBranchKeyVersion(id, version), 'ERR_KEY_SERVICE', /Unexpected branch key version/)
  world.dynamodb.tamper = (item) => Object.assign(item, { version: { S: `branch:version:${version}` } })
  await rejects(store.getBranchKeyVersion(id, version), 'ERR_KEY_SERVICE', /"version" is not expected/)
})

test('another logical name opens nothing', async () => {
  const { branchKeyIdentifier: id } = await world.store().createKey()
  const other = world.store({ logicalKeyStoreName: 'other' })
  await rejects(other.getActiveBranchKey(id), 'ERR_KEY_SERVICE', /KMS Decrypt .* failed/)
})

const WRONG_ANSWERS: [what: string, answer: object][] = [
  ['another key', { KeyId: 'arn:aws:kms:us-east-1:111122223333:key/other' }],
  ['no key named', { KeyId: undefined }],
  ['31 bytes', { Plaintext: new Uint8Array(31) }],
  ['no bytes', { Plaintext: undefined }],
  ['a text', { Plaintext: 'x'.repeat(32) }],
]
for (const [what, answer] of WRONG_ANSWERS) {
  test(`refuses an answer of KMS with ${what}, and wipes it`, async () => {
    const { branchKeyIdentifier: id } = await world.store().createKey()
    const plaintext = new Uint8Array(32).fill(7)
    const full = { KeyId: world.keyArn, Plaintext: plaintext, ...answer }
    const kmsClient = { send: async () => full } as never
    const store = world.store({ keyManagement: { kmsClient } })
    await rejects(store.getActiveBranchKey(id), 'ERR_KEY_SERVICE', /another key|32 bytes/)
    if (full.Plaintext === plaintext) assert.ok(plaintext.every((byte) => byte === 0))
  })
}

test('clients that answer nothing', async () => {
  const { branchKeyIdentifier: id } = await world.store().createKey()
  const silent = { send: async () => undefined } as never
  const noKms = world.store({ keyManagement: { kmsClient: silent } })
  await rejects(noKms.getActiveBranchKey(id), 'ERR_KEY_SERVICE', /gave no answer/)
  const noTable = world.store({ storage: { ddbTableName: TABLE, ddbClient: silent } })
  await rejects(noTable.getActiveBranchKey(id), 'ERR_KEY_SERVICE', /gave no answer/)
})

test('refuses new keys that KMS did not make with the configured key, and writes none', async () => {
  const empty = { KeyId: world.keyArn, SourceKeyId: world.keyArn, CiphertextBlob: new Uint8Array(0) }
  for (const answer of [{ CiphertextBlob: new Uint8Array(9) }, { KeyId: world.keyArn }, empty]) {
    const store = world.store({ keyManagement: { kmsClient: { send: async () => answer } as never } })
    const input = { branchKeyIdentifier: 'never', encryptionContext: { a: 'b' } }
    await rejects(store.createKey(input), 'ERR_KEY_SERVICE', /another key|KMS made no branch key/)
    assert.equal(await records('never'), [])
  }
})

test('refuses new keys that KMS took from another key, or wrapped again with one, and writes none', async () => {
  for (const name of ['SourceKeyId', 'KeyId']) {
    const send = async (command: object, options: object) => {
      const answer = (await world.kmsClient.send(command as never, options as never)) as object
      const other = { [name]: 'arn:aws:kms:us-east-1:111122223333:key/other' }
      return command.constructor.name === 'ReEncryptCommand' ? { ...answer, ...other } : answer
    }
    const store = world.store({ keyManagement: { kmsClient: { send } as never } })
    const input = { branchKeyIdentifier: 'never', encryptionContext: { a: 'b' } }
    await rejects(store.createKey(input), 'ERR_KEY_SERVICE', /another key/)
    assert.equal(await records('never'), [])
  }
})

test('grant tokens go along with every request', async () => {
  const seen: unknown[] = []
  const kmsClient = {
    send: async (command: { input: { GrantTokens?: string[] } }, options: object) => {
      seen.push(command.input.GrantTokens)
      return await world.kmsClient.send(command as never, options as never)
    },
  } as never
  const store = world.store({ keyManagement: { kmsClient, grantTokens: ['token'] } })
  const { branchKeyIdentifier } = await store.createKey()
  await store.versionKey({ branchKeyIdentifier })
  await store.getActiveBranchKey(branchKeyIdentifier)
  assert.equal(
    seen,
    Array.from({ length: 7 }, () => ['token']),
  )
})

test('a storage of the caller: read from, checked like a table, and not written to unless it can', async () => {
  const id = (await world.store().createKey()).branchKeyIdentifier
  const { storage: table } = world.store()
  let change: Partial<EncryptedHierarchicalKey> = {}
  const storage: IBranchKeyStorage = {
    getEncryptedActiveBranchKey: async (key) => ({ ...(await table.getEncryptedActiveBranchKey(key)), ...change }),
    getEncryptedBranchKeyVersion: (key, version) => table.getEncryptedBranchKeyVersion(key, version),
    getKeyStorageInfo: () => ({ name: 'mine', logicalName: LOGICAL_NAME }),
  }
  const store = world.store({ storage })
  assert.equal(shown(await store.getActiveBranchKey(id)), shown(await world.store().getActiveBranchKey(id)))
  assert.is(store.getKeyStoreInfo().keystoreTableName, 'mine')
  await rejects(store.createKey(), TypeError, /needs a storage that can write/)
  const { encryptionContext } = await table.getEncryptedActiveBranchKey(id)
  change = { encryptionContext: { ...encryptionContext, tablename: 'other' } }
  await rejects(store.getActiveBranchKey(id), 'ERR_KEY_SERVICE', /Unexpected logical table name/)
  change = { encryptionContext: { ...encryptionContext, x: 5 as never } }
  await rejects(store.getActiveBranchKey(id), 'ERR_KEY_SERVICE', /"x" is not a string/)
  change = { encryptionContext: { ...encryptionContext, enc: 'x' } }
  await rejects(store.getActiveBranchKey(id), 'ERR_KEY_SERVICE', /"enc" is not expected/)
  change = { encryptionContext: undefined as never }
  await rejects(store.getActiveBranchKey(id), 'ERR_KEY_SERVICE', /no encryption context/)
})

test('tells about itself', () => {
  const store = world.store({ keyManagement: { kmsClient: world.kmsClient, grantTokens: ['t'] }, keyStoreId: 'mine' })
  assert.equal(store.getKeyStoreInfo(), {
    keystoreId: 'mine',
    keystoreTableName: TABLE,
    logicalKeyStoreName: LOGICAL_NAME,
    grantTokens: ['t'],
    kmsConfiguration: { identifier: world.keyArn },
  })
  assert.match(world.store().getKeyStoreInfo().keystoreId, UUID)
  assert.is(store.kmsClient, world.kmsClient)
  assert.ok(isIBranchKeyStoreNode(store))
  assert.not(isIBranchKeyStoreNode({ ...store }))
})

test('makes clients of its own for the Region of the key, when they are needed', async () => {
  const input = { logicalKeyStoreName: 'x', storage: { ddbTableName: 'x' } }
  const store = new BranchKeyStoreNode({ ...input, kmsConfiguration: { region: 'eu-central-1' } })
  assert.is(store.kmsClient, store.kmsClient)
  assert.is(await store.kmsClient.config.region(), 'eu-central-1')
  assert.match(inspect(store.kmsClient.config.customUserAgent), /aws-kms-hierarchy/)
  const { ddbClient } = store.storage as unknown as { ddbClient: typeof world.dynamodb.client }
  assert.is(await ddbClient.config.region(), 'eu-central-1')
  store.kmsClient.destroy()
  ddbClient.destroy()
})

test('credentials that a service calls expired are asked for once more, and no oftener', async () => {
  for (const faults of [1, 2]) {
    const asked: string[] = []
    const configOf = (name: string) => ({
      region: 'us-east-1',
      maxAttempts: 1,
      credentials: async () => {
        asked.push(name)
        return { accessKeyId: 'x', secretAccessKey: 'x' }
      },
    })
    const ddbClient = new DynamoDBClient({
      ...configOf('dynamodb'),
      endpoint: world.dynamodb.client.config.endpoint!,
    })
    const kmsClient = new KMSClient({ ...configOf('kms'), endpoint: world.kms.endpoint })
    // Every operation of each client is refused `faults` times.
    for (const { middlewareStack } of [ddbClient, kmsClient] as { middlewareStack: KMSClient['middlewareStack'] }[]) {
      const calls = new Map<string, number>()
      middlewareStack.add(
        (next, { commandName }) =>
          async (args) => {
            const call = (calls.get(commandName!) ?? 0) + 1
            calls.set(commandName!, call)
            if (call > faults) return await next(args)
            throw Object.assign(new Error('too old'), { name: 'ExpiredTokenException', $metadata: {} })
          },
        { step: 'deserialize' },
      )
    }
    const store = world.store({ storage: { ddbTableName: TABLE, ddbClient }, keyManagement: { kmsClient } })
    if (faults === 1) {
      const { branchKeyIdentifier } = await store.createKey()
      await store.getActiveBranchKey(branchKeyIdentifier)
      // Once at first, then for GenerateDataKeyWithoutPlaintext, ReEncrypt and Decrypt, TransactWriteItems and GetItem.
      assert.equal(asked.sort(), ['dynamodb', 'dynamodb', 'dynamodb', 'kms', 'kms', 'kms', 'kms'])
    } else {
      await rejects(store.getActiveBranchKey('x'), 'ERR_KEY_SERVICE', /GetItem .* failed: ExpiredTokenException: /)
      await rejects(store.createKey(), 'ERR_KEY_SERVICE', /GenerateDataKey.* failed: ExpiredTokenException: /)
      assert.equal(asked, ['dynamodb', 'dynamodb', 'kms', 'kms'])
    }
    kmsClient.destroy()
    ddbClient.destroy()
  }
})

test('wrong input is refused', async () => {
  const make = (change: object) => () => world.store(change as Partial<BranchKeyStoreNodeInput>)
  throws(make({ logicalKeyStoreName: 5 }), TypeError, /Logical keystore name must be a string/)
  throws(make({ logicalKeyStoreName: '' }), RangeError, /"logicalKeyStoreName"/)
  throws(make({ storage: undefined }), TypeError, /"storage"/)
  throws(make({ storage: { ddbTableName: '' } }), RangeError, /"ddbTableName"/)
  throws(make({ storage: { ddbTableName: 'x', ddbClient: {} } }), TypeError, /DDB client must be a DynamoDBClient/)
  throws(make({ storage: { ddbTableName: 'x', table: 'y' } }), TypeError, /unknown option "table"/)
  throws(make({ keyManagement: { kmsClient: {} } }), TypeError, /KMS client must be a KMSClient/)
  throws(make({ keyManagement: { grantTokens: [1] } }), TypeError, /"grantTokens"/)
  throws(make({ keyStoreId: 5 }), TypeError, /"keyStoreId"/)
  throws(make({ kmsConfiguration: undefined }), TypeError, /Config must be/)
  const getKeyStorageInfo = () => ({ name: 'x', logicalName: 'other' })
  const getters = { getEncryptedActiveBranchKey: fail, getEncryptedBranchKeyVersion: fail }
  throws(make({ storage: { ...getters, getKeyStorageInfo } }), RangeError, /does not match configured storage/)
  const store = world.store()
  await rejects(store.getActiveBranchKey(''), TypeError, /MUST supply a string branch key id/)
  await rejects(store.getBranchKeyVersion('x', ''), TypeError, /MUST supply a string branch key version/)
  await rejects(store.versionKey({ branchKeyIdentifier: '' }), TypeError, /MUST supply a branch-key-id/)
  await rejects(store.createKey({ branchKeyIdentifier: 'x' }), TypeError, /encryption context must also be provided/)
  await rejects(store.createKey({ encryptionContext: { a: 5 as never } }), TypeError, /"encryptionContext"/)
})

test('the beacon key beside a branch key is there, and is not taken for one', async () => {
  const { branchKeyIdentifier: id } = await world.store().createKey()
  const Key = { 'branch-key-id': { S: id }, type: { S: 'beacon:ACTIVE' } }
  const { Item } = await world.dynamodb.client.send(new GetItemCommand({ TableName: TABLE, Key }))
  assert.ok(Item)
  world.dynamodb.tamper = () => ({ ...Item, enc: { B: 'AAAA' } }) as never
  await rejects(world.store().getActiveBranchKey(id), 'ERR_KEY_SERVICE')
})

async function fail(): Promise<never> {
  throw new Error('not for this test')
}

test.run()
