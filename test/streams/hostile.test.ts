/**
 * Input that is made to cost: headers of any shape, footers without end, the smallest frames, bytes after the end. Each
 * in slices of 64 bytes and in one piece, once and twice as long: the work must grow with the length, not faster.
 */

import { once } from 'node:events'
import * as assert from 'uvu/assert'
import { frameIv, framesLength } from '../../src/format/frame'
import { parseHeader } from '../../src/format/message-header'
import { aesKeyring, bytes } from '../support/keys'
import { testInChildren } from './child'
import { checkCode, client } from './subject'

const MIB = 1024 * 1024
const LENGTH = 10 * MIB

interface Hostile {
  /** Of about `length` bytes. */
  readonly make: (length: number) => Promise<Buffer> | Buffer
  readonly code: string
}

const HEADER_START = Buffer.concat([Buffer.from([2, 0x04, 0x78]), bytes(32)])
const field = (length: number) => Buffer.concat([u16(length), Buffer.alloc(length, 0x61)])

const HOSTILE: Record<string, Hostile> = {
  'a header of very many small EDKs that does not end': {
    make: (length) => {
      const edk = Buffer.concat([field(1), field(1), field(155)])
      const count = Math.min(65_535, Math.floor(length / edk.length))
      return Buffer.concat([HEADER_START, u16(0), u16(65_535), ...Array<Buffer>(count).fill(edk)]).subarray(0, length)
    },
    code: 'ERR_MESSAGE_TRUNCATED',
  },
  'a header of EDKs as long as can be that does not end': {
    make: (length) => {
      const edk = Buffer.concat([field(65_535), field(65_535), field(65_535)])
      const count = Math.ceil(length / edk.length)
      return Buffer.concat([HEADER_START, u16(0), u16(65_535), ...Array<Buffer>(count).fill(edk)]).subarray(0, length)
    },
    code: 'ERR_MESSAGE_TRUNCATED',
  },
  'a whole header of many EDKs that no keyring knows': {
    make: (length) => {
      const edk = Buffer.concat([field(8), field(8), field(134)])
      const count = Math.min(65_535, Math.floor(length / edk.length))
      const rest = Buffer.concat([Buffer.from([2]), u32(4096), Buffer.alloc(32 + 16)])
      return Buffer.concat([HEADER_START, u16(0), u16(count), ...Array<Buffer>(count).fill(edk), rest])
    },
    code: 'ERR_NO_DATA_KEY',
  },
  'a context of many pairs, and bytes instead of EDKs': {
    make: (length) => {
      const pairs = Array.from({ length: 6000 }, (_, i) =>
        Buffer.concat([u16(5), Buffer.from(`${10_000 + i}`), u16(0)]),
      )
      const context = Buffer.concat([u16(pairs.length), ...pairs])
      const start = Buffer.concat([HEADER_START, u16(context.length), context, u16(65_535)])
      return Buffer.concat([start, Buffer.alloc(Math.max(0, length - start.length), 1)])
    },
    code: 'ERR_MESSAGE_TRUNCATED',
  },
  'the smallest frames': {
    make: async (length) => {
      const plaintext = Buffer.alloc(Math.floor(length / 33))
      return (await client.encrypt(aesKeyring(), plaintext, { frameLength: 1, suiteId: 0x0478 })).result.subarray(0, -1)
    },
    code: 'ERR_MESSAGE_TRUNCATED',
  },
  'the smallest frames, signed': {
    make: async (length) => {
      const plaintext = Buffer.alloc(Math.floor(length / 33))
      const { result } = await client.encrypt(aesKeyring(), plaintext, { frameLength: 1, suiteId: 0x0578 })
      return result.subarray(0, -110)
    },
    code: 'ERR_MESSAGE_TRUNCATED',
  },
  'one frame that never ends': {
    make: async (length) => {
      const op = { frameLength: 2 ** 32 - 1, suiteId: 0x0478 } as const
      const { result } = await client.encrypt(aesKeyring(), '', op)
      const header = result.subarray(0, result.length - 40)
      return Buffer.concat([header, u32(1), frameIv(1), Buffer.alloc(length)])
    },
    code: 'ERR_MESSAGE_TRUNCATED',
  },
  'a footer that says it is longer than any signature': {
    make: async (length) => {
      const { result } = await client.encrypt(aesKeyring(), 'text', { suiteId: 0x0578 })
      const bodyEnd = parseHeader(result).bytes.length + framesLength(4, 4096, true)
      return Buffer.concat([result.subarray(0, bodyEnd), Buffer.alloc(length, 0xff)])
    },
    code: 'ERR_MESSAGE_MALFORMED',
  },
  'a footer that is not a signature': {
    make: async (length) => {
      const { result } = await client.encrypt(aesKeyring(), 'text', { suiteId: 0x0578 })
      const bodyEnd = parseHeader(result).bytes.length + framesLength(4, 4096, true)
      return Buffer.concat([result.subarray(0, bodyEnd), u16(512), Buffer.alloc(length)])
    },
    code: 'ERR_AUTHENTICATION_FAILED',
  },
  'bytes after the end': {
    make: async (length) => {
      const { result } = await client.encrypt(aesKeyring(), 'text', { suiteId: 0x0478 })
      return Buffer.concat([result, Buffer.alloc(length)])
    },
    code: 'ERR_TRAILING_DATA',
  },
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** The microseconds of CPU that reading `message` in slices takes, down to its error. */
async function work(message: Buffer, sliceLength: number, code: string): Promise<number> {
  globalThis.gc!()
  const bare = process.memoryUsage.rss()
  let peak = bare
  const before = process.cpuUsage()
  const stream = client.decryptStream(aesKeyring())
  const ended = once(stream, 'error')
  stream.resume()
  for (let start = 0, i = 0; start < message.length && !stream.destroyed; start += sliceLength, i++) {
    await new Promise((resolve) => stream.write(message.subarray(start, start + sliceLength), resolve))
    if (i % 1000 === 0) peak = Math.max(peak, process.memoryUsage.rss())
  }
  stream.end()
  const [error] = (await ended) as [Error]
  const { user, system } = process.cpuUsage(before)
  checkCode(error, code)
  peak = Math.max(peak, process.memoryUsage.rss())
  assert.ok(peak - bare < 64 * MIB, `${Math.round((peak - bare) / MIB)} MiB more`)
  return user + system
}

/** The least of some runs, since others share the machine. */
async function leastWork(message: Buffer, sliceLength: number, code: string): Promise<number> {
  const runs: number[] = []
  for (let i = 0; i < 3; i++) runs.push(await work(message, sliceLength, code))
  return Math.min(...runs)
}

/** Twice the work would be linear, four times quadratic; below this, other things count. */
const RATIO = 3
const SLACK_US = 250_000

const scenarios = Object.fromEntries(
  Object.entries(HOSTILE).map(([name, { make, code }]) => {
    const run = async () => {
      const [half, whole] = [await make(LENGTH / 2), await make(LENGTH)]
      for (const sliceLength of [64, whole.length]) {
        const single = await leastWork(half, sliceLength, code)
        const twice = await leastWork(whole, sliceLength, code)
        assert.ok(
          twice < RATIO * single + SLACK_US,
          `${single} us for half, ${twice} us for all, in slices of ${sliceLength}`,
        )
      }
    }
    return [name, run]
  }),
)
testInChildren(__filename, scenarios)
