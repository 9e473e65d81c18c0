import { KmsError } from '../../src/local-kms/errors'
import { Input } from '../../src/local-kms/input'
import { OPERATIONS } from '../../src/local-kms/operations'
import { Vault } from '../../src/local-kms/vault'
import type { Target } from './fuzzer'

const NAMES = [...OPERATIONS.keys()]
const KEY = 'alias/key'
const GOOD = [
  ['GenerateDataKey', { KeyId: KEY, NumberOfBytes: 32, EncryptionContext: { a: 'b' } }],
  ['Encrypt', { KeyId: KEY, Plaintext: 'AAAA', EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' }],
  ['Decrypt', { CiphertextBlob: 'AQEB'.repeat(40), EncryptionContext: {} }],
  ['ReEncrypt', { CiphertextBlob: 'AQEB'.repeat(40), DestinationKeyId: KEY }],
  [
    'CreateGrant',
    {
      KeyId: KEY,
      GranteePrincipal: 'me',
      Operations: ['Decrypt'],
      Constraints: { EncryptionContextEquals: { a: 'b' } },
    },
  ],
  ['TagResource', { KeyId: KEY, Tags: [{ TagKey: 'a', TagValue: 'b' }] }],
  ['PutKeyPolicy', { KeyId: KEY, Policy: '{"Version":"2012-10-17"}' }],
  ['ListAliases', { Limit: 1, Marker: 'YQ==' }],
] as const

/** The first byte chooses the operation; the rest is the body of its request. Each finds a vault with one key. */
export const kmsRequest: Target = {
  seeds: [
    ...GOOD.map(([name, body]) => request(name, body)),
    ...NAMES.filter((name) => !name.endsWith('Pair')).map((name) => request(name, { KeyId: KEY })),
  ],
  words: ['__proto__', '"KeyId":"alias/key"', '"DryRun":true', '\\ud800', '1e999', 'null', '[', '{', '"}', 'RSA_4096'],
  async run(input) {
    const vault = await Vault.open()
    const call = (name: string, body: Uint8Array) =>
      OPERATIONS.get(name)!({
        input: new Input(body),
        vault,
        state: vault.state,
        now: 0,
        signal: new AbortController().signal,
        region: 'us-east-1',
        account: '111122223333',
      })
    const { KeyMetadata } = (await call('CreateKey', Buffer.of())) as { KeyMetadata: { KeyId: string } }
    await call('CreateAlias', json({ AliasName: KEY, TargetKeyId: KeyMetadata.KeyId }))
    await call(NAMES[(input[0] ?? 0) % NAMES.length]!, input.subarray(1))
  },
  refusal: (error) => error instanceof KmsError && error.type !== 'KMSInternalException',
}

function request(name: string, body: object): Uint8Array {
  return Buffer.concat([Uint8Array.of(NAMES.indexOf(name)), json(body)])
}

function json(value: object): Buffer {
  return Buffer.from(JSON.stringify(value))
}
