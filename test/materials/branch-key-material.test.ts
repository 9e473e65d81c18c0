import { randomUUID } from 'node:crypto'
import { inspect } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { NodeBranchKeyMaterial } from '../../src/materials/branch-key-material'
import { throws } from '../support/expect'
import { bytes } from '../support/keys'

const VERSION = '0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0ff'

test('holds a copy of the key, which it wipes and then refuses to give', () => {
  const given = bytes(32)
  const material = new NodeBranchKeyMaterial(given, 'id', VERSION, { a: 'b' })
  assert.equal(Uint8Array.from(material.branchKey()), bytes(32))
  assert.is(material.branchKeyVersion.toString(), VERSION)
  const held = material.branchKey()
  assert.is(material.zeroUnencryptedDataKey(), material)
  assert.ok(held.every((byte) => byte === 0))
  assert.equal(given, bytes(32))
  throws(() => material.branchKey(), 'ERR_INVALID_MATERIALS', /zeroed/)
})

test('cannot be changed', () => {
  const context = { a: 'b' }
  const material = new NodeBranchKeyMaterial(bytes(32), 'id', VERSION, context)
  context.a = 'c'
  assert.equal(material.encryptionContext, { a: 'b' })
  assert.ok(Object.isFrozen(material) && Object.isFrozen(material.encryptionContext))
})

test('shows no key when it is inspected', () => {
  const shown = inspect(new NodeBranchKeyMaterial(bytes(32), 'id', VERSION, {}), { showHidden: true, depth: 5 })
  assert.not.match(shown, /01.?08.?0f|1, 8, 15/i)
})

test('takes exactly 32 bytes, an ID, a random UUID and pairs', () => {
  const make = (key: unknown, id: unknown, version: unknown, context: unknown) => () =>
    new NodeBranchKeyMaterial(key as Uint8Array, id as string, version as string, context as Record<string, string>)
  throws(make('key', 'id', VERSION, {}), TypeError, /Branch key must be a Buffer/)
  for (const length of [0, 16, 31, 33]) {
    throws(make(bytes(length), 'id', VERSION, {}), 'ERR_INVALID_MATERIALS', /Branch key must be 32 bytes long/)
  }
  throws(make(bytes(32), 1, VERSION, {}), TypeError, /Branch key id must be a string/)
  throws(make(bytes(32), '', VERSION, {}), 'ERR_INVALID_MATERIALS', /Empty branch key ID/)
  throws(make(bytes(32), 'id', 4, {}), TypeError, /Branch key version must be a string/)
  throws(make(bytes(32), 'id', VERSION, null), TypeError, /Encryption context must be an object/)
  const wrong = ['', 'x', VERSION.replace('-4978', '-1978'), VERSION.replace('-8', '-c'), `${VERSION}0`, ` ${VERSION}`]
  for (const version of wrong)
    throws(make(bytes(32), 'id', version, {}), 'ERR_INVALID_MATERIALS', /valid version 4 uuid/)
  for (let i = 0; i < 100; i++) make(bytes(32), 'id', randomUUID(), {})()
})

test.run()
