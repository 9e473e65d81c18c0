import { addAbortSignal, type Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { GetObjectCommandInput, HeadObjectCommandOutput, S3Client } from '@aws-sdk/client-s3'
import { allocateSecret, wipe } from '../bytes'
import { getEngine, type SegmentHash } from '../engine/engine'
import { SealwaxError } from '../errors'
import { checkInteger, checkOptions, checkString, describe } from '../options'
import { toReadable } from './body'
import { type Encryption, encryptionOf, s3Sdk } from './call'
import { BLOCK_LENGTH, CHUNK_LENGTH, wipeHashes } from './chunks'
import { type ContentKey, openContentKey } from './content-key'
import { GET_FIELDS, type GetObjectInput, getObject, readEnvelope } from './get'
import { headObject } from './head'
import { openVerified, plaintextLength, type VerifiedCiphertext, verifyHashes } from './large'
import { checkObjectContext } from './options'
import { requestSame } from './pin'
import { readRanges } from './ranges'
import { openTargetFile } from './target-file'
import { openCiphertextFile } from './temporary-file'

/** Which object, as for GetObject, and how it is downloaded. */
export interface DownloadObjectInput extends GetObjectInput, Pick<GetObjectCommandInput, (typeof GET_FIELDS)[number]> {
  Bucket: string
  Key: string
  /** How many ranges are asked for at a time: 1 to 256. Default: 4. */
  concurrency?: number | undefined
  /** Bytes in a range: 64 KiB to 4 GiB, a multiple of 16. Default: 8 MiB. */
  partSize?: number | undefined
  /** Ends the download with `ERR_ABORTED`. */
  signal?: AbortSignal | undefined
  /** Is told as bytes arrive. What it throws ends the download. */
  onProgress?: ((progress: DownloadProgress) => void) | undefined
}

export interface DownloadProgress {
  /** Bytes that have arrived, each counted once. They are not verified yet. */
  readonly loaded: number
  /** Bytes of the plaintext; `undefined` where only the end tells it: for objects in AES-CBC. */
  readonly total: number | undefined
}

const OPTIONS = [
  ...GET_FIELDS,
  'EncryptionContext',
  'InstructionFileSuffix',
  'concurrency',
  'partSize',
  'signal',
  'onProgress',
] as const
const DEFAULT_CONCURRENCY = 4
const DEFAULT_PART_SIZE = 8 * 1024 * 1024

/**
 * Downloads an object in ranges, several at a time, and decrypts it: to the file of that path, or to a Writable. Nothing has the
 * path, and nothing is written to the Writable, before all of the object is verified. Memory is bounded by some MiB for each
 * range under way, whatever the length of object and ranges. Gives what HeadObject answers, with the length of the plaintext.
 *
 * A file is written beside its place, readable by its owner only, and put there when it is complete and on the disk; one that
 * has the path already is replaced, and passes its rights on. For a Writable, which is ended, the ciphertext is kept in a
 * temporary file without a name until it is verified. Whatever fails leaves no file and no connection; a Writable is destroyed
 * with the error.
 *
 * All ranges are of one object: `ERR_OBJECT_CHANGED` where it is replaced meanwhile. A range whose connection breaks is asked for
 * again, from where it broke off, three times at most. Objects that are not in AES-GCM come in one piece, as GetObject gives them.
 * Throws what GetObject does, `ERR_FILE` and `ERR_ABORTED`; `TypeError` and `RangeError` for wrong options.
 *
 * @example
 * await downloadObject(client, { Bucket, Key, concurrency: 8 }, '/data/object')
 */
export async function downloadObject(
  client: Pick<S3Client, 'send'>,
  input: DownloadObjectInput,
  target: string | Writable,
): Promise<HeadObjectCommandOutput> {
  const encryption = encryptionOf(client)
  const request = checkRequest(input)
  if (typeof target !== 'string' && !isWritable(target)) {
    throw new TypeError(`a path or a Writable is needed to download to, got ${describe(target)}`)
  }
  if (typeof target !== 'string') return await downloadToStream(encryption, request, target)
  try {
    return await downloadToFile(encryption, request, target)
  } catch (error) {
    throw request.signal.aborted ? aborted(request.signal) : error
  }
}

async function downloadToStream(encryption: Encryption, request: Request, target: Writable) {
  if (target.writable === false || target.writableEnded || target.destroyed) {
    throw new TypeError('the Writable to download to has ended, or was destroyed')
  }
  const lost = new AbortController()
  // The caller hears of it here, and need not listen there.
  target.on('error', (error) => lost.abort(error))
  // When it closes, process.stdout no longer says that it has finished.
  let isFinished = false
  target.on('finish', () => {
    isFinished = true
  })
  target.on('close', () => {
    if (!isFinished) lost.abort(new SealwaxError('ERR_ABORTED', 'the Writable that was downloaded to has closed'))
  })
  const signal = AbortSignal.any([request.signal, lost.signal])
  try {
    return await download(encryption, { ...request, signal }, streamDestination(signal, target))
  } catch (error) {
    const reason = request.signal.aborted ? aborted(request.signal) : lost.signal.aborted ? lost.signal.reason : error
    target.destroy(reason)
    throw reason
  }
}

/** The answer of an HTTP server is none to `instanceof`. */
function isWritable(target: unknown): target is Writable {
  const { write, end, destroy, on } = (target ?? {}) as Partial<Writable>
  return [write, end, destroy, on].every((method) => typeof method === 'function')
}

function aborted(signal: AbortSignal): SealwaxError {
  return new SealwaxError('ERR_ABORTED', 'the download was aborted', { cause: signal.reason })
}

type Request = ReturnType<typeof checkRequest>

function checkRequest(input: DownloadObjectInput) {
  const checked = checkOptions(input, OPTIONS, 'downloadObject')
  const { EncryptionContext, InstructionFileSuffix, partSize = DEFAULT_PART_SIZE, signal, onProgress } = checked
  checkString(checked.Bucket, 'Bucket')
  checkString(checked.Key, 'Key')
  checkInteger(partSize, 'partSize', 0x1_0000, 2 ** 32)
  if (partSize % BLOCK_LENGTH !== 0) throw new RangeError(`"partSize" must be a multiple of 16, got ${partSize}`)
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new TypeError(`"signal" must be an AbortSignal, got ${describe(signal)}`)
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new TypeError(`"onProgress" must be a function, got ${describe(onProgress)}`)
  }
  return {
    fields: Object.fromEntries(GET_FIELDS.map((name) => [name, checked[name]])) as unknown as GetObjectCommandInput,
    EncryptionContext: checkObjectContext(EncryptionContext),
    InstructionFileSuffix,
    concurrency: checkInteger(checked.concurrency ?? DEFAULT_CONCURRENCY, 'concurrency', 1, 256),
    partSize,
    signal: signal ?? new AbortController().signal,
    onProgress: onProgress ?? (() => {}),
  }
}

/** Where a download goes. */
interface Destination {
  /** An object in AES-GCM, which `read` reads. */
  readonly writeRanges: (read: ReadVerified, contentKey: ContentKey) => Promise<void>
  /** The plaintext of any other. */
  readonly writePlaintext: (pieces: AsyncIterable<Uint8Array>) => Promise<void>
}

/** Reads all of an object, and verifies it. `hash` is given each chunk, in any order, and gives its hash. */
type ReadVerified = (hash: HashChunk) => Promise<VerifiedCiphertext>
type HashChunk = (chunk: Buffer, offset: number) => Promise<SegmentHash>

async function download(encryption: Encryption, request: Request, to: Destination): Promise<HeadObjectCommandOutput> {
  const { fields, EncryptionContext: encryptionContext, InstructionFileSuffix, signal, onProgress } = request
  const { settings } = encryption
  const { GetObjectCommand } = s3Sdk()
  const send = ((command: never) => encryption.send(command, { abortSignal: signal })) as S3Client['send']
  const head = await headObject({ send }, fields)
  const envelope = await readEnvelope({ input: fields, settings, send }, head.Metadata ?? {}, InstructionFileSuffix)
  if (envelope && envelope.contentAlgorithm !== 'AES/CBC/PKCS5Padding') {
    const contentKey = await openContentKey(envelope, settings.keyring, { ...settings, encryptionContext })
    try {
      await to.writeRanges((hash) => readVerified(encryption, request, head, contentKey, hash), contentKey)
      return { ...head, ContentLength: plaintextLength(head.ContentLength ?? 0) }
    } finally {
      wipe(contentKey.key)
    }
  }
  const input = { ...fields, EncryptionContext: encryptionContext, InstructionFileSuffix }
  const next = (input: GetObjectCommandInput) => send(new GetObjectCommand(input))
  const { Body } = await requestSame(head, (condition) =>
    getObject({ ...encryption, send, input: { ...input, ...condition }, next }),
  )
  let loaded = 0
  const total = envelope ? undefined : head.ContentLength
  const counted = async function* () {
    for await (const piece of addAbortSignal(signal, toReadable(Body as Readable))) {
      loaded += piece.length
      onProgress({ loaded, total })
      yield piece
    }
  }
  await to.writePlaintext(counted())
  return { ...head, ContentLength: loaded }
}

async function readVerified(
  { send }: Encryption,
  { fields, partSize, concurrency, signal, onProgress }: Request,
  head: HeadObjectCommandOutput,
  contentKey: ContentKey,
  hash: HashChunk,
): Promise<VerifiedCiphertext> {
  const { GetObjectCommand } = s3Sdk()
  const length = plaintextLength(head.ContentLength ?? 0)
  const hashes: SegmentHash[] = []
  let tag = new Uint8Array(0)
  let loaded = 0
  try {
    await readRanges({
      length,
      partSize,
      concurrency,
      signal,
      get: (Range, abortSignal) =>
        requestSame(head, (condition) =>
          send(new GetObjectCommand({ ...fields, ...condition, Range }), { abortSignal }),
        ),
      take: async (chunk, offset) => {
        if (offset === length) {
          tag = Uint8Array.from(chunk)
          return
        }
        hashes.push(await hash(chunk, offset))
        loaded += chunk.length
        onProgress({ loaded, total: length })
      },
    })
    verifyHashes(contentKey, hashes, tag)
    hashes.sort((a, b) => a.blockOffset - b.blockOffset)
    return { hashes, length, tag }
  } catch (error) {
    wipeHashes(hashes)
    throw error
  }
}

async function downloadToFile(encryption: Encryption, request: Request, path: string) {
  const file = await openTargetFile(path)
  // As many as ranges under way: the system gives out new memory slowly.
  const free: Uint8Array[] = []
  try {
    const head = await download(encryption, request, {
      writeRanges: async (read, { key, iv }) => {
        const { hashes } = await read(async (chunk, offset) => {
          const memory = free.pop() ?? allocateSecret(CHUNK_LENGTH)
          try {
            const plaintext = memory.subarray(0, chunk.length)
            const hash = getEngine().openSegment(key, iv, offset / BLOCK_LENGTH, chunk, plaintext)
            await file.write(plaintext, offset)
            return hash
          } finally {
            free.push(memory)
          }
        })
        wipeHashes(hashes)
      },
      writePlaintext: async (pieces) => {
        let offset = 0
        for await (const piece of pieces) {
          await file.write(piece, offset)
          offset += piece.length
        }
      },
    })
    request.signal.throwIfAborted()
    await file.commit()
    return head
  } finally {
    wipe(...free)
    await file.discard()
  }
}

function streamDestination(signal: AbortSignal, target: Writable): Destination {
  return {
    writeRanges: async (read, contentKey) => {
      const file = await openCiphertextFile()
      let verified: VerifiedCiphertext | undefined
      try {
        verified = await read(async (chunk, offset) => {
          const hash = getEngine().hashSegment(contentKey.key, contentKey.iv, offset / BLOCK_LENGTH, chunk)
          await file.write(chunk, offset)
          return hash
        })
        await file.write(verified.tag, verified.length)
        await pipeline(file.read(), openVerified(contentKey, verified), target, { signal })
      } finally {
        wipeHashes(verified?.hashes ?? [])
        await file.close()
      }
    },
    writePlaintext: (pieces) => pipeline(pieces, target, { signal }),
  }
}
