import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getEngine, useEngine } from '../../src/engine/engine'
import {
  AlgorithmSuiteIdentifier,
  buildClient,
  CommitmentPolicy,
  getLocalCryptographicMaterialsCache,
  type MessageHeader,
  MultiKeyringNode,
  NodeCachingMaterialsManager,
  NodeDefaultCryptographicMaterialsManager,
  type NodeEncryptionRequest,
  type SealwaxErrorCode,
} from '../../src/index'
import { rejects } from '../support/expect'
import { aesKeyring, bytes } from '../support/keys'
import { SpyKeyring } from '../support/spy-keyring'

const client = buildClient()
const keyring = aesKeyring()
const UNSIGNED = { suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY }
const SUITES = Object.values(AlgorithmSuiteIdentifier).filter((id) => typeof id === 'number')
const PLAINTEXTS = [0, 1, 20, 4095, 4096, 4097, 70_000, 5].map((length) => Buffer.from(bytes(length)))
const peerKeyring = new peer.RawAesKeyringNode({
  keyNamespace: 'tests',
  keyName: 'aes',
  unencryptedMasterKey: bytes(32),
  wrappingSuite: peer.RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
})

for (const suiteId of SUITES) {
  test(`suite ${suiteId.toString(16)}: client-node opens every message of a batch, and a batch opens client-node's`, async () => {
    const policy =
      suiteId < 0x400 ? CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT : CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    const ours = buildClient(policy)
    const theirs = peer.buildClient(peer.CommitmentPolicy[policy])
    const encryptionContext = { purpose: 'tests', schlüssel: 'ß' }
    const sealed = values(await ours.encryptMany(keyring, PLAINTEXTS, { suiteId, encryptionContext }))
    const ids = new Set(sealed.map(({ messageHeader }) => Buffer.from(messageHeader.messageId).toString('hex')))
    assert.is(ids.size, PLAINTEXTS.length, 'a message ID for each')
    const messages = sealed.map(({ result }) => result)
    for (const [i, message] of messages.entries()) {
      const { plaintext, messageHeader } = await theirs.decrypt(peerKeyring, message)
      assert.equal(plaintext, PLAINTEXTS[i])
      assert.equal(Buffer.from(messageHeader.messageId), Buffer.from(sealed[i]!.messageHeader.messageId))
    }
    for (const plaintext of PLAINTEXTS.slice(0, 3)) {
      messages.push((await theirs.encrypt(peerKeyring, plaintext, { suiteId: suiteId as number })).result)
    }
    const opened = values(await ours.decryptMany(keyring, messages))
    assert.equal(
      opened.map(({ plaintext }) => plaintext),
      [...PLAINTEXTS, ...PLAINTEXTS.slice(0, 3)],
    )
    for (const [i, { messageHeader }] of sealed.entries())
      assert.equal(ownFields(opened[i]!.messageHeader), ownFields(messageHeader))
  })
}

test('a bad record fails alone, with the error that decrypt has for it, and gives no plaintext', async () => {
  const sealed = values(await client.encryptMany(keyring, Array(30).fill('plain'), UNSIGNED)).map(
    ({ result }) => result,
  )
  const good = sealed[0]!
  const bad: [SealwaxErrorCode, Uint8Array][] = [
    ['ERR_AUTHENTICATION_FAILED', changed(good, good.length - 1)],
    ['ERR_AUTHENTICATION_FAILED', changed(good, 10)],
    ['ERR_MESSAGE_TRUNCATED', good.subarray(0, good.length - 1)],
    // Inside the tag of its header.
    ['ERR_MESSAGE_TRUNCATED', good.subarray(0, good.length - 60)],
    ['ERR_MESSAGE_TRUNCATED', good.subarray(0, 20)],
    ['ERR_TRAILING_DATA', Buffer.concat([good, Buffer.of(0)])],
    ['ERR_UNSUPPORTED_FORMAT', Buffer.from('nothing of ours')],
  ]
  const messages = bad.flatMap(([, message], i) => [sealed[2 * i]!, message])
  const results = await client.decryptMany(keyring, messages)
  for (const [i, [code, message]] of bad.entries()) {
    const [before, result] = [results[2 * i]!, results[2 * i + 1]!]
    assert.is(before.status === 'fulfilled' && before.value.plaintext.toString(), 'plain')
    assert.ok(result.status === 'rejected')
    assert.is(result.reason.code, code)
    const alone = await rejects(client.decrypt(keyring, message), code)
    assert.is(result.reason.message, alone.message)
  }
})

test('the memory of a plaintext holds nothing else, whatever was there before', async () => {
  const engine = getEngine()
  const records = (
    await client.encryptMany(keyring, ['short', 'x'.repeat(500)], { ...UNSIGNED, frameLength: 100 })
  ).map((record) => (record.status === 'fulfilled' ? record.value.result : Buffer.alloc(0)))
  const dirty: Buffer[] = []
  const allocate = (length: number) => {
    dirty.push(Buffer.alloc(length, 0xee))
    return dirty.at(-1)!
  }
  Object.defineProperty(engine, 'allocate', { value: allocate, configurable: true })
  try {
    const bad = [changed(records[1]!, records[1]!.length - 1), Buffer.concat([records[1]!, Buffer.alloc(1)])]
    const opened = await client.decryptMany(keyring, [...records, ...bad])
    assert.equal(
      opened.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected', 'rejected'],
    )
  } finally {
    delete (engine as { allocate?: unknown }).allocate
  }
  const [shared, ...others] = dirty.map((memory) => memory.toString('latin1').replaceAll('\0', ''))
  assert.is(shared, `short${'x'.repeat(500)}`)
  // What nobody gets holds no plaintext.
  for (const memory of others) assert.not(memory.includes('x'))
})

test('the header of a record stays as it was, whatever becomes of the message', async () => {
  const [sealed] = values(await client.encryptMany(keyring, ['plain'], UNSIGNED))
  const expected = ownFields(sealed!.messageHeader)
  const [opened] = values(await client.decryptMany(keyring, [sealed!.result]))
  sealed!.result.fill(0)
  assert.equal(ownFields(opened!.messageHeader), expected)
})

test('records that are no bytes fail alone', async () => {
  const results = await client.encryptMany(keyring, ['one', 2 as unknown as string, 'three'], UNSIGNED)
  assert.equal(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  await rejects(client.encryptMany(keyring, 'text' as unknown as string[]), TypeError)
  await rejects(client.encryptMany(keyring, [], { plaintextLength: 3 } as object), TypeError)
  await rejects(client.decryptMany(keyring, undefined as unknown as string[]), TypeError)
})

test('no records are no results, and no call to a keyring', async () => {
  const spy = new SpyKeyring()
  assert.equal(await client.encryptMany(spy, []), [])
  assert.equal(await client.decryptMany(spy, []), [])
  assert.is(spy.materials.length, 0)
})

test('one data key serves a batch, and is wiped; without key derivation each record has its own', async () => {
  for (const [suiteId, expected] of [
    [0x0478, 1],
    [0x0578, 1],
    [0x0078, 5],
  ] as const) {
    const spy = new SpyKeyring()
    const policy =
      suiteId < 0x400 ? CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT : CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    values(await buildClient(policy).encryptMany(spy, ['a', 'b', 'c', 'd', 'e'], { suiteId }))
    assert.is(spy.materials.length, expected)
    assert.ok(spy.wiped)
  }
})

test('the limits of a caching manager hold for each record', async () => {
  const spy = new SpyKeyring()
  const cmm = new NodeCachingMaterialsManager({
    backingMaterials: spy,
    cache: getLocalCryptographicMaterialsCache(10),
    maxAge: 60_000,
    maxMessagesEncrypted: 3,
  })
  const sealed = values(await client.encryptMany(cmm, Array(10).fill('plain'), UNSIGNED))
  const dataKeys = new Map<string, number>()
  for (const { messageHeader } of sealed) {
    const wrapped = Buffer.from(messageHeader.encryptedDataKeys[0]!.encryptedDataKey).toString('hex')
    dataKeys.set(wrapped, (dataKeys.get(wrapped) ?? 0) + 1)
  }
  assert.ok([...dataKeys.values()].every((count) => count <= 3))
})

test('a keyring that fails, fails the records, not the call', async () => {
  const other = aesKeyring({ unencryptedMasterKey: bytes(32, 50) })
  const messages = values(await client.encryptMany(keyring, ['a', 'b'], UNSIGNED)).map(({ result }) => result)
  const mine = values(await client.encryptMany(other, ['c'], UNSIGNED)).map(({ result }) => result)
  const results = await client.decryptMany(other, [...messages, ...mine])
  assert.equal(
    results.map((result) => (result.status === 'rejected' ? result.reason.code : result.value.plaintext.toString())),
    ['ERR_NO_DATA_KEY', 'ERR_NO_DATA_KEY', 'c'],
  )
})

test('what is opened stays opened where all that comes after it fails together', async () => {
  const sealed = values(await client.encryptMany(keyring, Array<string>(300).fill('x'), UNSIGNED))
  const engine = getEngine()
  let calls = 0
  const openMessages: typeof engine.openMessages = (...args) => {
    if (calls++ > 0) throw new Error('broken')
    return engine.openMessages(...args)
  }
  useEngine(Object.assign(Object.create(engine), { openMessages }))
  try {
    const messages = sealed.map(({ result }) => result)
    const statuses = (await client.decryptMany(keyring, messages)).map(({ status }) => status)
    assert.equal([statuses[0], statuses.at(-1)], ['fulfilled', 'rejected'])
  } finally {
    useEngine(engine)
  }
})

test('a manager of others is asked for each record, also one that is made of the default one', async () => {
  class Counting extends NodeDefaultCryptographicMaterialsManager {
    readonly lengths: unknown[] = []
    override async getEncryptionMaterials(request: NodeEncryptionRequest) {
      this.lengths.push(request.plaintextLength)
      return await super.getEncryptionMaterials(request)
    }
  }
  const counting = new Counting(keyring)
  values(await client.encryptMany(counting, ['a', 'bb', 'ccc'], UNSIGNED))
  assert.equal(counting.lengths, [1, 2, 3])
  const spy = new SpyKeyring()
  values(await client.encryptMany(new NodeDefaultCryptographicMaterialsManager(spy), ['a', 'bb', 'ccc'], UNSIGNED))
  assert.is(spy.materials.length, 1)
})

test('required pairs and maxBodySize are asked of each record', async () => {
  const encryptionContext = { tenant: 'a' }
  const [a] = values(await client.encryptMany(keyring, ['a'], { ...UNSIGNED, encryptionContext }))
  const [b] = values(await client.encryptMany(keyring, ['b'], UNSIGNED))
  const results = await client.decryptMany(keyring, [a!.result, b!.result], { encryptionContext })
  assert.equal(
    results.map((result) => (result.status === 'rejected' ? result.reason.code : result.value.plaintext.toString())),
    ['a', 'ERR_ENCRYPTION_CONTEXT'],
  )
  const [large] = values(await client.encryptMany(keyring, [Buffer.alloc(20_000)], UNSIGNED))
  const [refused] = await client.decryptMany(keyring, [large!.result], { maxBodySize: 100 })
  assert.is(refused?.status === 'rejected' && refused.reason.code, 'ERR_LIMIT_EXCEEDED')
})

test('no record has more encrypted data keys than the client allows', async () => {
  const two = new MultiKeyringNode({ generator: keyring, children: [keyring] })
  const [sealed] = values(await client.encryptMany(two, ['a'], UNSIGNED))
  for (const [maxEncryptedDataKeys, code] of [
    [2, undefined],
    [1, 'ERR_LIMIT_EXCEEDED'],
  ] as const) {
    const limited = buildClient({ maxEncryptedDataKeys })
    const results = [
      ...(await limited.encryptMany(two, ['a'], UNSIGNED)),
      ...(await limited.decryptMany(two, [sealed!.result])),
    ]
    assert.equal(
      results.map((result) => (result.status === 'rejected' ? result.reason.code : undefined)),
      [code, code],
    )
  }
})

test('an abort ends a batch in the middle', async () => {
  const records = Array<Buffer>(60_000).fill(Buffer.alloc(1000))
  const controller = new AbortController()
  setImmediate(() => controller.abort())
  await rejects(client.encryptMany(keyring, records, { ...UNSIGNED, signal: controller.signal }), 'ERR_ABORTED')
  await rejects(client.decryptMany(keyring, [], { signal: AbortSignal.abort() }), 'ERR_ABORTED')
})

test('plaintexts of a batch that is given up are wiped', async () => {
  const records = values(await client.encryptMany(keyring, Array(600).fill('plain'), UNSIGNED))
  const controller = new AbortController()
  const memory: Buffer[] = []
  const allocate = (length: number) => {
    memory.push(Buffer.alloc(length))
    if (memory.length === 2) controller.abort()
    return memory.at(-1)!
  }
  const engine = getEngine()
  Object.defineProperty(engine, 'allocate', { value: allocate, configurable: true })
  try {
    const messages = records.map(({ result }) => result)
    await rejects(client.decryptMany(keyring, messages, { signal: controller.signal }), 'ERR_ABORTED')
  } finally {
    delete (engine as { allocate?: unknown }).allocate
  }
  assert.is(memory.length, 2)
  for (const plaintexts of memory) assert.ok(plaintexts.every((byte) => byte === 0))
})

test('other events have their turn during a long batch', async () => {
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  const sealed = values(await client.encryptMany(keyring, Array<Buffer>(20_000).fill(Buffer.alloc(1000)), UNSIGNED))
  const between = turns
  values(
    await client.decryptMany(
      keyring,
      sealed.map(({ result }) => result),
    ),
  )
  clearInterval(timer)
  assert.ok(between > 1 && turns > between + 1, `${between} turns, then ${turns - between}`)
})

test('memory taken away while a keyring works fails that record alone', async () => {
  const spy = new SpyKeyring()
  const gone = Buffer.from(bytes(100).buffer as ArrayBuffer)
  const running = client.encryptMany(spy, ['kept', gone], UNSIGNED)
  structuredClone(gone.buffer, { transfer: [gone.buffer as ArrayBuffer] })
  const [kept, lost] = await running
  assert.is(kept?.status, 'fulfilled')
  assert.ok(lost?.status === 'rejected' && lost.reason instanceof TypeError)
})

test('a record that becomes another message while a keyring works is not opened as that, and fails alone', async () => {
  const sealed = async (a: string) =>
    values(await client.encryptMany(keyring, ['1', '2'], { ...UNSIGNED, encryptionContext: { a } })).map(
      ({ result }) => result,
    )
  const [kept, changing] = await sealed('a')
  const [other] = await sealed('b')
  const spy = new SpyKeyring()
  spy.after = () => void changing!.set(other!)
  const [first, second] = await client.decryptMany(spy, [kept!, changing!])
  assert.is(first?.status, 'fulfilled')
  assert.ok(second?.status === 'rejected' && second.reason instanceof TypeError)
})

/** What a header has of its own: all else is the same in a batch. */
function ownFields(header: MessageHeader): unknown {
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
  return [hex(header.messageId), header.version === 2 && hex(header.suiteData), header.frameLength]
}

function values<T>(results: readonly PromiseSettledResult<T>[]): T[] {
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
}

function changed(message: Uint8Array, at: number): Uint8Array {
  return message.map((byte, i) => (i === at ? byte ^ 1 : byte))
}

test.run()
