import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EncryptedDataKey } from '../../src/encrypted-data-key'
import {
  buildClient,
  KeyringTraceFlag,
  KmsKeyring,
  KmsKeyringNode,
  type KmsKeyringNodeInput,
  NodeAlgorithmSuite,
  NodeDecryptionMaterial,
  NodeEncryptionMaterial,
  type SealwaxError,
} from '../../src/index'
import { rejects, thrownBy, throws } from '../support/expect'
import { aesKeyring } from '../support/keys'
import { ACCOUNT, FakeKms, keyArn, OTHER_ACCOUNT } from '../support/kms'

const { encrypt, decrypt } = buildClient()
const [A, B, C] = [keyArn('aaaa'), keyArn('bbbb', 'eu-west-1'), keyArn('cccc', 'ap-south-1')] as const
const SUITE = 0x0478
const FILTER = { accountIDs: [ACCOUNT], partition: 'aws' }

function world(): { kms: FakeKms; keyring: (input: KmsKeyringNodeInput) => KmsKeyringNode } {
  const kms = new FakeKms()
  return { kms, keyring: (input) => new KmsKeyringNode({ clientProvider: kms.clientProvider, ...input }) }
}

async function seal(keyring: KmsKeyringNode, encryptionContext = {}): Promise<Buffer> {
  return (await encrypt(keyring, 'text', { suiteId: SUITE, encryptionContext })).result
}

async function open(keyring: KmsKeyringNode, message: Uint8Array): Promise<string> {
  return (await decrypt(keyring, message)).plaintext.toString()
}

const WRONG: [why: string, input: unknown][] = [
  ['nothing', {}],
  ['no input', undefined],
  ['empty keyIds', { keyIds: [] }],
  ['keys and discovery', { discovery: true, keyIds: [A] }],
  ['a generator and discovery', { discovery: true, generatorKeyId: A }],
  ['a filter without discovery', { generatorKeyId: A, discoveryFilter: FILTER }],
  ['a filter of no account', { discovery: true, discoveryFilter: { accountIDs: [], partition: 'aws' } }],
  ['a filter of an empty account', { discovery: true, discoveryFilter: { accountIDs: [''], partition: 'aws' } }],
  ['a filter of no partition', { discovery: true, discoveryFilter: { accountIDs: [ACCOUNT], partition: '' } }],
  ['a malformed generator', { generatorKeyId: 'arn:aws:kms:us-east-1:1:thing/1' }],
  ['a malformed key', { keyIds: [A, 'arn:aws:dynamodb:us-east-1:1:key/1'] }],
  ['a key with its type', { keyIds: ['key/1234'] }],
  ['a client provider that is none', { generatorKeyId: A, clientProvider: {} }],
]
for (const [why, input] of WRONG) {
  test(`refuses ${why}, in the words of client-node`, () => {
    const words = (thrownBy(() => new peer.KmsKeyringNode(input as peer.KmsKeyringNodeInput)) as Error).message
    const error = thrownBy(() => new KmsKeyringNode(input as KmsKeyringNodeInput))
    assert.ok(words)
    assert.ok(error instanceof TypeError || error instanceof RangeError, String(error))
    assert.ok(error.message.startsWith(words), `${error.message} starts with ${words}`)
  })
}

test('refuses options of the wrong kind, and ones it does not know', () => {
  const wrong = (input: object, error: typeof TypeError | typeof RangeError, message: RegExp) =>
    throws(() => new KmsKeyringNode({ generatorKeyId: A, ...input } as KmsKeyringNodeInput), error, message)
  wrong({ keyIds: A }, TypeError, /"keyIds" must be an array/)
  wrong({ keyIds: [5] }, TypeError, /"keyIds"/)
  wrong({ generatorKeyId: 5 }, TypeError, /"generatorKeyId"/)
  wrong({ grantTokens: 'token' }, TypeError, /"grantTokens"/)
  wrong({ grantTokens: [''] }, TypeError, /"grantTokens"/)
  wrong({ discovery: 'yes' }, TypeError, /"discovery" must be true or false/)
  wrong({ generatorKeyID: A }, TypeError, /unknown option "generatorKeyID"/)
  for (const timeout of [0, -1, 1.5, Number.NaN, 2 ** 31])
    wrong({ timeout }, RangeError, /"timeout" must be an integer/)
  wrong({ timeout: '30s' }, TypeError, /"timeout"/)
  const discover = (discoveryFilter: object) => () =>
    new KmsKeyringNode({ discovery: true, discoveryFilter } as KmsKeyringNodeInput)
  throws(discover({ accountIds: [ACCOUNT], partition: 'aws' }), TypeError, /unknown option "accountIds"/)
  throws(discover({ accountIDs: ACCOUNT, partition: 'aws' }), TypeError, /"accountIDs" must be an array of strings/)
  for (const accountIDs of [undefined, []]) throws(discover({ accountIDs, partition: 'aws' }), RangeError, /is empty/)
})

test('shows its configuration, which later changes to the input do not touch', () => {
  const input = { generatorKeyId: A, keyIds: [B], grantTokens: ['token'], timeout: 5000 }
  const keyring = new KmsKeyring(input)
  input.keyIds.push(C)
  input.grantTokens.push('other')
  assert.is(keyring.generatorKeyId, A)
  assert.equal(keyring.keyIds, [B])
  assert.equal(keyring.grantTokens, ['token'])
  assert.is(keyring.isDiscovery, false)
  assert.is(keyring.timeout, 5000)
  assert.is(new KmsKeyring({ discovery: true }).timeout, 30_000)
  assert.ok(Object.isFrozen(keyring.keyIds))
  for (const field of ['generatorKeyId', 'keyIds', 'timeout'])
    throws(() => Object.assign(keyring, { [field]: 'other' }), TypeError, /read only/)
})

test('generates with the generator and wraps with each key, in the Region of each and the order given', async () => {
  const { kms, keyring } = world()
  const ring = keyring({ generatorKeyId: A, keyIds: [C, B], grantTokens: ['grant'] })
  const { messageHeader } = await encrypt(ring, 'text', { suiteId: SUITE, encryptionContext: { purpose: 'test' } })
  assert.equal(
    messageHeader.encryptedDataKeys.map((edk) => [edk.providerId, edk.providerInfo]),
    [
      ['aws-kms', A],
      ['aws-kms', C],
      ['aws-kms', B],
    ],
  )
  for (const { input } of kms.calls) {
    assert.equal(input.GrantTokens, ['grant'])
    assert.equal(input.EncryptionContext, { purpose: 'test' })
  }
  assert.is(kms.calls[0]!.input.NumberOfBytes, 32)
  assert.equal(kms.taken(), [`generateDataKey us-east-1 ${A}`, `encrypt ap-south-1 ${C}`, `encrypt eu-west-1 ${B}`])
})

test('wraps with all keys at once, and keeps their order whichever answers first', async () => {
  const { kms, keyring } = world()
  const waiting: (() => void)[] = []
  kms.intercept = (call, answer) => {
    if (call.operation !== 'encrypt') return answer
    return new Promise((resolve) => {
      waiting.unshift(() => resolve(answer))
      if (waiting.length === 2) for (const release of waiting) release()
    })
  }
  const { messageHeader } = await encrypt(keyring({ generatorKeyId: A, keyIds: [B, C] }), 'text')
  assert.equal(
    messageHeader.encryptedDataKeys.map((edk) => edk.providerInfo),
    [A, B, C],
  )
})

test('wraps a data key that another keyring made, with the generator too', async () => {
  const { kms, keyring } = world()
  const material = new NodeEncryptionMaterial(new NodeAlgorithmSuite(SUITE), {})
  await aesKeyring().onEncrypt(material)
  await keyring({ generatorKeyId: A, keyIds: [B] }).onEncrypt(material)
  assert.equal(kms.taken(), [`encrypt us-east-1 ${A}`, `encrypt eu-west-1 ${B}`])
  assert.equal(
    material.encryptedDataKeys.map((edk) => edk.providerInfo),
    ['aes', A, B],
  )
})

test('does not generate without a generator', async () => {
  const { kms, keyring } = world()
  await rejects(
    encrypt(keyring({ keyIds: [A] }), 'text'),
    'ERR_INVALID_MATERIALS',
    /unencryptedDataKey has not been set/,
  )
  assert.equal(kms.taken(), [])
})

test('fails to encrypt where a configured key gives no wrapped key, and adds none', async () => {
  const { kms, keyring } = world()
  const material = new NodeEncryptionMaterial(new NodeAlgorithmSuite(SUITE), {})
  await aesKeyring().onEncrypt(material)
  kms.intercept = ({ region }, answer) => {
    if (region === 'eu-west-1') throw new Error('down')
    return answer
  }
  await rejects(
    keyring({ keyIds: [A, B, C] }).onEncrypt(material),
    'ERR_KEY_SERVICE',
    /KMS encrypt with .*bbbb failed: Error: down/,
  )
  assert.is(material.encryptedDataKeys.length, 1)
  const notIn = (excluded: string): KmsKeyringNodeInput => ({
    clientProvider: (region) => region !== excluded && kms.clientProvider(region),
    generatorKeyId: A,
    keyIds: [C],
  })
  await rejects(encrypt(keyring(notIn('ap-south-1')), 'x'), 'ERR_WRAPPING_KEY', /no client for KMS key .*cccc/)
  await rejects(
    encrypt(keyring(notIn('us-east-1')), 'x'),
    'ERR_WRAPPING_KEY',
    /^Generator KMS key did not generate a data key/,
  )
})

test('records what the keys did', async () => {
  const { keyring } = world()
  const suite = new NodeAlgorithmSuite(SUITE)
  const ring = keyring({ generatorKeyId: A })
  const sealed = await ring.onEncrypt(new NodeEncryptionMaterial(suite, {}))
  const wrapped = KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY | KeyringTraceFlag.WRAPPING_KEY_SIGNED_ENC_CTX
  assert.equal(sealed.keyringTrace, [
    { keyNamespace: 'aws-kms', keyName: A, flags: KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY | wrapped },
    { keyNamespace: 'aws-kms', keyName: A, flags: wrapped },
  ])
  const opened = await ring.onDecrypt(new NodeDecryptionMaterial(suite, {}), sealed.encryptedDataKeys)
  assert.equal(opened.keyringTrace, [{ keyNamespace: 'aws-kms', keyName: A, flags: KeyringTraceFlag.DECRYPT_FLAGS }])
})

test('encrypts by alias and key ID, and decrypts by key ARN only', async () => {
  const { kms, keyring } = world()
  const alias = `arn:aws:kms:us-east-1:${ACCOUNT}:alias/some/name`
  kms.aliases.set(alias, A)
  for (const generatorKeyId of [alias, 'alias/some/name', 'aaaa']) {
    const message = await seal(keyring({ generatorKeyId }))
    kms.taken()
    await rejects(
      open(keyring({ generatorKeyId, keyIds: ['alias/other'] }), message),
      'ERR_NO_DATA_KEY',
      /none of them belongs/,
    )
    assert.equal(kms.taken(), [])
    assert.is(await open(keyring({ keyIds: [A] }), message), 'text')
    assert.equal(kms.taken(), [`decrypt us-east-1 ${A}`])
  }
})

test('decrypts with configured keys only, in message order', async () => {
  const { kms, keyring } = world()
  const message = await seal(keyring({ generatorKeyId: A, keyIds: [B, C] }))
  kms.taken()
  assert.is(await open(keyring({ generatorKeyId: C, keyIds: [B] }), message), 'text')
  assert.equal(kms.taken(), [`decrypt eu-west-1 ${B}`])
  await rejects(open(keyring({ keyIds: [keyArn('dddd')] }), message), 'ERR_NO_DATA_KEY')
  assert.equal(kms.taken(), [])
})

test('goes on with the next key after any failure, and tells all failures when none opens', async () => {
  const { kms, keyring } = world()
  const ring = keyring({ generatorKeyId: A, keyIds: [B, C] })
  const message = await seal(ring)
  kms.taken()
  let down = ['us-east-1', 'eu-west-1']
  kms.intercept = ({ region }, answer) => {
    if (down.includes(region)) throw new Error(`${region} is down`)
    return answer
  }
  assert.is(await open(ring, message), 'text')
  assert.equal(kms.taken(), [`decrypt us-east-1 ${A}`, `decrypt eu-west-1 ${B}`, `decrypt ap-south-1 ${C}`])
  down = [...down, 'ap-south-1']
  const error = await rejects(
    open(ring, message),
    'ERR_NO_DATA_KEY',
    /^Unable to decrypt data key and one or more KMS CMKs had an error\. Error #1: .*us-east-1 is down; Error #2: .*eu-west-1 is down; Error #3: /,
  )
  assert.is((error as SealwaxError).errors?.length, 3)
  for (const each of (error as SealwaxError).errors!) assert.is((each as SealwaxError).code, 'ERR_KEY_SERVICE')
})

test('passes over Regions without a client', async () => {
  const { kms, keyring } = world()
  const message = await seal(keyring({ generatorKeyId: A, keyIds: [B] }))
  kms.taken()
  const elsewhere = (region: string) => region === 'eu-west-1' && kms.clientProvider(region)
  assert.is(await open(keyring({ discovery: true, clientProvider: elsewhere }), message), 'text')
  assert.equal(kms.taken(), [`decrypt eu-west-1 ${B}`])
  const nowhere = keyring({ keyIds: [A, B], clientProvider: () => false })
  await rejects(
    open(nowhere, message),
    'ERR_NO_DATA_KEY',
    /^unencryptedDataKey has not been set.*no client for KMS key/,
  )
})

test('in discovery, decrypts with any key and cannot encrypt', async () => {
  const { kms, keyring } = world()
  const message = await seal(keyring({ generatorKeyId: A, keyIds: [B] }))
  kms.taken()
  assert.is(await open(keyring({ discovery: true }), message), 'text')
  assert.equal(kms.taken(), [`decrypt us-east-1 ${A}`])
  await rejects(
    seal(keyring({ discovery: true })),
    'ERR_INVALID_MATERIALS',
    /unencryptedDataKey has not been set: the keyring made no data key/,
  )
  const material = new NodeEncryptionMaterial(new NodeAlgorithmSuite(SUITE), {})
  assert.is(await keyring({ discovery: true }).onEncrypt(material), material)
  assert.equal(kms.taken(), [])
})

test('in discovery, asks only keys of the accounts and the partition of the filter', async () => {
  const { kms, keyring } = world()
  const other = keyArn('bbbb', 'us-east-1', OTHER_ACCOUNT)
  const message = await seal(keyring({ generatorKeyId: other, keyIds: [A] }))
  kms.taken()
  const filtered = (accountIDs: string[], partition: string) =>
    keyring({ discovery: true, discoveryFilter: { accountIDs, partition } })
  assert.is(await open(filtered([ACCOUNT], 'aws'), message), 'text')
  assert.equal(kms.taken(), [`decrypt us-east-1 ${A}`])
  assert.is(await open(filtered([OTHER_ACCOUNT, ACCOUNT], 'aws'), message), 'text')
  assert.equal(kms.taken(), [`decrypt us-east-1 ${other}`])
  for (const [account, partition] of [
    [ACCOUNT, 'aws-cn'],
    ['1111', 'aws'],
    [`${ACCOUNT}4`, 'aws'],
  ] as const) {
    await rejects(open(filtered([account], partition), message), 'ERR_NO_DATA_KEY')
  }
  const accounts = ['1111']
  const kept = filtered(accounts, 'aws')
  accounts.push(ACCOUNT)
  await rejects(open(kept, message), 'ERR_NO_DATA_KEY')
  assert.equal(kms.taken(), [])
})

test('passes over encrypted data keys without a key ARN, and says so', async () => {
  const { kms, keyring } = world()
  const suite = new NodeAlgorithmSuite(SUITE)
  const { encryptedDataKeys } = await keyring({ generatorKeyId: A }).onEncrypt(new NodeEncryptionMaterial(suite, {}))
  kms.taken()
  const bad = [
    'alias/name',
    'aaaa',
    'arn:aws:kms:us-east-1:1:alias/x',
    'arn:aws:kms:evil.example:1:key/x',
    'arn:aws:s3:::key/x',
  ]
  const malformed = bad.map(
    (providerInfo) => new EncryptedDataKey({ providerId: 'aws-kms', providerInfo, encryptedDataKey: Buffer.from('x') }),
  )
  const foreign = new EncryptedDataKey({ providerId: 'other', providerInfo: A, encryptedDataKey: Buffer.from('x') })
  for (const input of [
    { discovery: true },
    { discovery: true, discoveryFilter: FILTER },
    { keyIds: [A, 'alias/name', 'aaaa'] },
  ]) {
    const ring = keyring(input)
    const material = new NodeDecryptionMaterial(suite, {})
    await ring.onDecrypt(material, [foreign, ...malformed])
    assert.is(material.hasValidKey(), false)
    assert.equal(
      material.failures.map((error) => error.message),
      bad.map(() => 'Malformed arn in provider info.'),
    )
    assert.equal(kms.taken(), [])
    await ring.onDecrypt(material, [...malformed, ...encryptedDataKeys])
    assert.ok(material.hasValidKey())
    assert.equal(kms.taken(), [`decrypt us-east-1 ${A}`])
  }
})

test('passes the whole encryption context to KMS, the key of a signed message too', async () => {
  const { kms, keyring } = world()
  const ring = keyring({ generatorKeyId: A })
  const { result } = await encrypt(ring, 'text', {
    suiteId: 0x0578,
    encryptionContext: { a: '1', B: '2', ['__proto__']: 'x' },
  })
  assert.is(await open(ring, result), 'text')
  for (const { input } of kms.calls) {
    assert.equal(Object.keys(input.EncryptionContext).sort(), ['B', '__proto__', 'a', 'aws-crypto-public-key'])
  }
})

test('clients may keep and change what they are given', async () => {
  const { kms, keyring } = world()
  const tokens = ['token']
  const ring = keyring({ generatorKeyId: A, keyIds: [B], grantTokens: tokens })
  kms.intercept = ({ input }, answer) => {
    input.EncryptionContext.changed = 'yes'
    assert.is(input.EncryptionContext.changed, 'yes')
    input.GrantTokens!.push('more')
    input.Plaintext?.fill(9)
    input.CiphertextBlob?.fill(9)
    return answer
  }
  const message = await seal(ring, { a: 'b' })
  assert.is(await open(ring, message), 'text')
  assert.equal(ring.grantTokens, ['token'])
})

test('takes clients of version 2 of the SDK, and hands them one argument', async () => {
  const { kms, keyring } = world()
  const version2 = (region: string) => {
    const client = kms.clientProvider(region)
    const request = (method: 'generateDataKey' | 'encrypt' | 'decrypt') =>
      function (this: object, ...args: unknown[]) {
        assert.is(args.length, 1)
        assert.is(this, self)
        return { promise: () => client[method](args[0] as never) as Promise<object> }
      }
    const self = {
      makeRequest() {},
      generateDataKey: request('generateDataKey'),
      encrypt: request('encrypt'),
      decrypt: request('decrypt'),
    }
    return self
  }
  const ring = keyring({ generatorKeyId: A, keyIds: [B], clientProvider: version2 })
  assert.is(await open(ring, await seal(ring)), 'text')
  assert.is(kms.calls.length, 3)
})

test('says what a client must have', async () => {
  const { keyring } = world()
  const sendOnly = () => ({ send() {} }) as never
  await rejects(
    seal(keyring({ generatorKeyId: A, clientProvider: sendOnly })),
    TypeError,
    /methods generateDataKey, encrypt, decrypt/,
  )
})

test.run()
