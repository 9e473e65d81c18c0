import { mock } from 'node:test'
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
  const values = await Promise.all(Array.from({ length: 1000 }, () => flights.get('a', { find, fetch })))
  assert.equal(state, { calls: 1, running: 0, most: 1 })
  assert.ok(values.every((value) => value === 1))
})

test('uses run out exactly: 1000 misses of something good for 100 uses make 10 calls, one after the other', async () => {
  const flights = new SingleFlight()
  const { find, fetch, state } = scarce(100)
  const values = await Promise.all(Array.from({ length: 1000 }, () => flights.get('a', { find, fetch })))
  assert.equal(state, { calls: 10, running: 0, most: 1 })
  for (let i = 1; i <= 10; i++) assert.is(values.filter((value) => value === i).length, 100)
})

test('of many that wait, each looks again once or twice, not after every call', async () => {
  const flights = new SingleFlight()
  const { find, fetch, state } = scarce(1)
  let looks = 0
  const count = () => {
    looks++
    return find()
  }
  await Promise.all(Array.from({ length: 1000 }, () => flights.get('a', { find: count, fetch })))
  assert.is(state.calls, 1000)
  assert.ok(looks <= 2000, `${looks}`)
})

test('whoever was given up while it waited takes no use, and no call is made for it', async () => {
  const flights = new SingleFlight()
  const { find, fetch, state } = scarce(2)
  const controller = new AbortController()
  const { signal } = controller
  const first = flights.get('a', { find, fetch })
  const gone = Array.from({ length: 100 }, () => rejectionOf(flights.get('a', { find, fetch, signal })))
  const last = flights.get('a', { find, fetch })
  controller.abort()
  assert.equal(await Promise.all([first, last]), [1, 1])
  assert.is(state.calls, 1)
  assert.ok((await Promise.all(gone)).every((error) => error === signal.reason))
})

test('a call that never ends costs those who wait for it some time, and later ones nothing', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const flights = new SingleFlight()
    const { find, fetch, state } = scarce(Infinity)
    let end = (_: Fetched<number>) => {}
    void flights.get('a', { find, fetch: () => new Promise<Fetched<number>>((resolve) => (end = resolve)) })
    const waiting = [flights.get('a', { find, fetch }), flights.get('a', { find, fetch })]
    mock.timers.tick(60_000)
    assert.is(state.calls, 0)
    mock.timers.tick(60_000)
    assert.equal(await Promise.all(waiting), [1, 1])
    // What it brings in the end disturbs nobody.
    end({ value: 7, kept: true })
    assert.is(await flights.get('a', { find, fetch }), 1)
  } finally {
    mock.timers.reset()
  }
})

test('there is one for each cache', () => {
  const [a, b] = [{}, {}]
  assert.is(SingleFlight.of(a), SingleFlight.of(a))
  assert.is.not(SingleFlight.of(a), SingleFlight.of(b))
})

test('different ids do not wait for each other', async () => {
  const flights = new SingleFlight()
  const { fetch, state } = scarce(1)
  await Promise.all(['a', 'b', 'c'].map((id) => flights.get(id, { find: () => undefined, fetch })))
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
  const errors = await Promise.all(
    Array.from({ length: 100 }, () => rejectionOf(flights.get('a', { find: nothing, fetch: fail }))),
  )
  assert.ok(errors.every((error) => error instanceof Error && error.message === 'no'))
  assert.is(calls, 1)
  assert.is(await flights.get('a', { find: nothing, fetch: async () => ({ value: 7, kept: true }) }), 7)
})

test('what cannot be kept is fetched by each on its own, all at once', async () => {
  const flights = new SingleFlight()
  const { find, fetch, state } = scarce(1, false)
  await Promise.all(Array.from({ length: 10 }, () => flights.get('a', { find, fetch })))
  assert.equal(state, { calls: 10, running: 0, most: 9 })
})

test.run()
