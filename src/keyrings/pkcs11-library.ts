/** Loads `pkcs11js`, and a PKCS#11 module by it. */
import type * as Pkcs11js from 'pkcs11js'
import { nameOf } from './pkcs11-sessions'

/** Of PKCS#11 3.0: pkcs11js takes it for a vendor's. */
const AEAD_DECRYPT_FAILED = 'CKR_AEAD_DECRYPT_FAILED'

/** The module at `path`, not initialized; its errors say which function gave them. */
export function openLibrary(path: string): { pkcs11js: typeof Pkcs11js; lib: Pkcs11js.PKCS11 } {
  const pkcs11js = loadPkcs11js()
  const lib = namingCalls(new pkcs11js.PKCS11())
  load(lib, path)
  return { pkcs11js, lib }
}

function loadPkcs11js(): typeof Pkcs11js {
  try {
    return require('pkcs11js') as typeof Pkcs11js
  } catch (error) {
    const advice = 'npm install --save-exact pkcs11js@2.1.7, with its install script allowed'
    throw new Error(`pkcs11js cannot be loaded: ${advice}. Node.js says: ${nameOf(error)}`)
  }
}

function load(lib: Pkcs11js.PKCS11, path: string): void {
  try {
    lib.load(path)
  } catch (error) {
    throw new Error(`the PKCS#11 module ${JSON.stringify(path)} cannot be loaded: ${nameOf(error)}`)
  }
}

function namingCalls(lib: Pkcs11js.PKCS11): Pkcs11js.PKCS11 {
  const functions = lib as unknown as Record<string, unknown>
  for (const name in functions) {
    const call = functions[name]
    if (!name.startsWith('C_') || typeof call !== 'function') continue
    const named = (error: unknown) => {
      const [, ckr = nameOf(error), value] = /^(CKR_\w+):(\d+)/.exec(nameOf(error)) ?? []
      // C_FindObjects gives its value in the message.
      const code = value === undefined ? (error as { code?: unknown }).code : Number(value)
      const message = code === 0x42 ? AEAD_DECRYPT_FAILED : ckr
      return Object.assign(error as Error, { method: name.replace(/Async$/, ''), message, code })
    }
    functions[name] = (...args: unknown[]) => {
      try {
        const result: unknown = call.apply(lib, args)
        if (!(result instanceof Promise)) return result
        return result.catch((error: unknown) => {
          throw named(error)
        })
      } catch (error) {
        throw named(error)
      }
    }
  }
  return lib
}
