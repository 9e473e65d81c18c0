/**
 * Whole messages, one-shot: `npx tsx bench/message.ts`, with the options of comparison.ts.
 *
 * Contenders: Sealwax, also by `encryptInto` and `decryptInto` in memory that is used again, and on its other engine;
 * @aws-crypto/client-node; a careful program on node:crypto
 * that wraps a data key, derives from it and seals the same frames into one buffer (no header, no signature);
 * and the limit, bare EVP for each frame on as many threads, or SHA-384 alone where the message is signed. Each is checked
 * before it is timed: it must open a message of @aws-crypto/client-node, and that library must open its message. That
 * library is asked in another process: whatever is loaded weighs on every garbage collection.
 */
import { createCipheriv, createDecipheriv, createHash, createSecretKey, hkdfSync, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getEngine, useEngine } from '#built/engine/engine'
import { nodeEngine } from '#built/engine/node'
import {
  bodyAad,
  frameIv,
  framesLength,
  serializeFinalFrameHeader,
  serializeRegularFrameHeader,
} from '#built/format/frame'
import * as sealwax from '#built/index'
import { compare } from './comparison'
import { measureInChild, newKeyring, type Sample, sample, showLength } from './contender'
import { bareEvp, buildLimit } from './limit'

interface Case {
  readonly length: number
  readonly frameLength: number
  readonly suiteId: number
  readonly direction: 'encrypt' | 'decrypt'
  /** Calls that run at the same time. */
  readonly atOnce: number
}

const KIB = 1024
const MIB = 1024 * KIB
const SIGNED = 0x0578
const SUITES = new Map([
  [0x0178, 'unsigned, no commitment'],
  [0x0478, 'unsigned'],
  [SIGNED, 'signed'],
])
const SHAPES = [
  [64, 4 * KIB],
  [KIB, 4 * KIB],
  [16 * KIB, 4 * KIB],
  [MIB, 4 * KIB],
  [64 * MIB, 4 * KIB],
  [64 * MIB, 64 * KIB],
  [64 * MIB, MIB],
] as const
/** What the peer would need minutes for, and what one suite shows for all. */
const LARGE_SHAPE = [1024 * MIB, 4 * KIB] as const
const POLICY = sealwax.CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT
const PEER = 'client-node'
const PEER_PACKAGE = '@aws-crypto/client-node'
const JUDGE = 'judge'
const LOOP_KEY = new Uint8Array(32).fill(8)
const LOOP_ID = new Uint8Array(32).fill(9)
const V1_POLICY = sealwax.CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT

buildLimit()
compare<Case>(__filename, {
  title: 'Messages in one call',
  about:
    'A raw AES keyring makes a new data key for each message. By hand, node:crypto does the same without header and signature; the limit seals the frames alone.',
  contenders: ['sealwax', 'sealwax into', 'sealwax on node', 'client-node', 'node:crypto', 'limit'],
  cases: cases(),
  name: ({ direction, length, frameLength, suiteId, atOnce }) =>
    `${direction} ${showLength(length)}${atOnce > 1 ? `, ${atOnce} at once` : ''}, frames of ${showLength(frameLength)}, ${SUITES.get(suiteId)}`,
  bytes: ({ length, atOnce }) => (atOnce > 1 ? 0 : length),
  series: ({ direction, frameLength, suiteId, atOnce }) =>
    `${direction}${atOnce > 1 ? `, ${atOnce} at once` : ''}, frames of ${showLength(frameLength)}, ${SUITES.get(suiteId)}`,
  takesPart: (contender, { suiteId, length, atOnce }) =>
    // node:crypto by hand does not sign, and neither it nor the limit knows of other calls: there they would compare nothing.
    !(contender === 'node:crypto' && (suiteId === SIGNED || atOnce > 1)) &&
    !(contender === 'sealwax into' && (atOnce > 1 || length < MIB)) &&
    !(contender === 'limit' && (atOnce > 1 || (suiteId === SIGNED && length < MIB))) &&
    !(contender === 'client-node' && length > 64 * MIB),
  measure: async (name, one, budget) => {
    const { length, frameLength, suiteId, direction, atOnce } = one
    const plaintext = pseudoRandom(length)
    if (name === JUDGE) return await judge(one as JudgedCase, plaintext)
    if (name === 'sealwax on node') useEngine(nodeEngine)
    if (name === 'limit') return sample(limit(frameLength, plaintext, suiteId === SIGNED), budget)
    const byHand = name === 'node:crypto' ? loop(frameLength, plaintext) : undefined
    const contender = byHand ?? (await library(name, suiteId, frameLength, plaintext))
    const message = byHand
      ? await checkedLoop(byHand, plaintext, frameLength)
      : await checked(name, contender, plaintext, one)
    globalThis.gc?.()
    const run = direction === 'encrypt' ? () => contender.encrypt() : () => contender.decrypt(message)
    return sample(atOnce > 1 ? () => Promise.all(Array.from({ length: atOnce }, run)) : run, budget)
  },
})

function* cases(): Generator<Case> {
  for (const suiteId of SUITES.keys()) {
    const shapes = suiteId === 0x0478 ? [...SHAPES, LARGE_SHAPE] : SHAPES
    for (const [length, frameLength] of shapes) {
      for (const direction of ['encrypt', 'decrypt'] as const)
        yield { length, frameLength, suiteId, direction, atOnce: 1 }
    }
  }
  for (const suiteId of [0x0478, SIGNED]) {
    for (const direction of ['encrypt', 'decrypt'] as const)
      yield { length: KIB, frameLength: 4 * KIB, suiteId, direction, atOnce: 64 }
  }
}

interface Contender {
  encrypt(): Promise<Uint8Array>
  decrypt(message: Uint8Array): Promise<Uint8Array>
}

/** A message that the loop is to open, when all that it makes and opens has proved right. */
async function checkedLoop(contender: Loop, plaintext: Uint8Array, frameLength: number): Promise<Uint8Array> {
  const message = await contender.encrypt()
  const expected = Buffer.alloc(message.length)
  const run = { key: contender.key, messageId: LOOP_ID, frameLength, firstSequenceNumber: 1 }
  getEngine().sealFrames(run, plaintext, true, expected)
  check(expected, message)
  check(await contender.decrypt(message), plaintext)
  return message
}

/** A message of the other library, when the contender has opened it, and that library the contender's. */
async function checked(name: string, contender: Contender, plaintext: Uint8Array, one: Case): Promise<Uint8Array> {
  let message = await contender.encrypt()
  // Beyond that the other library takes minutes, and the same code has been checked at the lengths below.
  if (name !== PEER && plaintext.length <= 64 * MIB) message = judged(message, one)
  check(await contender.decrypt(message), plaintext)
  return message
}

/** A case, and the file that holds a contender's message and gets one of the other library. */
interface JudgedCase extends Case {
  readonly file: string
}

function judged(message: Uint8Array, one: Case): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'sealwax-bench-'))
  const file = join(folder, 'message')
  try {
    writeFileSync(file, message)
    if (!measureInChild(__filename, JUDGE, { one: { ...one, file } })) throw new Error('the other library objects')
    return readFileSync(file)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function judge({ suiteId, frameLength, file }: JudgedCase, plaintext: Uint8Array): Promise<Sample> {
  const contender = await library(PEER, suiteId, frameLength, plaintext)
  check(await contender.decrypt(readFileSync(file)), plaintext)
  writeFileSync(file, await contender.encrypt())
  return { median: 0, low: 0, high: 0, memory: 0 }
}

async function library(name: string, suiteId: number, frameLength: number, plaintext: Uint8Array): Promise<Contender> {
  // The two libraries' types differ in what the bench does not touch.
  const loaded = (name === PEER ? await import(PEER_PACKAGE) : sealwax) as typeof sealwax
  const client = loaded.buildClient(suiteId < 0x0400 ? V1_POLICY : POLICY)
  const keyring = newKeyring(loaded)
  if (name === 'sealwax into') {
    const sealed = Buffer.alloc(framesLength(plaintext.length, frameLength, true) + 1000)
    const opened = Buffer.alloc(plaintext.length)
    return {
      encrypt: async () => (await client.encryptInto(keyring, plaintext, sealed, { suiteId, frameLength })).result,
      decrypt: async (message) => (await client.decryptInto(keyring, message, opened)).plaintext,
    }
  }
  return {
    encrypt: async () => (await client.encrypt(keyring, plaintext, { suiteId, frameLength })).result,
    decrypt: async (message) => (await client.decrypt(keyring, message)).plaintext,
  }
}

interface Loop extends Contender {
  /** The derived key of the last message. */
  readonly key: Uint8Array
}

/** What a careful program does for a message of its own making: a data key, wrapped; a key and a commitment derived; frames. */
function loop(frameLength: number, plaintext: Uint8Array): Loop {
  const full = Math.floor(plaintext.length / frameLength)
  const wrappingKey = createSecretKey(Buffer.alloc(32, 7))
  const derive = (dataKey: Uint8Array, salt: Uint8Array) => {
    hkdfSync('sha512', dataKey, salt, 'commitment', 32)
    return new Uint8Array(hkdfSync('sha512', dataKey, salt, 'key', 32))
  }
  let salt: Uint8Array = new Uint8Array(0)
  let wrapped: Uint8Array = salt
  let key: Uint8Array = salt
  return {
    get key() {
      return key
    },
    encrypt: async () => {
      const dataKey = randomBytes(32)
      salt = randomBytes(32)
      const iv = randomBytes(12)
      const wrap = createCipheriv('aes-256-gcm', wrappingKey, iv)
      wrapped = Buffer.concat([iv, wrap.update(dataKey), wrap.final(), wrap.getAuthTag()])
      key = derive(dataKey, salt)
      const out = Buffer.allocUnsafeSlow(framesLength(plaintext.length, frameLength, true))
      let at = 0
      for (let number = 1; number <= full + 1; number++) {
        const final = number > full
        const content = plaintext.subarray((number - 1) * frameLength, final ? plaintext.length : number * frameLength)
        const header = final ? serializeFinalFrameHeader(number, content.length) : serializeRegularFrameHeader(number)
        const cipher = createCipheriv('aes-256-gcm', key, frameIv(number))
        cipher.setAAD(bodyAad(LOOP_ID, final ? 'final frame' : 'frame', number, content.length))
        out.set(header, at)
        out.set(cipher.update(content), at + header.length)
        cipher.final()
        out.set(cipher.getAuthTag(), at + header.length + content.length)
        at += header.length + content.length + 16
      }
      return out
    },
    decrypt: async (message) => {
      const unwrap = createDecipheriv('aes-256-gcm', wrappingKey, wrapped.subarray(0, 12))
      unwrap.setAuthTag(wrapped.subarray(-16))
      const opened = derive(Buffer.concat([unwrap.update(wrapped.subarray(12, -16)), unwrap.final()]), salt)
      const out = Buffer.allocUnsafeSlow(plaintext.length)
      let at = 0
      for (let number = 1; number <= full + 1; number++) {
        const final = number > full
        const length = final ? plaintext.length - full * frameLength : frameLength
        at += final ? 24 : 16
        const decipher = createDecipheriv('aes-256-gcm', opened, frameIv(number))
        decipher.setAAD(bodyAad(LOOP_ID, final ? 'final frame' : 'frame', number, length))
        decipher.setAuthTag(message.subarray(at + length, at + length + 16))
        out.set(decipher.update(message.subarray(at, at + length)), (number - 1) * frameLength)
        decipher.final()
        at += length + 16
      }
      return out
    },
  }
}

/** The work that cannot be done without: each frame by bare EVP, or the hash of a signed message. */
function limit(frameLength: number, plaintext: Uint8Array, signed: boolean): () => void {
  if (signed) return () => createHash('sha384').update(plaintext).digest()
  const out = new Uint8Array(plaintext.length + 16)
  const threads = plaintext.length >= MIB ? getEngine().info().threads : 1
  const aad = bodyAad(LOOP_ID, 'frame', 1, frameLength)
  return () => bareEvp(LOOP_KEY, frameIv(1), aad, plaintext, out, threads, frameLength)
}

function check(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) !== 0) throw new Error('wrong bytes')
}

function pseudoRandom(length: number): Buffer {
  const seed = createHash('sha256').update('bench').digest()
  return createCipheriv('aes-256-ctr', seed, Buffer.alloc(16)).update(Buffer.alloc(length))
}
