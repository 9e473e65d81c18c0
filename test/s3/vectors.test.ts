import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { useEngine } from '../../src/engine/engine'
import { loadNative } from '../../src/engine/native'
import { nodeEngine } from '../../src/engine/node'
import { SealwaxError, type SealwaxErrorCode } from '../../src/s3'
import { rejects } from '../support/expect'
import { openS3Vector, S3_VECTOR_FILES, S3_VECTORS, s3Vectors, summaryOf } from '../support/s3-vectors'
import { FILES, serialize } from '../vectors/s3/generate'

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

test.run()
