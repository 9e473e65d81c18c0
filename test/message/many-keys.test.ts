/** A header of thousands of encrypted data keys, which anybody can write, holds up nobody else. */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getEngine } from '../../src/engine/engine'
import {
  buildClient,
  EncryptedDataKey,
  getLocalCryptographicMaterialsCache,
  KeyringNode,
  KeyringTraceFlag,
  NodeCachingMaterialsManager,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
  outlineMessage,
} from '../../src/index'
import { rejects } from '../support/expect'
import { aesKeyring, bytes } from '../support/keys'
import { countTurns } from '../support/work'

const { encrypt, decrypt, decryptMany, decryptStream, openMessage } = buildClient()
const COUNT = 20_000
const EDK = new EncryptedDataKey({ providerId: 'other', providerInfo: 'key', encryptedDataKey: bytes(20) })

/** The key that opens the message comes last. */
class ManyKeys extends KeyringNode {
  async _onEncrypt(material: NodeEncryptionMaterial) {
    const flags = KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY
    const trace = { keyNamespace: 'tests', keyName: 'aes', flags: KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY }
    material.setUnencryptedDataKey(bytes(32), trace)
    for (let i = 1; i < COUNT; i++) material.addEncryptedDataKey(EDK, flags)
    return await aesKeyring().onEncrypt(material)
  }
  async _onDecrypt(material: NodeDecryptionMaterial) {
    return material
  }
}

let message: Buffer
test.before(async () => {
  message = (await encrypt(new ManyKeys(), 'hello', { suiteId: 0x0478 })).result
})

async function turnsOf(open: () => Promise<Buffer>): Promise<number> {
  const turns = countTurns()
  assert.is((await open()).toString(), 'hello')
  return turns()
}

async function openPieces(pieceLength: number): Promise<Buffer> {
  const pieces = function* () {
    for (let at = 0; at < message.length; at += pieceLength) yield message.subarray(at, at + pieceLength)
  }
  const opened: Buffer[] = []
  const stream = decryptStream(aesKeyring()).on('data', (piece) => opened.push(piece))
  await pipeline(Readable.from(pieces()), stream)
  return Buffer.concat(opened)
}

const CALLS: Record<string, () => Promise<Buffer>> = {
  decrypt: async () => (await decrypt(aesKeyring(), message)).plaintext,
  decryptMany: async () => {
    const [result] = await decryptMany(aesKeyring(), [message])
    return result!.status === 'fulfilled' ? result!.value.plaintext : await Promise.reject(result!.reason)
  },
  openMessage: async () => {
    const opened = await openMessage(aesKeyring(), message)
    const plaintext = await opened.read(0)
    opened.close()
    return plaintext
  },
  outlineMessage: async () => {
    const { encryptedDataKeys } = (await outlineMessage(message)).messageHeader
    return Buffer.from(encryptedDataKeys.length === COUNT ? 'hello' : '')
  },
  'decryptStream, in one piece': () => openPieces(message.length),
  'decryptStream, in pieces': () => openPieces(30_000),
}
test('where a library has put a Promise of its own in place of the global one', async () => {
  const { Promise: own } = globalThis
  globalThis.Promise = class extends own<unknown> {} as PromiseConstructor
  try {
    assert.is((await decrypt(aesKeyring(), message)).plaintext.toString(), 'hello')
  } finally {
    globalThis.Promise = own
  }
})

for (const [name, open] of Object.entries(CALLS)) {
  test(`${name}: other events have their turn while it is read`, async () => {
    const turns = await turnsOf(open)
    assert.ok(turns > 15, `${turns} turns`)
  })
}

test('a cache: and while it is looked up', async () => {
  const open = (source: KeyringNode | NodeCachingMaterialsManager) => async () =>
    (await decrypt(source, message)).plaintext
  const cache = getLocalCryptographicMaterialsCache(10)
  const manager = new NodeCachingMaterialsManager({ backingMaterials: aesKeyring(), cache, maxAge: 60_000 })
  const [without, first, second] = [
    await turnsOf(open(aesKeyring())),
    await turnsOf(open(manager)),
    await turnsOf(open(manager)),
  ]
  assert.ok(first - without > 15 && second - without > 15, `${without}, ${first} and ${second} turns`)
})

test('a cache: few keys, but long ones', async () => {
  class LongKeys extends KeyringNode {
    async _onEncrypt(material: NodeEncryptionMaterial) {
      const made = await aesKeyring().onEncrypt(material)
      const edk = new EncryptedDataKey({ providerId: 'other', providerInfo: 'key', encryptedDataKey: bytes(65_000) })
      for (let i = 0; i < 200; i++) made.addEncryptedDataKey(edk, KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY)
      return made
    }
    async _onDecrypt(material: NodeDecryptionMaterial) {
      return material
    }
  }
  const { result } = await encrypt(new LongKeys(), 'hello', { suiteId: 0x0478 })
  const cache = getLocalCryptographicMaterialsCache(10)
  const manager = new NodeCachingMaterialsManager({ backingMaterials: aesKeyring(), cache, maxAge: 60_000 })
  const without = await turnsOf(async () => (await decrypt(aesKeyring(), result)).plaintext)
  const turns = await turnsOf(async () => (await decrypt(manager, result)).plaintext)
  assert.ok(turns - without > 8, `${without} and ${turns} turns`)
})

test('the keys of a message whose header gets too long are wiped', async () => {
  const engine = getEngine()
  const { hkdfPair } = engine
  const derived: Uint8Array[] = []
  engine.hkdfPair = (...args) => {
    const pair = hkdfPair.apply(engine, args)
    derived.push(...pair)
    return pair
  }
  class TooLong extends ManyKeys {
    override async _onEncrypt(material: NodeEncryptionMaterial) {
      const made = await super._onEncrypt(material)
      const edk = new EncryptedDataKey({ providerId: 'other', providerInfo: 'key', encryptedDataKey: bytes(65_000) })
      for (let i = 0; i < 260; i++) made.addEncryptedDataKey(edk, KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY)
      return made
    }
  }
  try {
    await rejects(encrypt(new TooLong(), bytes(100_000)), 'ERR_LIMIT_EXCEEDED', /header is longer/)
  } finally {
    engine.hkdfPair = hkdfPair
  }
  const [key, commitment] = derived
  assert.ok(key!.every((byte) => byte === 0))
  assert.ok(
    commitment!.some((byte) => byte !== 0),
    'what was derived is seen',
  )
})

test('it is refused as any other', async () => {
  await rejects(decrypt(aesKeyring(), message.subarray(0, 300_000)), 'ERR_MESSAGE_TRUNCATED', /after 300000 bytes/)
  const few = buildClient({ maxEncryptedDataKeys: COUNT - 1 })
  await rejects(few.decrypt(aesKeyring(), message), 'ERR_LIMIT_EXCEEDED', /20000 > 19999/)
  const controller = new AbortController()
  setImmediate(() => controller.abort())
  await rejects(decrypt(aesKeyring(), message, { signal: controller.signal }), 'ERR_ABORTED')
  const copy = new Uint8Array(message)
  const opening = decrypt(aesKeyring(), copy)
  structuredClone(copy.buffer, { transfer: [copy.buffer] })
  await rejects(opening, TypeError, /ciphertext was resized or transferred/)
})

test.run()
