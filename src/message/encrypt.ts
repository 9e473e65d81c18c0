import { checkNewEncryptionContext, type EncryptionContext } from '../encryption-context'
import { getEngine } from '../engine/engine'
import { framesLength, MAX_UINT32, REGULAR_FRAME_OVERHEAD } from '../format/frame'
import type { MessageHeader } from '../format/message-header'
import { type NodeMaterialsManager, requestEncryptionMaterials, toMaterialsManager } from '../materials/cmm'
import type { KeyringNode } from '../materials/keyring'
import type { NodeEncryptionMaterial } from '../materials/materials'
import { checkInteger, checkOptions, describe } from '../options'
import { CommitmentPolicySuites } from '../policies'
import { allowManyListeners } from '../signals'
import { AlgorithmSuiteIdentifier, getSuite } from '../suites'
import { CALL_LENGTH, TURN_LENGTH } from '../turns'
import type { ClientOptions } from './client'
import { checkOutputMemory, Output, type OutputMemory, outputOver } from './output'
import { MessageSealer } from './sealer'
import { SHORT_LENGTH, sealShort } from './short'
import { checkAborted, orAborted, PAIR_COST, SIGNATURE_COST, slices, turnBefore } from './slices'
import { bytesOfSource, type MessageSource, readStream } from './source'

/** Options of `encrypt`. */
export interface EncryptInput {
  /** Default: the default suite of the client's commitment policy, which signs. */
  suiteId?: AlgorithmSuiteIdentifier
  /** Public pairs of strings that are authenticated with the message. Default: none. */
  encryptionContext?: EncryptionContext
  /** Plaintext bytes in a frame, 1 to 2^32-1. Default: 4096. */
  frameLength?: number
  /** Bytes of plaintext at most, for streams; bytes and strings bring their own. */
  plaintextLength?: number
  /** Of a string plaintext. Default: utf8. */
  encoding?: BufferEncoding
  /** Ends the operation early, with `ERR_ABORTED`. */
  signal?: AbortSignal
}

export interface EncryptOutput {
  /** The whole message. */
  result: Buffer
  messageHeader: MessageHeader
}

/** Defaults: those of `@aws-crypto/client-node`, whose readers and writers meet ours. */
const DEFAULT_FRAME_LENGTH = 4096
const SUITE_IDS = Object.values(AlgorithmSuiteIdentifier).filter((id) => typeof id === 'number')
const OPTIONS = ['suiteId', 'encryptionContext', 'frameLength', 'plaintextLength', 'encoding', 'signal'] as const

/** See {@link EncryptClient.encrypt}. */
export function encrypt(
  client: Readonly<ClientOptions>,
  source: KeyringNode | NodeMaterialsManager,
  plaintext: MessageSource,
  op?: EncryptInput,
): Promise<EncryptOutput> {
  return seal(client, source, plaintext, op)
}

/** See {@link EncryptClient.encryptInto}. */
export async function encryptInto(
  client: Readonly<ClientOptions>,
  source: KeyringNode | NodeMaterialsManager,
  plaintext: MessageSource,
  output: OutputMemory,
  op?: EncryptInput,
): Promise<EncryptOutput> {
  checkOutputMemory(output)
  return await seal(client, source, plaintext, op, output)
}

async function seal(
  client: Readonly<ClientOptions>,
  source: KeyringNode | NodeMaterialsManager,
  plaintext: MessageSource,
  op: EncryptInput | undefined,
  memory?: OutputMemory,
): Promise<EncryptOutput> {
  const options = checkEncryptOptions(client, op)
  const cmm = toMaterialsManager(source)
  checkAborted(options.signal)
  const bytes =
    bytesOfSource(plaintext, options.encoding) ??
    (await readStream(plaintext, { ...options, maxLength: options.plaintextLength, problem: 'Unsupported plaintext.' }))
  const length = bytes.length
  // A keyring makes materials for this message alone; a manager may share them with those that ask now.
  const asksFirst = cmm === source
  // A short plaintext is sealed by one call, in frames as short as it says; a longer one counts slice by slice.
  const short = memory === undefined && length <= SHORT_LENGTH
  const pairsCost = Object.keys(options.encryptionContext).length * PAIR_COST
  // The suites that managers choose where none is named are signed.
  const signatureCost = options.suite && !options.suite.signatureCurve ? 0 : SIGNATURE_COST
  const cost = CALL_LENGTH + pairsCost + signatureCost + (short ? framesLength(length, options.frameLength, true) : 0)
  const turn = asksFirst ? undefined : turnBefore(cost, options.signal)
  if (turn) await turn

  const request = {
    suite: options.suite,
    encryptionContext: options.encryptionContext,
    commitmentPolicy: client.commitmentPolicy,
    plaintextLength: length,
  }
  // Managers made for client-node see what that passes, and a signal only where there is one.
  const whole = options.signal ? { ...request, signal: options.signal } : request
  const asked = requestEncryptionMaterials(cmm, whole, client.maxEncryptedDataKeys || undefined)
  const material = await (options.signal
    ? orAborted(asked, options.signal, (late) => late.zeroUnencryptedDataKey())
    : asked)
  try {
    const turn = asksFirst ? turnBefore(cost, options.signal) : undefined
    if (turn) await turn
    checkUnchanged(bytes, length, 'plaintext')
    if (short) return (await sealShort(material, options.frameLength, [bytes]))[0]!
    return await sealInSlices(material, bytes, options, memory)
  } finally {
    material.zeroUnencryptedDataKey()
  }
}

/** Seals a message of any length; other events have their turn meanwhile. */
export async function sealInSlices(
  material: NodeEncryptionMaterial,
  bytes: Uint8Array,
  { frameLength, signal }: ReturnType<typeof checkEncryptOptions>,
  memory?: OutputMemory,
): Promise<EncryptOutput> {
  const { length } = bytes
  const sealer = new MessageSealer(material, { frameLength })
  try {
    const room = sealer.messageLength(length)
    const output = memory === undefined ? new Output(getEngine().allocate(room)) : outputOver(memory, room, room, bytes)
    output.allocate(sealer.header.length).set(sealer.header)
    const pieces = [sealer.header]
    // What takes time is the message: of frames of one byte each it is 33 times as long.
    const sliceLength = (TURN_LENGTH * frameLength) / (frameLength + REGULAR_FRAME_OVERHEAD)
    for (const [start, end] of slices(length, frameLength, sliceLength)) {
      const turn = turnBefore(framesLength(end - start, frameLength, false), signal)
      if (turn) await turn
      checkAborted(signal)
      checkUnchanged(bytes, length, 'plaintext')
      const slice = bytes.subarray(start, end)
      pieces.push(...(end < length ? sealer.update(slice, output.allocate) : sealer.final(slice, output.allocate)))
    }
    return { result: output.join(pieces), messageHeader: sealer.messageHeader }
  } finally {
    sealer.dispose()
  }
}

/** Throws `TypeError` where a caller's memory was resized or taken away while it waited. */
export function checkUnchanged(bytes: Uint8Array, length: number, what: string): void {
  if (bytes.length !== length) throw changed(what)
}

export function changed(what: string): TypeError {
  return new TypeError(`the ${what} was resized or transferred while it was in use`)
}

/** Checks the options once, before anything is asked of a keyring, and fills in the defaults. */
export function checkEncryptOptions(client: Readonly<ClientOptions>, op: EncryptInput | undefined) {
  const {
    suiteId,
    encryptionContext = {},
    frameLength = DEFAULT_FRAME_LENGTH,
    plaintextLength,
    encoding = 'utf8',
    signal,
  } = checkOptions(op, OPTIONS, 'encrypt')
  if (suiteId !== undefined) {
    if (!SUITE_IDS.includes(suiteId)) {
      const all = SUITE_IDS.map((id) => `0x${id.toString(16).padStart(4, '0')}`).join(', ')
      throw new RangeError(`"suiteId" must be one of ${all}, got ${describe(suiteId)}`)
    }
    CommitmentPolicySuites.isEncryptEnabled(client.commitmentPolicy, suiteId)
  }
  if (
    typeof frameLength === 'number' &&
    !(frameLength >= 1 && frameLength <= MAX_UINT32 && Number.isInteger(frameLength))
  ) {
    throw new RangeError(
      `frameLength out of bounds: "frameLength" must be an integer from 1 to ${MAX_UINT32}, got ${frameLength}`,
    )
  }
  if (plaintextLength !== undefined) checkInteger(plaintextLength, 'plaintextLength', 0, Number.MAX_SAFE_INTEGER)
  return {
    suite: suiteId === undefined ? undefined : getSuite(suiteId),
    encryptionContext: checkNewEncryptionContext(encryptionContext),
    frameLength: checkInteger(frameLength, 'frameLength', 1, MAX_UINT32),
    plaintextLength,
    encoding: checkEncoding(encoding),
    signal: checkSignal(signal),
  }
}

export function checkEncoding(encoding: unknown): BufferEncoding {
  if (typeof encoding === 'string' && Buffer.isEncoding(encoding)) return encoding
  throw new TypeError(
    `"encoding" must be an encoding that Buffer knows, got ${typeof encoding === 'string' ? JSON.stringify(encoding.slice(0, 20)) : typeof encoding}`,
  )
}

export function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined) return undefined
  if (!(signal instanceof AbortSignal)) throw new TypeError('"signal" must be an AbortSignal')
  // Many messages at once may share it.
  allowManyListeners(signal)
  return signal
}
