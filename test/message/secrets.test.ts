/** No key and no plaintext in anything that a program may print: errors, inspected objects, JSON. And none left behind. */
import { createPrivateKey } from 'node:crypto'
import { inspect } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Engine, getEngine, useEngine } from '../../src/engine/engine'
import {
  buildClient,
  MultiKeyringNode,
  type NodeDecryptionMaterial,
  NodeDefaultCryptographicMaterialsManager,
  type NodeEncryptionMaterial,
  RawAesKeyringNode,
  RawRsaKeyringNode,
} from '../../src/index'
import { rejectionOf } from '../support/expect'
import { aesKeyring, bytes, RSA_PRIVATE_PEM } from '../support/keys'
import { SpyKeyring } from '../support/spy-keyring'

const KEY = bytes(32)
const PLAINTEXT = bytes(64, 3)
const RSA_EXPONENT = Buffer.from(createPrivateKey(RSA_PRIVATE_PEM).export({ format: 'jwk' }).d!, 'base64url')
const client = buildClient()

const rsa = new RawRsaKeyringNode({ keyNamespace: 'n', keyName: 'rsa', rsaKey: { privateKey: RSA_PRIVATE_PEM } })
const keyring = aesKeyring({ unencryptedMasterKey: KEY })
const multi = new MultiKeyringNode({ generator: keyring, children: [rsa] })

test('the search finds what there is to find', () => {
  for (const leak of [KEY, { a: KEY }, Buffer.from(KEY), [...KEY], { key: Buffer.from(KEY).toString('base64') }]) {
    assert.throws(() => clean(leak, [KEY]), /leaks/)
  }
  assert.throws(() => clean(new Error(`bad key ${Buffer.from(KEY).toString('hex')}`), [KEY]), /leaks/)
  assert.throws(() => clean(new Error('outer', { cause: new Error(RSA_PRIVATE_PEM) }), [RSA_EXPONENT]), /leaks/)
})

test('keyrings, managers and clients', () => {
  const cmm = new NodeDefaultCryptographicMaterialsManager(multi)
  for (const value of [keyring, rsa, multi, cmm, client]) clean(value, [KEY, RSA_EXPONENT])
})

test('materials, while they hold a key', async () => {
  const shown: unknown[] = []
  const seen: Uint8Array[] = []
  const spy = new SpyKeyring()
  spy.after = (material: NodeEncryptionMaterial | NodeDecryptionMaterial) => {
    const key = Uint8Array.from(spy.dataKeys.at(-1)!)
    seen.push(key)
    clean(material, [key])
    shown.push(material)
  }
  const { result, messageHeader } = await client.encrypt(spy, PLAINTEXT)
  const opened = await client.decrypt(spy, result)
  assert.is(seen.length, 2)
  for (const value of [...shown, messageHeader, opened.messageHeader]) clean(value, [...seen, PLAINTEXT])
})

test('streams, while plaintext waits in them', async () => {
  const { result } = await client.encrypt(keyring, PLAINTEXT, { suiteId: 0x0478 })
  const opening = client.decryptStream(keyring)
  opening.write(result)
  const sealing = client.encryptStream(keyring)
  for (let i = 0; i < 2; i++) sealing.write(PLAINTEXT)
  clean(sealing, [KEY, PLAINTEXT])
  while (opening.readableLength < PLAINTEXT.length) await new Promise(setImmediate)
  clean(opening, [KEY, PLAINTEXT])
  assert.is(inspect(opening), 'DecryptStream { destroyed: false, readableLength: 64, writableLength: 0 }')
  assert.equal(opening.read(), Buffer.from(PLAINTEXT))
})

test('what fails while an opener is made leaves no derived key behind', async () => {
  const { result } = await client.encrypt(keyring, PLAINTEXT)
  const engine = getEngine()
  const derived: Uint8Array[] = []
  const failing: Partial<Engine> = {
    hkdfPair: (...args) => {
      const pair = engine.hkdfPair(...args)
      derived.push(pair[0])
      return pair
    },
    createVerifier: () => {
      throw new Error('no verifier')
    },
  }
  useEngine(new Proxy(engine, { get: (target, name) => Reflect.get(failing, name) ?? Reflect.get(target, name) }))
  try {
    const error = await rejectionOf(client.decryptInto(keyring, result, new Uint8Array(1000)))
    assert.match((error as Error).message, /no verifier/)
  } finally {
    useEngine(engine)
  }
  assert.equal(
    derived.map((key) => key.some(Boolean)),
    [false],
  )
})

test('errors of broken messages', async () => {
  const { result } = await client.encrypt(multi.generator!, PLAINTEXT, { frameLength: 16 })
  for (let at = 0; at < result.length; at++) {
    const broken = Uint8Array.from(result)
    broken[at]! ^= 1
    for (const message of [broken, result.subarray(0, at)]) {
      const error = await rejectionOf(client.decrypt(multi, message))
      assert.instance(error, Error)
      clean(error, [KEY, PLAINTEXT, RSA_EXPONENT])
    }
  }
})

test('errors of wrong arguments', async () => {
  const wrappingSuite = 0x78 as never
  const named = { keyNamespace: 'n', keyName: 'k' }
  const cut = RSA_PRIVATE_PEM.slice(0, -60)
  const constructions: (() => unknown)[] = [
    () =>
      new RawAesKeyringNode({
        ...named,
        wrappingSuite,
        unencryptedMasterKey: Buffer.from(KEY).toString('hex') as never,
      }),
    () => new RawAesKeyringNode({ ...named, wrappingSuite, unencryptedMasterKey: [...KEY] as never }),
    () => new RawAesKeyringNode({ ...named, wrappingSuite, unencryptedMasterKey: KEY.subarray(0, 31) }),
    () => new RawAesKeyringNode({ ...named, wrappingSuite: Buffer.from(KEY) as never, unencryptedMasterKey: KEY }),
    () => new RawAesKeyringNode({ ...named, wrappingSuite, utf8Sorting: KEY as never, unencryptedMasterKey: KEY }),
    () => new RawAesKeyringNode(Buffer.from(KEY) as never),
    () => new RawRsaKeyringNode({ ...named, rsaKey: RSA_PRIVATE_PEM as never }),
    () => new RawRsaKeyringNode({ ...named, rsaKey: { privateKey: cut } }),
    () => new RawRsaKeyringNode({ ...named, rsaKey: { publicKey: cut } }),
    () => new RawRsaKeyringNode({ ...named, rsaKey: { privateKey: Buffer.from(cut) } }),
    () =>
      new RawRsaKeyringNode({ ...named, rsaKey: { privateKey: RSA_PRIVATE_PEM }, padding: RSA_PRIVATE_PEM as never }),
  ]
  const hex = Buffer.from(KEY).toString('hex')
  const calls: (() => unknown)[] = [
    ...constructions,
    () => client.encrypt(KEY as never, 'x'),
    () => client.encrypt(hex as never, 'x'),
    () => client.encrypt(keyring, 'x', hex as never),
    () => client.encrypt(keyring, [...PLAINTEXT] as never),
  ]
  for (const [i, call] of calls.entries()) {
    const error = await rejectionOf((async () => await call())())
    assert.ok(error instanceof TypeError || error instanceof RangeError, `${i}: ${String(error)}`)
    clean(error, [KEY, PLAINTEXT, RSA_EXPONENT])
    assert.not.match(inspect(error), cut.slice(200, 240))
  }
})

/** Throws where a form of a secret, or of a good part of it, shows. */
function clean(value: unknown, secrets: Uint8Array[]): void {
  const texts = [
    inspect(value, { depth: 20, showHidden: true, maxArrayLength: null, maxStringLength: null }),
    json(value),
  ]
  if (value instanceof Error) texts.push(value.message, String(value.stack))
  const text = texts.join('\n')
  for (const secret of secrets) {
    for (const form of formsOf(Buffer.from(secret))) {
      if (text.includes(form)) throw new Error(`leaks ${secret.length} bytes: ${text.slice(0, 200)}`)
    }
  }
}

/** How eight bytes of the secret, at any alignment of base64, can stand in a text. */
function formsOf(secret: Buffer): string[] {
  const starts = [0, 1, 2, 3, 4, 5, secret.length - 8]
  const parts = starts.map((start) => secret.subarray(start, start + 8))
  return parts.flatMap((part) => [
    part.toString('hex'),
    part.toString('hex').match(/../g)!.join(' '),
    part.toString('base64').slice(0, 10),
    part.toString('base64url').slice(0, 10),
    part.toString('latin1'),
    [...part].join(', '),
    [...part].join(','),
    [...part].map((byte, i) => `"${i + (part.byteOffset - secret.byteOffset)}":${byte}`).join(','),
  ])
}

function json(value: unknown): string {
  try {
    return JSON.stringify(value) ?? ''
  } catch {
    return ''
  }
}

test.run()
