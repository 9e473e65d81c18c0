/** What must hold for any message. `PROPERTY_RUNS` makes it try more. */
import { createHash, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Engine, useEngine } from '../../src/engine/engine'
import { loadNative } from '../../src/engine/native'
import { nodeEngine } from '../../src/engine/node'
import { framesLength } from '../../src/format/frame'
import { parseHeader } from '../../src/format/message-header'
import {
  AlgorithmSuiteIdentifier,
  buildClient,
  type CommitmentPolicy,
  KeyringNode,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
  SealwaxError,
} from '../../src/index'
import { toMaterialsManager } from '../../src/materials/cmm'
import { allocateFresh } from '../../src/message/output'
import { MessageSealer } from '../../src/message/sealer'
import { getSuite } from '../../src/suites'
import { checkError, rejectionOf, rejects } from '../support/expect'
import { aesKeyring } from '../support/keys'
import { byteByByte, cutAt, openPieces } from '../support/pieces'
import { VECTOR_FILES, vectorKeyring, vectors } from '../support/vectors'

interface Message {
  suiteId: AlgorithmSuiteIdentifier
  frameLength: number
  plaintext: Uint8Array
  encryptionContext: Record<string, string>
}

const RUNS = Number(process.env.PROPERTY_RUNS ?? 300)
const ENGINES: Engine[] = [loadNative().engine!, nodeEngine]
const SUITES = Object.values(AlgorithmSuiteIdentifier).filter((id) => typeof id === 'number')
const KEYRING = aesKeyring()

const bytes = (maxLength: number) => fc.uint8Array({ maxLength, size: 'max' })
const text = fc.string({ unit: 'binary', maxLength: 12 }).filter((value) => value.isWellFormed())
const message: fc.Arbitrary<Message> = fc.record({
  suiteId: fc.constantFrom(...SUITES),
  frameLength: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(64, 4096, 2 ** 32 - 1)),
  plaintext: bytes(200),
  encryptionContext: fc.dictionary(text, text, { maxKeys: 5 }),
})
/** What is broken below needs no variety of keys and values. */
const small = fc.record({
  suiteId: fc.constantFrom<AlgorithmSuiteIdentifier>(0x0014, 0x0178, 0x0214, 0x0478, 0x0478, 0x0478, 0x0578),
  frameLength: fc.integer({ min: 1, max: 40 }),
  plaintext: bytes(100),
  encryptionContext: fc.constantFrom<Record<string, string>>({}, { k: 'v' }),
})
const places = fc.array(fc.nat(), { maxLength: 20 })

property('what one engine encrypted, either decrypts', [message, fc.boolean()], async (input, nativeWrites) => {
  useEngine(ENGINES[nativeWrites ? 0 : 1]!)
  const { result } = await encrypt(input)
  for (const engine of ENGINES) {
    useEngine(engine)
    const { plaintext, messageHeader } = await decrypt(result)
    assert.ok(plaintext.equals(input.plaintext))
    const { 'aws-crypto-public-key': _, ...context } = messageHeader.encryptionContext
    assert.equal(context, { ...input.encryptionContext })
  }
})

property('a message is as long as its parts', [message], async (input) => {
  const { result } = await encrypt(input)
  const header = parseHeader(result)
  const unsigned = header.bytes.length + framesLength(input.plaintext.length, input.frameLength, true)
  if (!header.suite.signatureCurve) return assert.is(result.length, unsigned)
  assert.is(result.length, unsigned + 2 + result.readUInt16BE(unsigned))
})

property('any flipped bit is refused', [small, fc.nat()], async (input, place) => {
  const { result } = await encrypt(input)
  await refused(flipped(result, place % (result.length * 8)))
})

property('a message cut anywhere is refused', [small, fc.nat()], async (input, place) => {
  const { result } = await encrypt(input)
  await rejects(decrypt(result.subarray(0, place % result.length)), 'ERR_MESSAGE_TRUNCATED')
})

property(
  'bytes after the message are refused',
  [small, fc.uint8Array({ minLength: 1, maxLength: 60 })],
  async (input, tail) => {
    const { result } = await encrypt(input)
    await rejects(decrypt(Buffer.concat([result, tail])), 'ERR_TRAILING_DATA')
  },
)

property(
  'the start of one message and the end of another are refused',
  [small, small, fc.nat(), fc.nat()],
  async (a, b, i, j) => {
    const [first, second] = [(await encrypt(a)).result, (await encrypt({ ...b, suiteId: a.suiteId })).result]
    const spliced = Buffer.concat([first.subarray(0, i % (first.length + 1)), second.subarray(j % (second.length + 1))])
    if (spliced.equals(first) || spliced.equals(second)) return
    await refused(spliced)
  },
)

property('frames of two messages with one data key do not mix', [small, fc.nat()], async (input, place) => {
  const keyring = new FixedDataKey(randomBytes(32))
  const [first, second] = [(await encrypt(input, keyring)).result, (await encrypt(input, keyring)).result]
  const at = place % first.length
  const spliced = Buffer.concat([first.subarray(0, at), second.subarray(at)])
  if (spliced.equals(first) || spliced.equals(second)) return
  await refused(spliced)
})

property('a message in any pieces opens alike', [message, places], async (input, cuts) => {
  const { result } = await encrypt(input)
  assert.ok((await openPieces(KEYRING, cutAt(result, cuts))).equals(input.plaintext))
})

property('a broken message in any pieces fails alike', [small, fc.nat(), places], async (input, place, cuts) => {
  const { result } = await encrypt(input)
  const broken = flipped(result, place % (result.length * 8))
  const { code } = (await rejectionOf(openPieces(KEYRING, [broken]))) as SealwaxError
  checkError(await rejectionOf(openPieces(KEYRING, cutAt(broken, cuts))), code)
})

property(
  'plaintext in any pieces seals to the same bytes, on either engine',
  [message, places],
  async (input, cuts) => {
    const { suiteId, frameLength, encryptionContext, plaintext } = input
    const request = { suite: getSuite(suiteId), encryptionContext, commitmentPolicy: policyFor(suiteId) }
    const material = await toMaterialsManager(KEYRING).getEncryptionMaterials(request)
    const seal = (engine: Engine, pieces: Uint8Array[]) => {
      useEngine(withoutRandomness(engine))
      const sealer = new MessageSealer(material, { frameLength })
      const sealed = pieces.slice(0, -1).flatMap((piece) => sealer.update(piece, allocateFresh))
      sealed.push(...sealer.final(pieces.at(-1)!, allocateFresh))
      // ECDSA is random: all but the footer is the same.
      if (material.signatureKey) sealed.pop()
      return Buffer.concat([sealer.header, ...sealed])
    }
    const whole = seal(nodeEngine, [plaintext])
    for (const engine of ENGINES) assert.ok(seal(engine, cutAt(plaintext, cuts)).equals(whole))
  },
)

for (const suiteId of [0x0178, 0x0214, 0x0478, 0x0578]) {
  const input = { suiteId, frameLength: 5, plaintext: Buffer.from('twelve bytes'), encryptionContext: { k: 'v' } }

  test(`every flipped bit of a message of suite ${suiteId.toString(16)} is refused`, async () => {
    const { result } = await encrypt(input)
    for (let bit = 0; bit < result.length * 8; bit++) await refused(flipped(result, bit))
  })

  test(`a message of suite ${suiteId.toString(16)} is refused wherever it is cut`, async () => {
    const { result } = await encrypt(input)
    for (let length = 0; length < result.length; length++) {
      await rejects(decrypt(result.subarray(0, length)), 'ERR_MESSAGE_TRUNCATED')
    }
  })
}

for (const engine of ENGINES) {
  for (const file of VECTOR_FILES) {
    test(`${engine.info().backend}: every vector of ${file} in one piece and byte by byte`, async () => {
      useEngine(engine)
      for (const vector of vectors(file)) {
        const keyring = vectorKeyring(vector.keyring)
        const bytes = Buffer.from(vector.message, 'base64')
        for (const pieces of [[bytes], byteByByte(bytes), cutAt(bytes, [1, 22, 37, 41, 100, 153, 200, 217])]) {
          const opening = openPieces(keyring, pieces, vector)
          if ('error' in vector.expect)
            checkError(await rejectionOf(opening), vector.expect.error as SealwaxError['code'])
          else assert.is(hash(await opening), vector.expect.sha256, vector.description)
        }
      }
    })
  }
}

/** Wraps this data key, always the same, with {@link KEYRING}. */
class FixedDataKey extends KeyringNode {
  readonly #dataKey: Uint8Array

  constructor(dataKey: Uint8Array) {
    super()
    this.#dataKey = dataKey
  }

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    const dataKey = this.#dataKey.subarray(0, material.suite.keyLengthBytes)
    material.setUnencryptedDataKey(dataKey, { keyNamespace: 'tests', keyName: 'fixed', flags: 1 })
    return await KEYRING.onEncrypt(material)
  }

  async _onDecrypt(material: NodeDecryptionMaterial): Promise<NodeDecryptionMaterial> {
    return material
  }
}

function property<Ts extends unknown[]>(
  name: string,
  arbitraries: { [K in keyof Ts]: fc.Arbitrary<Ts[K]> },
  predicate: (...values: Ts) => Promise<void>,
): void {
  test(name, async () => {
    const holds = fc.asyncProperty(fc.tuple<Ts>(...arbitraries), (values) => predicate(...values))
    await fc.assert(holds, { numRuns: RUNS })
  })
}

function policyFor(suiteId: number): CommitmentPolicy {
  const policy = suiteId < 0x0400 ? 'FORBID_ENCRYPT_ALLOW_DECRYPT' : 'REQUIRE_ENCRYPT_ALLOW_DECRYPT'
  return policy as CommitmentPolicy
}

function encrypt({ plaintext, ...op }: Message, keyring: KeyringNode = KEYRING) {
  return buildClient(policyFor(op.suiteId)).encrypt(keyring, plaintext, op)
}

function decrypt(bytes: Uint8Array) {
  return buildClient(policyFor(0x0578)).decrypt(KEYRING, bytes)
}

async function refused(bytes: Uint8Array): Promise<void> {
  const error = await rejectionOf(decrypt(bytes))
  assert.instance(error, SealwaxError, `an error of ours, got ${(error as Error | undefined)?.stack}`)
  assert.is.not((error as SealwaxError).code, 'ERR_INTERNAL')
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[bit >> 3]! ^= 1 << (bit & 7)
  return copy
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** An engine whose random bytes are all alike. */
function withoutRandomness(engine: Engine): Engine {
  const randomFill = (out: Uint8Array) => void out.fill(7)
  return new Proxy(engine, {
    get: (target, name) => {
      const value = Reflect.get(target, name)
      return name === 'randomFill' ? randomFill : typeof value === 'function' ? value.bind(target) : value
    },
  })
}

test.run()
