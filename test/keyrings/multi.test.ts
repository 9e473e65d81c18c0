import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  buildClient,
  type EncryptedDataKey,
  KeyringNode,
  MultiKeyringNode,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
  SealwaxError,
} from '../../src/index'
import { rejects, throws } from '../support/expect'
import { aesKeyring, bytes } from '../support/keys'
import { SpyKeyring } from '../support/spy-keyring'

const { encrypt, decrypt } = buildClient()
const named = (keyName: string) => aesKeyring({ keyName, unencryptedMasterKey: bytes(32, keyName.charCodeAt(0)) })
const [a, b, c] = [named('a'), named('b'), named('c')]

/** Does nothing, or fails. */
class Idle extends KeyringNode {
  calls = 0
  readonly #error: Error | undefined

  constructor(error?: Error) {
    super()
    this.#error = error
  }

  async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    this.calls++
    if (this.#error) throw this.#error
    return material
  }

  async _onDecrypt(material: NodeDecryptionMaterial, _: EncryptedDataKey[]): Promise<NodeDecryptionMaterial> {
    this.calls++
    if (this.#error) throw this.#error
    return material
  }
}

const WRONG: [unknown, RegExp][] = [
  [undefined, /Noop MultiKeyring/],
  [{}, /Noop MultiKeyring/],
  [{ children: [] }, /Noop MultiKeyring/],
  [null, /must be an object/],
  [[a], /must be an object/],
  [{ generator: {} }, /Generator must be a Keyring/],
  [{ generator: null }, /Noop MultiKeyring/],
  [{ generator: a, children: [{}] }, /Child must be a Keyring/],
  [{ generator: a, children: b }, /Child must be a Keyring/],
  [{ generator: a, child: [b] }, /unknown option "child"/],
]
for (const [i, [input, message]] of WRONG.entries()) {
  test(`refuses wrong input (${i})`, () => void throws(() => new MultiKeyringNode(input as never), TypeError, message))
}

test('wraps with the generator and every child, in order, and any of them opens', async () => {
  const { result, messageHeader } = await encrypt(new MultiKeyringNode({ generator: a, children: [b, c] }), 'x')
  assert.equal(
    messageHeader.encryptedDataKeys.map(({ providerInfo }) => providerInfo),
    ['a', 'b', 'c'],
  )
  for (const keyring of [a, b, c, new MultiKeyringNode({ children: [c] })]) {
    assert.is((await decrypt(keyring, result)).plaintext.toString(), 'x')
  }
})

test('wraps with nested ones', async () => {
  const inner = new MultiKeyringNode({ children: [b, c] })
  const { result } = await encrypt(new MultiKeyringNode({ generator: a, children: [inner] }), 'x')
  for (const keyring of [a, b, c, inner]) assert.is((await decrypt(keyring, result)).plaintext.toString(), 'x')
})

test('needs all of them to encrypt, and wipes the data key where one fails', async () => {
  const failure = new Error('out of order')
  const spy = new SpyKeyring()
  const last = new Idle()
  const keyring = new MultiKeyringNode({ generator: spy, children: [b, new Idle(failure), last] })
  assert.is(await rejects(encrypt(keyring, 'x'), Error, /out of order/), failure)
  assert.ok(spy.wiped)
  assert.is(last.calls, 0)
})

test('needs a generator to encrypt, and one that generates', async () => {
  await rejects(encrypt(new MultiKeyringNode({ children: [a] }), 'x'), 'ERR_INVALID_MATERIALS', /generators/)
  await rejects(
    encrypt(new MultiKeyringNode({ generator: new Idle(), children: [a] }), 'x'),
    'ERR_INVALID_MATERIALS',
    /not generated/,
  )
})

test('decrypts with the first that can, generator first, and asks no further', async () => {
  const { result } = await encrypt(b, 'x')
  const [first, last] = [new Idle(new Error('unreachable')), new Idle()]
  const { plaintext } = await decrypt(new MultiKeyringNode({ generator: first, children: [a, b, last] }), result)
  assert.is(plaintext.toString(), 'x')
  assert.equal([first.calls, last.calls], [1, 0])
})

test('collects what went wrong when none opens', async () => {
  const { result } = await encrypt(aesKeyring({ keyName: 'b', unencryptedMasterKey: bytes(32, 7) }), 'x')
  const [one, two] = [new Error('one is down'), new RangeError('two is wrong')]
  const keyring = new MultiKeyringNode({ generator: new Idle(one), children: [a, b, new Idle(two)] })
  const error = (await rejects(
    decrypt(keyring, result),
    'ERR_NO_DATA_KEY',
    /one is down.*two is wrong/,
  )) as SealwaxError
  assert.equal(error.errors!.slice(0, 2), [one, two])
  assert.match(error.errors![2]!.message, /raw AES key "tests\/b" could not open/)

  const silent = new MultiKeyringNode({ children: [a, c] })
  const none = (await rejects(decrypt(silent, result), 'ERR_NO_DATA_KEY', /none of them belongs/)) as SealwaxError
  assert.equal(none.errors, [])
})

test('what a keyring tells both at once and in the end is told once', async () => {
  const failure = new Error('is down')
  class Telling extends Idle {
    override async _onDecrypt(material: NodeDecryptionMaterial): Promise<NodeDecryptionMaterial> {
      material.addFailure(failure)
      throw new SealwaxError('ERR_NO_DATA_KEY', 'nothing opened', { errors: [failure] })
    }
  }
  const { result } = await encrypt(a, 'x')
  const keyring = new MultiKeyringNode({ children: [new Telling()] })
  const { errors } = (await rejects(decrypt(keyring, result), 'ERR_NO_DATA_KEY', /nothing opened/)) as SealwaxError
  assert.equal(
    errors!.map(({ message }) => message),
    ['nothing opened'],
  )
})

test('a failure that is no Error is reported as one', async () => {
  const { result } = await encrypt(a, 'x')
  const keyring = new MultiKeyringNode({ children: [new Idle('a string' as never)] })
  const error = (await rejects(decrypt(keyring, result), 'ERR_NO_DATA_KEY', /a string/)) as SealwaxError
  assert.instance(error.errors![0], Error)
})

test('asks strictly one after the other, unless there is a delay after which the next is asked too', async () => {
  const { result } = await encrypt(b, 'x')
  class Slow extends Idle {
    answer = () => {}

    override async _onDecrypt(material: NodeDecryptionMaterial, edks: EncryptedDataKey[]) {
      await super._onDecrypt(material, edks)
      await new Promise<void>((resolve) => (this.answer = resolve))
      return material
    }
  }
  const [slow, next] = [new Slow(), new SpyKeyring()]
  const patient = decrypt(new MultiKeyringNode({ children: [slow, next, b] }), result)
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.is(next.materials.length, 0)
  slow.answer()
  assert.is((await patient).plaintext.toString(), 'x')
  const { plaintext } = await decrypt(new MultiKeyringNode({ children: [slow, b], hedgeDelay: 1 }), result)
  assert.is(plaintext.toString(), 'x')
  assert.is(new MultiKeyringNode({ children: [b] }).hedgeDelay, Infinity)
  for (const hedgeDelay of [0, -1, 1.5, 2 ** 31, Infinity]) {
    throws(() => new MultiKeyringNode({ children: [b], hedgeDelay }), RangeError, /"hedgeDelay"/)
  }
  throws(() => new MultiKeyringNode({ children: [b], hedgeDelay: '5' as never }), TypeError, /"hedgeDelay"/)
})

test('later changes to the input change nothing', async () => {
  const children: KeyringNode[] = [b]
  const keyring = new MultiKeyringNode({ generator: a, children })
  children.push(c)
  assert.is((await encrypt(keyring, 'x')).messageHeader.encryptedDataKeys.length, 2)
  throws(() => (keyring.children as KeyringNode[]).push(c), TypeError)
})

test.run()
