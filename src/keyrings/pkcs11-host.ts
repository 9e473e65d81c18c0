/**
 * The program that holds a PKCS#11 module: a process of its own, started by pkcs11-process.ts, so that a module that
 * hangs, crashes or is shared with another addon can neither block, end nor disturb the application. Requests come on
 * file descriptor 3, and their end is the end of this process.
 */
import { Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import { wipe } from '../bytes'
import { TokenModule } from './pkcs11-module'
import {
  type AnswerHead,
  type HostFailure,
  type RequestHead,
  type TokenList,
  WireReader,
  WireWriter,
} from './pkcs11-wire'

// The threads in which slow tokens are called: as many as sessions that can be busy at once.
process.env.UV_THREADPOOL_SIZE = process.argv[2]

// A call that hangs cannot be ended, and would keep this process: then nobody is left to want it.
const WATCHDOG = `
  require('node:fs').readSync(4, Buffer.alloc(1))
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2000)
  process.kill(process.pid, 'SIGKILL')`

const socket = new Socket({ fd: 3, readable: true, writable: true })
const reader = new WireReader<RequestHead>()
const writer = new WireWriter(socket)
/** Requests that somebody waits for. */
const wanted = new Set<number>()
let tokens: TokenModule | undefined
let whyNot: unknown

new Worker(WATCHDOG, { eval: true, stdin: false }).unref()
// Ctrl-C goes to all processes of a terminal; when this one ends is up to the other.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})

socket.on('data', (chunk) => reader.push(chunk, (id, head, body) => void answer(id, head, body)))
socket.on('error', end)
socket.on('close', end)
socket.on('end', end)

async function answer(id: number, head: RequestHead, body: Uint8Array): Promise<void> {
  if (head.op === 'drop') {
    wanted.delete(id)
    return
  }
  wanted.add(id)
  try {
    const result = await run(id, head, body)
    if (result instanceof Uint8Array) {
      writer.send(id, { result: null }, result)
      wipe(result)
    } else {
      writer.send(id, { result })
    }
  } catch (error) {
    writer.send(id, { failure: failureOf(error) } satisfies AnswerHead)
  } finally {
    wanted.delete(id)
    wipe(body)
  }
}

async function run(id: number, head: Request, body: Uint8Array): Promise<unknown> {
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
      if (head.login && wanted.has(id)) module.logIn(session, body)
      return null
    }
    case 'generate':
      return module.generate(head.slot, head)
    default:
      return await module.session(head.slot, (session) => wanted.has(id) && inSession(module, session, head, body))
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

type Request = Exclude<RequestHead, { op: 'drop' }>
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
