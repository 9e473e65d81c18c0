/**
 * The one place that checks what a caller passes. Every function throws `TypeError` (wrong kind) or `RangeError`
 * (right kind, value not allowed) naming the option and the value.
 */
import { types } from 'node:util'
import { viewOf } from './bytes'

/**
 * Checks that `options` is a plain object with no key but `known`; returns it, or `{}` for `undefined`. `null` is as not given,
 * and so is what somebody has assigned to `Object.prototype`.
 */
export function checkOptions<T extends object>(
  options: T | undefined,
  known: readonly (keyof T & string)[],
  of: string,
): T {
  if (options === undefined) return checkOptions({} as T, known, of)
  if (!isRecord(options)) throw new TypeError(`the options of ${of} must be an object, got ${describe(options)}`)
  for (const key of Object.keys(options)) {
    if (!(known as readonly string[]).includes(key)) {
      throw new TypeError(`unknown option "${key}" of ${of}: it takes ${known.map((name) => `"${name}"`).join(', ')}`)
    }
  }
  const everywhere = Object.prototype as Partial<T>
  if (!hasAny(everywhere) && !Object.values(options).includes(null)) return options
  const given: T = Object.create(null)
  for (const name of known) {
    const value = options[name]
    // What somebody has put into every object is nobody's option.
    if (value === everywhere[name] && !Object.hasOwn(options, name)) continue
    // A context that is null stays: its pairs may be a demand, which is not to be lost.
    if (value !== null || /context$/i.test(name)) given[name] = value
  }
  return given
}

/** Whether anything can be enumerated, as what was assigned. */
function hasAny(object: object): boolean {
  for (const _ in object) return true
  return false
}

/** An integer from `min` to `max`. */
export function checkInteger(value: unknown, name: string, min: number, max: number): number {
  if (typeof value !== 'number') throw new TypeError(`"${name}" must be a number, got ${describe(value)}`)
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`"${name}" must be an integer from ${min} to ${max}, got ${value}`)
  }
  return value
}

/** A string; not an empty one unless `allowEmpty`. */
export function checkString(value: unknown, name: string, { allowEmpty = false } = {}): string {
  if (typeof value !== 'string') throw new TypeError(`"${name}" must be a string, got ${describe(value)}`)
  if (value === '' && !allowEmpty) throw new RangeError(`"${name}" must not be empty`)
  return value
}

/** `true` or `false`. */
export function checkBoolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw new TypeError(`"${name}" must be true or false, got ${describe(value)}`)
  return value
}

/** One of the listed values. */
export function checkOneOf<T extends string | number | undefined>(
  value: unknown,
  name: string,
  allowed: readonly T[],
): T {
  if (!(allowed as readonly unknown[]).includes(value)) {
    throw new RangeError(`"${name}" must be one of ${allowed.map(String).join(', ')}, got ${describe(value)}`)
  }
  return value as T
}

/** A Buffer or another Uint8Array. Never names the bytes. */
export function checkBytes(value: unknown, name: string): Uint8Array {
  // A brand check: an object that merely has a `length` is not bytes.
  if (!types.isUint8Array(value)) throw new TypeError(`"${name}" must be a Buffer or Uint8Array, got ${kindOf(value)}`)
  return value
}

/** The same, as {@link viewOf} gives them: for what is used here and not in the addon. */
export function checkView(value: unknown, name: string): Uint8Array {
  return viewOf(checkBytes(value, name))!
}

/**
 * Whether `value` is an object read by its own keys. One without any must be plain: a Map, a Promise or an object of
 * getters would otherwise pass for an empty one, and what the caller meant would be lost in silence.
 */
export function isRecord(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  if (Object.keys(value).length > 0) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** How to speak of a wrong value without printing what may be a secret: its kind, and small numbers and names as they are. */
export function describe(value: unknown): string {
  if (value === null) return 'null'
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'undefined') return String(value)
  // Names are short; a key in hexadecimal or base64, put in the wrong place, is not.
  if (typeof value === 'string')
    return value.length <= 20 ? JSON.stringify(value) : `a string of ${value.length} characters`
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return 'an array'
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name} of ${value.byteLength} bytes`
  return typeof value === 'object' ? `a value of type ${value.constructor?.name || 'object'}` : `a ${typeof value}`
}

/** The same for what may be a secret, or tell one: numbers and names are not printed either. */
export function kindOf(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? `a ${typeof value}` : describe(value)
}

/** Throws `TypeError` for a stream of Node.js that has ended or was destroyed: taken for an empty one, it would lose what it held. */
export function checkUnread(stream: unknown, problem: string): void {
  const { readable, destroyed } = (stream ?? {}) as { readable?: unknown; destroyed?: unknown }
  if (readable === false || destroyed === true)
    throw new TypeError(`${problem} The stream was read before, or destroyed`)
}

/** Makes the fields that `object` has now read-only. What subclasses, and the stubs of tests, add is theirs. */
export function fixFields(object: object): void {
  for (const name of Object.keys(object)) Object.defineProperty(object, name, { writable: false, configurable: false })
}
