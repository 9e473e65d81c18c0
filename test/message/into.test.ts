/** Results in the caller's memory. */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getEngine, useEngine } from '../../src/engine/engine'
import { NodeEngine } from '../../src/engine/node'
import { AlgorithmSuiteIdentifier, buildClient, type OutputMemory } from '../../src/index'
import { Output } from '../../src/message/output'
import { rejectionOf, rejects } from '../support/expect'
import { aesKeyring, bytes } from '../support/keys'
import { SpyKeyring } from '../support/spy-keyring'

const client = buildClient()
const keyring = aesKeyring()
const SIGNED = AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384
const UNSIGNED = AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY
const MIB = 2 ** 20
/** One without content. */
const FINAL_FRAME = 40
/** Some slices, so that other events have their turn in between. */
const LARGE = 9 * MIB + 123

for (const suiteId of [SIGNED, UNSIGNED]) {
  for (const [length, frameLength] of [
    [0, 16],
    [1, 16],
    [1000, 64],
    [LARGE, 4096],
  ] as const) {
    test(`suite ${suiteId.toString(16)}, ${length} bytes in frames of ${frameLength}: in place, and nothing beside it`, async () => {
      const plaintext = bytes(length)
      const memory = new Uint8Array(length * 2 + 3000).fill(0xee)
      const { result } = await client.encryptInto(keyring, plaintext, memory.subarray(100), { suiteId, frameLength })
      assert.is(result.buffer, memory.buffer)
      assert.is(result.byteOffset, 100)
      assert.ok(memory.subarray(0, 100).every((byte) => byte === 0xee))
      assert.ok(memory.subarray(100 + result.length + 2).every((byte) => byte === 0xee))
      const theirs = await peer.buildClient().decrypt(peerKeyring(), result)
      assert.ok(theirs.plaintext.equals(plaintext))

      const room = new Uint8Array(length + 2).fill(0xee)
      const opened = await client.decryptInto(keyring, result, room.subarray(1, length + 1))
      assert.is(opened.plaintext.buffer, room.buffer)
      assert.is(digest(opened.plaintext), digest(plaintext))
      assert.equal([room[0], room[length + 1]], [0xee, 0xee])
      assert.is(opened.messageHeader.suiteId, suiteId)
    })
  }
}

test('a function learns how much the result can take, once, and its memory is used', async () => {
  const asked: number[] = []
  const memory = (length: number) => {
    asked.push(length)
    return new Uint8Array(length)
  }
  const { result } = await client.encryptInto(keyring, Readable.from([bytes(500), bytes(500)]), memory)
  const { plaintext } = await client.decryptInto(keyring, result.toString('base64'), memory, { encoding: 'base64' })
  assert.is(plaintext.length, 1000)
  assert.is(asked.length, 2)
  assert.ok(asked[0]! - result.length <= 2, `${asked[0]} bytes for ${result.length}`)
  assert.ok(asked[1]! >= 1000 && asked[1]! <= 1200, `${asked[1]} bytes for 1000`)
})

test('too little memory is refused by a RangeError that says how much it takes', async () => {
  const error = await rejects(client.encryptInto(keyring, bytes(1000), new Uint8Array(10)), RangeError, /got 10$/)
  const needed = Number(/at least (\d+) bytes/.exec(error.message)![1])
  await rejects(client.encryptInto(keyring, bytes(1000), new Uint8Array(needed - 1)), RangeError)
  const { result } = await client.encryptInto(keyring, bytes(1000), new Uint8Array(needed))
  const room = new Uint8Array(999)
  await rejects(client.decryptInto(keyring, result, room), RangeError, /got 999$/)
  await rejects(
    client.decryptInto(keyring, result, () => room),
    RangeError,
    /got 999$/,
  )
  assert.ok(room.every((byte) => byte === 0))
})

test('what is no whole message is refused as what it is, however much memory there is', async () => {
  const plaintext = bytes(10_000)
  const { result } = await client.encrypt(keyring, plaintext, { suiteId: UNSIGNED, frameLength: 100 })
  const changed = Uint8Array.from(result)
  changed[changed.length - 1]! ^= 1
  for (const [message, code] of [
    [result.subarray(0, -FINAL_FRAME), 'ERR_MESSAGE_TRUNCATED'],
    [result.subarray(0, -1), 'ERR_MESSAGE_TRUNCATED'],
    [changed, 'ERR_AUTHENTICATION_FAILED'],
  ] as const) {
    const given: Uint8Array[] = []
    const allocate = (length: number) => {
      given.push(new Uint8Array(length))
      return given[0]!
    }
    await rejects(client.decryptInto(keyring, message, new Uint8Array(message.length)), code)
    await rejects(client.decryptInto(keyring, message, allocate), code)
    assert.ok(given[0]!.every((byte) => byte === 0))
  }
})

test('what no result can go to is a TypeError, before a keyring is asked', async () => {
  const spy = new SpyKeyring()
  const { result } = await client.encrypt(keyring, 'x')
  const detached = new Uint8Array(5000)
  structuredClone(detached.buffer, { transfer: [detached.buffer] })
  const resizable = new (ArrayBuffer as unknown as new (length: number, options: object) => ArrayBuffer)(5000, {
    maxByteLength: 6000,
  })
  for (const output of [
    Object.create(Uint8Array.prototype),
    undefined,
    null,
    5000,
    'x'.repeat(5000),
    [],
    { length: 5000 },
    new ArrayBuffer(5000),
    new Uint16Array(5000),
    new DataView(new ArrayBuffer(5000)),
    new Uint8Array(new SharedArrayBuffer(5000)),
    new Uint8Array(resizable),
    detached,
  ]) {
    await rejects(client.encryptInto(spy, 'x', output as OutputMemory), TypeError)
    await rejects(client.decryptInto(spy, result, output as OutputMemory), TypeError)
  }
  assert.is(spy.materials.length, 0)
  for (const output of [undefined, Promise.resolve(new Uint8Array(5000)), new Uint8Array(resizable)]) {
    await rejects(client.encryptInto(spy, 'x', (() => output) as OutputMemory), TypeError)
  }
  assert.ok(spy.wiped)
  const thrown = new Error('no memory')
  const throwing = () => {
    throw thrown
  }
  assert.is(await rejectionOf(client.decryptInto(spy, result, throwing)), thrown)
  assert.ok(spy.wiped)
})

test('memory that overlaps the input is refused, memory right beside it is not', async () => {
  const memory = bytes(20_000)
  const plaintext = memory.subarray(8000, 9000)
  for (const output of [memory, memory.subarray(0, 8001), memory.subarray(8999), memory.subarray(8100, 8200)]) {
    const before = Uint8Array.from(memory)
    await rejects(client.encryptInto(keyring, plaintext, output), RangeError, /overlap|at least/)
    assert.equal(memory, before)
  }
  const { result } = await client.encryptInto(keyring, plaintext, memory.subarray(9000))
  await rejects(client.decryptInto(keyring, result, memory), RangeError, /overlap/)
  const opened = await client.decryptInto(keyring, result, memory.subarray(0, 9000))
  assert.is(digest(opened.plaintext), digest(plaintext))
})

const native = getEngine()
for (const engine of [new NodeEngine('for this test'), native]) {
  const { backend } = engine.info()
  test(`${backend}: no plaintext is left after a failure, wherever it is noticed`, async () => {
    useEngine(engine)
    for (const suiteId of [SIGNED, UNSIGNED]) {
      const { result } = await client.encrypt(keyring, new Uint8Array(100_000).fill(0x41), {
        suiteId,
        frameLength: 1000,
      })
      const flipped = (at: number) => {
        const message = Uint8Array.from(result)
        message[at]! ^= 1
        return message
      }
      const failures = {
        'in the middle': flipped(50_000),
        'in the last frame': flipped(result.length - (suiteId === SIGNED ? 120 : 1)),
        'at the end': flipped(result.length - 1),
        'cut short': result.subarray(0, -1),
        'cut between frames': result.subarray(0, 60_000),
        'too long': Buffer.concat([result, Buffer.alloc(1)]),
      }
      for (const [name, message] of Object.entries(failures)) {
        const output = new Uint8Array(120_000)
        assert.ok((await rejectionOf(client.decryptInto(keyring, message, output))) instanceof Error, name)
        assert.ok(
          output.every((byte) => byte === 0),
          `plaintext is left: ${name}`,
        )
      }
    }
  })
}
test('what did not lie in place is wiped, when it is moved there and when it is given up', () => {
  for (const end of ['join', 'wipe'] as const) {
    const output = new Output(Buffer.alloc(10))
    const [start, rest] = [output.allocate(8).fill(1).subarray(0, 2), output.allocate(7).fill(2)]
    const last = output.allocate(1).fill(3)
    if (end === 'join') assert.equal([...output.join([start, rest, last])], [1, 1, 2, 2, 2, 2, 2, 2, 2, 3])
    else output.wipe()
    assert.equal([...rest, ...last], [0, 0, 0, 0, 0, 0, 0, 0])
  }
})

test('an abort between slices leaves no plaintext', async () => {
  const { result } = await client.encrypt(keyring, new Uint8Array(LARGE).fill(0x41), { suiteId: UNSIGNED })
  const output = new Uint8Array(LARGE)
  const controller = new AbortController()
  const decrypting = client.decryptInto(keyring, result, output, { signal: controller.signal })
  while (output[0] === 0) await new Promise((resolve) => setImmediate(resolve))
  controller.abort()
  await rejects(decrypting, 'ERR_ABORTED')
  assert.ok(output.every((byte) => byte === 0))
})

test('output that is transferred away meanwhile is an error', async () => {
  const { result } = await client.encrypt(keyring, new Uint8Array(LARGE), { suiteId: UNSIGNED })
  for (const start of [
    (output: Uint8Array) => client.decryptInto(keyring, result, output),
    (output: Uint8Array) => client.encryptInto(keyring, new Uint8Array(LARGE), output, { suiteId: UNSIGNED }),
  ]) {
    const output = new Uint8Array(LARGE + MIB).fill(0xee)
    const running = start(output)
    while (output[1000] === 0xee) await new Promise((resolve) => setImmediate(resolve))
    structuredClone(output.buffer, { transfer: [output.buffer] })
    await rejects(running, TypeError, /resized or transferred/)
  }
})

function peerKeyring(): peer.RawAesKeyringNode {
  return new peer.RawAesKeyringNode({
    keyNamespace: 'tests',
    keyName: 'aes',
    unencryptedMasterKey: bytes(32),
    wrappingSuite: peer.RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })
}

function digest(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

test.run()
