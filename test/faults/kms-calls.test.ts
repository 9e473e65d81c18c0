/** Calls to KMS through the AWS SDK, over HTTP that fails (F-01 to F-03). */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { KmsKeyring, SealwaxError } from '../../src/index'
import { until } from '../support/clock'
import type { FaultRule } from '../support/fault-proxy'
import {
  awsError,
  DEADLINE,
  FORMS,
  type Form,
  JSON_TYPE,
  KmsWorld,
  open,
  plaintextOf,
  pooled,
  SEEDS,
  SLACK,
  seal,
  settled,
  withProxies,
} from './kms-world'
import { type Attempt, FaultReport, full } from './report'

const OPERATIONS = ['GenerateDataKey', 'Encrypt', 'Decrypt'] as const
type Operation = (typeof OPERATIONS)[number]

interface Cell {
  readonly name: string
  readonly operations?: readonly Operation[]
  readonly rule: Omit<FaultRule, 'match'>
  readonly expect: 'right' | 'refused' | 'either'
  /** Requests of the operation, at most. Default: the SDK's three. */
  readonly calls?: number
  /** The call is given up: its connection must be closed although the client lives on. */
  readonly givenUp?: boolean
  /** The proxy is not there any more. */
  readonly gone?: boolean
}

const SERVER_FAULTS = [
  ['ThrottlingException', 400],
  ['TooManyRequestsException', 429],
  ['KMSInternalException', 500],
  ['ServiceUnavailableException', 503],
] as const
const REFUSALS = ['AccessDeniedException', 'NotFoundException', 'DisabledException', 'InvalidCiphertextException']
const TIMES = full ? [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] : [2, 3]

type Fields = Record<string, unknown>
const json = (change: (fields: Fields) => unknown) => (body: Buffer) =>
  JSON.stringify(change(JSON.parse(body.toString()) as Fields))
const bytes = (length: number) => Buffer.alloc(length, 7).toString('base64')
const other = (KeyId: unknown) => String(KeyId).replace(/.{8}$/, '00000000')

const PLAINTEXT: readonly Operation[] = ['GenerateDataKey', 'Decrypt']
const BLOB: readonly Operation[] = ['GenerateDataKey', 'Encrypt']
const BODIES: [name: string, body: FaultRule['body'], operations?: readonly Operation[]][] = [
  ['a page', '<html><body>502 Bad Gateway</body></html>'],
  ['nothing', ''],
  ['an empty object', '{}'],
  ['a list', '[]'],
  ['null', 'null'],
  ['bytes', Buffer.alloc(300, 0xff)],
  ['10 MiB of space', Buffer.alloc(10 << 20, ' ')],
  ['10 MiB beside it', json((fields) => ({ ...fields, more: 'x'.repeat(10 << 20) }))],
  ['64 KiB and more beside it', json((fields) => ({ ...fields, more: 'x'.repeat(65_536) }))],
  ['all in __proto__', (body) => `{"__proto__":${body}}`],
  ['nested deep', '['.repeat(30_000) + ']'.repeat(30_000)],
  ['another KeyId', json((fields) => ({ ...fields, KeyId: other(fields.KeyId) }))],
  ['an alias as KeyId', json((fields) => ({ ...fields, KeyId: 'alias/name' }))],
  ['a number as KeyId', json((fields) => ({ ...fields, KeyId: 5 }))],
  ['no KeyId', json(({ KeyId: _, ...fields }) => fields)],
  ['cut', (body) => body.subarray(0, body.length >> 1)],
  ...[0, 16, 31, 33, 2 ** 20].map((length): (typeof BODIES)[number] => [
    `a key of ${length} bytes`,
    json((fields) => ({ ...fields, Plaintext: bytes(length) })),
    PLAINTEXT,
  ]),
  ['no key', json(({ Plaintext: _, ...fields }) => fields), PLAINTEXT],
  ['a key of zeros', json((fields) => ({ ...fields, Plaintext: Buffer.alloc(32).toString('base64') })), PLAINTEXT],
  ['a number for a key', json((fields) => ({ ...fields, Plaintext: 5 })), PLAINTEXT],
  ['no blob', json(({ CiphertextBlob: _, ...fields }) => fields), BLOB],
  ['an empty blob', json((fields) => ({ ...fields, CiphertextBlob: '' })), BLOB],
  // Which key came with which blob is for TLS to say; what is opened with another key is refused by the message itself.
  ['the key of another message', json((fields) => ({ ...fields, Plaintext: bytes(32) })), ['Decrypt']],
]

const CELLS: readonly Cell[] = [
  ...SERVER_FAULTS.flatMap(([type, status]) =>
    TIMES.map((first): Cell => {
      const expect = first <= 2 ? 'right' : 'refused'
      return { name: `F-01 ${type} ${first} times`, rule: { ...awsError(type, status), when: { first } }, expect }
    }),
  ),
  ...REFUSALS.map(
    (type): Cell => ({ name: `F-01 ${type}`, rule: { ...awsError(type, 400) }, expect: 'refused', calls: 1 }),
  ),
  { name: 'F-02 stall', rule: { fault: 'stall' }, expect: 'refused', calls: 1, givenUp: true },
  { name: 'F-02 half-open', rule: { fault: 'half-open' }, expect: 'refused', calls: 1, givenUp: true },
  { name: 'F-02 half-open at once', rule: { fault: 'half-open', at: 0 }, expect: 'refused', calls: 1, givenUp: true },
  { name: 'F-02 refuse', rule: { fault: 'refuse', ms: Infinity }, expect: 'refused', gone: true },
  { name: 'F-02 refuse for a while', rule: { fault: 'refuse', ms: 30, when: { first: 1 } }, expect: 'either' },
  { name: 'F-02 reset once', rule: { fault: 'reset', when: { first: 1 } }, expect: 'right' },
  { name: 'F-02 reset', rule: { fault: 'reset' }, expect: 'refused' },
  { name: 'F-02 lost answer once', rule: { fault: 'lost-answer', when: { first: 1 } }, expect: 'right' },
  { name: 'F-02 lost answers', rule: { fault: 'lost-answer' }, expect: 'refused' },
  { name: 'F-02 delay 100 ms', rule: { fault: 'delay', ms: 100 }, expect: 'right', calls: 1 },
  {
    name: 'F-02 delay past the deadline',
    rule: { fault: 'delay', ms: 2 * DEADLINE },
    expect: 'refused',
    givenUp: true,
  },
  { name: 'F-02 drip', rule: { fault: 'drip', step: 16 }, expect: 'right', calls: 1 },
  ...(['reset', 'fin', 'short'] as const).map(
    (how): Cell => ({ name: `F-03 truncate, ${how}`, rule: { fault: 'truncate', how }, expect: 'refused' }),
  ),
  // In a new data key every change is as good as the key itself: TLS keeps changes away.
  { name: 'F-03 corrupt', rule: { fault: 'corrupt' }, expect: 'either', operations: ['Decrypt'] },
  ...BODIES.map(([name, body, operations = OPERATIONS]): Cell => {
    const rule: Cell['rule'] = { fault: 'swap', headers: JSON_TYPE, ...(body !== undefined && { body }) }
    return { name: `F-03 ${name}`, rule, expect: 'refused', operations, calls: 1 }
  }),
]

const report = new FaultReport()
let world: KmsWorld

test('faults of calls to KMS', async () => {
  world = await KmsWorld.start()
  const names = new Set<string>()
  // Those with a deadline go first: it must not pass while others keep the machine busy.
  const [hasty, tasks]: (() => Promise<void>)[][] = [[], []]
  let drawn = 0
  for (const seed of SEEDS) {
    const plaintext = plaintextOf(seed)
    const message = await seal('one-shot', world.keyring(), plaintext)
    for (const cell of CELLS) {
      for (const operation of cell.operations ?? OPERATIONS) {
        const name = `${cell.name}, ${operation}`
        names.add(name)
        for (const [n, form] of FORMS.entries()) {
          // The quick set takes turns.
          if (!full && [1, 2].includes(drawn++ % 4)) continue
          const attempt = () => inject(cell, operation, seed, form, plaintext, message)
          const queue = cell.givenUp ? hasty! : tasks!
          queue.push(() => report.inject(name, seed, n, attempt))
        }
      }
    }
  }
  await pooled(hasty!)
  await pooled(tasks!)
  await world.close()
  report.check([...names])
})

async function inject(
  { rule, expect, calls = 3, givenUp = false, gone = false }: Cell,
  operation: Operation,
  seed: number,
  form: Form,
  plaintext: Buffer,
  message: Buffer,
): Promise<Attempt> {
  const match = { header: { 'x-amz-target': new RegExp(`\\.${operation}$`) } }
  return await withProxies(world, seed, [[{ ...rule, match }]], async ([proxy], [client]) => {
    // The SDK's back-off has its time; what has to be given up need not be waited for.
    const timeout = givenUp ? DEADLINE : 30_000
    const [generatorKeyId, ...keyIds] = world.keys
    const keys = operation === 'Decrypt' ? { keyIds: [generatorKeyId!] } : { generatorKeyId, keyIds }
    const run = (deadline = 30_000) => {
      const keyring = new KmsKeyring({ ...keys, clientProvider: () => client!, timeout: deadline })
      return operation === 'Decrypt' ? open(form, keyring, message) : seal(form, keyring, plaintext)
    }
    const check = async (result: Buffer) => {
      if (operation !== 'Decrypt') return await world.checkMessage(result, plaintext)
      assert.ok(result.equals(plaintext), 'another plaintext')
    }

    const start = performance.now()
    const result = await settled(run(timeout))
    const took = performance.now() - start
    const { injected, requests } = proxy!.stats()
    assert.ok(took < timeout + SLACK, `took ${took} ms`)
    const asked = proxy!.seen.filter(({ headers }) =>
      match.header['x-amz-target'].test(String(headers['x-amz-target'])),
    )
    assert.ok(asked.length <= calls, `${asked.length} requests`)
    const outcome = result instanceof SealwaxError ? 'refused' : 'right'
    if (expect !== 'either') assert.is(outcome, expect, String(result).slice(0, 300))
    if (!(result instanceof SealwaxError)) await check(result)
    if (givenUp) await until(() => proxy!.sockets === 0)
    if (!gone) {
      proxy!.setRules([])
      const again = await settled(run())
      if (again instanceof SealwaxError) throw again
      await check(again)
    }
    return { outcome, injected, requests }
  })
}

test.run()
