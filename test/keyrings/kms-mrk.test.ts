import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EncryptedDataKey } from '../../src/encrypted-data-key'
import * as sealwax from '../../src/index'
import {
  AwsKmsMrkAwareSymmetricDiscoveryKeyring,
  type AwsKmsMrkAwareSymmetricDiscoveryKeyringNodeInput,
  AwsKmsMrkAwareSymmetricKeyring,
  type AwsKmsMrkAwareSymmetricKeyringNodeInput,
  buildAwsKmsMrkAwareDiscoveryMultiKeyring,
  buildAwsKmsMrkAwareStrictMultiKeyring,
  buildClient,
  type KeyringNode,
  MultiKeyringNode,
  NodeAlgorithmSuite,
  NodeDecryptionMaterial,
  type SealwaxError,
} from '../../src/index'
import { rejects, thrownBy, throws } from '../support/expect'
import { aesKeyring } from '../support/keys'
import { ACCOUNT, FakeKms, keyArn, OTHER_ACCOUNT } from '../support/kms'

const { encrypt, decrypt } = buildClient()
const MRK = 'mrk-1234abcd12ab34cd56ef1234567890ab'
const [US, EU, AP] = ['us-east-1', 'eu-west-1', 'ap-south-1'] as const
const FILTER = { accountIDs: [ACCOUNT], partition: 'aws' }

const at = (region: string, id = MRK, account = ACCOUNT) => keyArn(id, region, account)
const strict = (kms: FakeKms, keyId: string, region = keyId.split(':')[3] ?? '') =>
  new AwsKmsMrkAwareSymmetricKeyring({ client: kms.clientProvider(region), keyId })
const discovery = (kms: FakeKms, region: string, discoveryFilter?: typeof FILTER) =>
  new AwsKmsMrkAwareSymmetricDiscoveryKeyring({ client: kms.clientProvider(region), discoveryFilter })
const seal = async (keyring: KeyringNode) => (await encrypt(keyring, 'text', { suiteId: 0x0478 })).result
const open = async (keyring: KeyringNode, message: Uint8Array) => (await decrypt(keyring, message)).plaintext.toString()

const client = new FakeKms().clientProvider(US)
const clientProvider = () => client
const WRONG: [why: string, construct: (library: typeof peer) => unknown][] = [
  ['no key', (l) => new l.AwsKmsMrkAwareSymmetricKeyringNode({ client, keyId: '' } as never)],
  ['no client', (l) => new l.AwsKmsMrkAwareSymmetricKeyringNode({ keyId: at(US) } as never)],
  [
    'a client without a Region',
    (l) => new l.AwsKmsMrkAwareSymmetricDiscoveryKeyringNode({ client: { ...client, config: {} } } as never),
  ],
  [
    'a filter of no account',
    (l) =>
      new l.AwsKmsMrkAwareSymmetricDiscoveryKeyringNode({
        client,
        discoveryFilter: { accountIDs: [], partition: 'aws' },
      } as never),
  ],
  ['no keys', (l) => l.buildAwsKmsMrkAwareStrictMultiKeyringNode({ clientProvider } as never)],
  ['no input', (l) => l.buildAwsKmsMrkAwareStrictMultiKeyringNode(undefined as never)],
  ['an empty key', (l) => l.buildAwsKmsMrkAwareStrictMultiKeyringNode({ clientProvider, keyIds: [''] } as never)],
  [
    'related keys',
    (l) =>
      l.buildAwsKmsMrkAwareStrictMultiKeyringNode({
        clientProvider,
        generatorKeyId: at(US),
        keyIds: [at(US, 'x'), at(EU)],
      } as never),
  ],
  [
    'related keys, by ID',
    (l) =>
      l.buildAwsKmsMrkAwareStrictMultiKeyringNode({
        clientProvider,
        keyIds: [MRK, at(EU), at(AP, 'mrk-other')],
      } as never),
  ],
  [
    'a key twice',
    (l) => l.buildAwsKmsMrkAwareStrictMultiKeyringNode({ clientProvider, keyIds: [at(US), at(US)] } as never),
  ],
  [
    'a provider without the client',
    (l) => l.buildAwsKmsMrkAwareStrictMultiKeyringNode({ clientProvider: () => false, keyIds: [at(US)] } as never),
  ],
  ['no Regions', (l) => l.buildAwsKmsMrkAwareDiscoveryMultiKeyringNode({ clientProvider, regions: [] } as never)],
  [
    'an empty Region',
    (l) => l.buildAwsKmsMrkAwareDiscoveryMultiKeyringNode({ clientProvider, regions: [US, ''] } as never),
  ],
  [
    'a provider without the Region',
    (l) => l.buildAwsKmsMrkAwareDiscoveryMultiKeyringNode({ clientProvider: () => false, regions: [US] } as never),
  ],
]
for (const [why, construct] of WRONG) {
  test(`refuses ${why}, in the words of client-node`, () => {
    const words = (thrownBy(() => construct(peer)) as Error).message
    const error = thrownBy(() => construct(sealwax as unknown as typeof peer))
    assert.ok(words)
    assert.ok(error instanceof TypeError || error instanceof RangeError, String(error))
    assert.ok(error.message.startsWith(words), `${error.message} starts with ${words}`)
  })
}

test('refuses malformed keys, wrong options and ones it does not know', () => {
  const one = (input: object) => () =>
    new AwsKmsMrkAwareSymmetricKeyring({ client, keyId: at(US), ...input } as AwsKmsMrkAwareSymmetricKeyringNodeInput)
  throws(one({ keyId: 'key/1' }), RangeError, /^Malformed resource\. "keyId"/)
  throws(one({ keyId: 5 }), TypeError, /"keyId"/)
  throws(one({ client: { send() {} } }), TypeError, /methods generateDataKey, encrypt, decrypt/)
  throws(one({ timeout: 0 }), RangeError, /"timeout"/)
  throws(one({ discoveryFilter: FILTER }), TypeError, /unknown option "discoveryFilter"/)
  const any = (input: object) => () =>
    new AwsKmsMrkAwareSymmetricDiscoveryKeyring({
      client,
      ...input,
    } as AwsKmsMrkAwareSymmetricDiscoveryKeyringNodeInput)
  throws(any({ grantTokens: [5] }), TypeError, /"grantTokens"/)
  throws(any({ keyId: at(US) }), TypeError, /unknown option "keyId"/)
  throws(
    () => buildAwsKmsMrkAwareStrictMultiKeyring({ clientProvider, keyIds: [at(US), 'a:b'] }),
    RangeError,
    /^Malformed arn/,
  )
  throws(
    () => buildAwsKmsMrkAwareStrictMultiKeyring({ clientProvider, generatorKeyId: 'a:b' }),
    RangeError,
    /"generatorKeyId"/,
  )
  throws(
    () => buildAwsKmsMrkAwareStrictMultiKeyring({ clientProvider, keyIds: at(US) as never }),
    TypeError,
    /^Noop keyring is not allowed: .* "keyIds" must be an array of strings, got a string/,
  )
  throws(
    () => buildAwsKmsMrkAwareDiscoveryMultiKeyring({ clientProvider, regions: US as never }),
    TypeError,
    /^Configured regions must not .* "regions" must be an array of strings, got "us-east-1"$/,
  )
})

test('generates without a data key, wraps one that is there', async () => {
  const kms = new FakeKms()
  const keyring = buildAwsKmsMrkAwareStrictMultiKeyring({
    generatorKeyId: at(US),
    keyIds: [at(EU, 'single'), at(AP, 'mrk-other')],
    clientProvider: kms.clientProvider,
    grantTokens: ['grant'],
  })
  const { messageHeader } = await encrypt(keyring, 'text')
  assert.equal(
    messageHeader.encryptedDataKeys.map((edk) => edk.providerInfo),
    [at(US), at(EU, 'single'), at(AP, 'mrk-other')],
  )
  for (const { input } of kms.calls) assert.equal(input.GrantTokens, ['grant'])
  assert.equal(kms.taken(), [
    `generateDataKey us-east-1 ${at(US)}`,
    `encrypt eu-west-1 ${at(EU, 'single')}`,
    `encrypt ap-south-1 ${at(AP, 'mrk-other')}`,
  ])
})

test('opens what a related key wrapped, with the configured one', async () => {
  const kms = new FakeKms()
  const message = await seal(strict(kms, at(US)))
  kms.taken()
  assert.is(await open(strict(kms, at(EU)), message), 'text')
  assert.equal(kms.taken(), [`decrypt eu-west-1 ${at(EU)}`])
})

test('takes no other key for related', async () => {
  const kms = new FakeKms()
  const single = await seal(strict(kms, at(US, 'single')))
  const multi = await seal(strict(kms, at(US)))
  kms.taken()
  for (const [keyId, message] of [
    [at(EU, 'single'), single],
    [at(EU, 'mrk-other'), multi],
    [at(EU, MRK, OTHER_ACCOUNT), multi],
    [at(EU).replace('aws', 'aws-cn'), multi],
    [MRK, multi],
    ['alias/name', multi],
  ] as const) {
    await rejects(
      open(strict(kms, keyId), message),
      'ERR_NO_DATA_KEY',
      /^Unable to decrypt data key: No EDKs supplied\. The message's encrypted data keys are for aws-kms:arn:aws:kms:us-east-1:\S+$/,
    )
  }
  assert.equal(kms.taken(), [])
})

test('encrypts by alias and ID', async () => {
  const kms = new FakeKms()
  kms.aliases.set(`arn:aws:kms:${US}:${ACCOUNT}:alias/name`, at(US))
  for (const keyId of [MRK, 'alias/name']) {
    assert.is(await open(strict(kms, at(AP)), await seal(strict(kms, keyId, US))), 'text')
  }
})

test('discovery opens single-Region keys of its own Region only', async () => {
  const kms = new FakeKms()
  const message = await seal(strict(kms, at(US, 'single')))
  kms.taken()
  assert.is(await open(discovery(kms, US), message), 'text')
  assert.equal(kms.taken(), [`decrypt us-east-1 ${at(US, 'single')}`])
  await rejects(open(discovery(kms, EU), message), 'ERR_NO_DATA_KEY', /No EDKs supplied/)
  assert.equal(kms.taken(), [])
})

test('discovery opens multi-Region keys of every Region with the related key of its own', async () => {
  const kms = new FakeKms()
  const message = await seal(strict(kms, at(US)))
  kms.taken()
  assert.is(await open(discovery(kms, EU, FILTER), message), 'text')
  assert.equal(kms.taken(), [`decrypt eu-west-1 ${at(EU)}`])
})

test('discovery keeps to its filter', async () => {
  const kms = new FakeKms()
  const message = await seal(strict(kms, at(US)))
  kms.taken()
  for (const filter of [
    { accountIDs: [OTHER_ACCOUNT], partition: 'aws' },
    { accountIDs: [ACCOUNT], partition: 'aws-cn' },
  ]) {
    await rejects(open(discovery(kms, EU, filter), message), 'ERR_NO_DATA_KEY', /No EDKs supplied/)
  }
  assert.equal(kms.taken(), [])
})

test('discovery cannot encrypt', async () => {
  await rejects(seal(discovery(new FakeKms(), US)), 'ERR_WRAPPING_KEY', /cannot be used to encrypt/)
})

test('discovery asks the client for its Region when it needs it', async () => {
  const kms = new FakeKms()
  const message = await seal(strict(kms, at(US)))
  const client = (region: () => Promise<unknown>) =>
    new AwsKmsMrkAwareSymmetricDiscoveryKeyring({ client: { ...kms.clientProvider(EU), config: { region } } as never })
  assert.is(
    await open(
      client(async () => EU),
      message,
    ),
    'text',
  )
  await rejects(
    open(
      client(async () => undefined),
      message,
    ),
    'ERR_KEY_SERVICE',
    /^clientRegion MUST be a string/,
  )
})

test('discovery does not wait for a Region longer than its timeout', async () => {
  const client = { ...new FakeKms().clientProvider(EU), config: { region: () => new Promise(() => {}) } }
  const keyring = new AwsKmsMrkAwareSymmetricDiscoveryKeyring({ client: client as never, timeout: 5 })
  const message = await seal(strict(new FakeKms(), at(US)))
  await rejects(
    open(keyring, message),
    'ERR_KEY_SERVICE',
    /^Finding the KMS client's Region gave no answer within 5 ms/,
  )
})

test('clientRegion is the Region or a promise of it, as in client-node, and harms nobody where there is none', async () => {
  const of = (region: unknown) => ({ client: { ...client, config: { region } } }) as never
  for (const { AwsKmsMrkAwareSymmetricDiscoveryKeyringNode: Keyring } of [sealwax, peer]) {
    assert.is(new Keyring(of(EU)).clientRegion, EU)
    const keyring = new Keyring(of(async () => EU))
    assert.is(await keyring.clientRegion, EU)
    await new Promise(setImmediate)
    assert.is(keyring.clientRegion, EU)
    assert.ok(Object.keys(keyring).includes('clientRegion'))
    assert.is(Reflect.set(keyring, 'clientRegion', US), false)
  }
  // A rejection that nobody handles would end this process.
  const without = new AwsKmsMrkAwareSymmetricDiscoveryKeyring(of(async () => undefined))
  Object.freeze(new AwsKmsMrkAwareSymmetricDiscoveryKeyring(of(async () => EU)))
  await new Promise(setImmediate)
  await rejects(Promise.resolve(without.clientRegion), 'ERR_KEY_SERVICE', /^clientRegion MUST be a string/)
})

test('discovery in several Regions stops at the first that opens', async () => {
  const kms = new FakeKms()
  const message = await seal(strict(kms, at(US)))
  kms.taken()
  const keyring = buildAwsKmsMrkAwareDiscoveryMultiKeyring({
    regions: [AP, EU, US],
    clientProvider: kms.clientProvider,
    discoveryFilter: FILTER,
  })
  let down: string[] = [AP]
  kms.intercept = ({ region }, answer) => {
    if (down.includes(region)) throw new Error(`${region} is down`)
    return answer
  }
  assert.is(await open(keyring, message), 'text')
  assert.equal(kms.taken(), [`decrypt ap-south-1 ${at(AP)}`, `decrypt eu-west-1 ${at(EU)}`])
  down = [AP, EU, US]
  const error = await rejects(
    open(keyring, message),
    'ERR_NO_DATA_KEY',
    /^Unable to decrypt data key and one or more child keyrings had an error/,
  )
  assert.equal(
    (error as SealwaxError).errors!.map(
      ({ message }) => /^Unable to decrypt data key\. Error #1: .* (\S+) is down$/.exec(message)?.[1],
    ),
    [AP, EU, US],
  )
})

test('the next of many Regions is asked sooner where the time is short', () => {
  const { clientProvider } = new FakeKms()
  const regions = [US, EU, AP]
  for (const [timeout, hedgeDelay] of [
    [undefined, 500],
    [1501, 500],
    [1000, 334],
    [1, 1],
  ]) {
    assert.is(buildAwsKmsMrkAwareDiscoveryMultiKeyring({ regions, clientProvider, timeout }).hedgeDelay, hedgeDelay)
  }
})

test('goes on past encrypted data keys that are no key ARN, or do not open', async () => {
  const kms = new FakeKms()
  const suite = new NodeAlgorithmSuite(0x0478)
  const edk = (providerInfo: string, encryptedDataKey = '{}') =>
    new EncryptedDataKey({ providerId: 'aws-kms', providerInfo, encryptedDataKey: Buffer.from(encryptedDataKey) })
  const { encryptedDataKeys } = (await encrypt(strict(kms, at(US)), 'text', { suiteId: 0x0478 })).messageHeader
  for (const keyring of [strict(kms, at(EU)), discovery(kms, EU)]) {
    const material = new NodeDecryptionMaterial(suite, {})
    await keyring.onDecrypt(material, [edk('alias/name'), edk(`${at(US)}:x`), edk(at(EU)), ...encryptedDataKeys])
    assert.ok(material.hasValidKey())
    assert.is(material.failures.length, 3)
    const none = new NodeDecryptionMaterial(suite, {})
    await rejects(
      keyring.onDecrypt(none, [edk('alias/name'), edk(at(EU))]),
      'ERR_NO_DATA_KEY',
      /^Unable to decrypt data key\. Error #1: .*InvalidCiphertext/,
    )
  }
})

test('a multi-keyring tells each failure once', async () => {
  const kms = new FakeKms()
  const message = await seal(strict(kms, at(US)))
  kms.intercept = () => {
    throw new Error('down')
  }
  const keyring = new MultiKeyringNode({ children: [aesKeyring(), strict(kms, at(US))] })
  const error = await rejects(open(keyring, message), 'ERR_NO_DATA_KEY')
  assert.is((error as SealwaxError).errors?.length, 1)
  assert.is(error.message.split('Error: down').length, 2, error.message)
})

test.run()
