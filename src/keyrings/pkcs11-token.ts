import { utf8, wipe } from '../bytes'
import { SealwaxError } from '../errors'
import { checkBoolean, checkBytes, checkInteger, checkOneOf, checkOptions, checkString } from '../options'
import { TokenError, tokenError, traitsOf } from './pkcs11-errors'
import type { KeyChoice } from './pkcs11-key'
import { checkPinSource, type PinSource, type ReadPin, readPinWithin } from './pkcs11-pin'
import { type Limit, ModuleHost, type ModuleInput } from './pkcs11-process'
import { checkTokenSelector, fits, type TokenSelector, theOne } from './pkcs11-selector'
import { type Pkcs11Uri, parsePkcs11Uri, tokenQueryOf } from './pkcs11-uri'
import type { CryptHead, KeyDescription, KeyKind, TokenDescription, TokenList, TokenQuery } from './pkcs11-wire'

export interface Pkcs11TokenInput {
  /** Path of the token's PKCS#11 module, a shared library; or `module-path` of `uri`. */
  module?: string
  /** What the module is initialized with besides; only NSS wants it. */
  libraryParameters?: string
  /** The token by its label, or by more than that. It must be one only. Default: the only token there is. */
  token?: string | TokenSelector
  /** The token, and its module, as a PKCS#11 URI (RFC 7512) in place of `token`; a `pin-source=file:…` is `pin`. */
  uri?: string
  /**
   * Where the user PIN comes from. Without it there is no login, and private keys cannot be seen, unless another
   * `Pkcs11Token` of this thread has logged in to the same token: a login is that of all.
   */
  pin?: PinSource
  /** How many sessions may be open at once, for all that use the token in this thread. Default: 8. */
  sessions?: number
  /** For modules that have no read-only sessions. Default: `false`. */
  readWriteSessions?: boolean
  /** How long one operation may take, or `pin`, in milliseconds, the wait for a session included. Default: 30,000. */
  timeout?: number
}

export interface GenerateKeyInput {
  type: 'aes' | 'rsa'
  /** AES: 128, 192, 256 (the default). RSA: 2048 to 8192, 3072 by default. */
  bits?: number
  label: string
  /** CKA_ID. Default: the bytes of the label. */
  id?: Uint8Array
}

/** A key of a token, as far as the token tells. */
export type Pkcs11KeyInfo = Omit<KeyDescription, 'handle'> & { readonly kind: KeyKind }

const OPTIONS = [
  'module',
  'libraryParameters',
  'token',
  'uri',
  'pin',
  'sessions',
  'readWriteSessions',
  'timeout',
] as const
const MAX_SESSIONS = 64
const DEFAULT_SESSIONS = 8
const DEFAULT_TIMEOUT = 30_000
/** Tokens lock after three wrong PINs or more. */
const MAX_UNANSWERED = 2
/** From this length on, random bytes that are all zeros were not drawn. */
const MIN_NOT_ZERO = 16

/**
 * A token: an HSM, a smart card, a software token. Nothing is opened before the first use. The module runs in a process of
 * its own, which ends with {@link close} or with this process.
 *
 * After a PIN that the token did not take, or two logins in a row that it did not answer, every operation is refused,
 * without asking the token again, until {@link tryPinAgain}: tokens lock after a few wrong PINs.
 *
 * @example
 * const token = new Pkcs11Token({ module: '/usr/lib/softhsm/libsofthsm2.so', token: 'production', pin: { file: '/run/secrets/pin' } })
 */
export class Pkcs11Token {
  readonly #input: ModuleInput
  readonly #query: TokenQuery
  readonly #readPin: ReadPin | undefined
  readonly #sessions: { readonly cap: number; readonly readWrite: boolean }
  readonly #timeout: number
  #opened: OpenedToken | undefined
  /** Hosts of this token that may not have ended yet. */
  readonly #hosts = new Set<ModuleHost>()
  #closed = false

  constructor(input: Pkcs11TokenInput) {
    const {
      module,
      libraryParameters,
      token,
      uri,
      pin,
      sessions = DEFAULT_SESSIONS,
      readWriteSessions = false,
      timeout,
    } = checkOptions(input, OPTIONS, 'Pkcs11Token')
    const parsed = uri === undefined ? {} : parsePkcs11Uri(checkString(uri, 'uri'))
    if (uri !== undefined && token !== undefined)
      throw new TypeError('either "token" or "uri" names the token, not both')
    const path = checkString(module ?? parsed['module-path'], 'module')
    if (libraryParameters !== undefined) checkString(libraryParameters, 'libraryParameters')
    this.#input = { module: path, libraryParameters }
    this.#query = uri === undefined ? checkTokenSelector(token) : tokenQueryOf(parsed)
    const source = pin ?? pinSourceOf(parsed)
    this.#readPin = source && checkPinSource(source)
    const cap = checkInteger(sessions, 'sessions', 1, MAX_SESSIONS)
    this.#sessions = { cap, readWrite: checkBoolean(readWriteSessions, 'readWriteSessions') }
    this.#timeout = checkInteger(timeout ?? DEFAULT_TIMEOUT, 'timeout', 1, 2 ** 31 - 1)
    Object.freeze(this.#input)
  }

  /** All tokens of a module that tell of themselves, without logging in. Throws where there are none for an error. */
  static async list(
    input: Pick<Pkcs11TokenInput, 'module' | 'libraryParameters' | 'timeout'>,
  ): Promise<TokenDescription[]> {
    const { module, libraryParameters, timeout } = checkOptions(
      input,
      ['module', 'libraryParameters', 'timeout'],
      'list',
    )
    const path = checkString(module, 'module')
    const limit = limitOf(checkInteger(timeout ?? DEFAULT_TIMEOUT, 'timeout', 1, 2 ** 31 - 1))
    // Tokens may come to share it.
    const host = ModuleHost.of({ module: path, libraryParameters }, DEFAULT_SESSIONS)
    host.retain(limit)
    try {
      const { tokens, failure } = (await host.call({ op: 'tokens' }, [], limit)).result as TokenList
      if (failure && tokens.length === 0) throw tokenError(failure)
      return tokens
    } finally {
      await host.release(limit)
    }
  }

  /** What the token tells of itself. Logs in. */
  async info(): Promise<TokenDescription> {
    return await this.#use(async ({ token }) => await token)
  }

  /** The AES and RSA keys of the token. */
  async keys(): Promise<Pkcs11KeyInfo[]> {
    const { result } = await this.#use(
      async ({ host, slot }, limit) => await host.call({ op: 'keys', slot }, [], limit),
    )
    return (result as (KeyDescription & { kind: KeyKind })[]).map(({ handle: _, ...key }) => key)
  }

  /** Random bytes of the token's generator, in memory of their own; at most 64 KiB. */
  async randomBytes(length: number): Promise<Uint8Array> {
    checkInteger(length, 'length', 1, 0x10000)
    const { body } = await this.#use(
      async ({ host, slot }, limit) => await host.call({ op: 'random', slot, length }, [], limit),
    )
    if (body.length === length && (length < MIN_NOT_ZERO || body.some((byte) => byte !== 0))) return body
    wipe(body)
    throw new TokenError('ERR_KEY_SERVICE', `the PKCS#11 token did not give ${length} random bytes`)
  }

  /**
   * Makes a key in the token that cannot leave it. Refused where a key has the label already; what another process makes
   * meanwhile is not seen.
   */
  async generateKey(input: GenerateKeyInput): Promise<Pkcs11KeyInfo> {
    const { type, label, bits, id } = checkOptions(input, ['type', 'label', 'bits', 'id'], 'generateKey')
    checkOneOf(type, 'type', ['aes', 'rsa'])
    const length = bits ?? (type === 'aes' ? 256 : 3072)
    if (type === 'aes') checkOneOf(length, 'bits', [128, 192, 256])
    else checkInteger(length, 'bits', 2048, 8192)
    const name = utf8(checkString(label, 'label'))
    const hex = Buffer.from(id ? checkBytes(id, 'id') : name).toString('hex')
    const head = { op: 'generate', kind: type, bits: length, label, id: hex } as const
    // Not tried again where the key may be there: its label would be called another's.
    const { result } = await this.#use(
      async ({ host, slot }, limit) => await host.call({ ...head, slot }, [], limit),
      ({ call }) => /^C_(Open|Find|Generate)/.test(call),
    )
    const { handle: _, ...key } = result as KeyDescription
    return { kind: type === 'aes' ? 'aes' : 'rsa-private', ...key }
  }

  /**
   * After a PIN that was refused, or not answered: the next operation asks for the PIN, and logs in with it even if it is
   * the token's last try.
   */
  tryPinAgain(): void {
    for (const login of logins.values()) {
      if (login.module !== this.#input.module || !fits(login.token, this.#query)) continue
      login.refused = undefined
      login.unanswered = 0
      login.insist = true
    }
  }

  /** Closes the sessions and ends the process of the module, unless other tokens of it are in use. */
  async close(): Promise<void> {
    this.#closed = true
    this.#opened = undefined
    await Promise.all([...this.#hosts].map(async (host) => await this.#release(host)))
  }

  /** @internal One operation with a key. `undefined` where the token says that it cannot decrypt this. */
  async _crypt(
    key: TokenKey,
    head: Pick<CryptHead, 'op' | 'mechanism'>,
    ...body: readonly Uint8Array[]
  ): Promise<Uint8Array | undefined> {
    return await this.#use(async (opened, limit) => {
      const { handle } = await opened.find(key, limit)
      // Some tokens would call nothing at all a bad argument.
      if (body.at(-1)?.length === 0) return undefined
      try {
        return (await opened.host.call({ ...head, slot: opened.slot, handle }, body, limit)).body
      } catch (error) {
        const { manufacturer } = await opened.token
        if (error instanceof TokenError && error.refuses(traitsOf(manufacturer))) return undefined
        throw error
      }
    })
  }

  /** @internal The one key that fits. */
  async _find(key: TokenKey): Promise<KeyDescription> {
    return await this.#use(async (opened, limit) => await opened.find(key, limit))
  }

  /** Where the token was lost, everything is opened anew, once. */
  async #use<T>(
    action: (opened: OpenedToken, limit: Limit) => Promise<T>,
    mayRepeat: (error: TokenError) => boolean = () => true,
  ): Promise<T> {
    let limit: Limit | undefined
    for (let tries = 1; ; tries++) {
      if (this.#closed) throw new SealwaxError('ERR_WRAPPING_KEY', 'this PKCS#11 token has been closed')
      const opened = this.#open()
      let begun = false
      try {
        await opened.token
        begun = true
        limit = limit ? { ...limit, again: true } : limitOf(this.#timeout)
        return await action(opened, limit)
      } catch (error) {
        if (!(error instanceof TokenError && error.lost)) throw error
        opened.host.replace()
        if (this.#opened === opened) this.#opened = undefined
        void this.#release(opened.host)
        if (tries > 1 || (begun && !mayRepeat(error))) throw error
      }
    }
  }

  #open(): OpenedToken {
    if (this.#opened && !this.#opened.host.retired) return this.#opened
    if (this.#opened) void this.#release(this.#opened.host)
    const host = ModuleHost.of(this.#input, this.#sessions.cap)
    host.retain(this)
    this.#hosts.add(host)
    const opened = new OpenedToken(host, this.#logIn(host))
    opened.token.catch(() => {
      if (this.#opened === opened) this.#opened = undefined
      void this.#release(host)
    })
    this.#opened = opened
    return opened
  }

  async #release(host: ModuleHost): Promise<void> {
    await host.release(this)
    this.#hosts.delete(host)
  }

  /** One login at a time for each token, whoever asks for it: what one learns of the PIN holds for the others. */
  async #logIn(host: ModuleHost): Promise<TokenDescription> {
    const { result } = await host.call({ op: 'tokens' }, [], limitOf(this.#timeout))
    const token = theOne(result as TokenList, this.#query)
    const login = loginOf(this.#input.module, token)
    const turn = login.turn.then(async () => await this.#logInNow(host, token, login))
    login.turn = turn.catch(() => {})
    await turn
    return token
  }

  async #logInNow(
    host: ModuleHost,
    { slot, finalTry, pinLocked, label }: TokenDescription,
    login: Login,
  ): Promise<void> {
    const head = { op: 'open', slot, sessions: this.#sessions } as const
    const open = async (limit: Limit) => await host.call({ ...head, login: false }, [], limit)
    if (!this.#readPin) return void (await open(limitOf(this.#timeout)))
    if (login.refused) throw login.refused
    if ((pinLocked || finalTry) && !login.insist) {
      const state = pinLocked ? 'is locked' : 'would be locked by one more wrong PIN'
      throw new TokenError('ERR_WRAPPING_KEY', `no login: the PKCS#11 token ${JSON.stringify(label)} ${state}`)
    }
    const pin = await readPinWithin(this.#readPin, this.#timeout)
    const limit = limitOf(this.#timeout)
    try {
      // A call of its own: what goes wrong here is none of the PIN's doing.
      await open(limit)
      login.insist = false
      let begun = false
      const call = host.call({ ...head, login: true }, [pin], limit, () => (begun = true))
      await call.catch((error) => noteFailure(login, error, begun))
      login.unanswered = 0
    } finally {
      wipe(pin)
    }
  }
}
Object.freeze(Pkcs11Token)
Object.freeze(Pkcs11Token.prototype)

/** A key as a keyring wants it: `check` throws where it is not good for what the keyring does. */
export interface TokenKey {
  readonly query: KeyChoice
  check(key: KeyDescription, token: TokenDescription): void
}

/** A token in one host. Handles are good as long as it lives. */
class OpenedToken {
  readonly host: ModuleHost
  readonly token: Promise<TokenDescription>
  slot = -1
  readonly #keys = new Map<TokenKey, Promise<KeyDescription>>()

  constructor(host: ModuleHost, token: Promise<TokenDescription>) {
    this.host = host
    this.token = token.then((description) => {
      this.slot = description.slot
      return description
    })
  }

  async find(key: TokenKey, limit: Limit): Promise<KeyDescription> {
    let found = this.#keys.get(key)
    if (!found) {
      found = this.#find(key, limit)
      found.catch(() => this.#keys.delete(key))
      this.#keys.set(key, found)
    }
    return await found
  }

  async #find({ query, check }: TokenKey, limit: Limit): Promise<KeyDescription> {
    const { token: wanted, ...rest } = query
    const token = await this.token
    if (wanted && !fits(token, wanted))
      throw new TokenError('ERR_WRAPPING_KEY', `"key" names another PKCS#11 token than ${JSON.stringify(token.label)}`)
    const { result } = await this.host.call({ op: 'key', slot: this.slot, query: rest }, [], limit)
    check(result as KeyDescription, token)
    return result as KeyDescription
  }
}

interface Login {
  readonly module: string
  readonly token: TokenDescription
  /** Settles when nobody is logging in. */
  turn: Promise<void>
  /** Why nobody logs in any more. */
  refused: TokenError | undefined
  /** How many logins in a row had no answer: the token may have counted them as wrong PINs. */
  unanswered: number
  insist: boolean
}

const logins = new Map<string, Login>()

function loginOf(module: string, token: TokenDescription): Login {
  const { serial, label, slot } = token
  const key = JSON.stringify([module, serial, label, serial === '' ? slot : ''])
  let login = logins.get(key)
  if (!login) {
    login = { module, token, turn: Promise.resolve(), refused: undefined, unanswered: 0, insist: false }
    logins.set(key, login)
  }
  return login
}

function noteFailure(login: Login, error: unknown, begun: boolean): never {
  if (!(error instanceof TokenError)) throw error
  if (error.pinRefused) login.refused = error
  else if (begun && error.unanswered && ++login.unanswered === MAX_UNANSWERED) {
    const problem = `the PKCS#11 token ${JSON.stringify(login.token.label)} answered none of ${MAX_UNANSWERED}`
    login.refused = new TokenError('ERR_WRAPPING_KEY', `no login until tryPinAgain(): ${problem}; the PIN may be wrong`)
  }
  throw error
}

function limitOf(timeout: number): Limit {
  return { timeout, deadline: performance.now() + timeout, again: false }
}

function pinSourceOf({ 'pin-source': source }: Pkcs11Uri): PinSource | undefined {
  if (source === undefined) return undefined
  // RFC 7512 allows a command too ("|"), which would be a way to run one.
  const [, file] = /^file:(?:\/\/(?:localhost)?)?(\/[^/].*)$/s.exec(source) ?? []
  if (file === undefined) throw new RangeError('"pin-source" in the PKCS#11 URI must be file:/… here')
  return { file }
}
