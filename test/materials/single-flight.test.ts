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

/** Calls that are ended by hand, of something that is never found. */
function byHand() {
  const calls: { resolve: (fetched: Fetched<number>) => void; reject: (error: Error) => void }[] = []
  const find = () => undefined
  const fetch = () => new Promise<Fetched<number>>((resolve, reject) => calls.push({ resolve, reject }))
  return { search: { find, fetch }, calls }
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

for (const how of ['brings something', 'fails']) {
  test(`a lost call that ${how} in the end disturbs nobody who waits for the next`, async () => {
    mock.timers.enable({ apis: ['setTimeout'] })
    try {
      const flights = new SingleFlight()
      const { search, calls } = byHand()
      const [lost, second, third] = [1, 2, 3].map(() => flights.get('a', search).catch(String))
      mock.timers.tick(90_000)
      assert.is(calls.length, 2)
      if (how === 'fails') calls[0]!.reject(new Error('late'))
      else calls[0]!.resolve({ value: 1, kept: true })
      assert.is(await lost, how === 'fails' ? 'Error: late' : 1)
      assert.is(calls.length, 2)
      calls[1]!.resolve({ value: 2, kept: true })
      assert.is(await second, 2)
      calls[2]!.resolve({ value: 3, kept: true })
      assert.is(await third, 3)
    } finally {
      mock.timers.reset()
    }
  })
}

test('a lost call that nobody waited for leaves the next one its line', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const flights = new SingleFlight()
    const { search, calls } = byHand()
    const lost = flights.get('a', search)
    mock.timers.tick(90_000)
    void flights.get('a', search)
    calls[0]!.resolve({ value: 1, kept: true })
    assert.is(await lost, 1)
    void flights.get('a', search)
    assert.is(calls.length, 2, 'the third waits for the second')
  } finally {
    mock.timers.reset()
  }
})

test('a call that has ended is never taken for lost', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const flights = new SingleFlight()
    const { search, calls } = byHand()
    const first = flights.get('a', search)
    calls[0]!.resolve({ value: 1, kept: true })
    await first
    mock.timers.tick(60_000)
    void flights.get('a', search)
    mock.timers.tick(60_000)
    void flights.get('a', search)
    assert.is(calls.length, 2)
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

test('where nothing can be kept, no call is made for whoever was given up', async () => {
  const flights = new SingleFlight()
  const { find, fetch, state } = scarce(1, false)
  const controller = new AbortController()
  const first = flights.get('a', { find, fetch })
  const gone = rejectionOf(flights.get('a', { find, fetch, signal: controller.signal }))
  controller.abort()
  assert.is(await first, 1)
  assert.is(await gone, controller.signal.reason)
  assert.is(state.calls, 1)
})

test.run()
