import {
  CancelKeyDeletionCommand,
  CreateAliasCommand,
  CreateGrantCommand,
  CreateKeyCommand,
  type CreateKeyCommandInput,
  DescribeKeyCommand,
  DisableKeyCommand,
  DisableKeyRotationCommand,
  EnableKeyCommand,
  EnableKeyRotationCommand,
  EncryptCommand,
  GetKeyPolicyCommand,
  GetKeyRotationStatusCommand,
  type KeyMetadata,
  ListGrantsCommand,
  ListKeyRotationsCommand,
  ListKeysCommand,
  ReplicateKeyCommand,
  RotateKeyOnDemandCommand,
  ScheduleKeyDeletionCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateAliasCommand,
  UpdateKeyDescriptionCommand,
  UpdatePrimaryRegionCommand,
} from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type LocalKms, startLocalKms } from '../../src/local-kms'
import { ACCOUNT, clientOf, refuses } from './support'

let kms: LocalKms
let client: ReturnType<typeof clientOf>
let elsewhere: ReturnType<typeof clientOf>

test.before(async () => {
  kms = await startLocalKms()
  client = clientOf(kms)
  elsewhere = clientOf(kms, 'eu-west-1')
})

test.after(async () => {
  client.destroy()
  elsewhere.destroy()
  await kms.close()
})

for (const [spec, usage, algorithms] of [
  ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT', ['EncryptionAlgorithms', 1]],
  ['RSA_2048', 'ENCRYPT_DECRYPT', ['EncryptionAlgorithms', 2]],
  ['RSA_3072', 'ENCRYPT_DECRYPT', ['EncryptionAlgorithms', 2]],
  ['RSA_4096', 'SIGN_VERIFY', ['SigningAlgorithms', 6]],
  ['ECC_NIST_P256', 'SIGN_VERIFY', ['SigningAlgorithms', 1]],
  ['ECC_NIST_P256', 'KEY_AGREEMENT', ['KeyAgreementAlgorithms', 1]],
  ['ECC_NIST_P384', 'SIGN_VERIFY', ['SigningAlgorithms', 1]],
  ['ECC_NIST_P384', 'KEY_AGREEMENT', ['KeyAgreementAlgorithms', 1]],
  ['ECC_NIST_P521', 'SIGN_VERIFY', ['SigningAlgorithms', 1]],
  ['ECC_NIST_P521', 'KEY_AGREEMENT', ['KeyAgreementAlgorithms', 1]],
  ['ECC_SECG_P256K1', 'SIGN_VERIFY', ['SigningAlgorithms', 1]],
  ['HMAC_224', 'GENERATE_VERIFY_MAC', ['MacAlgorithms', 1]],
  ['HMAC_256', 'GENERATE_VERIFY_MAC', ['MacAlgorithms', 1]],
  ['HMAC_384', 'GENERATE_VERIFY_MAC', ['MacAlgorithms', 1]],
  ['HMAC_512', 'GENERATE_VERIFY_MAC', ['MacAlgorithms', 1]],
] as const) {
  test(`creates and describes a key of ${spec} for ${usage}`, async () => {
    const made = await create({ KeySpec: spec, KeyUsage: usage, Description: 'a key' })
    const told = await describe(made.KeyId)
    assert.equal(told, made)
    assert.match(made.KeyId!, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    assert.is(made.Arn, `arn:aws:kms:us-east-1:${ACCOUNT}:key/${made.KeyId}`)
    assert.equal([made.KeySpec, made.CustomerMasterKeySpec, made.KeyUsage], [spec, spec, usage])
    assert.equal([made.Enabled, made.KeyState, made.Description], [true, 'Enabled', 'a key'])
    assert.equal(
      [made.KeyManager, made.Origin, made.MultiRegion, made.AWSAccountId],
      ['CUSTOMER', 'AWS_KMS', false, ACCOUNT],
    )
    assert.ok(Math.abs(made.CreationDate!.getTime() - Date.now()) < 60_000)
    const [field, count] = algorithms
    assert.is(made[field]!.length, count)
  })
}

test('refuses to create keys that cannot be', async () => {
  const cases: [string, CreateKeyCommandInput][] = [
    ['ValidationException', { KeySpec: 'RSA_2048' }],
    ['ValidationException', { KeySpec: 'HMAC_256' }],
    ['ValidationException', { KeySpec: 'HMAC_256', KeyUsage: 'ENCRYPT_DECRYPT' }],
    ['ValidationException', { KeySpec: 'ECC_SECG_P256K1', KeyUsage: 'KEY_AGREEMENT' }],
    ['ValidationException', { KeyUsage: 'SIGN_VERIFY' }],
    ['ValidationException', { KeySpec: 'SM2' }],
    ['ValidationException', { Description: 'x'.repeat(8193) }],
    ['UnsupportedOperationException', { Origin: 'EXTERNAL' }],
    ['UnsupportedOperationException', { CustomKeyStoreId: 'cks-1' }],
    ['UnsupportedOperationException', { XksKeyId: 'xks-1' }],
    ['TagException', { Tags: [{ TagKey: '', TagValue: '' }] }],
    ['TagException', { Tags: [1, 2].map(() => ({ TagKey: 'twice', TagValue: '' })) }],
    ['MalformedPolicyDocumentException', { Policy: 'allow' }],
  ]
  for (const [name, input] of cases) await refuses(client.send(new CreateKeyCommand(input)), name)
})

test('lists keys page by page, those of one Region only', async () => {
  const made = await Promise.all(Array.from({ length: 7 }, () => create()))
  const here = new Set<string>()
  let Marker: string | undefined
  do {
    const answer = await client.send(new ListKeysCommand({ Limit: 3, Marker }))
    assert.ok(answer.Keys!.length <= 3)
    for (const { KeyId, KeyArn } of answer.Keys!) {
      assert.not(here.has(KeyId!))
      assert.ok(KeyArn!.endsWith(KeyId!))
      here.add(KeyId!)
    }
    assert.is(answer.Truncated, answer.NextMarker !== undefined)
    Marker = answer.NextMarker
  } while (Marker)
  assert.ok(made.every(({ KeyId }) => here.has(KeyId!)))
  assert.equal((await elsewhere.send(new ListKeysCommand())).Keys, [])
  await refuses(client.send(new ListKeysCommand({ Marker: '?' })), 'InvalidMarkerException')
  for (const Limit of [0, 1001]) await refuses(client.send(new ListKeysCommand({ Limit })), 'ValidationException')
})

test('takes keys through their states', async () => {
  const { KeyId, Arn } = await create()
  const state = async () => (await describe(KeyId)).KeyState
  await client.send(new DisableKeyCommand({ KeyId }))
  assert.is(await state(), 'Disabled')
  await client.send(new EnableKeyCommand({ KeyId: Arn }))
  assert.is(await state(), 'Enabled')
  await refuses(client.send(new CancelKeyDeletionCommand({ KeyId })), 'KMSInvalidStateException')

  const scheduled = await client.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 7 }))
  assert.equal([scheduled.KeyId, scheduled.KeyState, scheduled.PendingWindowInDays], [Arn, 'PendingDeletion', 7])
  assert.ok(Math.abs(scheduled.DeletionDate!.getTime() - Date.now() - 7 * 86_400_000) < 60_000)
  const told = await describe(KeyId)
  assert.equal([told.Enabled, told.KeyState, told.DeletionDate], [false, 'PendingDeletion', scheduled.DeletionDate])
  assert.is(told.PendingDeletionWindowInDays, undefined)
  const AliasName = 'alias/movable'
  await client.send(new CreateAliasCommand({ AliasName, TargetKeyId: (await create()).KeyId }))
  const grant = { GranteePrincipal: `arn:aws:iam::${ACCOUNT}:user/grantee`, Operations: ['Decrypt' as const] }
  for (const refused of [
    () => client.send(new EnableKeyCommand({ KeyId })),
    () => client.send(new DisableKeyCommand({ KeyId })),
    () => client.send(new ScheduleKeyDeletionCommand({ KeyId })),
    () => client.send(new UpdateKeyDescriptionCommand({ KeyId, Description: 'x' })),
    () => client.send(new RotateKeyOnDemandCommand({ KeyId })),
    () => client.send(new EnableKeyRotationCommand({ KeyId })),
    () => client.send(new CreateAliasCommand({ AliasName: 'alias/pending', TargetKeyId: KeyId })),
    () => client.send(new UpdateAliasCommand({ AliasName, TargetKeyId: KeyId })),
    () => client.send(new TagResourceCommand({ KeyId, Tags: [{ TagKey: 'a', TagValue: 'b' }] })),
    () => client.send(new UntagResourceCommand({ KeyId, TagKeys: ['a'] })),
    () => client.send(new CreateGrantCommand({ KeyId, ...grant })),
  ]) {
    await refuses(refused(), 'KMSInvalidStateException')
  }
  assert.is((await client.send(new CancelKeyDeletionCommand({ KeyId }))).KeyId, Arn)
  assert.is(await state(), 'Disabled')
  for (const PendingWindowInDays of [6, 31]) {
    await refuses(client.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays })), 'ValidationException')
  }
})

test('management takes key IDs and ARNs, not aliases', async () => {
  const { KeyId } = await create()
  await client.send(new CreateAliasCommand({ AliasName: 'alias/managed', TargetKeyId: KeyId }))
  assert.is((await describe('alias/managed')).KeyId, KeyId)
  for (const KeyId of ['alias/managed', `arn:aws:kms:us-east-1:${ACCOUNT}:alias/managed`]) {
    await refuses(client.send(new DisableKeyCommand({ KeyId })), 'NotFoundException', /Invalid keyId/)
    await refuses(client.send(new ScheduleKeyDeletionCommand({ KeyId })), 'NotFoundException', /Invalid keyId/)
  }
  await refuses(client.send(new DisableKeyCommand({ KeyId: undefined })), 'ValidationException')
})

test('a key has one spec', async () => {
  const both = { KeySpec: 'SYMMETRIC_DEFAULT', CustomerMasterKeySpec: 'RSA_2048' } as const
  await refuses(client.send(new CreateKeyCommand(both)), 'ValidationException', /KeySpec/)
})

test('changes descriptions, also to nothing', async () => {
  const { KeyId } = await create({ Description: 'old' })
  for (const Description of ['new ☂', 'x'.repeat(8192), '']) {
    await client.send(new UpdateKeyDescriptionCommand({ KeyId, Description }))
    assert.is((await describe(KeyId)).Description, Description)
  }
  await refuses(client.send(new UpdateKeyDescriptionCommand({ KeyId, Description: undefined })), 'ValidationException')
})

test('rotates symmetric keys on demand and by plan', async () => {
  const { KeyId, CurrentKeyMaterialId } = await create()
  const status = () => client.send(new GetKeyRotationStatusCommand({ KeyId }))
  assert.is((await status()).KeyRotationEnabled, false)
  await client.send(new EnableKeyRotationCommand({ KeyId }))
  assert.is((await status()).RotationPeriodInDays, 365)
  await client.send(new EnableKeyRotationCommand({ KeyId, RotationPeriodInDays: 90 }))
  const { KeyRotationEnabled, RotationPeriodInDays, NextRotationDate } = await status()
  assert.equal([KeyRotationEnabled, RotationPeriodInDays], [true, 90])
  assert.ok(Math.abs(NextRotationDate!.getTime() - Date.now() - 90 * 86_400_000) < 60_000)
  await client.send(new EnableKeyRotationCommand({ KeyId }))
  assert.is((await status()).RotationPeriodInDays, 90, 'as it was')
  await client.send(new ScheduleKeyDeletionCommand({ KeyId }))
  assert.is((await status()).KeyRotationEnabled, false)
  await client.send(new CancelKeyDeletionCommand({ KeyId }))
  await client.send(new EnableKeyCommand({ KeyId }))
  assert.is((await status()).KeyRotationEnabled, true)
  await client.send(new DisableKeyRotationCommand({ KeyId }))
  assert.is((await status()).KeyRotationEnabled, false)

  for (let i = 0; i < 25; i++) await client.send(new RotateKeyOnDemandCommand({ KeyId }))
  await refuses(client.send(new RotateKeyOnDemandCommand({ KeyId })), 'LimitExceededException')
  const { Rotations } = await client.send(new ListKeyRotationsCommand({ KeyId }))
  assert.is(Rotations!.length, 25)
  assert.ok(Rotations!.every(({ RotationType, RotationDate }) => RotationType === 'ON_DEMAND' && RotationDate))
  assert.is(Rotations!.at(-1)!.KeyMaterialId, (await describe(KeyId)).CurrentKeyMaterialId)
  const all = new ListKeyRotationsCommand({ KeyId, IncludeKeyMaterial: 'ALL_KEY_MATERIAL', Limit: 1 })
  const first = await client.send(all)
  assert.is(first.Rotations![0]!.KeyMaterialId, CurrentKeyMaterialId)
  assert.is(first.Truncated, true)

  const hmac = (await create({ KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' })).KeyId
  for (const refused of [
    () => client.send(new EnableKeyRotationCommand({ KeyId: hmac })),
    () => client.send(new DisableKeyRotationCommand({ KeyId: hmac })),
    () => client.send(new RotateKeyOnDemandCommand({ KeyId: hmac })),
    () => client.send(new GetKeyRotationStatusCommand({ KeyId: hmac })),
    () => client.send(new ListKeyRotationsCommand({ KeyId: hmac })),
  ]) {
    await refuses(refused(), 'UnsupportedOperationException')
  }
  await refuses(client.send(new EnableKeyRotationCommand({ KeyId, RotationPeriodInDays: 89 })), 'ValidationException')
  await client.send(new DisableKeyCommand({ KeyId }))
  await refuses(client.send(new RotateKeyOnDemandCommand({ KeyId })), 'DisabledException')
})

test('replicates multi-Region keys, each replica with a state of its own', async () => {
  const primary = await create({ MultiRegion: true })
  const { KeyId, Arn } = primary
  assert.match(KeyId!, /^mrk-[0-9a-f]{32}$/)
  assert.is(primary.MultiRegionConfiguration!.MultiRegionKeyType, 'PRIMARY')
  const replicate = (ReplicaRegion: string, id = KeyId) =>
    client.send(new ReplicateKeyCommand({ KeyId: id, ReplicaRegion }))
  const { ReplicaKeyMetadata: replica } = await replicate('eu-west-1')
  assert.is(replica!.Arn, Arn!.replace('us-east-1', 'eu-west-1'))
  const configuration = {
    MultiRegionKeyType: 'REPLICA',
    PrimaryKey: { Arn, Region: 'us-east-1' },
    ReplicaKeys: [{ Arn: replica!.Arn, Region: 'eu-west-1' }],
  }
  assert.equal(replica!.MultiRegionConfiguration, configuration)

  for (const region of ['cn-north-1', 'us-gov-west-1', 'us-iso-east-1', 'us-isob-east-1', 'eusc-de-east-1'])
    await refuses(replicate(region), 'UnsupportedOperationException', /partition/)
  await refuses(replicate('eu-west-1'), 'AlreadyExistsException')
  await refuses(replicate('us-east-1'), 'AlreadyExistsException')
  await refuses(replicate('nowhere'), 'ValidationException')
  await refuses(replicate('eu-west-1', (await create()).KeyId), 'UnsupportedOperationException')
  const again = new ReplicateKeyCommand({ KeyId, ReplicaRegion: 'eu-west-2' })
  await refuses(elsewhere.send(again), 'UnsupportedOperationException', /not a primary key/)
  await refuses(elsewhere.send(new RotateKeyOnDemandCommand({ KeyId })), 'UnsupportedOperationException', /replica/)

  await elsewhere.send(new DisableKeyCommand({ KeyId }))
  assert.is((await describe(KeyId)).KeyState, 'Enabled')
  const encrypt = new EncryptCommand({ KeyId, Plaintext: Buffer.from('x') })
  await refuses(elsewhere.send(encrypt), 'DisabledException')
  await refuses(client.send(new UpdatePrimaryRegionCommand({ KeyId, PrimaryRegion: 'eu-west-1' })), 'DisabledException')
  await elsewhere.send(new EnableKeyCommand({ KeyId }))
  await client.send(new UpdatePrimaryRegionCommand({ KeyId, PrimaryRegion: 'eu-west-1' }))
  assert.is((await describe(KeyId)).MultiRegionConfiguration!.MultiRegionKeyType, 'REPLICA')
  const back = new UpdatePrimaryRegionCommand({ KeyId, PrimaryRegion: 'us-east-1' })
  await refuses(client.send(back), 'UnsupportedOperationException', /not a multi-Region primary key/)
  await elsewhere.send(new RotateKeyOnDemandCommand({ KeyId }))
  const single = { KeyId: (await create()).KeyId, PrimaryRegion: 'us-east-1' }
  await refuses(client.send(new UpdatePrimaryRegionCommand(single)), 'UnsupportedOperationException', /multi-Region/)
})

for (const [region, partition] of [
  ['us-east-1', 'aws'],
  ['mx-central-1', 'aws'],
  ['cn-north-1', 'aws-cn'],
  ['us-gov-west-1', 'aws-us-gov'],
  ['us-iso-east-1', 'aws-iso'],
  ['us-isob-east-1', 'aws-iso-b'],
  ['eu-isoe-west-1', 'aws-iso-e'],
  ['us-isof-south-1', 'aws-iso-f'],
  ['eusc-de-east-1', 'aws-eusc'],
] as const) {
  test(`keys of ${region} are in the partition ${partition}, and found in no other`, async () => {
    const there = clientOf(kms, region)
    const { KeyMetadata } = await there.send(new CreateKeyCommand({}))
    const { Arn, KeyId } = KeyMetadata!
    assert.is(Arn, `arn:${partition}:kms:${region}:${ACCOUNT}:key/${KeyId}`)
    await there.send(new CreateAliasCommand({ AliasName: `alias/${region}`, TargetKeyId: Arn }))
    const { Policy } = await there.send(new GetKeyPolicyCommand({ KeyId }))
    assert.ok(Policy!.includes(`"arn:${partition}:iam::${ACCOUNT}:root"`))
    const grant = { KeyId, GranteePrincipal: 'someone', Operations: ['Decrypt' as const] }
    await there.send(new CreateGrantCommand(grant))
    const { Grants } = await there.send(new ListGrantsCommand({ KeyId }))
    assert.is(Grants![0]!.IssuingAccount, `arn:${partition}:iam::${ACCOUNT}:root`)

    const Plaintext = Buffer.from('x')
    for (const [other, name] of [
      [partition, undefined],
      [partition === 'aws' ? 'aws-cn' : 'aws', 'NotFoundException'],
      ['aws-us-go', 'NotFoundException'],
    ] as const) {
      for (const id of [Arn!, `arn:${partition}:kms:${region}:${ACCOUNT}:alias/${region}`]) {
        const use = there.send(new EncryptCommand({ KeyId: id.replace(partition, other), Plaintext }))
        if (name) await refuses(use, name, new RegExp(`Invalid arn ${other}$`))
        else assert.is((await use).KeyId, Arn)
      }
    }
    there.destroy()
  })
}

test('a primary key waits for its replicas before it is deleted', async () => {
  const { KeyId } = await create({ MultiRegion: true })
  await client.send(new ReplicateKeyCommand({ KeyId, ReplicaRegion: 'eu-west-1' }))
  const scheduled = await client.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 8 }))
  assert.equal([scheduled.KeyState, scheduled.DeletionDate], ['PendingReplicaDeletion', undefined])
  assert.is((await describe(KeyId)).PendingDeletionWindowInDays, 8)
  const { KeyState } = await elsewhere.send(new ScheduleKeyDeletionCommand({ KeyId }))
  assert.is(KeyState, 'PendingDeletion')
  await client.send(new CancelKeyDeletionCommand({ KeyId }))
})

test.run()

async function create(input: CreateKeyCommandInput = {}): Promise<KeyMetadata> {
  return (await client.send(new CreateKeyCommand(input))).KeyMetadata!
}

async function describe(KeyId: string | undefined): Promise<KeyMetadata> {
  return (await client.send(new DescribeKeyCommand({ KeyId }))).KeyMetadata!
}
