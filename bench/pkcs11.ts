/**
 * `npx tsx bench/pkcs11.ts [seconds]`: data keys wrapped by a key in a SoftHSM token, 64 at a time over 8 sessions, against
 * loops of pkcs11js alone with as many sessions: one that leaves the event loop free (C_EncryptAsync), as Sealwax does,
 * and one that blocks it. Rounds alternate; the ratio is of medians.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as pkcs11 from 'pkcs11js'
import { KeyringTraceFlag, NodeEncryptionMaterial } from '#built/index'
import { Pkcs11AesKeyring, Pkcs11Token } from '#built/pkcs11'
import { getSuite } from '#built/suites'

const MODULE = '/usr/lib/softhsm/libsofthsm2.so'
const SESSIONS = 8
const PARALLEL = 64
const ROUNDS = 7
const PIN = '1234'
const SUITE = getSuite(0x0478)
const context = { purpose: 'bench' }
const aad = Buffer.from('\0\x01\0\x07purpose\0\x05bench', 'latin1')

void bench(Number(process.argv[2] ?? 1))

async function bench(seconds: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'sealwax-bench-'))
  try {
    makeToken(folder)
    const token = new Pkcs11Token({ module: MODULE, token: 'bench', pin: () => PIN, sessions: SESSIONS })
    await token.generateKey({ type: 'aes', label: 'bench' })
    const keyring = new Pkcs11AesKeyring({ token, key: 'bench', keyNamespace: 'n', keyName: 'k' })
    const bare = openBare()
    const contenders: Record<string, () => Promise<number>> = {
      sealwax: () => flatOut(PARALLEL, seconds, () => wrap(keyring)),
      'pkcs11js, event loop free': () => flatOut(SESSIONS, seconds, bare.wrapAsync),
      'pkcs11js, event loop blocked': () => flatOut(1, seconds, bare.wrapSync),
    }
    const rates = new Map(Object.keys(contenders).map((name) => [name, [] as number[]]))
    for (let round = 0; round <= ROUNDS; round++) {
      for (const [name, run] of Object.entries(contenders)) {
        const rate = await run()
        if (round > 0) rates.get(name)!.push(rate)
      }
    }
    const [own, ...others] = [...rates].map(([name, all]) => ({ name, rate: median(all), all }))
    for (const { name, rate, all } of [own!, ...others])
      console.log(`${name.padEnd(30)} ${show(rate)} wraps/s (${show(Math.min(...all))} to ${show(Math.max(...all))})`)
    for (const { name, rate } of others) console.log(`sealwax / ${name}: ${(own!.rate / rate).toFixed(2)}`)
    await token.close()
    bare.close()
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** What the keyring does for a message: a data key, wrapped, bound to its context. */
async function wrap(keyring: Pkcs11AesKeyring): Promise<void> {
  const material = new NodeEncryptionMaterial(SUITE, context)
  const trace = { keyNamespace: 'n', keyName: 'k', flags: KeyringTraceFlag.WRAPPING_KEY_GENERATED_DATA_KEY }
  await keyring.onEncrypt(material.setUnencryptedDataKey(DATA_KEY, trace))
}

const DATA_KEY = Buffer.alloc(32, 7)

function openBare() {
  const lib = new pkcs11.PKCS11(MODULE)
  lib.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK })
  const slot = lib.C_GetSlotList(true).find((id) => lib.C_GetTokenInfo(id).label.startsWith('bench'))!
  const sessions = Array.from({ length: SESSIONS }, () => lib.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION))
  lib.C_Login(sessions[0]!, pkcs11.CKU_USER, PIN)
  lib.C_FindObjectsInit(sessions[0]!, [{ type: pkcs11.CKA_LABEL, value: 'bench' }])
  const key = lib.C_FindObjects(sessions[0]!)!
  lib.C_FindObjectsFinal(sessions[0]!)
  const begin = (session: Buffer) => {
    const iv = Buffer.allocUnsafe(12)
    const parameter = { type: pkcs11.CK_PARAMS_AES_GCM_v240, iv, ivBits: 96, aad, tagBits: 128 }
    lib.C_EncryptInit(session, { mechanism: pkcs11.CKM_AES_GCM, parameter }, key)
  }
  const wrapSync = async () => {
    begin(sessions[0]!)
    lib.C_Encrypt(sessions[0]!, DATA_KEY, Buffer.allocUnsafe(48))
  }
  const wrapAsync = async () => {
    const session = sessions.pop()!
    begin(session)
    await lib.C_EncryptAsync(session, DATA_KEY, Buffer.allocUnsafe(48))
    sessions.push(session)
  }
  const close = () => {
    for (const session of sessions) lib.C_CloseSession(session)
    lib.C_Finalize()
  }
  return { wrapSync, wrapAsync, close }
}

async function flatOut(parallel: number, seconds: number, run: () => Promise<void>): Promise<number> {
  const start = performance.now()
  const end = start + seconds * 1000
  let count = 0
  const loop = async () => {
    for (; performance.now() < end; count++) await run()
  }
  await Promise.all(Array.from({ length: parallel }, loop))
  return (count / (performance.now() - start)) * 1000
}

function makeToken(folder: string): void {
  mkdirSync(join(folder, 'tokens'))
  const file = join(folder, 'softhsm2.conf')
  writeFileSync(file, `directories.tokendir = ${folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n`)
  process.env.SOFTHSM2_CONF = file
  const names = ['--label', 'bench', '--pin', PIN, '--so-pin', '5678']
  execFileSync('softhsm2-util', ['--init-token', '--free', ...names], { stdio: 'ignore' })
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!
}

function show(rate: number): string {
  return Math.round(rate).toLocaleString('en').padStart(7)
}
