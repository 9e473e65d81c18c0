import { type Answer, type Call, commit, namedKey, type Operations, page, replaceKey } from './call'
import { KmsError, unsupported, validation } from './errors'
import { throwMissing } from './input'
import {
  arnOf,
  DAY,
  findKey,
  isPrimary,
  isSymmetric,
  KEY_SPECS,
  KEY_USAGES,
  type Key,
  type KeySpec,
  type KeyUsage,
  keyMetadata,
  keyState,
  type Material,
  materialOf,
  newKeyId,
  partitionOf,
  refusePending,
  requireEnabled,
  rootArn,
  type State,
  seconds,
  siblings,
  specOf,
  type Tag,
} from './keys'
import { generateSecret, keyVersion, rotated } from './material'
import { readPolicy, readTags } from './resource-operations'

const MAX_KEYS = 10_000
const MAX_ON_DEMAND_ROTATIONS = 25
const MAX_DESCRIPTION_LENGTH = 8192

/** The life of keys: creation, replicas, states, rotation. */
export const keyOperations: Operations = {
  async CreateKey(call) {
    const { input, now, region } = call
    const { spec, usage } = specAndUsage(call)
    const origin = input.text('Origin') ?? 'AWS_KMS'
    if (origin !== 'AWS_KMS' || input.has('CustomKeyStoreId') || input.has('XksKeyId')) {
      throw unsupported('Only key material of the server itself (origin AWS_KMS) is supported.')
    }
    const multiRegion = input.flag('MultiRegion')
    const keyId = newKeyId(multiRegion)
    const key = newKey(call, keyId, region, readTags(input) ?? [])
    const versions = [keyVersion(keyId, 0, await generateSecret(spec, call.signal), 'INITIAL', now)]
    return commit(call, (draft) => {
      addKey(draft, key)
      draft.materials.set(keyId, { keyId, spec, usage, multiRegion, primaryRegion: region, versions })
      return { KeyMetadata: keyMetadata(draft, key) }
    })
  },

  ReplicateKey(call) {
    const { input } = call
    const region = input.requiredText('ReplicaRegion', 32)
    if (!/^[a-z]+(-[a-z]+)+-\d+$/.test(region)) throw validation('ReplicaRegion is not the name of a Region.')
    const tags = readTags(input) ?? []
    return commit(call, (draft) => {
      const key = requireEnabled(findKey(draft, call, input.requiredText('KeyId')))
      if (!materialOf(draft, key).multiRegion) throw unsupported(`${key.arn} is not a multi-Region key.`)
      if (!isPrimary(materialOf(draft, key), key)) throw unsupported(`${key.arn} is not a primary key.`)
      if (partitionOf(region) !== partitionOf(key.region))
        throw unsupported(`${region} is not in the partition of ${key.arn}.`)
      const replica = newKey(call, key.keyId, region, tags)
      if (draft.keys.has(replica.arn)) throw new KmsError('AlreadyExistsException', `${replica.arn} already exists.`)
      addKey(draft, replica)
      return { ReplicaKeyMetadata: keyMetadata(draft, replica), ReplicaPolicy: replica.policy, ReplicaTags: tags }
    })
  },

  UpdatePrimaryRegion(call) {
    const region = call.input.requiredText('PrimaryRegion', 32)
    return commit(call, (draft) => {
      const key = requireEnabled(findKey(draft, call, call.input.requiredText('KeyId')))
      const material = materialOf(draft, key)
      if (!material.multiRegion || !isPrimary(material, key))
        throw unsupported(`${key.arn} is not a multi-Region primary key.`)
      requireEnabled(findKey(draft, { ...call, region }, key.keyId))
      draft.materials.set(key.keyId, { ...material, primaryRegion: region })
      return undefined
    })
  },

  DescribeKey(call) {
    const key = findKey(call.state, call, call.input.requiredText('KeyId'), 'aliases')
    return { KeyMetadata: keyMetadata(call.state, key) }
  },

  ListKeys(call) {
    const here = [...call.state.keys.values()].filter(
      (key) => key.region === call.region && key.account === call.account,
    )
    const { items, paging } = page(call, here, (key) => key.keyId, 100, 1000)
    return { Keys: items.map((key) => ({ KeyId: key.keyId, KeyArn: key.arn })), ...paging }
  },

  EnableKey: (call) => replaceKey(call, (key) => ({ ...refusePending(key), enabled: true })),

  DisableKey: (call) => replaceKey(call, (key) => ({ ...refusePending(key), enabled: false })),

  UpdateKeyDescription(call) {
    if (!call.input.has('Description')) throwMissing('description')
    const description = call.input.note('Description', MAX_DESCRIPTION_LENGTH)
    return replaceKey(call, (key) => ({ ...refusePending(key), description }))
  },

  ScheduleKeyDeletion(call) {
    const windowInDays = call.input.integer('PendingWindowInDays', 7, 30) ?? 30
    const date = call.now + windowInDays * DAY
    return replaceKey(
      call,
      (key, draft) => {
        const waits = isPrimary(materialOf(draft, key), key) && siblings(draft, key.keyId).length > 1
        return { ...refusePending(key), enabled: false, deletion: waits ? { windowInDays } : { windowInDays, date } }
      },
      (key) => ({
        KeyId: key.arn,
        KeyState: keyState(key),
        DeletionDate: key.deletion?.date && seconds(key.deletion.date),
        PendingWindowInDays: windowInDays,
      }),
    )
  },

  CancelKeyDeletion: (call) =>
    replaceKey(
      call,
      ({ deletion, ...key }) => {
        if (!deletion) throw new KmsError('KMSInvalidStateException', `${key.arn} is not pending deletion.`)
        return key
      },
      (key) => ({ KeyId: key.arn }),
    ),

  EnableKeyRotation(call) {
    const period = call.input.integer('RotationPeriodInDays', 90, 2560)
    return changeRotation(call, (material) => {
      const periodInDays = period ?? material.rotation?.periodInDays ?? 365
      return { ...material, rotation: { periodInDays, next: call.now + periodInDays * DAY } }
    })
  },

  DisableKeyRotation: (call) => changeRotation(call, ({ rotation: _, ...material }) => material),

  GetKeyRotationStatus(call) {
    const key = namedKey(call)
    const { rotation } = rotatable(call.state, key)
    if (!rotation || key.deletion) return { KeyId: key.keyId, KeyRotationEnabled: false }
    return {
      KeyId: key.keyId,
      KeyRotationEnabled: true,
      RotationPeriodInDays: rotation.periodInDays,
      NextRotationDate: seconds(rotation.next),
    }
  },

  RotateKeyOnDemand: (call) =>
    changeRotation(call, (material) => {
      const earlier = material.versions.filter(({ origin }) => origin === 'ON_DEMAND').length
      if (earlier >= MAX_ON_DEMAND_ROTATIONS) {
        throw new KmsError(
          'LimitExceededException',
          `A key rotates on demand at most ${MAX_ON_DEMAND_ROTATIONS} times.`,
        )
      }
      return rotated(material, 'ON_DEMAND', call.now)
    }),

  ListKeyRotations(call) {
    const key = namedKey(call)
    const all = call.input.oneOf('IncludeKeyMaterial', ['ALL_KEY_MATERIAL', 'ROTATIONS_ONLY']) === 'ALL_KEY_MATERIAL'
    const { versions } = rotatable(call.state, key)
    const listed = versions.map((version, index) => ({ version, index })).filter(({ index }) => all || index > 0)
    const { items, paging } = page(call, listed, ({ index }) => String(index).padStart(6, '0'), 100, 1000)
    return {
      Rotations: items.map(({ version, index }) => ({
        KeyId: key.keyId,
        KeyMaterialId: version.id,
        KeyMaterialState: index === versions.length - 1 ? 'CURRENT' : 'NON_CURRENT',
        ...(index > 0 && { RotationDate: seconds(version.created), RotationType: version.origin }),
      })),
      ...paging,
    }
  },
}

function specAndUsage({ input }: Call): { spec: KeySpec; usage: KeyUsage } {
  const names = Object.keys(KEY_SPECS) as KeySpec[]
  if (input.has('KeySpec') && input.has('CustomerMasterKeySpec'))
    throw validation('You cannot specify KeySpec and CustomerMasterKeySpec in the same request.')
  const spec = input.oneOf('KeySpec', names) ?? input.oneOf('CustomerMasterKeySpec', names) ?? 'SYMMETRIC_DEFAULT'
  const usage = input.oneOf('KeyUsage', KEY_USAGES) ?? (spec === 'SYMMETRIC_DEFAULT' ? 'ENCRYPT_DECRYPT' : undefined)
  if (!usage)
    throw validation('You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.')
  if (!specOf(spec).usages[usage]) throw validation(`KeyUsage ${usage} is not compatible with KeySpec ${spec}.`)
  return { spec, usage }
}

function newKey(call: Call, keyId: string, region: string, tags: readonly Tag[]): Key {
  const { input, account, now } = call
  return {
    arn: arnOf(`key/${keyId}`, { region, account }),
    keyId,
    region,
    account,
    created: now,
    description: input.note('Description', MAX_DESCRIPTION_LENGTH),
    policy: readPolicy(call) ?? defaultPolicy(call),
    enabled: true,
    tags,
  }
}

function defaultPolicy(call: Call): string {
  const statement = { Effect: 'Allow', Principal: { AWS: rootArn(call) }, Action: 'kms:*', Resource: '*' }
  return JSON.stringify({ Version: '2012-10-17', Statement: [statement] })
}

function addKey(draft: State, key: Key): void {
  if (draft.keys.size >= MAX_KEYS)
    throw new KmsError('LimitExceededException', `The server holds at most ${MAX_KEYS} keys.`)
  draft.keys.set(key.arn, key)
}

/** Replaces the material of the key that `KeyId` names, for it and all its replicas. */
function changeRotation(call: Call, replace: (material: Material) => Material): Promise<Answer> {
  const id = call.input.requiredText('KeyId')
  return commit(call, (draft) => {
    const key = requireEnabled(findKey(draft, call, id))
    const material = rotatable(draft, key)
    if (!isPrimary(material, key)) throw unsupported(`${key.arn} is a replica: it rotates with its primary key.`)
    draft.materials.set(key.keyId, replace(material))
    return { KeyId: key.keyId }
  })
}

function rotatable(state: State, key: Key): Material {
  const material = materialOf(state, key)
  if (!isSymmetric(material)) throw unsupported(`${key.arn} cannot rotate: its key spec is ${material.spec}.`)
  return material
}
