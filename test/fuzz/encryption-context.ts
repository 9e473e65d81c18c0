import * as assert from 'uvu/assert'
import { parseContext, serializeContext } from '../../src/encryption-context'
import type { Target } from './fuzzer'

export const encryptionContext: Target = {
  seeds: [{}, { k: 'v' }, { a: '', __proto__x: 'ü', constructor: '\u{1f600}' }].map((pairs) => serializeContext(pairs)),
  words: ['__proto__', 'constructor', '\xff', '\u{1f600}'],
  run(input) {
    const context = parseContext(input)
    const again = serializeContext(context)
    assert.equal(parseContext(again), context)
    if (Object.keys(context).length > 0) assert.is(again.length, input.length)
  },
}
