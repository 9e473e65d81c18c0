import { existsSync, mkdirSync, rmdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import {
  CreateAliasCommand,
  CreateGrantCommand,
  CreateKeyCommand,
  type CreateKeyCommandInput,
  DecryptCommand,
  DescribeKeyCommand,
  EncryptCommand,
  ListAliasesCommand,
  ListGrantsCommand,
  ListKeyRotationsCommand,
  ListKeysCommand,
  ReplicateKeyCommand,
  RotateKeyOnDemandCommand,
  SignCommand,
  TagResourceCommand,
  VerifyCommand,
} from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { startLocalKms } from '../../src/local-kms'
import type { Call } from '../../src/local-kms/call'
import type { KmsError } from '../../src/local-kms/errors'
import { Input } from '../../src/local-kms/input'
import { DAY, type Grant, keyState } from '../../src/local-kms/keys'
import { OPERATIONS } from '../../src/local-kms/operations'
import { Store } from '../../src/local-kms/store'
import { Vault } from '../../src/local-kms/vault'
import { countTurns } from '../support/work'
import { clientOf, refuses, secretsSeen, temporaryDirectory } from './support'

test('everything survives a restart', async () => {
  const { path, remove } = temporaryDirectory()
  const Message = Buffer.from('message')
  const Plaintext = Buffer.from('plaintext')
  const before = await session(path, async (client) => {
    const create = async (input: CreateKeyCommandInput) =>
      (await client.send(new CreateKeyCommand(input))).KeyMetadata!.KeyId!
    const KeyId = await create({ MultiRegion: true, Description: 'kept' })
    const blobs: Uint8Array[] = []
    for (let i = 0; i < 3; i++) {
      blobs.push((await client.send(new EncryptCommand({ KeyId, Plaintext }))).CiphertextBlob!)
      await client.send(new RotateKeyOnDemandCommand({ KeyId }))
    }
    await client.send(new ReplicateKeyCommand({ KeyId, ReplicaRegion: 'eu-west-1' }))
    await client.send(new CreateAliasCommand({ AliasName: 'alias/kept', TargetKeyId: KeyId }))
    await client.send(new TagResourceCommand({ KeyId, Tags: [{ TagKey: 'a', TagValue: 'b' }] }))
    await client.send(new CreateGrantCommand({ KeyId, GranteePrincipal: 'someone', Operations: ['Decrypt'] }))
    const signing = {
      KeyId: await create({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' }),
      SigningAlgorithm: 'ECDSA_SHA_256',
      Message,
    } as const
    const { Signature } = await client.send(new SignCommand(signing))
    return { KeyId, blobs, signing: { ...signing, Signature }, told: await tell(client, KeyId) }
  })
  await session(path, async (client) => {
    assert.equal(await tell(client, before.KeyId), before.told)
    for (const CiphertextBlob of before.blobs) {
      const opened = await client.send(new DecryptCommand({ CiphertextBlob, KeyId: 'alias/kept' }))
      assert.equal(Buffer.from(opened.Plaintext!), Plaintext)
    }
    assert.is((await client.send(new VerifyCommand(before.signing))).SignatureValid, true)
  })
  remove()
})

test('a hundred changes at once are all kept', async () => {
  const { path, remove } = temporaryDirectory()
  const made = await session(path, (client) =>
    Promise.all(
      Array.from({ length: 100 }, async () => (await client.send(new CreateKeyCommand({}))).KeyMetadata!.KeyId),
    ),
  )
  const { Keys } = await session(path, (client) => client.send(new ListKeysCommand({ Limit: 1000 })))
  assert.equal(
    Keys!.map(({ KeyId }) => KeyId),
    made.sort(),
  )
  remove()
})

test('a change that cannot be stored did not happen', async () => {
  const { path, remove } = temporaryDirectory()
  const made = await session(path, async (client) => {
    const { KeyMetadata } = await client.send(new CreateKeyCommand({}))
    const inTheWay = join(path, 'keys.sealed.new')
    mkdirSync(inTheWay)
    await refuses(
      client.send(new CreateKeyCommand({})),
      'KMSInternalException',
      /^The request could not be completed\.$/,
    )
    const rotate = new RotateKeyOnDemandCommand({ KeyId: KeyMetadata!.KeyId })
    await refuses(client.send(rotate), 'KMSInternalException')
    const alias = new CreateAliasCommand({ AliasName: 'alias/not', TargetKeyId: KeyMetadata!.KeyId })
    await refuses(client.send(alias), 'KMSInternalException')
    assert.equal((await client.send(new ListAliasesCommand({}))).Aliases, [])
    const { Keys } = await client.send(new ListKeysCommand({}))
    assert.is(Keys!.length, 1)
    const { Rotations } = await client.send(new ListKeyRotationsCommand({ KeyId: KeyMetadata!.KeyId }))
    assert.is(Rotations!.length, 0)
    rmdirSync(inTheWay)
    await client.send(rotate)
    return KeyMetadata!.KeyId
  })
  const { Keys } = await session(path, (client) => client.send(new ListKeysCommand({})))
  assert.equal(
    Keys!.map(({ KeyId }) => KeyId),
    [made],
  )
  remove()
})

test('deletes keys, with all that hangs on them, when their time has come', async () => {
  const { vault, run, keyId, arn } = await vaultWithKey()
  await run('CreateAlias', { AliasName: 'alias/gone', TargetKeyId: keyId })
  await run('CreateGrant', { KeyId: keyId, GranteePrincipal: 'someone', Operations: ['Decrypt'] })
  const later = (await run('CreateKey', {})) as { KeyMetadata: { KeyId: string; Arn: string } }
  await run('ScheduleKeyDeletion', { KeyId: keyId, PendingWindowInDays: 7 })
  await run('ScheduleKeyDeletion', { KeyId: later.KeyMetadata.KeyId, PendingWindowInDays: 30 })
  await vault.sweep(7 * DAY - 1)
  assert.ok(vault.state.keys.has(arn))
  await vault.sweep(7 * DAY + 1000)
  assert.equal([...vault.state.keys.keys()], [later.KeyMetadata.Arn])
  await vault.sweep(30 * DAY + 1000)
  const { keys, materials, aliases, grants } = vault.state
  assert.equal([keys.size, materials.size, aliases.size, grants.size], [0, 0, 0, 0])
})

test('starts the wait of a primary key when its last replica is gone', async () => {
  const { vault, run, keyId, arn } = await vaultWithKey({ MultiRegion: true })
  await run('ReplicateKey', { KeyId: keyId, ReplicaRegion: 'eu-west-1' })
  await run('ScheduleKeyDeletion', { KeyId: keyId, PendingWindowInDays: 10 })
  await vault.sweep(100 * DAY)
  assert.is(keyState(vault.state.keys.get(arn)!), 'PendingReplicaDeletion')
  await run('ScheduleKeyDeletion', { KeyId: keyId, PendingWindowInDays: 7 }, { region: 'eu-west-1', now: 100 * DAY })
  await vault.sweep(107 * DAY)
  assert.is(keyState(vault.state.keys.get(arn)!), 'PendingDeletion')
  await vault.sweep(116 * DAY)
  assert.is(vault.state.keys.size, 1)
  await vault.sweep(117 * DAY)
  assert.equal([vault.state.keys.size, vault.state.materials.size], [0, 0])
})

test('a replica that is deleted takes with it only what is its own', async () => {
  const { vault, run, keyId, arn } = await vaultWithKey({ MultiRegion: true })
  for (const ReplicaRegion of ['eu-west-1', 'eu-west-2']) await run('ReplicateKey', { KeyId: keyId, ReplicaRegion })
  const grant = { KeyId: keyId, GranteePrincipal: 'someone', Operations: ['Decrypt'] }
  for (const region of ['us-east-1', 'eu-west-1', 'eu-west-2']) {
    await run('CreateAlias', { AliasName: 'alias/each', TargetKeyId: keyId }, { region })
    await run('CreateGrant', grant, { region })
  }
  for (const region of ['us-east-1', 'eu-west-1']) await run('ScheduleKeyDeletion', { KeyId: keyId }, { region })
  await vault.sweep(31 * DAY)
  const { keys, aliases, grants } = vault.state
  const left = [arn, arn.replace('us-east-1', 'eu-west-2')]
  assert.equal([...keys.keys()], left)
  assert.equal(
    [...aliases.values()].map(({ region }) => region),
    ['us-east-1', 'eu-west-2'],
  )
  assert.equal(
    [...grants.values()].map(({ keyArn }) => keyArn),
    left,
  )
  assert.is(keyState(keys.get(arn)!), 'PendingReplicaDeletion', 'another replica remains')
})

test('what belongs to another account is not listed, and not found', async () => {
  const { run, keyId, arn } = await vaultWithKey()
  const other = { account: '444455556666' }
  const grant = { KeyId: keyId, GranteePrincipal: 'someone', RetiringPrincipal: 'me', Operations: ['Decrypt'] }
  const { GrantToken } = (await run('CreateGrant', grant)) as { GrantToken: string }
  await run('CreateAlias', { AliasName: 'alias/mine', TargetKeyId: keyId })
  for (const [operation, field, fields] of [
    ['ListKeys', 'Keys', {}],
    ['ListAliases', 'Aliases', {}],
    ['ListRetirableGrants', 'Grants', { RetiringPrincipal: 'me' }],
  ] as const) {
    const counts = [await run(operation, fields), await run(operation, fields, other)].map(
      (answer) => (answer![field] as unknown[]).length,
    )
    assert.equal(counts, [1, 0], operation)
  }
  for (const id of [keyId, arn, 'alias/mine'])
    await refuses(run('DescribeKey', { KeyId: id }, other).catch(asError), 'NotFoundException')
  await refuses(run('RetireGrant', { GrantToken }, other).catch(asError), 'NotFoundException')
  const named = { KeyId: arn.replace('111122223333', other.account) }
  await refuses(run('DescribeKey', named).catch(asError), 'NotFoundException')
})

test('rotates by plan, as long as the key is enabled', async () => {
  const { vault, run, keyId } = await vaultWithKey()
  const origins = () => vault.state.materials.get(keyId)!.versions.map(({ origin }) => origin)
  await run('EnableKeyRotation', { KeyId: keyId, RotationPeriodInDays: 90 })
  await vault.sweep(90 * DAY - 1)
  assert.equal(origins(), ['INITIAL'])
  await vault.sweep(90 * DAY + 2000)
  assert.equal(origins(), ['INITIAL', 'AUTOMATIC'])
  await run('DisableKey', { KeyId: keyId })
  await vault.sweep(200 * DAY)
  assert.equal(origins(), ['INITIAL', 'AUTOMATIC'])
  await run('EnableKey', { KeyId: keyId })
  // The next one is so many days after this one, however late it is.
  for (const days of [200, 289]) {
    await vault.sweep(days * DAY + 2000)
    assert.equal(origins(), ['INITIAL', 'AUTOMATIC', 'AUTOMATIC'])
  }
})

test('the plan of a multi-Region key goes by its primary key, whatever its replicas are', async () => {
  const { vault, run, keyId } = await vaultWithKey({ MultiRegion: true })
  const origins = () => vault.state.materials.get(keyId)!.versions.map(({ origin }) => origin)
  await run('ReplicateKey', { KeyId: keyId, ReplicaRegion: 'eu-west-1' })
  await run('EnableKeyRotation', { KeyId: keyId })
  await run('DisableKey', { KeyId: keyId })
  await vault.sweep(400 * DAY)
  assert.equal(origins(), ['INITIAL'])
  await run('EnableKey', { KeyId: keyId })
  await run('DisableKey', { KeyId: keyId }, { region: 'eu-west-1' })
  await vault.sweep(401 * DAY)
  assert.equal(origins(), ['INITIAL', 'AUTOMATIC'])
})

test('goes by a clock that was set back', async () => {
  const { vault, run, keyId } = await vaultWithKey()
  await vault.sweep(1000 * DAY)
  await run('ScheduleKeyDeletion', { KeyId: keyId, PendingWindowInDays: 7 })
  await vault.sweep(7 * DAY)
  assert.is(vault.state.keys.size, 0)
})

test('a store in a folder that was named from here is there wherever the process goes', async () => {
  const { path, remove } = temporaryDirectory()
  const from = process.cwd()
  const kms = await startLocalKms({ dataDir: relative(from, path) })
  const client = clientOf(kms)
  process.chdir('/')
  await client.send(new CreateKeyCommand({}))
  await kms.close()
  process.chdir(from)
  await session(path, async (again) => assert.is((await again.send(new ListKeysCommand({}))).Keys!.length, 1))
  client.destroy()
  remove()
})

test('a store that could not be opened again is not written', async () => {
  const { path, remove } = temporaryDirectory()
  const { vault, arn } = await vaultWithKey({}, await Store.open(path))
  // Each character takes six in JSON.
  const policy = '\u0001'.repeat(45 * 2 ** 20)
  const growing = vault.commit((draft) => draft.keys.set(arn, { ...draft.keys.get(arn)!, policy }))
  assert.is(((await growing.catch((error: unknown) => error)) as KmsError).type, 'LimitExceededException')
  await vault.close()
  await session(path, async (again) => assert.is((await again.send(new ListKeysCommand({}))).Keys!.length, 1))
  remove()
})

test('no key stays in memory that was stored, or read from the store', async () => {
  const { path, remove } = temporaryDirectory()
  const texts: Buffer[] = []
  const { from } = Buffer
  Buffer.from = ((...args: Parameters<typeof from>) => {
    const bytes = from(...args)
    if (String(args[0]).includes('"secret":"')) texts.push(bytes)
    return bytes
  }) as typeof from
  const seen = await secretsSeen(async () => {
    const { vault, run } = await vaultWithKey({}, await Store.open(path))
    await run('CreateKey', { KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' })
    await vault.close()
    const again = await Vault.open(await Store.open(path))
    assert.is(again.state.keys.size, 2)
    await again.close()
  })
  Buffer.from = from
  assert.ok(texts.length > 0 && seen.length > 0)
  for (const bytes of [...texts, ...seen]) assert.ok(bytes.every((byte) => byte === 0))
  remove()
})

test('other events have their turns while many keys are being stored', async () => {
  let stored = ''
  const save = async (contents: Uint8Array) => {
    stored = Buffer.from(contents).toString()
  }
  const { vault, keyId } = await vaultWithKey({ KeySpec: 'RSA_2048', KeyUsage: 'SIGN_VERIFY' }, { save } as Store)
  const material = vault.state.materials.get(keyId)!
  const turns = countTurns()
  await vault.commit((draft) => {
    for (let i = 0; i < 1000; i++) draft.materials.set(`key-${i}`, { ...material, keyId: `key-${i}` })
  })
  // This store has nothing to wait for: the turns are those that the vault gave.
  const given = turns()
  assert.ok(given >= 20, `${given} turns`)
  const { materials } = JSON.parse(stored) as { materials: { versions: { secret: string }[] }[] }
  assert.is(materials.length, 1001)
  const secrets = new Set(materials.map(({ versions }) => versions[0]!.secret))
  assert.is(secrets.size, 1)
})

test('closing waits for the change that is being stored', async () => {
  const steps: string[] = []
  let begin = () => {}
  let end = () => {}
  const begun = new Promise<void>((resolve) => (begin = resolve))
  const ended = new Promise<void>((resolve) => (end = resolve))
  const save = async () => {
    begin()
    await ended
    steps.push('saved')
  }
  const close = async () => {
    steps.push('closed')
  }
  const vault = await Vault.open({ contents: Buffer.from(EMPTY), save, close } as Partial<Store> as Store)
  const change = vault.commit(() => {})
  await begun
  const closing = vault.close()
  end()
  await Promise.all([change, closing])
  assert.equal(steps, ['saved', 'closed'])
})

test('refuses changes once it is closed', async () => {
  const { vault, run, keyId } = await vaultWithKey()
  await vault.close()
  await refuses(run('DisableKey', { KeyId: keyId }), 'Error', /closing/)
})

test('a change that nobody waits for any more when its turn comes is not made', async () => {
  const { vault, run, keyId, arn } = await vaultWithKey()
  const controller = new AbortController()
  const first = run('UpdateKeyDescription', { KeyId: keyId, Description: 'first' })
  const second = run('UpdateKeyDescription', { KeyId: keyId, Description: 'second' }, { signal: controller.signal })
  controller.abort()
  await first
  await refuses(second, 'Error', /not waited for/)
  assert.is(vault.state.keys.get(arn)!.description, 'first')
})

test('a new store is written at once', async () => {
  const { path, remove } = temporaryDirectory()
  const vault = await Vault.open(await Store.open(path))
  assert.ok(existsSync(join(path, 'keys.sealed')))
  await vault.close()
  remove()
})

test('refuses contents of another version', async () => {
  const { path, remove } = temporaryDirectory()
  const store = await Store.open(path)
  await store.save(Buffer.from('{"version":2}'))
  await store.close()
  await refuses(startLocalKms({ dataDir: path }), 'SealwaxError', /version 2/)
  await refuses(startLocalKms({ dataDir: path }), 'SealwaxError', /version 2/)
  remove()
})

test('what callers may choose freely has a bound in all, and what is there can be made less', async () => {
  const { vault, arn } = await vaultWithKey()
  const grant = (id: string) =>
    vault.commit((draft) => {
      draft.grants.set(id, { id, keyArn: arn, created: 0, entry: { Name: 'x'.repeat(40 * 2 ** 20) } })
    })
  await grant('a')
  const refused = await grant('b').catch((error: unknown) => error)
  assert.is((refused as KmsError).type, 'LimitExceededException')
  assert.equal([...vault.state.grants.keys()], ['a'])
  const key = vault.state.keys.get(arn)!
  const half = 'x'.repeat(13 * 2 ** 20)
  for (const more of [
    { policy: half + half },
    { description: half + half },
    { tags: [{ TagKey: half, TagValue: half }] },
  ]) {
    const change = vault.commit((draft) => draft.keys.set(arn, { ...key, ...more }))
    assert.is(((await change.catch((error: unknown) => error)) as KmsError).type, 'LimitExceededException')
  }
  await vault.commit((draft) => draft.grants.delete('a'))
  await grant('b')
  // More than there can be now, as an earlier version may have left it.
  const { grants } = vault.state
  for (const id of ['c', 'd']) (grants as Map<string, Grant>).set(id, { ...grants.get('b')!, id })
  await vault.commit((draft) => draft.grants.delete('c'))
})

test('there is a bound to how many keys there are, and grants of one', async () => {
  const { vault, run, keyId, arn } = await vaultWithKey()
  const grant = { KeyId: keyId, GranteePrincipal: 'someone', Operations: ['Decrypt'] }
  const fill = (name: 'keys' | 'grants', record: object, count: number) =>
    vault.commit((draft) => {
      for (let i = 0; i < count; i++) (draft[name] as Map<string, object>).set(`${i}`, record)
    })
  await fill('grants', { keyArn: arn, entry: {} }, 999)
  await run('CreateGrant', grant)
  await refuses(run('CreateGrant', grant).catch(asError), 'LimitExceededException', /at most 1000 grants/)
  await fill('keys', vault.state.keys.get(arn)!, 9998)
  await run('CreateKey', {})
  await refuses(run('CreateKey', {}).catch(asError), 'LimitExceededException', /at most 10000 keys/)
})

test('a deletion that is due and cannot be stored is no matter of other keys', async () => {
  const { path, remove } = temporaryDirectory()
  const { vault, run, keyId } = await vaultWithKey({}, await Store.open(path))
  const due = { now: Date.now() - 40 * DAY }
  const other = (await run('CreateKey', {})) as { KeyMetadata: { KeyId: string } }
  await run('ScheduleKeyDeletion', { KeyId: keyId, PendingWindowInDays: 7 }, due)
  await vault.close()
  const kms = await startLocalKms({ dataDir: path })
  const client = clientOf(kms)
  const blocking = join(path, 'keys.sealed.new')
  mkdirSync(blocking)
  const KeyId = other.KeyMetadata.KeyId
  const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId, Plaintext: Buffer.from('x') }))
  assert.equal((await client.send(new DecryptCommand({ CiphertextBlob }))).KeyId?.endsWith(KeyId), true)
  rmdirSync(blocking)
  await kms.close()
  assert.match(kms.endpoint, /^http:/)
  client.destroy()
  remove()
})

test.run()

const EMPTY = '{"version":1,"materials":[],"keys":[],"aliases":[],"grants":[]}'

/** As a client has it. */
function asError({ type, message }: KmsError): never {
  throw Object.assign(new Error(message), { name: type })
}

type Client = ReturnType<typeof clientOf>

async function session<T>(dataDir: string, use: (client: Client) => Promise<T>): Promise<T> {
  const kms = await startLocalKms({ dataDir })
  const client = clientOf(kms)
  try {
    return await use(client)
  } finally {
    client.destroy()
    await kms.close()
  }
}

async function tell(client: Client, KeyId: string) {
  const answers = [
    await client.send(new DescribeKeyCommand({ KeyId })),
    await client.send(new ListAliasesCommand({ KeyId })),
    await client.send(new ListGrantsCommand({ KeyId })),
    await client.send(new ListKeyRotationsCommand({ KeyId })),
    await client.send(new ListKeysCommand({})),
  ]
  return answers.map(({ $metadata: _, ...answer }) => answer)
}

/** A vault in memory with one key, made at time 0, and a way to run operations at any time. */
async function vaultWithKey(input: object = {}, store?: Store) {
  const vault = await Vault.open(store)
  const run = async (operation: string, fields: object, scope: Partial<Call> = {}) => {
    const body = new Input(Buffer.from(JSON.stringify(fields)))
    const call = {
      input: body,
      vault,
      state: vault.state,
      now: 0,
      signal: new AbortController().signal,
      region: 'us-east-1',
      account: '111122223333',
      ...scope,
    }
    return OPERATIONS.get(operation)!(call)
  }
  const answer = await run('CreateKey', input)
  const { KeyId, Arn } = answer!.KeyMetadata as { KeyId: string; Arn: string }
  return { vault, run, keyId: KeyId, arn: Arn }
}
