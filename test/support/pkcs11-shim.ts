import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** The functions of a PKCS#11 module, in the order of their list. */
export const FUNCTIONS =
  `Initialize Finalize GetInfo GetFunctionList GetSlotList GetSlotInfo GetTokenInfo GetMechanismList GetMechanismInfo
  InitToken InitPIN SetPIN OpenSession CloseSession CloseAllSessions GetSessionInfo GetOperationState SetOperationState
  Login Logout CreateObject CopyObject DestroyObject GetObjectSize GetAttributeValue SetAttributeValue FindObjectsInit
  FindObjects FindObjectsFinal EncryptInit Encrypt EncryptUpdate EncryptFinal DecryptInit Decrypt DecryptUpdate
  DecryptFinal DigestInit Digest DigestUpdate DigestKey DigestFinal SignInit Sign SignUpdate SignFinal SignRecoverInit
  SignRecover VerifyInit Verify VerifyUpdate VerifyFinal VerifyRecoverInit VerifyRecover DigestEncryptUpdate
  DecryptDigestUpdate SignEncryptUpdate DecryptVerifyUpdate GenerateKey GenerateKeyPair WrapKey UnwrapKey DeriveKey
  SeedRandom GenerateRandom GetFunctionStatus CancelFunction WaitForSlotEvent`.split(/\s+/)

const WHAT = { answer: 0, wait: 1, lengthen: 2, crash: 3, ownIv: 4, silentIv: 5, few: 6, flags: 7 } as const
const HEAD = 7
const LENGTH = 8 * (HEAD + FUNCTIONS.length)

export interface Fault {
  /** Without `C_`. */
  readonly call: string
  readonly what: keyof typeof WHAT
  readonly value?: number | bigint
  /** The first call that has the fault, from 1. Default: the next. */
  readonly nth?: number
  /** How many calls have it. Default: one; 0 for all. */
  readonly many?: number
}

/** The module of pkcs11-shim.c, and the file by which it is told what to do. */
export class Shim {
  readonly module: string
  readonly #state: string

  constructor(folder: string, realModule: string) {
    this.module = join(folder, 'shim.so')
    this.#state = join(folder, 'state')
    const flags = ['-Wall', '-Wextra', '-Werror', '-O1', '-shared', '-fPIC']
    execFileSync('gcc', [...flags, '-o', this.module, join(__dirname, 'pkcs11-shim.c')])
    writeFileSync(this.#state, Buffer.alloc(LENGTH))
    process.env.SHIM_STATE = this.#state
    process.env.SHIM_MODULE = realModule
  }

  /** No fault, and nothing counted. */
  reset(): void {
    this.#write(0, Buffer.alloc(LENGTH))
  }

  set({ call, what, value = 0, nth = 1, many = 1 }: Fault): void {
    const words = [FUNCTIONS.indexOf(call) + 1, nth, many, value, WHAT[what]]
    const bytes = Buffer.alloc(8 * words.length)
    for (const [i, word] of words.entries()) bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(word)), 8 * i)
    this.#write(0, bytes)
  }

  clear(): void {
    this.#write(0, Buffer.alloc(40))
  }

  /** How often a function was called, by all processes. */
  calls(name: string): number {
    return this.#word(HEAD + FUNCTIONS.indexOf(name))
  }

  /** Calls of all functions. */
  get allCalls(): number {
    return FUNCTIONS.reduce((sum, name) => sum + this.calls(name), 0)
  }

  /** Whether the fault, of one call, has not come yet. */
  get pending(): boolean {
    return this.#word(1) > 0
  }

  get sessions(): number {
    return this.#word(5)
  }

  get mostSessions(): number {
    return this.#word(6)
  }

  #word(i: number): number {
    const bytes = Buffer.alloc(8)
    const fd = openSync(this.#state, 'r')
    readSync(fd, bytes, 0, 8, 8 * i)
    closeSync(fd)
    return Number(bytes.readBigInt64LE())
  }

  #write(position: number, bytes: Uint8Array): void {
    const fd = openSync(this.#state, 'r+')
    writeSync(fd, bytes, 0, bytes.length, position)
    closeSync(fd)
  }
}
