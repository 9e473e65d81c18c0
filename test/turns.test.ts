import crypto from 'node:crypto'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import timers from 'node:timers'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getEngine } from '../src/engine/engine'
import {
  buildClient,
  EncryptedDataKey,
  type EncryptInput,
  KeyringNode,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '../src/index'
import { nextTurn, TURN_LENGTH, turnIsDue } from '../src/turns'
import { rejects } from './support/expect'
import { aesKeyring, bytes } from './support/keys'
import { countTurns, watchTurns } from './support/work'

const { decrypt, encrypt, encryptMany, encryptStream } = buildClient()

const EDK = new EncryptedDataKey({ providerId: 'other', providerInfo: 'key', encryptedDataKey: bytes(10) })

/** In which turn each step of `count` tasks went on, of three steps each. */
async function stepsOf(count: number, length: number): Promise<number[]> {
  const { turn, stop } = watchTurns()
  const wentOn: number[] = []
  const task = async () => {
    for (let step = 0; step < 3; step++) {
      await nextTurn(length)
      wentOn.push(turn())
    }
  }
  await Promise.all(Array.from({ length: count }, task))
  stop()
  assert.is(wentOn.length, 3 * count)
  return wentOn
}

test('of slices that fill a turn, one goes on in each', async () => {
  for (const length of [TURN_LENGTH, 2 * TURN_LENGTH])
    assert.is(new Set(await stepsOf(4, length)).size, 12, `${length} bytes each`)
})

test('of short ones, as many as fit, in their order', async () => {
  const turns = await stepsOf(8, TURN_LENGTH / 4)
  for (const turn of turns) assert.ok(turns.filter((other) => other === turn).length <= 4, turns.join(' '))
  assert.equal(
    turns,
    [...turns].sort((a, b) => a - b),
  )
  assert.ok(new Set(turns).size <= 8, turns.join(' '))
})

test('messages with many keys do not share a turn', async () => {
  const { turn, stop } = watchTurns()
  const asked: number[] = []
  class ManyKeys extends KeyringNode {
    async _onEncrypt(material: NodeEncryptionMaterial) {
      const made = await aesKeyring().onEncrypt(material)
      for (let i = 0; i < 5000; i++) made.addEncryptedDataKey(EDK, KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY)
      return made
    }
    async _onDecrypt(material: NodeDecryptionMaterial, edks: EncryptedDataKey[]) {
      asked.push(turn())
      return await aesKeyring().onDecrypt(material, edks)
    }
  }
  const { result } = await encrypt(new ManyKeys(), 'x')
  await Promise.all(Array.from({ length: 6 }, () => decrypt(new ManyKeys(), result)))
  stop()
  assert.is(new Set(asked).size, 6, asked.join(' '))
})

test('who asks while others wait waits too', async () => {
  await nextTurn()
  assert.ok(turnIsDue(1), 'this turn is full')
  const others = [nextTurn(), nextTurn()]
  assert.ok(turnIsDue(1))
  await Promise.all(others)
  await nextTurn(1)
  assert.not.ok(turnIsDue(TURN_LENGTH - 1))
  assert.ok(turnIsDue(1))
})

test('many streams at once do no more in a turn than one does', async () => {
  const { turn, stop } = watchTurns()
  const done = new Map<number, number>()
  const sink = () =>
    new Writable({
      highWaterMark: 1 << 30,
      write(chunk: Buffer, _encoding, callback) {
        done.set(turn(), (done.get(turn()) ?? 0) + chunk.length)
        callback()
      },
    })
  const chunk = Buffer.alloc(1024 * 1024)
  const streams = Array.from({ length: 16 }, () =>
    pipeline(Readable.from(Array<Buffer>(8).fill(chunk)), encryptStream(aesKeyring(), { suiteId: 0x0478 }), sink()),
  )
  await Promise.all(streams)
  stop()
  const most = Math.max(...done.values())
  assert.ok(most < 2 * TURN_LENGTH, `${most} bytes in one turn`)
})

test('short messages, one after the other or all at once, leave turns to others', async () => {
  const { turn, stop } = watchTurns()
  const [short, op] = [Buffer.alloc(100), { suiteId: 0x0478 }]
  const sealed = (await encrypt(aesKeyring(), short, op)).result
  const before = turn()
  for (let i = 0; i < 600; i++) await encrypt(aesKeyring(), short, op)
  for (let i = 0; i < 600; i++) await decrypt(aesKeyring(), sealed)
  const between = turn()
  assert.ok(between - before >= 4, `${between - before} turns`)
  await Promise.all(Array.from({ length: 1200 }, () => encrypt(aesKeyring(), short, op)))
  assert.ok(turn() - between >= 4, `${turn() - between} turns`)
  stop()
})

test('short messages count as what they take: their bytes, their frames, their pairs', async () => {
  const suiteId = 0x0478
  const turnsOf = async (count: number, call: () => Promise<unknown>) => {
    await nextTurn()
    const turns = countTurns()
    await Promise.all(Array.from({ length: count }, call))
    return turns()
  }
  const pairs = Array.from({ length: 1000 }, (_, i): [string, string] => [`key ${i}`, 'value'])
  const cases: [count: number, least: number, plaintext: Buffer, op: EncryptInput][] = [
    [200, 3, Buffer.alloc(60_000), { suiteId }],
    [12, 4, Buffer.alloc(1), { suiteId, encryptionContext: Object.fromEntries(pairs) }],
  ]
  for (const [count, least, plaintext, op] of cases) {
    const { result } = await encrypt(aesKeyring(), plaintext, op)
    const sealing = await turnsOf(count, () => encrypt(aesKeyring(), plaintext, op))
    const opening = await turnsOf(count, () => decrypt(aesKeyring(), result))
    assert.ok(sealing >= least && opening >= least, `${sealing} and ${opening} turns`)
  }
  const frames = await turnsOf(40, () => encrypt(aesKeyring(), Buffer.alloc(20_000), { suiteId, frameLength: 1 }))
  assert.ok(frames >= 5, `${frames} turns`)
})

test('keys of signatures are imported few in a turn', async () => {
  const { result } = await encrypt(aesKeyring(), Buffer.alloc(1))
  const { createPublicKey } = crypto
  const { turn, stop } = watchTurns()
  const perTurn = new Map<number, number>()
  crypto.createPublicKey = (key: Parameters<typeof createPublicKey>[0]) => {
    perTurn.set(turn(), (perTurn.get(turn()) ?? 0) + 1)
    return createPublicKey(key)
  }
  try {
    await Promise.all(Array.from({ length: 200 }, () => decrypt(aesKeyring(), result)))
  } finally {
    crypto.createPublicKey = createPublicKey
    stop()
  }
  assert.is(
    [...perTurn.values()].reduce((sum, count) => sum + count),
    200,
  )
  assert.ok(Math.max(...perTurn.values()) <= 32, `${[...perTurn.values()]}`)
})

test('of frames of one byte each a turn takes no more than of others: what counts is the message', async () => {
  const [plaintext, op] = [Buffer.alloc(1024 * 1024), { suiteId: 0x0478, frameLength: 1 }]
  const calls: number[] = []
  const engine = getEngine()
  const { sealFrames, sealMessages } = engine
  engine.sealFrames = (run, bytes, ...rest) => {
    calls.push(bytes.length)
    return sealFrames.call(engine, run, bytes, ...rest)
  }
  engine.sealMessages = (run, messageIds, plaintexts, out) => {
    calls.push(plaintexts.reduce((sum, { length }) => sum + length, 0))
    return sealMessages.call(engine, run, messageIds, plaintexts, out)
  }
  const sink = () => new Writable({ write: (_chunk, _encoding, callback) => callback() })
  const { turn, stop } = watchTurns()
  try {
    await encrypt(aesKeyring(), plaintext, op)
    const between = turn()
    assert.ok(between > 6, `${between} turns`)
    await pipeline(Readable.from([plaintext]), encryptStream(aesKeyring(), op), sink())
    assert.ok(turn() - between > 6, `${turn() - between} turns`)
    for (const result of await encryptMany(aesKeyring(), Array<Buffer>(40).fill(plaintext.subarray(0, 10_000)), op))
      assert.is(result.status, 'fulfilled')
  } finally {
    stop()
    Object.assign(engine, { sealFrames, sealMessages })
  }
  assert.ok(Math.max(...calls) * 33 <= TURN_LENGTH, `${Math.max(...calls)} frames in one call`)
})

test('an abort does not wait for a turn', async () => {
  const [controller, message] = [
    new AbortController(),
    (await encrypt(aesKeyring(), Buffer.alloc(2 * TURN_LENGTH))).result,
  ]
  await nextTurn()
  const others = Array.from({ length: 100 }, () => nextTurn())
  let turns = 0
  for (const other of others) void other.then(() => turns++)
  const { signal } = controller
  const attempts = [
    encrypt(aesKeyring(), 'short', { signal }),
    encrypt(aesKeyring(), message, { signal }),
    decrypt(aesKeyring(), message, { signal }),
  ]
  setImmediate(() => controller.abort())
  await Promise.all(attempts.map((attempt) => rejects(attempt, 'ERR_ABORTED')))
  assert.ok(turns < 5, `${turns} turns`)
  await Promise.all(others)
})

test('a clock that a program puts in the place of its own, as test runners do, holds up nobody', async () => {
  const { setImmediate: own } = globalThis
  const still = (() => assert.unreachable('a clock that stands still')) as unknown as typeof setImmediate
  const places = [globalThis, timers]
  for (const place of places) place.setImmediate = still
  try {
    await encrypt(aesKeyring(), Buffer.alloc(5 * TURN_LENGTH))
  } finally {
    for (const place of places) place.setImmediate = own
  }
})

test('who has gone on is let go of, also where others always wait', async () => {
  const wait = async (turns: number) => {
    for (let i = 0; i < turns; i++) await nextTurn()
  }
  const others = Promise.all([wait(20), wait(20)])
  const gone = new WeakRef(nextTurn())
  await wait(8)
  globalThis.gc!()
  assert.is(gone.deref(), undefined)
  await others
})

test.run()
