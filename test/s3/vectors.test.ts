import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { useEngine } from '../../src/engine/engine'
import { loadNative } from '../../src/engine/native'
import { nodeEngine } from '../../src/engine/node'
import type { KmsClient } from '../../src/index'
import {
  openObject,
  type S3Keyring,
  S3KmsKeyring,
  S3RawAesKeyring,
  SealwaxError,
  type SealwaxErrorCode,
} from '../../src/s3'
import { rejects } from '../support/expect'
import { openS3Vector, S3_VECTOR_FILES, S3_VECTORS, s3Vectors, summaryOf } from '../support/s3-vectors'
import { FILES, serialize } from '../vectors/s3/generate'

const LEGACY = {
  commitmentPolicy: 'REQUIRE_ENCRYPT_ALLOW_DECRYPT',
  enableLegacyWrappingAlgorithms: true,
  enableLegacyUnauthenticatedModes: true,
} as const

for (const engine of [loadNative().engine!, nodeEngine]) {
  for (const file of S3_VECTOR_FILES) {
    for (const vector of s3Vectors(file)) {
      test(`${engine.info().backend}, ${file}: ${vector.description}`, async () => {
        useEngine(engine)
        if ('error' in vector.expect)
          return void (await rejects(openS3Vector(vector), vector.expect.error as SealwaxErrorCode))
        assert.equal(summaryOf(await openS3Vector(vector)), vector.expect)
      })
    }
  }
}

test('everything that fails cryptographically fails with the same words', async () => {
  const messages = new Set<string>()
  for (const vector of s3Vectors('unauthentic')) {
    if ('error' in vector.expect && vector.expect.error !== 'ERR_AUTHENTICATION_FAILED') continue
    messages.add((await rejects(openS3Vector(vector), 'ERR_AUTHENTICATION_FAILED')).message)
  }
  assert.is(messages.size, 1)
})

test('whatever becomes of one field, an authenticated object opens to the same plaintext or is refused', async () => {
  const garbled = (text: string) => [
    '',
    ' ',
    'null',
    '{}',
    '[]',
    '\0',
    'AAAA',
    text.slice(1),
    `${text} `,
    text.repeat(2),
    text.toLowerCase(),
  ]
  let refused = 0
  for (const vector of s3Vectors('valid')) {
    if (vector.options.enableLegacyWrappingAlgorithms) continue
    for (const [name, text] of Object.entries(vector.metadata)) {
      for (const value of garbled(text)) {
        const metadata = { ...vector.metadata, [name]: value }
        const result = await openS3Vector({ ...vector, metadata }).catch((error: Error) => error)
        if (result instanceof Error) {
          assert.instance(result, SealwaxError, `${vector.description}, ${name}: ${result.stack}`)
          refused++
        } else {
          assert.is(summaryOf(result).sha256, (vector.expect as { sha256: string }).sha256, vector.description)
        }
      }
    }
  }
  assert.ok(refused > 2000, `${refused} refused`)
})

for (const { description, keyring, metadata, body, instructionFile, expect } of published()) {
  test(`published: ${description}`, async () => {
    const file = instructionFile === undefined ? undefined : Buffer.from(instructionFile)
    const object = { metadata, body: Buffer.from(body, 'base64'), instructionFile: file }
    const opening = openObject(object, publishedKeyring(keyring), LEGACY)
    if ('error' in expect) await rejects(opening, expect.error)
    else assert.is((await opening).plaintext.toString('base64'), expect.plaintext)
  })
}

test('there are enough vectors, and no two of a file are described alike', () => {
  const all = S3_VECTOR_FILES.flatMap(s3Vectors)
  assert.ok(all.length >= 400)
  assert.ok(all.filter(({ expect }) => 'error' in expect).length >= 300)
  for (const file of S3_VECTOR_FILES) {
    const vectors = s3Vectors(file)
    assert.is(new Set(vectors.map(({ description }) => description)).size, vectors.length)
  }
})

test('the files are what the generator writes', () => {
  for (const [name, content] of Object.entries(FILES)) {
    assert.ok(readFileSync(join(S3_VECTORS, name), 'utf8') === serialize(content), `${name} is up to date`)
  }
})

interface Published {
  description: string
  keyring: { type: 'raw-aes'; key: string } | { type: 'kms'; dataKey: string }
  metadata: Record<string, string>
  body: string
  instructionFile?: string
  expect: { plaintext: string } | { error: SealwaxErrorCode }
}

function published(): Published[] {
  return JSON.parse(readFileSync(join(S3_VECTORS, '../published/objects.json'), 'utf8')) as Published[]
}

function publishedKeyring(keyring: Published['keyring']): S3Keyring {
  if (keyring.type === 'raw-aes') return new S3RawAesKeyring({ wrappingKey: Buffer.from(keyring.key, 'base64') })
  const KeyId = 'arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'
  const decrypt = async () => ({ KeyId, Plaintext: Buffer.from(keyring.dataKey, 'base64') })
  return new S3KmsKeyring({ discovery: true, clientProvider: () => ({ decrypt }) as unknown as KmsClient })
}

test.run()
