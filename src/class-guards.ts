/**
 * Small tools that `@aws-crypto/client-node` exports for authors of keyrings and materials managers. This library itself
 * uses private fields instead.
 */

/** Thrown by keyrings of others for what they do not support. */
export class NotSupported extends Error {
  readonly code = 'NOT_SUPPORTED'
}

/** Throws `new Err(message)` unless `condition` holds. */
export function needs(condition: unknown, message: string, Err: ErrorConstructor = Error): asserts condition {
  if (!condition) throw new Err(message)
}

/** Gives `object` a property that can be read and enumerated, not written. */
export function readOnlyProperty<T, K extends keyof T>(object: T, name: K, value: T[K]): void {
  Object.defineProperty(object, name, { value, enumerable: true, writable: false })
}

/** A class whose instances are `T`. */
// biome-ignore lint/suspicious/noExplicitAny: as `@aws-crypto/client-node` has it, whose users call `new` with what they like.
export type Newable<T> = new (...args: any[]) => T

type AnyClass = abstract new (...args: never[]) => object

/** Freezes a class; its methods can no longer be replaced, new instances stay as open as they were. */
export function immutableClass<T extends AnyClass>(objectClass: T): T {
  const { prototype } = objectClass
  for (const name of Object.getOwnPropertyNames(prototype)) {
    if (name !== 'constructor' && Object.getOwnPropertyDescriptor(prototype, name)?.writable) {
      Object.defineProperty(prototype, name, { writable: false })
    }
  }
  Object.seal(prototype)
  return Object.freeze(objectClass)
}

/** As {@link immutableClass}, for a class at the root of a hierarchy: it inherits nothing, not even from `Object`. */
export function immutableBaseClass<T extends AnyClass>(objectClass: T): T {
  Object.setPrototypeOf(objectClass.prototype, null)
  return immutableClass(objectClass)
}

/** Freezes a class and its prototype, and lets it inherit nothing. */
export function frozenClass<T extends AnyClass>(objectClass: T): T {
  Object.setPrototypeOf(objectClass.prototype, null)
  Object.freeze(objectClass.prototype)
  return Object.freeze(objectClass)
}
