import type { Duplex } from 'node:stream'
import * as assert from 'uvu/assert'
import { equalBytes } from '../../src/bytes'
import { type Engine, type FrameRun, getEngine, useEngine } from '../../src/engine/engine'
import { REGULAR_FRAME_OVERHEAD } from '../../src/format/frame'
import { parseHeader } from '../../src/format/message-header'
import { buildClient, type NodeMaterialsManager, SealwaxError } from '../../src/index'
import { toMaterialsManager } from '../../src/materials/cmm'
import { dataKeyOf } from '../../src/materials/materials'
import { aesKeyring, bytes } from '../support/keys'

export const FRAME_LENGTH = 1000
/** Two full frames and a piece of a third. */
export const PLAINTEXT = Buffer.from(bytes(2 * FRAME_LENGTH + 300))

export type Direction = 'encrypt' | 'decrypt'
export interface Kind {
  readonly direction: Direction
  readonly signed: boolean
}
export const KINDS: readonly Kind[] = (['encrypt', 'decrypt'] as const).flatMap((direction) =>
  [false, true].map((signed) => ({ direction, signed })),
)

const engine = getEngine()
const WRAPPING_KEY = bytes(32)
export const client = buildClient()
export const suiteOf = (signed: boolean) => (signed ? 0x0578 : 0x0478)

/** A materials manager whose every answer waits, and whose data keys can be looked at afterwards. */
export class Keys implements NodeMaterialsManager {
  /** Data keys as the materials hold them, not copies. */
  readonly dataKeys: Uint8Array[] = []
  asked = 0
  /** What comes before each answer. */
  before: () => Promise<unknown> = async () => {}
  readonly #cmm = toMaterialsManager(aesKeyring())

  getEncryptionMaterials: NodeMaterialsManager['getEncryptionMaterials'] = async (request) =>
    this.#answer(() => this.#cmm.getEncryptionMaterials(request))

  decryptMaterials: NodeMaterialsManager['decryptMaterials'] = async (request) =>
    this.#answer(() => this.#cmm.decryptMaterials(request))

  async #answer<T extends Parameters<typeof dataKeyOf>[0]>(give: () => Promise<T>): Promise<T> {
    this.asked++
    await this.before()
    const material = await give()
    this.dataKeys.push(dataKeyOf(material))
    return material
  }
}

/** Every key of a message that the engine is given from now on, as the caller's own memory. */
export function recordKeys(): Set<Uint8Array> {
  const keys = new Set<Uint8Array>()
  const recording = Object.create(engine) as Engine
  for (const name of ['seal', 'open', 'sealFrames', 'openFrames'] as const) {
    const call = engine[name].bind(engine) as (...args: unknown[]) => unknown
    const record = (keyOrRun: Uint8Array | FrameRun, ...rest: unknown[]) => {
      const key = keyOrRun instanceof Uint8Array ? keyOrRun : keyOrRun.key
      assert.not(isWiped(key), 'a wiped key is never used')
      if (!equalBytes(key, WRAPPING_KEY)) keys.add(key)
      return call(keyOrRun, ...rest)
    }
    Object.assign(recording, { [name]: record })
  }
  useEngine(recording)
  return keys
}

export function isWiped(key: Uint8Array): boolean {
  return key.every((byte) => byte === 0)
}

/** One stream under test, with what happened to it. */
export class Subject {
  readonly kind: Kind
  readonly keys = new Keys()
  readonly abort = new AbortController()
  readonly stream: Duplex
  readonly events: string[] = []
  readonly errors: unknown[] = []
  readonly output: Buffer[] = []
  /** All the input there is. */
  readonly input: Buffer
  readonly headerLength: number
  readonly closed: Promise<void>
  readonly #derivedKeys: Set<Uint8Array>
  #silent = false

  private constructor(kind: Kind, derivedKeys: Set<Uint8Array>, message: Buffer, prepare: (keys: Keys) => void) {
    this.kind = kind
    this.#derivedKeys = derivedKeys
    prepare(this.keys)
    const { signal } = this.abort
    const encrypting = kind.direction === 'encrypt'
    this.input = encrypting ? PLAINTEXT : message
    this.headerLength = encrypting ? 0 : parseHeader(message).bytes.length
    this.stream = encrypting
      ? client.encryptStream(this.keys, { suiteId: suiteOf(kind.signed), frameLength: FRAME_LENGTH, signal })
      : client.decryptStream(this.keys, { signal })
    this.stream.on('error', (error) => this.errors.push(error))
    for (const event of ['MessageHeader', 'end', 'finish', 'error', 'close']) {
      this.stream.on(event, () => this.events.push(event))
    }
    this.closed = new Promise((resolve) => this.stream.on('close', () => resolve()))
  }

  /** `keys` can be changed before the stream is made. */
  static async create(kind: Kind, prepare: (keys: Keys) => void = () => {}): Promise<Subject> {
    const { result } = await client.encrypt(aesKeyring(), PLAINTEXT, {
      suiteId: suiteOf(kind.signed),
      frameLength: FRAME_LENGTH,
    })
    return new Subject(kind, recordKeys(), result, prepare)
  }

  /** Starts reading; no data may come after {@link silence}. */
  read(): this {
    this.stream.on('data', (piece: Buffer) => {
      assert.not(this.#silent, 'no data after the end')
      this.output.push(piece)
    })
    return this
  }

  /** From here on the stream must not give data. */
  silence(): void {
    this.#silent = true
  }

  /** Where in the input frame `index` (from 0) starts. */
  frameStart(index: number): number {
    const wireLength = FRAME_LENGTH + (this.kind.direction === 'encrypt' ? 0 : REGULAR_FRAME_OVERHEAD)
    return this.headerLength + index * wireLength
  }

  /** The stream has ended for good: how, and that nothing is left. Null: without an error. */
  async checkEnded(expected: unknown): Promise<void> {
    await this.closed
    this.silence()
    for (let i = 0; i < 5; i++) await nextTurn()
    const once = this.events.filter((event) => event !== 'data')
    assert.is(new Set(once).size, once.length, `no event comes twice: ${once.join(' ')}`)
    assert.is(once.at(-1), 'close')
    this.checkWiped()
    assert.ok(this.stream.destroyed)
    assert.is(this.errors.length, expected === null ? 0 : 1)
    if (expected !== null) checkCode(this.errors[0], expected)
    if (expected !== null) assert.is(this.stream.errored, this.errors[0], 'errors stick')
    const late = await new Promise((resolve) => this.stream.write(Buffer.alloc(1), resolve))
    assert.ok(late instanceof Error, 'no write is taken after the end')
    assert.is(this.errors.length, expected === null ? 0 : 1, 'and it is no second error')
  }

  checkWiped(): void {
    for (const key of this.keys.dataKeys) assert.ok(isWiped(key), 'the data key is wiped')
    for (const key of this.#derivedKeys) assert.ok(isWiped(key), 'the derived key is wiped')
  }

  /** Whether a key was used at all: without it, `checkWiped` would mean nothing. */
  get usedKeys(): boolean {
    return this.keys.dataKeys.length > 0 && this.#derivedKeys.size > 0
  }

  /** What the output means: the plaintext so far. */
  async plaintext(): Promise<Buffer> {
    const output = Buffer.concat(this.output)
    if (this.kind.direction === 'decrypt') return output
    return (await client.decrypt(aesKeyring(), output)).plaintext
  }
}

/** `expected` is the error itself or its code. */
export function checkCode(error: unknown, expected: unknown): void {
  if (typeof expected !== 'string') {
    assert.is(error, expected)
  } else {
    assert.is((error as { code?: string }).code, expected, String((error as Error).stack))
    assert.is(error instanceof SealwaxError, !expected.startsWith('ERR_STREAM'))
  }
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Turns of the event loop until `condition` holds; the runner's watchdog ends a wait in vain. */
export async function turnsUntil(condition: () => boolean): Promise<void> {
  while (!condition()) await nextTurn()
}
