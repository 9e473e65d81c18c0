import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getEngine, useEngine } from '../../src/engine/engine'
import { parseHeader } from '../../src/format/message-header'
import {
  buildClient,
  CommitmentPolicy,
  type KeyringNode,
  NodeDecryptionMaterial,
  NodeDefaultCryptographicMaterialsManager,
  type NodeEncryptionMaterial,
} from '../../src/index'
import { doneSignal } from '../../src/materials/materials'
import { VerificationKey } from '../../src/materials/signature'
import { MessageOpener } from '../../src/message/opener'
import { MessageSealer } from '../../src/message/sealer'
import { openShort } from '../../src/message/short'
import { getSuite } from '../../src/suites'
import { rejects, throws } from '../support/expect'
import { aesKeyring } from '../support/keys'
import { SpyKeyring } from '../support/spy-keyring'

const client = buildClient()
/** More than one slice of work. */
const LONG = Buffer.alloc(20 * 1024 * 1024, 1)

interface Operation {
  name: string
  run: (keyring: KeyringNode, signal?: AbortSignal) => Promise<unknown>
}

function operations(plaintext: Uint8Array, message: Uint8Array): Operation[] {
  const op = (signal?: AbortSignal) => (signal ? { signal } : {})
  return [
    { name: 'encrypt', run: (keyring, signal) => client.encrypt(keyring, plaintext, op(signal)) },
    { name: 'decrypt', run: (keyring, signal) => client.decrypt(keyring, message, op(signal)) },
  ]
}

/** All that ask a keyring and can be given up. */
async function everyOperation(): Promise<Operation[]> {
  const plaintext = Buffer.of(1)
  const message = await sealed(plaintext)
  const op = (signal?: AbortSignal) => (signal ? { signal } : {})
  const opening = { readSignedMessageWithoutVerifyingItsSignature: true }
  return [
    ...operations(plaintext, message),
    { name: 'encryptMany', run: (keyring, signal) => client.encryptMany(keyring, [plaintext], op(signal)) },
    { name: 'decryptMany', run: (keyring, signal) => client.decryptMany(keyring, [message], op(signal)) },
    {
      name: 'openMessage',
      run: (keyring, signal) => client.openMessage(keyring, message, { ...op(signal), ...opening }),
    },
    {
      name: 'encryptStream',
      run: (keyring, signal) => buffer(client.encryptStream(keyring, op(signal)).end(plaintext)),
    },
    { name: 'decryptStream', run: (keyring, signal) => buffer(client.decryptStream(keyring, op(signal)).end(message)) },
  ]
}

test('a signal that is aborted already: no keyring is asked', async () => {
  for (const { run } of await everyOperation()) {
    const spy = new SpyKeyring()
    const error = await rejects(run(spy, AbortSignal.abort('why')), 'ERR_ABORTED')
    assert.is(error.cause, 'why')
    assert.is(spy.materials.length, 0)
  }
})

test('an abort tells the keyring, which can end what it asks of key services', async () => {
  for (const { name, run } of await everyOperation()) {
    const controller = new AbortController()
    const spy = new SpyKeyring()
    const asked = new Promise<AbortSignal>((resolve) => {
      const hang = (material: NodeEncryptionMaterial | NodeDecryptionMaterial) => {
        resolve(doneSignal(material))
        return new Promise<never>(() => {})
      }
      Object.assign(spy, { _onEncrypt: hang, _onDecrypt: hang })
    })
    const running = run(spy, controller.signal)
    const done = await asked
    assert.not(done.aborted)
    controller.abort()
    await rejects(running, 'ERR_ABORTED')
    assert.ok(done.aborted, name)
  }
})

test('an abort ends the wait for a keyring at once, and wipes the key that comes too late', async () => {
  for (const { run } of await everyOperation()) {
    const { spy, asked, answer } = slowKeyring()
    const controller = new AbortController()
    const running = run(spy, controller.signal)
    await asked
    controller.abort()
    await rejects(running, 'ERR_ABORTED')
    assert.not.ok(spy.wiped, 'the keyring is still at work with it')
    answer()
    await turn()
    assert.ok(spy.wiped)
  }
})

test('a keyring that never answers does not hold an aborted operation; one that fails late harms nobody', async () => {
  for (const { run } of await everyOperation()) {
    const { spy, asked, fail } = slowKeyring()
    const controller = new AbortController()
    const running = run(spy, controller.signal)
    await asked
    controller.abort()
    await rejects(running, 'ERR_ABORTED')
    fail(new Error('late'))
    await turn()
    assert.ok(spy.wiped)
  }
})

test('an abort between two slices of a long message', async () => {
  const message = await sealed(LONG)
  const many: Operation[] = [
    { name: 'encryptMany', run: (keyring, signal) => client.encryptMany(keyring, [LONG], { signal: signal! }) },
    { name: 'decryptMany', run: (keyring, signal) => client.decryptMany(keyring, [message], { signal: signal! }) },
  ]
  for (const { name, run } of [...operations(LONG, message), ...many]) {
    const spy = new SpyKeyring()
    const controller = new AbortController()
    spy.after = () => void setImmediate(() => controller.abort())
    await rejects(run(spy, controller.signal), 'ERR_ABORTED', /aborted/)
    assert.ok(spy.wiped, `${name} wipes its data key`)
  }
})

test('an abort after the end changes nothing, and leaves no listener behind', async () => {
  const controller = new AbortController()
  let listeners = 0
  const { addEventListener, removeEventListener } = controller.signal
  controller.signal.addEventListener = (...args: unknown[]) => {
    listeners++
    Reflect.apply(addEventListener, controller.signal, args)
  }
  controller.signal.removeEventListener = (...args: unknown[]) => {
    listeners--
    Reflect.apply(removeEventListener, controller.signal, args)
  }
  for (const { run } of await everyOperation()) await run(aesKeyring(), controller.signal)
  assert.is(listeners, 0)
  controller.abort()
})

test('data keys are wiped after success', async () => {
  for (const { name, run } of await everyOperation()) {
    const spy = new SpyKeyring()
    await run(spy)
    assert.ok(spy.wiped, name)
    assert.not.ok(spy.materials[0]!.hasUnencryptedDataKey)
  }
})

test('data keys are wiped after a failure', async () => {
  const message = await sealed(Buffer.of(1))
  message[message.length - 1]! ^= 1
  const spy = new SpyKeyring()
  await rejects(client.decrypt(spy, message), 'ERR_AUTHENTICATION_FAILED')
  assert.ok(spy.wiped)

  const failing = new SpyKeyring()
  failing.after = () => Promise.reject(new RangeError('a fault of the keyring'))
  await rejects(client.encrypt(failing, 'x'), RangeError, /a fault of the keyring/)
  await rejects(client.decrypt(failing, await sealed(Buffer.of(1))), RangeError, /a fault of the keyring/)
  assert.is(failing.dataKeys.length, 2)
  assert.ok(failing.wiped)

  const crowded = new SpyKeyring()
  crowded.after = (material) => {
    const { encryptedDataKeys } = material as NodeEncryptionMaterial
    ;(material as NodeEncryptionMaterial).addEncryptedDataKey(encryptedDataKeys[0]!, 2)
  }
  await rejects(buildClient({ maxEncryptedDataKeys: 1 }).encrypt(crowded, 'x'), 'ERR_LIMIT_EXCEEDED')
  assert.ok(crowded.wiped)
})

test('what is derived from data keys is wiped with them, whatever ends the message', async () => {
  const engine = getEngine()
  const derived: Uint8Array[] = []
  const hkdfPair: typeof engine.hkdfPair = (...of) => {
    const pair = engine.hkdfPair(...of)
    derived.push(pair[0])
    return pair
  }
  useEngine(Object.assign(Object.create(engine), { hkdfPair }))
  try {
    const { result } = await client.encrypt(aesKeyring(), Buffer.alloc(100_000), { suiteId: 0x0478 })
    const { length } = parseHeader(result).bytes
    // The commitment, the header's tag, the first frame, the last.
    for (const at of [undefined, length - 17, length - 1, length + 30, result.length - 1]) {
      const message = Buffer.from(result)
      if (at !== undefined) message[at]! ^= 1
      const opening = client.decryptStream(aesKeyring())
      opening
        .resume()
        .on('error', () => {})
        .end(message)
      const ended = once(opening, 'close')
      await Promise.allSettled([
        client.decrypt(aesKeyring(), message),
        client.openMessage(aesKeyring(), message).then((opened) => opened.close()),
        ended,
      ])
    }
    // Given up while its final frame is read, it opens too late.
    const controller = new AbortController()
    const before = derived.length
    const read = (offset: number, length: number) => {
      if (derived.length > before) controller.abort()
      return result.subarray(offset, offset + length)
    }
    const { signal } = controller
    await rejects(client.openMessage(aesKeyring(), { length: result.length, read }, { signal }), 'ERR_ABORTED')
    await turn()
  } finally {
    useEngine(engine)
  }
  assert.is(derived.length, 1 + 5 * 3 + 1)
  assert.ok(derived.every((key) => key.every((byte) => byte === 0)))
})

test('nothing is sealed or opened under a key that was wiped: everybody knows it', async () => {
  const cmm = new NodeDefaultCryptographicMaterialsManager(aesKeyring())
  const commitmentPolicy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
  const suite = getSuite(0x0478)
  const allocate = (length: number) => new Uint8Array(length)
  const material = await cmm.getEncryptionMaterials({ suite, encryptionContext: {}, commitmentPolicy })
  const sealer = new MessageSealer(material, { frameLength: 1 })
  sealer.dispose()
  throws(() => sealer.update(Buffer.of(1, 2), allocate), 'ERR_INTERNAL')
  throws(() => sealer.final(Buffer.of(1), allocate), 'ERR_INTERNAL')

  const message = await sealed(Buffer.of(1))
  const header = parseHeader(message)
  const { encryptionContext, encryptedDataKeys } = header.messageHeader
  const request = { suite: header.suite, encryptionContext, encryptedDataKeys }
  const opener = new MessageOpener(header, await cmm.decryptMaterials(request))
  opener.dispose()
  throws(() => opener.update(message.subarray(header.bytes.length), allocate), 'ERR_INTERNAL')
})

test('plaintext that waits for its signature is wiped where that does not come', async () => {
  const { result } = await client.encrypt(aesKeyring(), Buffer.alloc(100, 1), { suiteId: 0x0578 })
  const header = parseHeader(result)
  const { encryptionContext, encryptedDataKeys } = header.messageHeader
  const cmm = new NodeDefaultCryptographicMaterialsManager(aesKeyring())
  const opener = new MessageOpener(
    header,
    await cmm.decryptMaterials({ suite: header.suite, encryptionContext, encryptedDataKeys }),
  )
  const held = new Uint8Array(100)
  assert.equal(
    opener.update(result.subarray(header.bytes.length, -1), () => held),
    [],
  )
  assert.equal(held, new Uint8Array(100).fill(1))
  opener.dispose()
  assert.equal(held, new Uint8Array(100))
})

test('plaintext of a short message whose signature cannot be checked is wiped', async () => {
  const message = await sealed(Buffer.alloc(100, 1))
  const header = parseHeader(message)
  const { encryptionContext, encryptedDataKeys } = header.messageHeader
  const request = { suite: header.suite, encryptionContext, encryptedDataKeys }
  const cmm = new NodeDefaultCryptographicMaterialsManager(aesKeyring())
  const engine = getEngine()
  const outputs: Uint8Array[] = []
  const openMessages: typeof engine.openMessages = (run, messages, out) => {
    const opened = engine.openMessages(run, messages, out)
    outputs.push(Uint8Array.from(out.subarray(0, 100)), out)
    return opened
  }
  const { publicKey: rsa } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const own = await cmm.decryptMaterials(request)
  const material = new NodeDecryptionMaterial(header.suite, encryptionContext)
    .setUnencryptedDataKey(own.getUnencryptedDataKey(), own.keyringTrace[0]!)
    .setVerificationKey(new VerificationKey('secp384r1', rsa))
  useEngine(Object.assign(Object.create(engine), { openMessages }))
  try {
    await rejects(openShort(header, material, [message]), RangeError, /"publicKey" must be/)
  } finally {
    useEngine(engine)
  }
  assert.equal(outputs[0], new Uint8Array(100).fill(1))
  assert.ok(outputs[1]!.every((byte) => byte === 0))
})

test('a keyring that wipes what it returns has given no key', async () => {
  const spy = new SpyKeyring()
  spy.after = (material: NodeEncryptionMaterial | NodeDecryptionMaterial) => void material.zeroUnencryptedDataKey()
  await rejects(client.encrypt(spy, 'x'), 'ERR_INVALID_MATERIALS', /unencryptedDataKey has not been set/)
  await rejects(client.decrypt(spy, await sealed(Buffer.of(1))), 'ERR_NO_DATA_KEY')
})

async function sealed(plaintext: Uint8Array): Promise<Buffer> {
  return (await client.encrypt(aesKeyring(), plaintext)).result
}

function slowKeyring() {
  const spy = new SpyKeyring()
  let answer = () => {}
  let fail = (_: Error) => {}
  const asked = new Promise<void>((resolve) => {
    spy.after = () => {
      resolve()
      return new Promise<void>((...settle) => ([answer, fail] = settle))
    }
  })
  return { spy, asked, answer: () => answer(), fail: (error: Error) => fail(error) }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

test.run()
