/** Tokens for tests, in folders of their own: SoftHSM 2, NSS, and SoftHSM behind a module that misbehaves on demand. */
import { execFileSync } from 'node:child_process'
import type { webcrypto } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as pkcs11 from 'pkcs11js'
import { useHostProgram } from '../../src/keyrings/pkcs11-process'
import { Pkcs11Token, type Pkcs11TokenInput } from '../../src/pkcs11'
import { Shim } from './pkcs11-shim'

export const PIN = '1234-needle'
const SO_PIN = '5678-needle'

export interface TestToken {
  readonly name: string
  readonly input: { readonly module: string; readonly token: string; readonly libraryParameters?: string }
  readonly oaepHashes: readonly ('sha1' | 'sha256' | 'sha384' | 'sha512')[]
}

const SOFTHSM = ['/usr/lib/softhsm/libsofthsm2.so', '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so']
const NSS = ['/usr/lib/x86_64-linux-gnu/libsoftokn3.so', '/usr/lib/aarch64-linux-gnu/libsoftokn3.so']

/** A folder that is gone when this process is. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sealwax-pkcs11-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** `undefined`, said loudly, where SoftHSM is not installed. */
export function softHsm(label = 'tests'): TestToken | undefined {
  const module = SOFTHSM.find((path) => existsSync(path))
  if (!module) return skipped('SoftHSM', 'softhsm2')
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'tokens'))
  const file = join(folder, 'softhsm2.conf')
  writeFileSync(file, `directories.tokendir = ${folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n`)
  process.env.SOFTHSM2_CONF = file
  addToken(label)
  return { name: 'SoftHSM', input: { module, token: label }, oaepHashes: ['sha1'] }
}

/** One more token of the SoftHSM of this process. */
export function addToken(label: string): void {
  const names = ['--label', label, '--pin', PIN, '--so-pin', SO_PIN]
  execFileSync('softhsm2-util', ['--init-token', '--free', ...names], { stdio: 'ignore' })
}

/** `undefined`, said loudly, where NSS is not installed. */
export function nss(): TestToken | undefined {
  const module = NSS.find((path) => existsSync(path))
  if (!module || !existsSync('/usr/bin/certutil')) return skipped('NSS', 'libnss3 libnss3-tools')
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'pin'), PIN)
  execFileSync('certutil', ['-N', '-d', `sql:${folder}`, '-f', join(folder, 'pin')])
  const libraryParameters = `configdir='sql:${folder}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=`
  const oaepHashes = ['sha1', 'sha256', 'sha384', 'sha512'] as const
  return { name: 'NSS', input: { module, token: 'NSS Certificate DB', libraryParameters }, oaepHashes }
}

/** SoftHSM behind the shim, and hosts that start fast: there will be many. */
export function faultySoftHsm(): { input: TestToken['input']; shim: Shim } | undefined {
  const token = softHsm()
  if (!token) return undefined
  if (!existsSync('/usr/bin/gcc')) return skipped('faults of a token', 'gcc')
  const folder = temporaryFolder()
  const shim = new Shim(folder, token.input.module)
  useHostProgram(compileHost())
  return { input: { ...token.input, module: shim.module }, shim }
}

export function openToken({ input }: { input: TestToken['input'] }, more: Pkcs11TokenInput = {}): Pkcs11Token {
  return new Pkcs11Token({ pin: () => PIN, ...input, ...more })
}

/** Puts keys of known value into a token: what no HSM would allow without a ceremony. */
export function importKeys(
  { input }: Pick<TestToken, 'input'>,
  templates: readonly (readonly pkcs11.Attribute[])[],
): void {
  const lib = new pkcs11.PKCS11(input.module)
  const { libraryParameters } = input
  lib.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK, ...(libraryParameters && { libraryParameters }) })
  try {
    const slot = lib.C_GetSlotList(true).find((id) => lib.C_GetTokenInfo(id).label.trim() === input.token)!
    const session = lib.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION)
    lib.C_Login(session, pkcs11.CKU_USER, PIN)
    for (const template of templates) lib.C_CreateObject(session, [...template])
  } finally {
    lib.C_Finalize()
  }
}

export function aesTemplate(label: string, value: Uint8Array, change: readonly pkcs11.Attribute[] = []) {
  const changed = new Set(change.map(({ type }) => type))
  const template: pkcs11.Attribute[] = [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_PRIVATE, value: true },
    { type: pkcs11.CKA_SENSITIVE, value: true },
    { type: pkcs11.CKA_EXTRACTABLE, value: false },
    { type: pkcs11.CKA_ENCRYPT, value: true },
    { type: pkcs11.CKA_DECRYPT, value: true },
    { type: pkcs11.CKA_LABEL, value: label },
    { type: pkcs11.CKA_ID, value: Buffer.from(label) },
    { type: pkcs11.CKA_VALUE, value: Buffer.from(value) },
  ]
  return [...template.filter(({ type }) => !changed.has(type)), ...change]
}

export function rsaTemplate(label: string, jwk: webcrypto.JsonWebKey): pkcs11.Attribute[] {
  const part = (text: string | undefined) => Buffer.from(text!, 'base64url')
  return [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_PRIVATE, value: true },
    { type: pkcs11.CKA_SENSITIVE, value: true },
    { type: pkcs11.CKA_EXTRACTABLE, value: false },
    { type: pkcs11.CKA_DECRYPT, value: true },
    { type: pkcs11.CKA_LABEL, value: label },
    { type: pkcs11.CKA_ID, value: Buffer.from(label) },
    { type: pkcs11.CKA_MODULUS, value: part(jwk.n) },
    { type: pkcs11.CKA_PUBLIC_EXPONENT, value: part(jwk.e) },
    { type: pkcs11.CKA_PRIVATE_EXPONENT, value: part(jwk.d) },
    { type: pkcs11.CKA_PRIME_1, value: part(jwk.p) },
    { type: pkcs11.CKA_PRIME_2, value: part(jwk.q) },
    { type: pkcs11.CKA_EXPONENT_1, value: part(jwk.dp) },
    { type: pkcs11.CKA_EXPONENT_2, value: part(jwk.dq) },
    { type: pkcs11.CKA_COEFFICIENT, value: part(jwk.qi) },
  ]
}

/** The processes that hold modules for this one. */
export function hostPids(): number[] {
  const path = `/proc/${process.pid}/task/${process.pid}/children`
  const pids = readFileSync(path, 'utf8').trim().split(' ').filter(Boolean).map(Number)
  return pids.filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('pkcs11-host'))
}

function compileHost(): string {
  const root = join(__dirname, '../..')
  mkdirSync(join(root, 'build'), { recursive: true })
  // Inside the package, so that it finds pkcs11js.
  const folder = mkdtempSync(join(root, 'build/pkcs11-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  const compilerOptions = { outDir: folder, rootDir: join(root, 'src'), declaration: false }
  const files = [join(root, 'src/keyrings/pkcs11-host.ts')]
  const config = { extends: join(root, 'tsconfig.json'), compilerOptions, files, include: [] }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
  execFileSync(join(root, 'node_modules/.bin/tsc'), ['-p', folder])
  return join(folder, 'keyrings/pkcs11-host.js')
}

function skipped(what: string, packages: string): undefined {
  console.log(`SKIPPED ${what}: not installed here (apt-get install ${packages})`)
}
