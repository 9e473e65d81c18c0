/** Key pairs are made a few at a time, for those who still wait. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { KmsError } from '../../src/local-kms/errors'
import { ecKey, rsaKey } from '../../src/local-kms/key-pairs'

const typeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'made',
    ({ type }: KmsError) => type,
  )

test('those who give up leave their places, and too many are refused', async () => {
  const [patient, impatient] = [new AbortController(), new AbortController()]
  // They take as long as the others wait.
  const busy = [rsaKey(4096, patient.signal), rsaKey(4096, patient.signal)]
  const waiting = Array.from({ length: 63 }, () => typeOf(ecKey('P-256', impatient.signal)))
  const last = typeOf(ecKey('P-256', patient.signal))
  assert.is(await typeOf(Promise.resolve().then(() => ecKey('P-256', patient.signal))), 'ThrottlingException')
  impatient.abort()
  assert.equal(new Set(await Promise.all(waiting)), new Set(['KMSInternalException']))
  assert.is(await typeOf(Promise.resolve().then(() => ecKey('P-256', impatient.signal))), 'KMSInternalException')
  assert.is(await last, 'made')
  for (const key of await Promise.all(busy)) assert.is(key.asymmetricKeyType, 'rsa')
  assert.is(await typeOf(ecKey('P-256', patient.signal)), 'made')
})

test.run()
