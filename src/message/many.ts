/**
 * Many messages by one call. What can be shared is: materials and calls to key services, native calls, the memory of
 * results. Each message is one as any other, with a message ID and so a key of its own, and succeeds or fails by itself.
 */
import { SealwaxError } from '../errors'
import { framesLength } from '../format/frame'
import { ownFields } from '../format/header-layout'
import type { MessageHeader, ParsedHeader } from '../format/message-header'
import {
  isDefaultManager,
  type NodeMaterialsManager,
  requestEncryptionMaterials,
  toMaterialsManager,
} from '../materials/cmm'
import type { KeyringNode } from '../materials/keyring'
import type { NodeDecryptionMaterial, NodeEncryptionMaterial } from '../materials/materials'
import { checkOptions, kindOf } from '../options'
import { CommitmentPolicySuites } from '../policies'
import { getSuite, type NodeAlgorithmSuite } from '../suites'
import { nextTurn } from '../turns'
import type { ClientOptions } from './client'
import {
  checkDecryptOptions,
  type DecryptInput,
  type DecryptOutput,
  limitsOf,
  openInSlices,
  requestMaterialsFor,
} from './decrypt'
import { changed, checkEncryptOptions, type EncryptInput, type EncryptOutput, sealInSlices } from './encrypt'
import { newHeader } from './header'
import { readHeader } from './header-slices'
import { isShort, openShort, SHORT_LENGTH, sealShort } from './short'
import { checkAborted, headerCost, orAborted } from './slices'
import { bytesOfSource } from './source'

/** Options of `encryptMany`: those of `encrypt`, for all messages. */
export type EncryptManyInput = Omit<EncryptInput, 'plaintextLength'>
/** Options of `decryptMany`: those of `decrypt`, for all messages. */
export type DecryptManyInput = DecryptInput

/** See {@link EncryptClient.encryptMany}. */
export async function encryptMany(
  client: Readonly<ClientOptions>,
  source: KeyringNode | NodeMaterialsManager,
  plaintexts: readonly (Uint8Array | string)[],
  op?: EncryptManyInput,
): Promise<PromiseSettledResult<EncryptOutput>[]> {
  const options = checkEncryptOptions(client, checkOptions(op, ENCRYPT_OPTIONS, 'encryptMany'))
  const { signal, encryptionContext, frameLength } = options
  const cmm = toMaterialsManager(source)
  checkAborted(signal)
  const results = new Results<EncryptOutput>(plaintexts, 'plaintexts', options.encoding)
  const suite = options.suite ?? getSuite(CommitmentPolicySuites[client.commitmentPolicy].defaultAlgorithmSuite)
  const request = { suite, encryptionContext, commitmentPolicy: client.commitmentPolicy, ...(signal && { signal }) }
  // Without key derivation a data key is for one message only; and a manager that counts uses is asked for each.
  const shares = suite.cacheSafe && isDefaultManager(cmm)
  const turn = turns(signal)

  await inParallel(shares ? [results.records] : results.records.map((record) => [record]), async (group) => {
    let material: NodeEncryptionMaterial | undefined
    await turn()
    try {
      if (group.length === 0) return
      const plaintextLength = group.reduce((sum, { length }) => sum + length, 0)
      const limit = client.maxEncryptedDataKeys || undefined
      const asked = requestEncryptionMaterials(cmm, { ...request, plaintextLength }, limit)
      const used = await (signal ? orAborted(asked, signal, (late) => late.zeroUnencryptedDataKey()) : asked)
      material = used
      const lengthOf = (plaintextLength: number) => framesLength(plaintextLength, frameLength, true)
      for (const piece of batches(group, countAtOnce(used.suite), lengthOf)) {
        await turn()
        const batch = results.unchanged(piece)
        await results.settle(batch, async () => {
          if (batch.length === 0) return []
          const [first] = batch
          if (first!.length > SHORT_LENGTH) return [await sealInSlices(used, first!.bytes, options)]
          return sealShort(used, frameLength, batch.map(bytesOf))
        })
      }
    } catch (error) {
      checkAborted(signal)
      results.reject(group, error)
    } finally {
      material?.zeroUnencryptedDataKey()
    }
  })
  return results.settled
}

/** See {@link DecryptClient.decryptMany}. */
export async function decryptMany(
  client: Readonly<ClientOptions>,
  source: KeyringNode | NodeMaterialsManager,
  ciphertexts: readonly (Uint8Array | string)[],
  op?: DecryptManyInput,
): Promise<PromiseSettledResult<DecryptOutput>[]> {
  const options = checkDecryptOptions(op)
  const { signal, encryptionContext, maxBodySize } = options
  const cmm = toMaterialsManager(source)
  checkAborted(signal)
  const results = new Results<DecryptOutput>(ciphertexts, 'ciphertexts', options.encoding)
  const turn = turns(signal)

  try {
    const groups = await groupByKeys(client, results, turn)
    await inParallel(groups, async ({ header, members }) => {
      let material: NodeDecryptionMaterial | undefined
      await turn()
      try {
        const used = await requestMaterialsFor(client, cmm, header, encryptionContext, signal)
        material = used
        for (const piece of batches(members, countAtOnce(header.suite))) {
          await turn()
          const batch = results.unchanged(piece)
          const whole = batch.every(({ length }) => isShort(header, length, maxBodySize))
          const opening = whole ? openShort(header, used, batch.map(bytesOf)) : []
          // What is opened is opened now: later the memory may hold something else.
          const headers = whole ? batch.map(({ bytes }) => ownHeader(header, bytes)) : []
          const plaintexts = await opening
          for (const [i, record] of batch.entries()) {
            const [plaintext, messageHeader] = [plaintexts[i], headers[i]]
            if (plaintext && messageHeader) results.fulfil(record, { plaintext, messageHeader })
          }
          // Too long for a batch, or not what they must be: this opens them, or says why not.
          for (const record of batch.filter((_, i) => !plaintexts[i])) {
            await results.settle([record], async () => {
              if (!alike(record.bytes, header)) throw changed('ciphertext')
              const own = await readHeader(record.bytes, limitsOf(client), signal)
              const plaintext = await openInSlices(own, used, record.bytes, options)
              return [{ plaintext, messageHeader: own.messageHeader }]
            })
          }
        }
      } catch (error) {
        checkAborted(signal)
        results.reject(members, error)
      } finally {
        material?.zeroUnencryptedDataKey()
      }
    })
    return results.settled
  } catch (error) {
    for (const result of results.settled) if (result?.status === 'fulfilled') result.value.plaintext.fill(0)
    throw error
  }
}

interface Item {
  readonly index: number
  readonly bytes: Uint8Array
  /** When the call was made: what is not as long any more was taken away or resized. */
  readonly length: number
}

/** What becomes of each input. */
class Results<T> {
  readonly settled: PromiseSettledResult<T>[]
  readonly records: readonly Item[]

  constructor(inputs: readonly (Uint8Array | string)[], name: string, encoding: BufferEncoding) {
    if (!Array.isArray(inputs)) throw new TypeError(`"${name}" must be an array, got ${kindOf(inputs)}`)
    this.settled = new Array(inputs.length)
    const records: Item[] = []
    for (const [index, input] of inputs.entries()) {
      try {
        const bytes = bytesOfSource(input, encoding)
        if (!bytes) throw new TypeError(`"${name}" must hold bytes or strings, got ${kindOf(input)} at ${index}`)
        records.push({ index, bytes, length: bytes.length })
      } catch (error) {
        this.#reject(index, error)
      }
    }
    this.records = records
  }

  /** Gives the records what `work` makes of them, or all of them its error. */
  async settle(records: readonly Item[], work: () => Promise<T[]>): Promise<void> {
    try {
      const values = await work()
      for (const [i, record] of records.entries()) this.fulfil(record, values[i]!)
    } catch (error) {
      if (error instanceof SealwaxError && error.code === 'ERR_ABORTED') throw error
      this.reject(records, error)
    }
  }

  /** The records whose memory is still as it was; the others fail. */
  unchanged(records: readonly Item[]): Item[] {
    return records.filter(({ index, bytes, length }) => {
      if (bytes.length === length) return true
      this.#reject(index, changed('input'))
      return false
    })
  }

  fulfil({ index }: Item, value: T): void {
    this.settled[index] = { status: 'fulfilled', value }
  }

  /** Those that have no result yet fail. */
  reject(records: readonly Item[], reason: unknown): void {
    for (const { index } of records) if (!this.settled[index]) this.#reject(index, reason)
  }

  #reject(index: number, reason: unknown): void {
    this.settled[index] = { status: 'rejected', reason }
  }
}

interface Group {
  readonly header: ParsedHeader
  readonly members: Item[]
}

/** Records that one set of materials opens: their headers differ in message ID and commitment only. */
async function groupByKeys(
  client: Readonly<ClientOptions>,
  results: Results<DecryptOutput>,
  turn: () => Promise<void>,
): Promise<Group[]> {
  const groups = new Map<string, Group>()
  let last: Group | undefined
  let cost = 0
  for (const record of results.records) {
    cost += headerCost(record.bytes)
    if (cost > PARSED_AT_ONCE) {
      await turn()
      cost = 0
    }
    if (last && alike(record.bytes, last.header)) {
      last.members.push(record)
      continue
    }
    try {
      const header = await readHeader(record.bytes, limitsOf(client), undefined)
      const key = sharedPart(header)
      last = groups.get(key) ?? { header, members: [] }
      last.members.push(record)
      groups.set(key, last)
    } catch (error) {
      results.reject([record], error)
    }
  }
  return [...groups.values()]
}

/** Whether a message begins with this header, but for message ID and commitment. */
function alike(message: Uint8Array, { body, suite }: ParsedHeader): boolean {
  const { messageIdStart, messageIdEnd, commitmentStart } = ownFields(suite, body.length)
  return (
    Buffer.compare(message.subarray(0, messageIdStart), body.subarray(0, messageIdStart)) === 0 &&
    Buffer.compare(message.subarray(messageIdEnd, commitmentStart), body.subarray(messageIdEnd, commitmentStart)) === 0
  )
}

function sharedPart({ body, suite }: ParsedHeader): string {
  const { messageIdStart, messageIdEnd, commitmentStart } = ownFields(suite, body.length)
  const parts = [body.subarray(0, messageIdStart), body.subarray(messageIdEnd, commitmentStart)]
  return Buffer.concat(parts).toString('latin1')
}

/** The header of a message that is {@link alike}. */
function ownHeader({ messageHeader, body, suite }: ParsedHeader, message: Uint8Array): MessageHeader {
  const { messageIdStart, messageIdEnd, commitmentStart } = ownFields(suite, body.length)
  const messageId = Buffer.from(message.subarray(messageIdStart, messageIdEnd))
  return newHeader(suite, messageHeader, messageId, Buffer.from(message.subarray(commitmentStart, body.length)))
}

/**
 * Pieces of at most `count` items; a long message is a piece by itself, and short ones are {@link BATCH_LENGTH} together, as
 * messages, whose lengths `messageLength` tells where the items are plaintexts.
 */
function* batches(
  items: readonly Item[],
  count: number,
  messageLength = (length: number) => length,
): Generator<Item[]> {
  let batch: Item[] = []
  let total = 0
  for (const item of items) {
    const length = item.length > SHORT_LENGTH ? BATCH_LENGTH : messageLength(item.length)
    if (batch.length === count || (batch.length > 0 && total + length > BATCH_LENGTH)) {
      yield batch
      batch = []
      total = 0
    }
    batch.push(item)
    total += length
  }
  if (batch.length > 0) yield batch
}

/** Works on some groups at a time, so that they wait for key services together. Throws what the first to fail threw. */
async function inParallel<G>(groups: readonly G[], work: (group: G) => Promise<void>): Promise<void> {
  const queue = groups.values()
  const workers = Array.from({ length: Math.min(groups.length, PARALLEL) }, async () => {
    for (const group of queue) await work(group)
  })
  for (const ended of await Promise.allSettled(workers)) if (ended.status === 'rejected') throw ended.reason
}

/** To be awaited between batches: lets other events have their turn in time, and ends what is aborted. */
function turns(signal: AbortSignal | undefined): () => Promise<void> {
  let since = performance.now()
  return async () => {
    if (performance.now() - since > TURN) {
      await nextTurn()
      since = performance.now()
    }
    checkAborted(signal)
  }
}

function countAtOnce(suite: NodeAlgorithmSuite): number {
  return suite.signatureCurve ? SIGNED_AT_ONCE : AT_ONCE
}

function bytesOf({ bytes }: Item): Uint8Array {
  return bytes
}

/** How many messages one native call takes: a millisecond's worth. */
const AT_ONCE = 256
/** How many signatures wait for Node's threads at a time: others, who read files, have their turn between. */
const SIGNED_AT_ONCE = 16
const BATCH_LENGTH = 1024 * 1024
/** What {@link headerCost} counts between two looks at the clock. */
const PARSED_AT_ONCE = 2 * 1024 * 1024
/** Milliseconds until other events have their turn. */
const TURN = 4
/** Groups that wait for a key service at the same time. */
const PARALLEL = 16
const ENCRYPT_OPTIONS = ['suiteId', 'encryptionContext', 'frameLength', 'encoding', 'signal'] as const
