import { runInNewContext } from 'node:vm'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { attemptInTurn } from '../../src/keyrings/attempts'

const never = () => new Promise<void>(() => {})
const soon = () => new Promise<void>((resolve) => setImmediate(resolve))

/** Attempts that write down when they begin; `done` once one of them says so. */
function world() {
  const begun: number[] = []
  let opened = false
  const begin = (i: number, end: () => Promise<unknown>) => async () => {
    begun.push(i)
    await end()
  }
  return {
    begun,
    open: async () => {
      await soon()
      opened = true
    },
    run: (ends: (() => Promise<unknown>)[], delay: number) =>
      attemptInTurn(
        ends.map((end, i) => begin(i, end)),
        () => opened,
        delay,
      ),
  }
}
const fails = (message: string) => async () => {
  await soon()
  throw new Error(message)
}

test('one after the other, until one opens', async () => {
  const { begun, open, run } = world()
  const errors = await run([fails('a'), soon, fails('c'), open, fails('e')], Infinity)
  assert.equal(begun, [0, 1, 2, 3])
  assert.equal(
    errors.map(({ message }) => message),
    ['a', 'c'],
  )
})

test('an error of another realm, as of Node.js in a test runner, stays what it is', async () => {
  const thrown = runInNewContext("Object.assign(new Error('closed'), { code: 'ECONNRESET' })")
  const [error] = await world().run([() => Promise.reject(thrown)], Infinity)
  assert.is(error, thrown)
})

test('one that hangs holds up the next for the delay only, and is not waited for once another has opened', async () => {
  const { begun, open, run } = world()
  assert.equal(await run([never, never, open], 1), [])
  assert.equal(begun, [0, 1, 2])
})

test('however many hang, a bounded number of them is under way', async () => {
  const { begun, run } = world()
  let release = () => {}
  let [running, most] = [0, 0]
  const released = new Promise<void>((resolve) => (release = resolve))
  const hangs = async () => {
    most = Math.max(most, ++running)
    if (begun.length === 64) setTimeout(release, 20)
    await released
    running--
  }
  await run(new Array(200).fill(hangs), 0)
  assert.is(begun.length, 200)
  assert.is(most, 64)
})

test('one that is late is waited for when all others have failed', async () => {
  const { open, run } = world()
  const late = () => new Promise((resolve) => setTimeout(() => void open().then(resolve), 20))
  const errors = await run([late, fails('b'), fails('c')], 1)
  assert.equal(
    errors.map(({ message }) => message),
    ['b', 'c'],
  )
})

test('errors come in the order of the attempts, not of their ends', async () => {
  const slow = () => new Promise((_, reject) => setTimeout(reject, 20, new Error('slow')))
  const errors = await world().run([slow, fails('quick')], 1)
  assert.equal(
    errors.map(({ message }) => message),
    ['slow', 'quick'],
  )
})

test('what is thrown at once, or is no error, is an error as well', async () => {
  const throwing = (thrown: unknown) => () => {
    throw thrown
  }
  assert.equal(
    (await attemptInTurn([throwing('text'), throwing(Object.create(null))], () => false, 1)).map(
      ({ message }) => message,
    ),
    ['text', 'a value of type object'],
  )
  assert.equal(await attemptInTurn([], () => false, 1), [])
})

test('no timer is left', async () => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const { open, run } = world()
  await run([fails('a'), open], 60_000)
  assert.is(timers(), before)
})

test.run()
