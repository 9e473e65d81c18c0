/** What a stream holds is bounded by what was measured here, whatever the reader, the length or the message claims. */
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as assert from 'uvu/assert'
import { rejects } from '../support/expect'
import { aesKeyring } from '../support/keys'
import { testInChildren } from './child'
import { client, nextTurn, suiteOf } from './subject'

const KIB = 1024
const MIB = 1024 * KIB
const BATCH = MIB

type Kind = readonly [direction: 'encrypt' | 'decrypt', signed: boolean, frameLength: number]
const KINDS: readonly Kind[] = (['encrypt', 'decrypt'] as const).flatMap((direction) =>
  [false, true].flatMap((signed) => [4 * KIB, MIB].map((frameLength) => [direction, signed, frameLength] as const)),
)

/** Bytes that `input` a stream takes when nobody reads: counted by write callbacks, until none comes any more. */
async function takenWithoutReader([direction, signed, frameLength]: Kind, chunkLength: number): Promise<number> {
  const op = { suiteId: suiteOf(signed), frameLength }
  const plaintext = Buffer.alloc(16 * MIB)
  const encrypting = direction === 'encrypt'
  const input = encrypting ? plaintext : (await client.encrypt(aesKeyring(), plaintext, op)).result
  const stream = encrypting ? client.encryptStream(aesKeyring(), op) : client.decryptStream(aesKeyring())
  let taken = 0
  const source = (async () => {
    for (let start = 0; start < input.length; start += chunkLength) {
      const chunk = input.subarray(start, start + chunkLength)
      await new Promise((resolve) => stream.write(chunk, resolve))
      if (stream.destroyed) return
      taken += chunk.length
    }
  })()
  // The key pair of a signed message takes as long as it takes.
  while (stream.readableLength === 0 && !stream.destroyed) await nextTurn()
  for (let idle = 0, before = -1; idle < 200; idle = taken === before ? idle + 1 : 0) {
    before = taken
    await nextTurn()
  }
  stream.destroy()
  await source
  return taken
}

async function withSlowSink([direction, signed, frameLength]: Kind): Promise<void> {
  const total = 256 * MIB
  const chunk = Buffer.alloc(64 * KIB, 7)
  let left = total
  const source = new Readable({
    read() {
      left -= chunk.length
      this.push(left >= 0 ? chunk : null)
    },
  })
  let received = 0
  let peak = 0
  const sink = new Writable({
    write(piece: Buffer, _encoding, callback) {
      received += piece.length
      peak = Math.max(peak, process.memoryUsage.rss())
      setImmediate(() => setImmediate(callback))
    },
  })
  const sealing = client.encryptStream(aesKeyring(), { suiteId: suiteOf(signed), frameLength })
  globalThis.gc!()
  const bare = process.memoryUsage.rss()
  if (direction === 'encrypt') await pipeline(source, sealing, sink)
  else await pipeline(source, sealing, client.decryptStream(aesKeyring()), sink)
  assert.ok(received >= total)
  assert.ok(peak - bare < 128 * MIB, `${Math.round((peak - bare) / MIB)} MiB above the start`)
}

/** A message that claims frames of nearly 4 GiB and then hardly has any. */
async function hugeClaim(): Promise<void> {
  const frameLength = 2 ** 32 - 1
  const bare = process.memoryUsage.rss()
  const plaintext = Buffer.alloc(100)
  const sealing = client.encryptStream(aesKeyring(), { frameLength })
  const opening = client.decryptStream(aesKeyring())
  sealing.end(plaintext)
  await pipeline(sealing, opening)
  assert.equal(opening.read(), plaintext)

  const { result } = await client.encrypt(aesKeyring(), plaintext, { frameLength, suiteId: 0x0478 })
  const header = result.subarray(0, result.length - 140)
  const firstFrame = Buffer.concat([header, Buffer.from([0, 0, 0, 1]), Buffer.alloc(MIB)])
  await rejects(pipeline([firstFrame], client.decryptStream(aesKeyring()), new Writable()), 'ERR_MESSAGE_TRUNCATED')
  const finalFrame = Buffer.from(result)
  finalFrame.writeUInt32BE(frameLength, result.length - 120)
  const cut = pipeline([finalFrame], client.decryptStream(aesKeyring()), new Writable())
  await rejects(cut, 'ERR_MESSAGE_TRUNCATED')
  assert.ok(process.memoryUsage.rss() - bare < 64 * MIB)
}

const scenarios: Record<string, () => Promise<void>> = {
  'a claim of 4 GiB frames allocates next to nothing': hugeClaim,
}
for (const kind of KINDS) {
  const [direction, signed, frameLength] = kind
  const name = `${direction}, ${signed ? 'signed' : 'unsigned'}, frames of ${frameLength / KIB} KiB`
  scenarios[`${name}: takes little without a reader`] = async () => {
    for (const chunkLength of [5000, 64 * KIB, 16 * MIB]) {
      const taken = await takenWithoutReader(kind, chunkLength)
      const most = MIB + 3 * frameLength + BATCH
      assert.ok(taken <= most, `took ${taken} bytes in chunks of ${chunkLength}, at most ${most} expected`)
    }
  }
  scenarios[`${name}: 256 MiB through a slow sink`] = () => withSlowSink(kind)
}

testInChildren(__filename, scenarios)
