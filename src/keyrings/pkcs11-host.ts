/**
 * The program that holds a PKCS#11 module: a process of its own, started by pkcs11-process.ts, so that a module that
 * hangs, crashes or is shared with another addon can neither block, end nor disturb the application. Requests come on
 * file descriptor 3, and their end is the end of this process.
 */

import { Socket } from 'node:net'
import { types } from 'node:util'
import { Worker } from 'node:worker_threads'
import { wipe } from '../bytes'
import { TokenModule } from './pkcs11-module'
import {
  type AnswerHead,
  type HostFailure,
  type Patience,
  type RequestHead,
  type TokenList,
  WireReader,
  WireWriter,
} from './pkcs11-wire'

/** What has waited longer for a session, in parts of its time, is not begun: it would have no use. */
const PATIENCE = 0.75
const LATE = Symbol()

// The threads in which slow tokens are called: as many as sessions that can be busy at once.
process.env.UV_THREADPOOL_SIZE = process.argv[2]

// A call that hangs cannot be ended, and would keep this process: then nobody is left to want it.
const WATCHDOG = `
  require('node:fs').readSync(4, Buffer.alloc(1))
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2000)
  process.kill(process.pid, 'SIGKILL')`

const socket = new Socket({ fd: 3, readable: true, writable: true })
const reader = new WireReader<Request>()
const writer = new WireWriter(socket)
let tokens: TokenModule | undefined
let whyNot: unknown

new Worker(WATCHDOG, { eval: true, stdin: false }).unref()
// Ctrl-C goes to all processes of a terminal; when this one ends is up to the other.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})

socket.on('data', (chunk) => reader.push(chunk, (id, head, body) => void answer(id, head, body)))
socket.on('error', end)
socket.on('close', end)
socket.on('end', end)

async function answer(id: number, head: Request, body: Uint8Array): Promise<void> {
  try {
    const result = await run(id, head, body)
    if (result === LATE) {
      writer.send(id, { failure: { late: true } })
    } else if (types.isUint8Array(result)) {
      writer.send(id, { result: null }, result)
      wipe(result)
    } else {
      writer.send(id, { result })
    }
  } catch (error) {
    writer.send(id, { failure: failureOf(error) } satisfies AnswerHead)
  } finally {
    // What a login has come to must not wait behind a call that hangs.
    if (head.op === 'open') writer.flush()
    wipe(body)
  }
}

async function run(id: number, head: Request, body: Uint8Array): Promise<unknown> {
  const until = performance.now() + PATIENCE * (head.within ?? Number.POSITIVE_INFINITY)
  const isLate = () => performance.now() > until
  if (head.op === 'load') {
    try {
      tokens = new TokenModule(head.module, head.libraryParameters)
    } catch (error) {
      whyNot = error
    }
  }
  if (!tokens) throw whyNot
  const module = tokens
  switch (head.op) {
    case 'load':
      return null
    case 'tokens': {
      const { tokens: told, error } = module.tokens()
      return { tokens: told, ...(error !== undefined && { failure: failureOf(error) }) } satisfies TokenList
    }
    case 'open': {
      const session = await module.open(head.slot, head.sessions)
      if (isLate()) return LATE
      if (head.login) {
        writer.send(id, { begun: true })
        writer.flush()
        module.logIn(session, body)
      }
      return null
    }
    case 'generate':
      return module.generate(head.slot, head)
    default:
      return await module.session(head.slot, (session) => (isLate() ? LATE : inSession(module, session, head, body)))
  }
}

function inSession(module: TokenModule, session: Buffer, head: SessionRequest, body: Uint8Array): unknown {
  switch (head.op) {
    case 'key':
      return module.key(session, head.query)
    case 'keys':
      return module.keys(session)
    case 'random':
      return module.random(session, head.length)
    default:
      return module.crypt(session, head, body)
  }
}

type Request = RequestHead & Patience
type SessionRequest = Extract<RequestHead, { op: 'key' | 'keys' | 'random' | 'encrypt' | 'decrypt' }>

/** Names and numbers only: what else an error says may quote what it was given. */
function failureOf(error: unknown): HostFailure {
  const { message = '', code, method = '' } = (error ?? {}) as { message?: string; code?: unknown; method?: string }
  if (typeof code === 'number' && /^CKR_\w+$/.test(message)) return { ckr: message, value: code, call: method }
  return { problem: message.split('\n', 1)[0]! }
}

function end(): void {
  tokens?.close()
  process.exit()
}
