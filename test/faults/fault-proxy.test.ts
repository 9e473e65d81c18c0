import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { until } from '../support/clock'
import { rejectionOf } from '../support/expect'
import { type Fault, type FaultRule, startFaultProxy } from '../support/fault-proxy'
import { seeded, shuffled } from '../support/random'

async function main(): Promise<void> {
  let served: { url: string; body: Buffer; complete: boolean }[] = []
  const origin = createServer(async (request, response) => {
    const entry = { url: request.url!, body: Buffer.alloc(0), complete: true }
    served.push(entry)
    request.on('error', () => {})
    entry.body = await buffer(request).catch(() => {
      entry.complete = false
      return Buffer.alloc(0)
    })
    response.writeHead(200, { etag: '"true"' }).end(`answer to ${entry.body.length} bytes`)
  })
  await new Promise<void>((resolve) => void origin.listen(0, '127.0.0.1', resolve))
  const proxy = await startFaultProxy({ origin: `http://127.0.0.1:${(origin.address() as AddressInfo).port}` })
  const put = (path = '/a?partNumber=3&uploadId=1', body = 'x'.repeat(1000)) =>
    fetch(`${proxy.endpoint}${path}`, { method: 'PUT', body, signal: AbortSignal.timeout(5000) })
  const inject = (...rules: FaultRule[]) => {
    proxy.setRules(rules)
    served = []
  }
  const injected = (fault: Fault) => assert.equal(proxy.stats().faults, { [fault]: 1 })

  test('what no rule is for passes, and is written down', async () => {
    inject({ fault: 'reset', match: { query: 'partNumber=4&' } })
    const answer = await put()
    assert.is(await answer.text(), 'answer to 1000 bytes')
    assert.is(answer.headers.get('etag'), '"true"')
    assert.equal(proxy.stats(), { requests: 1, faults: {}, injected: 0 })
    assert.is(proxy.seen[0]?.length, 1000)
    assert.is(proxy.seen[0]?.fault, undefined)
  })

  test('rules are for some requests, and some of those', async () => {
    const match = { method: 'PUT', path: /^\/a/, query: 'partNumber=3&', header: { 'content-length': '1000' } }
    inject(
      { fault: 'status', match, when: { nth: [2, 4] } },
      { fault: 'status', match, status: 500, when: { first: 1 } },
    )
    const statuses = []
    for (const path of ['/b?partNumber=3&', '/a?partNumber=3&', '/a?partNumber=3&', '/a?partNumber=3&']) {
      statuses.push((await put(path)).status)
    }
    assert.equal(statuses, [200, 500, 503, 200])
    assert.is(proxy.stats().injected, 2)
    assert.is(served.length, 2)
  })

  test('errors are answered without the origin', async () => {
    inject({ fault: 'error-200' })
    const answer = await put()
    assert.is(answer.status, 200)
    assert.match(await answer.text(), /<Error><Code>InternalError/)
    assert.is(served.length, 0)
    injected('error-200')
  })

  test('connections break before, within and after a request', async () => {
    for (const [fault, at] of [
      ['reset', 0],
      ['reset', 0.5],
      ['reset', 1],
      ['cut-up', 0.5],
      ['lost-answer', 0],
      ['stall', 0],
    ] as const) {
      inject({ fault, at })
      assert.instance(await rejectionOf(put()), Error, fault)
      injected(fault)
      const reached = { reset: 0, 'cut-up': 1, 'lost-answer': 1, stall: 0 }[fault]
      await until(() => served.length === reached)
      if (fault === 'lost-answer') assert.is(served[0]!.body.length, 1000)
      if (fault === 'cut-up') await until(() => !served[0]!.complete)
    }
  })

  test('answers are cut, changed and late', async () => {
    const of = async (rule: FaultRule) => {
      inject(rule)
      const answer = await put()
      const text = await answer.text()
      injected(rule.fault)
      return { text, etag: answer.headers.get('etag') }
    }
    const text = 'answer to 1000 bytes'
    assert.instance(await rejectionOf(of({ fault: 'truncate' })), Error)
    assert.instance(await rejectionOf(of({ fault: 'truncate', how: 'fin' })), Error)
    assert.instance(await rejectionOf(of({ fault: 'half-open' })), Error)
    assert.is((await of({ fault: 'truncate', how: 'short', at: -5 })).text, 'answer to 1000 ')
    assert.is((await of({ fault: 'swap', body: (body) => `no ${body}` })).text, `no ${text}`)
    assert.is((await of({ fault: 'drip', step: 7 })).text, text)
    assert.is((await of({ fault: 'delay', ms: 5 })).text, text)
    assert.is.not((await of({ fault: 'wrong-etag' })).etag, '"true"')
    const corrupt = (await of({ fault: 'corrupt', at: 2 })).text
    assert.is(corrupt.slice(0, 2) + corrupt.slice(3), text.replace('s', ''))
    assert.is.not(corrupt, text)
  })

  test('a refused connection is open again later', async () => {
    inject({ fault: 'refuse', ms: 1000, when: { first: 1 } })
    assert.instance(await rejectionOf(put()), Error)
    assert.instance(await rejectionOf(put()), Error)
    let answer: Response | undefined
    while (!answer) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      answer = await put().catch(() => undefined)
    }
    assert.is(answer.status, 200)
    injected('refuse')
  })

  test('what is drawn depends on the seed alone', () => {
    const draw = (seed: number) => shuffled([1, 2, 3, 4, 5, 6, 7, 8], seeded(seed))
    assert.equal(draw(1), draw(1))
    assert.not.equal(draw(1), draw(2))
    assert.equal(draw(3).sort(), [1, 2, 3, 4, 5, 6, 7, 8])
  })

  test('the servers end', async () => {
    await proxy.close()
    origin.closeAllConnections()
    await new Promise((resolve) => origin.close(resolve))
  })
  test.run()
}

void main()
