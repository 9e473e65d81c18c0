import { execFileSync } from 'node:child_process'
import { createCipheriv } from 'node:crypto'
import { freemem } from 'node:os'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { loadNative } from '../../src/engine/native'

const GIB = 2 ** 30

// EVP takes lengths as int: a call of more than 2 GiB shows that they are cut, and cut between blocks. In a child, whose
// memory goes back at once.
if (process.argv[2] === 'child') {
  const engine = loadNative().engine!
  const length = 2 * GIB + 5
  const [key, iv, aad] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2), new Uint8Array(3)]
  const plaintext = new Uint8Array(length).fill(7)
  const marks = [0, GIB - 1, GIB, 2 * GIB - 1, 2 * GIB, length - 1]
  for (const mark of marks) plaintext[mark] = 9
  const sealed = new Uint8Array(length + 16)
  // By one thread, as pieces for several are never as long; it is opened by as many as there are.
  engine.binding.force(1, 0)
  engine.seal(key, iv, aad, plaintext, sealed)
  // The key stream past the cuts, by node:crypto in counter mode: block n is under counter 2 + n.
  for (const mark of marks) {
    const counter = Buffer.alloc(16, 2)
    counter.writeUInt32BE(2 + Math.floor(mark / 16), 12)
    const stream = createCipheriv('aes-256-ctr', key, counter).update(Buffer.alloc(16))
    assert.is(sealed[mark], stream[mark % 16]! ^ 9)
    plaintext[mark] = 0
  }
  engine.binding.force(0, 0)
  assert.ok(engine.open(key, iv, aad, sealed, plaintext))
  for (const mark of marks) assert.is(plaintext[mark], 9)
  console.log('done')
} else {
  test('seals and opens more than 2 GiB in one call', () => {
    if (freemem() < 8 * GIB) {
      console.warn(`NOT RUN: needs 8 GiB of free memory, ${(freemem() / GIB).toFixed(1)} are`)
      return
    }
    const output = execFileSync(process.execPath, [...process.execArgv, __filename, 'child'], { encoding: 'utf8' })
    assert.is(output, 'done\n')
  })
  test.run()
}
