import { createPrivateKey, createSecretKey, type KeyObject } from 'node:crypto'
import { allocateSecret, fromUtf8, utf8, wipe } from '../bytes'
import { SealwaxError } from '../errors'
import { nextTurn, turnIsDue } from '../turns'
import { abandoned, KmsError } from './errors'
import {
  type Alias,
  DAY,
  type Grant,
  isPrimary,
  type Key,
  type KeyVersion,
  type Material,
  type State,
  siblings,
} from './keys'
import { rotated } from './material'
import { Store } from './store'

/**
 * The state of the server and the only way to change it. Changes run one after another; each is seen by others, and told
 * to its caller, once it is in the store.
 */
export class Vault {
  #state: State
  readonly #store: Store | undefined
  #last: Promise<unknown> = Promise.resolve()
  #closed = false
  #swept = 0

  /** Takes `store` over; a new one is written at once. Without one, everything lives in memory. */
  static async open(store?: Store): Promise<Vault> {
    const contents = store?.contents
    const vault = new Vault(contents ? deserialize(contents) : emptyState(), store)
    wipe(contents)
    if (!contents) await vault.#save(vault.state)
    return vault
  }

  private constructor(state: State, store: Store | undefined) {
    this.#state = state
    this.#store = store
  }

  /** As of the last change. Not to be written to. */
  get state(): State {
    return this.#state
  }

  /**
   * Runs `change` on a copy that becomes the state once it is stored. When either throws, nothing has changed; nor has it
   * where `signal` fires before its turn.
   */
  commit<T>(change: (draft: State) => T, signal?: AbortSignal): Promise<T> {
    const done = this.#last.then(async () => {
      if (this.#closed) throw new KmsError('KMSInternalException', 'The server is closing.', 500)
      if (signal?.aborted) throw abandoned()
      const { materials, keys, aliases, grants } = this.#state
      const draft = {
        materials: new Map(materials),
        keys: new Map(keys),
        aliases: new Map(aliases),
        grants: new Map(grants),
      }
      const result = change(draft)
      const bulk = bulkOf(draft)
      if (bulk > MAX_BULK && bulk > bulkOf(this.#state))
        throw new KmsError('LimitExceededException', 'Policies, descriptions, tags and grants take too much memory.')
      await this.#save(draft)
      this.#state = draft
      return result
    })
    this.#last = done.catch(() => {})
    return done
  }

  /** Makes deletions and rotations happen whose time has come. They count in days, so one look a second is plenty. */
  async sweep(now: number): Promise<void> {
    if (Math.abs(now - this.#swept) < 1000) return
    this.#swept = now
    if (isDue(this.#state, now)) await this.commit((draft) => sweep(draft, now))
  }

  /** Ends after the change that is being stored; refuses those behind it. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#last
    await this.#store?.close()
  }

  async #save(state: State): Promise<void> {
    if (!this.#store) return
    const contents = await serialize(state)
    try {
      if (!Store.takes(contents)) throw new KmsError('LimitExceededException', 'The key store would be too large.')
      await this.#store.save(contents)
    } finally {
      wipe(contents)
    }
  }
}

/** How many characters there are that callers chose: bounds memory. */
function bulkOf({ keys, grants }: State): number {
  let sum = 0
  for (const { policy, description, tags } of keys.values()) {
    sum += policy.length + description.length
    for (const { TagKey, TagValue } of tags) sum += TagKey.length + TagValue.length
  }
  for (const { entry } of grants.values()) sum += lengthOf(entry)
  return sum
}

function lengthOf(entry: Grant['entry']): number {
  const known = lengths.get(entry) ?? JSON.stringify(entry).length
  lengths.set(entry, known)
  return known
}

const lengths = new WeakMap<Grant['entry'], number>()
const MAX_BULK = 64 * 1024 * 1024

function emptyState(): State {
  return { materials: new Map(), keys: new Map(), aliases: new Map(), grants: new Map() }
}

function isDue(state: State, now: number): boolean {
  const past = (time: number | undefined) => time !== undefined && time <= now
  for (const key of state.keys.values()) if (past(key.deletion?.date)) return true
  for (const material of state.materials.values()) if (rotationIsDue(state, material, now)) return true
  return false
}

/** A key that is disabled, or waits for its deletion, is rotated when it is enabled again. */
function rotationIsDue(state: State, material: Material, now: number): boolean {
  if (!material.rotation || material.rotation.next > now) return false
  return siblings(state, material.keyId).some((key) => isPrimary(material, key) && key.enabled)
}

function sweep(draft: State, now: number): void {
  for (const key of draft.keys.values()) {
    if (key.deletion?.date !== undefined && key.deletion.date <= now) deleteKey(draft, key, now)
  }
  for (const material of draft.materials.values()) {
    if (!rotationIsDue(draft, material, now)) continue
    const { periodInDays } = material.rotation!
    const next = { ...material, rotation: { periodInDays, next: now + periodInDays * DAY } }
    draft.materials.set(material.keyId, rotated(next, 'AUTOMATIC', now))
  }
}

function deleteKey(draft: State, key: Key, now: number): void {
  draft.keys.delete(key.arn)
  for (const alias of draft.aliases.values()) {
    if (alias.targetKeyId === key.keyId && alias.region === key.region) draft.aliases.delete(alias.arn)
  }
  for (const grant of draft.grants.values()) if (grant.keyArn === key.arn) draft.grants.delete(grant.id)
  const [last, another] = siblings(draft, key.keyId)
  if (!last) draft.materials.delete(key.keyId)
  else if (!another && last.deletion) {
    // The waiting period of a primary key starts when its last replica is gone.
    const { windowInDays } = last.deletion
    draft.keys.set(last.arn, { ...last, deletion: { windowInDays, date: now + windowInDays * DAY } })
  }
}

interface Stored {
  version: 1
  materials: (Omit<Material, 'versions'> & { versions: (Omit<KeyVersion, 'secret'> & { secret: string })[] })[]
  keys: Key[]
  aliases: Alias[]
  grants: Grant[]
}

/**
 * The JSON of a {@link Stored}, made while other events have their turns: a store may hold thousands of private keys. The
 * strings that hold secrets on the way cannot be wiped: JavaScript has no means for it.
 */
async function serialize(state: State): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let text = ''
  try {
    for (const json of jsonOf(state)) {
      text += json
      const cost = json.length * JSON_COST
      if (!turnIsDue(cost)) continue
      pieces.push(utf8(text))
      text = ''
      await nextTurn(cost)
    }
    pieces.push(utf8(text))
    return await join(pieces)
  } finally {
    for (const piece of pieces) wipe(piece)
  }
}

async function join(pieces: readonly Uint8Array[]): Promise<Uint8Array> {
  const whole = allocateSecret(pieces.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const piece of pieces) {
    if (turnIsDue(piece.length)) await nextTurn(piece.length)
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}

function* jsonOf({ materials, keys, aliases, grants }: State): Generator<string> {
  yield '{"version":1,"materials":'
  yield* listOf(materials, (material) => ({
    ...material,
    versions: material.versions.map((version) => ({ ...version, secret: exportSecret(version.secret) })),
  }))
  yield ',"keys":'
  yield* listOf(keys)
  yield ',"aliases":'
  yield* listOf(aliases)
  yield ',"grants":'
  yield* listOf(grants)
  yield '}'
}

function* listOf<T>(records: Map<string, T>, store: (record: T) => unknown = (record) => record): Generator<string> {
  yield '['
  let separator = ''
  for (const record of records.values()) {
    yield separator + JSON.stringify(store(record))
    separator = ','
  }
  yield ']'
}

/** As how many bytes of a turn a character counts: an RSA key has 1,900 and takes 0.1 ms to export, the longest of all. */
const JSON_COST = 64

/** `contents` are authentic: this program wrote them. */
function deserialize(contents: Uint8Array): State {
  const stored = JSON.parse(fromUtf8(contents) ?? '') as Stored
  if (stored.version !== 1) {
    throw new SealwaxError(
      'ERR_FILE',
      `the key store has contents of version ${stored.version}, which this program does not know`,
    )
  }
  const materials = stored.materials.map((material) => ({
    ...material,
    versions: material.versions.map((version) => ({ ...version, secret: importSecret(version.secret) })),
  }))
  return {
    materials: new Map(materials.map((material) => [material.keyId, material])),
    keys: new Map(stored.keys.map((key) => [key.arn, key])),
    aliases: new Map(stored.aliases.map((alias) => [alias.arn, alias])),
    grants: new Map(stored.grants.map((grant) => [grant.id, grant])),
  }
}

/** `secret:` and raw bytes, or `pkcs8:` and DER. */
function exportSecret(secret: KeyObject): string {
  const symmetric = secret.type === 'secret'
  const bytes = symmetric ? secret.export() : secret.export({ format: 'der', type: 'pkcs8' })
  try {
    return `${symmetric ? 'secret' : 'pkcs8'}:${bytes.toString('base64')}`
  } finally {
    wipe(bytes)
  }
}

function importSecret(text: string): KeyObject {
  const [kind, encoded = ''] = text.split(':')
  const bytes = Buffer.from(encoded, 'base64')
  try {
    return kind === 'secret' ? createSecretKey(bytes) : createPrivateKey({ key: bytes, format: 'der', type: 'pkcs8' })
  } finally {
    wipe(bytes)
  }
}
