/**
 * Quick, so that no target rots. `FUZZ_SECONDS=60` gives each target that long, from another seed each time;
 * `FUZZ_SEED` draws the same again.
 */
import { randomInt } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { commandArguments } from './arguments'
import { encryptedDataKey } from './encrypted-data-key'
import { encryptionContext } from './encryption-context'
import { fuzz } from './fuzzer'
import { instructionFile } from './instruction-file'
import { keyFile } from './key-file'
import { keyStore } from './key-store'
import { kmsRequest } from './kms-request'
import { messageBody } from './message-body'
import { messageFooter } from './message-footer'
import { messageHeader } from './message-header'
import { pkcs11Uri } from './pkcs11-uri'
import { s3Metadata } from './s3-metadata'

const TARGETS = {
  'message header': messageHeader,
  'message body': messageBody,
  'message footer': messageFooter,
  'encrypted data key': encryptedDataKey,
  'encryption context': encryptionContext,
  'S3 metadata': s3Metadata,
  'instruction file': instructionFile,
  'KMS request': kmsRequest,
  'key file': keyFile,
  'key store': keyStore,
  'command-line arguments': commandArguments,
  'PKCS#11 URI': pkcs11Uri,
}
const seconds = Number(process.env.FUZZ_SECONDS ?? 0)
const bounds = seconds > 0 ? { milliseconds: seconds * 1000 } : { cases: 1000 }
const seed = Number(process.env.FUZZ_SEED ?? (seconds > 0 ? randomInt(2 ** 32) : 1))

for (const [name, target] of Object.entries(TARGETS)) {
  test(`${name}: whatever the bytes are, they are taken or refused`, async () => {
    const { count, outcomes } = await fuzz(target, { seed, ...bounds })
    if (seconds > 0) console.log(`${name}: ${count} cases, ${outcomes} outcomes, seed ${seed}`)
    assert.ok(outcomes > 1, 'some were taken or refused, each for a reason of its own')
  })
}

test('a crash is found, and told with its input', async () => {
  const crashing = {
    seeds: [Buffer.from('good')],
    run: ([first]: Uint8Array) => {
      if (first !== 0x67) throw new TypeError('cannot read')
    },
  }
  const error = (await fuzz(crashing, { seed, cases: 1000 }).catch((caught: Error) => caught)) as Error
  const [, input] = /of the input (.*)$/.exec(error.message) ?? []
  assert.is.not(Buffer.from(input!, 'base64')[0], 0x67)
})

test.run()
