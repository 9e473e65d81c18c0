import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { useEngine } from '../../src/engine/engine'
import { loadNative } from '../../src/engine/native'
import { nodeEngine } from '../../src/engine/node'
import {
  buildDecrypt,
  CommitmentPolicy,
  KeyringNode,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
  type SealwaxErrorCode,
} from '../../src/index'
import { rejectionOf, rejects } from '../support/expect'
import { peerVectorKeyring, VECTOR_FILES, type Vector, vectorKeyring, vectors } from '../support/vectors'
import { FILES, serialize } from '../vectors/messages/generate'

const native = loadNative().engine!
const DIRECTORY = join(__dirname, '../vectors/messages')

for (const engine of [native, nodeEngine]) {
  for (const file of VECTOR_FILES) {
    for (const vector of vectors(file)) {
      test(`${engine.info().backend}, ${file}: ${vector.description}`, async () => {
        useEngine(engine)
        const opening = open(vector)
        if ('error' in vector.expect) await rejects(opening, vector.expect.error as SealwaxErrorCode)
        else assert.equal(summary(await opening), vector.expect)
      })
    }
  }
}

for (const vector of vectors()) {
  const accepts = !('error' in vector.expect) || vector.clientNode !== undefined
  test(`client-node ${accepts ? 'opens' : 'refuses'}: ${vector.description}`, async () => {
    const opening = openWithPeer(vector)
    if (!accepts) return assert.instance(await rejectionOf(opening), Error)
    const opened = summary(await opening)
    if (!('error' in vector.expect)) assert.equal(opened, vector.expect)
  })
}

for (const { description, dataKey, message, expect } of published()) {
  test(`published: ${description}`, async () => {
    const client = buildDecrypt({ commitmentPolicy: CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT })
    const opening = client.decrypt(new Holder(Buffer.from(dataKey, 'base64')), Buffer.from(message, 'base64'))
    if ('error' in expect) await rejects(opening, expect.error)
    else assert.is((await opening).plaintext.toString(), expect.plaintext)
  })
}

test('there are enough vectors, and no two are described alike', () => {
  const all = vectors()
  assert.is(new Set(all.map(({ description }) => description)).size, all.length)
  assert.ok(all.length >= 150)
  assert.ok(all.filter(({ expect }) => 'error' in expect).length >= 90)
})

test('the files are what the generator writes', () => {
  for (const [name, content] of Object.entries(FILES)) {
    assert.ok(readFileSync(join(DIRECTORY, name), 'utf8') === serialize(content), `${name} is up to date`)
  }
})

interface Published {
  description: string
  dataKey: string
  message: string
  expect: { plaintext: string } | { error: SealwaxErrorCode }
}

function published(): Published[] {
  return JSON.parse(readFileSync(join(DIRECTORY, '../published/messages.json'), 'utf8')) as Published[]
}

/** Takes any encrypted data key for its own. */
class Holder extends KeyringNode {
  readonly #dataKey: Uint8Array

  constructor(dataKey: Uint8Array) {
    super()
    this.#dataKey = dataKey
  }

  async _onEncrypt(material: NodeEncryptionMaterial) {
    return material
  }

  async _onDecrypt(material: NodeDecryptionMaterial) {
    const flags = KeyringTraceFlag.WRAPPING_KEY_DECRYPTED_DATA_KEY
    return material.setUnencryptedDataKey(this.#dataKey, { keyNamespace: 'tests', keyName: 'k', flags })
  }
}

function open({ keyring, policy, options = {}, message }: Vector) {
  const { maxEncryptedDataKeys = false, ...input } = options
  const client = buildDecrypt({ commitmentPolicy: policy as CommitmentPolicy, maxEncryptedDataKeys })
  return client.decrypt(vectorKeyring(keyring), Buffer.from(message, 'base64'), input)
}

/** client-node has no option for required pairs; such messages are its to open. */
function openWithPeer({ keyring, policy, options = {}, message }: Vector) {
  const { maxEncryptedDataKeys = false, maxBodySize } = options
  const client = peer.buildDecrypt({ commitmentPolicy: policy as peer.CommitmentPolicy, maxEncryptedDataKeys })
  const input = maxBodySize === undefined ? {} : { maxBodySize }
  return client.decrypt(peerVectorKeyring(keyring), Buffer.from(message, 'base64'), input)
}

function summary(opened: { plaintext: Buffer; messageHeader: { encryptionContext: object } }) {
  const { plaintext, messageHeader } = opened
  return {
    sha256: createHash('sha256').update(plaintext).digest('hex'),
    length: plaintext.length,
    encryptionContext: Object.fromEntries(Object.entries(messageHeader.encryptionContext)),
  }
}

test.run()
