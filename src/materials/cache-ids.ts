/** Under which id a cache keeps materials: those of one id are interchangeable. */
import { hash } from 'node:crypto'
import { ByteWriter, utf8 } from '../bytes'
import { bytesOf, type EncryptedDataKey } from '../encrypted-data-key'
import { type EncryptionContext, serializeContext, splitContext } from '../encryption-context'
import { nextTurn } from '../turns'
import type { NodeDecryptionRequest, NodeEncryptionRequest } from './cmm'

type EncryptionQuestion = Pick<
  NodeEncryptionRequest,
  'suite' | 'encryptionContext' | 'commitmentPolicy' | 'requiredEncryptionContextKeys'
>

/** The ids of a partition. Those of what was asked for lately are known without hashing it again. */
export class CacheIds {
  readonly #partition: PartitionId
  readonly #known = new Map<string, string>()

  constructor(partition: string) {
    this.#partition = partitionId(partition)
  }

  ofEncryption(request: EncryptionQuestion): string {
    const { suite, encryptionContext, commitmentPolicy, requiredEncryptionContextKeys = [] } = request
    const required = requiredEncryptionContextKeys.map(field).join('')
    const asked = `encrypt ${suite?.id} ${commitmentPolicy}|${pairs(encryptionContext)}|${required}`
    return this.#once(asked, () => encryptionCacheId(this.#partition, request))
  }

  /** A promise where there are so many encrypted data keys that other events have their turn meanwhile. */
  ofDecryption(request: NodeDecryptionRequest): string | Promise<string> {
    if (slicesOf(request.encryptedDataKeys).length > 1) return decryptionCacheIdInSlices(this.#partition, request)
    const { suite, encryptionContext, encryptedDataKeys, reproducedEncryptionContext = {} } = request
    let asked = `decrypt ${suite.id}|${pairs(encryptionContext)}|${pairs(reproducedEncryptionContext)}|`
    for (const edk of encryptedDataKeys) {
      const { rawInfo, encryptedDataKey } = bytesOf(edk)
      asked += field(edk.providerId) + field(latin1(rawInfo)) + field(latin1(encryptedDataKey))
    }
    return this.#once(asked, () => decryptionCacheId(this.#partition, request))
  }

  #once(asked: string, make: () => string): string {
    const known = this.#known.get(asked)
    if (known !== undefined) return known
    const id = make()
    if (this.#known.size >= MAX_KNOWN) this.#known.clear()
    // Long ones cost memory, and hardly gain.
    if (asked.length <= MAX_LENGTH) this.#known.set(asked, id)
    return id
  }
}

/** Bytes of encrypted data keys that are hashed in one turn: some milliseconds' worth. */
const SLICE = 1024 * 1024
/** As how many bytes a key counts besides its own. */
const KEY_COST = 2048
const MAX_KNOWN = 200
const MAX_LENGTH = 2048

function pairs(context: Readonly<EncryptionContext>): string {
  let text = ''
  for (const name of Object.keys(context)) text += field(name) + field(context[name]!)
  return text
}

/** Text that does not run into the next. */
function field(text: string): string {
  return ` ${text.length}:${text}`
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

/** What ids of a partition begin with, computed once. */
export type PartitionId = Uint8Array

export function partitionId(partition: string): PartitionId {
  return sha512(utf8(partition))
}

/**
 * Which encryption materials are interchangeable (framework/cryptographic-materials-cache.md "Appendix A"), in base64.
 * Over the specification's formula the commitment policy is in it: where no suite is asked for it decides the suite, and
 * clients with different policies may share a cache. Keys of pairs that are not stored follow, if there are any.
 */
export function encryptionCacheId(
  partition: PartitionId,
  { suite, encryptionContext, commitmentPolicy, requiredEncryptionContextKeys = [] }: EncryptionQuestion,
): string {
  const suiteInfo = suite ? new ByteWriter(3).u8(1).u16(suite.id).bytes : Uint8Array.of(0)
  const context = sha512(serializeContext(encryptionContext))
  const required = [...requiredEncryptionContextKeys].sort()
  const policy = utf8(required.length === 0 ? commitmentPolicy : `${commitmentPolicy} ${JSON.stringify(required)}`)
  return hash('sha512', Buffer.concat([partition, suiteInfo, context, policy]), 'base64')
}

/**
 * The same for decryption materials, the specification's formula, followed by the pairs that are not stored if there are any.
 * Whether a policy allows the suite is decided before any are asked for.
 */
export function decryptionCacheId(partition: PartitionId, request: NodeDecryptionRequest): string {
  return idWithKeys(partition, request, hashesOf(request.encryptedDataKeys))
}

async function decryptionCacheIdInSlices(partition: PartitionId, request: NodeDecryptionRequest): Promise<string> {
  const hashes: string[] = []
  for (const slice of slicesOf(request.encryptedDataKeys)) {
    await nextTurn()
    hashes.push(...hashesOf(slice))
  }
  await nextTurn()
  // They are in order already but for where the slices meet, which makes this quick.
  hashes.sort()
  await nextTurn()
  return idWithKeys(partition, request, hashes)
}

/** The keys as they are hashed: all at once where they are short and few, as nearly always. */
function slicesOf(encryptedDataKeys: readonly EncryptedDataKey[]): (readonly EncryptedDataKey[])[] {
  const slices: EncryptedDataKey[][] = [[]]
  let cost = 0
  for (const edk of encryptedDataKeys) {
    const { rawInfo, encryptedDataKey } = bytesOf(edk)
    const more = KEY_COST + edk.providerId.length + rawInfo.length + encryptedDataKey.length
    if (cost + more > SLICE) {
      slices.push([])
      cost = 0
    }
    slices.at(-1)!.push(edk)
    cost += more
  }
  return slices
}

/** The hashes of encrypted data keys, a character for each byte, in order. */
function hashesOf(encryptedDataKeys: readonly EncryptedDataKey[]): string[] {
  return encryptedDataKeys.map((edk) => hash('sha512', serializeEdk(edk), 'binary')).sort()
}

function idWithKeys(
  partition: PartitionId,
  { suite, encryptionContext, reproducedEncryptionContext = {} }: NodeDecryptionRequest,
  hashes: readonly string[],
): string {
  const suiteInfo = new ByteWriter(2).u16(suite.id).bytes
  const edks = Buffer.from(hashes.join(''), 'binary')
  const context = sha512(serializeContext(encryptionContext))
  const [, notStored] = splitContext(reproducedEncryptionContext, Object.keys(encryptionContext))
  const reproduced = serializeContext(notStored)
  return hash('sha512', Buffer.concat([partition, suiteInfo, edks, EDKS_END, context, reproduced]), 'base64')
}

/** Key provider ID, key provider info and ciphertext as a header has them. */
function serializeEdk(edk: EncryptedDataKey): Uint8Array {
  const id = utf8(edk.providerId)
  const { rawInfo, encryptedDataKey } = bytesOf(edk)
  return new ByteWriter(6 + id.length + rawInfo.length + encryptedDataKey.length)
    .u16(id.length)
    .put(id)
    .u16(rawInfo.length)
    .put(rawInfo)
    .u16(encryptedDataKey.length)
    .put(encryptedDataKey).bytes
}

/** By way of text, which takes half as long: a buffer of its own for each would be made natively. */
function sha512(bytes: Uint8Array): Buffer {
  return Buffer.from(hash('sha512', bytes, 'binary'), 'binary')
}

const EDKS_END = new Uint8Array(64)
