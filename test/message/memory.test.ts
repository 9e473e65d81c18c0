/**
 * Where keys are in the memory of a process at work: another one looks through all of it. Needs Linux, and the right to read a
 * child's /proc/PID/mem.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { deriveMessageKeys } from '../../src/engine/derive'
import { getEngine } from '../../src/engine/engine'
import { parseHeader } from '../../src/format/message-header'
import { buildClient, NodeDecryptionMaterial } from '../../src/index'
import { getSuite } from '../../src/suites'
import { aesKeyring } from '../support/keys'

const DIST = join(__dirname, '../../dist')

// Goes on at each line of its input. The key comes by a file: nothing else in this process ever held it.
const CHILD = `
  const { openSync, readSync, writeFileSync } = require('node:fs')
  const { createInterface } = require('node:readline')
  const [dist, folder, backend, mode] = process.argv.slice(1)
  const { buildClient, RawAesKeyringNode } = require(dist)
  const { NodeEngine } = require(dist + '/engine/node.js')
  if (backend === 'node') require(dist + '/engine/engine.js').useEngine(new NodeEngine('asked for'))
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  const stage = async (name) => {
    for (let i = 0; i < 3; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 20)) }
    console.log(name)
    await lines.next()
  }
  const client = buildClient()
  const plaintext = Buffer.alloc(300_000, 'not secret')

  async function main() {
    await use()
    await stage('ended')
    process.exit()
  }

  async function use() {
    const key = Buffer.allocUnsafeSlow(32)
    readSync(openSync(folder + '/key', 'r'), key, 0, 32, 0)
    const keyring = new RawAesKeyringNode({ keyNamespace: 'n', keyName: 'k', unencryptedMasterKey: key, wrappingSuite: 0x78 })
    key.fill(0)
    await stage('keyring')

    if (mode === 'one-shot') {
      const { result } = await client.encrypt(keyring, plaintext)
      await client.decrypt(keyring, result)
      writeFileSync(folder + '/message', result)
    } else {
      const pieces = []
      const sealer = client.encryptStream(keyring)
      sealer.on('data', (piece) => pieces.push(piece))
      await new Promise((resolve) => sealer.write(plaintext, resolve))
      const opener = client.decryptStream(keyring)
      opener.resume()
      await new Promise((resolve) => opener.write(Buffer.concat(pieces), resolve))
      writeFileSync(folder + '/message', Buffer.concat(pieces))
      await stage('streams')
      if (mode === 'stream') {
        await new Promise((resolve) => sealer.end(resolve).once('end', resolve))
        opener.destroy()
      } else {
        sealer.destroy()
        opener.destroy()
      }
    }
    await stage('message')
    keyring.dispose()
    await stage('disposed')
  }
  main()
`

// Plaintext that waits: a frame which is not full yet, and the last one of a signed message whose end has not come.
const WAITING = `
  const { openSync, readSync, readFileSync } = require('node:fs')
  const { createInterface } = require('node:readline')
  const [dist, folder] = process.argv.slice(1)
  const { buildClient, RawAesKeyringNode } = require(dist)
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  const stage = async (name) => {
    for (let i = 0; i < 3; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 20)) }
    console.log(name)
    await lines.next()
  }
  const piece = Buffer.allocUnsafeSlow(1024)
  const write = (stream, bytes) => new Promise((resolve) => stream.write(bytes, resolve))

  async function main() {
    const unencryptedMasterKey = new Uint8Array(32).fill(1)
    const keyring = new RawAesKeyringNode({ keyNamespace: 'n', keyName: 'k', unencryptedMasterKey, wrappingSuite: 0x78 })
    const client = buildClient()
    const sealer = client.encryptStream(keyring, { frameLength: 100_000 }).resume()
    readSync(openSync(folder + '/secret', 'r'), piece, 500, 32, 0)
    await write(sealer, piece)
    piece.fill(0)
    for (let i = 0; i < 60; i++) await write(sealer, piece)
    const opener = client.decryptStream(keyring).resume()
    await write(opener, readFileSync(folder + '/message').subarray(0, -1))
    await stage('waiting')
    sealer.destroy()
    opener.destroy()
    await stage('destroyed')
    process.exit()
  }
  main()
`

/** In every part of the memory that the process can write. */
function copiesOf(pid: number, needle: Uint8Array): number {
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  let count = 0
  for (const line of readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n')) {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? []
    if (from === undefined) continue
    const end = Number(`0x${to}`)
    // Pieces overlap, so that no copy is cut.
    for (let start = Number(`0x${from}`); start < end; start += PIECE - needle.length) {
      const piece = PAGES.subarray(0, Math.min(PIECE, end - start))
      let length = 0
      try {
        length = readSync(memory, piece, 0, piece.length, start)
      } catch {
        continue
      }
      for (let at = piece.indexOf(needle); at >= 0 && at < length; at = piece.indexOf(needle, at + 1)) {
        // Not twice what two pieces have.
        if (start + PIECE >= end || at < PIECE - needle.length) count++
      }
    }
  }
  closeSync(memory)
  return count
}
const PIECE = 1 << 24
const PAGES = Buffer.allocUnsafeSlow(PIECE)

for (const backend of ['native', 'node']) {
  for (const mode of ['one-shot', 'stream', 'aborted stream']) {
    test(`copies of keys: ${backend}, ${mode}`, async () => {
      const { keyring, streams, message, disposed, ended } = await watch(backend, mode)
      assert.equal(keyring, { wrapping: 1 })
      // Else the search would show nothing: the keys of the two streams.
      if (mode !== 'one-shot') assert.equal(streams, { wrapping: 1, data: 0, message: 2 })
      assert.equal(message, { wrapping: 1, data: 0, message: 0 })
      for (const stage of [disposed, ended]) assert.equal(stage, { wrapping: 0, data: 0, message: 0 })
    })
  }
}

test('plaintext that waits is there once, and gone with its stream', async () => {
  const [written, held] = [randomBytes(32), randomBytes(32)]
  const plaintext = Buffer.alloc(5000)
  held.copy(plaintext, 4500)
  const keyring = aesKeyring({
    keyNamespace: 'n',
    keyName: 'k',
    unencryptedMasterKey: new Uint8Array(32).fill(1),
    wrappingSuite: 0x78,
  })
  const { result } = await buildClient().encrypt(keyring, plaintext)
  const found = await stagesOf({ secret: written, message: result }, [WAITING], (count) => ({
    written: count(written),
    held: count(held),
  }))
  assert.equal(found, { waiting: { written: 1, held: 1 }, destroyed: { written: 0, held: 0 } })
})

interface Copies {
  readonly wrapping: number
  /** The data key, and what is derived from it; not known before there is a message. */
  readonly data?: number
  readonly message?: number
}

/** How many copies of each key there are at each stage. */
async function watch(backend: string, mode: string): Promise<Record<string, Copies>> {
  const wrapping = randomBytes(32)
  return await stagesOf({ key: wrapping }, [CHILD, backend, mode], async (count, folder) => {
    const file = join(folder, 'message')
    const keys = existsSync(file) && (await keysOf(readFileSync(file), wrapping))
    return { wrapping: count(wrapping), ...(keys && { data: count(keys.data), message: count(keys.message) }) }
  })
}

/** What is found at each stage of a program, which gets these files in a folder. */
async function stagesOf<T>(
  files: Readonly<Record<string, Uint8Array>>,
  [program, ...args]: readonly string[],
  find: (count: (secret: Uint8Array) => number, folder: string) => T | Promise<T>,
): Promise<Record<string, T>> {
  const folder = mkdtempSync(join(tmpdir(), 'sealwax-memory-'))
  try {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
    const child = spawn(process.execPath, ['--expose-gc', '-e', program!, DIST, folder, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const found: Record<string, T> = {}
    // The end of a secret: what frees memory writes over its start, and would hide that it was not wiped.
    const count = (secret: Uint8Array) => copiesOf(child.pid!, secret.subarray(16))
    // One line at a time: the next comes after the answer.
    for await (const line of child.stdout) {
      found[String(line).trim()] = await find(count, folder)
      child.stdin.write('\n')
    }
    return found
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function keysOf(message: Buffer, wrapping: Buffer): Promise<{ data: Uint8Array; message: Uint8Array }> {
  const { messageHeader: header } = parseHeader(message)
  const suite = getSuite(header.suiteId)
  const keyring = aesKeyring({ keyNamespace: 'n', keyName: 'k', unencryptedMasterKey: wrapping, wrappingSuite: 0x78 })
  const material = new NodeDecryptionMaterial(suite, header.encryptionContext)
  await keyring.onDecrypt(material, [...header.encryptedDataKeys])
  const data = material.getUnencryptedDataKey().export()
  return { data, message: deriveMessageKeys(getEngine(), suite, data, header.messageId).key }
}

test.run()
