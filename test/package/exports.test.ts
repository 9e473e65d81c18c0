/** Every run-time name of `@aws-crypto/client-node` is here too, and of the same kind. */
import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as sealwax from '../../src/index'

const ours: Record<string, unknown> = sealwax
const names = Object.keys(peer).filter((name) => name !== 'default')

test('client-node has the 49 names known', () => assert.is(names.length, 49))

for (const name of names) {
  test(`${name} is there, of the same kind`, () => {
    const theirs = (peer as Record<string, unknown>)[name]
    assert.is(kindOf(ours[name]), kindOf(theirs))
    if (kindOf(theirs) === 'enumeration') assert.equal(namedValues(ours[name]), namedValues(theirs))
    if (kindOf(theirs) === 'class') {
      const { prototype } = ours[name] as { prototype: object }
      assert.equal(
        methodsOf(theirs).filter((method) => !(method in prototype)),
        [],
      )
    }
  })
}

test('clients have every function', () => {
  const { buildClient, buildDecrypt, buildEncrypt } = sealwax
  const pairs: [object, object][] = [
    [buildClient(), peer.buildClient()],
    [buildEncrypt(), peer.buildEncrypt()],
    [buildDecrypt(), peer.buildDecrypt()],
  ]
  for (const [client, theirs] of pairs) {
    for (const name of Object.keys(theirs)) assert.type((client as Record<string, unknown>)[name], 'function', name)
  }
})

function kindOf(value: unknown): string {
  // An Error object on current versions of Node.js: truthy is all that it says.
  if (value === peer.oaepHashSupported || value === sealwax.oaepHashSupported) return 'truthy'
  if (typeof value === 'function') return /^class\b/.test(String(value)) || value === sealwax.KMS ? 'class' : 'function'
  if (typeof value !== 'object' || value === null) return typeof value
  const plain = Object.values(value).every((entry) => ['string', 'number'].includes(typeof entry))
  return plain ? 'enumeration' : 'object'
}

/** Without the way back from numbers: client-node's own is not one everywhere. */
function namedValues(value: unknown): [string, unknown][] {
  return Object.entries(value as object).filter(([name]) => Number.isNaN(Number(name)))
}

/** Public ones: a leading underscore is nobody else's. */
function methodsOf(value: unknown): string[] {
  const { prototype } = value as { prototype: object }
  return Object.getOwnPropertyNames(prototype).filter((name) => !name.startsWith('_'))
}

test.run()
