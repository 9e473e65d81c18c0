import {
  CreateAliasCommand,
  CreateGrantCommand,
  CreateKeyCommand,
  DeleteAliasCommand,
  DescribeKeyCommand,
  DisableKeyCommand,
  GetKeyPolicyCommand,
  type GrantOperation,
  ListAliasesCommand,
  ListGrantsCommand,
  ListKeyPoliciesCommand,
  ListResourceTagsCommand,
  ListRetirableGrantsCommand,
  PutKeyPolicyCommand,
  RetireGrantCommand,
  RevokeGrantCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateAliasCommand,
} from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type LocalKms, startLocalKms } from '../../src/local-kms'
import { ACCOUNT, clientOf, refuses } from './support'

let kms: LocalKms
let client: ReturnType<typeof clientOf>

test.before(async () => {
  kms = await startLocalKms()
  client = clientOf(kms)
})

test.after(async () => {
  client.destroy()
  await kms.close()
})

test('creates, moves, lists and deletes aliases', async () => {
  const [first, second] = [await create(), await create()]
  const AliasName = 'alias/app/one'
  await client.send(new CreateAliasCommand({ AliasName, TargetKeyId: first }))
  const target = async () => (await client.send(new DescribeKeyCommand({ KeyId: AliasName }))).KeyMetadata!.KeyId
  assert.is(await target(), first)
  await client.send(new UpdateAliasCommand({ AliasName, TargetKeyId: second }))
  assert.is(await target(), second)
  await client.send(new CreateAliasCommand({ AliasName: 'alias/app/two', TargetKeyId: first }))

  const { Aliases } = await client.send(new ListAliasesCommand({ KeyId: second }))
  const [{ CreationDate, LastUpdatedDate, ...alias }] = Aliases as [Record<string, unknown>]
  assert.equal(alias, { AliasName, AliasArn: `arn:aws:kms:us-east-1:${ACCOUNT}:${AliasName}`, TargetKeyId: second })
  assert.ok((LastUpdatedDate as Date) >= (CreationDate as Date))
  const page = await client.send(new ListAliasesCommand({ Limit: 1 }))
  assert.equal([page.Aliases![0]!.AliasName, page.Truncated], [AliasName, true])
  const next = await client.send(new ListAliasesCommand({ Limit: 1, Marker: page.NextMarker }))
  assert.equal([next.Aliases![0]!.AliasName, next.Truncated], ['alias/app/two', false])

  await client.send(new DeleteAliasCommand({ AliasName }))
  await refuses(client.send(new DescribeKeyCommand({ KeyId: AliasName })), 'NotFoundException')
  await refuses(client.send(new DeleteAliasCommand({ AliasName })), 'NotFoundException')
})

test('an alias belongs to one Region', async () => {
  const elsewhere = clientOf(kms, 'eu-central-1')
  await client.send(new CreateAliasCommand({ AliasName: 'alias/region', TargetKeyId: await create() }))
  await refuses(elsewhere.send(new DescribeKeyCommand({ KeyId: 'alias/region' })), 'NotFoundException')
  assert.equal((await elsewhere.send(new ListAliasesCommand())).Aliases, [])
  elsewhere.destroy()
})

test('refuses aliases that cannot be', async () => {
  const TargetKeyId = await create()
  const signing = await create({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' })
  await client.send(new CreateAliasCommand({ AliasName: 'alias/taken', TargetKeyId }))
  const make = (AliasName: string, id = TargetKeyId) =>
    client.send(new CreateAliasCommand({ AliasName, TargetKeyId: id }))
  await refuses(make('alias/taken'), 'AlreadyExistsException')
  await refuses(make('alias/aws/s3'), 'InvalidAliasNameException')
  for (const name of ['taken', 'alias/', 'alias/a b', 'alias/é', `alias/${'x'.repeat(251)}`, '']) {
    await refuses(make(name), 'ValidationException')
  }
  await refuses(make('alias/of-alias', 'alias/taken'), 'NotFoundException')
  await refuses(make('alias/of-none', '1234abcd-12ab-34cd-56ef-1234567890ab'), 'NotFoundException')
  const move = (AliasName: string, id: string) => client.send(new UpdateAliasCommand({ AliasName, TargetKeyId: id }))
  await refuses(move('alias/none', TargetKeyId), 'NotFoundException')
  const rsa = await create({ KeySpec: 'RSA_2048', KeyUsage: 'ENCRYPT_DECRYPT' })
  for (const other of [signing, rsa]) await refuses(move('alias/taken', other), 'ValidationException', /same type/)
  for (let i = 1; i < 50; i++) await make(`alias/many-${i}`)
  await refuses(make('alias/many-50'), 'LimitExceededException')
  await move('alias/taken', TargetKeyId)
})

test('tags keys', async () => {
  const KeyId = await create({ Tags: [{ TagKey: 'a', TagValue: '1' }] })
  const tags = async () => (await client.send(new ListResourceTagsCommand({ KeyId }))).Tags
  await client.send(
    new TagResourceCommand({
      KeyId,
      Tags: [
        { TagKey: 'b', TagValue: '' },
        { TagKey: 'a', TagValue: '2' },
      ],
    }),
  )
  assert.equal(await tags(), [
    { TagKey: 'a', TagValue: '2' },
    { TagKey: 'b', TagValue: '' },
  ])
  await client.send(new UntagResourceCommand({ KeyId, TagKeys: ['a', 'none'] }))
  assert.equal(await tags(), [{ TagKey: 'b', TagValue: '' }])

  const tag = (Tags: object[] | undefined) => client.send(new TagResourceCommand({ KeyId, Tags } as never))
  await refuses(tag(undefined), 'ValidationException')
  await refuses(tag([{ TagKey: 'aws:x', TagValue: '' }]), 'TagException')
  await refuses(tag([{ TagKey: 'x'.repeat(129), TagValue: '' }]), 'TagException')
  await refuses(tag([{ TagKey: 'x', TagValue: 'x'.repeat(257) }]), 'TagException')
  await refuses(tag([{ TagKey: 'x' }]), 'SerializationException')
  const many = Array.from({ length: 50 }, (_, i) => ({ TagKey: `${i}`.padEnd(128, 'x'), TagValue: 'x'.repeat(256) }))
  await refuses(tag(many), 'LimitExceededException')
  await tag(many.slice(1))
  await refuses(tag(many.slice(0, 1)), 'LimitExceededException')
})

test('keeps key policies', async () => {
  const KeyId = await create()
  const { Policy } = await client.send(new GetKeyPolicyCommand({ KeyId }))
  assert.match(Policy!, `arn:aws:iam::${ACCOUNT}:root`)
  await client.send(new PutKeyPolicyCommand({ KeyId, PolicyName: 'default', Policy: '{}' }))
  assert.is((await client.send(new GetKeyPolicyCommand({ KeyId, PolicyName: 'default' }))).Policy, '{}')
  assert.equal((await client.send(new ListKeyPoliciesCommand({ KeyId }))).PolicyNames, ['default'])
  for (const Policy of ['[]', '{', '1', 'null']) {
    await refuses(client.send(new PutKeyPolicyCommand({ KeyId, Policy })), 'MalformedPolicyDocumentException')
  }
  const policy = (length: number) => new PutKeyPolicyCommand({ KeyId, Policy: '{}'.padEnd(length) })
  await client.send(policy(32_768))
  await refuses(client.send(policy(32_769)), 'ValidationException')
  await refuses(client.send(new GetKeyPolicyCommand({ KeyId, PolicyName: 'other' })), 'NotFoundException')
})

test('keeps grants, which grant nothing', async () => {
  const KeyId = await create()
  const [GranteePrincipal, RetiringPrincipal] = ['grantee', 'retirer'].map(
    (name) => `arn:aws:iam::${ACCOUNT}:user/${name}`,
  )
  const Operations: GrantOperation[] = ['Encrypt', 'Decrypt']
  const input = { KeyId, GranteePrincipal, RetiringPrincipal, Operations, Name: 'a grant' }
  const Constraints = { EncryptionContextEquals: { a: 'b' } }
  const grant = await client.send(new CreateGrantCommand({ ...input, Constraints }))
  const { Grants } = await client.send(new ListGrantsCommand({ KeyId }))
  const [{ CreationDate, ...entry }] = Grants as [Record<string, unknown>]
  assert.instance(CreationDate, Date)
  const KeyArn = `arn:aws:kms:us-east-1:${ACCOUNT}:key/${KeyId}`
  const IssuingAccount = `arn:aws:iam::${ACCOUNT}:root`
  assert.equal(entry, { ...input, Constraints, KeyId: KeyArn, GrantId: grant.GrantId, IssuingAccount })

  const list = async (filter: object) => (await client.send(new ListGrantsCommand({ KeyId, ...filter }))).Grants!.length
  assert.equal([await list({ GrantId: grant.GrantId }), await list({ GrantId: 'other' })], [1, 0])
  assert.equal([await list({ GranteePrincipal }), await list({ GranteePrincipal: 'other' })], [1, 0])
  const retirable = async () =>
    (await client.send(new ListRetirableGrantsCommand({ RetiringPrincipal }))).Grants!.length
  assert.is(await retirable(), 1)

  await refuses(client.send(new RevokeGrantCommand({ KeyId, GrantId: 'other' })), 'NotFoundException')
  await refuses(
    client.send(new RevokeGrantCommand({ KeyId: await create(), GrantId: grant.GrantId })),
    'NotFoundException',
  )
  await refuses(client.send(new RetireGrantCommand({ GrantToken: 'other' })), 'InvalidGrantTokenException')
  await client.send(new RetireGrantCommand({ GrantToken: grant.GrantToken }))
  assert.is(await retirable(), 0)
  const [first, second] = [
    await client.send(new CreateGrantCommand(input)),
    await client.send(new CreateGrantCommand({ ...input, Name: undefined })),
  ]
  // A call that is tried again is one grant, where it has a name.
  assert.equal((await client.send(new CreateGrantCommand(input))).GrantId, first.GrantId)
  assert.is(await list({}), 2)
  const revoke = { KeyId, GrantId: first.GrantId }
  await refuses(client.send(new RevokeGrantCommand({ ...revoke, DryRun: true })), 'DryRunOperationException')
  await refuses(client.send(new RetireGrantCommand({ ...revoke, DryRun: true })), 'DryRunOperationException')
  assert.is(await list({}), 2)
  await client.send(new RevokeGrantCommand(revoke))
  await client.send(new RetireGrantCommand({ KeyId, GrantId: second.GrantId }))
  assert.is(await list({}), 0)

  for (const Operations of [undefined, [], ['Nope' as GrantOperation]])
    await refuses(client.send(new CreateGrantCommand({ ...input, Operations })), 'ValidationException')
  const wrong = { EncryptionContextSubset: { a: 5 as unknown as string } }
  await refuses(client.send(new CreateGrantCommand({ ...input, Constraints: wrong })), 'SerializationException')
  await refuses(client.send(new CreateGrantCommand({ ...input, GranteePrincipal: undefined })), 'ValidationException')
  await refuses(client.send(new CreateGrantCommand({ ...input, DryRun: true })), 'DryRunOperationException')
  await client.send(new DisableKeyCommand({ KeyId }))
  await refuses(client.send(new CreateGrantCommand(input)), 'DisabledException')
})

test('keeps all of a grant', async () => {
  const KeyId = await create()
  const [GranteeServicePrincipal, RetiringServicePrincipal] = ['s3.amazonaws.com', 'ebs.amazonaws.com']
  const Constraints = { EncryptionContextSubset: { a: 'b' }, SourceArn: 'arn:aws:s3:::bucket' }
  const input = {
    KeyId,
    GranteeServicePrincipal,
    RetiringServicePrincipal,
    Operations: ['Decrypt' as const],
    Constraints,
  }
  await client.send(new CreateGrantCommand(input))
  const { Grants } = await client.send(new ListGrantsCommand({ KeyId }))
  const { Constraints: kept, GranteeServicePrincipal: grantee, RetiringServicePrincipal: retiring } = Grants![0]!
  assert.equal([kept, grantee, retiring], [Constraints, GranteeServicePrincipal, RetiringServicePrincipal])

  const list = async (filter: object) => (await client.send(new ListGrantsCommand({ KeyId, ...filter }))).Grants!.length
  assert.equal([await list({ GranteeServicePrincipal }), await list({ GranteeServicePrincipal: 'other' })], [1, 0])
  const retirable = async (service: string) =>
    (await client.send(new ListRetirableGrantsCommand({ RetiringServicePrincipal: service }))).Grants!.length
  assert.equal([await retirable(RetiringServicePrincipal), await retirable('other')], [1, 0])
  await refuses(client.send(new ListRetirableGrantsCommand({})), 'ValidationException')
})

test('refuses grants that no key could honour', async () => {
  const GranteePrincipal = `arn:aws:iam::${ACCOUNT}:user/grantee`
  const grant = async (KeyId: string, Operations: GrantOperation[], more = {}) =>
    await client.send(new CreateGrantCommand({ KeyId, GranteePrincipal, Operations, ...more }))
  const keys: [input: object, possible: GrantOperation[], impossible: GrantOperation[]][] = [
    [{}, ['GenerateDataKey', 'ReEncryptTo'], ['Sign', 'GetPublicKey', 'VerifyMac']],
    [{ KeySpec: 'RSA_2048', KeyUsage: 'ENCRYPT_DECRYPT' }, ['Encrypt', 'GetPublicKey'], ['GenerateDataKey', 'Sign']],
    [
      { KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' },
      ['Sign', 'GetPublicKey'],
      ['Encrypt', 'DeriveSharedSecret'],
    ],
    [{ KeySpec: 'ECC_NIST_P256', KeyUsage: 'KEY_AGREEMENT' }, ['DeriveSharedSecret'], ['Sign']],
    [{ KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' }, ['GenerateMac'], ['GetPublicKey', 'Decrypt']],
  ]
  for (const [input, possible, impossible] of keys) {
    const KeyId = await create(input)
    await grant(KeyId, [...possible, 'DescribeKey', 'CreateGrant', 'RetireGrant'])
    for (const one of impossible)
      await refuses(grant(KeyId, ['DescribeKey', one]), 'ValidationException', new RegExp(`cannot allow ${one}`))
    const Constraints = { EncryptionContextEquals: { a: 'b' } }
    if ('KeySpec' in input)
      await refuses(grant(KeyId, possible, { Constraints }), 'ValidationException', /no encryption context/)
    else await grant(KeyId, possible, { Constraints })
    await grant(KeyId, possible, { Constraints: { SourceArn: 'arn:aws:s3:::bucket' } })
  }
  const KeyId = await create()
  const GranteeServicePrincipal = 's3.amazonaws.com'
  await refuses(grant(KeyId, ['Encrypt'], { GranteeServicePrincipal }), 'ValidationException', /not both/)
  const pairs = Array.from({ length: 9 }, (_, i) => [`k${i}`, 'v'] as const)
  const constrained = (count: number) => {
    const EncryptionContextSubset = Object.fromEntries(pairs.slice(0, count))
    return grant(KeyId, ['Encrypt'], { Constraints: { EncryptionContextSubset } })
  }
  await constrained(8)
  await refuses(constrained(9), 'ValidationException', /8 pairs/)
})

test.run()

async function create(input = {}): Promise<string> {
  return (await client.send(new CreateKeyCommand(input))).KeyMetadata!.KeyId!
}
