/** What callers, listeners and keyrings do wrong: one clear error or none, no key left, no process held. */
import { getEventListeners } from 'node:events'
import { finished, pipeline } from 'node:stream/promises'
import * as assert from 'uvu/assert'
import {
  EncryptedDataKey,
  KeyringNode,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '../../src/index'
import { dataKeyOf } from '../../src/materials/materials'
import { rejectionOf, throws } from '../support/expect'
import { bytes } from '../support/keys'
import { testInChildren } from './child'
import {
  checkCode,
  client,
  isWiped,
  KINDS,
  type Kind,
  nextTurn,
  PLAINTEXT,
  Subject,
  suiteOf,
  turnsUntil,
} from './subject'

type Scenario = (kind: Kind) => Promise<void>

const broken = new Error('broken')

const scenarios: Record<string, Scenario> = {
  'write after end': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    subject.stream.end(subject.input)
    subject.stream.write('more')
    await subject.checkEnded('ERR_STREAM_WRITE_AFTER_END')
  },

  'end twice': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    subject.stream.end(subject.input)
    subject.stream.end()
    await subject.checkEnded(null)
    assert.equal(await subject.plaintext(), PLAINTEXT)
    const late = await new Promise((resolve) => subject.stream.end(resolve))
    assert.is((late as { code: string }).code, 'ERR_STREAM_ALREADY_FINISHED')
  },

  'write after the message is done': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    subject.stream.end(subject.input)
    await subject.closed
    const late = await new Promise((resolve) => subject.stream.write('more', resolve))
    assert.ok(late instanceof Error)
    assert.equal(await subject.plaintext(), PLAINTEXT)
  },

  'a second message in the same stream': async (kind) => {
    if (kind.direction === 'encrypt') return
    const subject = (await Subject.create(kind)).read()
    subject.stream.write(subject.input)
    subject.stream.end(subject.input)
    await subject.checkEnded('ERR_TRAILING_DATA')
  },

  'end without input': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    subject.stream.end()
    await subject.checkEnded(kind.direction === 'encrypt' ? null : 'ERR_MESSAGE_TRUNCATED')
    if (kind.direction === 'encrypt') assert.is((await subject.plaintext()).length, 0)
  },

  'never read: keys go all the same, and the process ends': async (kind) => {
    const subject = await Subject.create(kind)
    subject.stream.end(subject.input)
    await finished(subject.stream, { readable: false })
    assert.ok(subject.usedKeys)
    subject.checkWiped()
  },

  'never ended: the process ends': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    await new Promise((resolve) => subject.stream.write(subject.input, resolve))
  },

  'never written: the process ends': async (kind) => {
    await Subject.create(kind)
  },

  'a listener of MessageHeader destroys the stream': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    subject.stream.on('MessageHeader', () => {
      subject.stream.destroy()
      subject.silence()
    })
    subject.stream.end(subject.input)
    await subject.checkEnded(null)
    assert.ok(subject.usedKeys)
  },

  'a listener of MessageHeader throws': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    subject.stream.on('MessageHeader', () => {
      subject.silence()
      throw broken
    })
    subject.stream.end(subject.input)
    await subject.checkEnded(broken)
    assert.ok(subject.usedKeys)
  },

  'a listener of data destroys the stream': async (kind) => {
    const subject = await Subject.create(kind)
    let taken = 0
    subject.stream.on('data', () => {
      assert.is(++taken, 1, 'no data after destroy')
      subject.stream.destroy()
    })
    // Ends in the second frame, so that the next write gives two pieces at once.
    subject.stream.write(subject.input.subarray(0, subject.frameStart(0) + 1))
    subject.stream.write(subject.input.subarray(subject.frameStart(0) + 1))
    subject.stream.end()
    await subject.checkEnded(null)
    assert.is(taken, 1)
  },

  'a reader stops in the middle': async (kind) => {
    const subject = await Subject.create(kind)
    subject.stream.end(subject.input)
    for await (const _piece of subject.stream) break
    await subject.closed
    // Node's own: it destroys what a loop leaves with an AbortError.
    assert.is((subject.errors[0] as Error).name, 'AbortError')
    await subject.checkEnded(subject.errors[0])
  },

  'chunks of a wrong type': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    throws(() => subject.stream.write(5), TypeError)
    throws(() => subject.stream.write(null), TypeError)
    throws(() => subject.stream.write([1, 2]), TypeError)
    subject.stream.end(subject.input)
    await subject.checkEnded(null)
    assert.equal(await subject.plaintext(), PLAINTEXT)
  },

  'wrong options throw at the call': async ({ direction }) => {
    const call = (op: object) => () =>
      direction === 'encrypt' ? client.encryptStream(new Fixed(), op) : client.decryptStream(new Fixed(), op)
    throws(call({ signal: {} }), TypeError)
    throws(call({ encryptioncontext: {} }), TypeError)
    throws(call({ encoding: 5 }), TypeError)
    if (direction === 'encrypt') throws(call({ frameLength: 0 }), RangeError)
    else throws(call({ maxBodySize: -1 }), RangeError)
  },

  'a signal that is aborted already: no keyring is asked': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    const aborted = AbortSignal.abort(broken)
    const stream =
      kind.direction === 'encrypt'
        ? client.encryptStream(subject.keys, { signal: aborted })
        : client.decryptStream(subject.keys, { signal: aborted })
    const asked = subject.keys.asked
    const ended = new Promise((resolve) => stream.on('error', resolve))
    stream.end(subject.input)
    const error = (await ended) as Error & { code: string }
    assert.is(error.code, 'ERR_ABORTED')
    assert.is(error.cause, broken)
    await nextTurn()
    assert.is(subject.keys.asked, asked)
    subject.stream.destroy()
  },

  'a signal keeps no listener of a stream that is over': async (kind) => {
    const finishedOne = (await Subject.create(kind)).read()
    finishedOne.stream.end(finishedOne.input)
    const destroyedOne = (await Subject.create(kind)).read()
    destroyedOne.stream.destroy()
    for (const { abort, closed } of [finishedOne, destroyedOne]) {
      await closed
      assert.is(getEventListeners(abort.signal, 'abort').length, 0)
    }
  },

  'writers are answered when the stream is destroyed': async (kind) => {
    const subject = await Subject.create(kind, (keys) => {
      keys.before = () => new Promise(() => {})
    })
    const writes = [subject.input, Buffer.alloc(10)].map(
      (chunk) => new Promise((resolve) => subject.stream.write(chunk, resolve)),
    )
    subject.stream.destroy(broken)
    assert.is(await writes[0], broken)
    assert.is(await writes[1], broken)
    await subject.checkEnded(broken)
  },

  'and with an error too where there is none: their chunks were not taken': async (kind) => {
    const subject = await Subject.create(kind, (keys) => {
      keys.before = () => new Promise(() => {})
    })
    const writes = [
      new Promise((resolve) => subject.stream.write(subject.input, resolve)),
      new Promise((resolve) => subject.stream.write('text', 'utf8', resolve)),
    ]
    subject.stream.destroy()
    for (const error of await Promise.all(writes)) checkCode(error, 'ERR_STREAM_DESTROYED')
    await subject.checkEnded(null)
    assert.is(subject.stream.errored, null)
  },

  'chunks are overwritten right after their write callback': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    const chunk = Buffer.alloc(7)
    for (let start = 0; start < subject.input.length; start += chunk.length) {
      const length = subject.input.copy(chunk, 0, start, start + chunk.length)
      await new Promise((resolve) => subject.stream.write(chunk.subarray(0, length), resolve))
      chunk.fill(0xee)
    }
    subject.stream.end()
    await subject.checkEnded(null)
    assert.equal(await subject.plaintext(), PLAINTEXT)
  },

  'chunks that waited together are overwritten right after their write callbacks': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    for (let start = 0; start < subject.input.length; start += 7) {
      const chunk = Buffer.from(subject.input.subarray(start, start + 7))
      subject.stream.write(chunk, () => void chunk.fill(0xee))
    }
    subject.stream.end()
    await subject.checkEnded(null)
    assert.equal(await subject.plaintext(), PLAINTEXT)
  },

  'what a write callback throws is not lost, and nothing is for it': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    const uncaught = new Promise((resolve) => {
      process.removeAllListeners('uncaughtException').once('uncaughtException', resolve)
    })
    const answers: unknown[] = []
    for (let start = 0; start < subject.input.length; start += 100) {
      subject.stream.write(subject.input.subarray(start, start + 100), (error) => {
        answers.push(error)
        if (start === 300) throw broken
      })
    }
    subject.stream.end()
    assert.is(await uncaught, broken)
    await subject.checkEnded(null)
    assert.equal(answers, Array(Math.ceil(subject.input.length / 100)).fill(null))
    assert.equal(await subject.plaintext(), PLAINTEXT)
  },

  'a chunk in shared memory': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    const shared = Buffer.from(new SharedArrayBuffer(subject.input.length))
    subject.input.copy(shared)
    subject.stream.end(shared)
    await subject.checkEnded(null)
    assert.equal(await subject.plaintext(), PLAINTEXT)
  },

  'a chunk whose memory is transferred before its write callback': async (kind) => {
    const subject = (
      await Subject.create(kind, (keys) => {
        keys.before = nextTurn
      })
    ).read()
    const chunk = new Uint8Array(subject.input)
    subject.stream.end(chunk)
    structuredClone(chunk.buffer, { transfer: [chunk.buffer] })
    await subject.closed
    subject.silence()
    assert.is(subject.errors.length, 1)
    assert.instance(subject.errors[0], TypeError)
    subject.checkWiped()
  },

  'a chunk whose memory is transferred while it waits behind another': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    const [first, second] = [subject.input.subarray(0, 100), new Uint8Array(subject.input.subarray(100))]
    const answers: unknown[] = []
    subject.stream.write(first, (error) => answers.push(error))
    subject.stream.write(second, (error) => answers.push(error))
    structuredClone(second.buffer, { transfer: [second.buffer] })
    subject.stream.end()
    await subject.closed
    subject.silence()
    assert.is(subject.errors.length, 1)
    assert.instance(subject.errors[0], TypeError)
    assert.is(answers.at(-1), subject.errors[0])
    subject.checkWiped()
  },

  'a short chunk whose memory is transferred while it waits among others': async (kind) => {
    const subject = (
      await Subject.create(kind, (keys) => {
        keys.before = nextTurn
      })
    ).read()
    const chunks = [0, 1500, 1600].map((start) => new Uint8Array(subject.input.subarray(start, start + 100)))
    subject.stream.cork()
    for (const chunk of chunks) subject.stream.write(chunk)
    subject.stream.uncork()
    structuredClone(0, { transfer: [chunks[1]!.buffer] })
    subject.stream.end()
    await subject.closed
    subject.silence()
    assert.is(subject.errors.length, 1)
    assert.instance(subject.errors[0], TypeError)
    subject.checkWiped()
  },

  'a chunk without memory': async (kind) => {
    const subject = (await Subject.create(kind)).read()
    await new Promise((resolve) => subject.stream.write(subject.input.subarray(0, 1500), resolve))
    const chunk = Buffer.allocUnsafeSlow(100)
    structuredClone(chunk.buffer, { transfer: [chunk.buffer] })
    subject.stream.write(chunk)
    await subject.closed
    assert.is(subject.errors.length, 1)
    assert.instance(subject.errors[0], TypeError)
    subject.checkWiped()
  },

  'a keyring fails': async (kind) => {
    for (const failure of [broken, new TypeError('broken')]) {
      const subject = (
        await Subject.create(kind, (keys) => {
          keys.before = () => Promise.reject(failure)
        })
      ).read()
      subject.stream.end(subject.input)
      await subject.checkEnded(failure)
      assert.equal(subject.output, [])
    }
  },

  'a keyring fails with nothing': async (kind) => {
    for (const nothing of [undefined, null, 0, '']) {
      const subject = (
        await Subject.create(kind, (keys) => {
          keys.before = () => Promise.reject(nothing)
        })
      ).read()
      subject.stream.end(subject.input)
      await subject.checkEnded('ERR_INVALID_MATERIALS')
      assert.is(subject.keys.asked, 1)
    }
  },

  'a keyring fails after the stream is destroyed': async (kind) => {
    let fail = () => {}
    const subject = (
      await Subject.create(kind, (keys) => {
        keys.before = () =>
          new Promise((_, reject) => {
            fail = () => reject(broken)
          })
      })
    ).read()
    subject.stream.write(subject.input)
    await turnsUntil(() => subject.keys.asked === 1)
    subject.stream.destroy()
    await subject.checkEnded(null)
    fail()
    await nextTurn()
    assert.is(subject.errors.length, 0)
  },

  'a keyring sets a data key and fails': async (kind) => {
    const keyring = new Fixed(broken)
    const { result } = await client.encrypt(new Fixed(), PLAINTEXT, { suiteId: suiteOf(kind.signed) })
    const stream =
      kind.direction === 'encrypt'
        ? client.encryptStream(keyring, { suiteId: suiteOf(kind.signed) })
        : client.decryptStream(keyring)
    const ended = new Promise((resolve) => stream.on('error', resolve))
    stream.end(result)
    assert.is(await ended, broken)
    assert.ok(isWiped(keyring.dataKey!), 'the data key is wiped')
  },

  'a materials manager gives something else': async (kind) => {
    const wrong = async () => ({}) as never
    const manager = { getEncryptionMaterials: wrong, decryptMaterials: wrong }
    const subject = await Subject.create(kind)
    const stream = kind.direction === 'encrypt' ? client.encryptStream(manager) : client.decryptStream(manager)
    const ended = new Promise((resolve) => stream.on('error', resolve))
    stream.end(subject.input)
    assert.is(((await ended) as { code: string }).code, 'ERR_INVALID_MATERIALS')
    subject.stream.destroy()
  },

  'a pipeline of both directions, aborted by its own signal': async ({ signed }) => {
    const controller = new AbortController()
    async function* endless() {
      for (;;) yield Buffer.alloc(10_000)
    }
    const sealing = client.encryptStream(new Fixed(), { suiteId: suiteOf(signed) })
    const opening = client.decryptStream(new Fixed())
    let taken = 0
    const sink = async (source: AsyncIterable<Buffer>) => {
      for await (const piece of source) {
        taken += piece.length
        if (taken > 100_000) controller.abort()
      }
    }
    const ended = rejectionOf(pipeline(endless, sealing, opening, sink, { signal: controller.signal }))
    assert.is(((await ended) as Error).name, 'AbortError')
    assert.ok(sealing.destroyed && opening.destroyed)
  },
}

/** Wraps no data key: it has only one. Fails, if it is to, when the materials hold it. */
class Fixed extends KeyringNode {
  readonly #failure: Error | undefined
  /** As the last materials hold it. */
  dataKey: Uint8Array | undefined

  constructor(failure?: Error) {
    super()
    this.#failure = failure
  }

  async _onEncrypt(material: NodeEncryptionMaterial) {
    const edk = new EncryptedDataKey({ providerId: 'fixed', providerInfo: 'fixed', encryptedDataKey: bytes(1) })
    this.#set(material, KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY)
    return material.addEncryptedDataKey(edk, KeyringTraceFlag.WRAPPING_KEY_ENCRYPTED_DATA_KEY)
  }

  async _onDecrypt(material: NodeDecryptionMaterial) {
    this.#set(material, KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY)
    return material
  }

  #set(material: NodeEncryptionMaterial | NodeDecryptionMaterial, flags: KeyringTraceFlag): void {
    material.setUnencryptedDataKey(bytes(32), { keyNamespace: 'fixed', keyName: 'fixed', flags })
    this.dataKey = dataKeyOf(material)
    if (this.#failure) throw this.#failure
  }
}

testInChildren(
  __filename,
  Object.fromEntries(
    Object.entries(scenarios).map(([name, scenario]) => {
      const run = async () => {
        for (const kind of KINDS) await scenario(kind)
      }
      return [name, run]
    }),
  ),
)
