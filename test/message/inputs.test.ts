import { type Duplex, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { runInNewContext } from 'node:vm'
import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getEngine } from '../../src/engine/engine'
import {
  AlgorithmSuiteIdentifier,
  buildClient,
  type KeyringNode,
  MultiKeyringNode,
  type SealwaxError,
} from '../../src/index'
import { rejectionOf, rejects, throws } from '../support/expect'
import { givenBy } from '../support/given-by'
import { aesKeyring, bytes, WRAPPING_SUITES } from '../support/keys'
import { SpyKeyring } from '../support/spy-keyring'

type Resizable = ArrayBuffer & { resize(length: number): void }
// Node.js has them, ES2023's types do not.
const ResizableBuffer = ArrayBuffer as unknown as new (length: number, options: { maxByteLength: number }) => Resizable

const { encrypt, encryptMany, decrypt } = buildClient()
const keyring = aesKeyring()
const CHANGED = /resized or transferred/

test('the plaintext, the message, the options and the context of a caller stay as they are', async () => {
  const plaintext = bytes(10_000)
  const encryptionContext = { a: '1', B: '2' }
  const op = { encryptionContext, frameLength: 100, plaintextLength: 5, encoding: 'utf8' as const }
  const before = structuredClone({ plaintext, op })
  const { result } = await encrypt(keyring, plaintext, op)
  assert.equal({ plaintext, op }, before)

  const message = Uint8Array.from(result)
  const reading = { encryptionContext, maxBodySize: 100 }
  const { messageHeader } = await decrypt(keyring, message, reading)
  assert.equal(message, Uint8Array.from(result))
  assert.equal(reading, { encryptionContext: before.op.encryptionContext, maxBodySize: 100 })
  throws(() => Object.assign(messageHeader.encryptionContext, { a: 'x' }), TypeError)

  message[message.length - 1]! ^= 1
  const broken = Uint8Array.from(message)
  await rejects(decrypt(keyring, message), 'ERR_AUTHENTICATION_FAILED')
  assert.equal(message, broken)
})

/** What a class may put in place of the members of Uint8Array. */
const LIES = {
  length: { get: () => 10 },
  byteLength: { get: () => 10 },
  byteOffset: { get: () => 1 },
  buffer: { get: () => new ArrayBuffer(100_000) },
  subarray: { value: () => new Uint8Array(3) },
  slice: { value: () => new Uint8Array(3) },
  [Symbol.iterator]: { value: function* () {} },
  constructor: { value: String },
}

for (const name of Reflect.ownKeys(LIES) as (keyof typeof LIES)[]) {
  test(`arrays with another ${String(name)} are read as the bytes that they are`, async () => {
    class Liar extends Uint8Array {}
    Object.defineProperty(Liar.prototype, name, LIES[name])
    const liar = (bytes: Uint8Array) => {
      const liar = new Liar(bytes.length)
      Uint8Array.prototype.set.call(liar, bytes)
      return liar
    }
    // Node.js asks the chunks of a stream for theirs.
    await checkForeign(liar, (bytes) => bytes)
  })
}

test('arrays of another realm are bytes too', async () => {
  const ForeignArray = runInNewContext('Uint8Array') as typeof Uint8Array
  assert.not.ok(new ForeignArray(1) instanceof Uint8Array)
  await checkForeign((bytes) => new ForeignArray(bytes))
})

type Make = (bytes: Uint8Array) => Uint8Array

async function checkForeign(foreign: Make, chunkOf: Make = foreign): Promise<void> {
  const client = buildClient()
  const unsigned = { suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY }
  const same = aesKeyring({ unencryptedMasterKey: foreign(bytes(32)), wrappingSuite: WRAPPING_SUITES[32] })
  const through = (stream: Duplex, chunk: Uint8Array) => buffer(stream.end(chunk))
  for (const length of [1, 100, 70_000]) {
    const plaintext = Buffer.from(bytes(length))
    const given = foreign(plaintext)
    const [many] = fulfilled(await client.encryptMany(same, [given], unsigned))
    for (const message of [
      (await client.encrypt(same, given, unsigned)).result,
      (await client.encrypt(same, Readable.from([given]), unsigned)).result,
      (await client.encryptInto(same, given, foreign(new Uint8Array(length + 2000)), unsigned)).result,
      many!.result,
      await through(client.encryptStream(same, unsigned), chunkOf(plaintext)),
    ]) {
      const sealed = foreign(message)
      const [one] = fulfilled(await client.decryptMany(keyring, [sealed]))
      const opened = await client.openMessage(keyring, sealed)
      for (const result of [
        (await client.decrypt(keyring, sealed)).plaintext,
        (await client.decrypt(keyring, Readable.from([sealed]))).plaintext,
        (await client.decryptInto(keyring, sealed, foreign(new Uint8Array(length + 100)))).plaintext,
        one!.plaintext,
        await through(client.decryptStream(keyring), chunkOf(message)),
        await opened.read(0, length),
      ]) {
        assert.ok(plaintext.equals(result))
      }
    }
  }
}

function fulfilled<T>(settled: readonly PromiseSettledResult<T>[]): T[] {
  return settled.map((one) => {
    if (one.status === 'rejected') throw one.reason
    return one.value
  })
}

test('a pair with another value is refused, whoever makes the materials, and before they are asked', async () => {
  const { result } = await encrypt(aesKeyring(), 'x', { encryptionContext: { tenant: 'a' } })
  let asked = 0
  const manager = {
    decryptMaterials: async () => {
      asked++
      throw new Error('asked')
    },
  }
  const decrypting = decrypt(manager as never, result, { encryptionContext: { tenant: 'b' } })
  await rejects(decrypting, 'ERR_ENCRYPTION_CONTEXT', /another value/)
  assert.is(asked, 0)
})

test('keys that begin with aws-crypto- are not written, and are read', async () => {
  for (const name of ['aws-crypto-', 'aws-crypto-x', 'aws-crypto-public-key']) {
    await rejects(
      encrypt(keyring, 'x', { encryptionContext: { [name]: '1' } }),
      'ERR_ENCRYPTION_CONTEXT',
      /not allowed/,
    )
  }
  const encryptionContext = { 'aws-crypto-x': '1', 'AWS-CRYPTO-': '2' }
  await encrypt(keyring, 'x', { encryptionContext: { 'AWS-CRYPTO-': '2' } })
  const theirs = new peer.RawAesKeyringNode({
    keyNamespace: keyring.keyNamespace,
    keyName: keyring.keyName,
    unencryptedMasterKey: bytes(32),
    wrappingSuite: peer.RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  })
  const { result } = await peer.buildClient().encrypt(theirs, 'x', { encryptionContext })
  const { messageHeader } = await decrypt(keyring, result, { encryptionContext: { 'AWS-CRYPTO-': '2' } })
  assert.is(messageHeader.encryptionContext['aws-crypto-x'], '1')
})

test('without options: frames of 4096 bytes, and what the header says is what was asked for', async () => {
  const { result, messageHeader } = await encrypt(keyring, bytes(5000))
  assert.is(messageHeader.frameLength, 4096)
  assert.is(messageHeader.contentType, 2)
  assert.is(messageHeader.suiteId, 0x0578)
  assert.equal(Object.keys(messageHeader.encryptionContext), ['aws-crypto-public-key'])
  assert.equal(result.readUInt16BE(1), 0x0578)

  const asked = { encryptionContext: { a: '1' }, frameLength: 77, suiteId: 0x0478 as const }
  const { messageHeader: header } = await encrypt(keyring, bytes(5000), asked)
  assert.is(header.frameLength, 77)
  assert.is(header.suiteId, 0x0478)
  assert.equal({ ...header.encryptionContext }, { a: '1' })
})

test('frozen options and a frozen context do', async () => {
  const encryptionContext = Object.freeze(Object.assign(Object.create(null), { a: '1' }) as Record<string, string>)
  const { result } = await encrypt(keyring, 'x', Object.freeze({ encryptionContext, plaintextLength: 1 }))
  assert.is((await decrypt(keyring, result, Object.freeze({ encryptionContext }))).plaintext.toString(), 'x')
})

test('a context that changes after the call is not noticed', async () => {
  const slow = new SpyKeyring()
  const gate = deferred()
  slow.after = () => gate.promise
  const encryptionContext: Record<string, string> = { a: '1' }
  const encrypting = encrypt(slow, 'x', { encryptionContext })
  encryptionContext.a = '2'
  gate.open()
  assert.is((await encrypting).messageHeader.encryptionContext.a, '1')
})

test('views that start inside their memory, and memory shared with other threads', async () => {
  const whole = bytes(300)
  const view = whole.subarray(7, 207)
  const shared = new Uint8Array(new SharedArrayBuffer(300), 7, 200)
  shared.set(view)
  for (const plaintext of [view, Buffer.from(whole.buffer, 7, 200), shared]) {
    const { result } = await encrypt(keyring, plaintext, { frameLength: 64 })
    const message = new Uint8Array(new SharedArrayBuffer(result.length + 3), 3)
    message.set(result)
    assert.equal(Uint8Array.from((await decrypt(keyring, message)).plaintext), Uint8Array.from(view))
  }
})

test('a resizable buffer does while it keeps its size, or grows', async () => {
  const plaintext = resizable(bytes(100))
  const { result } = await encrypt(keyring, plaintext)
  assert.equal(Uint8Array.from((await decrypt(keyring, resizable(result))).plaintext), bytes(100))

  // What was there when it was asked for.
  const growing = resizable(bytes(100), 150)
  const grown = await whileBusy(
    (spy) => encrypt(spy, growing),
    () => (growing.buffer as Resizable).resize(150),
  )
  assert.equal(Uint8Array.from((await decrypt(keyring, grown.result)).plaintext), bytes(100))
})

const CHANGES: [string, (memory: Resizable) => void][] = [
  ['shrunk', (memory) => memory.resize(10)],
  ['emptied', (memory) => memory.resize(0)],
  ['transferred', (memory) => void transfer(memory)],
]
for (const [name, change] of CHANGES) {
  test(`memory ${name} while the keyring is busy is an error`, async () => {
    const plaintext = resizable(bytes(100), 150)
    await rejects(
      whileBusy(
        (spy) => encrypt(spy, plaintext),
        () => change(plaintext.buffer as Resizable),
      ),
      TypeError,
      CHANGED,
    )

    const { result } = await encrypt(keyring, 'some text', {
      encryptionContext: { purpose: 'to be longer than 150 bytes' },
    })
    const message = resizable(result, result.length + 50)
    await rejects(
      whileBusy(
        (spy) => decrypt(spy, message),
        () => change(message.buffer as Resizable),
      ),
      TypeError,
      CHANGED,
    )
  })
}

test('memory that is taken away between two slices of a long message is an error, not the end of the text', async () => {
  const plaintext = new Uint8Array(20 * 2 ** 20)
  const message = Uint8Array.from((await encrypt(keyring, plaintext)).result)
  for (const [run, memory] of [
    [encrypt, plaintext],
    [decrypt, message],
  ] as const) {
    const spy = new SpyKeyring()
    spy.after = () => void setImmediate(() => transfer(memory.buffer))
    await rejects(run(spy, memory), TypeError, CHANGED)
    assert.ok(spy.wiped)
  }
})

test('no plaintext of a short message is left where its signature is wrong', async () => {
  const { result } = await encrypt(keyring, Buffer.alloc(100, 'secret'))
  result[result.length - 1]! ^= 1
  const made = await givenBy([[getEngine(), 'allocate']], () =>
    rejects(decrypt(keyring, result), 'ERR_AUTHENTICATION_FAILED'),
  )
  assert.ok(made.length > 0)
  // The rest is as the system gave it: nothing was written there.
  for (const memory of made) assert.ok(memory.subarray(0, 100).every((byte) => byte === 0))
})

test('memory that was transferred before the call is an error, not an empty message', async () => {
  const plaintext = bytes(100)
  transfer(plaintext.buffer as ArrayBuffer)
  await rejects(encrypt(keyring, plaintext), TypeError)
  const message = Uint8Array.from((await encrypt(keyring, 'x')).result)
  transfer(message.buffer as ArrayBuffer)
  assert.ok((await rejectionOf(decrypt(keyring, message))) instanceof Error)
})

test('required pairs of the context', async () => {
  const { result } = await encrypt(keyring, 'x', { encryptionContext: { a: '1', b: '' } })
  const requires = (encryptionContext: Record<string, string>) => decrypt(keyring, result, { encryptionContext })
  for (const good of [{}, { a: '1' }, { b: '' }, { b: '', a: '1' }]) await requires(good)
  for (const [key, value] of [
    ['a', '2'],
    ['a', ''],
    ['b', '1'],
    ['A', '1'],
    ['c', ''],
    ['toString', 'x'],
    ['__proto__x', ''],
  ] as const) {
    const error = await rejects(
      requires({ a: '1', [key]: value }),
      'ERR_ENCRYPTION_CONTEXT',
      new RegExp(`required key "${key}"`),
    )
    assert.not.match(error.message, /undefined/)
  }
  const asked = new SpyKeyring()
  await rejects(decrypt(asked, result, { encryptionContext: { c: '1' } }), 'ERR_ENCRYPTION_CONTEXT')
  assert.is(asked.materials.length, 0, 'no keyring is asked for a message that cannot be accepted')
})

test('text that cannot be written as UTF-8 is refused, not replaced', async () => {
  const text = 'a\ud800b'
  for (const encrypting of [encrypt(keyring, text), encrypt(keyring, Readable.from([text]))]) {
    await rejects(encrypting, TypeError, /lone surrogate/)
  }
  const [refused, taken] = await encryptMany(keyring, [text, 'text'])
  assert.instance((refused as PromiseRejectedResult).reason, TypeError)
  assert.is(taken!.status, 'fulfilled')
  assert.ok((await encrypt(keyring, text, { encoding: 'utf16le' })).result)
})

test('nothing else lies in the memory of a plaintext', async () => {
  const { result } = await encrypt(keyring, bytes(39_500), { suiteId: 0x0478, frameLength: 64 })
  for (let i = 0; i < 50; i++) {
    const { plaintext } = await decrypt(keyring, result)
    assert.is(plaintext.byteOffset, 0)
    assert.ok(new Uint8Array(plaintext.buffer, plaintext.length).every((byte) => byte === 0))
    new Uint8Array(plaintext.buffer).fill(0xee)
  }
})

test('nothing that was there before lies in the memory of a long result', async () => {
  const engine = getEngine()
  Object.defineProperty(engine, 'allocate', { value: (n: number) => Buffer.alloc(n, 0xee), configurable: true })
  try {
    const signed = async () => (await encrypt(keyring, Buffer.alloc(100_000), { suiteId: 0x0578 })).result
    let result = await signed()
    // One in four has a signature as long as it can be. The plaintext is always shorter.
    while (result.buffer.byteLength === result.length) result = await signed()
    const { plaintext } = await decrypt(keyring, result)
    for (const { buffer, length } of [result, plaintext]) {
      assert.ok(buffer.byteLength > length)
      assert.ok(new Uint8Array(buffer, length).every((byte) => byte === 0))
    }
  } finally {
    delete (engine as { allocate?: unknown }).allocate
  }
})

test('a message that becomes another while the keyring works is not taken for the first', async () => {
  const [first, second] = (await encryptMany(keyring, ['first', 'other'], { suiteId: 0x0478 })).map(
    (one) => (one as PromiseFulfilledResult<{ result: Buffer }>).value.result,
  )
  const spy = new SpyKeyring()
  spy.after = () => void first!.set(second!)
  await rejects(decrypt(spy, first!), 'ERR_AUTHENTICATION_FAILED')
})

test('text that no message survives is named as what it looks like', async () => {
  const { result } = await encrypt(keyring, 'x')
  await rejects(decrypt(keyring, result.toString('base64')), 'ERR_UNSUPPORTED_FORMAT', /base64/)
  assert.is((await decrypt(keyring, result.toString('base64'), { encoding: 'base64' })).plaintext.toString(), 'x')
  assert.is((await decrypt(keyring, result.toString('hex'), { encoding: 'hex' })).plaintext.toString(), 'x')
})

test('the error of a message that no key opens says which keys it is for and what each said', async () => {
  const { result } = await encrypt(keyring, 'x')
  const another = aesKeyring({ unencryptedMasterKey: bytes(32, 99) })
  const tried = (await rejects(decrypt(another, result), 'ERR_NO_DATA_KEY', /tests:aes/)) as SealwaxError
  assert.match(tried.message, /raw AES key "tests\/aes" could not open/)
  assert.is(tried.errors?.length, 1)
  const stranger = aesKeyring({ keyName: 'other' })
  const untried = (await rejects(decrypt(stranger, result), 'ERR_NO_DATA_KEY', /tests:aes/)) as SealwaxError
  assert.match(untried.message, /none of them belongs to this keyring/)
  assert.equal(untried.errors, [])
})

test('plaintextLength bounds streams only', async () => {
  const stream = async function* () {
    yield Buffer.from('ab')
    yield Buffer.from('c')
  }
  await encrypt(keyring, 'abc', { plaintextLength: 1 })
  await encrypt(keyring, stream(), { plaintextLength: 3 })
  await rejects(encrypt(keyring, stream(), { plaintextLength: 2 }), 'ERR_LIMIT_EXCEEDED', /plaintextLength/)
})

test('maxEncryptedDataKeys holds for writing and reading', async () => {
  const two = new MultiKeyringNode({ generator: keyring, children: [keyring] })
  const one = buildClient({ maxEncryptedDataKeys: 1 })
  await rejects(one.encrypt(two, 'x'), 'ERR_LIMIT_EXCEEDED', /maxEncryptedDataKeys exceeded. 2 > 1/)
  await rejects(buffer(one.encryptStream(two).end('x')), 'ERR_LIMIT_EXCEEDED', /2 > 1/)
  const atMostTwo = buildClient({ maxEncryptedDataKeys: 2 })
  const { result } = await atMostTwo.encrypt(two, 'x')
  await rejects(one.decrypt(two, result), 'ERR_LIMIT_EXCEEDED', /maxEncryptedDataKeys exceeded. 2 > 1/)
  await atMostTwo.decrypt(two, result)
})

function deferred() {
  let open = () => {}
  const promise = new Promise<void>((resolve) => {
    open = resolve
  })
  return { promise, open }
}

/** Starts an operation, waits until its keyring is asked, runs `meanwhile`, lets the keyring go on. */
async function whileBusy<T>(start: (spy: KeyringNode) => Promise<T>, meanwhile: () => void): Promise<T> {
  const spy = new SpyKeyring()
  const [asked, go] = [deferred(), deferred()]
  spy.after = () => {
    asked.open()
    return go.promise
  }
  const running = start(spy)
  await asked.promise
  meanwhile()
  go.open()
  return await running
}

function transfer(memory: ArrayBuffer): void {
  structuredClone(memory, { transfer: [memory] })
}

/** The same bytes in memory that can be resized; the view follows its size. */
function resizable(content: Uint8Array, maxByteLength = content.length): Uint8Array {
  const view = new Uint8Array(new ResizableBuffer(content.length, { maxByteLength }))
  view.set(content)
  return view
}

test.run()
