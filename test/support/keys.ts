import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { RawAesKeyringNode, type RawAesKeyringNodeInput, RawAesWrappingSuiteIdentifier } from '../../src/index'

/** A key for tests only, published with the vectors. */
export const RSA_PRIVATE_PEM = readFileSync(join(__dirname, '../vectors/messages/rsa-2048-test-only.pem'), 'utf8')

export const WRAPPING_SUITES = {
  16: RawAesWrappingSuiteIdentifier.AES128_GCM_IV12_TAG16_NO_PADDING,
  24: RawAesWrappingSuiteIdentifier.AES192_GCM_IV12_TAG16_NO_PADDING,
  32: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
} as const

/** Bytes that count up from `first`: easy to find again where they should not be. */
export function bytes(length: number, first = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (first + i * 7) & 0xff)
}

export function aesKeyring(input: Partial<RawAesKeyringNodeInput> = {}): RawAesKeyringNode {
  const unencryptedMasterKey = input.unencryptedMasterKey ?? bytes(32)
  return new RawAesKeyringNode({
    keyNamespace: 'tests',
    keyName: 'aes',
    unencryptedMasterKey,
    wrappingSuite: WRAPPING_SUITES[unencryptedMasterKey.length as 16 | 24 | 32],
    ...input,
  })
}
