import { setTimeout as sleep } from 'node:timers/promises'

/** How long an idle session beyond the first is kept, in milliseconds: other processes may be waiting for one. */
const IDLE = 1000
/** How often a session is asked for while the token has none to give, in milliseconds. */
const PAUSE = 20

/**
 * The sessions of one token: opened on demand, never more than `cap`, each used by one call at a time. The last one stays
 * open, for with it the login would end.
 */
export class SessionPool<Session = Buffer> {
  cap = Number.POSITIVE_INFINITY
  /** Opens a session that is not of the pool. */
  readonly open: (flags?: number) => Session
  readonly #close: (session: Session) => void
  readonly #all = new Set<Session>()
  readonly #idle: { readonly session: Session; readonly since: number }[] = []
  readonly #waiting: ((session: Session | undefined) => void)[] = []
  readonly #timer = setInterval(() => this.#closeIdle(), IDLE).unref()

  constructor(open: (flags?: number) => Session, close: (session: Session) => void) {
    this.open = open
    this.#close = close
  }

  /** A session to log in with: the state of the login is that of all sessions. */
  async first(): Promise<Session> {
    if (this.#all.size === 0) this.#release(await this.#acquire())
    const [session] = this.#all
    return session!
  }

  /**
   * Gives `use` a session, which is taken back in the end. One that saw an error is replaced, if it can be: what it is up
   * to is not known.
   */
  async use<T>(use: (session: Session) => T | Promise<T>): Promise<T> {
    const session = this.#idle.pop()?.session ?? (await this.#acquire())
    let good = false
    try {
      const result = await use(session)
      good = true
      return result
    } finally {
      if (good) this.#release(session)
      else this.#discard(session)
    }
  }

  close(): void {
    clearInterval(this.#timer)
    for (const session of this.#all) this.#close(session)
  }

  async #acquire(): Promise<Session> {
    for (;;) {
      const idle = this.#idle.pop()
      if (idle) return idle.session
      if (this.#all.size < this.cap) {
        try {
          return this.#openOne()
        } catch (error) {
          if (nameOf(error) !== 'CKR_SESSION_COUNT') throw error
        }
      }
      // Without a session of our own, others have all of them.
      if (this.#all.size === 0) await sleep(PAUSE)
      else {
        const session = await new Promise<Session | undefined>((resolve) => this.#waiting.push(resolve))
        if (session) return session
      }
    }
  }

  #openOne(): Session {
    const session = this.open()
    this.#all.add(session)
    return session
  }

  #release(session: Session): void {
    const next = this.#waiting.shift()
    if (next) next(session)
    else this.#idle.push({ session, since: performance.now() })
  }

  #discard(session: Session): void {
    if (this.#all.size === 1) {
      try {
        this.#release(this.#openOne())
      } catch {
        // Better this one than none: the login would end, and those who wait would wait for ever.
        this.#release(session)
        return
      }
    }
    this.#all.delete(session)
    this.#close(session)
    this.#waiting.shift()?.(undefined)
  }

  #closeIdle(): void {
    const before = performance.now() - IDLE
    while (this.#all.size > 1 && this.#idle[0] && this.#idle[0].since < before) {
      const { session } = this.#idle.shift()!
      this.#all.delete(session)
      this.#close(session)
    }
  }
}

/** The name of a return value, such as `CKR_SESSION_COUNT`. */
export function nameOf(error: unknown): string {
  return error instanceof Error ? error.message : ''
}

/** Where an error changes nothing. */
export function attempt(action: () => void): void {
  try {
    action()
  } catch {
    // What could not be done is of no more consequence.
  }
}
