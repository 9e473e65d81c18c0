/**
 * Whole messages, one-shot: `npx tsx bench/message.ts [part of a case's name] [--json FILE]`.
 *
 * Contenders: Sealwax on its two engines, @aws-crypto/client-node, and a careful loop over node:crypto that seals the
 * same frames into one buffer (no header, no key wrapping, no signature: a lower bound of the work in JavaScript).
 * Each runs in its own process and is checked before it is timed: it must open a message of @aws-crypto/client-node,
 * and that library must open its message.
 */
import { createCipheriv, createDecipheriv, createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import * as peer from '@aws-crypto/client-node'
import { getEngine, useEngine } from '../src/engine/engine'
import { nodeEngine } from '../src/engine/node'
import {
  bodyAad,
  frameIv,
  framesLength,
  serializeFinalFrameHeader,
  serializeRegularFrameHeader,
} from '../src/format/frame'
import * as sealwax from '../src/index'
import { answer, childTask, measureInChild, type Sample, sample, showLength, showSpeed } from './contender'

interface Case {
  readonly length: number
  readonly frameLength: number
  readonly suiteId: number
  readonly direction: 'encrypt' | 'decrypt'
}

const KIB = 1024
const MIB = 1024 * KIB
const CONTENDERS = ['sealwax', 'sealwax on node:crypto', 'node:crypto loop', 'client-node'] as const
const SUITES = new Map([
  [0x0178, 'unsigned, no commitment'],
  [0x0478, 'unsigned'],
  [0x0578, 'signed'],
])
const POLICY = sealwax.CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT
const V1_POLICY = sealwax.CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT

function parent(): void {
  const filter = process.argv[2]?.startsWith('--') ? '' : (process.argv[2] ?? '')
  const json = process.argv.indexOf('--json')
  const { openssl, cpu, threads } = getEngine().info()
  console.log(`Node ${process.version}, ${openssl}, ${cpu.join(' ')}, ${threads} threads\n`)
  console.log(row('', ...CONTENDERS, 'to client-node', 'to the loop'))
  const results: unknown[] = []
  for (const one of cases()) {
    const name = `${one.direction} ${showLength(one.length)}, frames of ${showLength(one.frameLength)}, ${SUITES.get(one.suiteId)}`
    if (!name.includes(filter)) continue
    const samples = CONTENDERS.map((contender) =>
      // The loop does not sign: beside signed messages it would compare nothing.
      contender === 'node:crypto loop' && one.suiteId === 0x0578
        ? undefined
        : measureInChild<Sample>(__filename, contender, one),
    )
    const [ours, , loop, theirs] = samples
    const ratio = (other: Sample | undefined) => (ours && other ? `${(other.median / ours.median).toFixed(1)}x` : '-')
    const cells = samples.map((value) => (value ? showSpeed(one.length, value.median) : '-'))
    console.log(row(name, ...cells, ratio(theirs), ratio(loop)))
    results.push({
      name,
      ...one,
      samples: Object.fromEntries(CONTENDERS.map((contender, i) => [contender, samples[i]])),
    })
  }
  if (json > 0)
    writeFileSync(
      process.argv[json + 1]!,
      JSON.stringify({ node: process.version, openssl, cpu, threads, results }, null, 1),
    )
}

function* cases(): Generator<Case> {
  const shapes = [
    [64, 4 * KIB],
    [KIB, 4 * KIB],
    [64 * KIB, 4 * KIB],
    [MIB, 4 * KIB],
    [64 * MIB, 4 * KIB],
    [64 * MIB, 64 * KIB],
    [64 * MIB, MIB],
  ] as const
  for (const suiteId of SUITES.keys()) {
    for (const [length, frameLength] of shapes) {
      for (const direction of ['encrypt', 'decrypt'] as const) yield { length, frameLength, suiteId, direction }
    }
  }
}

interface Contender {
  encrypt(): Promise<Uint8Array>
  decrypt(message: Uint8Array): Promise<Uint8Array>
}

async function child(name: string, { length, frameLength, suiteId, direction }: Case): Promise<void> {
  const plaintext = pseudoRandom(length)
  if (name === 'sealwax on node:crypto') useEngine(nodeEngine)
  const reference = library(peer, suiteId, frameLength, plaintext)
  let contender: Contender
  let message: Uint8Array
  if (name === 'node:crypto loop') {
    contender = loop(frameLength, plaintext)
    message = await contender.encrypt()
    const expected = Buffer.alloc(message.length)
    getEngine().sealFrames(
      { key: LOOP_KEY, messageId: LOOP_ID, frameLength, firstSequenceNumber: 1 },
      plaintext,
      true,
      expected,
    )
    check(expected, message)
    check(await contender.decrypt(message), plaintext)
  } else {
    contender = name === 'client-node' ? reference : library(sealwax, suiteId, frameLength, plaintext)
    message = await reference.encrypt()
    check(await contender.decrypt(message), plaintext)
    if (contender !== reference) check(await reference.decrypt(await contender.encrypt()), plaintext)
  }
  globalThis.gc?.()
  answer(await sample(direction === 'encrypt' ? () => contender.encrypt() : () => contender.decrypt(message)))
}

function library(module: unknown, suiteId: number, frameLength: number, plaintext: Uint8Array): Contender {
  // The two libraries' types differ in what the bench does not touch.
  const { buildClient, RawAesKeyringNode } = module as typeof sealwax
  const client = buildClient(suiteId < 0x0400 ? V1_POLICY : POLICY)
  const keyring = new RawAesKeyringNode({
    keyNamespace: 'bench',
    keyName: 'key',
    unencryptedMasterKey: new Uint8Array(32).fill(7),
    wrappingSuite: sealwax.RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })
  return {
    encrypt: async () => (await client.encrypt(keyring, plaintext, { suiteId, frameLength })).result,
    decrypt: async (message) => (await client.decrypt(keyring, message)).plaintext,
  }
}

const LOOP_KEY = new Uint8Array(32).fill(8)
const LOOP_ID = new Uint8Array(32).fill(9)

function loop(frameLength: number, plaintext: Uint8Array): Contender {
  const full = Math.floor(plaintext.length / frameLength)
  return {
    encrypt: async () => {
      const out = Buffer.allocUnsafeSlow(framesLength(plaintext.length, frameLength, true))
      let at = 0
      for (let number = 1; number <= full + 1; number++) {
        const final = number > full
        const content = plaintext.subarray((number - 1) * frameLength, final ? plaintext.length : number * frameLength)
        const header = final ? serializeFinalFrameHeader(number, content.length) : serializeRegularFrameHeader(number)
        const cipher = createCipheriv('aes-256-gcm', LOOP_KEY, frameIv(number))
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
      const out = Buffer.allocUnsafeSlow(plaintext.length)
      let at = 0
      for (let number = 1; number <= full + 1; number++) {
        const final = number > full
        const length = final ? plaintext.length - full * frameLength : frameLength
        at += final ? 24 : 16
        const decipher = createDecipheriv('aes-256-gcm', LOOP_KEY, frameIv(number))
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

function check(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) !== 0) throw new Error('wrong bytes')
}

function pseudoRandom(length: number): Buffer {
  const seed = createHash('sha256').update('bench').digest()
  return createCipheriv('aes-256-ctr', seed, Buffer.alloc(16)).update(Buffer.alloc(length))
}

function row(name: string, ...cells: string[]): string {
  return name.padEnd(62) + cells.map((cell) => cell.padStart(24)).join('')
}

const task = childTask<Case>()
if (task) child(task.contender, task.task)
else parent()
