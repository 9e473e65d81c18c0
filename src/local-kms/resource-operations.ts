import { randomBytes } from 'node:crypto'
import { utf8 } from '../bytes'
import { type Call, commit, namedKey, type Operations, page, replaceKey, stopIfDryRun } from './call'
import { KmsError, notFound, validation } from './errors'
import { Input, outOfBounds, throwMissing } from './input'
import {
  type Alias,
  arnOf,
  findKey,
  type Grant,
  isSymmetric,
  type Key,
  type KeyUsage,
  type Material,
  materialOf,
  refusePending,
  requireEnabled,
  rootArn,
  type State,
  seconds,
  type Tag,
} from './keys'

const MAX_ALIASES_PER_KEY = 50
const MAX_TAGS = 50
const MAX_GRANTS_PER_KEY = 1000
const MAX_POLICY_LENGTH = 32_768
const MAX_CONSTRAINT_PAIRS = 8

/** What hangs on keys: aliases, tags, policies and grants. Policies and grants are kept and told; nothing obeys them. */
export const resourceOperations: Operations = {
  CreateAlias(call) {
    const { name, arn } = aliasInput(call)
    const target = call.input.requiredText('TargetKeyId')
    const { region, now } = call
    return commit(call, (draft) => {
      if (draft.aliases.has(arn))
        throw new KmsError('AlreadyExistsException', `An alias with the name ${arn} already exists.`)
      const { keyId } = refusePending(findKey(draft, call, target))
      setAlias(draft, { arn, name, region, targetKeyId: keyId, created: now, updated: now })
      return undefined
    })
  },

  UpdateAlias(call) {
    const { arn } = aliasInput(call)
    const target = call.input.requiredText('TargetKeyId')
    return commit(call, (draft) => {
      const alias = draft.aliases.get(arn) ?? throwAliasNotFound(arn)
      const key = refusePending(findKey(draft, call, target))
      const [old, next] = [alias.targetKeyId, key.keyId].map((keyId) => draft.materials.get(keyId))
      if (old?.usage !== next?.usage || (old?.spec === 'SYMMETRIC_DEFAULT') !== (next?.spec === 'SYMMETRIC_DEFAULT')) {
        throw validation('An alias can move only between keys of the same type and key usage.')
      }
      setAlias(draft, { ...alias, targetKeyId: key.keyId, updated: call.now })
      return undefined
    })
  },

  DeleteAlias(call) {
    const { arn } = aliasInput(call)
    return commit(call, (draft) => {
      if (!draft.aliases.delete(arn)) throwAliasNotFound(arn)
      return undefined
    })
  },

  ListAliases(call) {
    const id = call.input.text('KeyId')
    const keyId = id === undefined ? undefined : findKey(call.state, call, id).keyId
    const here = [...call.state.aliases.values()].filter(
      (alias) => alias.arn === arnOf(alias.name, call) && (keyId === undefined || alias.targetKeyId === keyId),
    )
    const { items, paging } = page(call, here, (alias) => alias.name, 50, 100)
    return {
      Aliases: items.map((alias) => ({
        AliasName: alias.name,
        AliasArn: alias.arn,
        TargetKeyId: alias.targetKeyId,
        CreationDate: seconds(alias.created),
        LastUpdatedDate: seconds(alias.updated),
      })),
      ...paging,
    }
  },

  TagResource(call) {
    const added = readTags(call.input) ?? throwMissing('tags')
    return replaceKey(call, (key) => {
      const kept = key.tags.filter(({ TagKey }) => !added.some((tag) => tag.TagKey === TagKey))
      return { ...refusePending(key), tags: checkTagCount([...kept, ...added]) }
    })
  },

  UntagResource(call) {
    const names = call.input.texts('TagKeys', MAX_TAGS) ?? throwMissing('tagKeys')
    return replaceKey(call, (key) => ({
      ...refusePending(key),
      tags: key.tags.filter(({ TagKey }) => !names.includes(TagKey)),
    }))
  },

  ListResourceTags(call) {
    const { tags } = namedKey(call)
    const { items, paging } = page(call, tags, ({ TagKey }) => TagKey, 50, 50)
    return { Tags: items, ...paging }
  },

  GetKeyPolicy(call) {
    checkPolicyName(call)
    return { Policy: namedKey(call).policy, PolicyName: 'default' }
  },

  PutKeyPolicy(call) {
    checkPolicyName(call)
    const policy = readPolicy(call) ?? throwMissing('policy')
    return replaceKey(call, (key) => ({ ...key, policy }))
  },

  ListKeyPolicies(call) {
    namedKey(call)
    return { PolicyNames: ['default'], Truncated: false }
  },

  CreateGrant(call) {
    const { input, now } = call
    const id = randomBytes(32).toString('hex')
    const entry = {
      Name: input.text('Name', 256),
      ...(readPrincipal(input, 'Grantee') ?? throwMissing('granteePrincipal')),
      ...readPrincipal(input, 'Retiring'),
      Operations: readGrantOperations(input),
      Constraints: readConstraints(input),
      IssuingAccount: rootArn(call),
    }
    const keyId = input.requiredText('KeyId')
    return commit(call, (draft) => {
      const key = requireEnabled(findKey(draft, call, keyId))
      checkGrantFits(materialOf(draft, key), entry)
      stopIfDryRun(call)
      const grants = grantsOf(draft, key)
      // A name makes the same request again the same grant.
      const text = JSON.stringify(entry)
      const same = entry.Name === undefined ? undefined : grants.find((one) => JSON.stringify(one.entry) === text)
      if (same) return { GrantId: same.id, GrantToken: grantToken(same.id) }
      if (grants.length >= MAX_GRANTS_PER_KEY) {
        throw new KmsError('LimitExceededException', `A key has at most ${MAX_GRANTS_PER_KEY} grants.`)
      }
      draft.grants.set(id, { id, keyArn: key.arn, created: now, entry })
      return { GrantId: id, GrantToken: grantToken(id) }
    })
  },

  ListGrants(call) {
    const { input } = call
    const [id, grantee] = [input.text('GrantId', 128), readPrincipal(input, 'Grantee')]
    return grantPage(
      call,
      grantsOf(call.state, namedKey(call)).filter((grant) => (id ?? grant.id) === grant.id && isOf(grantee, grant)),
    )
  },

  ListRetirableGrants(call) {
    const retiring = readPrincipal(call.input, 'Retiring') ?? throwMissing('retiringPrincipal')
    const retirable = [...call.state.grants.values()].filter(
      (grant) => isOf(retiring, grant) && grant.keyArn.startsWith(arnOf('key/', call)),
    )
    return grantPage(call, retirable)
  },

  RevokeGrant: (call) => removeGrant(call, call.input.requiredText('KeyId'), call.input.requiredText('GrantId', 128)),

  RetireGrant(call) {
    const { input, state } = call
    const token = input.text('GrantToken', 8192)
    if (token === undefined) return removeGrant(call, input.requiredText('KeyId'), input.requiredText('GrantId', 128))
    const grant = [...state.grants.values()].find(({ id }) => grantToken(id) === token)
    if (!grant) throw new KmsError('InvalidGrantTokenException', 'The grant token is not valid.')
    return removeGrant(call, grant.keyArn, grant.id)
  },
}

/** The `Tags` of a request, without duplicates. */
export function readTags(input: Input): readonly Tag[] | undefined {
  const tags = input.list('Tags', MAX_TAGS)?.map((tag): Tag => {
    const { TagKey, TagValue } = (tag ?? {}) as Partial<Record<keyof Tag, unknown>>
    if (typeof TagKey !== 'string' || typeof TagValue !== 'string') {
      throw new KmsError('SerializationException', 'tags must be a list of TagKey and TagValue')
    }
    if (TagKey === '' || TagKey.length > 128 || TagValue.length > 256 || TagKey.startsWith('aws:')) {
      throw new KmsError('TagException', 'A tag is too long, empty or reserved.')
    }
    return { TagKey, TagValue }
  })
  if (tags && new Set(tags.map(({ TagKey }) => TagKey)).size !== tags.length) {
    throw new KmsError('TagException', 'Duplicate tag keys.')
  }
  return tags
}

/** The `Policy` of a request: any JSON object. */
export function readPolicy({ input }: Call): string | undefined {
  const policy = input.text('Policy', MAX_POLICY_LENGTH)
  try {
    if (policy === undefined || JSON.parse(policy)?.constructor === Object) return policy
  } catch {}
  throw new KmsError('MalformedPolicyDocumentException', 'The policy is not a JSON object.')
}

function aliasInput(call: Call): { name: string; arn: string } {
  const name = call.input.requiredText('AliasName', 256)
  if (!/^alias\/[a-zA-Z0-9/_-]+$/.test(name))
    throw validation('aliasName must be "alias/" and letters, digits, "/", "_" or "-".')
  if (name.startsWith('alias/aws/'))
    throw new KmsError('InvalidAliasNameException', 'Names that begin with "alias/aws/" are reserved.')
  return { name, arn: arnOf(name, call) }
}

function setAlias(draft: State, alias: Alias): void {
  const others = [...draft.aliases.values()].filter(
    ({ arn, region, targetKeyId }) => arn !== alias.arn && region === alias.region && targetKeyId === alias.targetKeyId,
  )
  if (others.length >= MAX_ALIASES_PER_KEY) {
    throw new KmsError('LimitExceededException', `A key has at most ${MAX_ALIASES_PER_KEY} aliases.`)
  }
  draft.aliases.set(alias.arn, alias)
}

function checkTagCount(tags: readonly Tag[]): readonly Tag[] {
  if (tags.length > MAX_TAGS) throw new KmsError('LimitExceededException', `A key has at most ${MAX_TAGS} tags.`)
  return tags
}

function checkPolicyName({ input }: Call): void {
  if ((input.text('PolicyName', 128) ?? 'default') !== 'default')
    throw notFound('No such policy exists: the only name is "default".')
}

function grantsOf(state: State, key: Key): Grant[] {
  return [...state.grants.values()].filter((grant) => grant.keyArn === key.arn)
}

function grantPage(call: Call, grants: readonly Grant[]) {
  const { items, paging } = page(call, grants, (grant) => grant.id, 50, 100)
  const entries = items.map((grant) => ({
    KeyId: grant.keyArn,
    GrantId: grant.id,
    CreationDate: seconds(grant.created),
    ...grant.entry,
  }))
  return { Grants: entries, ...paging }
}

function removeGrant(call: Call, keyId: string, grantId: string): Promise<undefined> {
  return commit(call, (draft) => {
    const key = findKey(draft, call, keyId)
    if (draft.grants.get(grantId)?.keyArn !== key.arn) throw notFound(`Grant ID ${grantId} not found`)
    stopIfDryRun(call)
    draft.grants.delete(grantId)
    return undefined
  })
}

/** Opaque to clients. */
function grantToken(id: string): string {
  return Buffer.from(id, 'hex').toString('base64')
}

function throwAliasNotFound(arn: string): never {
  throw notFound(`Alias ${arn} is not found.`)
}

function readGrantOperations(input: Input): readonly string[] {
  const operations = input.texts('Operations', 50) ?? throwMissing('operations')
  if (operations.length > 0 && operations.every((one) => GRANT_OPERATIONS.has(one))) return operations
  throw outOfBounds('Operations', `enum value set: [${[...GRANT_OPERATIONS].join(', ')}]`)
}

/** The field of a grant that says who has it or may give it back: a principal, or a service. */
function readPrincipal(input: Input, role: 'Grantee' | 'Retiring'): Record<string, string> | undefined {
  const names = [`${role}Principal`, `${role}ServicePrincipal`].filter((name) => input.text(name, 256) !== undefined)
  if (names.length > 1) throw validation(`You can specify either ${names.join(' or ')}, but not both.`)
  return names[0] === undefined ? undefined : { [names[0]]: input.requiredText(names[0], 256) }
}

/** Whether a grant has this field, where one is asked for. */
function isOf(principal: Record<string, string> | undefined, { entry }: Grant): boolean {
  return Object.entries(principal ?? {}).every(([name, value]) => entry[name] === value)
}

/** What a grant allows and asks for, no matter whether anyone obeys it, must be possible with the key. */
function checkGrantFits(material: Material, { Operations, Constraints }: GrantTerms): void {
  const possible = GRANT_OPERATIONS_OF[isSymmetric(material) ? 'SYMMETRIC_DEFAULT' : material.usage]
  const impossible = Operations.find((one) => !possible.includes(one) && !GRANT_OPERATIONS_OF.any.includes(one))
  if (impossible)
    throw validation(
      `A grant for a key of spec ${material.spec} and usage ${material.usage} cannot allow ${impossible}.`,
    )
  if (!isSymmetric(material) && CONTEXT_CONSTRAINTS.some((name) => Constraints?.[name]))
    throw validation(`Keys of spec ${material.spec} take no encryption context that a grant could ask for.`)
}

interface GrantTerms {
  readonly Operations: readonly string[]
  readonly Constraints: Readonly<Record<string, unknown>> | undefined
}

function readConstraints(input: Input): Record<string, unknown> | undefined {
  const given = input.structure('Constraints')
  if (!given) return undefined
  const fields = new Input(utf8(JSON.stringify(given)))
  const kept: Record<string, unknown> = {}
  for (const name of CONTEXT_CONSTRAINTS) {
    fields.context(name)
    const pairs = fields.structure(name)
    if (!pairs) continue
    if (Object.keys(pairs).length > MAX_CONSTRAINT_PAIRS)
      throw validation(`${name} can have at most ${MAX_CONSTRAINT_PAIRS} pairs.`)
    kept[name] = pairs
  }
  const SourceArn = fields.text('SourceArn')
  return SourceArn === undefined ? kept : { ...kept, SourceArn }
}

const CONTEXT_CONSTRAINTS = ['EncryptionContextSubset', 'EncryptionContextEquals'] as const

const GRANT_OPERATIONS_OF: Readonly<Record<KeyUsage | 'SYMMETRIC_DEFAULT' | 'any', readonly string[]>> = {
  any: ['CreateGrant', 'DescribeKey', 'RetireGrant'],
  SYMMETRIC_DEFAULT: [
    'Decrypt',
    'Encrypt',
    'GenerateDataKey',
    'GenerateDataKeyPair',
    'GenerateDataKeyPairWithoutPlaintext',
    'GenerateDataKeyWithoutPlaintext',
    'ReEncryptFrom',
    'ReEncryptTo',
  ],
  ENCRYPT_DECRYPT: ['Decrypt', 'Encrypt', 'GetPublicKey', 'ReEncryptFrom', 'ReEncryptTo'],
  SIGN_VERIFY: ['GetPublicKey', 'Sign', 'Verify'],
  GENERATE_VERIFY_MAC: ['GenerateMac', 'VerifyMac'],
  KEY_AGREEMENT: ['DeriveSharedSecret', 'GetPublicKey'],
}
const GRANT_OPERATIONS: ReadonlySet<string> = new Set(Object.values(GRANT_OPERATIONS_OF).flat())
