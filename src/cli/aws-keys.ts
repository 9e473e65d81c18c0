import { InvalidArgumentError } from 'commander'
import {
  buildAwsKmsMrkAwareDiscoveryMultiKeyring,
  buildAwsKmsMrkAwareStrictMultiKeyring,
  cacheClients,
  getClient,
  type Keyring,
  KMS,
  KmsKeyring,
  MultiKeyring,
} from '../index'
import { UsageError } from './errors'
import { requireArns, toKeyring } from './keys'
import { isTokenKey, usage } from './token'

/** The attributes of one `--wrapping-keys`. */
export type KeyGroup = ReadonlyMap<string, readonly string[]>

const ATTRIBUTES = ['key', 'provider', 'region', 'profile', 'discovery', 'discovery-account', 'discovery-partition']
const KMS_PROVIDERS = ['aws-kms', 'aws-encryption-sdk-cli::aws-kms']

/** `json`: the attributes, as one argument. */
export function parseKeyGroup(json: string, previous: readonly KeyGroup[] = []): KeyGroup[] {
  const group = new Map<string, string[]>()
  for (const pair of attributesOf(json)) {
    const at = pair.indexOf('=')
    const name = pair.slice(0, Math.max(at, 0))
    if (!ATTRIBUTES.includes(name)) throw new InvalidArgumentError(`It takes ${ATTRIBUTES.join('=, ')}=.`)
    // As an unset variable leaves it: another Region, profile or key would be taken.
    if (pair.length === at + 1) throw new InvalidArgumentError(`${name}= is empty.`)
    group.set(name, [...(group.get(name) ?? []), pair.slice(at + 1)])
  }
  return [...previous, group]
}

function attributesOf(json: string): string[] {
  try {
    return JSON.parse(json) as string[]
  } catch {
    return [json]
  }
}

/** One keyring for all groups; the first key of the first group makes data keys. */
export async function toGroupsKeyring(groups: readonly KeyGroup[] = [], decrypting: boolean): Promise<Keyring> {
  const keyrings: Keyring[] = []
  for (const group of groups) keyrings.push(await keyringOf(group, decrypting))
  const [generator, ...children] = keyrings
  if (!generator) throw new UsageError('no key given: name one with --wrapping-keys key=…')
  return children.length === 0 ? generator : new MultiKeyring({ generator, children })
}

async function keyringOf(group: KeyGroup, decrypting: boolean): Promise<Keyring> {
  const keys = group.get('key') ?? []
  const provider = one(group, 'provider') ?? 'aws-kms'
  const discovery = truth(one(group, 'discovery'))
  if (discovery !== undefined && !decrypting) throw new UsageError('discovery= is for decrypting')
  if (provider === 'sealwax') {
    const other = [...group.keys()].find((name) => name !== 'key' && name !== 'provider')
    if (other !== undefined) throw new UsageError(`${other}= is for keys of KMS, not for provider=sealwax`)
    const tokenKeys = keys.filter(isTokenKey)
    const files = keys.filter((key) => !isTokenKey(key))
    return await toKeyring({ key: files, wrappingKey: tokenKeys }, decrypting ? 'decrypt' : 'encrypt')
  }
  if (!KMS_PROVIDERS.includes(provider))
    throw new UsageError('provider= must be aws-kms, or sealwax for key files and PKCS#11 URIs')
  if (discovery === true && keys.length > 0) throw new UsageError('discovery=true asks for no particular key')
  if (discovery !== true && keys.length === 0)
    throw new UsageError(`a group of --wrapping-keys needs key=…${decrypting ? ' or discovery=true' : ''}`)
  if (decrypting) requireArns(keys, 'key=')
  const accountIDs = group.get('discovery-account')
  const partition = one(group, 'discovery-partition')
  if ((accountIDs ?? partition) !== undefined && !discovery)
    throw new UsageError('discovery-account= and discovery-partition= need discovery=true')
  if ((accountIDs === undefined) !== (partition === undefined))
    throw new UsageError('discovery-account= and discovery-partition= go together')
  const filter = accountIDs && partition !== undefined && { accountIDs: [...accountIDs], partition }
  const [generatorKeyId, ...keyIds] = keys
  const clientProvider = clientsOf(group)
  return usage(() => {
    if (!discovery)
      return buildAwsKmsMrkAwareStrictMultiKeyring({ generatorKeyId: generatorKeyId!, keyIds, clientProvider })
    const options = { clientProvider, ...(filter && { discoveryFilter: filter }) }
    const anyKey = new KmsKeyring({ discovery, ...options })
    const region = one(group, 'region')
    if (region === undefined) return anyKey
    // Where the Region that a message names cannot be asked, a related multi-Region key there can.
    const related = buildAwsKmsMrkAwareDiscoveryMultiKeyring({ regions: [region], ...options })
    return new MultiKeyring({ children: [related, anyKey] })
  })
}

/** The Region of a key ARN counts before `region`. */
function clientsOf(group: KeyGroup) {
  const region = one(group, 'region')
  const profile = one(group, 'profile')
  const make = getClient(KMS, { customUserAgent: 'Sealwax', ...(profile !== undefined && { profile }) })
  return cacheClients((asked) => make(asked || (region ?? '')))
}

function one(group: KeyGroup, name: string): string | undefined {
  const [value, ...more] = group.get(name) ?? []
  if (more.length > 0) throw new UsageError(`${name}= stands twice in one --wrapping-keys`)
  return value
}

function truth(text: string | undefined): boolean | undefined {
  if (text === undefined) return undefined
  const [yes, no] = [/^(true|t|yes|y|1)$/i, /^(false|f|no|n|0)$/i].map((form) => form.test(text))
  if (yes || no) return yes
  throw new UsageError('discovery= must be true or false')
}
