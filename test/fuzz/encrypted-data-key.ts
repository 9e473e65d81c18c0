import { EncryptedDataKey } from '../../src/encrypted-data-key'
import { parseHeader } from '../../src/format/message-header'
import { parseKeyArn } from '../../src/keyrings/kms-arn'
import { NodeDecryptionMaterial } from '../../src/materials/materials'
import { getSuite } from '../../src/suites'
import { vectorKeyring, vectors } from '../support/vectors'
import type { Target } from './fuzzer'

const KEYRINGS = ['aes-256', 'aes-128', 'aes-256 in locale order'].map(vectorKeyring)

/** Provider information and a wrapped data key, in front of keyrings whose key they may name. */
export const encryptedDataKey: Target = {
  seeds: vectors('valid.json').flatMap(({ message }) => {
    const { encryptedDataKeys } = parseHeader(Buffer.from(message, 'base64')).messageHeader
    return encryptedDataKeys.map(({ rawInfo, encryptedDataKey }) =>
      Buffer.concat([Uint8Array.of(rawInfo.length), rawInfo, encryptedDataKey]),
    )
  }),
  words: ['aes-256', 'arn:aws:kms:us-east-1:111122223333:key/mrk-1', 'alias/', '\0\0\0\x80', '\0\0\0\x0c'],
  async run(input) {
    const length = input[0] ?? 0
    const rawInfo = input.subarray(1, 1 + length)
    const providerInfo = Buffer.from(rawInfo).toString()
    parseKeyArn(providerInfo)
    const wrapped = input.subarray(1 + length)
    const edk = new EncryptedDataKey({ providerId: 'vectors', providerInfo, rawInfo, encryptedDataKey: wrapped })
    for (const keyring of KEYRINGS) {
      await keyring.onDecrypt(new NodeDecryptionMaterial(getSuite(0x0478), { purpose: 'vectors' }), [edk])
    }
  },
}
