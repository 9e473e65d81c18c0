/**
 * One AES-256-GCM message, sealed or opened by one call, from 64 bytes to 1 GiB: Sealwax's engine beside everything that a
 * JavaScript program would otherwise use. `npx tsx bench/gcm.ts`, with the options of comparison.ts.
 *
 * The engine writes into memory that is reused, as its callers do; the others return new memory, as their interfaces have
 * it. Keys are imported before, where an interface knows such a step.
 */
import { createCipheriv, createDecipheriv, webcrypto } from 'node:crypto'
import { cipher as forgeCipher, util as forgeUtil } from 'node-forge'
import sjcl from 'sjcl'
import { equalBytes } from '#built/bytes'
import { type Engine, getEngine } from '#built/engine/engine'
import { nodeEngine } from '#built/engine/node'
import { compare } from './comparison'
import { sample, showLength } from './contender'
import { bareEvp, buildLimit } from './limit'

interface Case {
  readonly length: number
  readonly direction: 'seal' | 'open'
}

/** Both work on `plaintext`, or on ciphertext and tag of it, and keep nothing. */
interface Contender {
  seal(plaintext: Uint8Array): Uint8Array | Promise<Uint8Array>
  open(sealed: Uint8Array): Uint8Array | Promise<Uint8Array>
}

const KIB = 1024
const MIB = 1024 * KIB
const LENGTHS = [64, KIB, 16 * KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB, 1024 * MIB]
/** The longest message for each of those that would take minutes beyond. */
const LONGEST = new Map([
  ['@noble/ciphers', 16 * MIB],
  ['node-forge', MIB],
  ['sjcl', MIB],
])

const key = new Uint8Array(32).fill(1)
const iv = new Uint8Array(12).fill(2)
const aad = new Uint8Array(64).fill(3)

buildLimit()
compare<Case>(__filename, {
  title: 'One AES-256-GCM message in one call',
  about: 'No format, no key wrapping: the cipher and the way to it. The limit is bare EVP on as many threads.',
  contenders: [
    'sealwax',
    'sealwax on node',
    'node:crypto',
    'WebCrypto',
    '@noble/ciphers',
    'node-forge',
    'sjcl',
    'limit, 1 thread',
    'limit',
  ],
  cases: LENGTHS.flatMap((length) => [
    { length, direction: 'seal' as const },
    { length, direction: 'open' as const },
  ]),
  name: ({ direction, length }) => `${direction} ${showLength(length)}`,
  bytes: ({ length }) => length,
  series: ({ direction }) => direction,
  takesPart: (contender, { length, direction }) =>
    length <= (LONGEST.get(contender) ?? Number.POSITIVE_INFINITY) &&
    (direction === 'seal' || !contender.startsWith('limit')),
  measure: async (name, { length, direction }, budget) => {
    const plaintext = new Uint8Array(length).fill(6)
    const sealed = new Uint8Array(length + 16)
    nodeEngine.seal(key, iv, aad, plaintext, sealed)
    const contender = await contenderNamed(name, length)
    const [input, expected] = direction === 'seal' ? [plaintext, sealed] : [sealed, plaintext]
    const run = () => contender[direction](input)
    // More threads of the limit seal a message each.
    const same = name === 'limit' ? 64 : expected.length
    if (!equalBytes((await run()).subarray(0, same), expected.subarray(0, same))) throw new Error(`${name} is wrong`)
    return sample(run, budget)
  },
})

async function contenderNamed(name: string, length: number): Promise<Contender> {
  switch (name) {
    case 'sealwax':
      return engineInto(getEngine(), length)
    case 'sealwax on node':
      return engineInto(nodeEngine, length)
    case 'node:crypto':
      return nodeCrypto(length)
    case 'WebCrypto':
      return webCrypto()
    case '@noble/ciphers':
      return noble()
    case 'node-forge':
      return forge()
    case 'sjcl':
      return stanford()
    default:
      return limit(name === 'limit' && length >= MIB ? getEngine().info().threads : 1, length)
  }
}

function engineInto(engine: Engine, length: number): Contender {
  const sealedOut = new Uint8Array(length + 16)
  const openedOut = new Uint8Array(length)
  return {
    seal: (plaintext) => {
      engine.seal(key, iv, aad, plaintext, sealedOut)
      return sealedOut
    },
    open: (sealed) => {
      if (!engine.open(key, iv, aad, sealed, openedOut)) throw new Error('not authentic')
      return openedOut
    },
  }
}

/** The careful way: `update` into its own memory, the rest copied behind it. */
function nodeCrypto(length: number): Contender {
  const sealedOut = new Uint8Array(length + 16)
  return {
    seal: (plaintext) => {
      const cipher = createCipheriv('aes-256-gcm', key, iv)
      cipher.setAAD(aad)
      sealedOut.set(cipher.update(plaintext))
      cipher.final()
      sealedOut.set(cipher.getAuthTag(), length)
      return sealedOut
    },
    open: (sealed) => {
      const decipher = createDecipheriv('aes-256-gcm', key, iv)
      decipher.setAAD(aad)
      decipher.setAuthTag(sealed.subarray(length))
      const plaintext = decipher.update(sealed.subarray(0, length))
      decipher.final()
      return plaintext
    },
  }
}

async function webCrypto(): Promise<Contender> {
  const { subtle } = webcrypto
  const imported = await subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt'])
  const algorithm = { name: 'AES-GCM', iv, additionalData: aad }
  return {
    seal: async (plaintext) => new Uint8Array(await subtle.encrypt(algorithm, imported, plaintext)),
    open: async (sealed) => new Uint8Array(await subtle.decrypt(algorithm, imported, sealed)),
  }
}

async function noble(): Promise<Contender> {
  const { gcm } = await import('@noble/ciphers/aes.js')
  return {
    seal: (plaintext) => gcm(key, iv, aad).encrypt(plaintext),
    open: (sealed) => gcm(key, iv, aad).decrypt(sealed),
  }
}

/** Its own buffers are strings of bytes. */
function forge(): Contender {
  const binary = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
  const [forgeKey, forgeIv, additionalData] = [binary(key), binary(iv), binary(aad)]
  return {
    seal: (plaintext) => {
      const cipher = forgeCipher.createCipher('AES-GCM', forgeKey)
      cipher.start({ iv: forgeIv, additionalData })
      cipher.update(forgeUtil.createBuffer(binary(plaintext)))
      cipher.finish()
      return Buffer.from(cipher.output.getBytes() + cipher.mode.tag.getBytes(), 'latin1')
    },
    open: (sealed) => {
      const decipher = forgeCipher.createDecipher('AES-GCM', forgeKey)
      const tag = forgeUtil.createBuffer(binary(sealed.subarray(-16)))
      decipher.start({ iv: forgeIv, additionalData, tag })
      decipher.update(forgeUtil.createBuffer(binary(sealed.subarray(0, -16))))
      if (!decipher.finish()) throw new Error('not authentic')
      return Buffer.from(decipher.output.getBytes(), 'latin1')
    },
  }
}

/** Its own buffers are arrays of 32-bit words. */
function stanford(): Contender {
  const words = (bytes: Uint8Array) => sjcl.codec.hex.toBits(Buffer.from(bytes).toString('hex'))
  const bytes = (bits: sjcl.BitArray) => Buffer.from(sjcl.codec.hex.fromBits(bits), 'hex')
  const aes = new sjcl.cipher.aes(words(key))
  const [ivWords, aadWords] = [words(iv), words(aad)]
  return {
    seal: (plaintext) => bytes(sjcl.mode.gcm.encrypt(aes, words(plaintext), ivWords, aadWords, 128)),
    open: (sealed) => bytes(sjcl.mode.gcm.decrypt(aes, words(sealed), ivWords, aadWords, 128)),
  }
}

function limit(threads: number, length: number): Contender {
  const out = new Uint8Array(length + 16)
  return {
    seal: (plaintext) => {
      bareEvp(key, iv, aad, plaintext, out, threads)
      return out
    },
    open: () => {
      throw new Error('the limit seals only: opening costs the same')
    },
  }
}
