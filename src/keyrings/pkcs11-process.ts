import { type ChildProcess, fork } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { extname, join } from 'node:path'
import { wipe } from '../bytes'
import { hostEnded, noAnswer, noHost, type TokenError, tokenError } from './pkcs11-errors'
import { type AnswerHead, type Patience, type RequestHead, WireReader, WireWriter } from './pkcs11-wire'

export interface ModuleInput {
  /** Path of the module: `/usr/lib/softhsm/libsofthsm2.so`. */
  readonly module: string
  /** What C_Initialize is given besides; only NSS wants it. */
  readonly libraryParameters?: string | undefined
}

export interface Answer {
  readonly result: unknown
  /** The receiver's to wipe. */
  readonly body: Uint8Array
}

/**
 * The host process of a module: all tokens of this thread share one. It neither keeps this process alive when idle, nor
 * outlives it; a call that takes too long ends it.
 */
export class ModuleHost {
  readonly #child: ChildProcess
  /** One for requests and one for the watchdog; none where the process could not be started. */
  readonly #ends: readonly Socket[] = []
  readonly #writer: WireWriter | undefined
  readonly #reader = new WireReader<AnswerHead>()
  readonly #calls = new Map<number, Call>()
  readonly #late = new Map<number, NodeJS.Timeout>()
  readonly #key: string
  readonly #exited: Promise<void>
  readonly #users = new Set<object>()
  #lastId = 0
  #answers = 0
  #retired = false
  #whyEnded: TokenError | undefined

  /** The current host of the module, started where there is none. */
  static of(input: ModuleInput, sessions: number): ModuleHost {
    const key = JSON.stringify([input.module, input.libraryParameters])
    let host = hosts.get(key)
    if (!host) {
      // A single executable application would be started once more in its place.
      if (!existsSync(program)) throw noHost(program)
      host = new ModuleHost(key, input, sessions)
      hosts.set(key, host)
    }
    return host
  }

  private constructor(key: string, { module, libraryParameters }: ModuleInput, sessions: number) {
    this.#key = key
    // The application's own flags and preloaded modules have no business where the PIN is.
    // As bundlers do not read it: they would look for a package that only sources need.
    const { resolve } = createRequire(__filename)
    const execArgv = program.endsWith('.ts') ? ['--require', resolve('tsx/cjs')] : []
    const env = { ...process.env, NODE_OPTIONS: undefined }
    const stdio = ['ignore', 'ignore', 'ignore', 'pipe', 'pipe', 'ipc'] as const
    this.#child = fork(program, [String(sessions)], { execArgv, env, stdio: [...stdio] })
    this.#exited = new Promise((resolve) => {
      const ended = (how: string) => {
        this.#ended(hostEnded(how))
        resolve()
      }
      this.#child
        .on('error', (error) => ended(`failed: ${error.message}`))
        .once('exit', (code, signal) => ended(signal ? `ended by ${signal}` : `ended with code ${code}`))
    })
    // Then the error comes next, and where files were lacking there are no sockets.
    if (this.#child.pid === undefined) return
    this.#child.disconnect()
    const socket = this.#child.stdio[3] as Socket
    this.#ends = [socket, this.#child.stdio[4] as Socket]
    this.#writer = new WireWriter(socket)
    socket.on('data', (chunk) => this.#reader.push(chunk, (...message) => this.#settle(...message)))
    // How it ended is told by the process itself.
    for (const end of this.#ends) end.on('error', () => {}).unref()
    this.#child.unref()
    const head = { op: 'load', module, ...(libraryParameters !== undefined && { libraryParameters }) } as const
    this.#send(head, []).catch((error: TokenError) => this.#ended(error))
  }

  /**
   * One request. Bodies are copied. Throws {@link TokenError}. Where a call has had all of its time and nothing was
   * answered, the host is stuck, which cannot be helped but by ending it; the other calls then fail as lost. Where others
   * were answered, the call alone may be: that shows when there still is no answer.
   */
  async call(
    head: RequestHead,
    body: readonly Uint8Array[],
    { timeout, deadline, again }: Limit,
    begun?: () => void,
  ): Promise<Answer> {
    const answers = this.#answers
    const within = Math.max(1, Math.ceil(deadline - performance.now()))
    let timer: NodeJS.Timeout | undefined
    try {
      return await this.#send(
        { ...head, within },
        body,
        (id, reject) => {
          const late = () => {
            this.#calls.delete(id)
            reject(noAnswer(timeout))
            if (this.#answers === answers && !again) this.#kill()
            else this.#late.set(id, setTimeout(() => this.#kill(), timeout).unref())
          }
          timer = setTimeout(late, within)
        },
        begun,
      )
    } finally {
      clearTimeout(timer)
    }
  }

  /** No new calls: the next ask for this module starts another host. This one ends when its last call has. */
  retire(): void {
    this.#retired = true
    this.replace()
    if (this.#calls.size === 0) this.#end()
  }

  /** The next ask for this module starts another host; who uses this one may go on. */
  replace(): void {
    if (hosts.get(this.#key) === this) hosts.delete(this.#key)
  }

  get retired(): boolean {
    return this.#retired
  }

  retain(user: object): void {
    this.#users.add(user)
  }

  /** Ends the host with its last user; settles when the process is gone. */
  async release(user: object): Promise<void> {
    this.#users.delete(user)
    if (this.#users.size > 0) return
    this.retire()
    this.#child.ref()
    await this.#exited
  }

  async #send(
    head: RequestHead & Patience,
    body: readonly Uint8Array[],
    start?: (id: number, reject: (error: TokenError) => void) => void,
    begun?: () => void,
  ): Promise<Answer> {
    if (this.#whyEnded) throw this.#whyEnded
    return await new Promise((resolve, reject) => {
      const id = ++this.#lastId
      this.#calls.set(id, { resolve, reject, begun })
      start?.(id, reject)
      this.#writer?.send(id, head, ...body)
    })
  }

  #settle(id: number, head: AnswerHead, body: Uint8Array): void {
    const call = this.#calls.get(id)
    if ('begun' in head) {
      call?.begun?.()
      return
    }
    this.#calls.delete(id)
    this.#answers++
    clearTimeout(this.#late.get(id))
    this.#late.delete(id)
    if (!call) wipe(body)
    else if ('failure' in head) call.reject(tokenError(head.failure))
    else call.resolve({ result: head.result, body })
    if (this.#retired && this.#calls.size === 0) this.#end()
  }

  #end(): void {
    // The host reads the one until its end; the other tells its watchdog.
    for (const end of this.#ends) end.end()
  }

  #kill(): void {
    this.retire()
    this.#child.kill('SIGKILL')
  }

  #ended(error: TokenError): void {
    this.#whyEnded ??= error
    this.retire()
    const calls = [...this.#calls.values()]
    this.#calls.clear()
    for (const { reject } of calls) reject(error)
    this.#end()
  }
}

interface Call {
  resolve(answer: Answer): void
  reject(error: TokenError): void
  begun?: (() => void) | undefined
}

export interface Limit {
  /** Milliseconds, and what is left of them on the clock of `performance.now()`. */
  readonly timeout: number
  readonly deadline: number
  /** Whether this is the second try, which has not all of the time. */
  readonly again: boolean
}

let program = join(__dirname, `pkcs11-host${extname(__filename)}`)
const hosts = new Map<string, ModuleHost>()

/** @internal For tests: what is started as a host from now on. */
export function useHostProgram(file: string): void {
  program = file
}
