/** What the machine can do: bare EVP of the running Node.js, called with as little as possible around it. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

interface Limit {
  seal(
    key: Uint8Array,
    iv: Uint8Array,
    aad: Uint8Array,
    plaintext: Uint8Array,
    out: Uint8Array,
    pieceLength: number,
    threads: number,
  ): void
}

const FOLDER = join(__dirname, 'limit')
const FILE = join(FOLDER, 'build/Release/limit.node')

let loaded: Limit | undefined

/** Builds the addon where that has not been done. */
export function buildLimit(): void {
  if (existsSync(FILE)) return
  const script = join(__dirname, '../scripts/build-native.mjs')
  const { status } = spawnSync(process.execPath, [script, '--directory', FOLDER], { stdio: 'inherit' })
  if (status !== 0) throw new Error('the addon of the limit could not be built')
}

/**
 * AES-256-GCM of each `pieceLength` bytes of the plaintext, all of it by default, with one key and IV, into `out` (plaintext
 * and 16 bytes). With one thread and one piece the result is the sealed message; else only the work is the same.
 */
export function bareEvp(
  key: Uint8Array,
  iv: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
  out: Uint8Array,
  threads: number,
  pieceLength = plaintext.length,
): void {
  loaded ??= require(FILE) as Limit
  loaded.seal(key, iv, aad, plaintext, out, pieceLength, threads)
}
