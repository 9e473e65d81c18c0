import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Fetched, SingleFlight } from '../../src/materials/single-flight'
import { rejectionOf } from '../support/expect'

/** A value that may be used `uses` times, and a count of the calls that made one. */
function scarce(uses: number, kept = true) {
  let left = 0
  const state = { calls: 0, running: 0, most: 0 }
  const find = () => (left-- > 0 ? state.calls : undefined)
  const fetch = async (): Promise<Fetched<number>> => {
    state.calls++
    state.running++
    state.most = Math.max(state.most, state.running)
    await new Promise((resolve) => setImmediate(resolve))
    state.running--
    if (kept) left = uses - 1
    return { value: state.calls, kept }
  }
  return { find, fetch, state }
}

test('1000 simultaneous misses of one id make one call', async () => {
  const flights = new SingleFlight()
  const { find, fetch, state } = scarce(Infinity)
  const values = await Promise.all(Array.from({ length: 1000 }, () => flights.get('a', find, fetch)))
  assert.equal(state, { calls: 1, running: 0, most: 1 })
  assert.ok(values.every((value) => value === 1))
})

test('uses run out exactly: 1000 misses of something good for 100 uses make 10 calls, one after the other', async () => {
  const flights = new SingleFlight()
  const { find, fetch, state } = scarce(100)
  const values = await Promise.all(Array.from({ length: 1000 }, () => flights.get('a', find, fetch)))
  assert.equal(state, { calls: 10, running: 0, most: 1 })
  for (let i = 1; i <= 10; i++) assert.is(values.filter((value) => value === i).length, 100)
})

test('there is one for each cache', () => {
  const [a, b] = [{}, {}]
  assert.is(SingleFlight.of(a), SingleFlight.of(a))
  assert.is.not(SingleFlight.of(a), SingleFlight.of(b))
})

test('different ids do not wait for each other', async () => {
  const flights = new SingleFlight()
  const { fetch, state } = scarce(1)
  await Promise.all(['a', 'b', 'c'].map((id) => flights.get(id, () => undefined, fetch)))
  assert.equal(state, { calls: 3, running: 0, most: 3 })
})

test('a failure reaches all who waited, once each, and the next one tries anew', async () => {
  const flights = new SingleFlight()
  let calls = 0
  const fail = async (): Promise<Fetched<number>> => {
    calls++
    await new Promise((resolve) => setImmediate(resolve))
    throw new Error('no')
  }
  const nothing = () => undefined
  const errors = await Promise.all(Array.from({ length: 100 }, () => rejectionOf(flights.get('a', nothing, fail))))
  assert.ok(errors.every((error) => error instanceof Error && error.message === 'no'))
  assert.is(calls, 1)
  assert.is(await flights.get('a', nothing, async () => ({ value: 7, kept: true })), 7)
})

test('what cannot be kept is fetched by each on its own, all at once', async () => {
  const flights = new SingleFlight()
  const { find, fetch, state } = scarce(1, false)
  await Promise.all(Array.from({ length: 10 }, () => flights.get('a', find, fetch)))
  assert.equal(state, { calls: 10, running: 0, most: 9 })
})

test.run()
