import { checkEncryptionContext, type EncryptionContext } from '../encryption-context'
import { getEngine } from '../engine/engine'
import { SealwaxError } from '../errors'
import { maxPlaintextLength, REGULAR_FRAME_OVERHEAD } from '../format/frame'
import { ContentType, type HeaderLimits, type MessageHeader, type ParsedHeader } from '../format/message-header'
import { type NodeMaterialsManager, requestDecryptionMaterials, toMaterialsManager } from '../materials/cmm'
import type { KeyringNode } from '../materials/keyring'
import type { NodeDecryptionMaterial } from '../materials/materials'
import { checkInteger, checkOptions, describe } from '../options'
import { allowsDecrypt, CommitmentPolicySuites } from '../policies'
import type { ClientOptions } from './client'
import { checkEncoding, checkSignal, checkUnchanged } from './encrypt'
import { hasManyKeys, readHeader } from './header-slices'
import { MessageOpener } from './opener'
import { checkOutputMemory, Output, type OutputMemory, outputOver } from './output'
import { isShort, openShort, SHORT_LENGTH } from './short'
import { checkAborted, headerCost, orAborted, slices, turnBefore } from './slices'
import { bytesOfSource, type MessageSource, readStream } from './source'

/** Options of `decrypt`. */
export interface DecryptInput {
  /** Of a string ciphertext. Default: utf8, which no message survives; say `base64` or what it is. */
  encoding?: BufferEncoding
  /** Refuse frames (of messages without frames, bodies) with more plaintext bytes than this. 0 is no limit, the default. */
  maxBodySize?: number
  /**
   * Pairs that must be in the message's encryption context, else `ERR_ENCRYPTION_CONTEXT`. Default: none. With a
   * {@link RequiredEncryptionContextCmm}, also those pairs that the message was authenticated with and does not store.
   */
  encryptionContext?: EncryptionContext
  /** Ends the operation early, with `ERR_ABORTED`. */
  signal?: AbortSignal
}

export interface DecryptOutput {
  plaintext: Buffer
  /** The authenticated header: compare its encryption context, or have it compared by the option of that name. */
  messageHeader: MessageHeader
}

const OPTIONS = ['encoding', 'maxBodySize', 'encryptionContext', 'signal'] as const

/** See {@link DecryptClient.decrypt}. */
export function decrypt(
  client: Readonly<ClientOptions>,
  source: KeyringNode | NodeMaterialsManager,
  ciphertext: MessageSource,
  op?: DecryptInput,
): Promise<DecryptOutput> {
  return open(client, source, ciphertext, op)
}

/** See {@link DecryptClient.decryptInto}. */
export async function decryptInto(
  client: Readonly<ClientOptions>,
  source: KeyringNode | NodeMaterialsManager,
  ciphertext: MessageSource,
  output: OutputMemory,
  op?: DecryptInput,
): Promise<DecryptOutput> {
  checkOutputMemory(output)
  return await open(client, source, ciphertext, op, output)
}

async function open(
  client: Readonly<ClientOptions>,
  source: KeyringNode | NodeMaterialsManager,
  ciphertext: MessageSource,
  op: DecryptInput | undefined,
  memory?: OutputMemory,
): Promise<DecryptOutput> {
  const options = checkDecryptOptions(op)
  const cmm = toMaterialsManager(source)
  checkAborted(options.signal)
  const bytes =
    bytesOfSource(ciphertext, options.encoding) ??
    (await readStream(ciphertext, { ...options, problem: 'Unsupported ciphertext format.' }))
  const length = bytes.length
  // A keyring makes materials for this message alone; a manager may share them with those that ask now.
  const asksFirst = cmm === source
  // A short message is opened by one call; a longer one counts slice by slice.
  const cost = headerCost(bytes) + (memory === undefined && length <= SHORT_LENGTH ? length : 0)
  const turn = asksFirst || hasManyKeys(bytes) ? undefined : turnBefore(cost, options.signal)
  if (turn) await turn

  const read = readHeader(bytes, limitsOf(client), options.signal)
  // Not by its class: some libraries put a Promise of their own in place of the global one.
  const header = 'bytes' in read ? read : await read
  const material = await requestMaterialsFor(client, cmm, header, options.encryptionContext, options.signal)
  try {
    const turn = asksFirst ? turnBefore(cost, options.signal) : undefined
    if (turn) await turn
    checkUnchanged(bytes, length, 'ciphertext')
    // The one call reads the header again, which may be another's by now.
    const short =
      memory === undefined && isShort(header, length, options.maxBodySize) && beginsWith(bytes, header.bytes)
    const [plaintext] = short ? await openShort(header, material, [bytes]) : []
    return {
      plaintext: plaintext ?? (await openInSlices(header, material, bytes, options, memory)),
      messageHeader: header.messageHeader,
    }
  } finally {
    material.zeroUnencryptedDataKey()
  }
}

function beginsWith(bytes: Uint8Array, start: Uint8Array): boolean {
  return Buffer.compare(bytes.subarray(0, start.length), start) === 0
}

/** Opens any message, and says what is wrong with one that does not open; other events have their turn meanwhile. */
export async function openInSlices(
  header: ParsedHeader,
  material: NodeDecryptionMaterial,
  bytes: Uint8Array,
  { maxBodySize, signal }: ReturnType<typeof checkDecryptOptions>,
  memory?: OutputMemory,
): Promise<Buffer> {
  const { length } = bytes
  const { contentType, frameLength } = header.messageHeader
  const framed = contentType === ContentType.FRAMED_DATA
  const bodyLength = length - header.bytes.length
  let output: Output | undefined
  let opener: MessageOpener | undefined
  try {
    // Memory of its own: plaintext does not belong in the pool that small buffers share.
    const room = maxPlaintextLength(bodyLength, frameLength, framed)
    output = memory === undefined ? new Output(getEngine().allocate(room)) : outputOver(memory, 0, room, bytes)
    opener = new MessageOpener(header, material, maxBodySize)
    const pieces: Uint8Array[] = []
    const unit = framed ? frameLength + REGULAR_FRAME_OVERHEAD : Math.max(1, bodyLength)
    for (const [start, end] of slices(bodyLength, unit)) {
      const turn = turnBefore(end - start, signal)
      if (turn) await turn
      checkAborted(signal)
      checkUnchanged(bytes, length, 'ciphertext')
      pieces.push(
        ...opener.update(bytes.subarray(header.bytes.length + start, header.bytes.length + end), output.allocate),
      )
    }
    pieces.push(...opener.final())
    return output.join(pieces)
  } catch (error) {
    output?.wipe()
    throw error
  } finally {
    opener?.dispose()
  }
}

/** What a client allows a header to hold. */
export function limitsOf({ maxEncryptedDataKeys }: Pick<ClientOptions, 'maxEncryptedDataKeys'>): HeaderLimits {
  return maxEncryptedDataKeys ? { maxEncryptedDataKeys } : {}
}

/** Checks the options once, before anything is read, and fills in the defaults. */
export function checkDecryptOptions(op: DecryptInput | undefined) {
  const { encoding = 'utf8', maxBodySize = 0, encryptionContext = {}, signal } = checkOptions(op, OPTIONS, 'decrypt')
  if (typeof maxBodySize !== 'number') {
    throw new TypeError(`Unsupported MaxBodySize. "maxBodySize" must be a number, got ${describe(maxBodySize)}`)
  }
  return {
    encoding: checkEncoding(encoding),
    maxBodySize: checkInteger(maxBodySize, 'maxBodySize', 0, Number.MAX_SAFE_INTEGER) || Infinity,
    encryptionContext: checkEncryptionContext(encryptionContext),
    signal: checkSignal(signal),
  }
}

/** Policies and required pairs first, so that a message which cannot be accepted costs no call to a key service. */
export async function requestMaterialsFor(
  client: Readonly<ClientOptions>,
  cmm: NodeMaterialsManager,
  { messageHeader, suite }: ParsedHeader,
  requiredContext: Readonly<EncryptionContext>,
  signal: AbortSignal | undefined,
): Promise<NodeDecryptionMaterial> {
  const { messageId, encryptionContext, encryptedDataKeys } = messageHeader
  if (!allowsDecrypt(client.commitmentPolicy, suite)) {
    CommitmentPolicySuites.isDecryptEnabled(client.commitmentPolicy, suite, Buffer.from(messageId).toString('hex'))
  }
  const required = Object.keys(requiredContext)
  for (const key of required) {
    if (encryptionContext[key] === requiredContext[key]) continue
    const stored = key in encryptionContext
    if (!stored && cmm.requiredEncryptionContextKeys?.includes(key)) continue
    throw new SealwaxError(
      'ERR_ENCRYPTION_CONTEXT',
      `the message's encryption context ${stored ? 'has another value for' : 'lacks'} the required key ${JSON.stringify(key)}`,
    )
  }
  const request = { suite, encryptionContext, encryptedDataKeys }
  const more = {
    ...(required.length > 0 && { reproducedEncryptionContext: requiredContext }),
    ...(signal && { signal }),
  }
  const whole = required.length > 0 || signal ? { ...request, ...more } : request
  const asked = requestDecryptionMaterials(cmm, whole)
  return await (signal ? orAborted(asked, signal, (late) => late.zeroUnencryptedDataKey()) : asked)
}
