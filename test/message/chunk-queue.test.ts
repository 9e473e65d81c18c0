import { randomBytes } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ChunkQueue } from '../../src/message/chunk-queue'
import { throws } from '../support/expect'

const KIB = 1024

test('what comes in chunks of any lengths goes out in order, in batches of at most what is asked for', () => {
  for (const most of [1, 1000, 100 * KIB, 1024 * KIB]) {
    const lengths = [0, 1, 5, 16 * KIB - 1, 16 * KIB, 7, 0, 300 * KIB, 3, 64 * KIB, 2]
    const chunks = lengths.map((length) => randomBytes(length))
    const queue = queueOf(...chunks)
    const batches: Uint8Array[] = []
    while (queue.length > 0) {
      const { length } = queue.next(most)
      assert.ok(length <= most)
      batches.push(queue.take(length, (batch) => Uint8Array.from(batch)))
      assert.is(batches.at(-1)!.length, length)
    }
    assert.equal(Buffer.concat(batches), Buffer.concat(chunks))
  }
})

test('short chunks are put together, and wiped when they are done or failed; a long one is worked on where it lies', () => {
  const queue = queueOf(Buffer.of(1, 2), Buffer.of(3), Buffer.alloc(40 * KIB, 4), Buffer.alloc(40 * KIB, 5))
  const gathered = queue.take(queue.next(1024 * KIB).length, (batch) => {
    assert.is(batch.length, 64 * KIB)
    assert.equal([...batch.subarray(0, 4)], [1, 2, 3, 4])
    return batch
  })
  assert.ok(gathered.every((byte) => byte === 0))

  const long = Buffer.allocUnsafeSlow(64 * KIB).fill(6)
  const other = queueOf(long, Buffer.of(7))
  other.take(other.next(1024 * KIB).length, (batch) => assert.is(batch.buffer, long.buffer))
  assert.is(other.length, 1)
  assert.ok(long.every((byte) => byte === 6))

  const failing = queueOf(Buffer.of(1), Buffer.of(2))
  let seen: Uint8Array | undefined
  const fail = (batch: Uint8Array) => {
    seen = batch
    throw new RangeError('broken')
  }
  throws(() => failing.take(2, fail), RangeError, /broken/)
  assert.equal(seen, new Uint8Array(2))
})

test('memory that another thread can write is copied first', () => {
  const shared = new Uint8Array(new SharedArrayBuffer(64 * KIB)).fill(1)
  for (const chunks of [[shared], [shared.subarray(0, 2), Buffer.of(1)]]) {
    const queue = queueOf(...chunks)
    queue.take(queue.length, (batch) => {
      assert.instance(batch.buffer, ArrayBuffer)
      assert.ok(batch.every((byte) => byte === 1))
    })
  }
})

test('a chunk that is no longer what it was is an error, wherever it lies', () => {
  for (const at of [0, 1, 2]) {
    const chunks = [1, 2, 3].map((byte) => new Uint8Array(10).fill(byte))
    const queue = queueOf(...chunks)
    structuredClone(0, { transfer: [chunks[at]!.buffer] })
    throws(() => queue.take(30, () => assert.unreachable()), TypeError, /resized or transferred/)
    throws(() => new ChunkQueue().add(chunks[at]!), TypeError)
  }
})

test('a batch says how many chunks it is of, which are not too many', () => {
  const long = Buffer.alloc(64 * KIB)
  const short = Array.from({ length: 10 }, () => Buffer.alloc(10 * KIB))
  assert.equal(queueOf(long, ...short).next(1024 * KIB), { length: 64 * KIB, count: 1 })
  assert.equal(queueOf(Buffer.alloc(0), long).next(1024 * KIB), { length: 64 * KIB, count: 1 })
  assert.equal(queueOf(...short, long).next(1024 * KIB), { length: 64 * KIB, count: 7 })
  assert.equal(queueOf(...short, long).next(15 * KIB), { length: 15 * KIB, count: 2 })
  assert.equal(queueOf(...short).next(1), { length: 1, count: 1 })
  assert.equal(queueOf(...Array<Buffer>(5000).fill(Buffer.of(1))).next(1024 * KIB), { length: 4096, count: 4096 })
})

test('a million chunks that wait are done as fast as they came', () => {
  const queue = new ChunkQueue()
  const chunk = Buffer.of(1)
  for (let i = 0; i < 1_000_000; i++) queue.add(chunk)
  let count = 0
  while (queue.length > 0) count += queue.take(queue.next(1024 * KIB).length, (batch) => batch.length)
  assert.is(count, 1_000_000)
})

test.run()

function queueOf(...chunks: readonly Uint8Array[]): ChunkQueue {
  const queue = new ChunkQueue()
  for (const chunk of chunks) queue.add(chunk)
  return queue
}
