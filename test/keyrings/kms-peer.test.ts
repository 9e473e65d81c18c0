/** Every pair is one message over one KMS: written by one library, read by the other. */
import * as peer from '@aws-crypto/client-node'
import { CreateAliasCommand, CreateKeyCommand, KMSClient, ReplicateKeyCommand } from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as sealwax from '../../src/index'
import { type LocalKms, startLocalKms } from '../../src/local-kms'
import { rejectionOf } from '../support/expect'
import { ACCOUNT, FakeKms, keyArn } from '../support/kms'

type Library = typeof sealwax | typeof peer
type Supplier = sealwax.KmsNodeClientSupplier
/** Keys by what they are for; related multi-Region keys in both Regions. */
type Keys = Record<'us' | 'eu' | 'mrkUs' | 'mrkEu' | 'alias' | 'id', string>
type KeyringOf = (library: Library, supplier: Supplier, keys: Keys) => sealwax.KeyringNode

const [US, EU] = ['us-east-1', 'eu-west-1'] as const
const FILTER = { accountIDs: [ACCOUNT], partition: 'aws' }
const CREDENTIALS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'not a secret' }

const WRITERS: Record<string, KeyringOf> = {
  'a key': strict((keys) => ({ generatorKeyId: keys.us })),
  'a key of another Region': strict((keys) => ({ generatorKeyId: keys.eu })),
  'an alias ARN': strict((keys) => ({ generatorKeyId: keys.us.replace(/key\/.*/, keys.alias) })),
  'an alias': strict((keys) => ({ generatorKeyId: keys.alias })),
  'a key ID': strict((keys) => ({ generatorKeyId: keys.id })),
  'keys of two Regions': strict((keys) => ({ generatorKeyId: keys.us, keyIds: [keys.mrkUs, keys.eu] })),
  'a multi-Region key': mrk((keys) => keys.mrkUs, US),
  'a multi-Region aware key': mrk((keys) => keys.us, US),
  'a cached key': cached(strict((keys) => ({ generatorKeyId: keys.us, keyIds: [keys.eu] }))),
  'a multi-keyring': (library, clientProvider, keys) =>
    library.buildAwsKmsMrkAwareStrictMultiKeyringNode({
      generatorKeyId: keys.mrkUs,
      keyIds: [keys.us, keys.eu],
      clientProvider,
    } as never) as never,
}

const READERS: Record<string, KeyringOf> = {
  'every key': strict((keys) => ({ keyIds: [keys.us, keys.eu, keys.mrkUs] })),
  discovery: strict(() => ({ discovery: true })),
  'cached discovery': cached(strict(() => ({ discovery: true }))),
  'filtered discovery': strict(() => ({ discovery: true, discoveryFilter: FILTER })),
  'multi-Region aware discovery': (library, clientProvider) =>
    library.buildAwsKmsMrkAwareDiscoveryMultiKeyringNode({
      regions: [EU, US],
      discoveryFilter: FILTER,
      clientProvider,
    } as never) as never,
  'multi-Region aware keys': (library, clientProvider, keys) =>
    library.buildAwsKmsMrkAwareStrictMultiKeyringNode({
      keyIds: [keys.mrkEu, keys.us, keys.eu],
      clientProvider,
    } as never) as never,
}

const PAIRS = Object.keys(WRITERS).flatMap((writer) => Object.keys(READERS).map((reader) => ({ writer, reader })))
const DIRECTIONS = [
  { from: sealwax, to: peer, how: 'sealwax to client-node' },
  { from: peer, to: sealwax, how: 'client-node to sealwax' },
] as const

const fake = new FakeKms()
const fakeKeys = keysOf(keyArn('aaaa'), keyArn('bbbb', EU), keyArn('mrk-1234'))
fake.aliases.set(keyArn('').replace('key/', fakeKeys.alias), fakeKeys.us)

let local: LocalKms
let localKeys: Keys
const clients = new Map<string, sealwax.KmsClient & { destroy(): void }>()
const localSupplier: Supplier = (region) => {
  const at = region || US
  const config = { endpoint: local.endpoint, region: at, credentials: CREDENTIALS }
  if (!clients.has(at)) clients.set(at, new sealwax.KMS(config))
  return clients.get(at)!
}

test.before(async () => {
  local = await startLocalKms()
  const [us, eu] = [US, EU].map(
    (region) => new KMSClient({ endpoint: local.endpoint, region, credentials: CREDENTIALS }),
  )
  const create = async (client: KMSClient, MultiRegion: boolean) =>
    (await client.send(new CreateKeyCommand({ MultiRegion }))).KeyMetadata!
  const [first, second, multi] = [await create(us!, false), await create(eu!, false), await create(us!, true)]
  await us!.send(new ReplicateKeyCommand({ KeyId: multi.KeyId, ReplicaRegion: EU }))
  localKeys = keysOf(first.Arn!, second.Arn!, multi.Arn!)
  await us!.send(new CreateAliasCommand({ AliasName: localKeys.alias, TargetKeyId: first.KeyId }))
  for (const client of [us, eu]) client!.destroy()
})

test.after(async () => {
  for (const client of clients.values()) client.destroy()
  await local.close()
})

for (const { writer, reader } of PAIRS) {
  for (const { from, to, how } of DIRECTIONS) {
    test(`${how}, from ${writer} to ${reader}: in memory and over the AWS SDK`, async () => {
      await exchange(WRITERS[writer]!, READERS[reader]!, from, to, fake.clientProvider, fakeKeys)
      await exchange(WRITERS[writer]!, READERS[reader]!, from, to, localSupplier, localKeys)
    })
  }
}

test('both libraries ask KMS the same things in the same order', async () => {
  for (const [name, writer] of Object.entries(WRITERS)) {
    const wrote = await Promise.all(
      [sealwax, peer].map((library) => message(library, writer(library, fake.clientProvider, fakeKeys))),
    )
    for (const [readerName, reader] of Object.entries(READERS)) {
      const [ours, theirs] = [sealwax, peer].map((library) => async () => {
        fake.taken()
        await read(library, reader(library, fake.clientProvider, fakeKeys), wrote[0]!)
        return fake.taken()
      })
      assert.equal(await ours!(), await theirs!(), `${name}, ${readerName}`)
    }
  }
})

test('both refuse the same messages', async () => {
  const cases: [KeyringOf, KeyringOf][] = [
    [strict((keys) => ({ generatorKeyId: keys.us })), strict((keys) => ({ keyIds: [keys.eu] }))],
    [strict((keys) => ({ generatorKeyId: keys.alias })), strict((keys) => ({ generatorKeyId: keys.alias }))],
    [strict((keys) => ({ generatorKeyId: keys.id })), strict((keys) => ({ generatorKeyId: keys.id }))],
    [strict((keys) => ({ generatorKeyId: keys.mrkUs })), strict((keys) => ({ keyIds: [keys.mrkEu] }))],
    [
      strict((keys) => ({ generatorKeyId: keys.us })),
      strict(() => ({ discovery: true, discoveryFilter: { ...FILTER, partition: 'aws-cn' } })),
    ],
    [mrk((keys) => keys.us, US), mrk((keys) => keys.us.replace(US, EU), EU)],
  ]
  for (const [writer, reader] of cases) {
    for (const { from, to } of DIRECTIONS) {
      const sealed = await message(from, writer(from, localSupplier, localKeys))
      const error = await rejectionOf(read(to, reader(to, localSupplier, localKeys), sealed))
      assert.match((error as Error).message, /^unencryptedDataKey has not been set|^Unable to decrypt data key/)
    }
  }
})

async function exchange(
  writer: KeyringOf,
  reader: KeyringOf,
  from: Library,
  to: Library,
  supplier: Supplier,
  keys: Keys,
) {
  const sealed = await message(from, writer(from, supplier, keys))
  const { plaintext, context } = await read(to, reader(to, supplier, keys), sealed)
  assert.is(plaintext, 'text')
  for (const [key, value] of Object.entries(CONTEXT)) assert.is(context[key], value)
}

const CONTEXT = { a: '1', B: '2', '\u{1F600}': 'x', '\uFF5E': 'y' }

async function message(library: Library, keyring: sealwax.KeyringNode): Promise<Buffer> {
  const { result } = await library.buildClient().encrypt(keyring as never, 'text', { encryptionContext: CONTEXT })
  return result
}

async function read(library: Library, keyring: sealwax.KeyringNode, sealed: Buffer) {
  const { plaintext, messageHeader } = await library.buildClient().decrypt(keyring as never, sealed)
  return { plaintext: plaintext.toString(), context: messageHeader.encryptionContext }
}

function strict(input: (keys: Keys) => sealwax.KmsKeyringNodeInput): KeyringOf {
  return (library, clientProvider, keys) =>
    new library.KmsKeyringNode({ ...input(keys), clientProvider } as never) as never
}

/** A caching manager before the keyring, in whose place it can stand. */
function cached(keyringOf: KeyringOf): KeyringOf {
  return (library, supplier, keys) => {
    const cache = (library as typeof sealwax).getLocalCryptographicMaterialsCache(10)
    const input = { backingMaterials: keyringOf(library, supplier, keys), cache, maxAge: 60_000 }
    return new library.NodeCachingMaterialsManager(input as never) as never
  }
}

function mrk(key: (keys: Keys) => string, region: string): KeyringOf {
  return (library, supplier, keys) => {
    const input = { client: supplier(region), keyId: key(keys) }
    return new library.AwsKmsMrkAwareSymmetricKeyringNode(input as never) as never
  }
}

function keysOf(us: string, eu: string, mrkUs: string): Keys {
  return { us, eu, mrkUs, mrkEu: mrkUs.replace(US, EU), alias: 'alias/some/name', id: us.replace(/.*\//, '') }
}

test.run()
