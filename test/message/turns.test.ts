import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { nextTurn } from '../../src/message/slices'

/** Which turn of the event loop this is, counted from the first call. */
function countTurns(): { turn: () => number; stop: () => void } {
  let turns = 0
  let next: NodeJS.Immediate
  const count = () => {
    turns++
    next = setImmediate(count)
  }
  next = setImmediate(count)
  return { turn: () => turns, stop: () => clearImmediate(next) }
}

test('of messages that wait for others to have their turn, one goes on at a time', async () => {
  const { turn, stop } = countTurns()
  const wentOn: number[] = []
  const message = async () => {
    for (let slice = 0; slice < 3; slice++) {
      await nextTurn()
      wentOn.push(turn())
    }
  }
  await Promise.all([message(), message(), message(), message()])
  stop()
  assert.is(wentOn.length, 12)
  assert.is(new Set(wentOn).size, 12, wentOn.join(' '))
})

test.run()
