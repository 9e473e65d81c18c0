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
  try {
    const result = await run(head, body)
    if (result instanceof Uint8Array) {
      writer.send(id, { result: null }, result)
      wipe(result)
    } else {
      writer.send(id, { result })
    }
  } catch (error) {
    writer.send(id, { failure: failureOf(error) } satisfies AnswerHead)
  } finally {
    wipe(body)
  }
}

async function run(head: RequestHead, body: Uint8Array): Promise<unknown> {
  if (head.op === 'load') {
    try {
      tokens = new TokenModule(head.module, head.libraryParameters)
    } catch (error) {
      whyNot = error
    }
  }
  if (!tokens) throw whyNot
  switch (head.op) {
    case 'load':
      return null
    case 'tokens': {
      const { tokens: told, error } = tokens.tokens()
      return { tokens: told, ...(error !== undefined && { failure: failureOf(error) }) } satisfies TokenList
    }
    case 'open':
      return await tokens.open(head.slot, head.sessions, head.login ? body : undefined)
    case 'key':
      return await tokens.session(head.slot, (session) => tokens!.key(session, head.query))
    case 'keys':
      return await tokens.session(head.slot, (session) => tokens!.keys(session))
    case 'generate':
      return tokens.generate(head.slot, head)
    case 'random':
      return await tokens.session(head.slot, (session) => tokens!.random(session, head.length))
    default:
      return await tokens.session(head.slot, (session) => tokens!.crypt(session, head, body))
  }
}

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
