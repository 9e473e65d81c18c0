import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { equalBytes } from '../../src/bytes'
import { deriveMessageKeys } from '../../src/engine/derive'
import type { Engine, MessageRun } from '../../src/engine/engine'
import { loadNative } from '../../src/engine/native'
import { nodeEngine } from '../../src/engine/node'
import { maxMessagePlaintext, messageLength } from '../../src/format/header-layout'
import { AlgorithmSuiteIdentifier } from '../../src/index'
import { getSuite } from '../../src/suites'
import { watchDerivedKeys } from '../support/derived-keys'
import { throws } from '../support/expect'
import { bytes } from '../support/keys'

const native = loadNative().engine!
const SUITES = Object.values(AlgorithmSuiteIdentifier).filter((id) => typeof id === 'number')
const LENGTHS = [0, 1, 15, 16, 17, 100]

for (const id of SUITES) {
  test(`suite ${id.toString(16)}: both backends seal the same messages, for any number of threads`, () => {
    const run = runOf(id)
    const plaintexts = Array.from({ length: 16 }, (_, i) => bytes(LENGTHS[i % LENGTHS.length]!, i))
    const expected = seal(nodeEngine, run, plaintexts)
    for (const threads of [1, 2, 5]) {
      native.binding.force(threads, 1)
      assert.ok(equalBytes(seal(native, run, plaintexts), expected))
      for (const engine of [native, nodeEngine]) {
        const opened = open(engine, run, split(run, plaintexts, expected))
        assert.equal(opened, plaintexts)
      }
    }
    native.binding.force(0, 0)
  })

  test(`suite ${id.toString(16)}: a bad message in the middle is refused, wiped, and fails no other`, () => {
    const run = runOf(id)
    const plaintexts = [20, 40, 7].map((length) => bytes(length, length))
    const good = split(run, plaintexts, seal(native, run, plaintexts))
    for (let at = 0; at < good[1]!.length; at += 3) {
      for (const bad of [good[1]!.map((byte, i) => (i === at ? byte ^ 1 : byte)), good[1]!.subarray(0, at)]) {
        for (const engine of at % 21 === 0 || at > good[1]!.length - 60 ? [native, nodeEngine] : [native]) {
          assert.equal(open(engine, run, [good[0]!, bad, good[2]!]), [plaintexts[0], undefined, plaintexts[2]])
        }
      }
    }
  })
}

test('an authentic message with another header is refused, and so is one whose commitment is to another key', () => {
  const run = runOf(0x0478)
  const [idEnd, commitmentStart, end] = [35, run.header.length - 32, run.header.length]
  const plaintexts = [bytes(50)]
  const others = [idEnd, 60, commitmentStart - 1].map((at) => ({ header: run.header.with(at, run.header[at]! ^ 1) }))
  for (const change of [...others, { suite: getSuite(0x0578), header: run.header.with(1, 0x05) }]) {
    const other = { ...run, ...change }
    const sealed = seal(nodeEngine, other, plaintexts)
    for (const engine of [native, nodeEngine]) {
      assert.equal(open(engine, other, [sealed]), plaintexts)
      assert.equal(open(engine, run, [sealed]), [undefined])
    }
  }
  const message = seal(nodeEngine, run, plaintexts)
  const { key } = deriveMessageKeys(nodeEngine, run.suite, run.dataKey, message.subarray(3, idEnd))
  message[commitmentStart]! ^= 1
  const aad = Buffer.concat([message.subarray(0, end), run.unstored])
  nodeEngine.seal(key, new Uint8Array(12), aad, new Uint8Array(0), message.subarray(end, end + 16))
  for (const engine of [native, nodeEngine]) assert.equal(open(engine, run, [message]), [undefined])
  message[commitmentStart]! ^= 1
  aad[commitmentStart]! ^= 1
  nodeEngine.seal(key, new Uint8Array(12), aad, new Uint8Array(0), message.subarray(end, end + 16))
  for (const engine of [native, nodeEngine]) assert.equal(open(engine, run, [message]), plaintexts)
})

test('a final frame longer than the frames before it could be is refused', () => {
  const run = runOf(0x0478)
  const sealed = seal(nodeEngine, { ...run, frameLength: 32 }, [bytes(20)])
  for (const engine of [native, nodeEngine]) assert.equal(open(engine, run, [sealed]), [undefined])
})

test('node: no derived key is left behind, of good messages and of bad ones', () => {
  const { watched, derived } = watchDerivedKeys(nodeEngine)
  const run = runOf(0x0478)
  const message = seal(watched, run, [bytes(20)])
  const badTag = message.with(run.header.length, message[run.header.length]! ^ 1)
  assert.equal(open(watched, run, [message, badTag]), [bytes(20), undefined])
  assert.equal(
    derived.map((key) => key.some(Boolean)),
    [false, false, false],
  )
})

test('both backends say where a message ends that bytes follow', () => {
  const run = runOf(0x0478)
  const message = Buffer.concat([seal(native, run, [bytes(50)]), bytes(9)])
  for (const engine of [native, nodeEngine]) {
    const [opened] = engine.openMessages(run, [message], new Uint8Array(maxMessagePlaintext(run, message.length)))
    assert.is(opened?.used, message.length - 9)
    assert.equal(Buffer.from(opened!.plaintext), Buffer.from(bytes(50)))
  }
})

test('any number of messages of any length, frames of any length', () => {
  const anyBytes = fc.uint8Array({ maxLength: 300 })
  const property = fc.property(
    fc.constantFrom(...SUITES),
    fc.array(anyBytes, { maxLength: 20 }),
    fc.integer({ min: 1, max: 200 }),
    (id, plaintexts, frameLength) => {
      const run = { ...runOf(id), frameLength }
      const sealed = seal(native, run, plaintexts)
      assert.ok(equalBytes(sealed, seal(nodeEngine, run, plaintexts)))
      assert.equal(open(native, run, split(run, plaintexts, sealed)), plaintexts)
    },
  )
  fc.assert(property, { numRuns: 60 })
})

for (const engine of [native, nodeEngine]) {
  test(`${engine.info().backend}: wrong arguments are refused`, () => {
    const run = runOf(0x0478)
    const [ids, plaintext, out] = [bytes(32), bytes(10), new Uint8Array(messageLength(run, 10))]
    const wrong: [RegExp, MessageRun, Uint8Array, Uint8Array[], Uint8Array][] = [
      [/"dataKey" must be 32 bytes/, { ...run, dataKey: bytes(16) }, ids, [plaintext], out],
      [/"header" must be/, { ...run, header: run.header.subarray(0, 66) }, ids, [plaintext], out.subarray(54)],
      [/"header" must be/, { ...run, header: run.header.with(0, 1) }, ids, [plaintext], out],
      [/"header" must be/, { ...run, header: run.header.with(2, 0x77) }, ids, [plaintext], out],
      [/"frameLength" must be/, { ...run, frameLength: 0 }, ids, [plaintext], out],
      [/"messageIds" must be 32 bytes/, run, bytes(31), [plaintext], out],
      [/"messageIds" must be 64 bytes/, run, ids, [plaintext, plaintext], out],
      [/"out" must be/, run, ids, [plaintext], out.subarray(1)],
      [/overlap/, run, ids, [out.subarray(0, 10)], out],
      [/overlap/, run, out.subarray(0, 32), [plaintext], out],
      [/overlap/, { ...run, dataKey: out.subarray(0, 32) }, ids, [plaintext], out],
      [/overlap/, { ...run, unstored: out.subarray(0, 1) }, ids, [plaintext], out],
    ]
    const tooMany = Array.from({ length: 16_385 }, () => bytes(0))
    wrong.push([/"plaintexts" must be at most/, run, ids, tooMany, out])
    assert.throws(() => engine.openMessages(run, tooMany, bytes(0)), /"messages" must be at most 16384/)
    assert.is(engine.openMessages(run, tooMany.slice(1), bytes(0)).length, 16_384)
    for (const [message, run, ids, plaintexts, out] of wrong) {
      const refusal = (error: Error) => error instanceof RangeError && message.test(error.message)
      assert.throws(() => engine.sealMessages(run, ids, plaintexts, out), refusal, String(message))
    }
    const shared = new Uint8Array(new SharedArrayBuffer(10))
    throws(() => engine.sealMessages(run, ids, [shared], out), TypeError)
    throws(() => engine.sealMessages(run, ids, ['text' as unknown as Uint8Array], out), TypeError)
    throws(() => engine.openMessages(run, [out], new Uint8Array(9)), RangeError)
    throws(() => engine.openMessages(run, [out], out.subarray(0, 10)), RangeError)
    const gone = bytes(10)
    structuredClone(gone.buffer, { transfer: [gone.buffer as ArrayBuffer] })
    throws(() => engine.sealMessages(run, ids, [gone], new Uint8Array(messageLength(run, 0))), TypeError)
    throws(() => engine.sealMessages({ ...run, unstored: gone }, ids, [plaintext], out), TypeError)
    throws(() => engine.openMessages(run, [gone], bytes(0)), TypeError)
    const text = { ...run, header: Buffer.from(run.header).toString('latin1') as unknown as Uint8Array }
    throws(() => engine.sealMessages(text, ids, [plaintext], out), TypeError)
  })
}

test('no messages are no bytes', () => {
  for (const engine of [native, nodeEngine]) {
    engine.sealMessages(runOf(0x0478), bytes(0), [], bytes(0))
    assert.equal(engine.openMessages(runOf(0x0478), [], bytes(0)), [])
  }
})

/** The header is none that could be read: engines look at version, suite, message ID and commitment only. */
function runOf(id: number): MessageRun {
  const suite = getSuite(id)
  const header = bytes(120, 9)
  header[0] = suite.messageFormat
  header.set([id >> 8, id & 255], suite.messageFormat === 1 ? 2 : 1)
  return { suite, dataKey: bytes(suite.keyLengthBytes, 3), header, unstored: bytes(id % 3, 8), frameLength: 16 }
}

function seal(engine: Engine, run: MessageRun, plaintexts: readonly Uint8Array[]): Uint8Array {
  const ids = bytes(plaintexts.length * (run.suite.messageFormat === 1 ? 16 : 32), 77)
  const out = new Uint8Array(plaintexts.reduce((sum, { length }) => sum + messageLength(run, length), 0))
  engine.sealMessages(run, ids, plaintexts, out)
  return out
}

function split(run: MessageRun, plaintexts: readonly Uint8Array[], sealed: Uint8Array): Uint8Array[] {
  let start = 0
  return plaintexts.map(({ length }) => {
    const end = start + messageLength(run, length)
    const message = sealed.subarray(start, end)
    start = end
    return message
  })
}

/** The plaintexts; checks that nothing else is left in the output. */
function open(engine: Engine, run: MessageRun, messages: readonly Uint8Array[]): (Uint8Array | undefined)[] {
  const out = new Uint8Array(messages.reduce((sum, { length }) => sum + maxMessagePlaintext(run, length), 0))
  const opened = engine.openMessages(run, messages, out)
  const plaintexts = opened.map((one, i) => {
    if (one) assert.is(one.used, messages[i]!.length)
    return one && new Uint8Array(one.plaintext)
  })
  for (const one of opened) one?.plaintext.fill(0)
  assert.not.ok(out.some(Boolean), 'nothing but plaintexts')
  return plaintexts
}

test.run()
