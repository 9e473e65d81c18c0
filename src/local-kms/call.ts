import { toBase64, wipe } from '../bytes'
import { KmsError } from './errors'
import type { Input } from './input'
import {
  type Algorithm,
  algorithmsOf,
  findKey,
  type Key,
  type KeyUsage,
  type Material,
  materialOf,
  requireEnabled,
  type Scope,
  type State,
} from './keys'
import type { Vault } from './vault'

/** One request, ready to be handled. */
export interface Call extends Scope {
  readonly input: Input
  readonly vault: Vault
  /** The state when the request came; a change looks at its draft instead. */
  readonly state: State
  /** Milliseconds since 1970. */
  readonly now: number
  /** Fires when nobody waits for the answer any more. */
  readonly signal: AbortSignal
}

/** The fields of an answer, blobs in base64; `undefined` for the operations that answer nothing. */
export type Answer = Readonly<Record<string, unknown>> | undefined

export type Handler = (call: Call) => Answer | Promise<Answer>

/** Handlers by the name of their operation. */
export type Operations = Readonly<Record<string, Handler>>

/** Changes the state, unless nobody waits for it any more when its turn comes. */
export function commit<T>({ vault, signal }: Call, change: (draft: State) => T): Promise<T> {
  return vault.commit(change, signal)
}

/** The key that `KeyId` names. */
export function namedKey(call: Call): Key {
  return findKey(call.state, call, call.input.requiredText('KeyId'))
}

/** Replaces the key that `KeyId` names. */
export function replaceKey(
  call: Call,
  replace: (key: Key, draft: State) => Key,
  answer: (key: Key) => Answer = () => undefined,
): Promise<Answer> {
  const id = call.input.requiredText('KeyId')
  return commit(call, (draft) => {
    const key = replace(findKey(draft, call, id), draft)
    draft.keys.set(key.arn, key)
    return answer(key)
  })
}

/** The key a cryptographic operation names, enabled and of the right usage. */
export function usableKey(
  call: Call,
  usage: KeyUsage,
  id = call.input.requiredText('KeyId'),
): { key: Key; material: Material } {
  const key = findKey(call.state, call, id, 'aliases')
  return { key, material: requireUsage(call.state, key, usage) }
}

export function requireUsage(state: State, key: Key, usage: KeyUsage): Material {
  requireEnabled(key)
  const material = materialOf(state, key)
  if (material.usage !== usage)
    throw new KmsError(
      'InvalidKeyUsageException',
      `${key.arn} key usage is ${material.usage}, which is not valid for this operation.`,
    )
  return material
}

export function requireAlgorithm<T extends Algorithm>(key: Key, material: Material, algorithm: T): T {
  if (algorithmsOf(material).includes(algorithm)) return algorithm
  throw new KmsError(
    'InvalidKeyUsageException',
    `Algorithm ${algorithm} is incompatible with key spec ${material.spec} of ${key.arn}.`,
  )
}

/** To be called when everything else about the request is known to be right. */
export function stopIfDryRun({ input }: Call): void {
  if (input.flag('DryRun'))
    throw new KmsError(
      'DryRunOperationException',
      'The request would have succeeded, but the DryRun option is set.',
      412,
    )
}

/** A page of `items`, in the order of their names; the marker is the name where the last page ended. */
export function page<T>(
  call: Call,
  items: readonly T[],
  nameOf: (item: T) => string,
  defaultLimit: number,
  maxLimit: number,
) {
  const limit = call.input.integer('Limit', 1, maxLimit) ?? defaultLimit
  const marker = call.input.text('Marker', 1024)
  const after = marker === undefined ? '' : Buffer.from(marker, 'base64').toString()
  if (marker !== undefined && Buffer.from(after).toString('base64') !== marker)
    throw new KmsError('InvalidMarkerException', 'The marker is not valid.')
  const rest = items
    .map((item) => ({ item, name: nameOf(item) }))
    .filter(({ name }) => name > after)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const shown = rest.slice(0, limit)
  const truncated = rest.length > limit
  return {
    items: shown.map(({ item }) => item),
    paging: { Truncated: truncated, NextMarker: truncated ? toBase64(Buffer.from(shown.at(-1)!.name)) : undefined },
  }
}

/** For the answer; the bytes are wiped. */
export function secretBase64(bytes: Uint8Array): string {
  const text = toBase64(bytes)
  wipe(bytes)
  return text
}
