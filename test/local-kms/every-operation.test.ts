/** Every operation through the AWS SDK: a good request, and one for each way in which it can be bad. */
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import * as sdk from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type LocalKms, startLocalKms } from '../../src/local-kms'
import { OPERATIONS } from '../../src/local-kms/operations'
import { ACCOUNT, clientOf, post, refuses } from './support'

type Input = Record<string, unknown>

interface Row {
  /** A request that works, with a key of its own. */
  readonly good: () => Promise<Input> | Input
  /** Fields that cannot be left out. */
  readonly required?: readonly string[]
  /** The field that names the key. */
  readonly key?: string
  /** What comes of it when the key is disabled, or waits for its deletion. Default: it works. */
  readonly disabled?: string
  readonly pending?: string
  /** Further requests that are bad. */
  readonly bad?: readonly [change: Input, error: string][]
}

let kms: LocalKms
let client: sdk.KMSClient

test.before(async () => {
  kms = await startLocalKms()
  client = clientOf(kms)
})

test.after(async () => {
  client.destroy()
  await kms.close()
})

const send = (operation: string, input: Input): Promise<Input> => {
  const Command = (sdk as unknown as Record<string, new (input: Input) => never>)[`${operation}Command`]!
  return client.send(new Command(input)) as Promise<unknown> as Promise<Input>
}
const newKey = async (input: Input = {}): Promise<string> => {
  const { KeyMetadata } = (await send('CreateKey', input)) as unknown as { KeyMetadata: { KeyId: string } }
  return KeyMetadata.KeyId
}
const withKey = (input: Input = {}, key: Input = {}) => ({
  good: async () => ({ KeyId: await newKey(key), ...input }),
  key: 'KeyId',
  required: ['KeyId', ...Object.keys(input).filter((field) => !OPTIONAL.includes(field))],
})
const sealed = async () => {
  const KeyId = await newKey()
  return { KeyId, CiphertextBlob: (await send('Encrypt', { KeyId, Plaintext: BYTES })).CiphertextBlob }
}
const multiRegion = async () => {
  const KeyId = await newKey({ MultiRegion: true })
  await send('ReplicateKey', { KeyId, ReplicaRegion: 'eu-west-1' })
  return KeyId
}
let names = 0
const newAlias = async () => {
  const input = { AliasName: `alias/name-${names++}`, TargetKeyId: await newKey() }
  await send('CreateAlias', input)
  return input
}
const grant = async () => {
  const KeyId = await newKey()
  const { GrantId } = await send('CreateGrant', { KeyId, ...GRANT })
  return { KeyId, GrantId }
}

const BYTES = Buffer.from('bytes')
const OPTIONAL = ['NumberOfBytes', 'KeySpec', 'EncryptionContext']
const GRANT = { GranteePrincipal: `arn:aws:iam::${ACCOUNT}:user/a`, Operations: ['Decrypt'] }
const SIGNER = { KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' }
const MACS = { KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' }
const AGREEMENT = { KeySpec: 'ECC_NIST_P256', KeyUsage: 'KEY_AGREEMENT' }
const PEER = createPublicKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey).export({
  format: 'der',
  type: 'spki',
})
const LONG = 'x'.repeat(3000)
const CRYPTO = { disabled: 'DisabledException', pending: 'KMSInvalidStateException' }
const CHANGES = { pending: 'KMSInvalidStateException' }
const ENCRYPTION: Row['bad'] = [
  [{ EncryptionContext: { a: 'x'.repeat(9000) } }, 'ValidationException'],
  [{ DryRun: true }, 'DryRunOperationException'],
]
const SIGNING: Row['bad'] = [
  [{ Message: Buffer.alloc(4097) }, 'ValidationException'],
  [{ MessageType: 'DIGEST' }, 'ValidationException'],
  [{ SigningAlgorithm: 'ECDSA_SHA_384' }, 'InvalidKeyUsageException'],
  [{ SigningAlgorithm: 'NONE' }, 'ValidationException'],
]

const ROWS: Readonly<Record<string, Row>> = {
  Encrypt: {
    ...withKey({ Plaintext: BYTES }),
    ...CRYPTO,
    bad: [
      ...ENCRYPTION,
      [{ Plaintext: Buffer.alloc(4097) }, 'ValidationException'],
      [{ Plaintext: Buffer.alloc(0) }, 'ValidationException'],
      [{ Plaintext: Buffer.alloc(50_000) }, 'RequestEntityTooLargeException'],
      [{ Plaintext: Buffer.alloc(10 << 20) }, 'RequestEntityTooLargeException'],
      [{ EncryptionAlgorithm: 'RSAES_OAEP_SHA_256' }, 'InvalidKeyUsageException'],
      [{ EncryptionAlgorithm: 'ROT13' }, 'ValidationException'],
    ],
  },
  Decrypt: {
    good: sealed,
    key: 'KeyId',
    required: ['CiphertextBlob'],
    ...CRYPTO,
    bad: [
      ...ENCRYPTION,
      [{ CiphertextBlob: BYTES }, 'InvalidCiphertextException'],
      [{ CiphertextBlob: Buffer.alloc(6145) }, 'ValidationException'],
      [{ EncryptionContext: { another: 'context' } }, 'InvalidCiphertextException'],
      [{ EncryptionAlgorithm: 'RSAES_OAEP_SHA_1' }, 'InvalidKeyUsageException'],
      [{ Recipient: { KeyEncryptionAlgorithm: 'RSAES_OAEP_SHA_256' } }, 'UnsupportedOperationException'],
    ],
  },
  ReEncrypt: {
    good: async () => {
      const { KeyId, CiphertextBlob } = await sealed()
      return { SourceKeyId: KeyId, CiphertextBlob, DestinationKeyId: await newKey() }
    },
    key: 'DestinationKeyId',
    required: ['CiphertextBlob', 'DestinationKeyId'],
    ...CRYPTO,
    bad: [
      [{ CiphertextBlob: BYTES }, 'InvalidCiphertextException'],
      [{ SourceEncryptionContext: { another: 'context' } }, 'InvalidCiphertextException'],
      [{ DryRun: true }, 'DryRunOperationException'],
    ],
  },
  GenerateDataKey: {
    ...withKey({ KeySpec: 'AES_256' }),
    ...CRYPTO,
    bad: [
      ...ENCRYPTION,
      [{ KeySpec: undefined }, 'ValidationException'],
      [{ NumberOfBytes: 32 }, 'ValidationException'],
      [{ KeySpec: undefined, NumberOfBytes: 1025 }, 'ValidationException'],
      [{ KeySpec: 'AES_512' }, 'ValidationException'],
    ],
  },
  GenerateDataKeyWithoutPlaintext: { ...withKey({ NumberOfBytes: 64 }), ...CRYPTO, bad: ENCRYPTION },
  GenerateDataKeyPair: {
    ...withKey({ KeyPairSpec: 'ECC_NIST_P256' }),
    ...CRYPTO,
    bad: [[{ KeyPairSpec: 'SM2' }, 'ValidationException'], ...ENCRYPTION],
  },
  GenerateDataKeyPairWithoutPlaintext: { ...withKey({ KeyPairSpec: 'ECC_NIST_P384' }), ...CRYPTO, bad: ENCRYPTION },
  GenerateRandom: {
    good: () => ({ NumberOfBytes: 1024 }),
    required: ['NumberOfBytes'],
    bad: [
      [{ NumberOfBytes: 0 }, 'ValidationException'],
      [{ NumberOfBytes: 1025 }, 'ValidationException'],
      [{ CustomKeyStoreId: 'cks-1' }, 'UnsupportedOperationException'],
    ],
  },
  GetPublicKey: { ...withKey({}, SIGNER), ...CRYPTO },
  Sign: { ...withKey({ Message: BYTES, SigningAlgorithm: 'ECDSA_SHA_256' }, SIGNER), ...CRYPTO, bad: SIGNING },
  Verify: {
    good: async () => {
      const input = { KeyId: await newKey(SIGNER), Message: BYTES, SigningAlgorithm: 'ECDSA_SHA_256' }
      return { ...input, Signature: (await send('Sign', input)).Signature }
    },
    key: 'KeyId',
    required: ['KeyId', 'Message', 'SigningAlgorithm', 'Signature'],
    ...CRYPTO,
    bad: [
      ...SIGNING,
      [{ Message: Buffer.from('other') }, 'KMSInvalidSignatureException'],
      [{ Signature: BYTES }, 'KMSInvalidSignatureException'],
    ],
  },
  GenerateMac: {
    ...withKey({ Message: BYTES, MacAlgorithm: 'HMAC_SHA_256' }, MACS),
    ...CRYPTO,
    bad: [[{ MacAlgorithm: 'HMAC_SHA_512' }, 'InvalidKeyUsageException']],
  },
  VerifyMac: {
    good: async () => {
      const input = { KeyId: await newKey(MACS), Message: BYTES, MacAlgorithm: 'HMAC_SHA_256' }
      return { ...input, Mac: (await send('GenerateMac', input)).Mac }
    },
    key: 'KeyId',
    required: ['KeyId', 'Message', 'MacAlgorithm', 'Mac'],
    ...CRYPTO,
    bad: [
      [{ Mac: Buffer.alloc(32) }, 'KMSInvalidMacException'],
      [{ Mac: BYTES }, 'KMSInvalidMacException'],
    ],
  },
  DeriveSharedSecret: {
    ...withKey({ PublicKey: PEER, KeyAgreementAlgorithm: 'ECDH' }, AGREEMENT),
    ...CRYPTO,
    bad: [
      [{ PublicKey: BYTES }, 'ValidationException'],
      [{ KeyAgreementAlgorithm: 'X25519' }, 'ValidationException'],
    ],
  },
  CreateKey: {
    good: () => ({ Description: 'a key', Tags: [{ TagKey: 'a', TagValue: 'b' }], Policy: '{}' }),
    bad: [
      [{ KeySpec: 'AES_1' }, 'ValidationException'],
      [{ KeySpec: 'RSA_2048' }, 'ValidationException'],
      [{ KeySpec: 'RSA_2048', KeyUsage: 'GENERATE_VERIFY_MAC' }, 'ValidationException'],
      [{ Origin: 'EXTERNAL' }, 'UnsupportedOperationException'],
      [{ Description: 'x'.repeat(8193) }, 'ValidationException'],
      [{ Policy: 'no' }, 'MalformedPolicyDocumentException'],
      [{ Tags: [{ TagKey: 'aws:a', TagValue: '' }] }, 'TagException'],
    ],
  },
  ReplicateKey: {
    ...withKey({ ReplicaRegion: 'eu-west-1' }, { MultiRegion: true }),
    ...CRYPTO,
    bad: [
      [{ ReplicaRegion: 'nowhere' }, 'ValidationException'],
      [{ ReplicaRegion: 'us-east-1' }, 'AlreadyExistsException'],
    ],
  },
  UpdatePrimaryRegion: {
    good: async () => ({ KeyId: await multiRegion(), PrimaryRegion: 'eu-west-1' }),
    key: 'KeyId',
    required: ['KeyId', 'PrimaryRegion'],
    disabled: 'DisabledException',
    pending: 'KMSInvalidStateException',
    bad: [[{ PrimaryRegion: 'ap-south-1' }, 'NotFoundException']],
  },
  DescribeKey: withKey(),
  ListKeys: {
    good: () => ({ Limit: 1 }),
    bad: [
      [{ Limit: 0 }, 'ValidationException'],
      [{ Marker: '!' }, 'InvalidMarkerException'],
    ],
  },
  EnableKey: { ...withKey(), ...CHANGES },
  DisableKey: { ...withKey(), ...CHANGES },
  UpdateKeyDescription: {
    good: async () => ({ KeyId: await newKey(), Description: 'other' }),
    key: 'KeyId',
    required: ['KeyId'],
    ...CHANGES,
    bad: [[{ Description: 'x'.repeat(8193) }, 'ValidationException']],
  },
  ScheduleKeyDeletion: {
    ...withKey(),
    ...CHANGES,
    bad: [
      [{ PendingWindowInDays: 6 }, 'ValidationException'],
      [{ PendingWindowInDays: 31 }, 'ValidationException'],
    ],
  },
  CancelKeyDeletion: {
    good: async () => {
      const KeyId = await newKey()
      await send('ScheduleKeyDeletion', { KeyId })
      return { KeyId }
    },
    key: 'KeyId',
    required: ['KeyId'],
  },
  EnableKeyRotation: {
    ...withKey(),
    ...CRYPTO,
    bad: [[{ RotationPeriodInDays: 89 }, 'ValidationException']],
  },
  DisableKeyRotation: { ...withKey(), ...CRYPTO },
  GetKeyRotationStatus: withKey(),
  RotateKeyOnDemand: { ...withKey(), ...CRYPTO },
  ListKeyRotations: { ...withKey(), bad: [[{ IncludeKeyMaterial: 'SOME' }, 'ValidationException']] },
  CreateAlias: {
    good: async () => ({ AliasName: `alias/new-${names++}`, TargetKeyId: await newKey() }),
    key: 'TargetKeyId',
    required: ['AliasName', 'TargetKeyId'],
    ...CHANGES,
    bad: [
      [{ AliasName: 'no-prefix' }, 'ValidationException'],
      [{ AliasName: 'alias/aws/mine' }, 'InvalidAliasNameException'],
      [{ AliasName: `alias/${LONG}` }, 'ValidationException'],
    ],
  },
  UpdateAlias: {
    good: async () => ({ ...(await newAlias()), TargetKeyId: await newKey() }),
    key: 'TargetKeyId',
    required: ['AliasName', 'TargetKeyId'],
    ...CHANGES,
    bad: [[{ AliasName: 'alias/none' }, 'NotFoundException']],
  },
  DeleteAlias: {
    good: async () => ({ AliasName: (await newAlias()).AliasName }),
    required: ['AliasName'],
    bad: [[{ AliasName: 'alias/none' }, 'NotFoundException']],
  },
  ListAliases: { good: () => ({}), bad: [[{ KeyId: '00000000-0000-0000-0000-000000000000' }, 'NotFoundException']] },
  TagResource: {
    ...withKey({ Tags: [{ TagKey: 'a', TagValue: 'b' }] }),
    ...CHANGES,
    bad: [
      [{ Tags: [{ TagKey: '', TagValue: '' }] }, 'TagException'],
      [{ Tags: [1, 2].map(() => ({ TagKey: 'a', TagValue: '' })) }, 'TagException'],
    ],
  },
  UntagResource: { ...withKey({ TagKeys: ['a'] }), ...CHANGES },
  ListResourceTags: withKey(),
  GetKeyPolicy: { ...withKey(), bad: [[{ PolicyName: 'other' }, 'NotFoundException']] },
  PutKeyPolicy: {
    ...withKey({ Policy: '{}' }),
    bad: [[{ Policy: '[]' }, 'MalformedPolicyDocumentException']],
  },
  ListKeyPolicies: withKey(),
  CreateGrant: { ...withKey(GRANT), ...CRYPTO, bad: [[{ DryRun: true }, 'DryRunOperationException']] },
  ListGrants: withKey(),
  ListRetirableGrants: { good: () => ({ RetiringPrincipal: 'a' }), required: ['RetiringPrincipal'] },
  RevokeGrant: {
    good: grant,
    key: 'KeyId',
    required: ['KeyId', 'GrantId'],
    bad: [[{ GrantId: 'none' }, 'NotFoundException']],
  },
  RetireGrant: {
    good: grant,
    key: 'KeyId',
    required: ['KeyId', 'GrantId'],
    bad: [[{ GrantToken: 'none' }, 'InvalidGrantTokenException']],
  },
}

/** Ways to name a key that is not there, and the answers. */
const WRONG_KEYS: readonly [id: string, error: string][] = [
  ['00000000-0000-0000-0000-000000000000', 'NotFoundException'],
  [`arn:aws:kms:us-east-1:${ACCOUNT}:key/00000000-0000-0000-0000-000000000000`, 'NotFoundException'],
  [`arn:aws:kms:eu-west-1:${ACCOUNT}:key/00000000-0000-0000-0000-000000000000`, 'NotFoundException'],
  ['arn:aws:kms:us-east-1:444455556666:key/00000000-0000-0000-0000-000000000000', 'NotFoundException'],
  ['alias/none', 'NotFoundException'],
  ['../../key', 'NotFoundException'],
  ['arn:aws:kms:us-east-1', 'InvalidArnException'],
  [LONG, 'ValidationException'],
]

test('the table has every operation', () => {
  assert.equal(Object.keys(ROWS).sort(), [...OPERATIONS.keys()].sort())
})

for (const [operation, { good, required = [], key, disabled, pending, bad = [] }] of Object.entries(ROWS)) {
  test(`${operation}: good`, async () => {
    const { $metadata } = (await send(operation, await good())) as { $metadata: { httpStatusCode: number } }
    assert.is($metadata.httpStatusCode, 200)
  })

  test(`${operation}: bad`, async () => {
    for (const field of required)
      await refuses(send(operation, { ...(await good()), [field]: undefined }), 'ValidationException')
    for (const [change, error] of bad) await refuses(send(operation, { ...(await good()), ...change }), error)
    if (key === undefined) return
    for (const [id, error] of WRONG_KEYS) await refuses(send(operation, { ...(await good()), [key]: id }), error)
    for (const [state, change, error] of [
      ['disabled', 'DisableKey', disabled],
      ['pending', 'ScheduleKeyDeletion', pending],
    ] as const) {
      if (operation === 'CancelKeyDeletion') continue
      const input = await good()
      await send(change, { KeyId: input[key] })
      if (error === undefined) await send(operation, input)
      else await refuses(send(operation, input), error, new RegExp(state))
    }
  })

  test(`${operation}: not even a request`, async () => {
    const target = { 'x-amz-target': `TrentService.${operation}` }
    for (const body of ['[]', '{"', '"x"', 'null', ...(key ? [`{"${key}":{"a":1}}`, `{"${key}":[1]}`] : [])]) {
      const { status, headers } = await post(kms, body, target)
      assert.is(status, 400)
      // Where another field is missing, too, that may be told first.
      assert.match(String(headers['x-amzn-errortype']), body.includes(':') ? /^(Seri|Valid)/ : /^Serialization/, body)
    }
  })
}

test.run()
