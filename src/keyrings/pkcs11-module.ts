/** A PKCS#11 module and the sessions of its tokens, inside the host process. */
import type * as Pkcs11js from 'pkcs11js'
import { allocateSecret, copySecret, wipe } from '../bytes'
import { openLibrary } from './pkcs11-library'
import { GCM_IV_LENGTH, MECHANISMS, mechanismOf, usesOf } from './pkcs11-mechanisms'
import { attempt, nameOf, SessionPool } from './pkcs11-sessions'
import type { CryptHead, KeyDescription, KeyKind, KeyQuery, TokenDescription } from './pkcs11-wire'

type Handle = Pkcs11js.Handle
type Attribute = Pkcs11js.Attribute

/** A call that takes longer than this, in milliseconds, is worth the hop to a thread, which costs some 20 us. */
const SLOW = 0.2
/** Every so many calls in threads one is made at once, to learn how long it takes. */
const MEASURE = 64
/** How many objects are asked for by one call. */
const AT_ONCE = 1000

export interface SessionOptions {
  /** How many sessions may be open at once. */
  readonly cap: number
  readonly readWrite: boolean
}

/** How long the last call made at once took, by key and direction. */
interface Pace {
  took: number
  sinceMeasured: number
}

const NAMES: Readonly<Record<KeyKind, string>> = {
  aes: 'AES key',
  'rsa-private': 'RSA private key',
  'rsa-public': 'RSA public key',
}

const KINDS = ['aes', 'rsa-private', 'rsa-public'] as const

export class TokenModule {
  readonly #pkcs11js: typeof Pkcs11js
  readonly #lib: Pkcs11js.PKCS11
  readonly #pools = new Map<number, SessionPool>()
  readonly #slots = new Map<number, Handle>()
  #initialized = false
  readonly #paces = new Map<string, Pace>()

  constructor(path: string, libraryParameters: string | undefined) {
    const { pkcs11js, lib } = openLibrary(path)
    this.#pkcs11js = pkcs11js
    this.#lib = lib
    const flags = this.#pkcs11js.CKF_OS_LOCKING_OK
    // pkcs11js 2.1.7 loses their last character.
    const parameters = libraryParameters !== undefined && { libraryParameters: `${libraryParameters} ` }
    try {
      this.#lib.C_Initialize({ flags, ...parameters })
      this.#initialized = true
    } catch (error) {
      // Then the module is somebody else's to finalize.
      if (nameOf(error) !== 'CKR_CRYPTOKI_ALREADY_INITIALIZED') throw error
    }
  }

  /** The tokens that tell of themselves, and the error of one that does not: a bad reader is no matter of the others. */
  tokens(): { tokens: TokenDescription[]; error?: unknown } {
    const tokens: TokenDescription[] = []
    let failed: { error?: unknown } = {}
    for (const handle of this.#lib.C_GetSlotList(true)) {
      try {
        tokens.push(this.#token(handle))
      } catch (error) {
        failed = { error }
      }
    }
    return { tokens, ...failed }
  }

  /** Opens the first session, to log in with. `cap` bounds the sessions from here on. */
  async open(slot: number, options: SessionOptions): Promise<Handle> {
    return await this.#pool(slot, options).first()
  }

  logIn(session: Handle, pin: Uint8Array): void {
    try {
      this.#lib.C_Login(session, this.#pkcs11js.CKU_USER, Buffer.from(pin.buffer).toString('utf8'))
    } catch (error) {
      if (nameOf(error) !== 'CKR_USER_ALREADY_LOGGED_IN') throw error
    }
  }

  async session<T>(slot: number, use: (session: Handle) => T | Promise<T>): Promise<T> {
    return await this.#pool(slot).use(use)
  }

  /** The one key that fits; throws where there is none, or more than one. */
  key(session: Handle, query: KeyQuery): KeyDescription {
    const template = this.#templateOf(query.kind, query.label)
    if (query.id !== undefined) template.push({ type: this.#pkcs11js.CKA_ID, value: Buffer.from(query.id, 'hex') })
    const [handle, another] = this.#find(session, template)
    if (!handle) throw new Error(`the token has no ${NAMES[query.kind]} ${show(query)}`)
    if (another)
      throw new Error(`the token has more than one ${NAMES[query.kind]} ${show(query)}: name it by its ID too`)
    return this.#describe(session, handle, query.kind)
  }

  keys(session: Handle): (KeyDescription & { kind: KeyKind })[] {
    return KINDS.flatMap((kind) =>
      this.#find(session, this.#templateOf(kind)).map((handle) => ({ kind, ...this.#describe(session, handle, kind) })),
    )
  }

  /**
   * A new key of the token, that never leaves it. Needs a session of its own, to write. Nothing else happens here between
   * the look for another key of its label and the end: of two at once, the second finds that of the first.
   */
  generate(slot: number, { kind, bits, label, id }: { kind: 'aes' | 'rsa'; bits: number; label: string; id: string }) {
    const p = this.#pkcs11js
    const session = this.#pool(slot).open(p.CKF_RW_SESSION)
    const named = [
      { type: p.CKA_TOKEN, value: true },
      { type: p.CKA_LABEL, value: label },
      { type: p.CKA_ID, value: Buffer.from(id, 'hex') },
    ]
    const secret = [
      ...named,
      { type: p.CKA_PRIVATE, value: true },
      { type: p.CKA_SENSITIVE, value: true },
      { type: p.CKA_EXTRACTABLE, value: false },
      { type: p.CKA_DECRYPT, value: true },
    ]
    try {
      if (this.#hasKey(session, label))
        throw new Error(`the token has a key with the label ${JSON.stringify(label)} already`)
      if (kind === 'aes') {
        const length = { type: p.CKA_VALUE_LEN, value: bits / 8 }
        const use = { type: p.CKA_ENCRYPT, value: true }
        const handle = this.#lib.C_GenerateKey(session, { mechanism: p.CKM_AES_KEY_GEN }, [...secret, length, use])
        return this.#describe(session, handle, 'aes')
      }
      const pair = this.#lib.C_GenerateKeyPair(
        session,
        { mechanism: p.CKM_RSA_PKCS_KEY_PAIR_GEN },
        [
          ...named,
          { type: p.CKA_ENCRYPT, value: true },
          { type: p.CKA_MODULUS_BITS, value: bits },
          { type: p.CKA_PUBLIC_EXPONENT, value: Buffer.from('010001', 'hex') },
        ],
        secret,
      )
      return this.#describe(session, pair.privateKey, 'rsa-private')
    } finally {
      attempt(() => this.#lib.C_CloseSession(session))
    }
  }

  random(session: Handle, length: number): Uint8Array {
    const out = allocateSecret(length)
    this.#lib.C_GenerateRandom(session, Buffer.from(out.buffer))
    return out
  }

  /**
   * Encrypts or decrypts in one part. Fast tokens are called at once, slow ones in a thread. AES-GCM gives IV || sealed:
   * there are tokens that put an IV of their own in place of the one they were given.
   */
  async crypt(session: Handle, { op, slot, handle, mechanism }: CryptHead, body: Uint8Array): Promise<Uint8Array> {
    const key = Buffer.from(handle, 'hex')
    if (mechanism.name === 'key-wrap' && !this.#decryptsKeyWrap(slot)) return this.#unwrapKey(session, key, body)
    const call = op === 'encrypt' ? 'C_Encrypt' : 'C_Decrypt'
    const data = Buffer.from(body.buffer, mechanism.name === 'gcm' ? GCM_IV_LENGTH + mechanism.aadLength : 0)
    // Longer than any answer: some tokens want room for the input, and an answer that is too long must show.
    const out = Buffer.from(allocateSecret(Math.max(data.length, 1024) + 64).buffer)
    this.#lib[`${call}Init`](session, mechanismOf(this.#pkcs11js, mechanism, body), key)
    try {
      const answer = await this.#timed(call, session, data, out, handle)
      if (op === 'decrypt' || mechanism.name !== 'gcm') return copySecret(answer)
      return Buffer.concat([body.subarray(0, GCM_IV_LENGTH), answer])
    } finally {
      wipe(out)
    }
  }

  /** Nothing of this process remains with the token. Errors are of no more interest. */
  close(): void {
    for (const pool of this.#pools.values()) pool.close()
    if (this.#initialized) attempt(() => this.#lib.C_Finalize())
  }

  #decryptsKeyWrap(slot: number): boolean {
    const p = this.#pkcs11js
    return usesOf(p, this.#lib.C_GetMechanismInfo(this.#slots.get(slot)!, p.CKM_AES_KEY_WRAP)).includes('decrypt')
  }

  /** For tokens that undo AES key wrap with C_UnwrapKey only: the data key is a key of the session until it has been read. */
  #unwrapKey(session: Handle, key: Handle, wrapped: Uint8Array): Uint8Array {
    const p = this.#pkcs11js
    const object = this.#lib.C_UnwrapKey(session, { mechanism: p.CKM_AES_KEY_WRAP }, key, Buffer.from(wrapped), [
      { type: p.CKA_CLASS, value: p.CKO_SECRET_KEY },
      { type: p.CKA_KEY_TYPE, value: p.CKK_AES },
      { type: p.CKA_TOKEN, value: false },
      { type: p.CKA_SENSITIVE, value: false },
      { type: p.CKA_EXTRACTABLE, value: true },
    ])
    let value: Buffer | undefined
    try {
      value = this.#attribute(session, object, p.CKA_VALUE)
      return copySecret(value ?? Buffer.alloc(0))
    } finally {
      wipe(value)
      this.#lib.C_DestroyObject(session, object)
    }
  }

  #paceOf(kind: string): Pace {
    let pace = this.#paces.get(kind)
    if (!pace) {
      pace = { took: 0, sinceMeasured: 0 }
      this.#paces.set(kind, pace)
    }
    return pace
  }

  async #timed(
    call: 'C_Encrypt' | 'C_Decrypt',
    session: Handle,
    data: Buffer,
    out: Buffer,
    handle: string,
  ): Promise<Uint8Array> {
    const pace = this.#paceOf(`${call} ${handle}`)
    if (pace.took > SLOW && ++pace.sinceMeasured < MEASURE) return await this.#inThread(call, session, data, out)
    const start = performance.now()
    const answer = this.#lib[call](session, data, out)
    pace.took = performance.now() - start
    pace.sinceMeasured = 0
    return answer
  }

  async #inThread(call: 'C_Encrypt' | 'C_Decrypt', session: Handle, data: Buffer, out: Buffer): Promise<Uint8Array> {
    try {
      return await this.#lib[`${call}Async`](session, data, out)
    } finally {
      // pkcs11js holds no reference to what its thread reads.
      keep(data, session)
    }
  }

  #token(handle: Handle): TokenDescription {
    const slot = numberOf(handle)
    this.#slots.set(slot, handle)
    const { label, manufacturerID, model, serialNumber, flags } = this.#lib.C_GetTokenInfo(handle)
    const has = (flag: number) => (flags & flag) !== 0
    const p = this.#pkcs11js
    return {
      slot,
      label: trim(label),
      manufacturer: trim(manufacturerID),
      model: trim(model),
      serial: trim(serialNumber),
      initialized: has(p.CKF_TOKEN_INITIALIZED),
      loginRequired: has(p.CKF_LOGIN_REQUIRED),
      finalTry: has(p.CKF_USER_PIN_FINAL_TRY),
      pinLocked: has(p.CKF_USER_PIN_LOCKED),
      mechanisms: this.#mechanisms(handle),
    }
  }

  #mechanisms(slot: Handle): Record<string, string[]> {
    const mechanisms: Record<string, string[]> = {}
    for (const name of MECHANISMS) {
      try {
        mechanisms[name] = usesOf(this.#pkcs11js, this.#lib.C_GetMechanismInfo(slot, this.#pkcs11js[name]))
      } catch (error) {
        if (nameOf(error) !== 'CKR_MECHANISM_INVALID') throw error
      }
    }
    return mechanisms
  }

  #pool(slot: number, options?: SessionOptions): SessionPool {
    let pool = this.#pools.get(slot)
    if (!pool) {
      const handle = this.#slots.get(slot)
      if (!handle || !options) throw new Error(`slot ${slot} has not been opened`)
      const { CKF_RW_SESSION, CKF_SERIAL_SESSION } = this.#pkcs11js
      const always = CKF_SERIAL_SESSION | (options.readWrite ? CKF_RW_SESSION : 0)
      pool = new SessionPool(
        (flags = 0) => this.#lib.C_OpenSession(handle, always | flags),
        (session) => attempt(() => this.#lib.C_CloseSession(session)),
      )
      this.#pools.set(slot, pool)
    }
    if (options) pool.cap = Math.min(pool.cap, options.cap)
    return pool
  }

  #hasKey(session: Handle, label: string): boolean {
    return KINDS.some((kind) => this.#find(session, this.#templateOf(kind, label)).length > 0)
  }

  #templateOf(kind: KeyKind, label?: string): Attribute[] {
    const p = this.#pkcs11js
    return [
      { type: p.CKA_CLASS, value: this.#classOf(kind) },
      { type: p.CKA_KEY_TYPE, value: kind === 'aes' ? p.CKK_AES : p.CKK_RSA },
      ...(label === undefined ? [] : [{ type: p.CKA_LABEL, value: label }]),
    ]
  }

  #find(session: Handle, template: Attribute[]): Handle[] {
    const found: Handle[] = []
    this.#lib.C_FindObjectsInit(session, template)
    for (;;) {
      const more = this.#lib.C_FindObjects(session, AT_ONCE)
      if (more.length === 0) break
      found.push(...more)
    }
    this.#lib.C_FindObjectsFinal(session)
    return found
  }

  #describe(session: Handle, handle: Handle, kind: KeyKind): KeyDescription {
    const p = this.#pkcs11js
    const read = (type: number) => this.#attribute(session, handle, type)
    const flag = (type: number) => read(type)?.[0] === 1
    const modulus = kind === 'aes' ? undefined : read(p.CKA_MODULUS)
    const exponent = kind === 'aes' ? undefined : read(p.CKA_PUBLIC_EXPONENT)
    return {
      handle: handle.toString('hex'),
      label: read(p.CKA_LABEL)?.toString('utf8') ?? '',
      id: read(p.CKA_ID)?.toString('hex') ?? '',
      bits: modulus ? bitLength(modulus) : numberOf(read(p.CKA_VALUE_LEN) ?? Buffer.alloc(8)) * 8,
      encrypt: flag(p.CKA_ENCRYPT),
      decrypt: flag(p.CKA_DECRYPT),
      unwrap: flag(p.CKA_UNWRAP),
      sensitive: flag(p.CKA_SENSITIVE),
      extractable: flag(p.CKA_EXTRACTABLE),
      ...(modulus && { modulus: modulus.toString('hex') }),
      ...(exponent && { publicExponent: exponent.toString('hex') }),
    }
  }

  /** One at a time: an attribute that the object does not have fails the whole call on some tokens. */
  #attribute(session: Handle, handle: Handle, type: number): Buffer | undefined {
    try {
      const [attribute] = this.#lib.C_GetAttributeValue(session, handle, [{ type }])
      return attribute?.value
    } catch (error) {
      if (nameOf(error) === 'CKR_ATTRIBUTE_TYPE_INVALID') return undefined
      throw error
    }
  }

  #classOf(kind: KeyKind): number {
    const p = this.#pkcs11js
    return { aes: p.CKO_SECRET_KEY, 'rsa-private': p.CKO_PRIVATE_KEY, 'rsa-public': p.CKO_PUBLIC_KEY }[kind]
  }
}

function trim(text: string): string {
  return text.replace(/[ \0]+$/, '')
}

function show({ label, id }: KeyQuery): string {
  return [label !== undefined && `with the label ${JSON.stringify(label)}`, id !== undefined && `with the ID ${id}`]
    .filter(Boolean)
    .join(' and ')
}

/** A CK_ULONG, as pkcs11js hands it out: in this machine's byte order. */
function numberOf(ulong: Buffer): number {
  return Number(`0x${Buffer.from(ulong).reverse().toString('hex') || '0'}`)
}

function bitLength(integer: Buffer): number {
  const hex = integer.toString('hex').replace(/^0+/, '')
  return hex === '' ? 0 : BigInt(`0x${hex}`).toString(2).length
}

/** What is passed here is reachable at least until here. */
function keep(..._values: readonly unknown[]): void {}
